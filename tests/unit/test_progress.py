"""The progress line: shares, speeds, losses, and a time left that is told only once enough was seen."""

import io
import json
import math

import numpy as np
import pytest
from rich.console import Console

from rgflow.engine import loop, progress
from rgflow.engine.progress import Loss, Status


class Clock:
    """A clock that a test sets."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def lines(clock, capsys, *costs, total=1000.0, skipped=0.0):
    """Prints a line every ten seconds, in each of which 100 steps of 2 runs are made at the given cost."""
    bar = progress.Progress(total)
    bar.begin(total)
    bar.skip(skipped)
    for k, cost in enumerate(costs):
        clock.now += 10.0
        bar.advance(cost, 100, Status(100 * (k + 1), 1000, 2))
    return capsys.readouterr().out.splitlines()


def test_line_tells_share_step_speed_loss_dead_and_times(clock, capsys):
    bar = progress.Progress(1000.0, groups=5)
    bar.begin(400.0)
    bar.skip(400.0)
    bar.begin(600.0)
    clock.now = 32.0
    bar.advance(20.0, 1200, Status(1200, 3000, 216, 1, Loss(1.23412, 0.0052, 8)))
    assert capsys.readouterr().out == (
        "[ 42%] group 2/5  step 1200/3000  8.1e3 run-steps/s  loss 1.234 +- 0.005 (8 runs)  1 dead  "
        "0:32 elapsed, 15:28 left\n"
    )


def test_time_left_comes_from_the_speed_so_far(clock, capsys):
    assert lines(clock, capsys, 100.0, 100.0) == [
        "[ 10%] group 1/1  step 100/1000  20 run-steps/s  0:10 elapsed, 1:30 left",
        "[ 20%] group 1/1  step 200/1000  20 run-steps/s  0:20 elapsed, 1:20 left",
    ]


def test_too_little_seen_tells_no_time(clock, capsys):
    found = lines(clock, capsys, 1.0, 9.0)
    assert found[0].endswith("0:10 elapsed, ? left")
    assert found[1].endswith("0:20 elapsed, 33:00 left")


def test_what_was_found_finished_says_nothing_about_the_speed(clock, capsys):
    found = lines(clock, capsys, 1.0, 99.0, skipped=500.0)
    assert found[0].startswith("[ 50%]")
    assert found[0].endswith("0:10 elapsed, ? left")
    assert found[1].startswith("[ 60%]")
    assert found[1].endswith("0:20 elapsed, 1:20 left")


def test_a_group_of_another_speed_is_given_its_own(clock):
    """Two groups of equal estimated cost; the second takes ten times as long as the first."""
    bar = progress.Progress(200.0, groups=2)
    bar.begin(100.0)
    clock.now = 10.0
    bar.advance(100.0, 10, Status(10, 10, 1))
    assert bar.left() == "0:10"  # nothing of the second was seen
    bar.begin(100.0)
    clock.now = 60.0
    bar.advance(50.0, 10, Status(10, 20, 1))
    assert bar.left() == "0:50"  # the speed of both together would say 0:20


def test_groups_to_come_are_given_the_speed_of_all(clock):
    bar = progress.Progress(300.0, groups=3)
    for seconds in (10.0, 50.0):
        bar.begin(100.0)
        clock.now += seconds
        bar.advance(100.0, 10, Status(10, 10, 1))
    assert bar.left() == "0:30"


def test_log_has_a_line_in_five_seconds_at_most(clock, capsys):
    bar = progress.Progress(100.0)
    bar.begin(100.0)
    for second in range(1, 21):
        clock.now = float(second)
        bar.advance(1.0, 1, Status(second, 100, 1))
    steps = [line.split("step ")[1].split("/")[0] for line in capsys.readouterr().out.splitlines()]
    assert steps == ["5", "10", "15", "20"]


def test_quiet_progress_prints_nothing(clock, capsys):
    bar = progress.Progress(100.0, quiet=True)
    bar.begin(100.0)
    clock.now = 50.0
    bar.advance(50.0, 10, Status(10, 20, 1))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("width", [80, 120])
def test_terminal_shows_everything_within_its_width(clock, monkeypatch, width):
    """The longest texts that a sweep of a hundred groups makes, on a terminal of 80 columns."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=width, color_system=None)
    monkeypatch.setattr(progress.rich_progress, "get_console", lambda: console)
    monkeypatch.setattr(progress.sys.stdout, "isatty", lambda: True, raising=False)
    bar = progress.Progress(1000.0, groups=104)
    with bar.shown():
        for _ in range(99):
            bar.begin(9.0)
        clock.now = 35999.0
        bar.advance(500.0, 2000, Status(200000, 200000, 256, 12, Loss(123.4567, 0.0123, 244)))
        bar._bar.refresh()
    shown = screen.getvalue().replace("\r", "\n").split("\n")
    shown = [line.split("\x1b[2K")[-1] for line in shown]
    assert max(map(len, shown)) <= width
    text = "\n".join(shown)
    for part in ("group 99/104", "step 200000/200000", "9:59:59 elapsed", "9:59:59 left", "50%"):
        assert part in text, part
    for part in ("14 run-steps/s", "loss 123.46 +- 0.01 (244 runs)", "12 dead"):
        assert part in text, part
    assert "…" not in text


