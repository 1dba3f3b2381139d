r"""Transition matrices of the chain families, each from its own parameter or from a correlation length.

Every builder returns (transition, stationary) in float64. Users call :func:`rgflow.samplers.markov.make_chain`.
Eigenvalue moduli follow $|\lambda_2| = e^{-1/\xi}$ with $\xi$ in tokens.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Complex, Float
from scipy.optimize import brentq

from rgflow.checks import integer, real

ROUNDING = 1e-12
"""Moduli closer than this to 0 or 1 count as 0 or 1: rounding in float64."""

SMALLEST_GAP = 1e-9
"""Below this spectral gap the stationary distribution cannot be computed to ``ROUNDING``."""

Scalar = float | int
Spectrum = Sequence[Scalar] | np.ndarray
Built = tuple[Float[np.ndarray, "V V"], Float[np.ndarray, " V"]]


def sorted_eigenvalues(transition: Float[np.ndarray, "V V"]) -> Complex[np.ndarray, " V"]:
    """Returns all eigenvalues by descending modulus, then real, then imaginary part."""
    values = np.linalg.eigvals(transition).astype(np.complex128)
    # Rounded moduli keep conjugate pairs and degenerate groups together.
    return values[np.lexsort((-values.imag, -values.real, -np.round(np.abs(values), 12)))]


def number_within(name: str, value: Any, low: Scalar, high: Scalar, ends: str, unit: str = "") -> float:
    """Returns the value as a float inside the interval with ``ends`` like ``"[)"``; raises ValueError outside."""
    number = math.nan if (known := real(value)) is None else known
    above = number >= low if ends[0] == "[" else number > low
    below = number <= high if ends[1] == "]" else number < high
    if not (above and below):
        interval = f"{ends[0]}{low:.6g}, {high:.6g}{ends[1]}"
        raise ValueError(f"{name} = {value}: must be a number in {interval}{unit}")
    return number


def dirichlet_lazy(
    num_states: int,
    alpha: Scalar | None = None,
    correlation_length: float | None = None,
    concentration: Scalar = 1.0,
    seed: Any = 0,
) -> Built:
    r"""Returns $\alpha I + (1-\alpha) R$ with Dirichlet rows R; for negative alpha R mixed with independence."""
    concentration = number_within("concentration", concentration, 0, math.inf, "()")
    if (number := integer(seed)) is None or number < 0:
        raise ValueError(f"seed = {seed!r}: must be a non-negative integer")
    weights = np.full(num_states, concentration)
    rows = np.random.default_rng(number).dirichlet(weights, size=num_states)
    spectrum = sorted_eigenvalues(rows)[1:]
    ergodic = abs(spectrum[0]) < 1 - SMALLEST_GAP
    stationary = solve_stationary(rows) if ergodic else np.zeros(num_states)
    if stationary.min() <= 0:
        raise ValueError(f"concentration = {concentration}: leaves states unreachable, take a larger one")
    if correlation_length is not None:
        alpha = _solve_alpha(spectrum, math.exp(-1 / correlation_length))
    alpha = number_within("alpha", alpha, -1, 1, "[)")
    if alpha < 0:
        return (1 + alpha) * rows - alpha * stationary, stationary
    return alpha * np.eye(num_states) + (1 - alpha) * rows, stationary


def _solve_alpha(spectrum: Complex[np.ndarray, " modes"], modulus: float) -> float:
    bare = float(abs(spectrum[0]))
    if modulus < bare:
        return modulus / bare - 1

    def excess(alpha: float) -> float:
        return float(np.abs(alpha + (1 - alpha) * spectrum).max()) - modulus

    # A maximum of moduli of affine functions is convex, so the root above the value at 0 is unique.
    return brentq(excess, 0, 1, xtol=1e-15)  # type: ignore[return-value]


def solve_stationary(transition: Float[np.ndarray, "V V"]) -> Float[np.ndarray, " V"]:
    r"""Returns the stationary distribution of an ergodic chain, $\pi P = \pi$."""
    # The balance equations are linearly dependent: the sum rule replaces the last one.
    balance = transition.T - np.eye(len(transition))
    balance[-1] = 1
    return np.linalg.solve(balance, np.eye(len(transition))[-1])


def lazy_uniform(num_states: int, eigenvalue: Scalar | None = None, correlation_length: float | None = None) -> Built:
    r"""Returns $\lambda I + (1-\lambda) 11^T/V$."""
    if correlation_length is not None:
        eigenvalue = math.exp(-1 / correlation_length)
    value = number_within("eigenvalue", eigenvalue, -1 / (num_states - 1), 1, "[)")
    # At the most negative eigenvalue the diagonal is zero up to rounding.
    return _uniform(np.maximum(value * np.eye(num_states) + (1 - value) / num_states, 0))


def lazy_zipf(
    num_states: int,
    eigenvalue: Scalar | None = None,
    correlation_length: float | None = None,
    exponent: Scalar = 1.0,
) -> Built:
    r"""Returns $\lambda I + (1-\lambda) 1\pi^T$ with $\pi_k \propto (k+1)^{-s}$."""
    exponent = number_within("exponent", exponent, 0, 20, "[]")
    if correlation_length is not None:
        eigenvalue = math.exp(-1 / correlation_length)
    value = number_within("eigenvalue", eigenvalue, 0, 1, "[)")
    weights = np.arange(1.0, num_states + 1) ** -exponent
    stationary = weights / weights.sum()
    return value * np.eye(num_states) + (1 - value) * stationary[None, :], stationary


def circulant(num_states: int, eigenvalues: Spectrum | None = None, correlation_length: float | None = None) -> Built:
    r"""Returns the circulant chain of a spectrum, by default $\lambda_k = \rho^{\min(k, V-k)}$."""
    mode = np.arange(num_states)
    if correlation_length is not None:
        # Convex in k on [0, V], hence a non-negative first row for every correlation length.
        eigenvalues = np.exp(-np.minimum(mode, num_states - mode) / correlation_length)
    spectrum = np.asarray(eigenvalues)
    _check_spectrum(spectrum, num_states)
    row = np.real(np.fft.ifft(spectrum))
    if row.min() < -ROUNDING:
        raise ValueError(
            f"eigenvalues = {spectrum.tolist()}: give the negative probability {row.min():.3g}, "
            "move the last ones towards 0"
        )
    # Clipping removes rounding alone; dividing by the sum keeps the rows normalised.
    row = np.maximum(row, 0)
    return _uniform(np.stack([np.roll(row / row.sum(), shift) for shift in mode]))


def _check_spectrum(spectrum: np.ndarray, num_states: int) -> None:
    wrong = None
    if spectrum.shape != (num_states,) or spectrum.dtype.kind not in "if" or not np.isfinite(spectrum).all():
        wrong = f"must be {num_states} finite real numbers"
    elif abs(spectrum[0] - 1) > ROUNDING:
        wrong = "must start with 1"
    elif np.abs(spectrum - spectrum[-np.arange(num_states)]).max() > ROUNDING:
        wrong = "entry k must equal entry V-k"
    elif np.abs(spectrum[1:]).max() >= 1:
        wrong = "all but the first must lie inside (-1, 1)"
    if wrong:
        raise ValueError(f"eigenvalues = {spectrum.tolist()}: {wrong}")


def ring_walk(num_states: int, hop: Scalar | None = None, correlation_length: float | None = None) -> Built:
    r"""Returns a lazy walk on a ring, with the chance ``hop`` of a step to each side."""
    slowest = 1 - math.cos(2 * math.pi / num_states)
    fastest = 1 - math.cos(2 * math.pi * (num_states // 2) / num_states)
    if correlation_length is not None:
        modulus = math.exp(-1 / correlation_length)
        # With faster hops the alternating mode is the slow one, so that no hop gives a shorter length.
        least = (fastest - slowest) / (fastest + slowest)
        if modulus < least - ROUNDING:
            raise ValueError(
                f"correlation_length = {correlation_length}: ring_walk over {num_states} states "
                f"reaches only {-1 / math.log(least):.6g} tokens and more"
            )
        hop = (1 - modulus) / (2 * slowest)
    rate = number_within("hop", hop, 0, 0.5, "(]")
    stay = np.eye(num_states)
    neighbours = np.roll(stay, 1, axis=0) + np.roll(stay, -1, axis=0)
    return _uniform((1 - 2 * rate) * stay + rate * neighbours)


def block(
    num_states: int, groups: Any, persistence: Scalar | None = None, correlation_length: float | None = None
) -> Built:
    r"""Returns groups of states that are left with chance 1 - ``persistence``."""
    count = integer(groups)
    if count is None or count < 2 or num_states % count:
        raise ValueError(f"groups = {groups!r}: must be an integer of at least 2 that divides {num_states}")
    if correlation_length is not None:
        persistence = math.exp(-1 / correlation_length)
    stay = number_within("persistence", persistence, 0, 1, "[)")
    size = num_states // count
    within = np.kron(np.eye(count), np.full((size, size), 1 / size))
    return _uniform(stay * within + (1 - stay) / num_states)


def _uniform(transition: Float[np.ndarray, "V V"]) -> Built:
    return transition, np.full(len(transition), 1 / len(transition))
