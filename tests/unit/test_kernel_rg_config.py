"""The sweep that a config makes, what a point becomes, and bad configs refused in one line that starts with the key."""

import itertools
import re
import subprocess
import sys

import numpy as np
import pytest

from configs import common
from configs import kernel_rg as configs
from rgflow.engine import grid
from rgflow.engine.plan import Plan
from rgflow.kernel_rg import experiment, task
from rgflow.kernel_rg.experiment import schedule
from rgflow.kernel_rg.reference import references


def sweep(*studies, preset="default"):
    config = configs.get_config(preset)
    config.sweep.study = studies
    return config, configs.get_sweep(config)


def point_config(**values):
    config = configs.get_config("smoke")
    chosen = sweep("width", preset="smoke")[1][0].values
    return grid.point_config(config, {**chosen, **values})


def test_studies_have_the_points_they_say():
    counts = {study: len(sweep(study)[1]) for study in configs.STUDIES}
    assert counts == {
        "cases": 6, "hmc": 2, "width": 8, "depth": 8, "size": 12, "sigma2": 6, "data": 2, "relu": 6, "trained": 8,
    }  # fmt: skip


@pytest.mark.parametrize("preset", common.PRESETS)
def test_every_point_of_every_preset_is_a_valid_experiment(preset):
    config, points = sweep(*configs.STUDIES, preset=preset)
    assert len({tuple(sorted(point.values)) for point in points}) == 1, "every point sets the same keys"
    # Checked in the tests, every value of an experiment is computed at once, which takes a while for large networks.
    for point in points[:: max(1, len(points) // 15)]:
        made = experiment.make(grid.point_config(config, point.values))
        assert made.schedule[-1] == point.values["steps"]
        assert made.schedule[0] == 0


def test_default_compiles_few_programs():
    config, points = sweep(*configs.STUDIES)
    runs = grid.expand(points)
    groups = Plan(config, experiment.make).grown(runs, len).groups
    assert len(groups) <= 8
    assert len(runs) == sum(point.seeds for point in points)


def test_size_study_trains_on_nested_sets_and_tests_on_the_same_points():
    config, points = sweep("size")
    sets = [task.draw_data(grid.point_config(config, p.values)) for p in points if p.values["data_seed"] == 1]
    for smaller, larger in itertools.pairwise(sets):
        count = len(smaller.targets)
        np.testing.assert_array_equal(larger.inputs[:count], smaller.inputs)
        np.testing.assert_array_equal(larger.targets[:count], smaller.targets)
        np.testing.assert_array_equal(larger.test_targets, smaller.test_targets)


def test_label_scale_multiplies_labels_noise_included():
    plain, strong = (task.draw_data(point_config(label_scale=x)) for x in (1.0, 3.0))
    np.testing.assert_allclose(strong.targets, 3 * plain.targets)
    np.testing.assert_allclose(strong.test_targets, 3 * plain.test_targets)


def test_digits_are_data_too():
    config = point_config(data="digits", num_inputs=64, **{"padded.num_inputs": 64})
    drawn = task.draw_data(config)
    assert drawn.inputs.shape == (config.num_train, 64)
    assert set(drawn.targets) <= {-1.0, 1.0}
    made = experiment.make(config)
    assert np.isfinite(made.hypers["inputs"]).all()


def test_late_values_are_computed_once_and_when_they_are_read():
    calls = []
    late = experiment.Late(lambda: calls.append(1) or {"a": 1, "b": 2})
    assert calls == []
    assert (late["b"], len(late), dict(late)) == (2, 2, {"a": 1, "b": 2})
    assert calls == [1]


def test_making_an_experiment_starts_no_device():
    """Devices are chosen after all configs are checked; in a process of its own, as the test session has some."""
    code = (
        "import jax; from jax._src import xla_bridge; from configs import kernel_rg as c; from rgflow import registry; "
        "from rgflow.engine import grid; config = c.get_config('smoke'); "
        "[registry.make(grid.point_config(config, p.values)) for p in c.get_sweep(config)]; "
        "assert not xla_bridge.backends_are_initialized()"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_hypers_have_the_padded_sizes_and_share_one_static():
    config, points = sweep("depth")
    made = [experiment.make(grid.point_config(config, p.values)) for p in points]
    assert len({m.static for m in made}) == 1
    shapes = {m.hypers["theory_kernels"].shape for m in made}
    assert shapes == {(4, 8, 16, 16)}
    assert {float(m.hypers["depth"]) for m in made} == {1.0, 2.0, 4.0, 8.0}


def test_schedules():
    assert schedule(point_config(steps=24, burn_in=8, records=8))[:4] == (0, 8, 10, 12)
    trained = point_config(sampler="trained", steps=100, records=3)
    assert schedule(trained) == (0, 1, 10, 100)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sampler": "langevin"}, "sampler = 'langevin': must be one of gibbs, hmc, trained"),
        ({"activation": "relu"}, "sampler = 'gibbs': must be hmc or trained for activation = 'relu'"),
        ({"activation": "tanh"}, "activation = 'tanh': must be one of linear, relu"),
        ({"data": "mnist"}, "data = 'mnist': must be one of teacher, templates, random, digits"),
        ({"data": "digits"}, "num_inputs = 8: must be 64 for data = 'digits'"),
        ({"width": 0}, "width = 0: must be at least 1"),
        ({"depth": 3}, "padded.depth = 2: must be at least depth = 3"),
        ({"padded.depth": 1, "depth": 1}, "padded.depth = 1: must be at least 2"),
        ({"num_train": -1}, "num_train = -1: must be at least 1"),
        ({"padded.num_train": 3}, "padded.num_train = 3: must be at least num_train = 5"),
        ({"sigma2": 0.0}, "sigma2 = 0.0: must lie inside (0, inf)"),
        ({"sigma2": float("nan")}, "sigma2 = nan: must lie inside (0, inf)"),
        ({"label_scale": -1.0}, "label_scale = -1.0: must lie inside (0, inf)"),
        ({"label_noise": -0.1}, "label_noise = -0.1: must be a finite number of at least 0"),
        ({"temperature": 0.0}, "temperature = 0.0: must be a finite number of at least 0.001"),
        ({"temperature": -1.0, "sampler": "trained"}, "temperature = -1.0: must be a finite number of at least 0.0"),
        ({"steps": 25}, "steps = 25: must be burn_in = 8 and a multiple of records = 8"),
        ({"steps": 8}, "steps = 8: must be burn_in = 8 and a multiple"),
        ({"records": 4}, "records = 4: must be at least 8 for a chain"),
        ({"burn_in": 0}, "burn_in = 0: must be at least 1"),
    ],
)
def test_bad_values_are_refused_in_one_line(values, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)) as refused:
        experiment.make(point_config(**values))
    assert "\n" not in str(refused.value)


def test_temperature_that_float32_cannot_resolve_is_refused():
    config = point_config(temperature=0.001, label_scale=1000.0)
    data = task.draw_data(config)
    with pytest.raises(ValueError, match=r"temperature = 0\.001: must be at least .* for float32 sampling"):
        experiment.traced_inputs(config, data, references(config, data))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"sweep": {"study": ("widths",)}}, "sweep.study = 'widths': must be one of cases, hmc, width"),
        ({"sweep": {"study": ("cases",), "cases": (7,)}}, "sweep.cases = 7: must be one of 1, 2, 3, 4, 5, 6"),
        ({"runs": {"gibbs": {"seeds": 0}}}, "runs.gibbs.seeds = 0: must be at least 1"),
    ],
)
def test_bad_sweeps_are_refused(override, message):
    config = configs.get_config()
    config.update(override)
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        configs.get_sweep(config)
