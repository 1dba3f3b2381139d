r"""The square-lattice Ising model: the infinite lattice, solved by Onsager, and all exact references of Ising models.

Closed forms of the infinite lattice live here; those of the ring, of the periodic rectangle, and sums over all states
come from :mod:`rgflow.exact.ring`, :mod:`rgflow.exact.torus` and :mod:`rgflow.exact.enumeration`.

Spins are $\pm1$, $p(s) \propto e^{K \sum_{\langle ij\rangle} s_i s_j}$ with $K = \beta J$, energies per site in
units of J and entropies in nats; float64 on the host. A negative K is the antiferromagnet: the same model with the
spins of one sublattice reversed. Keys: Onsager1944 = Phys. Rev. 65 (1944) 117; Yang1952 = Phys. Rev. 85 (1952) 808;
MW1973 = McCoy and Wu, The Two-Dimensional Ising Model (1973).
"""

import math

from scipy.special import ellipkm1

from rgflow.exact.enumeration import enumerate_ising, log_weights, ring_couplings, torus_couplings
from rgflow.exact.ring import (
    Scalar,
    correlation_length_1d,
    decimate_1d,
    finite_coupling,
    ring_correlation,
    ring_log_partition,
)
from rgflow.exact.torus import kaufman_energy, kaufman_log_partition, kaufman_specific_heat

__all__ = [
    "CRITICAL_COUPLING",
    "axis_correlation_length",
    "correlation_length_1d",
    "decimate_1d",
    "enumerate_ising",
    "kaufman_energy",
    "kaufman_log_partition",
    "kaufman_specific_heat",
    "log_weights",
    "onsager_energy",
    "ring_correlation",
    "ring_couplings",
    "ring_log_partition",
    "spontaneous_magnetization",
    "torus_couplings",
]

CRITICAL_COUPLING = math.log1p(math.sqrt(2)) / 2
r"""$K_c = \frac12 \ln(1 + \sqrt 2)$, where $\sinh 2K = 1$."""

CRITICAL_REST = -1.1252729464129330e-17
"""What the exact critical coupling has beyond the float above."""

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
    return (-math.expm1(-4 * _log_sinh(K))) ** 0.125


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
    # With the dual coupling, tanh K = exp(-2 K*), the inverse length is 2 (K - K*), from sinh 2K sinh 2K* = 1.
    log_sinh = _log_sinh(size)
    if abs(log_sinh) < 1:
        dual = math.asinh(math.exp(-log_sinh)) / 2
        distance = 2 * math.asinh(math.sinh(log_sinh) / math.cosh(size + dual))
    else:
        distance = 2 * size + math.log(math.tanh(size))
    return -1 / distance if distance < 0 else 1 / (2 * distance)


def _log_sinh(K: float) -> float:
    """Returns ln sinh 2K of a positive K, to full relative precision also where it vanishes at the critical point."""
    from_critical = (K - CRITICAL_COUPLING) - CRITICAL_REST
    if abs(from_critical) < 0.1:
        return math.log1p(2 * math.sinh(from_critical) ** 2 + math.sqrt(2) * math.sinh(2 * from_critical))
    return 2 * K + math.log(-math.expm1(-4 * K)) - math.log(2)


def _critical(K: float) -> bool:
    return abs(abs(K) - CRITICAL_COUPLING) <= ROUNDING


def _complement(K: float) -> float:
    r"""Returns $\kappa'' = 2\tanh^2 2K - 1$, whose square is $1 - \kappa^2$."""
    decayed = math.exp(-2 * abs(K))
    inverse_cosh = 2 * decayed / (1 + decayed**2)
    return 1 - 2 * inverse_cosh**2