def test_loss_without_a_number_is_left_out():
    assert progress.loss_text(None) == ""
    assert progress.loss_text(Loss(math.nan, math.nan, 0)) == ""
    assert progress.loss_text(Loss(2.0, 0.0, 4)) == "loss 2 (4 runs)"
    assert progress.loss_text(Loss(1.5e-7, 2e-9, 4)) == "loss 1.5e-07 +- 2e-09 (4 runs)"
    assert progress.loss_text(Loss(1234.5, 33.0, 4)) == "loss 1.23e+03 +- 3e+01 (4 runs)"


def test_loss_of_several_processes_is_that_of_all_their_runs():
    values = np.random.default_rng(0).normal(100.0, 2.0, 17)
    parts = np.stack([loop.moments(values[:5]), loop.moments(np.array([np.nan])), loop.moments(values[5:])])
    found = loop.joint_loss(parts)
    assert found is not None
    assert found.runs == 17
    assert found.mean == pytest.approx(values.mean(), rel=1e-6)
    assert found.error == pytest.approx(values.std(ddof=1) / 17**0.5, rel=1e-5)


def test_no_live_run_has_no_loss():
    assert loop.joint_loss(loop.moments(np.array([np.nan, np.inf]))[None]) is None
    one = loop.joint_loss(loop.moments(np.array([3.0]))[None])
    assert one is not None
    assert (one.mean, one.runs) == (3.0, 1)
    assert math.isnan(one.error)


def test_half_a_line_of_a_killed_process_is_removed_from_the_event_log(tmp_path):
    path = tmp_path / "events.jsonl"
    progress.EventLog(path)("started", step=1)
    whole = path.read_text()
    for rest in ('{"time": "2026', ""):
        path.write_text(whole + rest)
        progress.EventLog(path)("record", step=2)
        assert path.read_text().startswith(whole)
        assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == ["started", "record"]
    path.write_text("{")
    progress.EventLog(path)("started")
    assert json.loads(path.read_text())["event"] == "started"


@pytest.mark.filterwarnings("error")
def test_loss_of_runs_that_diverge_warns_of_nothing_and_is_told_without_a_number():
    huge = loop.joint_loss(np.stack([loop.moments(np.array([1e200, 2.0])), loop.moments(np.array([3.0]))]))
    assert progress.loss_text(huge) == ""
    spread = loop.joint_loss(loop.moments(np.array([1e30, 2e30]))[None])
    assert progress.loss_text(spread) == "loss 1.5e+30 (2 runs)"
