r"""The square-lattice Ising model as Onsager solved it; sums over finite tori can be imported from here too.

Spins are $\pm1$, $p(s) \propto e^{K \sum_{\langle ij\rangle} s_i s_j}$ with $K = \beta J$, energies per site in
units of J and entropies in nats; float64 on the host. A negative K is the antiferromagnet: the same model with the
spins of one sublattice reversed. Keys: Onsager1944 = Phys. Rev. 65 (1944) 117; Yang1952 = Phys. Rev. 85 (1952) 808;
MW1973 = McCoy and Wu, The Two-Dimensional Ising Model (1973).
"""

import math

from scipy.special import ellipkm1

from rgflow.exact.enumeration import (
    all_couplings,
    enumerate_ising,
    log_weights,
    ring_couplings,
    spin_states,
    torus_couplings,
)
from rgflow.exact.ring import Scalar, finite_coupling
from rgflow.exact.torus import kaufman_energy, kaufman_log_partition, kaufman_specific_heat

__all__ = [
    "CRITICAL_COUPLING",
    "all_couplings",
    "axis_correlation_length",
    "enumerate_ising",
    "kaufman_energy",
    "kaufman_log_partition",
    "kaufman_specific_heat",
    "log_weights",
    "onsager_energy",
    "ring_couplings",
    "spin_states",
    "spontaneous_magnetization",
    "torus_couplings",
]

CRITICAL_COUPLING = math.log1p(math.sqrt(2)) / 2
r"""$K_c = \frac12 \ln(1 + \sqrt 2)$, where $\sinh 2K = 1$."""

ROUNDING = 2e-16
"""Couplings within this distance of the critical one count as critical: a few units in the last place."""

WEAK_COUPLING = 1e-3
"""Below it two terms of the series in K are exact to rounding, while the closed form divides 0 by 0."""


def onsager_energy(K: Scalar) -> float:
    r"""Returns $u = -\coth 2K [1 + \frac2\pi \kappa'' K_1(\kappa)]$ per site in units of J, infinite lattice.

    $\kappa = 2\sinh 2K/\cosh^2 2K$ is the modulus, $\kappa'' = 2\tanh^2 2K - 1$, $K_1$ the complete elliptic
    integral. The nearest-neighbour correlation is -u/2. Raises ValueError for a K that is not finite.

    >>> round(onsager_energy(0.408), 8)
    -1.15085489

    Ref: Onsager1944.
    """
    K = finite_coupling(K)
    if abs(K) < WEAK_COUPLING:
        return -2 * K - 10 / 3 * K**3
    if _critical(K):
        return -math.copysign(math.sqrt(2), K)
    modulus = _complement(K)
    return float(-(1 + 2 / math.pi * modulus * ellipkm1(modulus**2)) / math.tanh(2 * K))


def spontaneous_magnetization(K: Scalar) -> float:
    r"""Returns $M = (1 - \sinh^{-4} 2K)^{1/8}$ per site below the critical temperature, 0 at and above it.

    It is also 0 for a negative K, whose order is staggered. Raises ValueError for a K that is not finite.

    >>> round(spontaneous_magnetization(0.45), 8)
    0.74932261

    Ref: Yang1952.
    """
    K = finite_coupling(K)
    if K <= CRITICAL_COUPLING or _critical(K):
        return 0.0
    log_sinh = 2 * K + math.log1p(-math.exp(-4 * K)) - math.log(2)
    return (-math.expm1(-4 * log_sinh)) ** 0.125


def axis_correlation_length(K: Scalar) -> float:
    r"""Returns the correlation length along a lattice axis in sites, infinite lattice.

    $1/\xi = \ln\coth K - 2K$ above the critical temperature and, for the connected correlation,
    $1/\xi = 2(2K + \ln\tanh K)$ below it. It is inf at the critical coupling and 0 without coupling. Raises ValueError
    for a K that is not finite.

    >>> round(axis_correlation_length(0.408), 5), round(axis_correlation_length(0.45), 5)
    (7.46732, 13.50961)

    Ref: MW1973.
    """
    size = abs(finite_coupling(K))
    if size == 0:
        return 0.0
    if _critical(size):
        return math.inf
    distance = 2 * size + math.log(math.tanh(size))
    return -1 / distance if distance < 0 else 1 / (2 * distance)


def _critical(K: float) -> bool:
    return abs(abs(K) - CRITICAL_COUPLING) <= ROUNDING


def _complement(K: float) -> float:
    r"""Returns $\kappa'' = 2\tanh^2 2K - 1$, whose square is $1 - \kappa^2$."""
    decayed = math.exp(-2 * abs(K))
    inverse_cosh = 2 * decayed / (1 + decayed**2)
    return 1 - 2 * inverse_cosh**2
