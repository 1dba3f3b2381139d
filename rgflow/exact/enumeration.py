r"""Exhaustive sums over all states of a small Ising model on any coupling graph, float64 on the host.

$p(s) \propto e^{\frac12 s^T J s + f^T s}$ over spins $s \in \{\pm1\}^n$, J symmetric and f both
absorbing the temperature, in nats. State number x has spin i up where bit i of x is set. At most 20 spins.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int8, Real

from rgflow.exact.ring import Scalar, finite_coupling

LARGEST_NUM_SPINS = 20
"""A million states; each further spin doubles time and memory."""

CHUNK_BITS = 14
"""States are expanded into spins this many bits at a time, so that the spins of a chunk fit in a cache."""


class Enumeration(NamedTuple):
    r"""Exact averages over all states.

    ``energy`` is $\langle\beta H\rangle$ in nats and ``energy_variance`` its variance, which is C/k of the whole
    system; ``moments`` are $\langle M^k\rangle$, k = 0..4, of the total spin; ``means`` are $\langle s_i\rangle$ and
    ``correlations`` $\langle s_i s_j\rangle$, not connected.
    """

    log_partition: float
    energy: float
    energy_variance: float
    moments: Float[np.ndarray, " orders"]
    means: Float[np.ndarray, " n"]
    correlations: Float[np.ndarray, "n n"]


def ring_couplings(K: Scalar, num_sites: int) -> Float[np.ndarray, "n n"]:
    r"""Returns the matrix J of a ring, $J_{i,i+1} = K$; two sites have two bonds between them.

    Raises ValueError for fewer than two sites and for a K that is not finite.
    """
    return torus_couplings(K, 1, num_sites, directions=((0, 1),))


def torus_couplings(
    K: Scalar, rows: int, cols: int, directions: Sequence[tuple[int, int]] = ((0, 1), (1, 0))
) -> Float[np.ndarray, "n n"]:
    r"""Returns the matrix J of a periodic rectangle with bonds K to the neighbours in the ``directions``.

    Site (r, c) has the number r * cols + c. On a side of two sites each pair has two bonds. Raises ValueError for a K
    that is not finite and for a side of one site, whose bonds would end where they start.

    >>> torus_couplings(0.5, 2, 2).sum(axis=0).tolist()
    [2.0, 2.0, 2.0, 2.0]
    """
    K = finite_coupling(K)
    sites = np.arange(rows * cols).reshape(rows, cols)
    couplings = np.zeros((rows * cols, rows * cols))
    for down, right in directions:
        others = np.roll(sites, (-down, -right), axis=(0, 1))
        if (others == sites).any():
            raise ValueError(f"rows, cols = {rows}, {cols}: a side along a bond must have at least 2 sites")
        np.add.at(couplings, (sites.ravel(), others.ravel()), K)
    return couplings + couplings.T


def log_weights(
    couplings: Real[np.ndarray, "n n"], fields: Real[np.ndarray, " n"] | None = None
) -> Float[np.ndarray, " states"]:
    r"""Returns $-\beta H = \frac12 s^T J s + f^T s$ of all $2^n$ states, in nats; f is 0 if not given.

    Raises ValueError for more than 20 spins and for couplings that are not symmetric, not finite or not 0 on the
    diagonal.
    """
    couplings, fields = _checked(couplings, fields)
    values = [0.5 * np.einsum("si,si->s", s @ couplings, s) + s @ fields for s in _chunks(len(couplings))]
    return np.concatenate(values)


def enumerate_ising(couplings: Real[np.ndarray, "n n"], fields: Real[np.ndarray, " n"] | None = None) -> Enumeration:
    r"""Returns the exact log partition function and averages, $\ln Z = \ln\sum_s e^{\frac12 s^T J s + f^T s}$, in nats.

    Serves as an oracle in the tests: closed forms and samplers are compared with it on small lattices. Raises
    ValueError as :func:`log_weights`.

    >>> result = enumerate_ising(torus_couplings(0.3, 3, 3))
    >>> round(result.log_partition, 10), round(-result.energy / 0.3 / 9, 10), round(float(result.moments[2]) / 9, 10)
    (7.3469159029, 0.9876831556, 4.5187608616)
    """
    log_weight = log_weights(couplings, fields)
    log_partition = float(np.logaddexp.reduce(log_weight))
    probability = np.exp(log_weight - log_partition)
    num_spins = len(couplings)
    means, correlations, moments = np.zeros(num_spins), np.zeros((num_spins, num_spins)), np.zeros(5)
    start = 0
    for spins in _chunks(num_spins):
        weight = probability[start : start + len(spins)]
        means += weight @ spins
        correlations += (weight[:, None] * spins).T @ spins
        moments += weight @ spins.sum(axis=1)[:, None] ** np.arange(5)
        start += len(spins)
    # From the ground state: at strong coupling the energies of the excitations are lost in the sum of all bonds.
    excitation = log_weight.max() - log_weight
    mean = float(probability @ excitation)
    energy = mean - float(log_weight.max())
    variance = float(probability @ (excitation - mean) ** 2)
    return Enumeration(log_partition, energy, variance, moments, means, correlations)


def all_couplings(log_weight: Float[np.ndarray, " states"]) -> Float[np.ndarray, " subsets"]:
    r"""Returns the coupling of every subset of spins, $J_A = 2^{-n} \sum_s \ln w(s) \prod_{i \in A} s_i$.

    This is a Walsh-Hadamard transform: $\ln w(s) = \sum_A J_A \prod_{i \in A} s_i$. Subset number x holds spin i where
    bit i of x is set; number 0 is the constant. Raises ValueError unless the number of states is 2^n with n <= 20.

    >>> abs(all_couplings(log_weights(ring_couplings(0.7, 3)))).round(9).tolist()
    [0.0, 0.0, 0.0, 0.7, 0.0, 0.7, 0.7, 0.0]
    """
    num_spins = len(log_weight).bit_length() - 1
    if len(log_weight) != 2**num_spins or num_spins > LARGEST_NUM_SPINS:
        raise ValueError(f"log_weight = {len(log_weight)} states: must be 2**n with n at most {LARGEST_NUM_SPINS}")
    table = np.asarray(log_weight, np.float64)
    for spin in range(num_spins):
        pairs = table.reshape(-1, 2, 2**spin)
        table = np.stack([pairs[:, 1] + pairs[:, 0], pairs[:, 1] - pairs[:, 0]], axis=1).ravel() / 2
    return table


def spin_states(num_spins: int, start: int = 0, stop: int | None = None) -> Int8[np.ndarray, "states n"]:
    r"""Returns the spins of states start..stop-1 (all $2^n$ by default), $s_i = 2 b_i - 1$ with $b_i$ bit i.

    Raises ValueError for fewer than 1 or more than 20 spins.

    >>> spin_states(2).tolist()
    [[-1, -1], [1, -1], [-1, 1], [1, 1]]
    """
    if not 1 <= num_spins <= LARGEST_NUM_SPINS:
        raise ValueError(f"num_spins = {num_spins}: enumeration takes 1 to {LARGEST_NUM_SPINS} spins")
    states = np.arange(start, 2**num_spins if stop is None else stop)
    return (2 * ((states[:, None] >> np.arange(num_spins)) & 1) - 1).astype(np.int8)


def _chunks(num_spins: int) -> Iterator[Float[np.ndarray, "states n"]]:
    total, chunk = 2**num_spins, 2**CHUNK_BITS
    for start in range(0, total, chunk):
        yield spin_states(num_spins, start, min(start + chunk, total)).astype(np.float64)


def _checked(
    couplings: Real[np.ndarray, "n n"], fields: Real[np.ndarray, " n"] | None
) -> tuple[Float[np.ndarray, "n n"], Float[np.ndarray, " n"]]:
    num_spins = len(couplings)
    if not 1 <= num_spins <= LARGEST_NUM_SPINS:
        raise ValueError(f"couplings = {num_spins} spins: enumeration takes 1 to {LARGEST_NUM_SPINS}")
    matrix = np.asarray(couplings, np.float64)
    vector = np.zeros(num_spins) if fields is None else np.asarray(fields, np.float64)
    if not (np.isfinite(matrix).all() and np.isfinite(vector).all()):
        raise ValueError("couplings, fields = not finite: every entry must be a number")
    if (matrix != matrix.T).any() or matrix.diagonal().any():
        raise ValueError("couplings = not those of a graph: must be symmetric with 0 on the diagonal")
    return matrix, vector
