r"""Parameters of continuous features by score matching: on-site potentials and couplings, without a partition function.

$p(x) \propto e^{\sum_k \eta_k T_k(x)}$ has the score $\nabla\ln p = \sum_k \eta_k \nabla T_k$, and the $\eta$ nearest
to the score of the data, in the mean square, is
$\eta = -A^{-1} b$ with $A_{kl} = \langle\nabla T_k\cdot\nabla T_l\rangle$ and $b_k = \langle\Delta T_k\rangle$.
For any features the family is $p \propto \exp(-\sum_{i,k} u_{ki} x_i^k + \sum_{i<j} J_{ij} x_i x_j)$, k even: A and b
are moments. The potential $\frac r2 x^2 + u x^4 + v x^6$ has the on-site parameters (r/2, u, v). The family has no
linear terms: centre the features. The density must be smooth on the line, so that ReLU units with an atom at zero, or
features with a hard bound, are outside. Errors are from the scatter over independent samples. Everything runs under jit
and vmap; :func:`fit_moments` also in float64 on the host.

Keys: hyvarinen2005 = Hyvarinen, J. Mach. Learn. Res. 6 (2005) 695 (score matching), 8 (2007) 2499 for this family;
godambe1960 = Godambe, Ann. Math. Stat. 31 (1960) 1208 (variance of an estimating equation).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from rgflow.probes.inflation import INFLATION, inflations
from rgflow.probes.pair_moments import POWERS, Moments, PairMoments, pair_moments
from rgflow.probes.pseudo_likelihood import sum_over_blocks
from rgflow.probes.spectrum import column_scale

SAMPLES_PER_PARAMETER = 50
"""Samples needed for each parameter of the score of one feature, see :func:`require_samples`."""

MOMENT_NOISE = 48.0
"""Error of a matrix of given moments, at the most, in units of machine epsilon: 20 for 1e5 samples, see
:func:`pair_moments`."""

CLEARANCE = 48.0
"""Least mean square of a combination of given moments that counts as positive, in units of their error.

