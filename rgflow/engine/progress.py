"""Progress on the host: a rich bar on a terminal, else one line every few seconds; and the event log."""

import contextlib
import json
import math
import os
import pathlib
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from rich import progress as rich_progress
from rich.console import RenderableType
from rich.text import Text

LINE_SECONDS = 5.0
LEAST_SEEN = 0.005
"""Share of the work to finish before a speed is shown: the estimated cost of a first group may be off by a hundred."""


class Loss(NamedTuple):
    """Mean loss of the live runs since the last record, and its standard error over them."""

    mean: float
    error: float
    runs: int


class Status(NamedTuple):
    """Where a group stands: its step, its runs, the number of dead runs, and the loss if there is one."""

    step: int
    steps: int
    runs: int
    dead: int = 0
    loss: Loss | None = None


class EventLog:
    """events.jsonl: one JSON object per line, appended and flushed; nothing is read back from it."""

    def __init__(self, path: pathlib.Path | None) -> None:
        """Appends to ``path``, whose folder exists; None logs nothing (one process of a sweep writes the log)."""
        self._path = path
        if path is not None and path.exists() and not (content := path.read_bytes()).endswith(b"\n"):
            os.truncate(path, content.rfind(b"\n") + 1)  # a killed process or a full disk left half a line

    def __call__(self, event: str, **fields: Any) -> None:
        """Appends one event with the wall-clock time."""
        if self._path is None:
            return
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        with open(self._path, "a") as file:
            file.write(json.dumps({"time": stamp, "event": event, **fields}) + "\n")


def clock(seconds: float) -> str:
    """Returns a duration as m:ss or h:mm:ss.

    >>> clock(75.0), clock(3661.0)
    ('1:15', '1:01:01')
    """
    minutes, rest = divmod(max(0, int(seconds + 0.5)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def short(value: float) -> str:
    """Returns a speed in two digits.

    >>> short(8123.0), short(431.0), short(2.26), short(1.5e6)
    ('8.1e3', '430', '2.3', '1.5e6')
    """
    if value < 1000:
        return f"{float(f'{value:.2g}'):g}"
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def loss_text(loss: Loss | None) -> str:
    """Returns a loss and its standard error, both rounded to the first digit of the error; "" without a loss.

    >>> loss_text(Loss(1.23412, 0.0052, 8)), loss_text(Loss(1.23412, math.nan, 1))
    ('loss 1.234 +- 0.005 (8 runs)', 'loss 1.234 (1 run)')
    """
    if loss is None or not math.isfinite(loss.mean):
        return ""
    runs = f"({loss.runs} run{'s' * (loss.runs != 1)})"
    if not (math.isfinite(loss.error) and loss.error > 0):
        return f"loss {loss.mean:.4g} {runs}"
    digits = -math.floor(math.log10(loss.error))
    if 0 <= digits <= 6:
        return f"loss {loss.mean:.{digits}f} +- {loss.error:.{digits}f} {runs}"
    return f"loss {loss.mean:.3g} +- {loss.error:.1g} {runs}"


class Pace:
    """Work done since a moment, in units of estimated cost. Work that was finished before does not count as done."""

    def __init__(self, total: float) -> None:
        """``total`` is all the work, including what was finished before."""
        self.total, self.worked, self.skipped, self.began = max(total, 1e-9), 0.0, 0.0, time.monotonic()

    @property
    def left(self) -> float:
        """The remaining work."""
        return max(self.total - self.worked - self.skipped, 0.0)

    @property
    def seen(self) -> bool:
        """Whether enough work is done to know the speed."""
        return self.worked > 0 and self.worked >= LEAST_SEEN * (self.total - self.skipped)

    def seconds_for(self, work: float) -> float:
        """Returns the time in seconds that some work takes at the average speed so far."""
        return work * (time.monotonic() - self.began) / self.worked


class _Bar(rich_progress.Progress):
    """A bar with a line of text below it; the two fit a terminal of 80 columns."""

    below = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        """Yields the bar and the text."""
        yield self.make_tasks_table(self.tasks)
        yield Text(self.below, no_wrap=True, overflow="ellipsis")


class Progress:
    """Counts work in units of estimated cost, so that the time left is right for groups of different cost.

    The speed of the present group, once known, gives the time for the rest of it. The groups after it, whose cost may
    be estimated less well, are given the speed of all work so far.
    """

    def __init__(self, total: float, quiet: bool = False, groups: int = 1) -> None:
        """``total`` is in an arbitrary unit of cost; ``quiet`` shows nothing."""
        self._all = self._group = Pace(total)
        self._quiet, self._groups, self._number, self._run_steps = quiet, groups, 0, 0
        self._printed = time.monotonic()
        self._bar: _Bar | None = None
        self._task: Any = None

    @contextlib.contextmanager
    def shown(self) -> Iterator["Progress"]:
        """Shows the bar for the duration of the block where standard output is a terminal."""
        if self._quiet or not sys.stdout.isatty():
            yield self
            return
        columns = (
            rich_progress.BarColumn(bar_width=None),
            rich_progress.TaskProgressColumn(),
            rich_progress.TextColumn("{task.description}"),
        )
        with _Bar(*columns, expand=True) as self._bar:
            self._task = self._bar.add_task("", total=self._all.total)
            yield self
        self._bar = None

    def expect(self, total: float) -> None:
        """Corrects the total work when more of it is known."""
        self._all.total = max(total, 1e-9)
        if self._bar is not None:
            self._bar.update(self._task, total=self._all.total)

    def begin(self, cost: float) -> None:
        """Starts the next group, whose whole cost is ``cost``."""
        self._group, self._run_steps = Pace(cost), 0
        if not self._number:  # the time before is spent in compiling and says nothing about the speed
            self._all.began = self._group.began
        self._number += 1

    def skip(self, cost: float) -> None:
        """Adds work that was finished before, which says nothing about the speed of the rest."""
        self._all.skipped += cost
        self._group.skipped += cost

    def left(self) -> str:
        """Returns the time left, "?" before the speed is known."""
        if not self._all.seen:
            return "?"
        here = self._group if self._group.seen else self._all
        later = max(self._all.left - self._group.left, 0.0)
        return clock(here.seconds_for(self._group.left) + self._all.seconds_for(later))

    def advance(self, cost: float, steps: int, status: Status) -> None:
        """Adds ``steps`` finished steps of every run, of total cost ``cost``, and shows where the group stands."""
        self._all.worked += cost
        self._group.worked += cost
        self._run_steps += steps * status.runs
        now = time.monotonic()
        where = f"group {self._number}/{self._groups}  step {status.step}/{status.steps}"
        times = f"{clock(now - self._all.began)} elapsed, {self.left()} left"
        speed = f"{short(self._run_steps / max(now - self._group.began, 1e-9))} run-steps/s"
        dead = f"{status.dead} dead" if status.dead else ""
        facts = "  ".join(text for text in (speed, loss_text(status.loss), dead) if text)
        done = self._all.total - self._all.left
        if self._bar is not None:
            self._bar.below = facts
            self._bar.update(self._task, completed=done, description=f"{where}  {times}")
        elif not self._quiet and now - self._printed >= LINE_SECONDS:
            self._printed = now
            print(f"[{done / self._all.total:4.0%}] {where}  {facts}  {times}", flush=True)
