"""Several processes of one sweep: they run in step, agree on every decision, and share one workdir.

Every process calls these functions in the same order. With one process they cost nothing and use no device.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils


class PeerLost(Exception):
    """Another process of the sweep is gone; the sweep can be resumed from what it has saved."""


def count() -> int:
    """Returns the number of processes of the sweep."""
    return jax.process_count()


def is_first() -> bool:
    """Returns whether this is the process that prints, judges, and writes the files that exist once."""
    return jax.process_index() == 0


def gather(values: Sequence[int]) -> np.ndarray:
    """Returns the integers of every process, [process, value]; waits for all of them.

    Raises PeerLost when another process does not answer any more.
    """
    local = np.asarray(values, np.int32)
    if count() == 1:
        return local[None]
    try:
        return np.asarray(multihost_utils.process_allgather(local)).reshape(count(), len(local))
    except (jax.errors.JaxRuntimeError, ValueError) as error:  # Gloo's failures surface as either
        raise PeerLost((str(error).strip() or "no reason given").splitlines()[0][:120]) from error


def from_first(values: Sequence[int]) -> list[int]:
    """Returns the first process's integers (the same number of them in every process)."""
    return [int(x) for x in gather(values)[0]]


def agree(what: Any) -> bool:
    """Returns whether ``what``, compared by its repr, is the same in every process."""
    digest = hashlib.sha256(repr(what).encode()).digest()
    words = np.frombuffer(digest, np.int32).tolist()
    return len(np.unique(gather(words), axis=0)) == 1
