r"""From runs to verdicts: the points of a dataset, controls as plain data, decisions from intervals.

A point is what all its runs share: every coordinate of a run but its seed. A control is a number that must meet a
requirement before an interval decides anything; one that fails leaves a claim undecided, also against it, since it says
that the measurement itself is in doubt. Everything here is plain data on the host.

Ref: Schuirmann1987 = Schuirmann, "A comparison of the two one-sided tests procedure and the power approach",
J. Pharmacokinet. Biopharm. 15 (1987) 657.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy import stats

from rgflow.probes.convergence import Estimate
from rgflow.probes.stats import Interval, Status, decide
from rgflow.protocol import Verdict

Control = dict[str, Any]
Number = float | int | np.floating | np.integer

INTERVAL_SIGMA = float(stats.norm.ppf(0.975))
"""Standard errors on either side of a mean in a 95 % interval of normal noise."""


class Cell(NamedTuple):
    """The runs of one point: its coordinates, the live runs, how many ran and how many died."""

    values: Mapping[str, Any]
    live: xr.Dataset
    runs: int
    dead: int

    def last(self, name: str) -> Float[np.ndarray, "runs ..."]:
        """Return a record at each live run's last step, or what was known of it before it ran."""
        found = self.live[name]
        return np.asarray((found.isel(step=-1) if "step" in found.dims else found).values, np.float64)

    def first(self, name: str) -> Float[np.ndarray, "runs ..."]:
        """Return a record before training."""
        return np.asarray(self.live[name].isel(step=0).values, np.float64)


def cells(dataset: xr.Dataset, **where: Any) -> Iterator[Cell]:
    r"""Yield every point whose coordinates have the given values, in the order in which it first appears.

    $\{c\} = \{\text{runs}\} / (\text{equal in all coordinates but the seed})$

    Needs ``died_at`` (negative: alive) and dims (run, step, ...). Steps after a point's last one (``steps``, where the
    dataset has it) are left out: other points record at other steps. A coordinate that the dataset lacks selects
    nothing. Shapes: Dataset -> Cells with live [runs, step, ...]. Raises: KeyError without ``died_at``.

    Ref: standard.

    >>> runs = xr.Dataset(
    ...     {"loss": (("run", "step"), [[3.0, 1.0], [3.0, 2.0], [3.0, 5.0]]), "died_at": ("run", [-1, 4, -1])},
    ...     {"step": [0, 9], "system": ("run", ["ring", "ring", "torus"]), "seed": ("run", [0, 1, 0])},
    ... )
    >>> [(cell.values, cell.last("loss").tolist(), cell.runs, cell.dead) for cell in cells(runs, system="ring")]
    [({'system': 'ring'}, [1.0], 2, 1)]
    """
    if any(name not in dataset.coords for name in where):
        return
    chosen = np.ones(dataset.sizes["run"], bool)
    for name, value in where.items():
        chosen &= np.asarray(dataset[name].values == value)
    runs = dataset.isel(run=np.flatnonzero(chosen))
    names = sorted(str(n) for n, c in dataset.coords.items() if c.dims == ("run",) and n not in ("seed", "run"))
    columns = [runs[name].values.tolist() for name in names]
    members: dict[tuple, list[int]] = {}
    for place, row in enumerate(zip(*columns, strict=True)):
        members.setdefault(row, []).append(place)
    for row, places in members.items():
        mine = runs.isel(run=places)
        live = mine.isel(run=np.flatnonzero(mine["died_at"].values < 0))
        steps = int(live["steps"].values.max(initial=0)) if "steps" in live else int(live["step"].values[-1])
        dead = len(places) - live.sizes["run"]
        yield Cell(dict(zip(names, row, strict=True)), live.sel(step=slice(0, steps)), len(places), dead)


def average(values: Float[np.ndarray, "..."]) -> float:
    r"""Return the mean of what is a finite number, NaN where nothing is.

    $\bar x = \frac1{|F|} \sum_{i \in F} x_i$ over the finite $x_i$. Shapes: [...] -> float. Raises: nothing.

    Ref: standard.

    >>> average(np.array([[1.0, np.nan], [2.0, np.inf]]))
    1.5
    """
    numbers = values[np.isfinite(values)]
    return float(numbers.mean()) if numbers.size else float("nan")


def control(value: Number, requirement: str, passed: bool | np.bool_) -> Control:
    """Return one control as plain data: a value, the requirement on it in words, and whether it is met.

    Shapes: scalars. Raises: nothing. Ref: standard.

    >>> control(np.float32(0.5), "at least 0.25", np.bool_(True))
    {'value': 0.5, 'requirement': 'at least 0.25', 'passed': True}
    """
    return {"value": float(value), "requirement": requirement, "passed": bool(passed)}


def information(value: Number, meaning: str) -> Control:
    """Return a number that belongs beside the verdict and cannot fail. Shapes: scalars. Raises: nothing.

    Ref: standard.

    >>> information(3, "runs left out")
    {'value': 3.0, 'requirement': 'runs left out (for information)', 'passed': True}
    """
    return control(value, f"{meaning} (for information)", True)


def passed(controls: Mapping[str, Control]) -> bool:
    """Tell whether every control passed; none at all pass. Raises: nothing.

    Ref: standard.

    >>> passed({}), passed({"gap": control(1, "below 1", False), "runs": information(3, "runs")})
    (True, False)
    """
    return all(c["passed"] for c in controls.values())


