"""The sweep that a config makes: studies, the star of the phase diagrams, words from the command line."""

import pytest

from configs import common, rank_flow
from rgflow.engine import grid
from rgflow.rank_flow import experiment


def sweep(*studies, preset="default", **axes):
    config = rank_flow.get_config(preset)
    config.sweep.study = studies
    config.sweep.update(axes)
    return config, rank_flow.get_sweep(config)


def test_studies_have_the_points_they_say():
    counts = {study: len(sweep(study)[1]) for study in rank_flow.STUDIES}
    # 2 mixings x 2 lengths times 1, 4 + 2, 6 and 3; a star of 3 + 3 + 2 sizes at 4 lengths, the centre thrice.
    assert counts == {"claims": 4, "controls": 24, "settings": 28, "blocks": 12, "phases": 32}
    assert len(sweep(*rank_flow.STUDIES)[1]) == sum(counts.values())


def test_phases_leave_the_centre_one_axis_at_a_time():
    config, points = sweep("phases")
    centre = {axis: config.phases[axis] for axis in rank_flow.PHASE_AXES}
    for point in points:
        assert sum(point.values[axis] != centre[axis] for axis in centre) <= 1
        assert point.values["steps"] == config.phases.steps
    runs = grid.expand(points)
    assert len(runs) == (8 - 2) * 4 * config.phases.seeds


def test_tokenwise_networks_have_no_window_to_vary():
    points = sweep("phases", phases={"mixing": ("tokenwise",)})[1]
    assert {point.values["window"] for point in points} == {0}
    assert len(points) == 6 * 4


@pytest.mark.parametrize("preset", common.PRESETS)
def test_every_point_of_every_preset_is_a_valid_experiment(preset):
    config, points = sweep(*rank_flow.STUDIES, preset=preset, mixing=("tokenwise,window", "mixer,flat,attention"))
    keys = {frozenset(point.values) for point in points}
    common_keys = frozenset.intersection(*keys)
    assert {len(k - common_keys) for k in keys} == {0, 1}, "every point sets the same keys, and one more for a setting"
    for point in points[:: max(1, len(points) // 20)]:
        made = experiment.make(grid.point_config(config, point.values))
        assert made.schedule[-1] == point.values["steps"]


def test_paper_holds_every_study_and_the_published_sizes():
    config = rank_flow.get_config("paper")
    assert set(config.sweep.study) == set(rank_flow.STUDIES)
    assert set(config.sweep.mixing) == {"tokenwise", "window", "mixer", "flat", "attention"}
    points = rank_flow.get_sweep(config)
    assert {point.seeds for point in points} == {32}
    assert {point.values["steps"] for point in points} == {10_000}
    lengths = {point.values["correlation_length"] for point in points}
    assert (min(lengths), max(lengths)) == (0.5, 15.0)


@pytest.mark.parametrize(
    ("key", "value", "instead"),
    [
        ("steps", 50_000, "runs.MIXING.steps"),
        ("learning_rate", 1e-2, "runs.MIXING.learning_rate"),
        ("mixing", "window", "sweep.mixing"),
        ("correlation_length", 3.0, "sweep.correlation_length"),
        ("control", "iid", "sweep.control"),
    ],
)
def test_keys_that_the_sweep_sets_are_refused_instead_of_being_ignored(key, value, instead):
    config = rank_flow.get_config()
    config[key] = value
    with pytest.raises(ValueError, match=f"^{key} = .*: set per point by the sweep; set {instead} instead$"):
        rank_flow.get_sweep(config)


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        (
            {"study": ("claims,phase",)},
            "sweep.study = 'phase': must be one of claims, controls, settings, blocks, phases",
        ),
        ({"mixing": ("conv",)}, "sweep.mixing = 'conv': must be one of attention, flat, mixer, tokenwise, window"),
    ],
)
def test_unknown_words_are_refused(axes, message):
    config = rank_flow.get_config()
    config.sweep.update(axes)
    with pytest.raises(ValueError, match=message):
        rank_flow.get_sweep(config)
