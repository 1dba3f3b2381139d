"""Keys of runs and steps: a run's randomness depends on (root seed, point, seed, step) and on nothing else."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import jax

from rgflow.protocol import Stream
from rgflow.types import Key


def point_id(values: Mapping[str, Any]) -> int:
    """Returns a stable 32-bit id of a point, which depends on the point's own values alone.

    >>> point_id({"a": 1, "b": 2.0}) == point_id({"b": 2.0, "a": 1})
    True
    """
    text = json.dumps(dict(values), sort_keys=True)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def run_key(root_seed: int, point: jax.typing.ArrayLike, seed: jax.typing.ArrayLike) -> Key:
    """Returns the key of one run: ``fold_in(fold_in(key(root_seed), point), seed)``."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(root_seed, impl="threefry2x32"), point), seed)


def step_key(key: Key, step: jax.typing.ArrayLike) -> Key:
    """Returns the key that ``Experiment.step`` receives at ``step``."""
    return jax.random.fold_in(key, step)


def init_key(key: Key) -> Key:
    """Returns the key that ``Experiment.init`` receives."""
    return jax.random.fold_in(step_key(key, 0), Stream.INIT)


def probe_key(key: Key) -> Key:
    """Returns the key that ``Experiment.probe`` receives, the same at every record."""
    return jax.random.fold_in(step_key(key, 0), Stream.PROBE)
