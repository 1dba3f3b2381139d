r"""What hidden spins say of their Hamiltonian: correlation lengths, and a nearest-neighbour coupling fitted to them.

Units have positions on a periodic square of side L (the centres of their receptive fields, or the sites themselves);
one with a NaN position is left out. Spins are $\pm1$ in int8, one sample a row, and results float32; couplings are
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
"""Largest |K| fitted: beyond it no sample that fits in memory tells couplings apart."""

STEPS = 24
"""Newton steps of a fit: about six suffice for finite couplings, and halvings then bring the others to the bound."""

TIE = 1e-4
"""Relative difference of squared distances below which neighbours count as equally near."""


class StructureFactor(NamedTuple):
    """Structure factor at momentum zero and at the smallest one, the mean over the two axes."""

    zero: Float[Array, ""]
    smallest: Float[Array, ""]


def signed(spins: Num[Array, "B n"], sign: Num[Array, " n"]) -> Num[Array, "B n"]:
    r"""Return spins in a gauge, $s_i \to \epsilon_i s_i$ with $\epsilon_i = -1$ where ``sign`` is negative, else 1.

    A unit with $W \to -W$ is the same unit: with the signs of its summed weights all units point the way of their
    fields. A sign of 0 or NaN leaves a unit as it is. Shapes: [B, n], [n] -> [B, n], dtype kept. Raises nothing.

    >>> signed(jnp.array([[1, 1, -1]], jnp.int8), jnp.array([0.3, -0.2, 0.0])).tolist()
    [[1, -1, -1]]

    Ref: standard.
    """
    return spins * jnp.where(sign < 0, -1, 1).astype(spins.dtype)[None, :]


def covariance(values: Num[Array, "B n"]) -> Float[Array, "n n"]:
    r"""Return the connected covariances $C_{ij} = \langle x_i x_j\rangle - \langle x_i\rangle\langle x_j\rangle$.

    Of spins or of means; the average is over the B rows, divided by B. Shapes: [B, n] -> [n, n]. Raises nothing.

    >>> covariance(jnp.array([[1, 1], [-1, -1], [1, -1], [-1, 1]], jnp.int8)).tolist()
    [[1.0, 0.0], [0.0, 1.0]]

    Ref: standard.
    """
    values = _as_float(values)
    centred = values - jnp.mean(values, axis=0, keepdims=True)
    # Accelerators would round the factors of a product to bfloat16 or tf32.
    return jnp.matmul(centred.T, centred, precision=jax.lax.Precision.HIGHEST) / len(values)


def covariance_of_draws(means: Num[Array, "B n"]) -> Float[Array, "n n"]:
    r"""Return the covariance of spins drawn independently with means m, $C_{ij} = \mathrm{cov}(m_i, m_j)$, $i \ne j$.

    On the diagonal $1 - \langle m_i\rangle^2$: what draws of h given the same B rows of v tend to, without drawing, for
    $m = \langle h | v\rangle$. Shapes: [B, n] -> [n, n]. Raises nothing.

    >>> covariance_of_draws(jnp.array([[0.5, 0.5], [-0.5, -0.5]])).tolist()
    [[1.0, 0.25], [0.25, 1.0]]

    Ref: standard (law of total covariance).
    """
    means = _as_float(means)
    diagonal = jnp.eye(means.shape[1], dtype=bool)
    variance = 1 - jnp.mean(means, axis=0) ** 2
    return jnp.where(diagonal, variance[None, :], covariance(means))


def structure_factor(
    covariance: Float[Array, "n n"],
    positions: Float[Array, "n 2"],
    side: float | int,
    self_term: bool = True,
) -> StructureFactor:
    r"""Return $S(k) = \frac1n\sum_{ij} C_{ij}\cos k\cdot(x_i - x_j)$ at k = 0 and at the two $k_{min} = 2\pi/L$.

    n counts the units with a position. ``self_term=False`` leaves out i = j, see second_moment_length. NaN without any
    unit. Shapes: [n, n], [n, 2] -> two scalars. Raises nothing.

    >>> structure_factor(jnp.eye(4), jnp.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), 2)
    StructureFactor(zero=Array(1., dtype=float32), smallest=Array(1., dtype=float32))

    Ref: cooper1982.
    """
    live = _live(positions)
    kept = live[:, None] & live[None, :]
    if not self_term:
        kept = kept & ~jnp.eye(len(positions), dtype=bool)
    kept_covariance = jnp.where(kept, covariance, 0.0)
    angles = jnp.where(live[:, None], 2 * math.pi / side * positions, 0.0)
    waves = jnp.concatenate([jnp.ones_like(angles[:, :1]), jnp.cos(angles), jnp.sin(angles)], axis=1)
    image = jnp.matmul(kept_covariance, waves, precision=jax.lax.Precision.HIGHEST)
    count = jnp.sum(live)
    sums = jnp.where(count > 0, jnp.sum(waves * image, axis=0) / jnp.maximum(count, 1), jnp.nan)
    return StructureFactor(sums[0], jnp.sum(sums[1:]) / 2)


def second_moment_length(
    covariance: Float[Array, "n n"],
    positions: Float[Array, "n 2"],
    side: float | int,
    self_term: bool = True,
    spacing: float | int = 1.0,
) -> Float[Array, ""]:
    r"""Return the second-moment correlation length of units, in sites, $\xi_2 = \sqrt{S(0)/S(k) - 1} / \hat k$.

    At $k = 2\pi/L$ along the axes, with $\hat k = \frac2a\sin\frac{ak}2$ for units on a lattice of ``spacing`` a
    (L / sqrt(n) for n units that tile the square): exact where 1/S(k) is $\hat k^2 + \xi^{-2}$ up to a factor.
    With the self term i = j this is the standard estimator for the spins of a lattice. A unit that follows its field
    with independent noise adds a constant to S(k), which makes the length too short: then either take the covariance of
    the means, or leave the self term out, which takes a part of the signal with the noise and makes the length too long
    ($\sqrt{(1+t)/2t}$ times for $C(r) = t^r$ on a long chain). NaN unless $S(0) > S(k) > 0$.
    Shapes: [n, n], [n, 2] -> []. Raises nothing.

    >>> chain = 1 + jnp.eye(3)
    >>> positions = jnp.stack([jnp.repeat(jnp.arange(3.0), 3), jnp.tile(jnp.arange(3.0), 3)], axis=1)
    >>> round(float(second_moment_length(jnp.kron(chain, chain), positions, 3)), 4)
    1.0

    Ref: cooper1982.
    """
    zero, smallest = structure_factor(covariance, positions, side, self_term)
    usable = (zero > smallest) & (smallest > 0)
    excess = jnp.where(usable, zero / jnp.where(usable, smallest, 1.0) - 1, 0.0)
    return jnp.where(usable, jnp.sqrt(excess) / (2 / spacing * math.sin(spacing * math.pi / side)), jnp.nan)


def axis_correlation(
    covariance: Float[Array, "n n"],
    positions: Float[Array, "n 2"],
    side: float | int,
    distances: Float[Array, " d"],
) -> Float[Array, " d"]:
    r"""Return the mean of $C_{ij}/\sqrt{C_{ii}C_{jj}}$ over pairs with $r - \frac12 \le |x_i - x_j| < r + \frac12$.

    The distance is the periodic one, in any direction; pairs are of different units, both with a position and a
    variance. NaN where there is no pair. Shapes: [n, n], [n, 2], [d] -> [d]. Raises nothing.

    >>> positions = jnp.array([[0.0, 0.0], [0.0, 1.0], [jnp.nan, jnp.nan]])
    >>> axis_correlation(jnp.full((3, 3), 2.0) + 2 * jnp.eye(3), positions, 8, jnp.array([1.0, 2.0])).tolist()
    [0.5, nan]

    Ref: standard.
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

    # One distance after the other: all masks at once would fill the memory for a fine lattice.
    return jax.lax.map(mean_at, distances)


