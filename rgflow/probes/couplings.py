r"""Correlation lengths of hidden spins, and the nearest-neighbour coupling that fits them.

Units have positions on a periodic square of side L (the centres of their receptive fields, or the sites themselves);
a unit with a NaN position is left out. Spins are $\pm1$ in int8, one sample a row, and results float32; couplings are
$K = \beta J$, lengths in sites. Everything runs under jit and vmap.

Keys: cooper1982 = Cooper, Freedman and Preston, Nucl. Phys. B 210 (1982) 210 (second-moment length); besag1975 =
Besag, The Statistician 24 (1975) 179 (pseudo-likelihood); godambe1960 = Godambe, Ann. Math. Stat. 31 (1960) 1208
(variance of an estimating equation).
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num

from rgflow.probes.receptive_fields import periodic_distances

BOUND = 5.0
"""Largest |K| of a fit: no sample that fits in memory tells larger couplings apart."""

STEPS = 24
"""Newton steps of a fit: about six suffice for a finite coupling; an infinite one reaches the bound by halvings."""

TIE = 1e-4
"""Neighbours count as equally near if their squared distances differ by less than this share."""


class StructureFactor(NamedTuple):
    """Structure factor at momentum zero, and at the smallest momentum as the mean over the two axes."""

    zero: Float[Array, ""]
    smallest: Float[Array, ""]


def signed(spins: Num[Array, "B n"], sign: Num[Array, " n"]) -> Num[Array, "B n"]:
    r"""Returns spins in a gauge, $s_i \to \epsilon_i s_i$ with $\epsilon_i = -1$ where ``sign`` is negative, else 1.

    A unit with $W \to -W$ is the same unit. With the signs of their summed weights all units follow the sign of their
    fields. A sign of 0 or NaN leaves a unit as it is. Shapes: [B, n], [n] -> [B, n]; the dtype is kept.

    >>> signed(jnp.array([[1, 1, -1]], jnp.int8), jnp.array([0.3, -0.2, 0.0])).tolist()
    [[1, -1, -1]]
    """
    return spins * jnp.where(sign < 0, -1, 1).astype(spins.dtype)[None, :]


def covariance(values: Num[Array, "B n"]) -> Float[Array, "n n"]:
    r"""Returns the connected covariances $C_{ij} = \langle x_i x_j\rangle - \langle x_i\rangle\langle x_j\rangle$.

    The values are spins or means; averages are over the B rows, with divisor B. Shapes: [B, n] -> [n, n].

    >>> covariance(jnp.array([[1, 1], [-1, -1], [1, -1], [-1, 1]], jnp.int8)).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    values = _as_float(values)
    centred = values - jnp.mean(values, axis=0, keepdims=True)
    # Accelerators would round the factors of a product to bfloat16 or tf32.
    return jnp.matmul(centred.T, centred, precision=jax.lax.Precision.HIGHEST) / len(values)


def covariance_of_draws(means: Num[Array, "B n"]) -> Float[Array, "n n"]:
    r"""Returns the covariance of spins drawn independently with means m, $C_{ij} = \mathrm{cov}(m_i, m_j)$, $i \ne j$.

    The diagonal is $1 - \langle m_i\rangle^2$. By the law of total covariance this is the limit of many draws of h
    given the same B rows of v, for $m = \langle h | v\rangle$. Shapes: [B, n] -> [n, n].

    >>> covariance_of_draws(jnp.array([[0.5, 0.5], [-0.5, -0.5]])).tolist()
    [[1.0, 0.25], [0.25, 1.0]]
    """
    means = _as_float(means)
    diagonal = jnp.eye(means.shape[1], dtype=bool)
    variance = 1 - jnp.mean(means, axis=0) ** 2
    return jnp.where(diagonal, variance[None, :], covariance(means))


def structure_factor(
    covariance: Float[Array, "n n"], positions: Float[Array, "n 2"], side: float | int
) -> StructureFactor:
    r"""Returns $S(k) = \frac1n\sum_{ij} C_{ij}\cos k\cdot(x_i - x_j)$ at k = 0 and at the two $k_{min} = 2\pi/L$.

    n counts the units with a position. NaN where no unit has one.

    >>> structure_factor(jnp.eye(4), jnp.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), 2)
    StructureFactor(zero=Array(1., dtype=float32), smallest=Array(1., dtype=float32))

    Ref: cooper1982.
    """
    live = _live(positions)
    kept = live[:, None] & live[None, :]
    kept_covariance = jnp.where(kept, covariance, 0.0)
    angles = jnp.where(live[:, None], 2 * math.pi / side * positions, 0.0)
    waves = jnp.concatenate([jnp.ones_like(angles[:, :1]), jnp.cos(angles), jnp.sin(angles)], axis=1)
    image = jnp.matmul(kept_covariance, waves, precision=jax.lax.Precision.HIGHEST)
    count = jnp.sum(live)
    sums = jnp.where(count > 0, jnp.sum(waves * image, axis=0) / jnp.maximum(count, 1), jnp.nan)
    return StructureFactor(sums[0], jnp.sum(sums[1:]) / 2)


