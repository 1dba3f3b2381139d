r"""The exact posterior over the scale $Q = \prod_l u_l$ at any width and depth, on a grid of $\ln Q$.

The output given Q is a Gaussian process of kernel $Q K_0$ at any width, and a priori $u_l = \sigma^2 \chi^2_{N_l}/N_l$
independently. So $p(\ln Q | Y) \propto p(\ln Q) \mathcal N(Y; 0, Q K_0 + T)$: one number is left to integrate over. Its
prior is a convolution of the densities of $\ln u_l$. A convolution adds positive terms, and these are kept as
logarithms. So no relative precision is lost far out in the tail of the prior, where strong labels put the posterior.
The densities are smooth and the grid is uniform and fine: such sums are exact to rounding. Claims compare chains
and trained networks with this law. Key: li2021, whose saddle point is its limit at large widths; the form at finite
width is ours.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num
from scipy.special import gammaln

from rgflow.kernel_rg.problem import (
    ArrayLike,
    Number,
    Problem,
    average_kernels,
    checked_tests,
    energy_at,
    mode_gain,
    output_moments_at,
)
from rgflow.kernel_rg.saddle import find_saddle

VALLEY = np.concatenate([np.arange(-2000.0, -60.0), np.linspace(-60.0, 60.0, 4801)])
r"""Values of $\ln u/\sigma^2$ of the narrowest layer among which the support of the posterior is looked for."""

LARGEST_EXPONENT = 600.0
"""Beyond it a configuration has no weight whatever the labels; clipping keeps the exponential finite."""

NEGLIGIBLE = 45.0
"""Log of the density ratio beyond which a tail is left out: 3e-20 of the peak."""

SPACING = 0.6
"""Grid spacing in units of the narrowest standard deviation: a smooth density is then summed to 1e-17."""

LARGEST_COST = 1e12
"""From this action on, differences of 1e-4 between actions are rounding; the posterior is some 1e-6 wide there."""

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


class ScalePosterior(NamedTuple):
    r"""Posterior of Q: ``weights``, which add up to one, on a uniform grid ``log_scale`` of $\ln Q$.

    ``grid`` is that of $\ln Q - L \ln\sigma^2$.
    """

    log_scale: Float[np.ndarray, " grid"]
    weights: Float[np.ndarray, " grid"]
    grid: Grid

    @property
    def scale(self) -> Float[np.ndarray, " grid"]:
        """Q on the grid."""
        return np.exp(self.log_scale)

    def moment(self, power: Number) -> float:
        r"""Returns $\langle Q^k \rangle$ for any real power k."""
        kept = self.weights > 0
        terms = power * self.log_scale[kept] + np.log(self.weights[kept])
        return float(np.exp(terms.max()) * np.exp(terms - terms.max()).sum())


def scale_posterior(problem: Problem) -> ScalePosterior:
    r"""Returns the exact posterior of the product Q of all $u_l$; widths may differ.

    $p(u_1 \ldots u_L | Y) \propto \prod_l u_l^{N_l/2-1} e^{-N_l u_l/2\sigma^2} \mathcal N(Y; 0, Q K_0 + T)$. Raises
    ValueError where it does not exist (labels vanish at T = 0 and width is at most the rank) and where it is too narrow
    for float64.
    """
    grid = _support(problem)
    log_prior = log_sum_density([log_density(width, grid) for width in problem.widths], grid)
    log_scale = grid.points + len(problem.widths) * np.log(problem.sigma2)
    log_joint = log_prior - _neg_log_likelihood(problem, log_scale)
    weights = np.exp(log_joint - log_joint.max())
    return ScalePosterior(log_scale, weights / weights.sum(), grid)


def exact_predictor(
    problem: Problem, posterior: ScalePosterior, cross: Num[ArrayLike, "..."], diag: Num[ArrayLike, "..."]
) -> tuple[Float[np.ndarray, " tests"], Float[np.ndarray, " tests"]]:
    r"""Returns the exact mean and variance of the output: the average variance given Q and the variance of the mean.

    Test kernels and errors as for :func:`~rgflow.kernel_rg.problem.predictor_at`.
    """
    cross, diag = checked_tests(problem, cross, diag)
    gain, modes = mode_gain(problem, posterior.scale), cross @ problem.vectors
    means = (gain * problem.projections) @ modes.T
    mean = posterior.weights @ means
    within = (posterior.weights * posterior.scale) @ np.maximum(diag - gain @ (modes**2).T, 0.0)
    return mean, within + posterior.weights @ (means - mean) ** 2


def exact_training_energy(problem: Problem, posterior: ScalePosterior) -> float:
    r"""Returns the exact $\frac12 \langle |f - Y|^2 \rangle$."""
    return float(posterior.weights @ energy_at(problem, posterior.scale))


def exact_hidden_kernels(problem: Problem, posterior: ScalePosterior) -> Float[np.ndarray, "L P P"]:
    r"""Returns the exact average kernels of the hidden layers, by the recursion of
    :func:`~rgflow.kernel_rg.problem.average_kernels`."""
    mean, variance = output_moments_at(problem, posterior.scale)
    grid, log_unit = posterior.grid, np.log(problem.sigma2)
    layers = [log_density(width, grid) for width in problem.widths]
    moments = []
    for layer in range(len(layers)):
        # The product from this layer up is sigma2^(layers from here up) times the exponential of its share of ln Q.
        inverse = np.exp(log_inverse_above(layers, layer, grid) - (len(layers) - layer) * log_unit)
        weight = posterior.weights * inverse
        moments.append((mean.T * weight) @ mean + np.diag(weight @ variance))
    return average_kernels(problem, moments)


def _neg_log_likelihood(problem: Problem, log_scale: Float[np.ndarray, " grid"]) -> Float[np.ndarray, " grid"]:
    r"""Returns $-\ln \mathcal N(Y; 0, Q K_0 + T)$, at T = 0 within the range of the kernel."""
    kept = (problem.eigenvalues > 0) | (problem.temperature > 0)
    with np.errstate(divide="ignore"):
        log_eigenvalues, log_noise = np.log(problem.eigenvalues[kept]), np.log(problem.temperature)
    log_variance = np.logaddexp(log_scale[:, None] + log_eigenvalues, log_noise)
    energy = problem.projections[kept] ** 2 * np.exp(np.minimum(-log_variance, LARGEST_EXPONENT))
    return (log_variance + energy + np.log(2 * np.pi)).sum(axis=1) / 2


def _support(problem: Problem) -> Grid:
    r"""Returns a grid that holds the posterior of $\ln Q - L \ln\sigma^2$ and all partial sums that lead to it.

    The support is where the action along the valley, $u_l = \sigma^2 (1 - \mu/N_l)$ with a common $\mu$, is within
    45 of its minimum; ``log_ratio`` below is $\ln u_l/\sigma^2$ of the narrowest layer.
    """
    narrowest, saddle = problem.widths.min(), find_saddle(problem)
    best = np.log(saddle.layer_scales[problem.widths.argmin()] / problem.sigma2)
    log_ratio = np.sort(np.concatenate([VALLEY, [best]]))
    with np.errstate(divide="ignore"):
        log_left = np.log1p((narrowest / problem.widths[:, None]) * np.expm1(log_ratio))
    # expm1 rounds to -1 far down the valley; for the narrowest layer itself the answer is known.
    log_left = np.where(problem.widths[:, None] == narrowest, log_ratio, log_left)
    centred = log_left.sum(axis=0)
    prior = (problem.widths[:, None] / 2 * (np.expm1(log_left) - log_left)).sum(axis=0)
    cost = prior + _neg_log_likelihood(problem, centred + len(problem.widths) * np.log(problem.sigma2))
    if not cost.min() < LARGEST_COST:
        raise ValueError(
            f"targets, sigma2 = labels of size {problem.label_norm:.3g} against {problem.sigma2:.3g}: the posterior is "
            "narrower than float64 resolves; take the saddle point, which is exact there to 6 digits"
        )
    inside = np.flatnonzero(cost < cost.min() + NEGLIGIBLE)
    low, high = max(inside[0] - 1, 0), min(inside[-1] + 1, len(cost) - 1)
    stiffness = problem.widths / 2 * np.exp(log_left[:, high])
    return cover(
        low=float(centred[low]),
        high=float(centred[high]),
        softest=float((problem.widths / 2 * np.exp(log_left[:, low])).min()),
        stiffest=float(max(stiffness.max(), problem.widths.max() / 2) + _curvature(problem, centred[low : high + 1])),
        layers=len(problem.widths),
    )


def _curvature(problem: Problem, centred: Float[np.ndarray, " support"]) -> float:
    r"""Returns a bound on the second derivative of $-\ln \mathcal N$ with respect to ln Q over the support."""
    log_scale = centred + len(problem.widths) * np.log(problem.sigma2)
    scale = np.exp(np.clip(log_scale, -LARGEST_EXPONENT, LARGEST_EXPONENT))
    gain = mode_gain(problem, scale)
    share = gain * problem.eigenvalues
    # The energy of a label in its mode, y^2 / (Q lambda + T), which its derivatives never exceed.
    variance = scale[:, None] * problem.eigenvalues + problem.temperature
    kept = variance > 0
    energy = np.divide(problem.projections**2, variance, out=np.zeros_like(variance), where=kept)
    return float((share * (1 - share) + share * energy).sum(axis=1).max() / 2)


def cover(low: float, high: float, softest: float, stiffest: float, layers: int) -> Grid:
    r"""Returns a grid for a sum that matters on [low, high], and for the partial sums of ``layers`` terms inside it.

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
    r"""Returns $\ln p(z) = \frac N2 (z - e^z) + \frac N2 \ln\frac N2 - \ln\Gamma(\frac N2)$ of $z = \ln(\chi^2_N/N)$.

    >>> grid = cover(-9.0, 2.5, softest=1.0, stiffest=40.0, layers=1)
    >>> round(float(np.exp(log_density(10, grid)).sum() * grid.spacing), 12)
    1.0
    """
    half = width / 2
    return half * (grid.points - np.exp(grid.points)) + half * np.log(half) - gammaln(half)