def decay_length(correlation: Float[Array, " d"], distances: Float[Array, " d"]) -> Float[Array, ""]:
    r"""Return $\xi$ of $C(r) = A e^{-r/\xi}$ by least squares of $\ln C$ on r with weights $C^2$, in units of r.

    These are the weights for equal errors of all C; the nearest distances decide. Where C also has a falling power of
    r, as in the plane, the length is shorter than the asymptotic one: compare it with the same fit elsewhere. Values
    that are not positive are left out: end the distances where C meets its error, or noise makes the length too long.
    NaN with fewer than two positive values, or if they do not fall. Shapes: [d], [d] -> []. Raises nothing.

    >>> round(float(decay_length(3 * jnp.exp(-jnp.arange(4.0) / 2.5), jnp.arange(4.0))), 4)
    2.5

    Ref: standard.
    """
    positive = (correlation > 0) & jnp.isfinite(correlation)
    largest = jnp.max(jnp.where(positive, correlation, 0.0))
    safe = jnp.where(positive, correlation / jnp.where(largest > 0, largest, 1.0), 1.0)
    weight = jnp.where(positive, safe**2, 0.0)
    share = weight / jnp.maximum(jnp.sum(weight), 1e-30)
    centred = distances - jnp.sum(share * distances)
    falling = -jnp.sum(share * centred * jnp.log(safe))
    spread = jnp.sum(share * centred**2)
    usable = (jnp.sum(positive) > 1) & (falling > 0)
    return jnp.where(usable, spread / jnp.where(usable, falling, 1.0), jnp.nan)


