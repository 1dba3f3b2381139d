"""Points, runs, groups, plans, digests and the device rule."""

import dataclasses
import json

import jax
import numpy as np
import pytest
import toy

from rgflow.engine import grid, keys, mesh, prepare
from rgflow.engine.plan import Plan, distinct
from rgflow.protocol import Point


def test_point_id_is_stable_across_versions():
    # A pinned value: results on disk are found again by it, so it may never change.
    assert grid.Run({"mixing": "window", "correlation_length": 1.0}, 3).identity == (1196056461, 3)


def test_expand_drops_repeated_runs():
    runs = grid.expand([Point({"a": 1}, 2), Point({"a": 1}, 3), Point({"a": 2}, 1)])
    assert [(r.values["a"], r.seed) for r in runs] == [(1, 0), (1, 1), (1, 2), (2, 0)]


def test_groups_survive_json():
    group = grid.Group("group_004", tuple(grid.expand(toy.points())), 3)
    again = grid.Group.from_json(json.loads(json.dumps(group.to_json())))
    assert again == group
    assert [r.identity for r in again.runs] == [r.identity for r in group.runs]


def test_seeds_that_follow_each_other_are_one_entry_of_the_file():
    runs = [*grid.runs_of({"a": 1}, 0, 3), *grid.runs_of({"a": 2}, 0, 1), *grid.runs_of({"a": 1}, 3, 2)]
    data = grid.Group("group_000", (*runs, grid.Run({"a": 1}, 9)), 2).to_json()["runs"]
    assert [(one["values"]["a"], one["first_seed"], one["seeds"]) for one in data] == [
        (1, 0, 3), (2, 0, 1), (1, 3, 2), (1, 9, 1)
    ]  # fmt: skip


def test_more_runs_than_anyone_means_are_not_listed():
    absurd = {"name": "group_000", "run_batch": 2, "runs": [{"values": {}, "first_seed": 0, "seeds": 10**12}]}
    with pytest.raises(ValueError, match="group_000: holds more than 10000000 runs"):
        grid.Group.from_json(absurd)


def test_what_is_done_for_every_seed_is_cheap(monkeypatch):
    """Ids are computed once per point, experiments made once per point, and run.json does not grow with the seeds."""
    ids, made = [], []
    monkeypatch.setattr(grid, "point_id", lambda values: ids.append(0) or keys.point_id(values))

    def make(config):
        made.append(config.scale)
        return toy.make(config)

    points = toy.points((0.5, 2.0), 20_000)
    plan = Plan(toy.config(), make).grown(grid.expand(points), lambda runs: 2)
    text = json.dumps([group.to_json() for group in plan.groups], indent=2)
    again = [grid.Group.from_json(data) for data in json.loads(text)]
    assert len(text) < 1000
    assert again == list(plan.groups)
    assert len(ids) <= 12
    assert len(made) <= 2
    experiments, index = distinct(plan.experiments(plan.groups[0]))
    assert [e.reference["limit"] for e in experiments] == [0.25, 4.0]
    assert index.tolist() == [0] * 20_000 + [1] * 20_000


def test_runs_are_grouped_by_static_and_schedule():
    points = [Point({"size": 4}, 2), Point({"size": 6}, 1), Point({"size": 4, "scale": 3.0}, 1), Point({"steps": 5}, 1)]
    plan = Plan(toy.config(), toy.make).grown(grid.expand(points), len)
    assert [(g.name, len(g.runs), g.run_batch) for g in plan.groups] == [
        ("group_000", 3, 3), ("group_001", 1, 1), ("group_002", 1, 1)
    ]  # fmt: skip
    assert [plan.schedule(group)[-1] for group in plan.groups] == [12, 12, 5]


def test_a_grown_plan_keeps_its_groups_and_adds_the_runs_that_none_of_them_holds():
    plan = toy.plan_of(toy.config(), toy.points((0.5,), 2))
    grown = plan.grown(grid.expand(toy.points((0.5, 1.0), 3)), lambda runs: 1)
    assert grown.groups[:1] == plan.groups
    assert [(r.values["scale"], r.seed) for r in grown.groups[1].runs] == [(0.5, 2), (1.0, 0), (1.0, 1), (1.0, 2)]
    assert grown.groups[1].name == "group_001"
    assert grown.grown(grid.expand(toy.points((1.0,), 3)), len).groups == grown.groups


