"""Checkpoints of a group's carry through Orbax; the only file that imports it.

Orbax finds truncated files but restores flipped bytes without a word, so a checksum per leaf travels with the state.
"""

import pathlib
import zlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

KEPT = 2


def checksums(tree: Any) -> dict[str, int]:
    """Returns the CRC-32 of every leaf, by path; typed keys are read through their data."""

    def crc(leaf: jax.Array) -> int:
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return zlib.crc32(np.ascontiguousarray(jax.random.key_data(leaf) if is_key else leaf).tobytes())

    return {jax.tree_util.keystr(path): crc(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


class Checkpoints:
    """The newest ``KEPT`` checkpoints of one group; saves run in the background."""

    def __init__(self, directory: pathlib.Path, warn: Callable[[str], None]) -> None:
        """Opens (or makes) ``directory``; ``warn`` is told about checkpoints that cannot be used."""
        self._warn = warn
        self._directory = directory.resolve()
        options = ocp.CheckpointManagerOptions(
            preservation_policy=preservation_policy.LatestN(KEPT), cleanup_tmp_directories=True
        )
        self._manager = ocp.CheckpointManager(self._directory, options=options)

    def save(self, step: int, carry: Any, meta: dict[str, Any]) -> None:
        """Starts saving ``carry`` as it is at ``step``; the copy to the host is done on return."""
        meta = {**meta, "checksums": checksums(carry)}
        items = ocp.args.Composite(carry=ocp.args.StandardSave(carry), meta=ocp.args.JsonSave(meta))
        if not self._manager.save(step, args=items, force=True):
            raise RuntimeError(f"checkpoint of step {step} in {self._directory} was refused")

    def restore(self, abstract_of: Callable[[dict], Any], before: int | None = None) -> tuple[int, Any] | None:
        """Returns (step, carry) of the newest usable checkpoint earlier than ``before``, or None.

        ``abstract_of(meta)`` gives the shapes and shardings to restore into. Unusable checkpoints, and those not
        earlier than ``before``, are deleted, so that the steps after them can be saved again.
        """
        for step in sorted(self._manager.all_steps(), reverse=True):
            if before is None or step < before:
                try:
                    return step, self._read(step, abstract_of)
                except Exception as error:  # Orbax raises half a dozen kinds, bare Exception among them
                    reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
                    self._warn(f"checkpoint {self._directory.name}/{step} is unusable, falling back: {reason}")
            self._manager.delete(step)
        return None

    def _read(self, step: int, abstract_of: Callable[[dict], Any]) -> Any:
        read_meta = ocp.args.Composite(meta=ocp.args.JsonRestore())
        meta = self._manager.restore(step, args=read_meta)["meta"]
        items = ocp.args.Composite(carry=ocp.args.StandardRestore(abstract_of(meta)))
        carry = self._manager.restore(step, args=items)["carry"]
        if checksums(carry) != meta["checksums"]:
            raise ValueError("the stored numbers do not match their checksums")
        return carry

    def close(self) -> None:
        """Waits for the last save and closes; a save that failed in the background is raised here."""
        self._manager.wait_until_finished()
        self._manager.close()
