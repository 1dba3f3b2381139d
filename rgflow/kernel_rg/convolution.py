r"""Densities of sums of log-chi-square variables on a uniform grid, as logarithms: the prior of a product of scales.

With $z = \ln(\chi^2_N/N)$ the prior of $\ln Q - L \ln\sigma^2$ is that of a sum of independent z. All terms of a
convolution are positive and are added as logarithms, so the tails are as precise as the bulk.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import gammaln

from rgflow.kernel_rg.problem import Number

NEGLIGIBLE = 45.0
"""Log of the density ratio beyond which a tail is left out: 3e-20 of the peak."""

SPACING = 0.6
"""Grid spacing in units of the narrowest standard deviation: a smooth density is then summed to 1e-17."""

ROWS_AT_ONCE = 256
"""Rows of a convolution held in memory together."""


class Grid(NamedTuple):
    """Points ``spacing * (first + i)`` for i < ``size``: zero is one of them, or would be, so that sums stay on it."""

    first: int
    size: int
    spacing: float

    @property
    def points(self) -> Float[np.ndarray, " grid"]:
        """The points, ascending."""
        return self.spacing * (self.first + np.arange(self.size))


def cover(low: float, high: float, softest: float, stiffest: float, layers: int) -> Grid:
    r"""Return a grid for a sum that matters on [low, high], and for the partial sums of ``layers`` terms inside it.

    Around its best value for a given sum, a term of stiffness kappa costs $\kappa (e^\delta - 1 - \delta)$; partial
    sums lie between 0 and the sum, give or take what the softest terms can do together at a cost below 45. The spacing
    is 0.6 of the standard deviation $1/\sqrt\kappa$ of the ``stiffest`` density.
    """
    spacing = SPACING / np.sqrt(stiffest)
    if layers > 1:
        reach = layers * _reach(NEGLIGIBLE / (layers * softest))
        low, high = min(low, 0.0) - reach, max(high, 0.0) + reach
    first = int(np.floor(low / spacing))
    return Grid(first, int(np.ceil(high / spacing)) - first + 1, float(spacing))


def log_density(width: Number, grid: Grid) -> Float[np.ndarray, " grid"]:
    r"""Return $\ln p(z) = \frac N2 (z - e^z) + \frac N2 \ln\frac N2 - \ln\Gamma(\frac N2)$ of $z = \ln(\chi^2_N/N)$.

    >>> grid = cover(-9.0, 2.5, softest=1.0, stiffest=40.0, layers=1)
    >>> round(float(np.exp(log_density(10, grid)).sum() * grid.spacing), 12)
    1.0
    """
    half = width / 2
    return half * (grid.points - np.exp(grid.points)) + half * np.log(half) - gammaln(half)


def log_sum_density(terms: list[Float[np.ndarray, " grid"]], grid: Grid) -> Float[np.ndarray, " grid"]:
    """Return the log density of the sum of independent terms of given log densities."""
    total = terms[0]
    for term in terms[1:]:
        total = _convolve(total, term, grid)
    return total


def log_inverse_above(terms: list[Float[np.ndarray, " grid"]], layer: int, grid: Grid) -> Float[np.ndarray, " grid"]:
    r"""Return $\ln \langle e^{-\sum_{j \ge l} z_j} | \sum_j z_j \rangle$, with l counted from 0 here.

    The conditional mean of a function of one part of a sum is a ratio of two convolutions.
    """
    tilted = log_sum_density(terms[layer:], grid) - grid.points
    if layer == 0:
        return -grid.points
    below = log_sum_density(terms[:layer], grid)
    return _convolve(below, tilted, grid) - log_sum_density(terms, grid)


def _reach(cost: float) -> float:
    r"""Return the positive solution of $e^\delta - 1 - \delta = $ cost."""
    delta = np.log(2 * cost + 4)
    # Newton steps from above on a convex function never overshoot.
    for _ in range(40):
        delta -= (np.expm1(delta) - delta - cost) / np.expm1(delta)
    return float(delta)


def _convolve(
    left: Float[np.ndarray, " grid"], right: Float[np.ndarray, " grid"], grid: Grid
) -> Float[np.ndarray, " grid"]:
    """Return the logarithm of the convolution of two densities, cut to their common grid, which holds zero."""
    size = grid.size
    padded = np.concatenate([np.full(size, -np.inf), right[::-1], np.full(size, -np.inf)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, size)
    # Point k pairs left[i] with right[k - first - i], the i-th entry of this window:
    starts = 2 * size - 1 - (np.arange(size) - grid.first)
    total = np.empty(size)
    for block in range(0, size, ROWS_AT_ONCE):
        rows = left + windows[starts[block : block + ROWS_AT_ONCE]]
        peak = rows.max(axis=1, keepdims=True)
        total[block : block + ROWS_AT_ONCE] = peak[:, 0] + np.log(np.exp(rows - peak).sum(axis=1))
    return total + np.log(grid.spacing)
