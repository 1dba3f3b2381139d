r"""Monte Carlo renormalization group: exponents of a critical point from blocked samples.

The derivative of the couplings after a block-spin step with respect to those before it follows from correlations of
operators, $T = \langle S' S'^T\rangle_c^{-1} \langle S' S^T\rangle_c$, S before and S' after; an eigenvalue
$\lambda = b^y$ gives the exponent y. Means over samples and the algebra are on the host in float64.
Keys: Swendsen1979 = Phys. Rev. Lett. 42 (1979) 859; Hesterberg2015 = Am. Stat. 69 (2015) 371.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int8, Real

LEAST_PART = 1e-9
r"""Least eigenvalue of the correlations of operators that vary independently, and least deviation for their size.

A mean of B products in double precision is off by at most $B\epsilon/2$ = 1e-10 for 1e6 samples, in units of the
variances, and by 1e-14 as a rule. Operators of a lattice are above 1e-3."""

SMALLEST_SIZE = 4
"""Fewest sites a side after the last step: on fewer the operators meet themselves around the torus."""


@jax.jit
def even_operators(spins: Int8[Array, "B rows cols"]) -> Float[Array, "B 3"]:
    r"""Returns sums of nearest-neighbour bonds, diagonal bonds and plaquettes over the whole periodic lattice.

    $S = (\sum ss_{1,0}, \sum ss_{1,1}, \sum ssss)$, float32. Ref: Swendsen1979.
    """
    right, down = jnp.roll(spins, -1, 2), jnp.roll(spins, -1, 1)
    across = jnp.roll(right, -1, 1)
    nearest, diagonal = spins * (right + down), spins * across + right * down
    return _totals(nearest, diagonal, spins * right * down * across)


@jax.jit
def odd_operators(spins: Int8[Array, "B rows cols"]) -> Float[Array, "B 2"]:
    r"""Returns sums of spins and of triples within plaquettes, $S = (\sum s, \sum sss)$, float32. Ref: Swendsen1979."""
    right, down = jnp.roll(spins, -1, 2), jnp.roll(spins, -1, 1)
    across = jnp.roll(right, -1, 1)
    triples = spins * right * (down + across) + down * across * (spins + right)
    return _totals(spins, triples)


def exponents_of_step(
    fine: Real[np.ndarray, "B n"],
    coarse: Real[np.ndarray, "B n"],
    factor: int = 2,
    walkers: int | None = None,
    resamples: int = 200,
    seed: int = 0,
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    r"""Returns $y = \ln\max|\lambda(T)| / \ln b$ for the first 1, 2, ... n operators, and their bootstrap errors.

    Row b of ``fine`` holds the operators of a sample, row b of ``coarse`` those of the same sample after the step.
    Sample b comes from walker b mod ``walkers``; by default every sample has its own walker. The bootstrap resamples
    whole walkers, so that samples of one walker need not be independent. Serves as an oracle in the tests: exponents
    from the recorded moments of a Markov chain are compared with it. Raises ValueError for different shapes, for fewer
    than 2 samples, walkers or resamples, and for walkers that do not divide the samples; raises numpy's LinAlgError for
    coarse operators that do not vary independently. Ref: Swendsen1979; Hesterberg2015.
    """
    samples, count = fine.shape
    groups = samples if walkers is None else walkers
    if groups < 2 or samples % groups or resamples < 2:
        raise ValueError(
            f"walkers, resamples = {groups}, {resamples}: must be at least 2, and the {samples} samples a multiple of "
            "the walkers"
        )
    moments = _moments(fine, coarse).reshape(samples // groups, groups, -1).mean(axis=0)
    _check_independent(coarse)
    weights = np.random.default_rng(seed).multinomial(groups, np.full(groups, 1 / groups), resamples) / groups
    drawn = _exponents(weights @ moments, count, factor)
    return _exponents(moments.mean(axis=0), count, factor), drawn.std(axis=0, ddof=1)


def _totals(*terms: Int8[Array, "B rows cols"]) -> Float[Array, "B n"]:
    # Integer sums are exact; a float32 sum of many int8 terms need not be.
    totals = [jnp.sum(term, axis=(1, 2), dtype=jnp.int32) for term in terms]
    return jnp.stack(totals, axis=1).astype(jnp.float32)


def _moments(fine: Real[np.ndarray, "B n"], coarse: Real[np.ndarray, "B n"]) -> Float[np.ndarray, "B moments"]:
    """Returns S, S', S'S'^T and S'S^T of each sample in one row: T follows from their averages."""
    if fine.shape != coarse.shape:
        raise ValueError(f"fine, coarse = {fine.shape}, {coarse.shape}: must be alike")
    # Connected correlations do not depend on the mean; subtracting it first keeps the digits of the fluctuations.
    fine, coarse = (np.asarray(part, np.float64) - part.mean(axis=0) for part in (fine, coarse))
    products = [np.einsum("sa,sb->sab", coarse, other).reshape(len(fine), -1) for other in (coarse, fine)]
    return np.concatenate([fine, coarse, *products], axis=1)


def _check_independent(operators: Real[np.ndarray, "B n"]) -> None:
    values = np.asarray(operators, np.float64)
    centred = values - values.mean(axis=0)
    root = np.sqrt(np.mean(centred**2, axis=0))
    # A solver would notice a dependence only where rounding leaves a pivot at zero.
    independent = bool((root > LEAST_PART * np.sqrt(np.mean(values**2, axis=0))).all())
    if independent:
        independent = np.linalg.eigvalsh((centred / root).T @ (centred / root) / len(values))[0] > LEAST_PART
    if not independent:
        raise np.linalg.LinAlgError(f"{values.shape[1]} coarse operators: must vary independently of each other")


def _flow(
    moments: Float[np.ndarray, "*resamples moments"], count: int, keep: int | None = None
) -> Float[np.ndarray, "*resamples k k"]:
    """Returns T of the first ``keep`` operators from averages of moments, one matrix per row."""
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
