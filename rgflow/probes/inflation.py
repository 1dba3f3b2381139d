"""How far other columns determine a column: the inflation of a variance, found whatever the order of a sum.

Key: fukaya2020 = Fukaya et al., SIAM J. Sci. Comput. 42 (2020) A477 (shifted Cholesky QR).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rgflow.probes.pseudo_likelihood import SUM_NOISE

INFLATION = 1e-3
r"""Largest inflation of a variance by other parameters, times machine epsilon: 8000 in float32.

Rounding of the moments, some 10 epsilon, moves a parameter by about $10\epsilon$ times its inflation, in units of the
feature: 1 % at this limit. Chance moves it by the root of inflation / n, 30 % for $10^5$ samples."""


def inflations(
    matrix: Float[Array, "*batch F F"], turned: Callable[[Float[Array, "*batch F F"]], Float[Array, "*batch F F"]]
) -> Float[Array, "*batch F"]:
    r"""Return $1/(1 - R^2)$ of every column of D, of n rows, with the R of its best fit by the other columns.

    ``matrix`` is $D^T D/n$, and ``turned`` maps T to the same of the columns $D T^T$, made row by row; both are sums
    over blocks (:func:`sum_over_blocks`). With unit columns the matrix is off by up to $\rho = 16 F \epsilon$ and
    cannot tell a smaller $1 - R^2$ from zero. So it only serves to make the columns nearly orthogonal, with T from the
    Cholesky factor of the matrix and $\rho$; the products of the new columns hold the rest. Where $D v = 0$, |v| = 1,
    for unit columns, the result is near $v_k^2/\rho^2$ in place of infinity, in whatever order a processor sums: in
    float32 $10^9 v_k^2$ for 15 columns. Columns of zeros count as orthogonal to all. NaN where a column is not finite.
    Shapes: [*batch, F, F] -> [*batch, F].

    >>> rows = jnp.array([[1.0, 0.0], [1.0, 1.0]])
    >>> inflations(rows.T @ rows / 2, lambda turn: turn @ (rows.T @ rows / 2) @ turn.T).round(2).tolist()
    [2.0, 2.0]

    Ref: fukaya2020.
    """
    square = jnp.diagonal(matrix, axis1=-2, axis2=-1)
    root = jnp.sqrt(jnp.where(square > 0, square, 1.0))
    turn = _whitener(matrix / (root[..., :, None] * root[..., None, :])) / root[..., None, :]
    again = jnp.matmul(_whitener(turned(turn)), turn, precision=jax.lax.Precision.HIGHEST)
    return square * jnp.sum(again**2, axis=-2)


def _whitener(matrix: Float[Array, "*batch F F"]) -> Float[Array, "*batch F F"]:
    """Return $L^{-1}$ of the Cholesky factor L of a matrix and $\\rho$, see :func:`inflations`."""
    eye = jnp.eye(matrix.shape[-1], dtype=matrix.dtype)
    ridge = SUM_NOISE * len(eye) * jnp.finfo(matrix.dtype).eps
    eye = jnp.broadcast_to(eye, matrix.shape)
    return jax.scipy.linalg.solve_triangular(jnp.linalg.cholesky(matrix + ridge * eye), eye, lower=True)
