"""Results of a sweep from numbers made by hand: the dataset that the engine would merge, and nothing is compiled.

Names of dims, their labels, schedules and the coordinates of runs come from the experiment that the room makes of each
point, and the engine itself puts the records together. A test says what the records hold, and nothing else.
"""

import dataclasses
import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from rgflow import registry
from rgflow.engine import grid, health, records
from rgflow.engine.plan import Plan
from rgflow.protocol import Experiment, Point

Values = Mapping[str, Any]
Filling = Values | Callable[[grid.Run, Experiment], Values]
"""Numbers by name: of every run at once, or a function that returns those of one run.

Arrays are broadcast to (run, step, *dims), without the step for what is known before a run, and without the run in
those of one run. Steps and labels are those of all runs together, of which a run takes its own, or a run's own.
"""


def config_of(room: str, preset: str = "smoke", **overrides: Any) -> Any:
    """Returns the config of a room's preset with some of its keys set; dots of their names are written ``__``."""
    config = importlib.import_module(f"configs.{room}").get_config(preset)
    config.update_from_flattened_dict({name.replace("__", "."): value for name, value in overrides.items()})
    return config


def results(
    config: Any,
    points: Sequence[Point],
    measured: Filling,
    known: Filling | None = None,
    died_at: Sequence[int] | None = None,
    schedule: Sequence[int] | None = None,
    dtype: Any = np.float32,
    attributes: Mapping[str, str] | None = None,
) -> xr.Dataset:
    """Returns the merged results of a sweep in which every run recorded the ``measured`` numbers.

    ``known`` are the reference variables, ``died_at`` the step of death of every run (``health.NEVER`` for the living,
    whose records the caller fills with NaN from there on). ``schedule`` replaces the steps at which the room records;
    records have fewer digits than ``np.float64``, which a test of an identity may ask for.
    Runs are in the order of ``points``, then of seeds; the groups of the sweep may put them into another one.
    """
    runs = grid.expand(points)
    experiments = [_experiment(config, run.values, tuple(schedule or ())) for run in runs]
    row = {run.identity: place for place, run in enumerate(runs)}
    before = _rows(runs, experiments, known or {}, stepwise=False)
    plan = _Known(config, lambda _: experiments[0])
    for run, experiment, reference in zip(runs, experiments, before, strict=True):
        plan.informed[run.identity] = dataclasses.replace(experiment, reference=reference)
    plan = plan.grown(runs, len)
    rows = _rows(runs, experiments, measured, stepwise=True)

    def read(group: grid.Group, step: int) -> dict[str, np.ndarray]:
        members, place = [row[run.identity] for run in group.runs], plan.schedule(group).index(step)
        found = {
            name: np.stack([rows[k][name][place] for k in members]).astype(dtype)
            for name in dict.fromkeys(name for k in members for name in rows[k])
        }
        deaths = [health.NEVER if died_at is None else died_at[k] for k in members]
        return {**found, records.DIED_AT: np.array(deaths, np.int32)}

    found = records.assembled(plan, read, attributes or {})
    assert found is not None
    return found


def shapes(config: Any, points: Sequence[Point], **unlabelled: int) -> dict[str, tuple[int, ...]]:
    """Returns the shape of every variable without its runs and steps, as long as the longest of the points needs it.

    ``unlabelled`` are the lengths of dims without labels; variables with others of them are left out.
    """
    experiments = [_experiment(config, point.values, ()) for point in points]
    sizes = {**unlabelled, **{dim: len(labels) for dim, labels in _labels(experiments).items()}}
    dims = {name: found for experiment in experiments for name, found in experiment.dims.items()}
    return {n: tuple(sizes[d] for d in found) for n, found in dims.items() if all(d in sizes for d in found)}


@dataclasses.dataclass(frozen=True)
class _Known(Plan):
    """A plan that was told the experiment of every run, with what is known before it."""

    informed: dict[tuple[int, int], Experiment] = dataclasses.field(default_factory=dict)

    def experiment(self, run: grid.Run) -> Experiment:
        return self.informed[run.identity]


_MADE: dict[str, Experiment] = {}
"""By the text of the config: the tests of a room ask for the same experiments again and again."""


def _experiment(config: Any, values: Values, schedule: tuple[int, ...]) -> Experiment:
    """Returns the room's experiment of a point."""
    of_point = grid.point_config(config, values)
    text = json.dumps(of_point.to_dict(), sort_keys=True, default=str)
    if text not in _MADE:
        _MADE[text] = registry.make(of_point)
    return dataclasses.replace(_MADE[text], schedule=schedule) if schedule else _MADE[text]


def _rows(
    runs: Sequence[grid.Run], experiments: Sequence[Experiment], filling: Filling, stepwise: bool
) -> list[dict[str, np.ndarray]]:
    """Returns the numbers of every run by name, in the shapes that the run's own experiment declares."""
    steps = sorted({step for experiment in experiments for step in experiment.schedule})
    labels = _labels(experiments)
    rows = []
    for place, (run, experiment) in enumerate(zip(runs, experiments, strict=True)):
        row = {}
        for name, value in (filling(run, experiment) if callable(filling) else filling).items():
            array, dims = np.asarray(value, np.float64), experiment.dims.get(name, ())
            axes = [_Axis(len(steps), [steps.index(step) for step in experiment.schedule])] * stepwise
            axes += [_axis(experiment, dim, labels) for dim in dims]
            if not callable(filling) and array.ndim == 1 + len(axes):
                assert len(array) in (1, len(runs)), f"{name}: has {len(array)} runs, the points have {len(runs)}"
                array = array[place % len(array)]
            row[name] = _fitted(name, array, axes)
        rows.append(row)
    return rows


def _labels(experiments: Sequence[Experiment]) -> dict[str, list]:
    """Returns the labels of every dim, those of the experiment that has most of them."""
    found: dict[str, list] = {}
    for experiment in experiments:
        for dim, labels in experiment.coords.items():
            longer, shorter = sorted((found.get(dim, []), list(labels)), key=len, reverse=True)
            assert longer[: len(shorter)] == shorter, f"{dim}: {shorter} are not the first of {longer}"
            found[dim] = longer
    return found


class _Axis(NamedTuple):
    """An axis of a record: its length over all runs, and the places that one run has; None where it has no labels."""

    longest: int
    own: Sequence[int] | None


def _axis(experiment: Experiment, dim: str, labels: Mapping[str, list]) -> _Axis:
    own = range(len(experiment.coords[dim])) if dim in experiment.coords else None
    return _Axis(len(labels.get(dim, ())), own)


def _fitted(name: str, array: np.ndarray, axes: Sequence[_Axis]) -> np.ndarray:
    """Returns the numbers of one run: what other runs have alone is cut off, what is shorter is broadcast."""
    assert array.ndim <= len(axes), f"{name}: {array.shape} does not fit {axes}"
    array = array.reshape((1,) * (len(axes) - array.ndim) + array.shape)
    shape = []
    for k, (length, (longest, own)) in enumerate(zip(array.shape, axes, strict=True)):
        if own is not None and length == longest:
            array = np.take(array, own, axis=k)
        shape.append(length if own is None else len(own))
        assert array.shape[k] in (1, shape[k]), f"{name}: {array.shape} does not fit {axes}"
    return np.broadcast_to(array, shape)
