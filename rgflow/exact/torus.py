r"""The Ising model on a finite periodic rectangle: Kaufman's partition function, float64 on the host.

$p(s) \propto e^{K \sum_{\langle ij\rangle} s_i s_j}$, $K = \beta J$. Every term is kept as a logarithm with its first
and second derivative in K: large lattices do not overflow, and derivatives are not differences of large numbers.
Keys: Kaufman1949 = Phys. Rev. 76 (1949) 1232; FF1969 = Ferdinand and Fisher, Phys. Rev. 185 (1969) 832.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from rgflow.exact.ring import Scalar, at_least, finite_coupling

LARGEST_COUPLING = 300.0
"""Beyond it hyperbolic functions overflow; the lattice is in its ground state long before."""

WEAK_COUPLING = 1e-5
"""Below it the first term of a series in K has more correct digits than Kaufman's formula, whose 1/K terms cancel."""


class Jet(NamedTuple):
    """A quantity with its first and second derivative in the coupling: scalars, or arrays of one shape."""

    value: Any
    first: Any
    second: Any


def kaufman_log_partition(K: Scalar, rows: int, cols: int) -> float:
    r"""Returns ln Z of the whole n x m torus, $Z = \frac12 (2\sinh 2K)^{nm/2} (Z_1 + Z_2 + Z_3 + Z_4)$, in nats.

    $Z_{1,2} = \prod_{r<n} 2\cosh, 2\sinh(\frac m2 \gamma_{2r+1})$, $Z_{3,4} = \prod_{r<n} 2\cosh, 2\sinh(\frac m2
    \gamma_{2r})$, $\cosh\gamma_l = \cosh 2K \coth 2K - \cos(\pi l/n)$, and $\gamma_0 = 2K + \ln\tanh K$ with its
    sign: above the critical temperature $\gamma_0$ and $Z_4$ are negative. On a side of two sites each pair has two
    bonds. A negative K is the antiferromagnet.

    Raises ValueError for a side below 2, for a K that is not finite or beyond 300 in size, and for a negative K unless
    both sides are even: an odd side is frustrated and obeys another formula.

    >>> round(kaufman_log_partition(0.4406867935097715, 8, 8) / 64, 12)
    0.939715324829

    Ref: Kaufman1949; FF1969.
    """
    return float(_log_partition(K, rows, cols).value)


def kaufman_energy(K: Scalar, rows: int, cols: int) -> float:
    r"""Returns the energy per site in units of J, $u = -\frac1{nm} \frac{d \ln Z}{dK}$, of the periodic rectangle.

    Arguments and errors as :func:`kaufman_log_partition`.

    >>> round(kaufman_energy(0.408, 40, 40), 9)
    -1.151821151

    Ref: FF1969.
    """
    return -float(_log_partition(K, rows, cols).first) / (rows * cols)


def kaufman_specific_heat(K: Scalar, rows: int, cols: int) -> float:
    r"""Returns the specific heat per site, $C/k = \frac{K^2}{nm} \frac{d^2 \ln Z}{dK^2}$, of the periodic rectangle.

    Arguments and errors as :func:`kaufman_log_partition`.

    >>> round(kaufman_specific_heat(0.4406867935097715, 16, 16), 6)
    1.498705

    Ref: FF1969.
    """
    return K**2 * float(_log_partition(K, rows, cols).second) / (rows * cols)


def _log_partition(K: Scalar, rows: int, cols: int) -> Jet:
    K, rows, cols = finite_coupling(K), at_least("rows", rows, 2), at_least("cols", cols, 2)
    if abs(K) > LARGEST_COUPLING:
        raise ValueError(f"K = {K}: must be within {LARGEST_COUPLING:g}, beyond it floats overflow")
    if abs(K) < WEAK_COUPLING:
        # The variance of the sum of bonds at K = 0: a side of two sites has pairs of equal bonds.
        variance = float(rows * cols * sum(2 if side == 2 else 1 for side in (rows, cols)))
        return Jet(rows * cols * math.log(2) + variance * K**2 / 2, variance * K, variance)
    if K < 0:
        if rows % 2 or cols % 2:
            raise ValueError(f"rows, cols = {rows}, {cols}: must both be even for a negative K")
        value, first, second = _log_partition(-K, rows, cols)
        return Jet(value, -first, second)
    products = _log_products(K, rows, cols)
    prefactor = _log_prefactor(K, rows * cols)
    return Jet(*(one + other for one, other in zip(products, prefactor, strict=True)))


