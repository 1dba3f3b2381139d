r"""The Ising model on a finite periodic rectangle: Kaufman's partition function, float64 on the host.

$p(s) \propto e^{K \sum_{\langle ij\rangle} s_i s_j}$, $K = \beta J$. Every term is kept as a logarithm with its first
and second derivative in K: large lattices do not overflow, and derivatives are not differences of large numbers.
Weak and strong couplings are computed with as many digits as their cancellations take (mpmath): results are correct to
a relative 1e-9 at every coupling. The specific heat is a variance and never negative.
Keys: Kaufman1949 = Phys. Rev. 76 (1949) 1232; FF1969 = Ferdinand and Fisher, Phys. Rev. 185 (1969) 832.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import mpmath

from rgflow.exact.ring import Scalar, at_least, finite_coupling

LARGEST_COUPLING = 300.0
"""The lattice is in its ground state long before: the specific heat per site is below 1e-1000."""

SMALLEST_COUPLING = 1e-100
"""Below it the first term of a series in K is exact to rounding."""

WELL_CONDITIONED = (0.05, 1.0)
"""Couplings at which floats leave 10 digits of all three results; elsewhere terms cancel and take more digits."""


class Jet(NamedTuple):
    """A quantity with its first and second derivative in the coupling."""

    value: Any
    first: Any
    second: Any


def kaufman_log_partition(K: Scalar, rows: Scalar, cols: Scalar) -> float:
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


def kaufman_energy(K: Scalar, rows: Scalar, cols: Scalar) -> float:
    r"""Returns the energy per site in units of J, $u = -\frac1{nm} \frac{d \ln Z}{dK}$, of the periodic rectangle.

    Arguments and errors as :func:`kaufman_log_partition`.

    >>> round(kaufman_energy(0.408, 40, 40), 9)
    -1.151821151

    Ref: FF1969.
    """
    return -float(_log_partition(K, rows, cols).first) / (int(rows) * int(cols))


def kaufman_specific_heat(K: Scalar, rows: Scalar, cols: Scalar) -> float:
    r"""Returns the specific heat per site, $C/k = \frac{K^2}{nm} \frac{d^2 \ln Z}{dK^2}$, of the periodic rectangle.

    Arguments and errors as :func:`kaufman_log_partition`.

    >>> round(kaufman_specific_heat(0.4406867935097715, 16, 16), 6)
    1.498705

    Ref: FF1969.
    """
    return finite_coupling(K) ** 2 * float(_log_partition(K, rows, cols).second) / (int(rows) * int(cols))


def _log_partition(K: Scalar, rows: Scalar, cols: Scalar) -> Jet:
    K, rows, cols = finite_coupling(K), at_least("rows", rows, 2), at_least("cols", cols, 2)
    if abs(K) > LARGEST_COUPLING:
        raise ValueError(f"K = {K}: must be within {LARGEST_COUPLING:g}, where the lattice is in its ground state")
    if abs(K) < SMALLEST_COUPLING:
        # The variance of the sum of bonds at K = 0: a side of two sites has pairs of equal bonds.
        variance = float(rows * cols * sum(2 if side == 2 else 1 for side in (rows, cols)))
        return Jet(rows * cols * math.log(2), variance * K, variance)
    if K < 0:
        if rows % 2 or cols % 2:
            raise ValueError(f"rows, cols = {rows}, {cols}: must both be even for a negative K")
        value, first, second = _log_partition(-K, rows, cols)
        return Jet(value, -first, second)
    if WELL_CONDITIONED[0] < K < WELL_CONDITIONED[1]:
        return _kaufman(mpmath.fp, K, rows, cols)
    with mpmath.workdps(_digits(K)):
        return Jet(*map(float, _kaufman(mpmath.mp, mpmath.mpf(K), rows, cols)))


def _digits(K: float) -> int:
    """Returns how many digits leave 20 after all cancellations: terms of order 1/K^2 at weak, 1 at strong coupling."""
    return 30 + round(8 * K / math.log(10) - 4 * min(math.log10(K), 0.0))


def _kaufman(context: Any, K: Any, rows: int, cols: int) -> Jet:
    """Returns ln Z and its derivatives in the numbers of an mpmath context: floats, or of any precision."""
    odd = [_half_angle(context, K, number, rows, cols) for number in range(1, 2 * rows, 2)]
    even = [_half_angle(context, K, number, rows, cols) for number in range(2, 2 * rows, 2)]
    # The factor of gamma_0 in Z_4 changes sign at the critical point, so it stays outside the logarithm.
    sinh, cosh = context.sinh(2 * K), context.cosh(2 * K)
    zero = Jet(2 * K + context.log(context.tanh(K)), 2 + 2 / sinh, -4 * cosh / sinh / sinh)
    zero = Jet(*(cols * part / 2 for part in zero))
    rest = _sum(context, [_log_sinh(context, angle) for angle in even])
    logs = [
        _sum(context, [_log_cosh(context, angle) for angle in odd]),
        _sum(context, [_log_sinh(context, angle) for angle in odd]),
        _sum(context, [_log_cosh(context, angle) for angle in [zero, *even]]),
        rest._replace(value=rest.value + abs(zero.value)),
    ]
    one = Jet(context.mpf(1), context.mpf(0), context.mpf(0))
    products = _log_sum(context, logs, [one, one, one, _scaled_sinh(context, zero)])
    prefactor = _log_prefactor(context, K, rows * cols)
    return Jet(*(part + other for part, other in zip(products, prefactor, strict=True)))


def _log_prefactor(context: Any, K: Any, num_sites: int) -> Jet:
    """Returns ln of half of (2 sinh 2K) to the power of half the sites."""
    half, doubled = context.mpf(num_sites) / 2, 2 * K
    log_sinh = doubled + context.log(-context.expm1(-2 * doubled))
    sinh = context.sinh(doubled)
    return Jet(half * log_sinh - context.log(2), half * 2 * context.cosh(doubled) / sinh, -half * (2 / sinh) ** 2)


def _half_angle(context: Any, K: Any, number: int, rows: int, cols: int) -> Jet:
    r"""Returns $\frac m2 \gamma_l$ for l > 0.

    $\cosh\gamma_l - 1 = (1 - \sinh 2K)^2/\sinh 2K + 2\sin^2(\pi l/2n)$ has no cancellation near the critical point.
    """
    sinh, cosh = context.sinh(2 * K), context.cosh(2 * K)
    above_one = (1 - sinh) * ((1 - sinh) / sinh) + 2 * context.sinpi(context.mpf(number) / (2 * rows)) ** 2
    value = 2 * context.asinh(context.sqrt(above_one / 2))
    sinh_value = context.sqrt(above_one) * context.sqrt(above_one + 2)
    of_cosh = 2 * cosh * (1 - 1 / sinh / sinh)
    second_of_cosh = 4 * sinh * (1 - 1 / sinh / sinh) + 8 * (cosh / sinh) ** 2 / sinh
    first = of_cosh / sinh_value
    second = second_of_cosh / sinh_value - (1 + above_one) / sinh_value * first**2
    return Jet(*(cols * part / 2 for part in (value, first, second)))


def _log_cosh(context: Any, x: Jet) -> Jet:
    slope, size = context.tanh(x.value), abs(x.value)
    value = size + context.log1p(context.exp(-2 * size))
    return Jet(value, slope * x.first, slope * x.second + (1 - slope) * (1 + slope) * x.first**2)


def _log_sinh(context: Any, x: Jet) -> Jet:
    slope = 1 / context.tanh(x.value)
    value = x.value + context.log(-context.expm1(-2 * x.value))
    return Jet(value, slope * x.first, slope * x.second + (1 - slope) * (1 + slope) * x.first**2)


def _scaled_sinh(context: Any, x: Jet) -> Jet:
    """Returns 2 sinh x over the constant exp|x|, as itself: it may be negative, or 0 at the critical point."""
    scale = abs(x.value)
    rising, falling = context.exp(x.value - scale), context.exp(-x.value - scale)
    sinh, cosh = rising - falling, rising + falling
    return Jet(sinh, cosh * x.first, cosh * x.second + sinh * x.first**2)


def _sum(context: Any, terms: Sequence[Jet]) -> Jet:
    return Jet(*(context.fsum(part) for part in zip(*terms, strict=True)))


def _log_sum(context: Any, logs: Sequence[Jet], factors: Sequence[Jet]) -> Jet:
    """Returns ln of the sum of factor * exp(log)."""
    top = max(log.value for log in logs)
    # Slopes are of order n m: unless a common one is subtracted first, their squares cancel in the variance.
    slope = logs[0].first
    value = first = second = context.mpf(0)
    for log, factor in zip(logs, factors, strict=True):
        weight, excess = context.exp(log.value - top), log.first - slope
        value += weight * factor.value
        first += weight * (excess * factor.value + factor.first)
        curvature = (log.second + excess**2) * factor.value
        second += weight * (curvature + 2 * excess * factor.first + factor.second)
    return Jet(top + context.log(value), slope + first / value, second / value - (first / value) ** 2)
