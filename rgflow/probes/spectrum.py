"""Singular values of a representation and the effective ranks read from them.

Every function works on the trailing axes and takes any leading batch axes, so that it can be jitted and vmapped. An
undefined rank (of zeros, or of values that are not finite) is NaN: a silent 1 would look like a collapse. In the ranks
zeros among other values contribute nothing.

Keys: RoyVetterli2007 = Roy and Vetterli, "The effective rank", EUSIPCO 2007; HR2026 = arXiv:2606.10324 (effective rank
along a residual stream).
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Shaped

from rgflow.probes.singular import gram_values

METHODS = ("auto", "svd", "gram")
ELONGATED = 4
"""From this ratio of the sides on, one pass over the matrix and a small decomposition are the faster way."""

CENTRING_NOISE = 64
"""Largest norm of constant rows after centring, in units of machine epsilon times their norm."""


def at_least_float32(x: Float[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    """Returns half precision cast to float32, and float32 and float64 as they are.

    >>> at_least_float32(jnp.ones(2, jnp.bfloat16)).dtype.name
    'float32'
    """
    array = jnp.asarray(x)
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))


def column_scale(x: Float[Array, "n M"]) -> Float[Array, " M"]:
    r"""Returns the :func:`binary_scale` of each column by itself. Shapes: [n, M] -> [M].

    >>> column_scale(jnp.array([[3.0, 0.1], [-5.0, 0.0]])).tolist()
    [4.0, 0.125]
    """
    return binary_scale(x.T[:, :, None])[:, 0, 0]


@jax.jit
def binary_scale(x: Float[Array, "*batch n d"]) -> Float[Array, "*batch 1 1"]:
    r"""Returns the power of two nearest to the largest entry of each matrix, 1 where there is none.

    $2^k \approx \max_{ij} |x_{ij}|$. Division by it is exact, and afterwards squares neither overflow nor vanish.
    Shapes: [*batch, n, d] -> [*batch, 1, 1].

    >>> float(binary_scale(jnp.array([[3.0, -5.0]]))[0, 0])
    4.0
    """
    largest = jnp.max(jnp.abs(x), axis=(-2, -1), keepdims=True, initial=0.0)
    limits = jnp.finfo(x.dtype)
    power = lax.reduce_precision(largest, exponent_bits=limits.nexp, mantissa_bits=0)
    # Neither a scale nor its inverse, by which a compiler may multiply, is subnormal and flushed to zero.
    power = jnp.clip(power, limits.tiny, 1 / limits.tiny)
    return jnp.where((largest > 0) & jnp.isfinite(largest), power, 1.0)


def singular_values(x: Float[ArrayLike, "*batch n d"], method: str = "auto") -> Float[Array, "*batch k"]:
    r"""Returns the singular values of each matrix in descending order, k = min(n, d).

    $s_1 \ge \dots \ge s_k \ge 0,\quad x = U\,\mathrm{diag}(s)\,V^\top$

    `svd` is one batched LAPACK call in float32 (half precision is cast up) or float64, with errors of a few machine
    epsilons of the largest value. `gram` takes the square roots of the eigenvalues of $x^\top x$, computed in float64
    even from float32. It loses values below 1.5e-8 of the largest, which is less than `svd` loses in float32 and more
    than it loses in float64. `auto`, the default, takes the faster method where both are equally accurate: on a CPU
    `gram` for matrices in float32 or below with a ratio of the sides of at least four, otherwise `svd`. A matrix with a
    non-finite entry gives NaN for itself only. `gram` cannot be differentiated, the others can.
    Shapes: [*batch, n, d] -> [*batch, k]. Raises ValueError for an unknown method, and for fewer than two axes.

    >>> singular_values(jnp.array([[0.0, 2.0], [3.0, 0.0]])).tolist()
    [3.0, 2.0]
    """
    if method not in METHODS:
        raise ValueError(f"method: {method!r} is unknown; allowed: {', '.join(METHODS)}")
    matrix = at_least_float32(x)
    if matrix.ndim < 2:
        raise ValueError(f"x: shape {matrix.shape} is not a matrix; allowed: [*batch, n, d]")
    short, long = sorted(matrix.shape[-2:])
    if method == "auto" and matrix.dtype == jnp.float32 and long >= ELONGATED * short > 0:
        return _by_platform(matrix)
    return _from_gram(matrix) if method == "gram" else _from_svd(matrix)


def _scaled(solve: Callable[[Array], Array], matrix: Float[Array, "*batch n d"]) -> Float[Array, "*batch k"]:
    """Returns what ``solve`` gives for the matrices at a scale near 1, and NaN for those that are not finite."""
    finite = jnp.all(jnp.isfinite(matrix), axis=(-2, -1), keepdims=True)
    # Solvers disagree on what a NaN does to the rest of a batch, so they never see one.
    matrix = jnp.where(finite, matrix, 0.0)
    scale = binary_scale(matrix)
    return jnp.where(finite[..., 0], solve(matrix / scale) * scale[..., 0], jnp.nan)


def _from_svd(matrix: Float[Array, "*batch n d"]) -> Float[Array, "*batch k"]:
    # Without full_matrices=False an n x n buffer is reserved for left vectors that are never computed.
    return _scaled(lambda x: jnp.linalg.svd(x, full_matrices=False, compute_uv=False), matrix)


def _from_gram(matrix: Float[Array, "*batch n d"]) -> Float[Array, "*batch k"]:
    # The squares of float32 fit into float64 at any scale, so that no scaling and no second pass is needed.
    return gram_values(matrix) if matrix.dtype == jnp.float32 else _scaled(gram_values, matrix)


@jax.custom_jvp
def _by_platform(matrix: Float[Array, "*batch n d"]) -> Float[Array, "*batch k"]:
    return _by_platform_jitted(matrix)


@_by_platform.defjvp
def _derivative(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return jax.jvp(_from_svd, primals, tangents)


@jax.jit
def _by_platform_jitted(matrix: Float[Array, "*batch n d"]) -> Float[Array, "*batch k"]:
    return lax.platform_dependent(matrix, cpu=_from_gram, default=_from_svd)


def _relative(s: Float[ArrayLike, "*batch k"]) -> tuple[Float[Array, "*batch k"], Bool[Array, "*batch"]]:
    """Returns s / s_1, and whether a rank exists: everything finite and something not zero."""
    values = at_least_float32(s)
    # First to a scale near 1: a compiler that divides by the largest value through its inverse would find 0 at 1e38.
    values = values / binary_scale(values[..., None])[..., 0]
    largest = jnp.max(values, axis=-1, keepdims=True, initial=0.0)
    defined = jnp.all(jnp.isfinite(values), axis=-1) & (largest[..., 0] > 0)
    return jnp.where(defined[..., None], values / jnp.where(largest > 0, largest, 1.0), 1.0), defined


def _entropy_rank(weights: Float[Array, "*batch k"]) -> Float[Array, "*batch"]:
    total = jnp.sum(weights, axis=-1)
    positive = weights > 0
    moments = jnp.where(positive, weights * jnp.log(jnp.where(positive, weights, 1.0)), 0.0)
    # ln(total) - sum(w ln w) / total is the entropy of w / total without forming the quotients.
    return total * jnp.exp(-jnp.sum(moments, axis=-1) / total)


def effective_rank(s: Float[ArrayLike, "*batch k"]) -> Float[Array, "*batch"]:
    r"""Returns the exponential of the Shannon entropy of the normalised singular values.

    $\exp(-\sum_i p_i \ln p_i),\quad p_i = s_i / \sum_j s_j$. Shapes: [*batch, k] -> [*batch].

    Ref: RoyVetterli2007; HR2026

    >>> round(float(effective_rank(jnp.array([2.0, 2.0, 2.0, 0.0]))), 5)
    3.0
    """
    relative, defined = _relative(s)
    return jnp.where(defined, _entropy_rank(relative), jnp.nan)


def energy_rank(s: Float[ArrayLike, "*batch k"]) -> Float[Array, "*batch"]:
    r"""Returns the exponential of the Shannon entropy of the normalised squared singular values.

    $\exp(-\sum_i q_i \ln q_i),\quad q_i = s_i^2 / \sum_j s_j^2$. Shapes: [*batch, k] -> [*batch].

    Ref: RoyVetterli2007 (with energies for amplitudes)

    >>> round(float(energy_rank(jnp.array([5.0, 5.0]))), 5)
    2.0
    """
    relative, defined = _relative(s)
    return jnp.where(defined, _entropy_rank(relative**2), jnp.nan)


def participation_ratio(s: Float[ArrayLike, "*batch k"]) -> Float[Array, "*batch"]:
    r"""Returns the participation ratio of the squared singular values.

    $(\sum_i s_i^2)^2 / \sum_i s_i^4$. Shapes: [*batch, k] -> [*batch].

    Ref: RoyVetterli2007 (the Renyi-2 companion of the energy rank)

    >>> round(float(participation_ratio(jnp.array([1.0, 1.0, 0.0]))), 5)
    2.0
    """
    relative, defined = _relative(s)
    energy = relative**2
    ratio = jnp.sum(energy, axis=-1) ** 2 / jnp.sum(energy**2, axis=-1)
    return jnp.where(defined, ratio, jnp.nan)


def stable_rank(s: Float[ArrayLike, "*batch k"]) -> Float[Array, "*batch"]:
    r"""Returns the squared Frobenius norm over the squared spectral norm.

    $\sum_i s_i^2 / s_1^2$. Shapes: [*batch, k] -> [*batch].

    Ref: RoyVetterli2007 (the Renyi-infinity companion of the energy rank)

    >>> float(stable_rank(jnp.array([2.0, 1.0, 1.0])))
    1.5
    """
    relative, defined = _relative(s)
    return jnp.where(defined, jnp.sum(relative**2, axis=-1), jnp.nan)


def numerical_rank(s: Float[ArrayLike, "*batch k"], shape: tuple[int, int]) -> Float[Array, "*batch"]:
    r"""Returns the number of singular values above the rounding error of an n x d matrix, as a float.

    $\#\{i : s_i > \max(n, d)\,\epsilon\,s_1\}$ with the $\epsilon$ of the type of s, at least float32.
    Shapes: [*batch, k] -> [*batch]; `shape` is (n, d), static. Raises ValueError unless `shape` is two positive sizes.

    >>> float(numerical_rank(jnp.array([1.0, 0.5, 1e-9]), (100, 3)))
    2.0
    """
    if len(shape) != 2 or min(shape) < 1:
        raise ValueError(f"shape: {shape!r} is not a matrix shape; allowed: two positive sizes (n, d)")
    relative, defined = _relative(s)
    threshold = max(shape) * jnp.finfo(relative.dtype).eps
    return jnp.where(defined, jnp.sum(relative > threshold, axis=-1, dtype=relative.dtype), jnp.nan)


RANK_MEASURES: dict[str, Callable[[Float[ArrayLike, "*batch k"]], Float[Array, "*batch"]]] = {
    "effective_rank": effective_rank,
    "energy_rank": energy_rank,
    "participation_ratio": participation_ratio,
    "stable_rank": stable_rank,
}


@partial(jax.jit, static_argnames="center")
def weighted_rows(
    x: Float[ArrayLike, "*batch n d"], weights: Shaped[ArrayLike, "*#batch n"] | None, center: bool
) -> Float[Array, "*batch n d"]:
    r"""Returns rows scaled to have the singular values of the matrix with row i repeated weights[i] times.

    $x'_i = \sqrt{w_i}\,(x_i - \bar x),\ \bar x = \sum_j w_j x_j / \sum_j w_j$ if centred, else $\bar x = 0$

    Weight 0 removes a row, whatever it holds, and None means all ones; fractions are allowed. The whole matrix is NaN
    where centring leaves only rounding noise (equal rows, or fewer than two rows with weight), so that its ranks are
    NaN and not 1. It is also NaN where a weight is negative or not finite.
    Shapes: [*batch, n, d] and broadcastable [*batch, n] -> [*batch, n, d]; `center` is static.

    >>> weighted_rows(jnp.array([[1.0], [5.0]]), jnp.array([4, 4]), center=True).tolist()
    [[-4.0], [4.0]]
    """
    matrix = at_least_float32(x)
    given = jnp.ones((), matrix.dtype) if weights is None else jnp.asarray(weights).astype(matrix.dtype)
    counts = jnp.broadcast_to(given, matrix.shape[:-1])[..., None]
    matrix = jnp.where(counts > 0, matrix, 0.0)
    scale = binary_scale(matrix)
    rows = matrix / scale
    legal = jnp.all((counts >= 0) & jnp.isfinite(counts), axis=-2, keepdims=True)
    if not center:
        return jnp.where(legal, jnp.sqrt(counts) * rows * scale, jnp.nan)
    centred = jnp.sqrt(counts) * _minus_mean(rows, counts)
    noise = CENTRING_NOISE * jnp.finfo(matrix.dtype).eps * _norm(jnp.sqrt(counts) * rows)
    alive = jnp.sum(counts > 0, axis=-2, keepdims=True) >= 2
    return jnp.where(legal & alive & (_norm(centred) > noise), centred * scale, jnp.nan)


def _minus_mean(rows: Float[Array, "*batch n d"], counts: Float[Array, "*batch n 1"]) -> Float[Array, "*batch n d"]:
    """Returns rows minus their weighted mean, twice: the second pass removes the rounding error of the first."""
    shares = counts / jnp.maximum(jnp.sum(counts, axis=-2, keepdims=True), jnp.finfo(rows.dtype).tiny)
    once = rows - jnp.sum(shares * rows, axis=-2, keepdims=True)
    return once - jnp.sum(shares * once, axis=-2, keepdims=True)


def _norm(rows: Float[Array, "*batch n d"]) -> Float[Array, "*batch 1 1"]:
    return jnp.sqrt(jnp.sum(rows**2, axis=(-2, -1), keepdims=True))
