"""Progress on the host: a rich bar on a terminal, else one line every few seconds; and the event log."""

import contextlib
import json
import pathlib
import sys
import time
from collections.abc import Iterator
from typing import Any

from rich import progress as rich_progress

LINE_SECONDS = 5.0
LEAST_SEEN = 0.005
"""Share of the work before which its speed is not told: a first group of unlike cost may be wrong by a hundredfold."""


class EventLog:
    """events.jsonl: one JSON object per line, appended and flushed; nothing is read back from it."""

    def __init__(self, path: pathlib.Path | None) -> None:
        """Appends to ``path``, whose folder exists; None logs nothing (one process of a sweep writes the log)."""
        self._path = path
        if path is not None and path.exists() and not path.read_bytes().endswith(b"\n"):
            path.open("a").write("\n")  # a killed process left half a line

    def __call__(self, event: str, **fields: Any) -> None:
        """Appends one event with the wall-clock time."""
        if self._path is None:
            return
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        with open(self._path, "a") as file:
            file.write(json.dumps({"time": stamp, "event": event, **fields}) + "\n")


def clock(seconds: float) -> str:
    """Returns a duration as m:ss or h:mm:ss.

    Example:
        >>> clock(75.0), clock(3661.0)
        ('1:15', '1:01:01')
    """
    minutes, rest = divmod(max(0, int(seconds + 0.5)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Progress:
    """Counts work in units of estimated cost, so that the time left is right across groups of unlike cost."""

    def __init__(self, total: float, quiet: bool = False) -> None:
        """``total`` is in an arbitrary unit of cost; ``quiet`` shows nothing."""
        self._total, self._done, self._skipped, self._quiet = max(total, 1e-9), 0.0, 0.0, quiet
        self._began = self._printed = time.monotonic()
        self._bar: rich_progress.Progress | None = None
        self._task: Any = None

    @contextlib.contextmanager
    def shown(self) -> Iterator["Progress"]:
        """Shows the bar for the duration of the block where standard output is a terminal."""
        if self._quiet or not sys.stdout.isatty():
            yield self
            return
        columns = (
            rich_progress.BarColumn(),
            rich_progress.TaskProgressColumn(),
            rich_progress.TextColumn("{task.description}"),
        )
        with rich_progress.Progress(*columns) as self._bar:
            self._task = self._bar.add_task("", total=self._total, completed=int(self._done))
            yield self
        self._bar = None

    def skip(self, cost: float) -> None:
        """Adds work that was found finished, which says nothing about the speed of the rest."""
        self._done += cost
        self._skipped += cost

    def advance(self, cost: float, text: str) -> None:
        """Adds finished work and shows ``text`` with the time left."""
        self._done += cost
        now = time.monotonic()
        rate = (self._done - self._skipped) / max(now - self._began, 1e-9)
        seen = self._done - self._skipped >= LEAST_SEEN * (self._total - self._skipped)
        left = clock((self._total - self._done) / rate) if seen and rate > 0 else "?"
        line = f"{text}  {clock(now - self._began)} elapsed, {left} left"
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, description=line)
        elif not self._quiet and now - self._printed >= LINE_SECONDS:
            self._printed = now
            print(f"[{self._done / self._total:4.0%}] {line}", flush=True)
