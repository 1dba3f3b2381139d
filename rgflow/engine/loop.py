"""The host loop: compiled chunks, records, checkpoints, signals. Knows no physics."""

import dataclasses
import pathlib
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from rgflow.engine import health, keys, mesh, records
from rgflow.engine.batch import Carry, Program
from rgflow.engine.checkpoint import Checkpoints
from rgflow.engine.grid import Group, Run
from rgflow.engine.progress import EventLog, Progress
from rgflow.protocol import Experiment


class Stopped(Exception):
    """The sweep was asked to stop; everything computed is on disk."""


class StopRequest:
    """Turns SIGTERM and SIGINT into a flag that the loop reads between chunks."""

    def __init__(self) -> None:
        """Installs the handlers; a second signal of the same kind acts as it would by default."""
        self.name = ""
        self._previous = {s: signal.signal(s, self._handle) for s in (signal.SIGTERM, signal.SIGINT)}

    def _handle(self, number: int, frame: Any) -> None:
        self.name = signal.Signals(number).name
        signal.signal(number, self._previous[signal.Signals(number)])


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A group with its compiled program and its per-run inputs on the devices."""

    group: Group
    experiments: tuple[Experiment, ...]
    program: Program
    key: Any
    hypers: Any
    rows: int
    mesh: Mesh

    @property
    def schedule(self) -> tuple[int, ...]:
        """The steps at which this group records."""
        return self.experiments[0].schedule

    @property
    def cost(self) -> float:
        """The group's whole estimated cost, in the arbitrary unit of ``Program.cost``."""
        return self.program.cost * max(self.schedule[-1], 1) * self.rows

    @property
    def summary(self) -> str:
        """One line for the terminal."""
        size = f"{self.program.memory_bytes / 2**20:.0f} MiB per device"
        batch = f"{self.group.run_batch} at a time on each of {self.mesh.size} devices"
        steps = f"{self.schedule[-1]} steps, {len(self.schedule)} records"
        compiled = f"compiled in {self.program.compile_seconds:.1f} s"
        return f"{self.group.name}: {len(self.group.runs)} runs ({batch}), {steps}, {size}, {compiled}"


def prepare(
    group: Group,
    experiment_of: Callable[[Run], Experiment],
    root_seed: int,
    devices: Sequence[Any] | None = None,
) -> Prepared:
    """Places a group's keys and hypers on the devices (default: all of them) and compiles its program."""
    experiments = tuple(experiment_of(run) for run in group.runs)
    run_mesh = mesh.run_mesh(len(group.runs), group.run_batch, devices)
    rows = mesh.padded_runs(len(group.runs), group.run_batch, run_mesh)
    clones = mesh.pad_rows(np.arange(len(group.runs)), rows)
    stacked = jax.tree.map(lambda *xs: np.stack([np.asarray(x) for x in xs]), *(dict(e.hypers) for e in experiments))
    identities = np.array([run.identity for run in group.runs], np.uint32)[clones]
    key = jax.vmap(lambda point, seed: keys.run_key(root_seed, point, seed))(identities[:, 0], identities[:, 1])
    key, hypers = jax.device_put((key, jax.tree.map(lambda x: x[clones], stacked)), mesh.over_runs(run_mesh))
    program = Program(experiments[0], key, hypers, group.run_batch, run_mesh)
    return Prepared(group, experiments, program, key, hypers, rows, run_mesh)


def chunks(schedule: Sequence[int], position: int | None, chunk_steps: int) -> Iterator[tuple[int, int, bool]]:
    """Yields (start, stop, probe) from ``position`` to the end; None is a fresh start, which records step 0 first.

    Example:
        >>> list(chunks((0, 3, 5), None, 2))
        [(0, 0, True), (0, 2, False), (2, 3, True), (3, 5, True)]
    """
    if position is None:
        yield 0, 0, True
        position = 0
    for mark in (s for s in schedule if s > position):
        while position < mark:
            stop = min(position + chunk_steps, mark)
            yield position, stop, stop == mark
            position = stop


