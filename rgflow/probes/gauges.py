r"""Gauges of a layer of features: in which of its equivalent forms the couplings of a layer are measured.

With a linear readout the output $f R$ is the same for $f B$ and $B^{-1} R$ with any invertible B, so that neither the
loss nor the training determines the features of a layer. A gauge picks one form. For centred features f with covariance
C and principal axes V, $C = V \Lambda V^T$, the gauges are

* ``raw``: f;
* ``standardised``: every feature divided by its standard deviation;
* ``whitened``: $f C^{-1/2}$, uncorrelated and as near to f as possible;
* ``principal``: $f V \Lambda^{-1/2}$, by falling variance.

Features are float, one sample a row. A feature that a gauge leaves undefined is a column of NaN, and other probes
return NaN for this unit. Everything runs under jit and vmap and makes at most one LAPACK call. A program with several
such calls must put them in a row by :func:`computed_after`.

Keys: kessy2018 = Kessy, Lewin and Strimmer, Am. Stat. 72 (2018) 309 (whitening); baldi1989 = Baldi and Hornik, Neural
Networks 2 (1989) 53 (the optimum of a linear autoencoder is an orbit).
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int8

from rgflow.probes.spectrum import column_scale
from rgflow.types import Key

GAUGES = ("raw", "standardised", "whitened", "principal")

CENTRING_NOISE = 64
"""Largest standard deviation of a constant after centring, in units of machine epsilon times its size."""

AXIS_NOISE = 16
"""Least variance of an axis, in units of machine epsilon times the number of features times the largest variance."""

INSIDE = 1e-3
"""A feature with a larger share inside the span of axes without variance is left out of a whitened layer."""

HALVINGS = 40
"""Halvings of the interval around a quantile: its ends are then the same number in float32."""

LARGEST_SCALE = 2.0
"""Scales of :func:`orbit` lie between this and its inverse: the square of it bounds the condition number of B."""


def apply_gauge(features: Float[Array, "n M"], gauge: str) -> Float[Array, "n M"]:
    r"""Returns the features in a gauge, $f \to (f - \langle f\rangle) G$, with divisor n in the covariance.

    G is 1, $\mathrm{diag}(C)^{-1/2}$, $C^{-1/2}$ or $V\Lambda^{-1/2}$, for the four ``GAUGES``; the largest entry of
    each column of V is positive. A constant feature, or one with a non-finite value, becomes a column of NaN and
    changes no other. In ``whitened`` every feature that the others determine linearly is NaN too, in ``principal`` the
    axes without variance, which come last; in float32 these are axes below about 2e-6 M times the largest variance.
    Shapes: [n, M] -> [n, M]. Raises ValueError for an unknown gauge.

    >>> apply_gauge(jnp.array([[1.0, 5.0], [3.0, 5.0]]), "standardised").tolist()
    [[-1.0, nan], [1.0, nan]]

    Ref: kessy2018.
    """
    if gauge not in GAUGES:
        raise ValueError(f"gauge = {gauge!r}: must be one of {', '.join(GAUGES)}")
    centred, unit, live = _centred(features)
    if gauge == "raw":
        return jnp.where(live[None, :], centred * unit[None, :], jnp.nan)
    if gauge == "standardised":
        return jnp.where(live[None, :], centred / jnp.where(live, jnp.std(centred, axis=0), 1.0)[None, :], jnp.nan)
    # Axes mix features, so that all of them take the largest unit.
    largest = jnp.max(jnp.where(live, unit, jnp.finfo(unit.dtype).tiny))
    centred = centred * (unit / largest)[None, :]
    variance, axes = _principal_axes(_product(centred.T, centred) / len(centred))
    least = AXIS_NOISE * jnp.finfo(centred.dtype).eps * len(variance) * variance[0]
    wide = variance > least
    inverse_root = jnp.where(wide, jax.lax.rsqrt(jnp.where(wide, variance, 1.0)), 0.0)
    rotation = axes * inverse_root[None, :]
    if gauge == "principal":
        return jnp.where(wide[None, :], _product(centred, rotation), jnp.nan)
    inside = jnp.sum(jnp.where(wide[None, :], 0.0, axes**2), axis=1)
    whitened = _product(centred, _product(rotation, axes.T))
    return jnp.where((live & (inside < INSIDE))[None, :], whitened, jnp.nan)


def column_quantile(features: Float[Array, "n M"], share: float) -> Float[Array, " M"]:
    r"""Returns a quantile of every column: the middle between a value of the column and the next larger one.

    The value is $\min\{x_b : |\{b' : x_{b'} \le x_b\}| \ge \mathrm{share}\, n\}$, which is the result itself where none
    is larger. It is found by halving an interval, many times faster than by sorting. Values closer than $2^{-40}$ of
    the range count as one. Shapes: [n, M] -> [M].

    >>> column_quantile(jnp.array([[3.0], [1.0], [2.0], [4.0]]), 0.5).tolist()
    [2.5]
    """
    # The product of the two could round across a whole number of samples.
    wanted = math.ceil(share * len(features) - 1e-6)

    def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = low / 2 + high / 2
        enough = jnp.sum(features <= middle[None, :], axis=0) >= wanted
        return jnp.where(enough, low, middle), jnp.where(enough, middle, high)

    ends = jnp.min(features, axis=0), jnp.max(features, axis=0)
    high = jax.lax.fori_loop(0, HALVINGS, halve, ends)[1]
    below = features <= high[None, :]
    lower = jnp.max(jnp.where(below, features, -jnp.inf), axis=0)
    upper = jnp.min(jnp.where(below, jnp.inf, features), axis=0)
    # A value itself is not a safe threshold: a compiler may compute it twice, with different rounding.
    return jnp.where(jnp.isfinite(upper), lower / 2 + upper / 2, lower)


def binarise(features: Float[Array, "n M"]) -> Int8[Array, "n M"]:
    r"""Returns spins, $s = +1$ above the median of the feature and $-1$ otherwise, and 0 for a unit that has no spin.

    Where nothing lies above the median (a feature at its upper bound for most samples), the median itself is +1, so
    that $f \to -f$ reverses spins; for an odd number of samples the one at the median is an exception. A unit that is
    constant or has a non-finite value has no spin and is 0 in all samples. Shapes: [n, M] -> [n, M] in int8.

    >>> binarise(jnp.array([[0.0, 7.0], [0.0, 7.0], [0.0, 7.0], [2.0, 7.0]])).T.tolist()
    [[-1, -1, -1, 1], [0, 0, 0, 0]]
    """
    live = _centred(features)[2]
    # The features as they are: a mean that is taken off anew on either side of a comparison may be rounded otherwise.
    features = features.astype(jnp.promote_types(features.dtype, jnp.float32))
    median = column_quantile(features, 0.5)[None, :]
    above = features > median
    above = jnp.where(jnp.any(above, axis=0, keepdims=True), above, features >= median)
    return jnp.where(live[None, :], jnp.where(above, 1, -1), 0).astype(jnp.int8)


def orbit(
    key: Key, features: Float[Array, "n M"], readout: Float[Array, "M O"], count: int
) -> tuple[Float[Array, "count n M"], Float[Array, "count M O"]]:
    r"""Returns random equivalent forms of a layer and its linear readout, $f B$ and $B^{-1} R$: the same output.

    $B = Q \,\mathrm{diag}(a)\, Q'$ with random orthogonal Q, Q' and $\ln a$ uniform within $\pm\ln 2$. Every invertible
    B has this form for some a; here its condition number is at most 4. A column of NaN makes all features and the
    output NaN. Shapes: [n, M], [M, O] -> [count, n, M], [count, M, O]. Raises ValueError for a count below 1.

    >>> features, readouts = orbit(jax.random.key(0), jnp.eye(3), jnp.ones((3, 1)), 2)
    >>> jnp.round(features @ readouts, 4).squeeze(2).tolist()
    [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]

    Ref: baldi1989.
    """
    if count < 1:
        raise ValueError(f"count = {count}: must be at least 1")
    rotation_key, scale_key = jax.random.split(key)
    width = features.shape[1]
    left, right = jax.random.orthogonal(rotation_key, width, (2, count), features.dtype)
    log_scale = jax.random.uniform(scale_key, (count, 1, width), features.dtype, -1, 1)
    scale = LARGEST_SCALE**log_scale
    mixing = _product(left * scale, right)
    inverse = _product(jnp.swapaxes(right, 1, 2) / scale, jnp.swapaxes(left, 1, 2))
    return (
        jnp.einsum("nm,cmk->cnk", features, mixing, precision=jax.lax.Precision.HIGHEST),
        jnp.einsum("cmk,ko->cmo", inverse, readout, precision=jax.lax.Precision.HIGHEST),
    )


def computed_after(values: Float[Array, "*shape"], first: Any) -> Float[Array, "*shape"]:
    """Returns ``values`` unchanged, in a program that computes all leaves of ``first`` before it can use them.

    On a CPU a batched decomposition splits its work into tasks for the same pool of threads in which it waits for them.
    As many decompositions side by side as there are threads therefore wait for each other without end.

    >>> computed_after(jnp.array([1.0, -2.0]), {"a": jnp.array(jnp.nan)}).tolist()
    [1.0, -2.0]
    """
    known = sum(jnp.sum(leaf) for leaf in jax.tree.leaves(first))
    # The sign of this zero depends on what was computed, so that no compiler may leave the addition out.
    zero = jnp.where(jnp.asarray(known) > 0, 0.0, -0.0).astype(values.dtype)
    return values + zero


def _centred(features: Float[Array, "n M"]) -> tuple[Float[Array, "n M"], Float[Array, " M"], Bool[Array, " M"]]:
    """Returns centred features over a power of two, 0 where constant or not finite; the powers; which features vary.

    A feature's own power of two, near its largest value, keeps sums and squares from leaving the range of its dtype.
    """
    features = features.astype(jnp.promote_types(features.dtype, jnp.float32))
    finite = jnp.all(jnp.isfinite(features), axis=0)
    features = jnp.where(finite[None, :], features, 0.0)
    unit = column_scale(features)
    features = features / unit[None, :]
    centred = features - jnp.mean(features, axis=0, keepdims=True)
    noise = CENTRING_NOISE * jnp.finfo(features.dtype).eps * jnp.max(jnp.abs(features), axis=0)
    live = finite & (jnp.std(centred, axis=0) > noise)
    return jnp.where(live[None, :], centred, 0.0), unit, live


def _principal_axes(covariance: Float[Array, "M M"]) -> tuple[Float[Array, " M"], Float[Array, "M M"]]:
    """Returns variances in falling order and axes as columns, each with its largest entry positive."""
    variance, axes = jnp.linalg.eigh(covariance)
    variance, axes = variance[::-1], axes[:, ::-1]
    largest = jnp.take_along_axis(axes, jnp.argmax(jnp.abs(axes), axis=0)[None, :], axis=0)
    return variance, jnp.where(largest < 0, -axes, axes)


def _product(left: Float[Array, "..."], right: Float[Array, "..."]) -> Float[Array, "..."]:
    # Accelerators would round the factors of a product to bfloat16 or tf32.
    return jnp.matmul(left, right, precision=jax.lax.Precision.HIGHEST)
