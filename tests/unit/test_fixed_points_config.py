"""The sweep that a config makes, what a point becomes, and bad configs refused in one line that names key and value."""

import re
import sys

import numpy as np
import pytest
from absl import flags
from ml_collections import config_flags

from configs import common
from configs import fixed_points as configs
from rgflow.engine import grid
from rgflow.fixed_points import experiment, reference
from rgflow.fixed_points.task import TASKS

PHI4 = {"data": "phi4", "coupling": 0.3}


def point_config(**values):
    """The config of one point of the smallest sweep, with some keys replaced; values are taken as they are."""
    config = configs.get_config("smoke")
    config = grid.point_config(config, configs.get_sweep(config)[0].values)
    for name, value in values.items():
        *sections, leaf = name.split(".")
        section = config
        for part in sections:
            section = section[part]
        with section.ignore_type():
            section[leaf] = value
    return config


def made(*studies, preset="default", **axes):
    config = configs.get_config(preset)
    config.sweep.study = studies
    for name, value in axes.items():
        for study in studies:
            config.sweep[study][name] = value
    points = configs.get_sweep(config)
    return config, points, [experiment.make(grid.point_config(config, point.values)) for point in points]


def parsed(monkeypatch, *words, preset="smoke"):
    """The config that the command line makes."""
    values = flags.FlagValues()
    monkeypatch.setattr(sys, "argv", ["command", f"--config=configs/fixed_points.py:{preset}", *words])
    config_flags.DEFINE_config_file("config", flag_values=values)
    values(sys.argv)
    return values.config


@pytest.mark.parametrize("preset", ["smoke", "default"])
def test_every_point_of_a_preset_is_a_valid_experiment(preset):
    config, points, experiments = made(*configs.get_config(preset).sweep.study, preset=preset)
    for point, one in zip(points, experiments, strict=True):
        assert set(point.values) == set(configs.SWEPT)
        assert point.seeds == config.seeds
        assert one.schedule[0] == 0
        assert one.schedule[-1] == (0 if point.values["task"] == "compression" else config.steps)
        if point.values["task"] != "compression":
            assert config.steps - config.plateau_steps in one.schedule


@pytest.mark.parametrize("study", configs.STUDIES)
def test_every_study_of_the_paper_preset_has_valid_points(study):
    config = configs.get_config("paper")
    config.sweep.study = (study,)
    made_of = [experiment.make(grid.point_config(config, point.values)) for point in configs.get_sweep(config)]
    assert made_of and all(one.static.num_sites == config.num_sites for one in made_of)


def test_the_default_sweep_holds_what_the_claim_is_about():
    _, points, _ = made(*configs.STUDIES)
    seen = {name: {point.values[name] for point in points} for name in configs.SWEPT}
    assert seen["task"] == set(TASKS)
    assert seen["activation"] >= {"tanh", "identity", "relu"}
    assert seen["halvings"] >= {2, 3}
    assert seen["weight_decay"] == {0.0, 1e-4}
    assert seen["shuffle"] == {"none", "sites"}
    assert seen["data"] == {"ising", "gaussian", "phi4", "phi6", "independent"}
    # A claim about every coupling needs several where it is judged.
    for data, task in (("ising", "autoencoder"), ("phi4", "energy"), ("gaussian", "autoencoder")):
        found = {p.values["coupling"] for p in points if (p.values["data"], p.values["task"]) == (data, task)}
        assert len(found) >= 4, (data, task)


def test_equal_points_of_two_studies_are_one_run():
    config, points, _ = made("tasks", "families", data=("ising",), task=("autoencoder",))
    assert len(points) == 8
    assert len(grid.expand(points)) == 4 * config.seeds


def test_runs_of_other_tasks_and_couplings_share_one_program_of_their_head():
    _, points, experiments = made("tasks", data=("phi4",))
    statics = {(one.static, one.schedule) for one in experiments}
    assert len(points) == 20 and {static.head for static, _ in statics} == {"decoder", "readout"}
    assert len(statics) == 2


def test_command_line_replaces_axes(monkeypatch):
    words = ("study=tasks", "couplings.ising=0.5,0.75", "tasks.data=ising,gaussian", "tasks.task=energy,autoencoder")
    config = parsed(monkeypatch, *(f"--config.sweep.{word}" for word in words))
    points = [point.values for point in configs.get_sweep(config)]
    assert {(p["data"], p["task"]) for p in points} == {
        (d, t) for d in ("ising", "gaussian") for t in ("energy", "autoencoder")
    }
    assert [p["coupling"] for p in points if (p["data"], p["task"]) == ("ising", "energy")] == [0.5, 0.75]


