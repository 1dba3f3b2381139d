"""The README's commands: the two of the first screen, and every launch command it names."""

import pathlib
import re
import shlex

import pytest

from launch import bench, command_line, doctor, report, sweep

ROOT = pathlib.Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.S)
LAUNCH = [line.split(" #")[0].strip() for block in BLOCKS for line in block.splitlines() if "-m launch." in line]


def test_first_screen_has_exactly_two_commands_that_set_themselves_up():
    commands = [block.strip() for block in BLOCKS[:2]]
    assert all(len(command.splitlines()) == 1 for command in commands)
    assert all(command.startswith("python3 -m venv .venv && .venv/bin/pip install -q -e ") for command in commands)
    assert commands[0].endswith("launch.sweep --config=configs/rank_flow.py")
    assert commands[1].endswith(".venv/bin/python -m pytest")
    assert README.index(BLOCKS[1]) < 1500
    # Continuous integration reads the second command from here instead of repeating it.
    assert "pytest$' README.md" in (ROOT / ".ci" / "run").read_text()


MADE = {}
"""Points of every sweep whose experiments were made, by config file and config: flags alone make no other sweep."""


def points_of(config, config_file):
    """Makes every experiment of a sweep, once, and returns its points."""
    name = (config_file, config.to_json())
    if name not in MADE:
        points = sweep.sweep_points(config, config_file)
        sweep.checked_plan(config, points)
        MADE[name] = points
    return MADE[name]


def marks(line):
    """Of the published sweep alone a thousand experiments are made."""
    return pytest.mark.slow if "rank_flow.py:paper" in line else ()


@pytest.mark.parametrize("line", [pytest.param(line, marks=marks(line)) for line in LAUNCH])
def test_command_is_understood(line):
    words = [word for word in shlex.split(line.split("-m launch.")[1]) if word != "--help"]
    module = {"sweep": sweep, "report": report, "doctor": doctor, "bench": bench}[words[0]]
    arguments = report.gathered(["command", *words[1:]]) if module is report else ["command", *words[1:]]
    values = command_line.parse(arguments, module.define_flags, config=words[0] == "sweep")
    if words[0] == "sweep":
        assert points_of(values.config, command_line.config_file(values).partition(":")[0])


def test_every_preset_makes_experiments_of_the_promised_size():
    from configs import rank_flow

    sizes = {}
    for preset in ("smoke", "default", "paper"):
        config = rank_flow.get_config(preset)
        points = sweep.sweep_points(config, "configs/rank_flow.py")
        sizes[preset] = {
            mixing: min(p.seeds for p in points if p.values["mixing"] == mixing) for mixing in config.sweep.mixing
        }
        lengths = sorted({p.values["correlation_length"] for p in points})
    assert sizes["default"]["tokenwise"] >= 8
    assert sizes["default"]["window"] >= 4
    assert set(sizes["paper"].values()) == {32}
    assert {"tokenwise", "window"} <= set(sizes["paper"])
    assert (lengths[0], lengths[-1]) == (0.5, 15.0)
