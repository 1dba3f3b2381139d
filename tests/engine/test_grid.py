"""Points, runs, groups, digests and the device rule."""

import json

import pytest
import toy

from rgflow.engine import grid, keys, mesh
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


def test_runs_are_grouped_by_static_and_schedule():
    experiment_of = grid.experiments(toy.make, toy.config())
    points = [Point({"size": 4}, 2), Point({"size": 6}, 1), Point({"size": 4, "scale": 3.0}, 1), Point({"steps": 5}, 1)]
    groups = grid.group_runs(grid.expand(points), experiment_of, len, first=2)
    assert [(g.name, len(g.runs), g.run_batch) for g in groups] == [
        ("group_002", 3, 3), ("group_003", 1, 1), ("group_004", 1, 1)
    ]  # fmt: skip


def test_point_values_reach_nested_keys_and_leave_the_config_alone():
    config = toy.config()
    assert grid.point_config(config, {"engine.run_batch": 7, "scale": 2.0}).engine.run_batch == 7
    assert config.engine.run_batch == 0


def test_digest_ignores_engine_sweep_and_seeds_only():
    base = toy.config(sweep={"scale": (1.0,)}, training={"a": {"seeds": 3, "steps": 5}})
    digest = grid.config_digest(base)
    for change in ({"sweep": {"scale": (2.0,)}}, {"training": {"a": {"seeds": 4, "steps": 5}}}):
        assert grid.config_digest(toy.config(**{**base.to_dict(), **change})) == digest
    other = toy.config(**{**base.to_dict(), "training": {"a": {"seeds": 3, "steps": 6}}})
    assert grid.config_digest(other) != digest
    changed = grid.changed_fields(grid.science_fields(base), grid.science_fields(other))
    assert changed == ["training.a.steps: 5 -> 6"]


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