Where it vanishes, it is found between 1/2 and 3/2: the threshold is at a factor 30 from what rounding makes of zero."""

Live = Bool[Array | np.ndarray, " M"]


class Fit(NamedTuple):
    r"""``onsite`` $u_{ki}$, a row per power k, and ``couplings`` $J_{ij}$, symmetric with zero diagonal, or their
    errors; NaN for a unit without a fit."""

    onsite: Float[Array | np.ndarray, "powers M"]
    couplings: Float[Array | np.ndarray, "M M"]


class ScoreMatch(NamedTuple):
    """A fit and its standard errors."""

    values: Fit
    errors: Fit


def require_samples(num_samples: int, num_features: int, powers: tuple[int, ...] = POWERS) -> int:
    r"""Return n if it is enough for a fit of M features, $n \ge 50 (M - 1 + \#\text{powers})$.

    What counts is the number of parameters in the score of one feature, as in a regression: there are M scores in every
    sample. At this limit the errors of couplings of a $\phi^4$ chain are 1 to 3 % too small, those on site 5 % with the
    powers 2 and 4 and up to 25 % with 6, whose tenth moments have long tails. With no ``powers`` the same rule serves
    :func:`rgflow.probes.pseudo_likelihood.pseudo_likelihood`. Raises ValueError for too few samples.

    >>> require_samples(4096, 32)
    4096
    """
    if powers:
        _check_powers(powers)
    needed = SAMPLES_PER_PARAMETER * (num_features - 1 + max(len(powers), 1))
    if num_samples < needed:
        raise ValueError(f"samples = {num_samples}: must be at least {needed} for a fit of {num_features} features")
    return num_samples


def fit_moments(moments: PairMoments, powers: tuple[int, ...] = POWERS) -> Fit:
    r"""Return the fit $\eta = -A^{-1} b$ to moments, exact ones or those of samples, with u = -$\eta$ on site.

    In the precision of the moments, in NumPy for NumPy arrays. NaN for a unit that does not vary, that others determine
    linearly (such as a copy), whose powers are linearly dependent (a feature with two values, when there is more than
    one power), or whose moments are not finite; the others are fitted without it. A unit counts as determined where
    a combination $w \cdot x$ of terms of unit size has $\langle (w \cdot x)^2\rangle < 2300\,\epsilon\,|w|^2$: moments
    that are off by some ten epsilon do not tell less from zero. In float32 that is 3e-4; :func:`score_matching`, which
    has the samples, sees less. Shapes: [3, M, M], [5, M] -> [powers, M], [M, M]. Raises ValueError for powers other
    than some of 2, 4, 6 in this order.

    >>> gaussian = PairMoments(np.array([[[1.0]], [[3]], [[15]]]), np.array([[1.0], [3], [15], [105], [945]]))
    >>> abs(fit_moments(gaussian, (2, 4)).onsite).round(9).tolist()
    [[0.5], [0.0]]

    Ref: hyvarinen2005.
    """
    _check_powers(powers)
    xp = _namespace(moments)
    live = _identified(xp, moments, powers)
    onsite, couplings = _split(xp, _solved(xp, moments, powers, live)[0], live, powers)
    return Fit(-onsite, couplings)


def score_matching(samples: Float[Array, "n M"], powers: tuple[int, ...] = POWERS) -> ScoreMatch:
    r"""Return the fit to samples and its errors, $\sqrt{\mathrm{diag}(A^{-1}\Sigma A^{-1})/n}$.

    $\Sigma$ is the second moment of the estimating function $g_b = A_b\eta + b_b$ of a sample. Units are NaN for the
    reasons of :func:`fit_moments`; dependences are found in the samples, see :func:`inflations`, as those that inflate
    the variance of a parameter by more than $10^{-3}/\epsilon$. Sizes of features do not matter. Shapes: [n, M] ->
    [powers, M], [M, M] each. Raises ValueError for powers other than some of 2, 4, 6 in this order.

    >>> fit = score_matching(jax.random.normal(jax.random.key(0), (2000, 2)), (2,))
    >>> bool(jnp.all(abs(fit.values.onsite - 0.5) < 4 * fit.errors.onsite))
    True

    Ref: hyvarinen2005; godambe1960.
    """
    _check_powers(powers)
    # Otherwise tenth powers leave the range of float32, and squares of what is not near 1.
    unit = column_scale(samples)
    samples = samples / unit[None, :]
    size = jnp.sqrt(jnp.mean(samples**2, axis=0))
    # The mean of equal numbers is off by rounding. Subtracting it leaves small equal numbers, whose deviation vanishes.
    deviation = jnp.std(samples - jnp.mean(samples, axis=0, keepdims=True), axis=0)
    varies = jnp.isfinite(size) & (deviation > 64 * jnp.finfo(samples.dtype).eps * size)
    size = jnp.where(varies, size, 1.0)
    scaled = jnp.where(varies[None, :], samples / size[None, :], 0.0)
    size = size * unit
    moments = pair_moments(scaled)
    live = _finite(jnp, moments)
    limit = INFLATION / float(jnp.finfo(samples.dtype).eps)
    live = live & (_largest_inflations(jnp.where(live[None, :], scaled, 0.0), powers) < limit)
    solution, inverse = _solved(jnp, moments, powers, live)

    def outer(block: Float[Array, "block M"], weight: Float[Array, " block"]) -> Float[Array, "K K"]:
        terms = _estimating_function(block, solution, powers) * weight[:, None]
        return jnp.matmul(terms.T, terms, precision=jax.lax.Precision.HIGHEST)

    scatter = sum_over_blocks(outer, jnp.where(live[None, :], scaled, 0.0))
    spread = jnp.matmul(inverse, scatter, precision=jax.lax.Precision.HIGHEST)
    errors = jnp.sqrt(jnp.sum(spread * inverse, axis=1)) / len(samples)
    units = jnp.stack([size**power for power in powers])

    def fit(vector: Float[Array, " K"], sign: int) -> Fit:
        onsite, couplings = _split(jnp, vector, live, powers)
        return Fit(sign * onsite / units, couplings / size[:, None] / size[None, :])

    return ScoreMatch(fit(solution, -1), fit(errors, 1))


def _solved(xp: Any, moments: PairMoments, powers: tuple[int, ...], live: Live) -> tuple[Any, Any]:
    """Return eta (on-site by power, then pairs in order) and the inverse of A, for the units that are live."""
    even = xp.where(live[None, :], moments.even, 0.0)
    cross = xp.where((live[:, None] & live[None, :])[None], moments.cross, 0.0)
    levels = xp.concatenate([live[None, :].astype(even.dtype), even])
    laplacian = [power * (power - 1) * levels[power // 2 - 1] for power in powers]
    first = np.triu_indices(len(live), 1)[0]
    vector = xp.concatenate([*laplacian, xp.zeros(len(first), even.dtype)])
    inverse = _inverse(xp, _matrix(xp, cross, even, powers))
    return -xp.sum(inverse * vector[None, :], axis=1), inverse


def _finite(xp: Any, moments: PairMoments) -> Live:
    return xp.all(xp.isfinite(moments.even), axis=0) & (moments.even[0] > 0)


def _largest_inflations(samples: Float[Array, "n M"], powers: tuple[int, ...]) -> Float[Array, " M"]:
    """Return the largest inflation among the own terms of each unit, by its other terms, see :func:`_design`."""
    width = samples.shape[1]
    others = jnp.asarray(~np.eye(width, dtype=bool), samples.dtype)

    def moments(block: Float[Array, "block M"], weight: Float[Array, " block"]) -> Float[Array, " terms"]:
        # Rows of zeros that fill up a block count nowhere but in its own mean.
        return jnp.concatenate([part.ravel() for part in pair_moments(block)]) * (len(weight) / len(samples))

    def turned(turns: Float[Array, "M F F"]) -> Float[Array, "M F F"]:
        def products(block: Float[Array, "block M"], _: Float[Array, " block"]) -> Float[Array, "M F F"]:
            rows = block.T

            def of_unit(unit: tuple[Array, Array, Array]) -> Float[Array, "F F"]:
                turn, own, kept = unit
                columns = jnp.concatenate([*(own[None, :] ** (power - 1) for power in powers), rows * kept[:, None]])
                columns = jnp.matmul(turn, columns, precision=jax.lax.Precision.HIGHEST)
                return jnp.matmul(columns, columns.T, precision=jax.lax.Precision.HIGHEST)

            return jax.lax.map(of_unit, (turns, rows, others))

        return sum_over_blocks(products, samples) / len(samples)

    cross, even = jnp.split(sum_over_blocks(moments, samples), [3 * width**2])
    design = jnp.asarray(_design(jnp, cross.reshape(3, width, width), even.reshape(5, width), powers))
    return jnp.max(inflations(design, turned)[:, : len(powers)], axis=1)


def _identified(xp: Any, moments: PairMoments, powers: tuple[int, ...]) -> Live:
    """Return which units are determined neither by others nor among their own powers, as far as moments tell."""
    live = _finite(xp, moments)
    even = xp.where(live[None, :], moments.even, 0.0)
    cross = xp.where((live[:, None] & live[None, :])[None], moments.cross, 0.0)
    design = _design(xp, cross, even, powers)
    noise = MOMENT_NOISE * float(np.finfo(moments.even.dtype).eps)
    diagonal = xp.diagonal(design, axis1=1, axis2=2)
    root = xp.sqrt(xp.where(diagonal > 0, diagonal, 1.0))
    inverse = _inverse(xp, design, noise) * (root[:, :, None] * root[:, None, :])
    # What others leave of term k is along column k of the inverse K; its mean square, for unit w, is K_kk / |K_k|^2.
    square = xp.diagonal(inverse, axis1=1, axis2=2) / xp.sum(inverse**2, axis=1)
    return live & xp.all(square[:, : len(powers)] > CLEARANCE * noise, axis=1)


def _design(xp: Any, cross: Moments, even: Moments, powers: tuple[int, ...]) -> Moments:
    """Return the moments of the terms in the score of each unit: its own powers less one, then the other units.

    Shape [M, powers + M, powers + M], with zeros for the unit itself among the others. The score is linear in these
    terms. Where one of its own terms is a combination of the others of this regression, A is singular along it too.
    """
    other = ~np.eye(even.shape[1], dtype=bool)
    half = np.array(powers) // 2
    own = xp.transpose(even[half[:, None] + half[None, :] - 2], (2, 0, 1))
    mixed = xp.transpose(cross[half - 1], (1, 0, 2)) * other[:, None, :]
    rest = cross[0][None] * (other[:, :, None] & other[:, None, :])
    upper = xp.concatenate([own, mixed], axis=2)
    lower = xp.concatenate([xp.swapaxes(mixed, 1, 2), rest], axis=2)
    return xp.concatenate([upper, lower], axis=1)


def _matrix(xp: Any, cross: Moments, even: Moments, powers: tuple[int, ...]) -> Moments:
    """Return $A_{kl} = \\langle\\nabla T_k\\cdot\\nabla T_l\\rangle$."""
    width = even.shape[1]
    site, (first, second) = np.arange(width), np.triu_indices(width, 1)
    ends = [(a, b, c, d) for a, b in ((first, second), (second, first)) for c, d in ((first, second), (second, first))]
    # Gradients of two pairs overlap where they share a site; what is left is the product of their other ends.
    pairs = sum((a[:, None] == c[None, :]) * cross[0][b[:, None], d[None, :]] for a, b, c, d in ends)

    def onsite_pairs(power: int) -> Moments:
        odd = power * cross[power // 2 - 1]
        at_first, at_second = (site[:, None] == end[None, :] for end in (first, second))
        return at_first * odd[:, second] + at_second * odd[:, first]

    eye = np.eye(width)
    rows = [
        [p * q * even[(p + q) // 2 - 2][:, None] * eye.astype(even.dtype) for q in powers] + [onsite_pairs(p)]
        for p in powers
    ]
    rows.append([onsite_pairs(q).T for q in powers] + [pairs])
    return xp.concatenate([xp.concatenate(row, axis=1) for row in rows], axis=0)


def _inverse(xp: Any, matrix: Moments, ridge: float = 0.0) -> Moments:
    """Return inverses of positive matrices, scaled to unit diagonals; rows of zeros stand for themselves."""
    size = matrix.shape[-1]
    eye = np.eye(size, dtype=matrix.dtype).reshape((1,) * (matrix.ndim - 2) + (size, size))
    diagonal = xp.diagonal(matrix, axis1=-2, axis2=-1)
    root = xp.sqrt(xp.where(diagonal > 0, diagonal, 1.0))
    outer = root[..., :, None] * root[..., None, :]
    unit = matrix / outer * (1 - eye) + (1 + ridge) * eye
    if xp is np:
        return np.linalg.inv(unit) / outer
    factor = jnp.linalg.cholesky(unit)
    return jax.scipy.linalg.cho_solve((factor, True), jnp.broadcast_to(eye, unit.shape)) / outer


def _split(xp: Any, vector: Moments, live: Live, powers: tuple[int, ...]) -> tuple[Moments, Moments]:
    """Return on-site parameters and the symmetric matrix of those of pairs, with NaN for units without a fit."""
    width = len(live)
    pair = np.full((width, width), len(vector))
    first, second = np.triu_indices(width, 1)
    pair[first, second] = pair[second, first] = len(powers) * width + np.arange(len(first))
    couplings = xp.concatenate([vector, xp.zeros(1, vector.dtype)])[pair]
    onsite = vector[: len(powers) * width].reshape(len(powers), width)
    return (
        xp.where(live[None, :], onsite, xp.nan),
        xp.where(live[:, None] & live[None, :], couplings, xp.nan),
    )


def _estimating_function(
    samples: Float[Array, "n M"], solution: Float[Array, " K"], powers: tuple[int, ...]
) -> Float[Array, "n K"]:
    """Return $g_{bk} = \\nabla T_k\\cdot\\nabla\\ln p + \\Delta T_k$ at each sample."""
    width = samples.shape[1]
    onsite, couplings = _split(jnp, solution, jnp.ones(width, bool), powers)
    slopes = [power * samples ** (power - 1) for power in powers]
    score = jnp.matmul(samples, couplings, precision=jax.lax.Precision.HIGHEST)
    score = score + sum(row[None, :] * slope for row, slope in zip(onsite, slopes, strict=True))
    own = [
        slope * score + power * (power - 1) * samples ** (power - 2)
        for power, slope in zip(powers, slopes, strict=True)
    ]
    first, second = np.triu_indices(width, 1)
    pairs = samples[:, second] * score[:, first] + samples[:, first] * score[:, second]
    return jnp.concatenate([*own, pairs], axis=1)


def _check_powers(powers: tuple[int, ...]) -> None:
    if not powers or tuple(power for power in POWERS if power in powers) != tuple(powers):
        raise ValueError(f"powers = {powers}: must be some of {POWERS}, in this order")


def _namespace(moments: PairMoments) -> Any:
    return np if isinstance(moments.even, np.ndarray) else jnp
