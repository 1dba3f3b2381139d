"""How much of a target a linear map can read out of a representation, on rows it was not fitted to.

Key: HR2026 = arXiv:2606.10324 (which degrees of freedom of the context a layer keeps).
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from rgflow.probes.spectrum import at_least_float32, binary_scale, column_scale

RIDGE = 1e-6
"""Penalty in units of the trace of the Gram matrix: directions below about 1e-3 of the representation are not read."""


def held_out_r2(
    x: Float[ArrayLike, "*layers n d"],
    y: Float[ArrayLike, "n k"],
    first: Bool[ArrayLike, " n"],
    second: Bool[ArrayLike, " n"],
) -> Float[Array, "*layers k"]:
    r"""Returns the explained variance of each target by ridge regression, fitted on one half and scored on the other.

    $R^2_k = 1 - \sum_{i \in B} (y_{ik} - \hat y_{ik})^2 / \sum_{i \in B} (y_{ik} - \bar y_k)^2$ for a fit to half A and
    a score on half B, averaged with the reverse.

    An unrelated target scores about $-d/n_A$, because noise is fitted; a constant representation scores 0 or a little
    less. Rows in neither half are ignored. NaN where the representation is not finite or the target is constant.
    Shapes: [*layers, n, d], [n, k], two disjoint [n] -> [*layers, k].

    Ref: HR2026

    >>> x = jax.random.normal(jax.random.key(0), (200, 3))
    >>> half = jnp.arange(200) < 100
    >>> held_out_r2(x, x[:, :1] - 2.0, half, ~half).round(4).tolist()
    [1.0]
    """
    rows, targets = at_least_float32(x), at_least_float32(y)
    rows, targets = rows / binary_scale(rows), targets / column_scale(targets)[None, :]
    halves = jnp.stack([jnp.asarray(first), jnp.asarray(second)]).astype(rows.dtype)
    one = lambda layer: jnp.mean(jax.vmap(lambda a, b: _r2(layer, targets, a, b))(halves, halves[::-1]), axis=0)  # noqa: E731
    flat = jax.vmap(one)(rows.reshape(-1, *rows.shape[-2:]))
    return flat.reshape(*rows.shape[:-2], targets.shape[-1])


def _r2(
    x: Float[Array, "n d"], y: Float[Array, "n k"], fit: Float[Array, " n"], score: Float[Array, " n"]
) -> Float[Array, " k"]:
    x, y = x - _mean(x, fit), y - _mean(y, fit)
    weighted = fit[:, None] * x
    gram = jnp.matmul(weighted.T, x, precision=jax.lax.Precision.HIGHEST)
    # The smallest normal number keeps the equations of a constant representation solvable; its weights are then zero.
    penalty = RIDGE * jnp.trace(gram) + jnp.finfo(x.dtype).tiny
    factor = jax.scipy.linalg.cho_factor(gram + penalty * jnp.eye(x.shape[-1], dtype=x.dtype))
    overlap = jnp.matmul(weighted.T, y, precision=jax.lax.Precision.HIGHEST)
    weights = jax.scipy.linalg.cho_solve(factor, overlap)
    left = y - jnp.matmul(x, weights, precision=jax.lax.Precision.HIGHEST)
    total = jnp.sum(score[:, None] * (y - _mean(y, score)) ** 2, axis=0)
    missed = jnp.sum(score[:, None] * left**2, axis=0)
    return jnp.where(total > 0, 1 - missed / jnp.where(total > 0, total, 1.0), jnp.nan)


def _mean(values: Float[Array, "n k"], weights: Float[Array, " n"]) -> Float[Array, "1 k"]:
    return (weights @ values / jnp.maximum(jnp.sum(weights), 1))[None]
