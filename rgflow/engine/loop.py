"""The host loop: compiled chunks, records, checkpoints and signals. It knows no physics."""

import contextlib
import pathlib
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from rgflow.engine import health, hosts, mesh, records
from rgflow.engine.checkpoint import Checkpoints, SaveFailed
from rgflow.engine.grid import Group
from rgflow.engine.prepare import Prepared, chunks, stretches
from rgflow.engine.progress import EventLog, Loss, Progress, Status


class Stopped(Exception):
    """The sweep was asked to stop; everything computed is on disk."""


class OutOfMemory(Exception):
    """A group did not fit into the memory of a device; the text tells what to change."""


class StopRequest:
    """Turns SIGTERM and SIGINT into a flag that the loop reads between chunks.

    SIGINT comes from a person, who wants out; SIGTERM from what starts the sweep again, so that a start which leaves
    nothing behind would be followed by others like it.
    """

    def __init__(self) -> None:
        """Installs the handlers; a second SIGINT acts as it would by default, and a second SIGTERM changes nothing."""
        self.name = ""
        self._interrupt = signal.signal(signal.SIGINT, self._handle)
        signal.signal(signal.SIGTERM, self._handle)

    def _handle(self, number: int, frame: Any) -> None:
        self.name = signal.Signals(number).name
        if number == signal.SIGINT:  # Slurm sends SIGTERM twice within milliseconds at a time limit
            signal.signal(number, self._interrupt)

    @property
    def at_once(self) -> bool:
        """Whether the request does not wait for the first chunk of this start."""
        return self.name == signal.SIGINT.name


def pending(group: Group, workdir: pathlib.Path, schedule: Sequence[int]) -> list[int]:
    """Returns the scheduled steps whose record is absent or damaged, the same list in every process."""
    flags = [0] * len(schedule)
    if hosts.is_first():
        absent = set(records.missing(workdir, group, schedule))
        flags = [int(step in absent) for step in schedule]
    return [step for step, flag in zip(schedule, hosts.from_first(flags), strict=True) if flag]


def finished(group: Group, workdir: pathlib.Path, schedule: Sequence[int]) -> bool:
    """Returns whether every scheduled record of the group is on disk and undamaged, without asking other processes."""
    return not records.missing(workdir, group, schedule)


def _local_runs(prepared: Prepared, array: jax.Array) -> tuple[int, np.ndarray]:
    """Returns (first run, values) of the real runs on this process's devices, without the clones."""
    first, rows = mesh.local_rows(array)
    return first, rows[: max(len(prepared.group.runs) - first, 0)]


class Chunk(NamedTuple):
    """A finished chunk: its first and last step, how many runs are dead by then, and the loss of the others."""

    start: int
    stop: int
    dead: int
    loss: Loss | None


def moments(values: np.ndarray) -> np.ndarray:
    """Returns (number, mean, sum of squared deviations) of the finite values, as float32."""
    live = np.asarray(values, np.float64)[np.isfinite(values)]
    mean = live.mean() if live.size else 0.0
    with np.errstate(over="ignore"):  # a diverging run overflows; infinity is not shown as a loss
        return np.array([live.size, mean, ((live - mean) ** 2).sum()], np.float32)


def joint_loss(parts: np.ndarray) -> Loss | None:
    """Returns the loss of all runs from the :func:`moments` of each process, [process, 3]; None without runs.

    >>> joint_loss(np.stack([moments(np.array([1.0, 3.0])), moments(np.array([np.nan, 5.0]))]))
    Loss(mean=3.0, error=1.154..., runs=3)
    """
    number, means, squares = np.asarray(parts, np.float64).T
    runs = int(number.sum())
    if not runs:
        return None
    with np.errstate(invalid="ignore"):
        mean = float((number * means).sum() / runs)
        spread = float((squares + number * (means - mean) ** 2).sum())
    return Loss(mean, (spread / (runs - 1) / runs) ** 0.5 if runs > 1 else float("nan"), runs)


