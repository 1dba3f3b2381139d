r"""The square-lattice Ising model solved by Onsager, and the front door to all exact Ising references.

Spins are $\pm1$, $p(s) \propto e^{K \sum_{\langle ij\rangle} s_i s_j}$ with $K = \beta J$, energies per site in
units of J and entropies in nats; float64 on the host. A negative K is the antiferromagnet, the same model with one
sublattice turned over. Keys: Onsager1944 = Phys. Rev. 65 (1944) 117; Yang1952 = Phys. Rev. 85 (1952) 808;
MW1973 = McCoy and Wu, The Two-Dimensional Ising Model (1973).
"""

import math

import numpy as np
from scipy.integrate import quad
from scipy.special import ellipkm1, elliprd

from rgflow.exact.enumeration import (
    Enumeration,
    all_couplings,
    enumerate_ising,
    log_weights,
    marginal,
    ring_couplings,
    spin_states,
    torus_couplings,
)
from rgflow.exact.ring import (
    Scalar,
    at_least,
    correlation_length_1d,
    decimate_1d,
    finite_coupling,
    machine_decimation_1d,
    ring_correlation,
    ring_log_partition,
)
from rgflow.exact.torus import kaufman_energy, kaufman_log_partition, kaufman_specific_heat

__all__ = [
    "CRITICAL_COUPLING",
    "Enumeration",
    "all_couplings",
    "axis_correlation_length",
    "correlation_length_1d",
    "critical_diagonal_correlation",
    "decimate_1d",
    "enumerate_ising",
    "kaufman_energy",
    "kaufman_log_partition",
    "kaufman_specific_heat",
    "log_weights",
    "machine_decimation_1d",
    "marginal",
    "onsager_energy",
    "onsager_log_partition",
    "onsager_specific_heat",
    "ring_correlation",
    "ring_couplings",
    "ring_log_partition",
    "spin_states",
    "spontaneous_magnetization",
    "torus_couplings",
]

CRITICAL_COUPLING = math.log1p(math.sqrt(2)) / 2
r"""$K_c = \frac12 \ln(1 + \sqrt 2)$, where $\sinh 2K = 1$."""

ROUNDING = 2e-16
"""Couplings this close to the critical one are the critical one: a few units in the last place."""

WEAK_COUPLING = 1e-3
"""Below it two terms of the series in K are exact to rounding, and the closed forms divide 0 by 0."""


def onsager_energy(K: Scalar) -> float:
    r"""Return $u = -\coth 2K [1 + \frac2\pi \kappa'' K_1(\kappa)]$ per site in units of J, infinite lattice.

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


def onsager_specific_heat(K: Scalar) -> float:
    r"""Return $C/k = \frac2\pi (K\coth 2K)^2 [2K_1 - 2E_1 - (1-\kappa'')(\frac\pi2 + \kappa'' K_1)]$ per site.

    It equals $-K^2 du/dK$, and is inf at the critical coupling. Raises ValueError for a K that is not finite.

    >>> round(onsager_specific_heat(0.408), 6)
    0.96992

    Ref: Onsager1944.
    """
    K = finite_coupling(K)
    if abs(K) < WEAK_COUPLING:
        return 2 * K**2 + 10 * K**4
    if _critical(K):
        return math.inf
    modulus, inverse_cosh = _complement(K), _inverse_cosh(K)
    # K_1 - E_1 vanishes with kappa: as a Carlson integral it keeps its digits at low temperature.
    difference = (1 - modulus**2) / 3 * elliprd(0, modulus**2, 1)
    rest = 2 * inverse_cosh**2 * (math.pi / 2 + modulus * ellipkm1(modulus**2))
    return float(2 / math.pi * (K / math.tanh(2 * K)) ** 2 * (2 * difference - rest))


def onsager_log_partition(K: Scalar) -> float:
    r"""Return $\frac1N\ln Z = \ln(2\cosh 2K) + \frac1{2\pi}\int_0^\pi \ln\frac{1+\sqrt{1-\kappa^2\sin^2\phi}}2 d\phi$.

    Minus the free energy per site over the temperature, in nats, infinite lattice. Raises ValueError for a K that is
    not finite.

    >>> round(onsager_log_partition(0.408), 10)
    0.8883892096

    Ref: Onsager1944.
    """
    doubled = 2 * abs(finite_coupling(K))
    complement = _complement(K)

    def integrand(angle: float) -> float:
        return math.log((1 + math.hypot(math.cos(angle), complement * math.sin(angle))) / 2)

    integral: float = quad(integrand, 0, math.pi / 2, epsabs=1e-14, epsrel=1e-13, limit=200)[0]  # type: ignore
    return doubled + math.log1p(math.exp(-2 * doubled)) + integral / math.pi


def spontaneous_magnetization(K: Scalar) -> float:
    r"""Return $M = (1 - \sinh^{-4} 2K)^{1/8}$ per site below the critical temperature, 0 at and above it.

    Raises ValueError for a K that is not finite; 0 for a negative one, whose order is staggered.

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
    r"""Return the correlation length along a lattice axis in sites, infinite lattice.

    $1/\xi = \ln\coth K - 2K$ above the critical temperature and $1/\xi = 2(2K + \ln\tanh K)$ below it, of the connected
    correlation; inf at it, 0 without coupling. Raises ValueError for a K that is not finite.

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


def critical_diagonal_correlation(distance: int) -> float:
    r"""Return $\langle s_{0,0} s_{N,N} \rangle = (\frac2\pi)^N \prod_{l=1}^{N-1} (1 - \frac1{4l^2})^{l-N}$ at $K_c$.

    N is the ``distance`` in diagonal steps, infinite lattice; it falls as $N^{-1/4}$. Raises ValueError for a negative
    distance.

    >>> [round(critical_diagonal_correlation(n), 10) for n in (1, 2, 3, 4)]
    [0.6366197724, 0.5403796461, 0.4892677224, 0.4556470945]

    Ref: MW1973.
    """
    steps = np.arange(1, at_least("distance", distance, 0), dtype=float)
    return math.exp(distance * math.log(2 / math.pi) + float((steps - distance) @ np.log1p(-0.25 / steps**2)))


def _critical(K: float) -> bool:
    return abs(abs(K) - CRITICAL_COUPLING) <= ROUNDING


def _inverse_cosh(K: float) -> float:
    decayed = math.exp(-2 * abs(K))
    return 2 * decayed / (1 + decayed**2)


def _complement(K: float) -> float:
    r"""Return $\kappa'' = 2\tanh^2 2K - 1$, whose square is $1 - \kappa^2$."""
    return 1 - 2 * _inverse_cosh(K) ** 2
