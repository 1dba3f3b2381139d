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

from rgflow.probes.pseudo_likelihood import sum_over_blocks

POWERS = (2, 4, 6)
"""Powers of a feature that an on-site potential may have."""

SAMPLES_PER_PARAMETER = 50
"""Samples needed for each parameter of the score of one feature, see :func:`require_samples`."""

RIDGE = 8.0
"""Added to a unit diagonal before a look at its inverse, in units of machine epsilon."""

INFLATION = 1e-3
"""Largest inflation of a variance by other parameters, times machine epsilon: 8000 in float32."""

Moments = Float[Array | np.ndarray, "..."]

Live = Bool[Array | np.ndarray, " M"]


class PairMoments(NamedTuple):
    r"""Moments of features: ``cross`` $\langle x_i^a x_j\rangle$, a = 1, 3, 5, and ``even`` $\langle x_i^2\rangle$ to
    $\langle x_i^{10}\rangle$."""

    cross: Float[Array | np.ndarray, "3 M M"]
    even: Float[Array | np.ndarray, "5 M"]


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
    r"""Return n, if it is enough for a fit of M features: $n \ge 50 (M - 1 + \#\text{powers})$.

    What counts is the number of parameters in the score of one feature, as in a regression: there are M scores in every
    sample. At this limit the errors of couplings of a $\phi^4$ chain are 1 to 3 % too small, those on site 5 % with the
    powers 2 and 4 and up to 25 % with 6, whose tenth moments have long tails. With no ``powers`` the same rule serves
    :func:`rgflow.probes.pseudo_likelihood.pseudo_likelihood`. Raises ValueError for too few samples.

    >>> require_samples(4096, 32)
    4096

    Ref: standard (bias of sandwich errors in regressions).
    """
    if powers:
        _check_powers(powers)
    needed = SAMPLES_PER_PARAMETER * (num_features - 1 + max(len(powers), 1))
    if num_samples < needed:
        raise ValueError(f"samples = {num_samples}: must be at least {needed} for a fit of {num_features} features")
    return num_samples


def pair_moments(samples: Float[Array, "n M"]) -> PairMoments:
    r"""Return $\langle x_i^a x_j\rangle$ for a = 1, 3, 5 and $\langle x_i^{2k}\rangle$ for k = 1..5, not connected.

    Shapes: [n, M] -> [3, M, M] and [5, M]. Raises nothing.

    >>> pair_moments(jnp.array([[1.0], [-2.0]])).even.ravel().tolist()
    [2.5, 8.5, 32.5, 128.5, 512.5]

    Ref: hyvarinen2005.
    """
    square = samples**2
    odd = jnp.stack([samples, samples * square, samples * square**2])
    cross = jnp.einsum("anm,nk->amk", odd, samples, precision=jax.lax.Precision.HIGHEST) / len(samples)
    return PairMoments(cross, jnp.stack([jnp.mean(square**k, axis=0) for k in range(1, 6)]))


def fit_moments(moments: PairMoments, powers: tuple[int, ...] = POWERS) -> Fit:
    r"""Return the fit $\eta = -A^{-1} b$ to moments, exact ones or those of samples, with u = -$\eta$ on site.

    In the precision of the moments, in NumPy for NumPy arrays. NaN for a unit that does not vary, that others determine
    linearly (a copy, for one), whose powers are linearly dependent (a feature with two values, when there is more than
    one power), or whose moments are not finite; the others are fitted without it. Shapes: [3, M, M], [5, M] ->
    [powers, M], [M, M]. Raises ValueError for powers other than some of 2, 4, 6 in this order.

    >>> gaussian = PairMoments(np.array([[[1.0]], [[3]], [[15]]]), np.array([[1.0], [3], [15], [105], [945]]))
    >>> abs(fit_moments(gaussian, (2, 4)).onsite).round(9).tolist()
    [[0.5], [0.0]]

    Ref: hyvarinen2005.
    """
    xp = _namespace(moments)
    solution, _, live = _solved(xp, moments, powers)
    onsite, couplings = _split(xp, solution, live, powers)
    return Fit(-onsite, couplings)