@pytest.mark.parametrize(
    ("study", "axis", "text", "values"),
    [
        ("activations", "activation", "identity,relu,tanh", {"identity", "relu", "tanh"}),
        ("depths", "halvings", "1,2", {1, 2}),
        ("penalised", "weight_decay", "1e-4,1e-2", {1e-4, 1e-2}),
    ],
)
def test_command_line_replaces_what_a_study_varies(monkeypatch, study, axis, text, values):
    words = (f"--config.sweep.study={study}", f"--config.sweep.{study}.{axis}={text}", "--config.num_sites=16")
    config = parsed(monkeypatch, *words)
    points = configs.get_sweep(config)
    assert {point.values[axis] for point in points} == values
    for point in points:
        experiment.make(grid.point_config(config, point.values))


def test_a_potential_of_the_command_line_reaches_the_runs(monkeypatch):
    config = parsed(monkeypatch, "--config.potentials.phi4=0.5,0.125,0.0", "--config.sweep.tasks.data=phi4")
    point = next(p for p in configs.get_sweep(config) if p.values["data"] == "phi4")
    one = experiment.make(grid.point_config(config, point.values))
    np.testing.assert_array_equal(one.hypers["potential"], [0.5, 0.125, 0.0])


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"data": "brain"}, r"data = 'brain': must be one of ising"),
        ({"task": "sleep"}, r"task = 'sleep': must be one of autoencoder"),
        ({"activation": "swish"}, r"activation = 'swish': must be one of"),
        ({"shuffle": "bonds"}, r"shuffle = 'bonds': must be one of none, sites"),
        # Densities that do not exist.
        ({**PHI4, "potentials.phi4": (0.2, 0.25, -0.1)}, r"sextic = -0.1: must not be negative"),
        ({**PHI4, "potentials.phi4": (0.2, -0.25, 0.0)}, r"quartic = -0.25: must not be negative without"),
        ({**PHI4, "potentials.phi4": (0.6, 0.0, 0.0)}, r"quadratic = 0.6: must be above 2 |K| = 0.6"),
        ({**PHI4, "potentials.phi4": (-1.0, 0.0, 0.0)}, r"quadratic = -1.0: must be above 2 |K|"),
        ({**PHI4, "potentials.phi4": (NAN, 0.25, 0.0)}, r"quadratic = nan: must be a finite number"),
        ({**PHI4, "potentials.phi4": (0.2, INF, 0.0)}, r"quartic = inf: must be a finite number"),
        ({**PHI4, "potentials.phi4": (0.2, 0.25)}, r"potentials.phi4 = (0.2, 0.25): must be r, u, v"),
        ({"data": "gaussian", "coupling": 0.5}, r"quadratic = 1.0: must be above 2 |K| = 1.0"),
        ({"data": "gaussian", "coupling": 0.6}, r"quadratic = 1.0: must be above 2 |K| = 1.2"),
        # Grids that do not resolve it.
        ({"data": "gaussian", "coupling": 0.49}, r"points = 48: too few for data = 'gaussian' at coupling = 0.49"),
        ({**PHI4, "points": 44}, r"points = 44: must be a multiple of 8"),
        ({**PHI4, "points": 8}, r"points = 8: must be at least 16"),
        ({**PHI4, "coupling": 3.0, "points": 16}, r"points = 16: too few for data = 'phi4' at coupling = 3.0"),
        # Shapes.
        ({"num_sites": 12, "halvings": 3}, r"num_sites = 12: must be divisible by 2**halvings = 8"),
        ({"num_sites": 9}, r"num_sites = 9: must be divisible by 2**halvings = 2"),
        ({"num_sites": 0}, r"num_sites = 0: must be divisible"),
        ({"num_sites": -8}, r"num_sites = -8: must be divisible"),
        ({"halvings": 0}, r"num_sites = 8: must be divisible by 2**halvings = 1"),
        ({"halvings": 2}, r"halvings = 2: leaves 2 features, must leave at least 3"),
        ({"samples": 298}, r"samples = 298: must be at least 300 for a fit of 4 features"),
        ({"samples": 513}, r"samples = 513: must be even"),
        ({"batch": 15}, r"batch = 15: must be even"),
        ({"batch": 0}, r"batch = 0: must be at least 2"),
        ({"orbit": 0}, r"orbit = 0: must be at least 1"),
        ({"records": 0}, r"records = 0: must be at least 1"),
        ({"steps": 0}, r"steps = 0: must be at least 1"),
        ({"plateau_steps": 0}, r"plateau_steps = 0: must be at least 1"),
        ({"plateau_steps": 20}, r"plateau_steps = 20: must be below steps = 20"),
        # Numbers.
        ({"coupling": -0.1}, r"coupling = -0.1: must lie within [0, 5]"),
        ({"coupling": NAN}, r"coupling = nan: must lie within [0, 5]"),
        ({"coupling": INF}, r"coupling = inf: must lie within [0, 5]"),
        ({"contrast": 1.0}, r"contrast = 1.0: must lie within [0, 1)"),
        ({"contrast": NAN}, r"contrast = nan: must lie within [0, 1)"),
        ({"cooldown": 1.5}, r"cooldown = 1.5: must lie within [0, 1]"),
        ({"learning_rate": 0.0}, r"learning_rate = 0.0: must be a finite positive number"),
        ({"learning_rate": INF}, r"learning_rate = inf: must be a finite positive number"),
        ({"plateau": NAN}, r"plateau = nan: must be a finite positive number"),
        ({"weight_decay": -1e-4}, r"weight_decay = -0.0001: must be a finite number of at least 0"),
        ({"weight_decay": NAN}, r"weight_decay = nan: must be a finite number of at least 0"),
        ({"task": "classification", "coupling": 0.0}, r"task = 'classification': needs a coupling above 0"),
    ],
)
def test_bad_values_are_refused_with_a_sentence(values, named):
    with pytest.raises(ValueError, match=r"^(potentials\.\w+: )?" + re.escape(named)) as refused:
        experiment.make(point_config(**values))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "values",
    [{"samples": 300}, {"coupling": 0.0}, {"coupling": 5.0}, {"contrast": 0.0}, {"plateau_steps": 19}, {"points": 44},
     {"data": "gaussian", "coupling": 0.45}, {"data": "gaussian", "coupling": 0.49, "points": 96},
     {**PHI4, "potentials.phi4": (-1.0, 0.25, 0.0)}, {**PHI4, "potentials.phi4": (0.2, -0.25, 0.1)}],
)  # fmt: skip
def test_values_at_the_edge_are_taken(values):
    assert experiment.make(point_config(**values)).schedule[0] == 0


