"""Checkpoints of a group's carry through Orbax; the only file that imports it.

Orbax detects truncated files but restores flipped bytes without an error, so that a checksum per run is stored with the
state. It is computed on the devices, costs the host nothing, and is the same on any number of devices and processes.
"""

import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from etils import epath
from jaxtyping import Array, UInt32
from orbax.checkpoint.checkpoint_managers import preservation_policy

from rgflow.engine import hosts, mesh

KEPT = 2
LISTED = 16
"""Most checkpoints that the processes of a sweep tell each other; only after a crash are there more than ``KEPT``."""


class SaveFailed(OSError):
    """A checkpoint could not be written; the one before it is intact."""


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(tree: Any) -> Any:
    """Returns a tree with typed keys replaced by their data, which Orbax can restore into another number of rows."""
    return jax.tree.map(lambda x: jax.random.key_data(x) if _is_key(x) else x, tree)


def _typed(tree: Any, abstract: Any) -> Any:
    """Returns a tree of ``_plain`` with typed keys again, of the kinds that ``abstract`` has."""
    wrap = lambda x, like: jax.random.wrap_key_data(x, dtype=like.dtype) if _is_key(like) else x  # noqa: E731
    return jax.tree.map(wrap, tree, abstract)


def _words(leaf: jax.Array) -> UInt32[Array, "run word"]:
    """Returns the bits of every row of a leaf as 32-bit words."""
    if leaf.dtype == jnp.bool_:
        leaf = leaf.astype(jnp.uint32)
    width = {1: jnp.uint8, 2: jnp.uint16}.get(leaf.dtype.itemsize, jnp.uint32)
    return jax.lax.bitcast_convert_type(leaf, width).reshape(leaf.shape[0], -1).astype(jnp.uint32)


def checksum(tree: Any) -> UInt32[Array, " run"]:
    r"""Returns one number per run, :math:`\sum_i w_i x_i \bmod 2^{32}` over all 32-bit words x of the run's leaves.

    The weights w are odd, so that any change of a single word changes the sum; other damage is missed with probability
    2^-32 or so. Integer sums do not depend on the order of summation and therefore not on the devices.
    """
    total: Any = 0
    for number, leaf in enumerate(jax.tree.leaves(_plain(tree))):
        words = _words(leaf)
        place = jnp.arange(words.shape[1], dtype=jnp.uint32)
        weight = (place * jnp.uint32(0x9E3779B1) + jnp.uint32(number * 0x85EBCA6B % 2**32)) | jnp.uint32(1)
        total = total + jnp.sum(words * weight[None], axis=1, dtype=jnp.uint32)
    return total


def _reason(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:320]


class Checkpoints:
    """The newest ``KEPT`` checkpoints of one group; saves run in the background, on all processes together."""

    def __init__(self, directory: pathlib.Path, warn: Callable[[str], None]) -> None:
        """Opens (or makes) ``directory``; ``warn`` is told about checkpoints that cannot be used."""
        self._warn = warn
        self._directory = directory.resolve()
        # Functions of their own: their programs, made for the shapes of one group, go with it.
        self._checksum = jax.jit(lambda tree: checksum(tree))
        # A restored array is not donatable until a compiled program has copied it.
        self._copy = jax.jit(lambda tree: jax.tree.map(jnp.copy, tree))
        options = ocp.CheckpointManagerOptions(
            preservation_policy=preservation_policy.LatestN(KEPT), cleanup_tmp_directories=True
        )
        self._manager = ocp.CheckpointManager(self._directory, options=options)

    @property
    def newest(self) -> int:
        """The step of the newest checkpoint, -1 for none."""
        return max(self._steps(), default=-1)

    def _steps(self) -> list[int]:
        """Returns the steps that have a checkpoint, oldest first, as the first process sees them."""
        steps = sorted(self._manager.all_steps())[-LISTED:]
        return [s for s in hosts.from_first([*steps, *[-1] * (LISTED - len(steps))]) if s >= 0]

    def save(self, step: int, carry: Any, meta: dict[str, Any]) -> None:
        """Starts saving ``carry`` as it is at ``step``; on return it has been copied to the host.

        Raises SaveFailed when this save cannot begin, or when the one before it failed in the background.
        """
        state = ocp.args.StandardSave({"carry": _plain(carry), "checksum": self._checksum(carry)})
        items = ocp.args.Composite(state=state, meta=ocp.args.JsonSave(meta))
        try:
            if not self._manager.save(step, args=items, force=True):
                raise RuntimeError("refused by Orbax")
        except Exception as error:  # Orbax raises half a dozen kinds, bare Exception among them
            raise SaveFailed(f"{self._directory.name}, step {step}: {_reason(error)}") from error

    def restore(self, abstract: Any, before: int, after: int = -1) -> tuple[int, Any] | None:
        """Returns (step, carry) of the newest usable checkpoint with after < step < before, or None.

        ``abstract`` has the shapes and shardings to restore into; it may have fewer or more rows than were saved (rows
        that were not saved come out as zeros). Unusable checkpoints are deleted, so that they can be saved again.
        """
        for step in sorted((s for s in self._steps() if after < s < before), reverse=True):
            carry, trouble = None, ""
            try:
                carry = self._read(step, abstract)
            except (PermissionError, MemoryError):
                raise  # the fault is the machine's: the checkpoint must not be deleted
            except Exception as error:  # as above
                if "RESOURCE_EXHAUSTED" in str(error) or "PERMISSION_DENIED" in str(error):
                    raise
                trouble = _reason(error)
            if hosts.gather([not trouble]).all():
                return step, carry
            trouble = trouble or "damaged where another process reads it"
            self._warn(f"checkpoint {self._directory.name}/{step} is unusable, falling back: {trouble}")
            self._manager.delete(step)
        return None

    def delete(self, first: int, last: int) -> None:
        """Deletes the checkpoints of the steps from ``first`` to ``last``."""
        for step in (s for s in self._steps() if first <= s <= last):
            self._manager.delete(step)

    def _read(self, step: int, abstract: Any) -> Any:
        # The handler reads, not the manager, whose barriers would leave other processes waiting when one fails.
        first = jax.tree.leaves(abstract)[0]
        place = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=first.sharding)  # noqa: E731
        plain = jax.tree.map(place, jax.eval_shape(_plain, abstract))
        tree = {"carry": plain, "checksum": place(jax.ShapeDtypeStruct(first.shape[:1], jnp.uint32))}
        arguments, folder = ocp.args.StandardRestore(tree, strict=False), epath.Path(self._directory)
        found = ocp.StandardCheckpointHandler().restore(folder / str(step) / "state", args=arguments)
        sums = self._checksum(found["carry"]), found["checksum"]
        wrong = int((mesh.local_rows(sums[0])[1] != mesh.local_rows(sums[1])[1]).sum())
        if wrong:
            raise ValueError(f"the stored numbers of {wrong} runs do not match their checksums")
        return _typed(self._copy(found["carry"]), abstract)

    def wait(self) -> None:
        """Waits for the last save; raises SaveFailed when it failed."""
        try:
            self._manager.wait_until_finished()
        except Exception as error:  # as above
            raise SaveFailed(f"{self._directory.name}, newest checkpoint: {_reason(error)}") from error

    def close(self) -> None:
        """Waits for the last save and closes; raises SaveFailed when the save failed."""
        try:
            self.wait()
        finally:
            self._manager.close()
