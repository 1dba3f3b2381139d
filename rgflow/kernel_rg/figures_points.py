"""What figures of this room share: a point's numbers as series, and what is said of its runs.

One concept has one look over all figures: theories are lines or open marks, samples are filled marks.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from rgflow.judging.decisions import interval_of, passed
from rgflow.judging.intervals import Interval
from rgflow.kernel_rg.observables import Pooled, convergence
from rgflow.plots.panel import Series

SAMPLED = {"gibbs": "sampled (Gibbs)", "hmc": "sampled (Hamiltonian Monte Carlo)", "trained": "gradient descent"}
THEORIES = {"exact": "exact at finite width", "saddle": "saddle point", "wide": "infinite width"}
MOST_COLUMNS = 4

QUANTITIES = {
    "bias": ("squared bias", "squared bias\n" + r"$(\langle f \rangle - y)^2$"),
    "variance": ("variance of the output", "variance of\nthe output $f$"),
    "error": ("generalization error", "generalization\n" + r"error $\epsilon_g$"),
    "scale": ("scale Q of the kernel", "scale of the\nkernel $Q$"),
    "order_parameter": ("order parameter u_0", "order parameter\n$u_0 = Q^{1/L}$"),
    "energy": ("training energy", "training energy\n$|f - Y|^2 / 2$"),
}
"""Every quantity in words and on an axis."""


def columns_of(points: Sequence[Pooled], name: str) -> dict[Any, list[Pooled]]:
    """Returns points by a value, in increasing order; of more values than a page holds, some that span them."""
    values = sorted({p.values[name] for p in points})
    places = sorted({round(k) for k in np.linspace(0, len(values) - 1, min(len(values), MOST_COLUMNS))})
    return {values[k]: [p for p in points if p.values[name] == values[k]] for k in places}


def about_runs(points: Sequence[Pooled]) -> str:
    """Returns how many runs died and how many points did not converge, from a blank on; '' for none of either."""
    dead, late = sum(p.dead for p in points), sum(not passed(convergence([p])) for p in points)
    said = f" Dead runs left out: {dead}." if dead else ""
    return said + (f" Points that are not converged or lack live chains: {late} of {len(points)}." if late else "")


def about(points: Sequence[Pooled]) -> str:
    """Returns what the error bars are, and what is to be said of the runs."""
    runs = " or ".join(str(n) for n in sorted({p.runs + p.dead for p in points}))
    trained = all(p.values["sampler"] == "trained" for p in points)
    kind = "trainings from independent starts" if trained else "chains, from their effective sample size"
    return f"Bars: 95 % intervals over {runs} {kind}.{about_runs(points)}"


def exactly(values: Iterable[float]) -> list[Interval]:
    """Returns numbers without an error."""
    return [Interval(value, np.nan, np.nan, 0) for value in values]


def one_unit(_: Pooled) -> float:
    """Returns 1, the unit of what is drawn as it is."""
    return 1.0


def series(
    points: Sequence[Pooled], x: Sequence[Any], name: str, unit: Callable[[Pooled], float] = one_unit
) -> list[Series]:
    """Returns an observable at some places, in some unit: sampled means by sampler, and what theories say of it."""
    alone = " at a place" if len(points) == 1 or isinstance(x[0], str) else ""
    found = []
    for sampler, kind in SAMPLED.items():
        chosen = [(at, p) for at, p in zip(x, points, strict=True) if p.values["sampler"] == sampler]
        ends = []
        for _, p in chosen:
            mean, low, high, runs = interval_of(p.measured[name], p.runs)
            ends.append(Interval(mean / unit(p), low / unit(p), high / unit(p), runs))
        found += [Series("sampled", kind, [at for at, _ in chosen], intervals=ends)] if chosen else []
    for theory, kind in THEORIES.items():
        values = exactly(p.theory[theory][name] / unit(p) for p in points)
        found.append(Series(theory, f"{kind}{alone}", x, intervals=values))
    return found
