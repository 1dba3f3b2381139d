"""Overrides that change nothing are refused, or said where another study of the workdir may need them."""

import functools

import pytest

from launch import command_line, overrides, sweep


def idle(room, *flags, fresh=True):
    """Returns what is said about the overrides of a command."""
    words = ["sweep", f"--config={room}:smoke", *(f"--config.{flag}" for flag in flags)]
    values = command_line.parse(words, sweep.define_flags, config=True)
    file = command_line.config_file(values)
    get_sweep = functools.partial(sweep.sweep_points, config_file=file.partition(":")[0])
    return overrides.idle(values.config, command_line.preset_config(file), get_sweep, fresh)


@pytest.mark.parametrize(
    ("room", "flags"),
    [
        ("rank_flow", ["sweep.settings.num_states=0"]),
        ("rank_flow", ["sweep.study=settings", "sweep.settings.num_states=16"]),  # the config's own
        ("rank_flow", ["sweep.study=phases", "sweep.mixing=attention"]),
        ("rank_flow", ["sweep.study=phases", "runs.window.seeds=8"]),
        ("rank_flow", ["phases.seeds=8"]),
        ("kernel_rg", ["sweep.study=width", "sweep.cases=1"]),
        ("kernel_rg", ["sweep.study=width", "runs.hmc.seeds=9"]),
        ("variational_rg", ["sweep.study=small", "sweep.strength.l1=0.5"]),
        ("fixed_points", ["sweep.study=tasks", "sweep.couplings.phi6=0.1"]),
    ],
)
def test_a_key_of_a_study_that_is_not_run_is_refused_in_a_fresh_workdir_and_said_in_another(room, flags):
    key = f"config.{flags[-1].partition('=')[0]} = "
    with pytest.raises(command_line.UsageError, match=rf"^{key}.*: changes no run of config\.sweep\.study = .*; leave"):
        idle(room, *flags)
    assert idle(room, *flags, fresh=False).startswith(f"warning: {key}")


@pytest.mark.parametrize(
    ("room", "flags"),
    [
        ("rank_flow", ["runs.mixer.steps=5"]),
        ("rank_flow", ["phases.width=9"]),
        ("rank_flow", ["chain.groups=5"]),
        ("fixed_points", ["coupling=0.3"]),
        ("kernel_rg", ["steps=24"]),
    ],
)
def test_a_science_key_that_every_point_sets_or_none_reads_is_said(room, flags):
    said = idle(room, *flags)
    assert said.startswith(f"warning: config.{flags[0].partition('=')[0]} = ")
    assert "\n" not in said


@pytest.mark.parametrize(
    ("room", "flags"),
    [
        ("rank_flow", ["sweep.mixing=tokenwise, window", "sweep.study=claims"]),  # the preset's own, in other words
        ("rank_flow", ["depth=3", "num_states=9", "engine.run_batch=4", "root_seed=3", "runs.window.seeds=5"]),
        ("rank_flow", ["sweep.study=phases", "phases.seeds=5", "phases.width=9"]),
        ("rank_flow", ["sweep.study=settings", "sweep.settings.num_states=9"]),
        ("kernel_rg", ["leapfrog_steps=5", "data_seed=3", "sweep.cases=2", "runs.gibbs.steps=32"]),
        ("variational_rg", ["stack.epochs=3", "coupling=0.3"]),
        ("fixed_points", ["sweep.couplings.ising=0.4", "samples=1024"]),
    ],
)
def test_what_changes_runs_is_not_complained_about(room, flags):
    assert idle(room, *flags) == ""


def test_an_override_that_alone_makes_the_config_valid_has_an_effect():
    assert idle("rank_flow", "sweep.mixing=mixer", "runs.mixer.seeds=3") == ""
