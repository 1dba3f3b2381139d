"""Moments of features, up to the tenth power, and of their pairs: what score matching fits a potential to."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

POWERS = (2, 4, 6)
"""Powers of a feature that an on-site potential may have."""

Moments = Float[Array | np.ndarray, "..."]


class PairMoments(NamedTuple):
    r"""Moments of features: ``cross`` $\langle x_i^a x_j\rangle$, a = 1, 3, 5, and ``even`` $\langle x_i^2\rangle$ to
    $\langle x_i^{10}\rangle$."""

    cross: Float[Array | np.ndarray, "3 M M"]
    even: Float[Array | np.ndarray, "5 M"]


def pair_moments(samples: Float[Array, "n M"]) -> PairMoments:
    r"""Return $\langle x_i^a x_j\rangle$ for a = 1, 3, 5 and $\langle x_i^{2k}\rangle$ for k = 1..5, not connected.

    Shapes: [n, M] -> [3, M, M] and [5, M].

    >>> pair_moments(jnp.array([[1.0], [-2.0]])).even.ravel().tolist()
    [2.5, 8.5, 32.5, 128.5, 512.5]
    """
    square = samples**2
    odd = jnp.stack([samples, samples * square, samples * square**2])
    cross = jnp.einsum("anm,nk->amk", odd, samples, precision=jax.lax.Precision.HIGHEST) / len(samples)
    return PairMoments(cross, jnp.stack([jnp.mean(square**k, axis=0) for k in range(1, 6)]))