def _log_prefactor(K: float, num_sites: int) -> Jet:
    """Returns ln of half of (2 sinh 2K) to the power of half the sites."""
    half, doubled = num_sites / 2, 2 * K
    log_sinh = doubled + math.log(-math.expm1(-2 * doubled))
    return Jet(half * log_sinh - math.log(2), half * 2 / math.tanh(doubled), -half * (2 / math.sinh(doubled)) ** 2)


def _log_products(K: float, rows: int, cols: int) -> Jet:
    """Returns ln(Z_1 + Z_2 + Z_3 + Z_4)."""
    angles = _half_angles(K, rows, cols)
    odd, even = (Jet(*(part[start::2] for part in angles)) for start in (1, 0))
    # The factor of gamma_0 in Z_4 changes sign at the critical point, so it stays outside the logarithm.
    zero, rest = (Jet(*(part[pick] for part in even)) for pick in (0, slice(1, None)))
    logs = [_sum(_log_cosh(odd)), _sum(_log_sinh(odd)), _sum(_log_cosh(even)), _sum(_log_sinh(rest))]
    one = Jet(1.0, 0.0, 0.0)
    return _log_sum(logs, [one, one, one, _scaled_sinh(zero)], [0.0, 0.0, 0.0, abs(float(zero.value))])


def _half_angles(K: float, rows: int, cols: int) -> Jet:
    r"""Returns $\frac m2 \gamma_l$ for l = 0..2n-1.

    $\cosh\gamma_l - 1 = (1 - \sinh 2K)^2/\sinh 2K + 2\sin^2(\pi l/2n)$ has no cancellation near the critical point.
    """
    sinh, cosh = math.sinh(2 * K), math.cosh(2 * K)
    above_one = (1 - sinh) * ((1 - sinh) / sinh) + 2 * np.sin(np.pi * np.arange(1, 2 * rows) / (2 * rows)) ** 2
    value = 2 * np.arcsinh(np.sqrt(above_one / 2))
    sinh_value = np.sqrt(above_one) * np.sqrt(above_one + 2)
    of_cosh = 2 * cosh * (1 - 1 / sinh / sinh)
    second_of_cosh = 4 * sinh * (1 - 1 / sinh / sinh) + 8 * (cosh / sinh) ** 2 / sinh
    first = of_cosh / sinh_value
    second = second_of_cosh / sinh_value - (1 + above_one) / sinh_value * first**2
    zero = (2 * K + math.log(math.tanh(K)), 2 + 2 / sinh, -4 * cosh / sinh / sinh)
    joined = (np.concatenate([[start], rest]) for start, rest in zip(zero, (value, first, second), strict=True))
    return Jet(*(cols / 2 * part for part in joined))


def _log_cosh(x: Jet) -> Jet:
    slope = np.tanh(x.value)
    value = np.abs(x.value) + np.log1p(np.exp(-2 * np.abs(x.value)))
    return Jet(value, slope * x.first, slope * x.second + (1 - slope) * (1 + slope) * x.first**2)


def _log_sinh(x: Jet) -> Jet:
    slope = 1 / np.tanh(x.value)
    value = x.value + np.log(-np.expm1(-2 * x.value))
    return Jet(value, slope * x.first, slope * x.second + (1 - slope) * (1 + slope) * x.first**2)


def _scaled_sinh(x: Jet) -> Jet:
    """Returns 2 sinh x over the constant exp|x|, as itself: it may be negative, or 0 at the critical point."""
    scale = abs(float(x.value))
    rising, falling = math.exp(x.value - scale), math.exp(-x.value - scale)
    sinh, cosh = rising - falling, rising + falling
    return Jet(sinh, cosh * x.first, cosh * x.second + sinh * x.first**2)


def _sum(x: Jet) -> Jet:
    return Jet(*(float(np.sum(part)) for part in x))


def _log_sum(logs: list[Jet], factors: list[Jet], scales: list[float]) -> Jet:
    """Returns ln of the sum of factor * exp(log + scale), scales being constants."""
    top = max(log.value + scale for log, scale in zip(logs, scales, strict=True))
    # Slopes are of order n m: unless a common one is subtracted first, their squares cancel in the variance.
    slope = logs[0].first
    value = first = second = 0.0
    for log, factor, scale in zip(logs, factors, scales, strict=True):
        weight, excess = math.exp(log.value + scale - top), log.first - slope
        value += weight * factor.value
        first += weight * (excess * factor.value + factor.first)
        curvature = (log.second + excess**2) * factor.value
        second += weight * (curvature + 2 * excess * factor.first + factor.second)
    return Jet(top + math.log(value), slope + first / value, second / value - (first / value) ** 2)
