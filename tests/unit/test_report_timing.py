"""What a sweep cost, from its log; and the commands that resume it or let it grow."""

import json
import pathlib
import shlex

import pytest

from configs import fixed_points, kernel_rg, rank_flow, variational_rg
from launch import command_line, outcome, sweep
from rgflow.report import html, timing

ROOMS = {"rank_flow": rank_flow, "fixed_points": fixed_points, "kernel_rg": kernel_rg, "variational_rg": variational_rg}
DEVICE = "2 x cpu"


def event(second, name, **fields):
    minute, second = divmod(second, 60)
    return {"time": f"2026-01-01T10:{minute:02d}:{second:02d}+0000", "event": name, **fields}


def run_of(**sizes):
    return {"groups": [{"name": n, "runs": [{"values": {}, "first_seed": 0, "seeds": s}]} for n, s in sizes.items()]}


@pytest.fixture
def read(tmp_path):
    def read(*events, tail=""):
        path = tmp_path / "events.jsonl"
        path.write_text("".join(json.dumps(e) + "\n" for e in events) + tail)
        return timing.read_events(path)

    return read


def test_a_group_has_its_steps_seconds_and_speed(read):
    events = read(
        event(0, "started", device=DEVICE),
        event(7, "compiled", group="a", seconds=12.5),
        event(8, "running", group="a"),
        event(10, "record", group="a", step=0),
        event(20, "compiled", group="b", seconds=4.5),
        event(30, "record", group="a", step=400),
        event(32, "checkpoint", group="a", step=400, seconds=1.5),
        event(36, "running", group="b"),
        event(40, "record", group="b", step=10),
        event(40, "finished"),
    )
    a, b = timing.groups(run_of(a=5, b=2), events)
    assert (a.runs, a.steps, a.seconds, a.saving, a.compiling) == (5, 400, 24.0, 1.5, 12.5)
    assert a.steps_per_second == pytest.approx(400 / 24) and a.milliseconds == pytest.approx(12.0)
    assert (b.steps, b.seconds, b.compiling) == (10, 4.0, 4.5)


def test_time_between_two_starts_is_nobodys_and_repeated_steps_count(read):
    events = read(
        event(0, "started", device=DEVICE), event(0, "compiled", group="a", seconds=1.0),
        event(20, "record", group="a", step=100),
        event(600, "started", device=DEVICE), event(600, "compiled", group="a", seconds=2.0),
        event(601, "resumed", group="a", step=50),
        event(621, "stopped", group="a", step=200, signal="SIGTERM"),
    )  # fmt: skip
    (a,) = timing.groups(run_of(a=1), events)
    assert (a.steps, a.seconds, a.compiling) == (100 + 150, 20 + 21, 3.0)
    first, second = timing.sessions(events)
    assert (first.seconds, first.ended) == (20.0, "no end recorded: killed or running")
    assert (second.seconds, second.ended, second.device) == (21.0, "stopped by SIGTERM", DEVICE)


def test_no_speed_is_made_of_rounding(read):
    events = read(event(0, "started", device=DEVICE), event(4, "record", group="a", step=400))
    (a,) = timing.groups(run_of(a=1), events)
    assert a.seconds == 4 and a.steps_per_second is None and a.milliseconds is None


def test_broken_lines_foreign_groups_and_clocks_set_back_do_no_harm(read):
    events = read(
        event(50, "started", device=DEVICE), event(10, "record", group="a", step=5),
        event(11, "record", group="gone", step=5), tail='{"time": "2026',
    )  # fmt: skip
    assert len(events) == 3
    (a,) = timing.groups(run_of(a=1), events)
    assert (a.steps, a.seconds) == (5, 0.0)


def test_no_log_is_no_sessions(tmp_path):
    events = timing.read_events(tmp_path / "events.jsonl")
    assert events == [] and timing.sessions(events) == []
    assert timing.groups(run_of(a=3), events) == [timing.Group("a", 3, 0, 0.0, 0.0, None)]


def test_the_command_that_resumes_refuses_nothing_and_names_the_folder():
    run = {"command": "python -m launch.sweep --config=a.py --resume never --workdir=/old --config.seeds=3"}
    expected = "python -m launch.sweep --config=a.py --config.seeds=3 '--workdir=/the new'"
    assert outcome.resume_command(run, pathlib.Path("/the new")) == expected
    equals = {"command": "python -m launch.sweep --resume=never --config=a.py"}
    assert "resume" not in outcome.resume_command(equals, pathlib.Path("/w"))


def test_growing_doubles_the_seeds_of_the_kinds_that_ran():
    run = {**run_of(a=1), "command": "python -m launch.sweep --config=a.py --config.runs.window.seeds=4"}
    run["groups"][0]["runs"][0]["values"] = {"mixing": "window"}
    config = {"runs.window.seeds": "4", "runs.flat.seeds": "8", "sweep.mixing": "window", "chain.seed": "0"}
    command = outcome.grow_command(run, config, pathlib.Path("/w"))
    assert command == "python -m launch.sweep --config=a.py --workdir=/w --config.runs.window.seeds=8"
    assert timing.sweep_keys(config) == {"sweep.mixing": "window"}
    assert outcome.grow_command(run, {"width": "3"}, pathlib.Path("/w")) == ""


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_grows_by_its_command(room, tmp_path):
    """The command passes the checks of launch.sweep and asks for more runs of the same points."""
    module = ROOMS[room]
    config = module.get_config("smoke")
    points = module.get_sweep(config)
    runs = [{"values": dict(point.values), "seed": seed} for point in points for seed in range(point.seeds)]
    run = {
        "groups": [{"name": "a", "runs": runs}],
        "command": f"python -m launch.sweep --config=configs/{room}.py:smoke",
    }
    words = shlex.split(outcome.grow_command(run, html.flat(config.to_dict()), tmp_path))
    grown = command_line.parse(words[2:], sweep.define_flags, config=True).config
    more = module.get_sweep(grown)
    assert [dict(p.values) for p in more] == [dict(p.values) for p in points]
    assert [p.seeds for p in more] == [2 * p.seeds for p in points]
