r"""Linear maps of a ring of N sites to M numbers: what features are compared with at equal compression.

| compression          | what it keeps                                                                        |
|----------------------|--------------------------------------------------------------------------------------|
| projection           | M random orthonormal directions                                                      |
| principal_components | the M leading Fourier modes: principal components of any law invariant by a shift    |
| decimation           | every (N/M)-th site                                                                  |
| block_sum            | $\sum_{i \in I} x_i / \sqrt b$ of blocks of b = N/M neighbours                       |

The last two are the renormalization steps themselves, in the order of ``exact.block_moments.SCHEMES``.
"""

import numpy as np
from jaxtyping import Float

COMPRESSIONS = ("projection", "principal_components", "decimation", "block_sum")


def fourier_modes(num_sites: int, modes: int) -> Float[np.ndarray, "M N"]:
    """Returns the M longest waves on a ring, cosine before sine, as orthonormal rows.

    With a positive coupling between neighbours the variance falls with the wave number: these are then the leading
    principal components (a cosine and its sine share theirs).

    >>> fourier_modes(4, 2).round(3).tolist()
    [[0.5, 0.5, 0.5, 0.5], [0.707, 0.0, -0.707, -0.0]]
    """
    angles = 2 * np.pi * np.arange(num_sites) / num_sites
    waves = [np.ones(num_sites)]
    for number in range(1, num_sites // 2 + 1):
        waves += [np.cos(number * angles), np.sin(number * angles)]
    rows = np.stack(waves[:num_sites])
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True))[:modes]


def decimation_rows(num_sites: int, kept: int) -> Float[np.ndarray, "M N"]:
    """Returns the rows that keep every (N/M)-th site.

    >>> decimation_rows(4, 2).tolist()
    [[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]
    """
    return np.eye(num_sites)[:: num_sites // kept]


def block_rows(num_sites: int, blocks: int) -> Float[np.ndarray, "M N"]:
    r"""Returns the rows that add blocks of neighbours, over $\sqrt b$.

    >>> block_rows(4, 2).round(3).tolist()
    [[0.707, 0.707, 0.0, 0.0], [0.0, 0.0, 0.707, 0.707]]
    """
    size = num_sites // blocks
    return np.kron(np.eye(blocks), np.ones((1, size))) / np.sqrt(size)


def fixed_rows(num_sites: int, features: int) -> Float[np.ndarray, "maps M N"]:
    """Returns the rows of every compression that is not random, in the order of ``COMPRESSIONS[1:]``."""
    makers = (fourier_modes, decimation_rows, block_rows)
    return np.stack([make(num_sites, features) for make in makers])
