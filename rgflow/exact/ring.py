r"""The Ising ring (one dimension, periodic): exact free energy, correlations and decimation, float64 on the host.

Spins are $\pm 1$, $p(s) \propto e^{K \sum_i s_i s_{i+1}}$ with $K = \beta J$ of either sign, entropies in nats.
Key: Kadanoff1966 = Physics 2 (1966) 263.
"""

import math

import numpy as np
from jaxtyping import Array, Num

from rgflow.checks import integer, real

Scalar = float | int | np.number | Num[Array | np.ndarray, ""]
"""A real number of Python, NumPy or JAX."""


LARGEST = 1e100
"""Couplings and coefficients are refused beyond it: their squares and sums would leave the range of float64."""


def finite_coupling(K: Scalar) -> float:
    r"""Returns $K = \beta J$ as a float; raises ValueError unless it is a real number of at most 1e100 in size."""
    number = real(K)
    if number is None or not math.isfinite(number):
        raise ValueError(f"K = {K!r}: the coupling must be a finite number")
    if abs(number) > LARGEST:
        raise ValueError(f"K = {K!r}: the coupling must be within {LARGEST:g}")
    return number


def at_least(name: str, value: Scalar, lowest: int) -> int:
    r"""Returns an integer with $n \ge$ ``lowest``; raises ValueError for anything else."""
    number = integer(value)
    if number is None or number < lowest:
        raise ValueError(f"{name} = {value!r}: must be an integer of at least {lowest}")
    return number


def correlation_length_1d(K: Scalar) -> float:
    r"""Returns the correlation length of the infinite chain, $\xi = -1/\ln|\tanh K|$ in sites, 0 without coupling.

    It is inf where it is beyond the largest float, from |K| of 355 on. Raises ValueError for a K that is not finite.

    >>> round(correlation_length_1d(0.6), 9)
    1.608583698
    """
    log_tanh = _log_tanh(finite_coupling(K))
    return math.inf if log_tanh == 0 else -1 / log_tanh


def decimate_1d(K: Scalar) -> float:
    r"""Returns the coupling after every second spin is summed out, $K' = \frac12 \ln\cosh 2K$.

    It is never negative, because the spins that stay in an antiferromagnet form one sublattice. Raises ValueError for a
    K that is not finite.

    >>> round(decimate_1d(0.6), 9)
    0.296844486

    Ref: Kadanoff1966.
    """
    doubled = 2 * abs(finite_coupling(K))
    # cosh x = 1 + 2 sinh^2(x/2) keeps the relative precision of small couplings, the other form cannot overflow.
    if doubled < 1:
        return 0.5 * math.log1p(2 * math.sinh(doubled / 2) ** 2)
    return 0.5 * (doubled + math.log1p(math.exp(-2 * doubled)) - math.log(2))


def ring_log_partition(K: Scalar, num_sites: Scalar) -> float:
    r"""Returns $\ln Z_N = \ln[(2\cosh K)^N + (2\sinh K)^N]$ in nats, for the whole ring.

    It satisfies $\ln Z_N(K) = \frac N2 (\ln 2 + \frac12\ln\cosh 2K) + \ln Z_{N/2}(K')$. The ring of two sites has two
    bonds between them; the ring of one site has a bond to itself. Raises ValueError for a K that is not finite and for
    less than one site.

    >>> round(ring_log_partition(0.5, 3), 9)
    2.533900134
    """
    K, num_sites = finite_coupling(K), at_least("num_sites", num_sites, 1)
    log_cosh = abs(K) + math.log1p(math.exp(-2 * abs(K)))
    return num_sites * log_cosh + _log_one_plus_power(K, num_sites)


def ring_correlation(K: Scalar, num_sites: Scalar, distance: Scalar) -> float:
    r"""Returns $\langle s_0 s_r \rangle = (t^r + t^{N-r})/(1 + t^N)$ with $t = \tanh K$ and r the ``distance``.

    Minus its value at distance 1 is the energy per site in units of J. Serves as an oracle in the tests: samples of the
    ring are compared with it. Raises ValueError for a K that is not finite, for less than one site, and for a distance
    outside 0..num_sites.

    >>> round(ring_correlation(0.5, 8, 1), 9)
    0.465649251
    """
    K, num_sites = finite_coupling(K), at_least("num_sites", num_sites, 1)
    distance = at_least("distance", distance, 0)
    if distance > num_sites:
        raise ValueError(f"distance = {distance}: must be 0..{num_sites} on this ring")
    near = min(distance, num_sites - distance)
    sign = -1 if K < 0 and near % 2 else 1
    # t^r (1 + t^(N-2r)) / (1 + t^N), as logarithms: both factors vanish on a frustrated ring at strong coupling.
    factors = _log_one_plus_power(K, num_sites - 2 * near) - _log_one_plus_power(K, num_sites)
    return sign * math.exp(_log_power(K, near) + factors)


def _log_tanh(K: float) -> float:
    """Returns ln|tanh K| to full relative precision at strong coupling, -inf at 0."""
    size = abs(K)
    if size < 0.5:
        return math.log(math.tanh(size)) if size else -math.inf
    return math.log1p(-2 / (math.exp(2 * size) + 1)) if size <= 354 else 0.0


def _log_power(K: float, power: int) -> float:
    return power * _log_tanh(K) if power else 0.0


def _log_one_plus_power(K: float, power: int) -> float:
    """Returns ln(1 + tanh(K)^n), also where an odd antiferromagnetic ring makes that vanish."""
    log_size = _log_power(K, power)
    if K >= 0 or power % 2 == 0:
        return math.log1p(math.exp(log_size))
    # tanh(K)^n = -1 to rounding: 1 - |t|^n = 2 n exp(-2|K|), whose logarithm is still exact.
    return math.log(-math.expm1(log_size)) if log_size < 0 else math.log(2 * power) - 2 * abs(K)
