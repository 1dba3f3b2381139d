"""The compiled program: it samples, trains and probes many runs in one jitted call, without exchange between runs.

``advance`` is, on every device, a map over batches of runs of [a loop over steps of vmap(step), then vmap(probe)].
The number of steps and whether to probe are traced, so that one compilation serves every chunk of a group.
"""

import time
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Int

from rgflow.engine import health, keys, memory
from rgflow.engine.mesh import RUN_AXIS, over_runs
from rgflow.protocol import Experiment
from rgflow.types import Hypers, Key, Keys, Record, State


@flax.struct.dataclass
class Carry:
    """Everything one run carries from chunk to chunk; stacked over runs ([R, ...]) it is what a checkpoint holds.

    ``alive`` (bool) and ``died_at`` (int32, ``health.NEVER`` while alive) tell its health. ``info_sum`` and
    ``info_count`` (float32) accumulate the scalars of the steps since the last record, so that their means do not
    depend on the chunks. Leaves may be arrays or their shapes, hence the open types.
    """

    state: State
    alive: Any
    died_at: Any
    info_sum: Any
    info_count: Any


def _first_carry(experiment: Experiment, key: Key, hypers: Hypers) -> Carry:
    state = experiment.init(keys.init_key(key), hypers)
    info = jax.eval_shape(experiment.step, keys.step_key(key, 0), state, hypers)[1]
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), info)
    return Carry(state, jnp.array(True), jnp.array(health.NEVER, jnp.int32), zeros, jnp.zeros((), jnp.float32))


def _one_step(experiment: Experiment, step: Int[Array, ""], key: Key, hypers: Hypers, carry: Carry) -> Carry:
    state, info = experiment.step(keys.step_key(key, step), carry.state, hypers)
    finite = health.all_finite(info)
    ok = carry.alive & finite
    return Carry(
        state=health.select(ok, state, carry.state),
        alive=ok,
        died_at=jnp.where(carry.alive & ~finite, step, carry.died_at),
        info_sum=jax.tree.map(lambda total, x: total + jnp.where(ok, x, 0.0), carry.info_sum, info),
        info_count=carry.info_count + ok,
    )


def _take_record(experiment: Experiment, step: Int[Array, ""], key: Key, hypers: Hypers, carry: Carry) -> tuple:
    finite = health.all_finite(carry.state)
    died_at = jnp.where(carry.alive & ~finite, step, carry.died_at)
    alive = carry.alive & finite
    means = jax.tree.map(lambda total: total / carry.info_count, carry.info_sum)
    record = {**experiment.probe(keys.probe_key(key), carry.state, hypers), **means}
    # The measures of a dead run may still look sound (a rank of 1 where NaN entries are masked out): NaN is clear.
    record = {name: jnp.where(alive, x.astype(jnp.float32), jnp.nan) for name, x in record.items()}
    empty = jax.tree.map(jnp.zeros_like, carry.info_sum)
    return Carry(carry.state, alive, died_at, empty, jnp.zeros_like(carry.info_count)), record


def _advance_batch(
    experiment: Experiment, start: Array, stop: Array, probe: Array, key: Keys, hypers: Hypers, carry: Carry
) -> tuple[Carry, Record]:
    def body(step: Array, carry: Carry) -> Carry:
        return jax.vmap(lambda k, h, c: _one_step(experiment, step, k, h, c))(key, hypers, carry)

    carry = jax.lax.fori_loop(start, stop, body, carry)
    # A jitted function is traced once; otherwise the long probe would be traced for its shapes and for the branch.
    take = jax.jit(jax.vmap(lambda k, h, c: _take_record(experiment, stop, k, h, c)), inline=True)
    shapes = jax.eval_shape(take, key, hypers, carry)[1]

    def skip(key: Keys, hypers: Hypers, carry: Carry) -> tuple[Carry, Record]:
        return carry, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

    return jax.lax.cond(probe, take, skip, key, hypers, carry)


def _by_batch(run_batch: int, function: Callable, *arrays: Any) -> Any:
    """Returns ``function`` mapped over batches of ``run_batch`` rows, one batch after the other on each device."""
    split = lambda x: x.reshape((-1, run_batch, *x.shape[1:]))  # noqa: E731
    merge = lambda x: x.reshape((-1, *x.shape[2:]))  # noqa: E731
    out = jax.lax.map(lambda batch: function(*batch), jax.tree.map(split, arrays))
    return jax.tree.map(merge, out)


