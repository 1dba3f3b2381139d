"""Dead runs: a run with non-finite numbers is frozen, its records become NaN and its neighbours are untouched."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

NEVER = -1
"""``died_at`` of a run that is alive."""


def all_finite(tree: object) -> Bool[Array, ""]:
    """Returns whether every floating-point leaf of one run's tree is finite everywhere."""
    leaves = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in leaves])) if leaves else jnp.array(True)


def select(ok: Bool[Array, ""], new: object, old: object) -> object:
    """Returns ``new`` where ``ok`` and ``old`` elsewhere, leaf by leaf, for one run."""
    return jax.tree.map(lambda a, b: jnp.where(ok, a, b), new, old)