def log_sum_density(terms: list[Float[np.ndarray, " grid"]], grid: Grid) -> Float[np.ndarray, " grid"]:
    """Returns the log density of the sum of independent terms of given log densities."""
    total = terms[0]
    for term in terms[1:]:
        total = _convolve(total, term, grid)
    return total


def log_inverse_above(terms: list[Float[np.ndarray, " grid"]], layer: int, grid: Grid) -> Float[np.ndarray, " grid"]:
    r"""Returns $\ln \langle e^{-\sum_{j \ge l} z_j} | \sum_j z_j \rangle$, with l counted from 0 here.

    The conditional mean of a function of one part of a sum is a ratio of two convolutions.
    """
    if layer == 0:
        return -grid.points
    tilted = log_sum_density(terms[layer:], grid) - grid.points
    below = log_sum_density(terms[:layer], grid)
    return _convolve(below, tilted, grid) - log_sum_density(terms, grid)


def _reach(cost: float) -> float:
    r"""Returns the positive solution of $e^\delta - 1 - \delta = $ cost."""
    delta = np.log(2 * cost + 4)
    # Newton steps from above on a convex function never overshoot.
    for _ in range(40):
        delta -= (np.expm1(delta) - delta - cost) / np.expm1(delta)
    return float(delta)


def _convolve(
    left: Float[np.ndarray, " grid"], right: Float[np.ndarray, " grid"], grid: Grid
) -> Float[np.ndarray, " grid"]:
    """Returns the logarithm of the convolution of two densities, cut to their common grid, which holds zero."""
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
