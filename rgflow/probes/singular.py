"""Singular values of tall matrices from their Gram matrix, in double precision for any input.

In single precision a Gram matrix loses every singular value below 3e-4 of the largest. In double precision it keeps
them down to 1e-8, which a decomposition of the float32 matrix itself cannot resolve. It also costs one pass over the
matrix, where a decomposition takes several.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Float

PANEL = 256
"""Rows that are transposed together: few enough to stay in the cache, many enough for a matrix product."""


@custom_vmap
def gram_values(x: Float[Array, "*batch n d"]) -> Float[Array, "*batch k"]:
    r"""Returns the singular values of each matrix in descending order from its Gram matrix in float64, k = min(n, d).

    $s_i = \sqrt{\lambda_i(x^\top x)}$, accurate to about 1e-8 of the largest: a smaller value comes out as a number
    between 0 and that. The result has the type of x. A matrix with a non-finite entry gives NaN for itself only. The
    function does not need jax_enable_x64, but a platform with double precision, which a TPU does not have.

    Shapes: [*batch, n, d] -> [*batch, k].

    >>> gram_values(jnp.array([[0.0, 2.0], [3.0, 0.0]])).tolist()
    [3.0, 2.0]
    """
    columns = min(x.shape[-2:])
    if x.size == 0:
        return jnp.zeros((*x.shape[:-2], columns), x.dtype)
    with jax.enable_x64(True):
        tall = x if x.shape[-1] == columns else jnp.swapaxes(x, -1, -2)
        # The map takes one matrix after the other: the transposed panels of all of them would not fit the cache.
        gram = lax.map(_gram, tall.reshape(-1, *tall.shape[-2:]))
        # The diagonal holds the squared norms of the columns. Squares of float32 numbers do not overflow in float64, so
        # that only a non-finite entry makes a norm non-finite. Solvers disagree on what a NaN does to the rest of a
        # batch, so they never see one.
        finite = jnp.all(jnp.isfinite(jnp.diagonal(gram, axis1=-2, axis2=-1)), axis=-1)
        eigenvalues = jnp.linalg.eigvalsh(jnp.where(finite[:, None, None], gram, jnp.zeros_like(gram)))
        values = jnp.sqrt(jnp.maximum(eigenvalues, jnp.zeros_like(eigenvalues)))[:, ::-1]
        values = jnp.where(finite[:, None], values, jnp.full_like(values, jnp.nan))
        return values.astype(x.dtype).reshape(*x.shape[:-2], columns)


@gram_values.def_vmap
def _batched(axis_size: int, in_batched: list[bool], x: Array) -> tuple[Array, bool]:
    # The function takes any batch axes; batching its operations one by one would happen outside of enable_x64.
    del axis_size, in_batched
    return gram_values(x), True


def _gram(x: Float[Array, "n d"]) -> Float[Array, "d d"]:
    """Returns x^T x in float64, as a sum over panels of rows."""
    rows, columns = x.shape
    panel = min(PANEL, rows)
    count = -(-rows // panel)
    panels = jnp.pad(x, ((0, count * panel - rows), (0, 0))).reshape(count, panel, columns)
    # The product along the last axis of both factors is twice as fast as along the first, and transposing a panel is
    # cheap. The barrier keeps the compiler from undoing it.
    turned = lax.optimization_barrier(jnp.swapaxes(panels, -1, -2).astype(jnp.float64))
    products = lax.dot_general(turned, turned, (((2,), (2,)), ((0,), (0,))), precision=lax.Precision.HIGHEST)
    return jnp.sum(products, axis=0)
