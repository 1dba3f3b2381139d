r"""The Ising ring (one dimension, periodic): exact free energy, correlations and decimation, float64 on the host.

Spins are $\pm 1$, $p(s) \propto e^{K \sum_i s_i s_{i+1}}$ with $K = \beta J$ of either sign, entropies in nats.
Keys: Kadanoff1966 = Physics 2 (1966) 263; MS2014 = arXiv:1410.3831.
"""

import math
import numbers

import numpy as np

from rgflow.exact.enumeration import all_couplings, log_weights, ring_couplings

Scalar = float | int


def finite_coupling(K: Scalar) -> float:
    r"""Return $K = \beta J$ as a float; raise ValueError unless it is a finite real number. Ref: standard."""
    if not isinstance(K, numbers.Real) or isinstance(K, bool) or not math.isfinite(K):
        raise ValueError(f"K = {K}: the coupling must be a finite number")
    return float(K)


def at_least(name: str, value: int, lowest: int) -> int:
    r"""Return an integer with $n \ge$ ``lowest``; raise ValueError for anything else. Ref: standard."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < lowest:
        raise ValueError(f"{name} = {value}: must be an integer of at least {lowest}")
    return int(value)


def decimate_1d(K: Scalar) -> float:
    r"""Return the coupling after every second spin is summed out, $K' = \frac12 \ln\cosh 2K$.

    It is never negative: what is left of an antiferromagnet is one sublattice. Raises ValueError for a K that is not
    finite.

    >>> round(decimate_1d(0.6), 9)
    0.296844486

    Ref: Kadanoff1966; standard.
    """
    doubled = 2 * abs(finite_coupling(K))
    # cosh x = 1 + 2 sinh^2(x/2) keeps the relative precision of small couplings, the other form cannot overflow.
    if doubled < 1:
        return 0.5 * math.log1p(2 * math.sinh(doubled / 2) ** 2)
    return 0.5 * (doubled + math.log1p(math.exp(-2 * doubled)) - math.log(2))


def correlation_length_1d(K: Scalar) -> float:
    r"""Return $\xi = -1/\ln|\tanh K|$ in sites: 0 without coupling; decimation halves it.

    Raises ValueError for a K that is not finite.

    >>> round(correlation_length_1d(0.6) / correlation_length_1d(decimate_1d(0.6)), 12)
    2.0

    Ref: standard.
    """
    rate = -_log_tanh(finite_coupling(K))
    return 0.0 if math.isinf(rate) else math.inf if rate == 0 else 1 / rate


def ring_log_partition(K: Scalar, num_sites: int) -> float:
    r"""Return $\ln Z_N = \ln[(2\cosh K)^N + (2\sinh K)^N]$ in nats, for the whole ring.

    Satisfies $\ln Z_N(K) = \frac N2 (\ln 2 + \frac12\ln\cosh 2K) + \ln Z_{N/2}(K')$. The ring of two sites has two
    bonds between them, that of one site is bound to itself. Raises ValueError for a K that is not finite or no site.

    >>> round(ring_log_partition(0.5, 3), 9)
    2.533900134

    Ref: standard.
    """
    K, num_sites = finite_coupling(K), at_least("num_sites", num_sites, 1)
    log_cosh = abs(K) + math.log1p(math.exp(-2 * abs(K)))
    return num_sites * log_cosh + _log_one_plus_power(K, num_sites)


def ring_correlation(K: Scalar, num_sites: int, distance: int) -> float:
    r"""Return $\langle s_0 s_r \rangle = (t^r + t^{N-r})/(1 + t^N)$ with $t = \tanh K$ and r the ``distance``.

    The energy per site is minus that of distance 1, in units of J. Raises ValueError for a K that is not finite, no
    site, and a distance outside 0..num_sites.

    >>> round(ring_correlation(0.5, 8, 1), 9)
    0.465649251

    Ref: standard.
    """
    K, num_sites = finite_coupling(K), at_least("num_sites", num_sites, 1)
    if at_least("distance", distance, 0) > num_sites:
        raise ValueError(f"distance = {distance}: must be 0..{num_sites} on this ring")
    near = min(distance, num_sites - distance)
    sign = -1 if K < 0 and near % 2 else 1
    # t^r (1 + t^(N-2r)) / (1 + t^N), as logarithms: both factors vanish on a frustrated ring at strong coupling.
    factors = _log_one_plus_power(K, num_sites - 2 * near) - _log_one_plus_power(K, num_sites)
    return sign * math.exp(_log_power(K, near) + factors)


def machine_decimation_1d(K: Scalar, strength: Scalar, num_sites: int = 8) -> float:
    r"""Return the nearest-neighbour coupling of hidden spins tied to every second spin of a ring by ``strength`` B.

    $e^{-H(h)} = \sum_v e^{K \sum_i v_i v_{i+1} + \sum_j (B h_j v_{2j} - \ln 2\cosh B)}$: a Boltzmann machine that is an
    exact renormalization step, $\mathrm{Tr}_h e^T = 1$, for every B, and decimation as $B \to \infty$, where the
    result goes to :func:`decimate_1d`. At finite B the hidden spins have further couplings, and this one depends a
    little on the size of the ring: 0.1645, 0.1624, 0.1621 on 8, 10, 12 sites at K = 0.6, B = 1.

    Raises ValueError for values that are not finite and for ``num_sites`` odd, below 6 or above 40.

    >>> [round(machine_decimation_1d(0.6, strength), 6) for strength in (1.0, 2.0, 4.0, 8.0)]
    [0.164543, 0.271585, 0.296346, 0.296844]

    Ref: MS2014 (decimation as the limit of a machine; enumeration here).
    """
    K, strength = finite_coupling(K), finite_coupling(strength)
    if at_least("num_sites", num_sites, 6) % 2 or num_sites > 40:
        raise ValueError(f"num_sites = {num_sites}: must be an even number from 6 to 40")
    log_weight = log_weights(ring_couplings(decimate_1d(K), num_sites // 2))
    weight = np.exp(log_weight - log_weight.max())
    copied = 1 / (1 + math.exp(-2 * abs(strength)))
    for site in range(num_sites // 2):
        # Each hidden spin is a noisy copy of its own: one 2 x 2 channel per axis of the table of weights.
        pairs = weight.reshape(-1, 2, 2**site)
        weight = (copied * pairs + (1 - copied) * pairs[:, ::-1]).ravel()
    # Subset {0, 1}; a copy turned over by B < 0 turns both of its ends over.
    return float(all_couplings(np.log(weight))[0b11])


def _log_tanh(K: float) -> float:
    """Return ln|tanh K| to full relative precision at strong coupling, -inf at 0."""
    size = abs(K)
    if size < 0.5:
        return math.log(math.tanh(size)) if size else -math.inf
    return math.log1p(-2 / (math.exp(2 * size) + 1)) if size < 350 else 0.0


def _log_power(K: float, power: int) -> float:
    return power * _log_tanh(K) if power else 0.0


def _log_one_plus_power(K: float, power: int) -> float:
    """Return ln(1 + tanh(K)^n), also where an odd antiferromagnetic ring makes that vanish."""
    log_size = _log_power(K, power)
    if K >= 0 or power % 2 == 0:
        return math.log1p(math.exp(log_size))
    # tanh(K)^n = -1 to rounding: 1 - |t|^n = 2 n exp(-2|K|), whose logarithm is still exact.
    return math.log(-math.expm1(log_size)) if log_size < 0 else math.log(2 * power) - 2 * abs(K)
