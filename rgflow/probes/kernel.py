r"""Linear kernels of a representation: their alignment, and how fast they drift from layer to layer.

The kernel is the n x n Gram matrix $K = h h^\top$ of the rows, optionally centred. It is never formed, because every
quantity here follows from d x d products of the representations.

Keys: Kornblith2019 = Kornblith et al., "Similarity of neural network representations revisited", ICML 2019; HR2026 =
arXiv:2606.10324 (drift and its concentration in depth).
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Shaped

from rgflow.probes.spectrum import binary_scale, weighted_rows


def _product(x: Float[Array, "*batch n i"], y: Float[Array, "*batch n j"]) -> Float[Array, "*batch i j"]:
    # Accelerators would round the factors to bfloat16 or tf32, and no drift would be below 1e-3.
    return jnp.einsum("...ni,...nj->...ij", x, y, precision=lax.Precision.HIGHEST)


def _unit_kernel_rows(
    x: Float[ArrayLike, "*batch n d"], weights: Shaped[ArrayLike, "*#batch n"] | None, center: bool
) -> Float[Array, "*batch n d"]:
    """Returns the weighted rows, scaled to a kernel of Frobenius norm one; NaN where the norm is 0 or not finite."""
    rows = weighted_rows(x, weights, center)
    rows = rows / binary_scale(rows)
    norm = jnp.sqrt(jnp.sum(_product(rows, rows) ** 2, axis=(-2, -1), keepdims=True))
    usable = (norm > 0) & jnp.isfinite(norm)
    return jnp.where(usable, rows / jnp.sqrt(jnp.where(usable, norm, 1.0)), jnp.nan)


def cka(
    x: Float[ArrayLike, "*batch n d1"],
    y: Float[ArrayLike, "*batch n d2"],
    center: bool = True,
    weights: Shaped[ArrayLike, "*#batch n"] | None = None,
) -> Float[Array, "*batch"]:
    r"""Returns the linear centred kernel alignment of two representations of the same rows.

    $\|x^\top y\|_F^2 / (\|x^\top x\|_F \|y^\top y\|_F)$, the cosine between the two Gram matrices

    It lies between 0 and 1 and does not change when either representation is rotated or scaled. NaN where one of them
    is zero, constant over the rows (when centred) or not finite. `weights` are row multiplicities; 0 removes a row.
    Shapes: [*batch, n, d1], [*batch, n, d2] -> [*batch]; `center` is static. Raises ValueError where the numbers of
    rows differ.

    Ref: Kornblith2019 (linear CKA); HR2026

    >>> x = jnp.array([[1.0, 0.0], [0.0, 1.0], [2.0, 1.0]])
    >>> round(float(cka(x, 3 * x)), 5)
    1.0
    """
    rows_x, rows_y = jnp.shape(x)[-2], jnp.shape(y)[-2]
    if rows_x != rows_y:
        raise ValueError(f"y: {rows_y} rows where x has {rows_x}; allowed: the same rows in both")
    overlap = _product(_unit_kernel_rows(x, weights, center), _unit_kernel_rows(y, weights, center))
    return jnp.minimum(jnp.sum(overlap**2, axis=(-2, -1)), 1.0)


def kernel_drift(
    h_LxNxD: Float[ArrayLike, "layers n d"],
    center: bool = True,
    weights: Shaped[ArrayLike, " n"] | None = None,
) -> Float[Array, " layers-1"]:
    r"""Returns one minus the alignment of the kernels of successive layers.

    $1 - \mathrm{CKA}(h_l, h_{l+1}) = \tfrac12 \|K_l / \|K_l\|_F - K_{l+1} / \|K_{l+1}\|_F\|_F^2$

    With the sum s and the difference d of the two normalised layers the right side is
    $\tfrac14 (\mathrm{tr}(d^\top d\,s^\top s) + \mathrm{tr}(s^\top d\,s^\top d))$. This form stays accurate for nearly
    equal layers, where one minus a float32 alignment would be rounding noise. Never negative; NaN as in `cka`.
    Shapes: [L, n, d], weights [n] -> [L - 1]; `center` is static. Raises ValueError unless h has three axes.

    Ref: HR2026; Kornblith2019 (linear CKA)

    >>> kernel_drift(jnp.stack([jnp.eye(2), 2 * jnp.eye(2)])).tolist()
    [0.0]
    """
    _require_layers(h_LxNxD)
    layers = _unit_kernel_rows(h_LxNxD, weights, center)
    total, change = layers[1:] + layers[:-1], layers[1:] - layers[:-1]
    squares = _product(change, change) * _product(total, total)
    mixed = _product(total, change)
    gap = jnp.sum(squares + mixed * jnp.swapaxes(mixed, -2, -1), axis=(-2, -1)) / 4
    return jnp.maximum(gap, 0.0)


@partial(jax.jit, static_argnames="top")
def drift_concentration(drift: Float[ArrayLike, "*batch transitions"], top: int) -> Float[Array, "*batch"]:
    r"""Returns the share of the total drift that the `top` largest transitions carry.

    $C_m = \sum_{i \le m} \delta_{(i)} / \sum_i \delta_i$ with $\delta_{(1)} \ge \delta_{(2)} \ge \dots$

    Equal drifts give top / transitions. NaN where the sum is zero or any drift is not finite.
    Shapes: [*batch, transitions] -> [*batch]; `top` is static. Raises ValueError unless 1 <= top <= transitions.

    Ref: HR2026

    >>> round(float(drift_concentration(jnp.array([1.0, 6.0, 1.0]), top=1)), 5)
    0.75
    """
    values = jnp.asarray(drift)
    if not 1 <= top <= values.shape[-1]:
        raise ValueError(f"top: {top} of {values.shape[-1]} transitions; allowed: 1 to {values.shape[-1]}")
    largest = jnp.max(values, axis=-1, keepdims=True)
    usable = (largest > 0) & jnp.isfinite(largest)
    # Only a share is asked for: a scale near the largest keeps sums inside the range of the type.
    descending = jnp.sort(values / binary_scale(values[..., None])[..., 0], axis=-1, descending=True)
    share = jnp.sum(descending[..., :top], axis=-1) / jnp.sum(descending, axis=-1)
    return jnp.where(usable[..., 0], share, jnp.nan)


def relative_update(
    h_LxNxD: Float[ArrayLike, "layers n d"], weights: Shaped[ArrayLike, " n"] | None = None
) -> Float[Array, " layers-1"]:
    r"""Returns the size of each layer's increment relative to the stream it is added to.

    $\rho_l = \|h_{l+1} - h_l\|_F / \|h_l\|_F$

    NaN where the stream is zero or either layer is not finite; `weights` are row multiplicities.
    Shapes: [L, n, d], weights [n] -> [L - 1]. Raises ValueError unless h has three axes.

    Ref: HR2026

    >>> relative_update(jnp.stack([jnp.ones((2, 2)), 3 * jnp.ones((2, 2))])).tolist()
    [2.0]
    """
    _require_layers(h_LxNxD)
    rows = weighted_rows(h_LxNxD, weights, center=False)
    scale = binary_scale(rows[:-1])
    before, change = rows[:-1] / scale, rows[1:] / scale - rows[:-1] / scale
    sizes = jnp.sqrt(jnp.sum(jnp.stack([before, change]) ** 2, axis=(-2, -1)))
    usable = (sizes[0] > 0) & jnp.all(jnp.isfinite(sizes), axis=0)
    return jnp.where(usable, sizes[1] / jnp.where(usable, sizes[0], 1.0), jnp.nan)


def _require_layers(h: Float[ArrayLike, "..."]) -> None:
    if jnp.ndim(h) != 3:
        raise ValueError(f"h_LxNxD: shape {jnp.shape(h)} is no stack of layers; allowed: [L, n, d]")
