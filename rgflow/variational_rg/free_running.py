r"""Chains of a trained machine left to itself, read as an Ising lattice: energy, magnetization, correlations.

Half of the chains start from random spins, half from the data; what the two say apart from each other says whether
they have run long enough.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rgflow.types import Key
from rgflow.variational_rg.gibbs import gibbs_sweep
from rgflow.variational_rg.machine import Machine, to_spins, to_units

STARTS = ("hot", "cold")
"""``cold`` chains start from samples of the data; the names are those of the lattice's own chains."""


class FreeRun(NamedTuple):
    """Means over the second half of the sweeps: by start, the correlation over all chains."""

    energy: Float[Array, " starts"]
    energy_error: Float[Array, " starts"]
    magnetization: Float[Array, " starts"]
    squared_magnetization: Float[Array, " starts"]
    correlation: Float[Array, " distances"]


def axis_products(spins: Float[Array, "C side side"], distances: int) -> Float[Array, "C distances"]:
    r"""Returns $\frac12 [\overline{s_{x,y} s_{x+r,y}} + \overline{s_{x,y} s_{x,y+r}}]$ of every lattice, r = 1, 2, ...

    Periodic; the energy per site in units of J is minus twice the first of them.

    >>> axis_products(jnp.array([[[1.0, -1.0], [1.0, -1.0]]]), 1).tolist()
    [[0.0]]
    """
    shifted = lambda r: (jnp.roll(spins, r, 1) + jnp.roll(spins, r, 2)) / 2  # noqa: E731
    return jnp.stack([jnp.mean(spins * shifted(r), axis=(1, 2)) for r in range(1, distances + 1)], axis=1)


def free_run(key: Key, machine: Machine, samples: Float[Array, "C sites"], size: int, sweeps: int) -> FreeRun:
    r"""Runs 2 C chains of block Gibbs sweeps and averages the second half of them.

    C chains start hot and C at ``samples`` (values of the machine's units). Visible states are read as spins. Errors
    are those of the mean over chains, which are independent.
    """
    start_key, sweep_key = jax.random.split(key)
    hot = to_units(jax.random.rademacher(start_key, samples.shape, jnp.float32), machine.units)
    visible, half = jnp.concatenate([hot, samples]), sweeps // 2

    def observe(visible: Array) -> Array:
        spins = to_spins(visible, machine.units).reshape(-1, size, size)
        magnetization = jnp.mean(spins, axis=(1, 2))[:, None]
        return jnp.concatenate([magnetization, magnetization**2, axis_products(spins, size // 2)], axis=1)

    def sweep(number: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        visible, _ = gibbs_sweep(jax.random.fold_in(sweep_key, number), machine, carry[0])
        return visible, carry[1] + jnp.where(number >= half, observe(visible), 0.0)

    total = jnp.zeros((len(visible), size // 2 + 2))
    means = jax.lax.fori_loop(0, sweeps, sweep, (visible, total))[1] / (sweeps - half)
    by_start = means.reshape(len(STARTS), len(samples), -1)
    energies = -2 * by_start[:, :, 2]
    error = jnp.std(energies, axis=1, ddof=1) / len(samples) ** 0.5
    first, square = (jnp.mean(by_start[:, :, column], axis=1) for column in (0, 1))
    return FreeRun(jnp.mean(energies, axis=1), error, first, square, jnp.mean(means[:, 2:], axis=0))
