"""The datasets that tests make by hand are those that the engine merges."""

import datasets
import numpy as np
import pytest
import toy

from rgflow import registry
from rgflow.engine import health, records
from rgflow.engine.plan import Plan
from rgflow.protocol import Point

POINTS = [
    Point({"size": 4, "scale": 0.5, "steps": 12, "fatal_step": -1}, 3),
    Point({"size": 6, "scale": 2.0, "steps": 5, "fatal_step": 2}, 2),
    Point({"size": 4, "scale": 1.5, "steps": 12, "fatal_step": -1}, 1),
]
"""Two programs with spectra of unlike lengths and unlike schedules; the runs of the second one die."""


@pytest.fixture
def toy_room(monkeypatch):
    monkeypatch.setitem(registry.EXPERIMENTS, "toy", toy.make)


@pytest.fixture
def merged(tmp_path, toy_room):
    config = toy.config()
    groups = toy.sweep(tmp_path, config, POINTS)
    return records.merge(tmp_path, Plan(config, toy.make, tuple(groups)), {"experiment": "toy"})


def numbers(dataset, run):
    """Returns what a merged dataset holds of a run: its records at its own steps, and what was known before it."""
    one = dataset.sel(run=(dataset["seed"] == run.seed) & (dataset["scale"] == run.values["scale"])).isel(run=0)
    one = one.sel(step=[0, 1, 4, run.values["steps"]])
    one = one.isel(index=slice(run.values["size"]))
    measured = {name: x.values for name, x in one.data_vars.items() if "step" in x.dims}
    return measured, {"limit": one["limit"].values}


def test_made_dataset_is_the_merged_one(merged):
    assert merged["died_at"].values.tolist() == [health.NEVER] * 4 + [2, 2]
    died_at = [health.NEVER] * 3 + [2, 2] + [health.NEVER]  # the engine puts the groups one after the other
    made = datasets.results(
        toy.config(), POINTS,
        measured=lambda run, _: numbers(merged, run)[0], known=lambda run, _: numbers(merged, run)[1],
        died_at=died_at, attributes={"experiment": "toy"},
    )  # fmt: skip
    assert made.identical(merged)
    assert list(made.variables) == list(merged.variables)
    for name in merged.variables:
        assert (made[name].dims, made[name].dtype) == (merged[name].dims, merged[name].dtype), name


def test_numbers_of_all_runs_at_once_are_those_of_each(toy_room):
    steps, index = np.array([0, 1, 4, 5, 12]), np.arange(6)
    value = 100 * np.arange(6.0)[:, None, None] + 10 * steps[:, None] + index
    made = datasets.results(toy.config(), POINTS, {"singular_value": value, "projection": 7.0}, {"limit": np.arange(6)})
    assert dict(made.sizes) == {"run": 6, "step": 5, "index": 6}
    assert made["limit"].values.tolist() == [0, 1, 2, 5, 3, 4]
    for place, run in enumerate([0, 1, 2, 5, 3, 4]):
        size, last = (4, 12) if place < 4 else (6, 5)
        expected = np.where((index < size) & np.isin(steps, (0, 1, 4, last))[:, None], value[run], np.nan)
        np.testing.assert_array_equal(made["singular_value"][place], expected)
    assert np.nanmin(made["projection"]) == np.nanmax(made["projection"]) == 7


@pytest.mark.parametrize(
    "values", [{"singular_value": np.ones(3)}, {"projection": np.ones((6, 5, 6))}, {"unknown": np.ones((6, 5, 2))}]
)
def test_numbers_that_do_not_fit_what_the_experiment_declares_are_refused(toy_room, values):
    with pytest.raises(AssertionError, match="does not fit"):
        datasets.results(toy.config(), POINTS, values)
