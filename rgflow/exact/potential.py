r"""The even on-site potential of the field chains: its energy, whether a density exists, and how far it reaches.

$p(x) \propto \exp(-\sum_i U(x_i) + K \sum_i x_i x_{i+1})$ on a ring, $U(x) = \frac r2 x^2 + u x^4 + v x^6$. Couplings
and potentials are in nats, the temperature absorbed; float64 on the host.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.optimize import brentq

from rgflow.exact.ring import LARGEST, Scalar, finite_coupling

SUPPORT_LOG = 40.0
"""A grid may end where the weight is e^-40 of the largest one: smaller weights add nothing to a float64 sum."""


class Potential(NamedTuple):
    r"""The on-site potential $U(x) = \frac r2 x^2 + u x^4 + v x^6$ by r, u and v."""

    quadratic: float | int
    quartic: float | int = 0.0
    sextic: float | int = 0.0


def potential_energy(potential: Potential, x: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    r"""Returns $U(x) = \frac r2 x^2 + u x^4 + v x^6$ in nats, of the shape of x.

    >>> potential_energy(Potential(2.0, 1.0, 1.0), np.array([0.0, 1.0, 2.0])).tolist()
    [0.0, 3.0, 84.0]
    """
    square = x * x
    return square * (potential.quadratic / 2 + square * (potential.quartic + square * potential.sextic))


def check_normalisable(coupling: Scalar, potential: Potential) -> None:
    r"""Raises ValueError unless $\int e^{-\sum U + K \sum x_i x_{i+1}}$ exists on every ring, whatever its length.

    It exists for v > 0, for v = 0 and u > 0, and for u = v = 0 and r > 2|K|; all values must be finite.
    """
    finite_coupling(coupling)
    for name, value in potential._asdict().items():
        if not math.isfinite(value):
            raise ValueError(f"{name} = {value}: must be a finite number")
        if value and not 1 / LARGEST <= abs(value) <= LARGEST:
            raise ValueError(f"{name} = {value}: must be 0 or from {1 / LARGEST:g} to {LARGEST:g} in size")
    quadratic, quartic, sextic = potential
    if sextic < 0:
        raise ValueError(f"sextic = {sextic}: must not be negative, or the density cannot be normalised")
    if sextic == 0 and quartic < 0:
        raise ValueError(f"quartic = {quartic}: must not be negative without a sextic term")
    if sextic == 0 and quartic == 0 and quadratic <= 2 * abs(coupling):
        raise ValueError(f"quadratic = {quadratic}: must be above 2 |K| = {2 * abs(coupling)} without higher terms")


def support(coupling: Scalar, potential: Potential) -> float:
    r"""Returns the half width beyond which $e^{-U(x) + |K| x^2}$ stays below $e^{-40}$ of its largest value.

    It bounds the weight of a site whatever its neighbours, as $K x y \le |K|(x^2 + y^2)/2$. Raises ValueError where
    the density cannot be normalised.

    >>> round(support(0.4, Potential(1.0)), 6)
    20.0
    """
    check_normalisable(coupling, potential)
    bound = potential._replace(quadratic=potential.quadratic - 2 * abs(coupling))

    def energy(x: Scalar) -> float:
        return float(potential_energy(bound, np.array([x], np.float64))[0])

    turns = _turning_points(bound)
    level = min(energy(x) for x in turns) + SUPPORT_LOG
    # The energy is monotone between turning points and rises beyond the last: it crosses the level for the last time
    # after the last turning point that lies below it.
    below = [x for x in turns if energy(x) < level]
    if not below:
        raise ValueError(
            f"coupling, potential = {coupling}, {tuple(potential)}: wells {SUPPORT_LOG - level:.3g} nats deep, which "
            f"float64 does not tell from {SUPPORT_LOG:g} nats less"
        )
    low = max(below)
    high = max(2 * low, 1.0)
    while energy(high) < level:
        high *= 2
    return float(np.asarray(brentq(lambda x: energy(x) - level, low, high, xtol=1e-12)))


def _turning_points(potential: Potential) -> list[float]:
    """Returns 0 and the positive x where the potential turns, in increasing order."""
    # Roots of r/2 + 2 u z + 3 v z^2 in z = x^2; numpy drops leading zeros.
    roots = np.roots([3 * potential.sextic, 2 * potential.quartic, potential.quadratic / 2])
    squares = roots.real[(abs(roots.imag) == 0) & (roots.real > 0)]
    return [0.0, *np.sqrt(np.sort(squares)).tolist()]
