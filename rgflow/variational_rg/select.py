"""Which runs belong together: chains, small machines and stacks by point, and which of the stacks a figure shows."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from rgflow.judging.points import Point, counts, point_names, split_points, where
from rgflow.protocol import Results

PREFERRED = {"coupling": 0.408, "l1": 2e-3}
"""What is shown where one value must be chosen and several would do: the published coupling, a middle penalty."""

FAMILY = ("size", "algorithm", "sweeps")
"""What the stacks of a figure share."""


class Chains(NamedTuple):
    """The chains of one lattice: live runs with their records, counts of live and dead runs, how the chains ran.

    ``interval`` is the number of sweeps behind a record.
    """

    size: int
    coupling: float
    live: xr.Dataset
    runs: int
    dead: int
    interval: int
    walkers: int


def chains(results: Results) -> list[Chains]:
    """Returns the chains by size and coupling, in increasing order; records before any sweep are left out."""
    dataset = where(results.dataset, system="lattice")
    # A chain knows nothing of penalties and machines: runs that differ in those alone are of one lattice.
    dataset = dataset.drop_vars(set(point_names(dataset)) - {"size", "coupling"})
    found = sorted(split_points(dataset), key=lambda point: (point.values["size"], point.values["coupling"]))
    return [_chains(point, dataset) for point in found]


def _chains(point: Point, dataset: xr.Dataset) -> Chains:
    energies = point.live["chain_energy"].transpose("run", "step", "start").values
    finite = np.asarray(np.isfinite(energies).all(axis=2))
    steps = np.asarray(point.live["step"].values)
    recorded = finite.any(axis=0) & (steps > 0)
    whole = finite[:, recorded].all(axis=1)
    live = point.live.isel(run=np.flatnonzero(whole), step=np.flatnonzero(recorded))
    size, coupling = int(point.values["size"]), float(point.values["coupling"])
    interval = int(steps[np.argmax(recorded)]) if recorded.any() else 0
    walkers = int(dataset["walkers_per_start"].values[0])
    return Chains(size, coupling, live, int(whole.sum()), point.runs - int(whole.sum()), interval, walkers)


def small(results: Results) -> list[Point]:
    """Returns the points of machines small enough to enumerate; none where no run of them is alive."""
    found = list(split_points(results.dataset, system="small"))
    return found if any(point.live.sizes["run"] for point in found) else []


def stacks(results: Results) -> list[Point]:
    """Returns the points of stacks."""
    return list(split_points(results.dataset, system="stack"))


def alike(results: Results) -> list[Point]:
    """Returns the stacks that differ in coupling, penalty and shuffle alone, the commonest of several families."""
    found = results.once(stacks)
    family = lambda point: tuple(point.values[name] for name in FAMILY)  # noqa: E731
    common = Counter(map(family, found)).most_common(1)
    mine = [point for point in found if family(point) == common[0][0]]
    return sorted(mine, key=lambda point: (point.values["coupling"], point.values["l1"]))


def real(points: Sequence[Point]) -> list[Point]:
    """Returns the points of real data with a live run."""
    return at(live(points), shuffle="none")


def live(points: Sequence[Point]) -> list[Point]:
    """Returns the points with a live run."""
    return [point for point in points if point.live.sizes["run"]]


def at(points: Sequence[Point], **values: Any) -> list[Point]:
    """Returns the points with these values."""
    return [point for point in points if values.items() <= dict(point.values).items()]


def commonest(points: Sequence[Point], name: str) -> float:
    """Returns the value of an axis at which most points are, of several the one nearest to the preferred one."""
    found = Counter(float(point.values[name]) for point in points)
    return max(found, key=lambda value: (found[value], -abs(value - PREFERRED[name])))


def place(values: Mapping[str, Any]) -> str:
    """Returns what tells a point of stacks from the others."""
    return f"L1 = {values['l1']:g}, K = {values['coupling']:.4g}"


def control_of(point: Point, others: Sequence[Point], shuffle: str) -> Point | None:
    """Returns the point that differs from a point in its shuffle alone, None where there is no live one.

    Sites that were permuted are independent fair spins at every coupling: for them any coupling serves.
    """
    free = ("coupling",) if shuffle == "sites" else ()
    wanted = {name: v for name, v in {**point.values, "shuffle": shuffle}.items() if name not in free}
    return next(iter(at(live(others), **wanted)), None)


def runs_of(results: Results, points: Sequence[Point]) -> xr.Dataset:
    """Returns all runs of some points, live and dead ones."""
    dataset, keep = results.dataset, np.zeros(results.dataset.sizes["run"], bool)
    for point in points:
        keep |= np.all([dataset[name].values == value for name, value in point.values.items()], axis=0)
    return dataset.isel(run=np.flatnonzero(keep))


def lost(points: Sequence[Point]) -> str:
    """Returns the sentence that says how many dead runs a figure leaves out, '' where there are none."""
    _, dead = counts(points)
    return f" Dead runs left out: {dead}." if dead else ""


def layer_names(results: Results) -> list[str]:
    """Returns what the layers of a stack are called in figures."""
    return [f"layer {k + 1} ({units} units)" for k, units in enumerate(results.config["stack"]["layers"])]


def strength(value: float) -> str:
    """Returns a strength of the penalty as a short text.

    >>> strength(0.0), strength(2e-4), strength(0.0125)
    ('0', '2e-4', '0.0125')
    """
    if value == 0 or value >= 0.01:
        return f"{value:.3g}"
    digits, _, power = f"{value:.2e}".partition("e")
    return f"{float(digits):g}e{int(power)}"
