"""From a group of runs to a compiled program with its inputs on the devices."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from rgflow.engine import keys, mesh
from rgflow.engine.batch import Program
from rgflow.engine.grid import Group
from rgflow.engine.plan import distinct
from rgflow.protocol import Experiment


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


def stacked_inputs(
    group: Group, experiments: Sequence[Experiment], root_seed: int, run_mesh: Mesh
) -> tuple[Any, Any, int]:
    """Returns (key, hypers, rows): the runs' inputs on the mesh, padded to ``rows`` with clones of the first run."""
    rows = mesh.padded_runs(len(group.runs), group.run_batch, run_mesh)
    place = lambda x: mesh.spread(mesh.pad_rows(x, rows), run_mesh)  # noqa: E731
    points, index = distinct(experiments)
    stacked = jax.tree.map(lambda *xs: np.stack([np.asarray(x) for x in xs])[index], *(dict(e.hypers) for e in points))
    identities = place(np.array([run.identity for run in group.runs], np.uint32))
    key_of = jax.vmap(lambda identity: keys.run_key(root_seed, identity[0], identity[1]))
    key = jax.jit(key_of, out_shardings=mesh.over_runs(run_mesh))(identities)
    return key, jax.tree.map(place, stacked), rows


def prepare(
    group: Group,
    experiments: Sequence[Experiment],
    root_seed: int,
    devices: Sequence[Any] | None = None,
    allow: Callable[[Group, int], object] = lambda group, need: None,
) -> Prepared:
    """Places a group's keys and hypers on the devices (default: all of them) and compiles its program.

    ``experiments`` are those of the group's runs, in their order. ``allow`` is called before anything compiles, with
    the bytes that each device will need as far as the shapes tell; what it raises ends the preparation.
    """
    run_mesh = mesh.run_mesh(len(group.runs), group.run_batch, devices)
    key, hypers, rows = stacked_inputs(group, experiments, root_seed, run_mesh)
    check = functools.partial(allow, group)
    program = Program(experiments[0], key, hypers, group.run_batch, run_mesh, check)
    return Prepared(group, tuple(experiments), program, key, hypers, rows, run_mesh)


def chunks(schedule: Sequence[int], position: int | None, chunk_steps: int) -> Iterator[tuple[int, int, bool]]:
    """Yields (start, stop, probe) from ``position`` to the end; None is a fresh start, which records step 0 first.

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


def stretches(schedule: Sequence[int], missing: Sequence[int]) -> list[tuple[int, int]]:
    """Returns (first, last) of every unbroken stretch of scheduled steps whose records are missing.

    >>> stretches((0, 1, 4, 9), [1, 9]), stretches((0, 1, 4, 9), [1, 4, 9])
    ([(1, 1), (9, 9)], [(1, 9)])
    """
    found: list[tuple[int, int]] = []
    last_absent = False
    for step in schedule:
        if step in missing:
            found[-1:] = [(found[-1][0], step)] if last_absent else [*found[-1:], (step, step)]
        last_absent = step in missing
    return found
