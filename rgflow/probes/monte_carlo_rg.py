r"""Operators of the Monte Carlo renormalization group: sums over a spin lattice, whose correlations give exponents.

The derivative of the couplings after a block-spin step with respect to those before it is
$T = \langle S' S'^T\rangle_c^{-1} \langle S' S^T\rangle_c$, S before and S' after; an eigenvalue $\lambda = b^y$
gives the exponent y. Key: Swendsen1979 = Phys. Rev. Lett. 42 (1979) 859.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int8

SMALLEST_SIZE = 4
"""Fewest sites a side after the last step: on fewer the operators meet themselves around the torus."""


@jax.jit
def even_operators(spins: Int8[Array, "B rows cols"]) -> Float[Array, "B 3"]:
    r"""Returns sums of nearest-neighbour bonds, diagonal bonds and plaquettes over the whole periodic lattice.

    $S = (\sum ss_{1,0}, \sum ss_{1,1}, \sum ssss)$, float32. Ref: Swendsen1979.
    """
    right, down = jnp.roll(spins, -1, 2), jnp.roll(spins, -1, 1)
    across = jnp.roll(right, -1, 1)
    nearest, diagonal = spins * (right + down), spins * across + right * down
    return _totals(nearest, diagonal, spins * right * down * across)


@jax.jit
def odd_operators(spins: Int8[Array, "B rows cols"]) -> Float[Array, "B 2"]:
    r"""Returns sums of spins and of triples within plaquettes, $S = (\sum s, \sum sss)$, float32. Ref: Swendsen1979."""
    right, down = jnp.roll(spins, -1, 2), jnp.roll(spins, -1, 1)
    across = jnp.roll(right, -1, 1)
    triples = spins * right * (down + across) + down * across * (spins + right)
    return _totals(spins, triples)


def _totals(*terms: Int8[Array, "B rows cols"]) -> Float[Array, "B n"]:
    # Integer sums are exact; a float32 sum of many int8 terms need not be.
    totals = [jnp.sum(term, axis=(1, 2), dtype=jnp.int32) for term in terms]
    return jnp.stack(totals, axis=1).astype(jnp.float32)
