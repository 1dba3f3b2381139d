"""The runs of a dataset, grouped by point. Every judge and every figure groups its runs here.

A point is what all its runs share: every coordinate of a run but its seed.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Int


class Point(NamedTuple):
    """The runs of one point: its coordinates, the live runs, how many ran and how many died."""

    values: Mapping[str, Any]
    live: xr.Dataset
    runs: int
    dead: int

    def last(self, name: str) -> Float[np.ndarray, "runs ..."]:
        """Returns a record at the last step of each live run, or a number that was known before it ran."""
        found = self.live[name]
        return np.asarray((found.isel(step=-1) if "step" in found.dims else found).values, np.float64)

    def first(self, name: str) -> Float[np.ndarray, "runs ..."]:
        """Returns a record before training."""
        return np.asarray(self.live[name].isel(step=0).values, np.float64)


def point_names(dataset: xr.Dataset) -> list[str]:
    """Returns the coordinates that make a point: those along ``run`` but the seed."""
    return sorted(str(n) for n, c in dataset.coords.items() if c.dims == ("run",) and n not in ("seed", "run"))


def where(dataset: xr.Dataset, **wanted: Any) -> xr.Dataset:
    """Returns the runs whose coordinates have the wanted values; a coordinate that is absent selects nothing."""
    keep = np.ones(dataset.sizes["run"], bool)
    for name, value in wanted.items():
        keep &= np.asarray(dataset[name].values == value) if name in dataset.coords else False
    return dataset.isel(run=np.flatnonzero(keep))


def grouped(dataset: xr.Dataset) -> Iterator[tuple[dict[str, Any], xr.Dataset]]:
    """Yields the coordinates and all runs of every point, in the order in which the points first appear."""
    names = point_names(dataset)
    columns = [dataset[name].values.tolist() for name in names]
    members: dict[tuple, list[int]] = {}
    for place, row in enumerate(zip(*columns, strict=True) if names else [()] * dataset.sizes["run"]):
        members.setdefault(row, []).append(place)
    for row, places in members.items():
        yield dict(zip(names, row, strict=True)), dataset.isel(run=places)


def split_points(dataset: xr.Dataset, **wanted: Any) -> Iterator[Point]:
    r"""Yields every point whose coordinates have the wanted values, in the order in which it first appears.

    $\{\text{points}\} = \{\text{runs}\} / (\text{equal in all coordinates but the seed})$

    Needs ``died_at`` (negative: alive) and dims (run, step, ...). Steps after a point's last one (``steps``, where the
    dataset has it) are left out, because other points record at other steps.
    Shapes: Dataset -> Points with live [runs, step, ...]. Raises KeyError without ``died_at``.

    >>> runs = xr.Dataset(
    ...     {"loss": (("run", "step"), [[3.0, 1.0], [3.0, 2.0], [3.0, 5.0]]), "died_at": ("run", [-1, 4, -1])},
    ...     {"step": [0, 9], "system": ("run", ["ring", "ring", "torus"]), "seed": ("run", [0, 1, 0])},
    ... )
    >>> [(p.values, p.last("loss").tolist(), p.runs, p.dead) for p in split_points(runs, system="ring")]
    [({'system': 'ring'}, [1.0], 2, 1)]
    """
    for values, runs in grouped(where(dataset, **wanted)):
        live = alive(runs)
        steps = int(live["steps"].values.max(initial=0)) if "steps" in live else int(live["step"].values[-1])
        count = runs.sizes["run"]
        yield Point(values, live.sel(step=slice(0, steps)), count, count - live.sizes["run"])


def alive(runs: xr.Dataset) -> xr.Dataset:
    """Returns the runs that did not die."""
    return runs.isel(run=np.flatnonzero(runs["died_at"].values < 0))


def average(values: Float[np.ndarray, "..."]) -> float:
    """Returns the mean of the finite numbers, NaN where there is none.

    >>> average(np.array([[1.0, np.nan], [2.0, np.inf]]))
    1.5
    """
    numbers = values[np.isfinite(values)]
    return float(numbers.mean()) if numbers.size else float("nan")


def counts(points: Iterable[Any]) -> tuple[int, int]:
    """Returns the ``runs`` and ``dead`` of some points together.

    >>> counts([Point({}, xr.Dataset(), 5, 1), Point({}, xr.Dataset(), 3, 0)])
    (8, 1)
    """
    pairs = [(point.runs, point.dead) for point in points]
    return sum(runs for runs, _ in pairs), sum(dead for _, dead in pairs)


def recorded(dataset: xr.Dataset) -> Bool[np.ndarray, "runs steps"]:
    """Returns whether a run has a finite record at a step."""
    finite = np.zeros((dataset.sizes["run"], dataset.sizes["step"]), bool)
    for variable in (v for v in dataset.data_vars.values() if {"run", "step"} <= set(v.dims)):
        others = [d for d in variable.dims if d not in ("run", "step")]
        finite |= variable.notnull().any(others).transpose("run", "step").values
    return finite


def last_steps(dataset: xr.Dataset) -> Int[np.ndarray, " runs"]:
    """Returns the last step at which each run has a finite record, -1 for none."""
    return np.where(recorded(dataset), dataset["step"].values[None, :], -1).max(axis=1, initial=-1)


def planned_steps(dataset: xr.Dataset) -> Int[np.ndarray, " runs"]:
    """Returns the step at which each run ends: variable ``steps``, else the last step."""
    if "steps" in dataset:
        return dataset["steps"].values.astype(int)
    return np.full(dataset.sizes["run"], int(dataset["step"].values[-1]))
