"""Figures of linear networks against a swept quantity, and what all figures of this room share.

One concept has one look over all figures: theories are lines or open marks, samples are filled marks.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rgflow.judging.claim import known
from rgflow.judging.decisions import interval_of, passed
from rgflow.judging.intervals import Interval
from rgflow.judging.text import number_text
from rgflow.kernel_rg.observables import Pooled, convergence
from rgflow.kernel_rg.select import of_study
from rgflow.kernel_rg.theory import infinite_depth_scale
from rgflow.plots.figure import Figure
from rgflow.plots.panel import Guide, Panel, Series, fitting
from rgflow.protocol import Results, Verdict

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


def series(
    points: Sequence[Pooled],
    x: Sequence[Any],
    name: str,
    relative: bool = False,
    theories: Mapping[str, str] = THEORIES,
) -> list[Series]:
    """Returns an observable at some places: sampled means by sampler, and what theories say of it.

    x stands in for {} in its name. A ``relative`` one is in units of its value at infinite width.
    """
    places = []
    for at, p in zip(x, points, strict=True):
        named = name.format(at)
        places.append((at, p, named, p.theory["wide"][named] if relative else 1.0))
    found = []
    for sampler, kind in SAMPLED.items():
        chosen, ends = [], []
        for at, p, named, unit in places:
            if p.values["sampler"] == sampler:
                mean, low, high, runs = interval_of(p.measured[named], p.runs)
                chosen.append(at)
                ends.append(Interval(mean / unit, low / unit, high / unit, runs))
        found += [Series("sampled", kind, chosen, intervals=ends)] if chosen else []
    alone = " at a place" if len(points) == 1 or isinstance(x[0], str) else ""
    for theory, kind in theories.items():
        ends = [Interval(p.theory[theory][named] / unit, np.nan, np.nan, 0) for _, p, named, unit in places]
        found.append(Series(theory, f"{kind}{alone}", x, intervals=ends))
    return found


SWEEPS: Mapping[str, tuple[str, str, str, Mapping[str, str]]] = {
    "width": ("width", "width $N$ (units per layer)", "sigma2", {
        "S4-width": "sampled variances that grow towards few units where the label norm r_0 is below sigma^(2L), or "
        "fall where it is above; the dotted level is the limit of few units, r_0^(1/L)"}),
    "depth": ("depth", "depth $L$ (hidden layers)", "sigma2", {
        "S4-depth": "sampled Q that move away from the dotted level with depth where sigma^2 (1 - alpha) is below 1, "
        "or stop growing where it is above"}),
    "size": ("num_train", "training points $P$", "data_seed", {
        "S4-size": "a sampled bias without a maximum at P = N0 (dotted line)"}),
    "sigma2": ("sigma2", r"prior variance of a weight $\sigma^2$", "study", {
        "S4-linear": "sampled points off the curve of the saddle point by more than 2 L/N, which would mean that the "
        "scale of the weights does not enter through Q alone"}),
    "data": ("data", "kind of data", "study", {
        "S4-sampler": "sampled points off the marks of the exact law by more than their bars allow",
        "S4-linear": "sampled points farther than 2 L/N from the marks of the saddle point"}),
}  # fmt: skip
"""By study: the swept quantity, its axis, what tells columns apart, and what would falsify which claim."""


def guides_of(study: str, point: Pooled, name: str) -> list[Guide]:
    r"""Returns the levels that quantities tend to at T = 0: $r_0^{1/L}$ for few units, Q of infinite depth; P = N0."""
    values = point.values
    if study == "width" and name == "order_parameter":
        return [Guide("limit of few units", y=point.label_norm ** (1 / float(values["depth"])))]
    if study == "depth" and name == "scale" and point.load > 0 and point.label_norm > 0:
        level = infinite_depth_scale(point.load, point.label_norm, values["sigma2"])
        return [Guide("limit of many layers", y=level)] if np.isfinite(level) else []
    return [Guide("$P = N_0$", x=float(values["num_inputs"]))] if study == "size" else []


def title_of(study: str, value: Any, members: Sequence[Pooled], verdicts: Sequence[Verdict]) -> str:
    """Returns the title of a column: its value, and what is decided there."""
    _, _, column, claims = SWEEPS[study]
    title = rf"$\sigma^2 = {value:g}$" if column == "sigma2" else f"data set {value:g}"
    if study == "depth":
        title += rf",  $\sigma^2 (1 - \alpha) = {value * (1 - members[0].load):.3g}$"
    for claim in claims:
        found = known(verdicts, claim, f"{column} = {value:g}")
        title += f"\n{claim}: {number_text(*found[:3])}" if np.isfinite(found.mean) else ""
    return title


def sweep_figure(study: str, results: Results, verdicts: Sequence[Verdict]) -> list[Figure]:
    """Returns errors and order parameter against the swept quantity: samples on the curves of theory."""
    axis, x, column, claims = SWEEPS[study]
    points = [p for p in of_study(results, study) if p.values["activation"] == "linear"]
    every = columns_of(sorted(points, key=lambda p: p.values[axis]), column)
    # Columns of unlike depth have value axes of their own.
    alone, shared, deep = len(every) == 1, study != "depth", any(p.values["depth"] > 1 for p in points)
    names = [n for n in QUANTITIES if (n != "scale" or alone or deep) and (n != "energy" or alone)]
    panels = []
    for name in names:
        row = {value: series(found, [p.values[axis] for p in found], name) for value, found in every.items()}
        for value, found in every.items():
            fitted = fitting([s for of in (row if shared else [value]) for s in row[of]])
            title = title_of(study, value, found, verdicts) if name == names[0] and not alone else ""
            words, label = QUANTITIES[name]
            panels.append(Panel(
                title, row[value], guides_of(study, found[0], name),
                ", ".join([words] if alone else [words, f"{column} {value:g}", *title.splitlines()[1:]]),
                y=label if alone or value == min(every) else "", height=1.9 if alone else 1.5, **fitted,
            ))  # fmt: skip
    effect = " A title ends with the effect that decides the claim." if any("S4" in p.title for p in panels) else ""
    return [Figure(
        name=study, x=x, x_scale="log" if study == "width" else "linear", columns=3 if alone else len(every),
        x_ticks=sorted({float(p.values[axis]) for p in points}) if study != "data" else [],
        group="", colours={}, share_y="row" if shared and not alone else False, panels=panels, falsified_by=claims,
        caption=f"Linear networks by {x.split(' $')[0]}: squared bias, variance and their sum at the test points, the "
        "scale Q of the kernel and the order parameter u_0. Theory is that of the same data."
        f"{effect} {about(points)}",
    )] if points else []  # fmt: skip


def figures(results: Results, verdicts: Sequence[Verdict]) -> list[Figure]:
    """Returns a figure for every sweep that was run."""
    return [figure for study in SWEEPS for figure in sweep_figure(study, results, verdicts)]