@pytest.mark.parametrize(
    ("word", "error"),
    [
        ("--config.steps=20.5", flags.Error),
        ("--config.steps=many", flags.Error),
        ("--config.learning_rate=fast", flags.Error),
        ("--config.sweep.couplings.ising=weak,strong", TypeError),
        ("--config.sweep.study=sleep", ValueError),
        ("--config.sweep.tasks.data=brain", ValueError),
        ("--config.sweep.tasks.task=sleep", ValueError),
        ("--config.sweep.couplings.ising=-0.5,1.0", ValueError),
        ("--config.sweep.couplings.ising=()", ValueError),
        ("--config.sweep.tasks.task=()", ValueError),
        ("--config.potentials.phi4=a,b,c", ValueError),
        ("--config.seeds=0", ValueError),
    ],
)
def test_words_of_the_command_line_that_make_no_sense_are_refused(monkeypatch, word, error):
    def everything():
        config = parsed(monkeypatch, word)
        for point in configs.get_sweep(config):
            experiment.make(grid.point_config(config, point.values))

    with pytest.raises(error):
        everything()


def test_no_study_is_refused():
    config = configs.get_config()
    config.sweep.study = ()
    with pytest.raises(ValueError, match=r"sweep.study = \(\): must name at least one of tasks"):
        configs.get_sweep(config)
    with pytest.raises(ValueError, match="preset = 'huge': must be one of " + ", ".join(common.PRESETS)):
        configs.get_config("huge")


def test_making_an_experiment_computes_no_reference(monkeypatch):
    def fail(*_):
        raise AssertionError("computed")

    monkeypatch.setattr(reference, "references", fail)
    monkeypatch.setattr(reference, "log_partition_gap", fail)
    one = experiment.make(point_config())
    for late in (one.hypers, one.reference):
        with pytest.raises(AssertionError, match="computed"):
            dict(late)


@pytest.mark.parametrize("values", [{}, PHI4, {"task": "compression"}, {"data": "gaussian", "coupling": 0.4}])
def test_what_is_known_before_a_run_has_its_dimensions(values):
    one = experiment.make(point_config(**values))
    sizes = {name: len(labels) for name, labels in one.coords.items()}
    for name, value in dict(one.reference).items():
        assert np.shape(value) == tuple(sizes[dim] for dim in one.dims.get(name, ())), name
    assert one.reference["steps"] == one.schedule[-1]
