"""One after the other: on a CPU, LAPACK calls that run side by side can starve the thread pool they share.

A batched decomposition splits its work into tasks for the same pool in which it waits for them. As many of them at
once as there are threads wait for ever, so that a probe with several must put them in a row.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def after(values: Float[Array, "*shape"], first: Any) -> Float[Array, "*shape"]:
    r"""Return ``values`` unchanged, $x \to x \pm 0$, in a program that cannot know them before all leaves of ``first``.

    Shapes: any -> the same. Raises nothing.

    >>> after(jnp.array([1.0, -2.0]), {"a": jnp.array(jnp.nan)}).tolist()
    [1.0, -2.0]

    Ref: ours.
    """
    known = sum(jnp.sum(leaf) for leaf in jax.tree.leaves(first))
    # A zero whose sign hangs on what was computed: no compiler may leave that out.
    zero = jnp.where(jnp.asarray(known) > 0, 0.0, -0.0).astype(values.dtype)
    return values + zero