class _GroupLoop:
    """One group on its way from what is on disk to its last record."""

    def __init__(
        self, prepared: Prepared, workdir: pathlib.Path, engine: Any, meta: dict[str, Any], log: EventLog
    ) -> None:
        self.prepared, self.workdir, self.engine, self.log = prepared, workdir, engine, log
        self.meta = {**meta, "rows": prepared.rows}
        self.name = prepared.group.name
        self.store = self._open()
        self.newest = self.store.newest
        self.saved = time.monotonic()
        self.position: int | None = None
        self.carry: Any = None

    def _open(self) -> Checkpoints:
        return Checkpoints(self.workdir / "checkpoints" / self.name, self._warn)

    def _warn(self, text: str) -> None:
        if hosts.is_first():
            print(text, flush=True)
            self.log("warning", text=text)

    def _start(self, first: int, last: int) -> None:
        """Sets the carry to the latest state before ``first``: a checkpoint, its present state, or step 0."""
        # Records before these checkpoints are missing: the run will pass (and save) these steps again.
        self.store.delete(first, last)
        here = -1 if self.position is None else self.position
        found = self.store.restore(self.prepared.program.carry_shapes, before=first, after=here)
        self.newest = self.store.newest
        if found is not None:
            self.position, self.carry = found
            self.log("resumed", group=self.name, step=self.position)
        elif self.carry is None:
            self.carry = self.prepared.program.initialise(self.prepared.key, self.prepared.hypers)

    def _record(self, step: int, record: Any) -> None:
        first, died_at = _local_runs(self.prepared, self.carry.died_at)
        local = {name: _local_runs(self.prepared, x)[1] for name, x in record.items()}
        if len(died_at):
            runs = len(self.prepared.group.runs)
            host = {**local, records.DIED_AT: died_at}
            records.write_record(self.workdir, self.name, step, host, first, runs)

    def _save(self, step: int) -> None:
        began, meta = time.monotonic(), {**self.meta, "step": step}
        try:
            self.store.save(step, self.carry, meta)
        except SaveFailed as error:
            if hosts.count() > 1:  # the other processes may have saved
                raise
            self._warn(f"a checkpoint could not be saved, trying again: {error}")
            with contextlib.suppress(SaveFailed):
                self.store.close()
            self.store = self._open()
            self.store.save(step, self.carry, meta)
            self.store.wait()
        self.newest, self.saved = step, time.monotonic()
        self.log("checkpoint", group=self.name, step=step, seconds=round(self.saved - began, 4))

    def _due(self, step: int) -> bool:
        # No checkpoint is saved while a gap in the records is filled: Orbax keeps the newest, which lie after the gap.
        if step <= self.newest:
            return False
        waited = time.monotonic() - self.saved
        return waited >= self.engine.checkpoint_seconds or step == self.prepared.schedule[-1]

    def close(self) -> None:
        """Waits for the last save; raises SaveFailed when it failed."""
        began = time.monotonic()
        self.store.close()
        self.log("closed", group=self.name, seconds=round(time.monotonic() - began, 4))

    def _losses(self, record: Any, probe: bool) -> np.ndarray:
        """Returns the mean loss since the last record of each run on this process's devices; empty without a loss."""
        name = next((name for name in self.carry.info_sum if "loss" in name), "")
        if not name:
            return np.empty(0)
        if probe:  # taking the record has reset the sums
            return _local_runs(self.prepared, record[name])[1]
        total, count, died_at = (
            _local_runs(self.prepared, x)[1]
            for x in (self.carry.info_sum[name], self.carry.info_count, self.carry.died_at)
        )
        return np.where((died_at == health.NEVER) & (count > 0), total, np.nan) / np.maximum(count, 1)

    def run(self, stop: StopRequest) -> Iterator[Chunk]:
        """Runs the steps whose records are missing and yields every finished chunk; raises Stopped after saving.

        A record reaches the disk before the checkpoint of the same step: no checkpoint lies after a lost record.
        """
        schedule, program = self.prepared.schedule, self.prepared.program
        for first, last in stretches(schedule, pending(self.prepared.group, self.workdir, schedule)):
            self._start(first, last)
            until = [s for s in schedule if s <= last]
            for start, end, probe in chunks(until, self.position, self.engine.chunk_steps):
                self.carry, record = program.advance(
                    start, end, probe, self.prepared.key, self.prepared.hypers, self.carry
                )
                self.position = end
                if probe and end >= first:
                    self._record(end, record)
                dead = int((_local_runs(self.prepared, self.carry.died_at)[1] != health.NEVER).sum())
                # All processes must decide alike; the exchange also ensures that all have written their records.
                loss = moments(self._losses(record, probe))
                facts = hosts.gather([bool(stop.name), self._due(end), dead, *loss.view(np.int32).tolist()])
                asked, due, dead_runs = facts[:, :3].T
                if due[0] or (asked.any() and end > self.newest):
                    self._save(end)
                if probe:
                    self.log("record", group=self.name, step=end, dead=int(dead_runs.sum()))
                loss_of_all = joint_loss(np.ascontiguousarray(facts[:, 3:]).view(np.float32))
                yield Chunk(start, end, int(dead_runs.sum()), loss_of_all)
                if asked.any():
                    self.log("stopped", group=self.name, step=end, signal=stop.name)
                    raise Stopped(stop.name or "a signal to another process")


def run_group(
    prepared: Prepared,
    workdir: pathlib.Path,
    engine: Any,
    meta: dict[str, Any],
    progress: Progress,
    log: EventLog,
    stop: StopRequest,
    watch: Callable[[Group, Sequence[int]], None] | None = None,
) -> None:
    """Runs one group to its end; ``watch`` is called with the step of every record that is on disk.

    Raises Stopped after saving when ``stop`` was requested, OSError (SaveFailed among them) when the disk refuses,
    OutOfMemory, and PeerLost when another process of the sweep is gone.
    """
    last, runs = prepared.schedule[-1], len(prepared.group.runs)
    work = _GroupLoop(prepared, workdir, engine, meta, log)
    per_step, shown = prepared.cost / max(last, 1), 0
    progress.begin(prepared.cost)
    try:
        for start, step, dead, loss in work.run(stop):
            progress.skip(per_step * (start - shown))
            progress.advance(per_step * (step - start), step - start, Status(step, last, runs, dead, loss))
            shown = step
            if watch is not None and step in prepared.schedule:
                watch(prepared.group, [step])
        progress.skip(per_step * (last - shown))
    except Stopped:
        work.close()
        raise
    except BaseException as error:
        if hosts.count() == 1:  # closing would wait for the other processes, which wait for this one
            work.close()
        text = str(error)
        if isinstance(error, jax.errors.JaxRuntimeError) and ("RESOURCE_EXHAUSTED" in text or "ut of memory" in text):
            raise OutOfMemory(_advice(prepared)) from error
        raise
    work.close()


def _advice(prepared: Prepared) -> str:
    batch = prepared.group.run_batch
    size = f"{prepared.program.memory_bytes / 2**30:.1f} GiB per device were estimated"
    text = f"{prepared.group.name} ran out of memory with {batch} runs at a time on each device ({size})"
    if batch > 1:
        return f"{text}; give --config.engine.run_batch={batch // 2} and the same command again"
    return f"{text}; engine.run_batch is as small as can be: use more devices, fewer seeds, or a smaller network"
