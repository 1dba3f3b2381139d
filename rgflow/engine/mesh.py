"""Devices: the run axis is sharded over a one-dimensional mesh called ``run``; runs exchange nothing."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

RUN_AXIS = "run"


def platform() -> str:
    """Returns the platform of the default devices: cpu, gpu or tpu."""
    return jax.devices()[0].platform


def choose_run_batch(platform: str, runs: int, devices: int, requested: int = 0, on_cpu: int = 2) -> int:
    """Returns how many runs one device steps together; 0 asks for the rule.

    The rule is deterministic (never timed at run time): an accelerator steps all its runs at once; a CPU core
    steps at most ``on_cpu``, since the activations of more runs leave its cache and each run then costs more.

    >>> choose_run_batch("cpu", runs=16, devices=2), choose_run_batch("gpu", runs=16, devices=2)
    (2, 8)
    """
    per_device = -(-runs // devices)
    if requested > 0:
        return min(requested, per_device)
    return min(on_cpu, per_device) if platform == "cpu" else per_device


def run_mesh(runs: int, run_batch: int, devices: Sequence[Any] | None = None) -> Mesh:
    """Returns a mesh over as many of the devices (default: all) as there are batches of runs to fill them.

    Every process takes part with the same number of devices, and its devices follow one another, so that the rows it
    holds are one stretch of the run axis.
    """
    by_process: dict[int, list[Any]] = {}
    # On pods ids alone give no order, and the ids of later processes start far above the number of devices.
    for device in sorted(jax.devices() if devices is None else devices, key=lambda d: (d.process_index, d.id)):
        by_process.setdefault(device.process_index, []).append(device)
    useful = min(-(-runs // (run_batch * len(by_process))), *map(len, by_process.values()))
    chosen = [device for members in by_process.values() for device in members[:useful]]
    # The axes of Mesh, unlike those of jax.make_mesh, are automatic: library code needs no sharding annotations.
    return Mesh(np.array(chosen), (RUN_AXIS,))


def padded_runs(runs: int, run_batch: int, mesh: Mesh) -> int:
    """Returns the rows of the run axis: ``runs`` rounded up to whole batches on every device."""
    unit = run_batch * mesh.size
    return -(-runs // unit) * unit


def over_runs(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of arrays whose leading axis is the run axis."""
    return NamedSharding(mesh, PartitionSpec(RUN_AXIS))


def pad_rows(array: np.ndarray, rows: int) -> np.ndarray:
    """Returns the array with its leading axis padded to ``rows`` by clones of the first row."""
    missing = rows - array.shape[0]
    return np.concatenate([array, np.repeat(array[:1], missing, axis=0)]) if missing > 0 else array[:rows]


def spread(array: np.ndarray, mesh: Mesh) -> jax.Array:
    """Returns a host array, equal in every process, on the devices of the mesh; each process fills its own rows."""
    return jax.make_array_from_callback(array.shape, over_runs(mesh), lambda index: array[index])


def local_rows(array: jax.Array) -> tuple[int, np.ndarray]:
    """Returns (first row, rows) of what this process's devices hold of an array sharded over the run axis."""
    shards = sorted(array.addressable_shards, key=lambda shard: shard.index[0].start or 0)
    return shards[0].index[0].start or 0, np.concatenate([np.asarray(shard.data) for shard in shards])