def second_moment_length(
    covariance: Float[Array, "n n"], positions: Float[Array, "n 2"], side: float | int, spacing: float | int = 1.0
) -> Float[Array, ""]:
    r"""Returns the second-moment correlation length of units, in sites, $\xi_2 = \sqrt{S(0)/S(k) - 1} / \hat k$.

    Here $k = 2\pi/L$ along the axes and $\hat k = \frac2a\sin\frac{ak}2$ for units on a lattice of ``spacing`` a
    (L / sqrt(n) for n units that tile the square). It is exact where 1/S(k) is $\hat k^2 + \xi^{-2}$ up to a factor.

    A unit that follows its field with independent noise adds a constant to S(k), which makes the length too short; the
    covariance of the means has no such noise. NaN unless $S(0) > S(k) > 0$.

    >>> chain = 1 + jnp.eye(3)
    >>> positions = jnp.stack([jnp.repeat(jnp.arange(3.0), 3), jnp.tile(jnp.arange(3.0), 3)], axis=1)
    >>> round(float(second_moment_length(jnp.kron(chain, chain), positions, 3)), 4)
    1.0

    Ref: cooper1982.
    """
    zero, smallest = structure_factor(covariance, positions, side)
    usable = (zero > smallest) & (smallest > 0)
    excess = jnp.where(usable, zero / jnp.where(usable, smallest, 1.0) - 1, 0.0)
    return jnp.where(usable, jnp.sqrt(excess) / (2 / spacing * math.sin(spacing * math.pi / side)), jnp.nan)


def axis_correlation(
    covariance: Float[Array, "n n"],
    positions: Float[Array, "n 2"],
    side: float | int,
    distances: Float[Array, " d"],
) -> Float[Array, " d"]:
    r"""Returns the mean of $C_{ij}/\sqrt{C_{ii}C_{jj}}$ over pairs with $r - \frac12 \le |x_i - x_j| < r + \frac12$.

    The distance is periodic and may have any direction. Pairs are of different units that both have a position and a
    variance. NaN where there is no pair. Shapes: [n, n], [n, 2], [d] -> [d].

    >>> positions = jnp.array([[0.0, 0.0], [0.0, 1.0], [jnp.nan, jnp.nan]])
    >>> axis_correlation(jnp.full((3, 3), 2.0) + 2 * jnp.eye(3), positions, 8, jnp.array([1.0, 2.0])).tolist()
    [0.5, nan]
    """
    variance = jnp.diagonal(covariance)
    usable = _live(positions) & (variance > 0)
    scale = jnp.where(usable, jax.lax.rsqrt(jnp.where(usable, variance, 1.0)), 0.0)
    kept = usable[:, None] & usable[None, :] & ~jnp.eye(len(positions), dtype=bool)
    correlation = jnp.where(kept, covariance * scale[:, None] * scale[None, :], 0.0)
    apart = jnp.where(kept, periodic_distances(positions, side), jnp.inf)

    def mean_at(distance: Float[Array, ""]) -> Float[Array, ""]:
        inside = (apart >= distance - 0.5) & (apart < distance + 0.5)
        pairs = jnp.sum(inside)
        total = jnp.sum(jnp.where(inside, correlation, 0.0))
        return jnp.where(pairs > 0, total / jnp.maximum(pairs, 1), jnp.nan)

    # The map takes one distance after the other: all masks at once would fill the memory for a fine lattice.
    return jax.lax.map(mean_at, distances)


def nearest_neighbours(positions: Float[Array, "n 2"], side: float | int, count: int = 4) -> Float[Array, "n n"]:
    r"""Returns the symmetric matrix of neighbours: $A_{ij} = 1$ if i or j is among the ``count`` nearest of the other.

    All neighbours as near as the last one (up to rounding) count, so that the result does not depend on the numbering.
    On a square lattice they are the four neighbours. Units without a position have no neighbours; with fewer than
    ``count`` others, all others are neighbours. Shapes: [n, 2] -> [n, n], 0 or 1, zero diagonal. Raises ValueError for
    a count below 1.

    >>> nearest_neighbours(jnp.array([[0.0, 0.0], [0.0, 1.0], [0.0, 3.0]]), 16, count=1).tolist()
    [[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]
    """
    if count < 1:
        raise ValueError(f"count = {count}: must be at least 1")
    n = len(positions)
    live = _live(positions)
    pairs = live[:, None] & live[None, :] & ~jnp.eye(n, dtype=bool)
    squared = jnp.where(pairs, periodic_distances(positions, side) ** 2, jnp.inf)
    last = -jax.lax.top_k(-squared, min(count, n))[0][:, -1:]
    near = pairs & (squared <= (1 + TIE) * last)
    return (near | near.T).astype(positions.dtype)


