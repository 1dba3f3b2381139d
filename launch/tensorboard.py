"""TensorBoard event files of a sweep, written from its records: one run per group, and below it one per point.

A group has the mean loss over its live runs, the standard error of that mean, and the number of live runs; a point has
the mean of every record that is one number per run. Needs the extra ``tensorboard``: tensorboardX writes the files
itself, without TensorFlow and without PyTorch.
"""

import pathlib
import shutil
from collections.abc import Mapping, Sequence
from importlib import util
from typing import Any, cast

import numpy as np

from launch.command_line import UsageError
from rgflow.engine import health, hosts, loop, records
from rgflow.engine.grid import Group, Run
from rgflow.engine.plan import Plan

FOLDER = "tensorboard"
LONGEST_NAME = 200
"""Most file systems end names at 255 bytes."""


def check() -> None:
    """Raises UsageError when the package that writes event files is missing."""
    if util.find_spec("tensorboardX") is None:
        raise UsageError("--tensorboard: tensorboardX is not installed; pip install -e '.[tensorboard]' brings it")


def scalars(record: Mapping[str, np.ndarray], rows: Sequence[int]) -> dict[str, float]:
    """Returns the mean over live runs of every record that is one number per run; ``rows`` are the runs that count.

    Example:
        >>> scalars({"loss": np.array([1.0, 3.0, np.nan]), "rank": np.ones((3, 2))}, [0, 1, 2])
        {'loss': 2.0}
    """
    numbers = {name: x[list(rows)] for name, x in record.items() if x.ndim == 1 and name != records.DIED_AT}
    return {name: float(x[np.isfinite(x)].mean()) for name, x in numbers.items() if np.isfinite(x).any()}


def group_scalars(record: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Returns the number of live runs and, where a record is a loss, its mean over them and the standard error."""
    found = {"live_runs": float((record[records.DIED_AT] == health.NEVER).sum())}
    name = next((name for name in record if "loss" in name and record[name].ndim == 1), None)
    loss = loop.joint_loss(loop.moments(record[name])[None]) if name else None
    if loss is not None:
        found[str(name)] = loss.mean
    if loss is not None and loss.runs > 1:
        found[f"{name}_error"] = loss.error
    return found


def point_names(runs: Sequence[Run]) -> dict[str, list[int]]:
    """Returns the places of each point's runs, by a folder name made of the values in which the points differ."""
    keys = sorted({key for run in runs for key in run.values})
    differ = [key for key in keys if len({repr(run.values.get(key)) for run in runs}) > 1]
    places: dict[int, list[int]] = {}
    for place, run in enumerate(runs):
        places.setdefault(run.identity[0], []).append(place)
    found: dict[str, list[int]] = {}
    for point, rows in places.items():
        text = ",".join(f"{key}={runs[rows[0]].values.get(key)}" for key in differ) or "all"
        name = "".join(c if c.isalnum() or c in "._=,+-" else "_" for c in text)
        found[f"point={point:08x}" if name in found or len(name) > LONGEST_NAME else name] = rows
    return found


class Board:
    """The event files of one workdir; those of an earlier start are replaced, so that no event is there twice."""

    def __init__(self, workdir: pathlib.Path) -> None:
        """Removes what an earlier start wrote; all of it can be read from the records."""
        self._workdir, self._written, self._files = workdir, set(), {}
        shutil.rmtree(workdir / FOLDER, ignore_errors=True)

    def add(self, group: Group, steps: Sequence[int]) -> None:
        """Writes those records of a group at ``steps`` that are on disk and were not written yet."""
        for step in steps:
            if (group.name, step) in self._written:
                continue
            record = records.read_record(self._workdir, group.name, step, len(group.runs))
            if record is not None:
                self._written.add((group.name, step))
                self._write(group.name, step, group_scalars(record))
                for name, rows in point_names(group.runs).items():
                    self._write(f"{group.name}/{name}", step, scalars(record, rows))

    def _write(self, name: str, step: int, values: Mapping[str, float]) -> None:
        # Imported here: only sweeps with --tensorboard need it.
        from tensorboardX import summary
        from tensorboardX.proto import event_pb2

        file, messages = self._file(name), cast(Any, event_pb2)  # the compiler of protocols makes names at run time
        path = records.record_path(self._workdir, name.partition("/")[0], step)
        for tag, value in values.items():
            event = messages.Event(step=step, summary=summary.scalar(tag, value))
            if path.exists():  # when it was recorded, which may be long ago
                event.wall_time = path.stat().st_mtime
            file.write_event(event)
        file.flush()

    def _file(self, name: str) -> Any:
        from tensorboardX.event_file_writer import EventsWriter

        if name not in self._files:
            if not any(name.startswith(f"{other.partition('/')[0]}/") for other in self._files):
                self.close()  # the groups come one after the other, and open files are few
            folder = self._workdir / FOLDER / name
            folder.mkdir(parents=True, exist_ok=True)
            self._files[name] = EventsWriter(str(folder / "events"))
        return self._files[name]

    def close(self) -> None:
        """Closes the files."""
        for file in self._files.values():
            file.close()
        self._files.clear()


def open_board(workdir: pathlib.Path, plan: Plan) -> Board | None:
    """Returns the event files of a workdir, filled from the records on disk; None in every process but the first."""
    if not hosts.is_first():
        return None
    board = Board(workdir)
    for group in plan.groups:
        board.add(group, plan.schedule(group))
    return board
