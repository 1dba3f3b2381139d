r"""Monte Carlo renormalization group: exponents of a critical point from blocked samples, without a closed form.

The derivative of the couplings after a block-spin step with respect to those before it follows from correlations of
operators, $T = \langle S' S'^T\rangle_c^{-1} \langle S' S^T\rangle_c$, S before and S' after; an eigenvalue
$\lambda = b^y$ gives the exponent y. Means over samples and the algebra are on the host in float64.
Keys: Swendsen1979 = Phys. Rev. Lett. 42 (1979) 859; Hesterberg2015 = Am. Stat. 69 (2015) 371.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int8, Real

from rgflow.samplers.blocks import block_majority
from rgflow.types import Key

_majority = jax.jit(block_majority)

SMALLEST_SIZE = 4
"""Sites a side after the last step: on fewer the operators see themselves around the torus."""


class Exponents(NamedTuple):
    """Exponents by level (row, from the finest) and by number of operators kept (column, from 1), with errors.

    ``thermal`` is y_t, from even operators, and ``magnetic`` y_h, from odd ones; an error is the standard deviation
    over bootstrap resamples of the samples.
    """

    thermal: Float[np.ndarray, "levels even"]
    thermal_error: Float[np.ndarray, "levels even"]
    magnetic: Float[np.ndarray, "levels odd"]
    magnetic_error: Float[np.ndarray, "levels odd"]


@jax.jit
def even_operators(spins: Int8[Array, "B rows cols"]) -> Float[Array, "B 3"]:
    r"""Sum nearest-neighbour bonds, diagonal bonds and plaquettes, $S = (\sum ss_{1,0}, \sum ss_{1,1}, \sum ssss)$.

    Over the whole periodic lattice, float32. Ref: Swendsen1979.
    """
    right, down = jnp.roll(spins, -1, 2), jnp.roll(spins, -1, 1)
    across = jnp.roll(right, -1, 1)
    nearest, diagonal = spins * (right + down), spins * across + right * down
    return _totals(nearest, diagonal, spins * right * down * across)


@jax.jit
def odd_operators(spins: Int8[Array, "B rows cols"]) -> Float[Array, "B 2"]:
    r"""Sum spins, and the triples within plaquettes, $S = (\sum s, \sum sss)$, float32. Ref: Swendsen1979."""
    right, down = jnp.roll(spins, -1, 2), jnp.roll(spins, -1, 1)
    across = jnp.roll(right, -1, 1)
    triples = spins * right * (down + across) + down * across * (spins + right)
    return _totals(spins, triples)


def flow_matrix(fine: Real[np.ndarray, "B n"], coarse: Real[np.ndarray, "B n"]) -> Float[np.ndarray, "n n"]:
    r"""Return $T_{ab} = \partial K'_a / \partial K_b = [\langle S' S'^T\rangle_c^{-1} \langle S' S^T\rangle_c]_{ab}$.

    Row b of ``fine`` holds the operators of a sample, row b of ``coarse`` those of the same sample after the step.
    Raises numpy's LinAlgError for coarse operators that do not vary independently.

    >>> flow_matrix(np.array([[2.0], [-2.0]]), np.array([[1.0], [-1.0]])).tolist()
    [[2.0]]

    Ref: Swendsen1979.
    """
    return _flow(_moments(fine, coarse).mean(axis=0), fine.shape[1])


def exponents_of_step(
    fine: Real[np.ndarray, "B n"],
    coarse: Real[np.ndarray, "B n"],
    factor: int = 2,
    walkers: int | None = None,
    resamples: int = 200,
    seed: int = 0,
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    r"""Return $y = \ln\max|\lambda(T)| / \ln b$ for the first 1, 2, ... n operators, and their bootstrap errors.

    Sample b comes from walker b mod ``walkers``, each sample its own if not given; walkers are resampled whole, so that
    samples of one walker need not be independent. Raises ValueError for fewer than 2 samples, walkers or resamples, or
    walkers that do not divide the samples. Ref: Swendsen1979; Hesterberg2015.
    """
    samples, count = fine.shape
    groups = samples if walkers is None else walkers
    if groups < 2 or samples % groups or resamples < 2:
        raise ValueError(
            f"walkers, resamples = {groups}, {resamples}: must be at least 2, and the {samples} samples a multiple of "
            "the walkers"
        )
    moments = _moments(fine, coarse).reshape(samples // groups, groups, -1).mean(axis=0)
    weights = np.random.default_rng(seed).multinomial(groups, np.full(groups, 1 / groups), resamples) / groups
    drawn = _exponents(weights @ moments, count, factor)
    return _exponents(moments.mean(axis=0), count, factor), drawn.std(axis=0, ddof=1)


def monte_carlo_rg(
    key: Key, spins: Int8[Array, "B side side"], levels: int = 1, walkers: int | None = None, resamples: int = 200
) -> Exponents:
    r"""Estimate y_t and y_h of a critical square lattice by ``levels`` steps of the majority rule, b = 2.

    ``spins`` are equilibrium samples at the critical coupling; exact values of the Ising model are 1 and 15/8. The
    finest level still holds the distance of the samples' own couplings from the fixed point, the coarsest few sites.
    Arguments as :func:`exponents_of_step`. Raises ValueError as there, and if fewer than 4 sites a side, or no whole
    number of them, would be left. Ref: Swendsen1979.
    """
    size = spins.shape[-1]
    if levels < 1 or size % 2**levels or size // 2**levels < SMALLEST_SIZE:
        raise ValueError(f"levels = {levels}: must leave at least {SMALLEST_SIZE} sites a side of the {size}")
    found = []
    for level_key in jax.random.split(key, levels):
        blocked = _majority(level_key, spins)
        for operators in (even_operators, odd_operators):
            fine, coarse = (np.asarray(operators(lattice), np.float64) for lattice in (spins, blocked))
            found.append(exponents_of_step(fine, coarse, walkers=walkers, resamples=resamples))
        spins = blocked
    stacked = [np.stack([step[part] for step in found[parity::2]]) for parity in (0, 1) for part in (0, 1)]
    return Exponents(*stacked)


def _totals(*terms: Int8[Array, "B rows cols"]) -> Float[Array, "B n"]:
    # Counted as integers: a float32 sum of many int8 terms need not be exact.
    totals = [jnp.sum(term, axis=(1, 2), dtype=jnp.int32) for term in terms]
    return jnp.stack(totals, axis=1).astype(jnp.float32)


def _moments(fine: Real[np.ndarray, "B n"], coarse: Real[np.ndarray, "B n"]) -> Float[np.ndarray, "B moments"]:
    """Return S, S', S'S'^T and S'S^T of each sample in one row: averages of them are all that T needs."""
    if fine.shape != coarse.shape or len(fine) < 2:
        raise ValueError(f"fine, coarse = {fine.shape}, {coarse.shape}: must be alike, with at least 2 samples")
    # Taken off first, the mean cannot drown the fluctuations; connected correlations do not see it.
    fine, coarse = (np.asarray(part, np.float64) - part.mean(axis=0) for part in (fine, coarse))
    products = [np.einsum("sa,sb->sab", coarse, other).reshape(len(fine), -1) for other in (coarse, fine)]
    return np.concatenate([fine, coarse, *products], axis=1)


def _flow(
    moments: Float[np.ndarray, "*resamples moments"], count: int, keep: int | None = None
) -> Float[np.ndarray, "*resamples k k"]:
    """Return T of the first ``keep`` operators from averages of moments, one matrix per row."""
    fine, coarse = moments[..., :count], moments[..., count : 2 * count]
    products = moments[..., 2 * count :].reshape(*moments.shape[:-1], 2, count, count)
    within = products[..., 0, :, :] - coarse[..., :, None] * coarse[..., None, :]
    between = products[..., 1, :, :] - coarse[..., :, None] * fine[..., None, :]
    return np.linalg.solve(within[..., :keep, :keep], between[..., :keep, :keep])


def _exponents(
    moments: Float[np.ndarray, "*resamples moments"], count: int, factor: int
) -> Float[np.ndarray, "*resamples n"]:
    matrices = [_flow(moments, count, keep) for keep in range(1, count + 1)]
    largest = [np.abs(np.linalg.eigvals(matrix)).max(axis=-1) for matrix in matrices]
    return np.log(np.stack(largest, axis=-1)) / np.log(factor)