def _fit_rows(prepared: Prepared, carry: Carry) -> Carry:
    """Trims or pads restored rows to the present mesh; the jitted copy makes the arrays donatable again."""
    real = len(prepared.group.runs)
    index = mesh.pad_rows(np.arange(real), prepared.rows)
    place = jax.jit(lambda tree: jax.tree.map(lambda x: x[index], tree), out_shardings=mesh.over_runs(prepared.mesh))
    return place(carry)


def _abstract(prepared: Prepared, meta: dict) -> Any:
    """Shapes and shardings to restore into: the saved number of rows, on the present devices where they divide it."""
    sharding = mesh.over_runs(prepared.mesh)
    if meta["rows"] % prepared.mesh.size:
        sharding = jax.sharding.SingleDeviceSharding(prepared.mesh.devices[0])
    resize = lambda x: jax.ShapeDtypeStruct((meta["rows"], *x.shape[1:]), x.dtype, sharding=sharding)  # noqa: E731
    return jax.tree.map(resize, prepared.program.carry_shapes)


def _resume(prepared: Prepared, workdir: pathlib.Path, store: Checkpoints) -> tuple[int | None, Carry]:
    """Returns (position, carry) to go on from: the newest checkpoint older than the first missing record."""
    missing = records.first_missing(workdir, prepared.group.name, prepared.schedule)
    found = store.restore(lambda meta: _abstract(prepared, meta), before=missing)
    if found is None:
        return None, prepared.program.initialise(prepared.key, prepared.hypers)
    return found[0], _fit_rows(prepared, found[1])


def _host_record(prepared: Prepared, carry: Carry, record: Any) -> dict[str, np.ndarray]:
    real = slice(len(prepared.group.runs))
    host = {name: np.asarray(x)[real] for name, x in jax.device_get(record).items()}
    return {**host, records.DIED_AT: np.asarray(jax.device_get(carry.died_at))[real]}


def finished(group: Group, workdir: pathlib.Path, schedule: Sequence[int]) -> bool:
    """Tells whether every scheduled record of the group is on disk and undamaged."""
    return records.first_missing(workdir, group.name, schedule) is None


def run_group(
    prepared: Prepared,
    workdir: pathlib.Path,
    engine: Any,
    meta: dict[str, Any],
    progress: Progress,
    log: EventLog,
    stop: StopRequest,
) -> None:
    """Runs one group to its end, or raises :class:`Stopped` after saving when ``stop`` was requested.

    A record reaches the disk before the checkpoint of the same step: a checkpoint never stands for a lost record.
    """
    name, schedule, program = prepared.group.name, prepared.schedule, prepared.program

    def warn(text: str) -> None:
        print(text, flush=True)
        log("warning", text=text)

    store = Checkpoints(workdir / "checkpoints" / name, warn)
    try:
        position, carry = _resume(prepared, workdir, store)
        per_step = prepared.cost / max(schedule[-1], 1)
        if position is not None:
            log("resumed", group=name, step=position)
        progress.advance(per_step * (position or 0), f"{name} step {position or 0}/{schedule[-1]}")
        saved = time.monotonic()
        for start, end, probe in chunks(schedule, position, engine.chunk_steps):
            carry, record = program.advance(start, end, probe, prepared.key, prepared.hypers, carry)
            if probe:
                host = _host_record(prepared, carry, record)
                records.write_record(records.record_path(workdir, name, end), host)
                log("record", group=name, step=end, dead=int((host[records.DIED_AT] != health.NEVER).sum()))
            due = time.monotonic() - saved >= engine.checkpoint_seconds
            if due or stop.name or end == schedule[-1]:
                store.save(end, carry, {**meta, "rows": prepared.rows, "step": end})
                saved = time.monotonic()
            dead = int((np.asarray(carry.died_at)[: len(prepared.group.runs)] != health.NEVER).sum())
            text = f"{name} step {end}/{schedule[-1]}" + (f", {dead} dead" if dead else "")
            progress.advance(per_step * (end - start), text)
            if stop.name:
                log("stopped", group=name, step=end, signal=stop.name)
                raise Stopped(stop.name)
    finally:
        store.close()
