r"""Block-spin maps of Ising configurations on the square lattice: majority rule and decimation.

Spins are $\pm1$ in int8; leading axes are a batch. Keys: Kadanoff1966 = Physics 2 (1966) 263; Swendsen1979 = Phys. Rev.
Lett. 42 (1979) 859.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int8

from rgflow.types import Key


def block_majority(key: Key, spins: Int8[Array, "*batch rows cols"], factor: int = 2) -> Int8[Array, "*batch R C"]:
    r"""Returns the sign of the total spin of each block of ``factor`` by ``factor`` sites, ties drawn at random.

    $s'_I = \mathrm{sign} \sum_{i \in I} s_i$, and $\pm1$ with equal chances where the sum is 0, which keeps the
    symmetry under a change of all signs. Shape (..., rows/factor, cols/factor). Raises ValueError unless ``factor`` is
    at least 2 and divides both sides.

    >>> block_majority(jax.random.key(0), jnp.array([[1, 1], [1, -1]], jnp.int8)).tolist()
    [[1]]

    Ref: Swendsen1979.
    """
    rows, cols = _block_shape(spins.shape[-2], spins.shape[-1], factor)
    blocks = spins.reshape(*spins.shape[:-2], rows, factor, cols, factor)
    total = jnp.sum(blocks, axis=(-3, -1), dtype=jnp.int32)
    ties = jax.random.rademacher(key, total.shape, jnp.int8)
    return jnp.where(total == 0, ties, jnp.sign(total).astype(jnp.int8))


def block_decimate(spins: Int8[Array, "*batch rows cols"], factor: int = 2) -> Int8[Array, "*batch R C"]:
    r"""Returns the first spin of each block of ``factor`` by ``factor`` sites, $s'_{x,y} = s_{bx,by}$.

    Shape (..., rows/factor, cols/factor). Raises ValueError unless ``factor`` is at least 2 and divides both sides.

    >>> block_decimate(jnp.array([[1, 1], [1, -1]], jnp.int8)).tolist()
    [[1]]

    Ref: Kadanoff1966.
    """
    _block_shape(spins.shape[-2], spins.shape[-1], factor)
    return spins[..., ::factor, ::factor]


def _block_shape(rows: int, cols: int, factor: int) -> tuple[int, int]:
    if factor < 2 or rows % factor or cols % factor:
        raise ValueError(f"factor = {factor}: must be at least 2 and divide the sides {rows} and {cols}")
    return rows // factor, cols // factor