def test_a_plan_makes_the_experiment_of_a_point_once_however_it_is_cut():
    made = []

    def make(config):
        made.append(config.scale)
        return toy.make(config)

    plan = Plan(toy.config(), make).grown(grid.expand(toy.points((0.5, 2.0), 3)), len)
    (group,) = plan.groups
    assert [e.reference["limit"] for e in plan.of([]).experiments(group)] == [0.25] * 3 + [4.0] * 3
    assert plan.experiment(grid.Run({"scale": 2.0}, 7)) is plan.experiment(group.runs[-1])
    assert made == [0.5, 2.0]


def of_every_seed(config):
    """A toy whose data belong to the seed; that of seed 9 is impossible."""
    base = toy.make(config)

    def of_seed(seed):
        if seed == 9:
            raise ValueError("scale = -1: must be positive")
        other = toy.make(grid.point_config(config, {"scale": config.scale + seed}))
        return dataclasses.replace(base, hypers=other.hypers, reference=other.reference)

    return dataclasses.replace(of_seed(0), of_seed=of_seed)


def test_data_of_every_seed_reach_its_runs():
    runs = grid.expand(toy.points((0.5, 2.0), 3))
    plan = Plan(toy.config(), of_every_seed).grown(runs, len)
    (group,) = plan.groups
    experiments = plan.experiments(group)
    scales = [0.5, 1.5, 2.5, 2.0, 3.0, 4.0]
    assert [e.reference["limit"] for e in experiments] == [x**2 for x in scales]
    assert plan.of([group]).experiment(runs[4]) is experiments[4], "made once per run"
    _, hypers, rows = prepare.stacked_inputs(group, experiments, 0, mesh.run_mesh(6, 6, jax.devices()[:1]))
    assert (rows, np.asarray(hypers["scale"]).tolist()) == (6, scales)


def test_an_impossible_seed_is_refused_when_the_sweep_is_planned():
    with pytest.raises(ValueError, match="scale = -1: must be positive"):
        Plan(toy.config(), of_every_seed).grown(grid.expand(toy.points((0.5,), 10)), len)


def test_point_values_reach_nested_keys_and_leave_the_config_alone():
    config = toy.config()
    assert grid.point_config(config, {"engine.run_batch": 7, "scale": 2.0}).engine.run_batch == 7
    assert config.engine.run_batch == 0


def test_digest_ignores_engine_sweep_and_seeds_only():
    base = toy.config(sweep={"scale": (1.0,)}, runs={"a": {"seeds": 3, "steps": 5}})
    digest = grid.config_digest(base)
    for change in ({"sweep": {"scale": (2.0,)}}, {"runs": {"a": {"seeds": 4, "steps": 5}}}):
        assert grid.config_digest(toy.config(**{**base.to_dict(), **change})) == digest
    other = toy.config(**{**base.to_dict(), "runs": {"a": {"seeds": 3, "steps": 6}}})
    assert grid.config_digest(other) != digest
    changed = grid.changed_fields(grid.science_fields(base), grid.science_fields(other))
    assert changed == ["runs.a.steps: 5 -> 6"]


@pytest.mark.parametrize(
    ("platform", "runs", "devices", "requested", "expected"),
    [
        ("cpu", 64, 2, 0, 2),
        ("cpu", 1, 2, 0, 1),
        ("gpu", 64, 1, 0, 64),
        ("gpu", 10, 4, 0, 3),
        ("cpu", 64, 2, 8, 8),
        ("tpu", 8, 4, 100, 2),
    ],
)
def test_run_batch_rule(platform, runs, devices, requested, expected):
    assert mesh.choose_run_batch(platform, runs, devices, requested) == expected


def test_two_points_with_one_id_are_refused():
    colliding = [Point({"learning_rate": rate}, 1) for rate in (11.129, 19.509)]
    assert len({keys.point_id(p.values) for p in colliding}) == 1
    with pytest.raises(ValueError, match=r"11\.129.*19\.509.*share an id"):
        grid.expand(colliding)
    assert len(grid.expand(colliding[:1] * 2)) == 1