def interval_of(found: Estimate, runs: int, sigma: float | int = INTERVAL_SIGMA) -> Interval:
    r"""Return a mean and its interval from a standard error, $\bar x \pm \sigma\,\mathrm{SE}$, 95 % by default.

    Shapes: scalars. Raises: nothing. Ref: standard.

    >>> interval_of(Estimate(1.0, 0.25, 1.0, 100.0), 4, sigma=2)
    Interval(mean=1.0, low=0.5, high=1.5, n=4)
    """
    return Interval(found.mean, found.mean - sigma * found.error, found.mean + sigma * found.error, runs)


def one_sided(interval: Interval, bound: float | int, side: str, controls: Mapping[str, Control]) -> Status:
    r"""Decide "the quantity lies below (above) the bound": supported where the whole interval does.

    below: supported if $\mathrm{high} < b$, contradicted if $\mathrm{low} > b$, else undecided; above: mirrored

    Undecided where a control fails or an end is NaN. Shapes: scalars. Raises: ValueError for another side.

    Ref: standard.

    >>> ends = Interval(0.5, 0.4, 0.6, 5)
    >>> one_sided(ends, 0.7, "below", {}), one_sided(ends, 0.7, "above", {}), one_sided(ends, 0.55, "below", {})
    ('supported', 'contradicted', 'undecided')
    """
    decided = decide(interval, bound, side, {})
    return decided if passed(controls) else "undecided"


def equivalent(interval: Interval, margin: float | int, controls: Mapping[str, Control]) -> Status:
    r"""Decide "the quantity is 0 up to a margin": supported inside, contradicted outside, undecided across an edge.

    supported if $-m < \mathrm{low}$ and $\mathrm{high} < m$, contradicted if $\mathrm{low} > m$ or $\mathrm{high} < -m$

    Undecided where a control fails or an end is NaN. Shapes: scalars. Raises: nothing. Ref: Schuirmann1987.

    >>> equivalent(Interval(0.01, -0.02, 0.04, 5), 0.1, {}), equivalent(Interval(0.5, 0.4, 0.6, 5), 0.1, {})
    ('supported', 'contradicted')
    """
    if not passed(controls) or np.isnan([interval.low, interval.high]).any():
        return "undecided"
    if -margin < interval.low and interval.high < margin:
        return "supported"
    return "contradicted" if interval.low > margin or interval.high < -margin else "undecided"


def counts(points: Iterable[Any]) -> tuple[int, int]:
    """Return the ``runs`` and ``dead`` of some points together. Raises: AttributeError for what has none.

    Ref: standard.

    >>> counts([Cell({}, xr.Dataset(), 5, 1), Cell({}, xr.Dataset(), 3, 0)])
    (8, 1)
    """
    pairs = [(point.runs, point.dead) for point in points]
    return sum(runs for runs, _ in pairs), sum(dead for _, dead in pairs)


def make_verdict(
    claim: str,
    texts: tuple[str, str],
    interval: Interval,
    status: Status,
    counts: tuple[int, int],
    controls: Mapping[str, Control],
) -> Verdict:
    """Return a verdict; ``texts`` are its statement and what would support it, ``counts`` its runs and dead runs.

    What is no finite number in the interval becomes None. Shapes: scalars. Raises: nothing. Ref: standard.

    >>> ends = Interval(0.5, 0.4, float("nan"), 5)
    >>> verdict = make_verdict("A", ("It falls.", "below 0"), ends, "undecided", (5, 1), {})
    >>> verdict.measured, verdict.high, verdict.n_runs, verdict.n_dead
    (0.5, None, 5, 1)
    """
    mean, low, high = (float(x) if np.isfinite(x) else None for x in interval[:3])
    return Verdict(claim, texts[0], status, mean, low, high, texts[1], *counts, dict(controls))


def not_run(claim: str, statement: str, why: str) -> Verdict:
    """Return the verdict on a claim whose runs the sweep lacks. Raises: nothing.

    Ref: standard.

    >>> not_run("A", "It falls.", "needs the runs of the study 'depth'").status
    'not_run'
    """
    return Verdict(claim, statement, "not_run", None, None, None, why, 0, 0, {})


def complete(found: Sequence[Verdict], claims: Mapping[str, tuple[str, str]]) -> list[Verdict]:
    """Return verdicts in the order of ``claims``, with one that says "not run" for every claim that has none.

    ``claims`` maps the name of a claim to its statement and the study that decides it; the claim of a verdict is that
    name, or the name and a place, ``name [place]``. Raises: ValueError for a verdict on another claim.

    Ref: standard.

    >>> claims = {"A": ("It falls.", "depth"), "B": ("It grows.", "width")}
    >>> [(v.claim, v.status) for v in complete([not_run("B [N = 4]", "It grows.", "-")], claims)]
    [('A', 'not_run'), ('B [N = 4]', 'not_run')]
    """
    order, names = list(claims), [verdict.claim.partition(" [")[0] for verdict in found]
    unknown = sorted(set(names) - set(order))
    if unknown:
        raise ValueError(f"claim = {unknown[0]!r}: must be one of {', '.join(order)}")
    absent = [(claim, *words) for claim, words in claims.items() if claim not in names]
    added = [not_run(claim, text, f"needs the runs of the study {study!r}") for claim, text, study in absent]
    return sorted([*found, *added], key=lambda verdict: order.index(verdict.claim.partition(" [")[0]))