def nearest_neighbours(positions: Float[Array, "n 2"], side: float | int, count: int = 4) -> Float[Array, "n n"]:
    r"""Return the symmetric matrix of neighbours: $A_{ij} = 1$ if i or j is among the ``count`` nearest of the other.

    Neighbours as near as the last one (up to rounding) all count, so that the result does not depend on numbering: the
    four neighbours on a square lattice. Units without a position have none; with fewer than ``count`` others, all are
    neighbours. Shapes: [n, 2] -> [n, n], 0 or 1, zero diagonal. Raises ValueError for a count below 1.

    >>> nearest_neighbours(jnp.array([[0.0, 0.0], [0.0, 1.0], [0.0, 3.0]]), 16, count=1).tolist()
    [[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]

    Ref: standard.
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
    r"""Return the K that maximises the pseudo-likelihood $\sum_{b,i}\ln\sigma(2K s_i \sum_j A_{ij} s_j)$.

    Consistent for $p(s) \propto e^{K\sum_{i<j} A_{ij} s_i s_j}$ without its normalisation; concave in K, solved by
    Newton steps within a shrinking bracket, |K| up to 5 (for all spins aligned the bound itself). NaN where no spin
    feels any neighbour. ``neighbours`` is symmetric with zero diagonal. Shapes: [B, n], [n, n] -> []. Raises nothing.

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
    r"""Return the standard error of ``pseudo_coupling``, $\sqrt{\sum_b U_b^2}/\sum_b H_b$ at the fitted K.

    $U_b$ and $-H_b$ are the derivatives in K of the pseudo-likelihood of sample b: samples must be independent, spins
    within one need not be. Infinite where K is at its bound, NaN where it is NaN. Shapes: [B, n], [n, n], [] -> [].
    Raises nothing.

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
    """Return $f_{bi} = s_i \\sum_j A_{ij} s_j$ of sample b."""
    spins = _as_float(spins)
    return spins * jnp.matmul(spins, neighbours.T, precision=jax.lax.Precision.HIGHEST)


def _derivatives(
    alignment: Float[Array, "B n"], coupling: Float[Array, ""]
) -> tuple[Float[Array, "B n"], Float[Array, "B n"]]:
    """Return the first and minus the second derivative in K of $\\ln\\sigma(2Kf)$."""
    against = jax.nn.sigmoid(-2 * coupling * alignment)
    return 2 * alignment * against, 4 * alignment**2 * against * (1 - against)