def score_matching(samples: Float[Array, "n M"], powers: tuple[int, ...] = POWERS) -> ScoreMatch:
    r"""Return the fit to samples and its errors, $\sqrt{\mathrm{diag}(A^{-1}\Sigma A^{-1})/n}$.

    $\Sigma$ is the second moment of the estimating function $g_b = A_b\eta + b_b$ of a sample. Which units are NaN is
    said in :func:`fit_moments`. Sizes of features do not matter. Shapes: [n, M] -> [powers, M], [M, M] each. Raises
    ValueError for powers other than some of 2, 4, 6 in this order.

    >>> fit = score_matching(jax.random.normal(jax.random.key(0), (2000, 2)), (2,))
    >>> bool(jnp.all(abs(fit.values.onsite - 0.5) < 4 * fit.errors.onsite))
    True

    Ref: hyvarinen2005; godambe1960.
    """
    # Otherwise tenth powers leave the range of float32.
    size = jnp.sqrt(jnp.mean(samples**2, axis=0))
    varies = jnp.isfinite(size) & (jnp.std(samples, axis=0) > 64 * jnp.finfo(samples.dtype).eps * size)
    size = jnp.where(varies, size, 1.0)
    scaled = jnp.where(varies[None, :], samples / size[None, :], 0.0)
    solution, inverse, live = _solved(jnp, pair_moments(scaled), powers)

    def outer(block: Float[Array, "block M"], weight: Float[Array, " block"]) -> Float[Array, "K K"]:
        terms = _estimating_function(block, solution, powers) * weight[:, None]
        return jnp.matmul(terms.T, terms, precision=jax.lax.Precision.HIGHEST)

    scatter = sum_over_blocks(outer, jnp.where(live[None, :], scaled, 0.0))
    spread = jnp.matmul(inverse, scatter, precision=jax.lax.Precision.HIGHEST)
    errors = jnp.sqrt(jnp.sum(spread * inverse, axis=1)) / len(samples)
    units = jnp.stack([size**power for power in powers])

    def fit(vector: Float[Array, " K"], sign: int) -> Fit:
        onsite, couplings = _split(jnp, vector, live, powers)
        return Fit(sign * onsite / units, couplings / (size[:, None] * size[None, :]))

    return ScoreMatch(fit(solution, -1), fit(errors, 1))


def _solved(xp: Any, moments: PairMoments, powers: tuple[int, ...]) -> tuple[Any, Any, Any]:
    """Return eta (on-site by power, then pairs in order), the inverse of A, and which units have a fit."""
    _check_powers(powers)
    live = _identified(xp, moments, powers)
    even = xp.where(live[None, :], moments.even, 0.0)
    cross = xp.where((live[:, None] & live[None, :])[None], moments.cross, 0.0)
    levels = xp.concatenate([live[None, :].astype(even.dtype), even])
    laplacian = [power * (power - 1) * levels[power // 2 - 1] for power in powers]
    first = np.triu_indices(len(live), 1)[0]
    vector = xp.concatenate([*laplacian, xp.zeros(len(first), even.dtype)])
    inverse = _inverse(xp, _matrix(xp, cross, even, powers))
    return -xp.sum(inverse * vector[None, :], axis=1), inverse, live


def _identified(xp: Any, moments: PairMoments, powers: tuple[int, ...]) -> Live:
    """Return which units vary by themselves and in more ways than there are powers.

    The score of unit i is linear in its own powers less one, and in the other units. Where one of its own terms is a
    combination of the others of this regression, A is singular along it too.
    """
    width, count = moments.even.shape[1], len(powers)
    finite = xp.all(xp.isfinite(moments.even), axis=0) & (moments.even[0] > 0)
    even = xp.where(finite[None, :], moments.even, 0.0)
    cross = xp.where((finite[:, None] & finite[None, :])[None], moments.cross, 0.0)
    other = ~np.eye(width, dtype=bool)
    half = np.array(powers) // 2
    own = xp.transpose(even[half[:, None] + half[None, :] - 2], (2, 0, 1))
    mixed = xp.transpose(cross[half - 1], (1, 0, 2)) * other[:, None, :]
    rest = cross[0][None] * (other[:, :, None] & other[:, None, :])
    upper = xp.concatenate([own, mixed], axis=2)
    lower = xp.concatenate([xp.swapaxes(mixed, 1, 2), rest], axis=2)
    design = xp.concatenate([upper, lower], axis=1)
    epsilon = float(np.finfo(moments.even.dtype).eps)
    diagonal = xp.diagonal(design, axis1=1, axis2=2)[:, :count]
    inflation = diagonal * xp.diagonal(_inverse(xp, design, RIDGE * epsilon), axis1=1, axis2=2)[:, :count]
    return finite & xp.all(inflation < INFLATION / epsilon, axis=1)


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
