"""The sweep that a config makes, what a point becomes, and bad configs refused in one line that starts with the key."""

import re

import numpy as np
import pytest

from configs import common
from configs import variational_rg as configs
from rgflow.engine import grid
from rgflow.variational_rg import experiment, task


def sweep(*studies, preset="default"):
    config = configs.get_config(preset)
    config.sweep.study = studies
    return config, configs.get_sweep(config)


def point_config(study="strength", **values):
    config, points = sweep(study, preset="smoke")
    return grid.point_config(config, {**points[0].values, **values})


def test_studies_have_the_points_they_say():
    counts = {study: len(sweep(study)[1]) for study in configs.STUDIES}
    assert counts == {"lattice": 3, "strength": 4, "coupling": 6, "shuffled": 5, "small": 8}


def test_a_point_of_two_studies_is_run_once():
    config, points = sweep("strength", "coupling")
    runs = grid.expand(points)
    # The default coupling at 2e-3 belongs to both.
    assert len(runs) == (4 + 6 - 1) * config.runs.stack.seeds


@pytest.mark.parametrize("preset", common.PRESETS)
def test_every_point_of_every_preset_is_a_valid_experiment(preset):
    config, points = sweep(*configs.STUDIES, preset=preset)
    for point in points:
        made = experiment.make(grid.point_config(config, point.values))
        assert made.schedule[0] == 0
        assert set(point.values) == set(configs.SWEPT)


def test_paper_is_the_published_size():
    config, points = sweep("strength", preset="paper")
    made = experiment.make(grid.point_config(config, points[0].values))
    assert made.static.widths == (1600, 400, 100, 25)
    assert made.schedule[-1] == 3 * 200 * 20_000 // 100
    assert (config.coupling, config.units, made.static.batch) == (0.408, "binary", 100)
    assert 2e-4 in config.sweep.strength.l1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"system": "brain"}, "system = 'brain': must be one of lattice, stack, small"),
        ({"coupling": float("nan")}, "coupling = nan: must lie within [-5, 5]"),
        ({"coupling": float("inf")}, "coupling = inf: must lie within [-5, 5]"),
        ({"sweeps": 0}, "sweeps = 0: must be at least 1"),
        ({"shuffle": "spins"}, "shuffle = 'spins': must be one of none, sites, bonds"),
        ({"l1": -1.0}, "l1 = -1.0: must be at least 0"),
        ({"l1": float("inf")}, "l1 = inf: must be a finite number"),
        ({"learning_rate": 0.0}, "learning_rate = 0.0: must be positive"),
        ({"final_momentum": 1.0}, "final_momentum = 1.0: must lie within [0, 1)"),
        ({"units": "trits"}, "units = 'trits': must be one of spin, binary"),
        ({"l1_method": "l2"}, "l1_method = 'l2': must be one of sign, proximal"),
        ({"algorithm": "exact"}, "algorithm = 'exact': must be cd or pcd for system = 'stack', which cannot be"),
        (
            {"stack.layers": (16, 5)},
            "stack.layers = 5: must be the lattice's 64 sites divided by the square of a whole",
        ),
        ({"stack.layers": (7,)}, "stack.layers = 7: must be the lattice's 64 sites divided by the square of a whole"),
        ({"stack.layers": (4, 16)}, "stack.layers = (4, 16): must shrink from layer to layer, by whole blocks"),
        ({"stack.layers": ()}, "stack.layers = (): must name the hidden units of at least one machine"),
        ({"stack.num_samples": 210}, "stack.num_samples = 210: must be a multiple of stack.batch"),
        ({"stack.records": 3}, "stack.records = 3: must divide the 20 steps of a machine"),
        ({"stack.num_test": 3}, "stack.num_test = 3: must be at least 4 and half of model.chains = 8"),
        ({"system": "small", "size": 5}, "small.size = 5: must be at most 4 to be enumerated"),
        ({"system": "small", "size": 4, "small.hidden": 9}, "small.hidden = 9: must be at most 6 beside 16 sites"),
        ({"coupling": -0.4}, "coupling = -0.4: must not be negative for system = 'stack'"),
        ({"system": "lattice", "lattice.walkers": 3}, "lattice.walkers = 3: must be even and at least 2"),
        ({"system": "lattice", "lattice.method": "heat_bath", "size": 9}, "size = 9: must be at least 2, and even for"),
        ({"system": "lattice", "size": 9, "coupling": -0.3}, "size = 9: must be even for a negative coupling"),
        ({"system": "lattice", "lattice.records": 5}, "lattice.steps, records = 32, 5: the records must"),
    ],
)
def test_bad_values_are_refused_with_a_sentence(values, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)) as refused:
        experiment.make(point_config(**values))
    assert "\n" not in str(refused.value)


def test_making_an_experiment_draws_no_data(monkeypatch):
    def fail(*_):
        raise AssertionError("sampled")

    monkeypatch.setattr(experiment, "data", fail)
    made = experiment.make(point_config())
    with pytest.raises(AssertionError, match="sampled"):
        dict(made.hypers)


def test_unknown_study_and_no_seeds_are_refused():
    with pytest.raises(ValueError, match=r"sweep.study = 'depth': must be one of lattice"):
        sweep("depth")
    with pytest.raises(ValueError, match=r"sweep.study = \(\): must name at least one of lattice"):
        sweep()
    config = configs.get_config()
    config.sweep.lattice.cases = ((8,),)
    with pytest.raises(ValueError, match=r"sweep.lattice.cases = \(8,\): must be pairs of size and coupling"):
        configs.get_sweep(config)
    config = configs.get_config()
    config.runs.stack.seeds = 0
    with pytest.raises(ValueError, match=r"runs.stack.seeds = 0: must be at least 1"):
        configs.get_sweep(config)


def test_test_samples_are_others_than_training_samples():
    config = point_config()
    samples, test, report = task.data(*task.data_keys(config))
    assert samples.shape == (200, 64) and test.shape == (40, 64)
    assert report.spacing >= 1
    seen = {row.tobytes() for row in np.packbits(samples > 0, axis=1)}
    assert sum(row.tobytes() in seen for row in np.packbits(test > 0, axis=1)) <= 4