def functions(experiment: Experiment, run_batch: int, mesh: Mesh) -> tuple[Any, Any]:
    """Returns the jitted, not yet compiled (initialise, advance) of runs that share shapes, sharded over ``mesh``.

    ``initialise(key, hypers) -> Carry``; ``advance(start, stop, probe, key, hypers, carry) -> (Carry, Record)``.
    """
    runs, scalar = PartitionSpec(RUN_AXIS), PartitionSpec()

    def initialise(key: Keys, hypers: Hypers) -> Carry:
        return _by_batch(run_batch, jax.vmap(lambda k, h: _first_carry(experiment, k, h)), key, hypers)

    def advance(start: Array, stop: Array, probe: Array, key: Keys, hypers: Hypers, carry: Carry) -> tuple:
        step_batch = lambda k, h, c: _advance_batch(experiment, start, stop, probe, k, h, c)  # noqa: E731
        return _by_batch(run_batch, step_batch, key, hypers, carry)

    shard = lambda f, specs: jax.shard_map(f, mesh=mesh, in_specs=specs, out_specs=runs, check_vma=False)  # noqa: E731
    sharded_advance = shard(advance, (scalar, scalar, scalar, runs, runs, runs))
    return jax.jit(shard(initialise, (runs, runs))), jax.jit(sharded_advance, donate_argnums=5)


def chunk_arguments(initialise: Any, key: Any, hypers: Any, mesh: Mesh) -> tuple[Any, ...]:
    """Returns the arguments to lower ``advance`` for: (start, stop, probe, key, hypers, carry), the carry as shapes."""
    step, flag = jax.ShapeDtypeStruct((), jnp.int32), jax.ShapeDtypeStruct((), jnp.bool_)
    sharded = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=over_runs(mesh))  # noqa: E731
    return step, step, flag, key, hypers, jax.tree.map(sharded, jax.eval_shape(initialise, key, hypers))


def run_once(mesh: Mesh) -> dict[str, Any] | None:
    """Returns the compiler's options for a function that runs once: on a CPU level 3 costs more time than it saves.

    Level 2 gives the same bits as the default, level 3; level 0 does not.
    """
    on_cpu = mesh.devices.flat[0].platform == "cpu"
    return {"xla_backend_optimization_level": 2} if on_cpu else None


class Program:
    """The two compiled functions of a group of runs that share shapes: ``initialise`` and ``advance``."""

    def __init__(
        self,
        experiment: Experiment,
        key: Any,
        hypers: Any,
        run_batch: int,
        mesh: Mesh,
        allow: Callable[[int], object] = lambda need: None,
    ) -> None:
        """Compiles for the shapes of ``key`` and ``hypers`` (leading axis: padded runs), sharded over ``mesh``.

        ``allow`` is called with the bytes that each device will need, as far as shapes tell, before anything compiles.
        """
        began = time.monotonic()
        initialise, advance = functions(experiment, run_batch, mesh)
        arguments = chunk_arguments(initialise, key, hypers, mesh)
        self.carry_shapes = arguments[-1]
        traced = advance.trace(*arguments)
        self.least_bytes = memory.needed(traced, arguments, mesh.size)
        allow(self.least_bytes)
        self._initialise = initialise.lower(key, hypers).compile(compiler_options=run_once(mesh))
        self._advance = traced.lower().compile()
        self.compile_seconds = time.monotonic() - began

    def initialise(self, key: Keys, hypers: Hypers) -> Carry:
        """Returns the carry of every run at step 0."""
        return self._initialise(key, hypers)

    def advance(
        self, start: int, stop: int, probe: bool, key: Keys, hypers: Hypers, carry: Carry
    ) -> tuple[Carry, Record]:
        """Steps every run from ``start`` to ``stop`` and records there if ``probe``; ``carry`` is donated."""
        return self._advance(np.int32(start), np.int32(stop), np.bool_(probe), key, hypers, carry)

    @property
    def memory_bytes(self) -> int:
        """The compiler's own estimate of the memory one device needs, in bytes (0 where it gives none)."""
        stats = self._advance.memory_analysis()
        if stats is None:
            return 0
        # The donated carry counts as argument and as output, but both share their memory.
        held = stats.argument_size_in_bytes + stats.output_size_in_bytes - stats.alias_size_in_bytes
        return held + stats.temp_size_in_bytes

    @property
    def cost(self) -> float:
        """A rough cost of one step of all runs in seconds, used only to weigh groups in the time estimate."""
        analysis = self._advance.cost_analysis() or {}
        return analysis.get("flops", 0.0) / 5e10 + analysis.get("bytes accessed", 0.0) / 1e10

    @property
    def text(self) -> str:
        """The optimised program as text. Serves in the tests, which look for collectives in it."""
        return self._advance.as_text() or ""