def pseudo_coupling(spins: Num[Array, "B n"], neighbours: Float[Array, "n n"]) -> Float[Array, ""]:
    r"""Returns the K that maximises the pseudo-likelihood $\sum_{b,i}\ln\sigma(2K s_i \sum_j A_{ij} s_j)$.

    The estimate is consistent for $p(s) \propto e^{K\sum_{i<j} A_{ij} s_i s_j}$ and needs no normalisation. The sum is
    concave in K and is maximised by Newton steps within a shrinking bracket, |K| <= 5; if all spins are aligned, K is
    at this bound. NaN where no spin has a neighbour. ``neighbours`` is symmetric with zero diagonal.
    Shapes: [B, n], [n, n] -> [].

    >>> ring = jnp.roll(jnp.eye(4), 1, 0) + jnp.roll(jnp.eye(4), -1, 0)
    >>> samples = jnp.array([[1, 1, 1, 1], [1, 1, 1, -1], [1, -1, 1, -1]], jnp.int8)
    >>> round(float(pseudo_coupling(samples, ring)), 6)
    0.0

    Ref: besag1975.
    """
    alignment = _alignment(spins, neighbours)

    def step(_: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        coupling, low, high = state
        slope, curvature = (jnp.mean(values) for values in _derivatives(alignment, coupling))
        low, high = jnp.where(slope > 0, coupling, low), jnp.where(slope > 0, high, coupling)
        proposal = coupling + slope / jnp.where(curvature > 0, curvature, 1.0)
        inside = (curvature > 0) & (proposal >= low) & (proposal <= high)
        return jnp.where(inside, proposal, (low + high) / 2), low, high

    start = tuple(jnp.asarray(value, alignment.dtype) for value in (0.0, -BOUND, BOUND))
    coupling = jax.lax.fori_loop(0, STEPS, step, start)[0]
    return jnp.where(jnp.any(alignment != 0), coupling, jnp.nan)


def pseudo_coupling_error(
    spins: Num[Array, "B n"], neighbours: Float[Array, "n n"], coupling: Float[Array, ""]
) -> Float[Array, ""]:
    r"""Returns the standard error of ``pseudo_coupling``, $\sqrt{\sum_b U_b^2}/\sum_b H_b$ at the fitted K.

    $U_b$ and $-H_b$ are the first and second derivative in K of the pseudo-likelihood of sample b. Samples must be
    independent, spins within a sample need not be. Infinite where K is at its bound, NaN where K is NaN.
    Shapes: [B, n], [n, n], [] -> [].

    >>> ring = jnp.roll(jnp.eye(4), 1, 0) + jnp.roll(jnp.eye(4), -1, 0)
    >>> samples = jnp.array([[1, 1, 1, 1], [1, 1, 1, -1], [1, -1, 1, -1]], jnp.int8)
    >>> round(float(pseudo_coupling_error(samples, ring, jnp.array(0.0))), 6)
    0.282843

    Ref: godambe1960.
    """
    slope, curvature = _derivatives(_alignment(spins, neighbours), coupling)
    scores, information = jnp.mean(slope, axis=1), jnp.mean(curvature)
    error = jnp.sqrt(jnp.mean(scores**2) / len(scores)) / jnp.where(information > 0, information, 1.0)
    error = jnp.where((jnp.abs(coupling) < 0.999 * BOUND) & (information > 0), error, jnp.inf)
    return jnp.where(jnp.isnan(coupling), jnp.nan, error)


def _as_float(values: Num[Array, "*shape"]) -> Float[Array, "*shape"]:
    return values.astype(jnp.result_type(values, jnp.float32))


def _live(positions: Float[Array, "n 2"]) -> Bool[Array, " n"]:
    return jnp.all(jnp.isfinite(positions), axis=-1)


def _alignment(spins: Num[Array, "B n"], neighbours: Float[Array, "n n"]) -> Float[Array, "B n"]:
    """Returns $f_{bi} = s_i \\sum_j A_{ij} s_j$ of sample b."""
    spins = _as_float(spins)
    return spins * jnp.matmul(spins, neighbours.T, precision=jax.lax.Precision.HIGHEST)


def _derivatives(
    alignment: Float[Array, "B n"], coupling: Float[Array, ""]
) -> tuple[Float[Array, "B n"], Float[Array, "B n"]]:
    """Returns the first and minus the second derivative in K of $\\ln\\sigma(2Kf)$."""
    against = jax.nn.sigmoid(-2 * coupling * alignment)
    return 2 * alignment * against, 4 * alignment**2 * against * (1 - against)
