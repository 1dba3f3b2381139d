r"""What is known of a stack before it runs: its data, block-spin lattices and principal components of the same data.

Every yardstick of a hidden layer is measured by the same functions as the layer itself, on as many spins: on the data
blocked by the majority rule (2 by 2 at a time where that leads there) and on the decimated data.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int8

from rgflow.exact.ising import spontaneous_magnetization
from rgflow.exact.torus import kaufman_energy, kaufman_log_partition
from rgflow.probes.couplings import (
    axis_correlation,
    covariance,
    nearest_neighbours,
    pseudo_coupling,
    second_moment_length,
)
from rgflow.probes.receptive_fields import measure_fields, random_radius, site_positions
from rgflow.samplers.blocks import block_decimate, block_majority
from rgflow.samplers.ising import SquareReport
from rgflow.variational_rg.probe import EXAMPLES, distances
from rgflow.variational_rg.task import Samples

YARDSTICKS = ("majority", "decimation")
MEASURES = ("coupling", "correlation_length")
DIMS = {
    **{f"{rule}_{name}": ("layer",) for rule in YARDSTICKS for name in MEASURES},
    **{f"{rule}_correlation": ("layer", "distance") for rule in YARDSTICKS},
    **dict.fromkeys(("component_radius", "component_participation", "component_error"), ("layer",)),
    "sample": ("example", "site"),
    "data_correlation": ("distance",),
}


def block_side(sites: int, units: int) -> int:
    r"""Returns the side b of the blocks of which ``units`` cover the lattice, $N = b^2 n$.

    Raises ValueError unless b is a whole number that divides the lattice's side.

    >>> block_side(1600, 100)
    4
    """
    side = round(sites**0.5)
    block = round((sites / max(units, 1)) ** 0.5)
    if units < 1 or units * block**2 != sites or side % block:
        raise ValueError(
            f"stack.layers = {units}: must be the lattice's {sites} sites divided by the square of a whole number that "
            f"divides its side {side}"
        )
    return block


def majority(key: Any, spins: Array, block: int) -> Array:
    """Returns blocked spins: by the majority of 2 by 2 as often as that divides the block, then of what is left."""
    number = 0
    while block > 1:
        factor = 2 if block % 2 == 0 else block
        spins = block_majority(jax.random.fold_in(key, number), spins, factor)
        block, number = block // factor, number + 1
    return spins


@functools.partial(jax.jit, static_argnames="size")
def lattice_measures(spins: Int8[Array, "B side side"], size: int) -> dict[str, Float[Array, "..."]]:
    """Returns coupling, second-moment length and correlations of lattices by the hidden layers' own estimators.

    In sites of the original lattice of ``size`` sites a side.
    """
    side = spins.shape[-1]
    flat = spins.reshape(len(spins), -1)
    # Spins of a block stand at its centre; only differences of places matter.
    places = site_positions(side) * (size / side)
    pairs, at = covariance(flat), jnp.asarray(distances(size), jnp.float32)
    return {
        "coupling": pseudo_coupling(flat, nearest_neighbours(places, size)),
        "correlation_length": second_moment_length(pairs, places, size, spacing=size / side),
        "correlation": axis_correlation(pairs, places, size, at),
    }


def component_measures(
    samples: Samples, test: Samples, layers: tuple[int, ...]
) -> dict[str, Float[np.ndarray, " layers"]]:
    r"""Returns what as many principal components as a layer has units do: field radius, participation, error.

    Of the covariance of the samples, float64; medians over components; the error is the share of test spins of the
    wrong sign after projection on them. Translation-invariant data have plane waves for components.
    """
    size, mean = round(samples.shape[1] ** 0.5), samples.mean(axis=0)
    centred = samples.astype(np.float32) - mean.astype(np.float32)
    components = np.linalg.eigh((centred.T @ centred).astype(np.float64) / len(samples))[1][:, ::-1]
    found = measure_fields(jnp.asarray(components[:, : max(layers)], jnp.float32), size)
    errors = []
    for units in layers:
        basis = components[:, :units]
        back = (test - mean) @ basis @ basis.T + mean
        errors.append(np.mean(back * test <= 0))
    middle = lambda values: np.array([np.median(np.asarray(values)[:units]) for units in layers])  # noqa: E731
    return {
        "component_radius": middle(found.radius),
        "component_participation": middle(found.participation),
        "component_error": np.array(errors),
    }


def yardsticks(test: Samples, size: int, layers: tuple[int, ...], seed: int) -> dict[str, Float[np.ndarray, "..."]]:
    """Returns the measures of blocked and decimated data for every layer, and of the data themselves."""
    spins, key = jnp.asarray(test).reshape(-1, size, size), jax.random.key(seed)
    found: dict[str, Any] = {f"data_{k}": v for k, v in lattice_measures(spins, size).items()}
    rows: dict[str, list[Any]] = {}
    for number, units in enumerate(layers):
        block = block_side(size**2, units)
        blocked = majority(jax.random.fold_in(key, number), spins, block)
        decimated = block_decimate(spins, block) if block > 1 else spins
        for rule, lattices in (("majority", blocked), ("decimation", decimated)):
            for name, value in lattice_measures(lattices, size).items():
                rows.setdefault(f"{rule}_{name}", []).append(value)
    found |= {name: np.stack(values) for name, values in rows.items()}
    return {name: np.asarray(value, np.float64) for name, value in found.items()}


def sampling(report: SquareReport) -> dict[str, float]:
    """Returns how the data came about: sweeps discarded, sweeps between samples, autocorrelation time, agreement."""
    watched = (report.energy, report.squared_magnetization)
    return {
        "data_discarded": float(report.discarded),
        "data_spacing": float(report.spacing),
        "data_autocorrelation_time": max(found.autocorrelation.time for found in watched),
        "data_start_deviation": max((found.deviation for found in watched), key=abs),
    }


def references(
    samples: Samples,
    test: Samples,
    report: SquareReport,
    coupling: float,
    size: int,
    layers: tuple[int, ...],
    seed: int,
) -> dict[str, Any]:
    """Returns every number that stands beside a stack's records, by name; dims are in ``DIMS``."""
    lattices = test.reshape(-1, size, size)
    bonds = np.sum(
        [np.mean(lattices * np.roll(lattices, 1, axis), axis=(1, 2), dtype=float) for axis in (1, 2)], axis=0
    )
    return {
        "kaufman_energy": kaufman_energy(coupling, size, size),
        "kaufman_log_partition": kaufman_log_partition(coupling, size, size),
        "onsager_magnetization": spontaneous_magnetization(coupling),
        "random_radius": random_radius(size, own_centre=True),
        **sampling(report),
        **yardsticks(test, size, layers, seed),
        **component_measures(samples, test, layers),
        "data_energy": -float(np.mean(bonds)),
        "data_squared_magnetization": float(np.mean(np.mean(lattices, axis=(1, 2), dtype=float) ** 2)),
        "data_energy_error": float(np.std(bonds) / len(bonds) ** 0.5),
        "sample": test[:EXAMPLES].astype(np.float64),
    }
