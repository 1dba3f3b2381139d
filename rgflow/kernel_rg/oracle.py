r"""The exact posterior over the scale $Q = \prod_l u_l$ at any width and depth, on a grid of $\ln Q$.

The output given Q is a Gaussian process of kernel $Q K_0$ at any width, and a priori $u_l = \sigma^2 \chi^2_{N_l}/N_l$
independently. So $p(\ln Q | Y) \propto p(\ln Q) \mathcal N(Y; 0, Q K_0 + T)$: one number is left to integrate over, and
its prior is a convolution of the densities of $\ln u_l$. Convolutions are sums of positive terms kept as logarithms,
which loses no relative precision far out in the tail of the prior, where strong labels put the posterior; on a uniform
grid fine against every scale of these smooth densities such sums are exact to rounding. Key: li2021, whose saddle point
is the limit of this law at large widths; the finite-width form is ours.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num

from rgflow.kernel_rg.convolution import NEGLIGIBLE, Grid, cover, log_density, log_inverse_above, log_sum_density
from rgflow.kernel_rg.gaussian import energy_at, mode_gain, output_moments_at
from rgflow.kernel_rg.hidden import recurse_kernels
from rgflow.kernel_rg.order_parameter import find_saddle
from rgflow.kernel_rg.problem import ArrayLike, Number, Problem, Widths, check_problem, check_tests

VALLEY = np.concatenate([np.arange(-2000.0, -60.0), np.linspace(-60.0, 60.0, 4801)])
r"""Values of $\ln u/\sigma^2$ of the narrowest layer among which the support of the posterior is looked for."""

LARGEST_EXPONENT = 600.0
"""Beyond it a configuration has no weight whatever the labels; clipping keeps the exponential finite."""


class ScalePosterior(NamedTuple):
    r"""Posterior of Q: ``weights``, which add up to one, on a uniform grid ``log_scale`` of $\ln Q$.

    ``log_evidence`` is $\ln p(Y)$ (at T = 0 that of the labels' part in the range of the kernel).
    """

    log_scale: Float[np.ndarray, " grid"]
    weights: Float[np.ndarray, " grid"]
    log_evidence: float

    @property
    def scale(self) -> Float[np.ndarray, " grid"]:
        """Q on the grid."""
        return np.exp(self.log_scale)

    def moment(self, power: Number) -> float:
        r"""Return $\langle Q^k \rangle$ for any real power k."""
        kept = self.weights > 0
        terms = power * self.log_scale[kept] + np.log(self.weights[kept])
        return float(np.exp(terms.max()) * np.exp(terms - terms.max()).sum())


def exact_scale_posterior(
    kernel: Num[ArrayLike, "rows columns"],
    targets: Num[ArrayLike, "..."],
    width: Widths,
    depth: int,
    sigma2: Number,
    temperature: Number = 0.0,
) -> ScalePosterior:
    r"""Return the exact posterior $p(u_1 \ldots u_L | Y) \propto \prod_l u_l^{N_l/2-1} e^{-N_l u_l/2\sigma^2}
    \mathcal N(Y; 0, Q K_0 + T)$ of the product Q.

    Arguments as :func:`~rgflow.kernel_rg.order_parameter.order_parameter`; widths may differ. Raises ValueError for bad
    input, and where the posterior does not exist (labels zero at T = 0 and width at most the rank).

    >>> posterior = exact_scale_posterior(np.eye(8), np.full(8, np.sqrt(2)), width=10, depth=1, sigma2=1.0)
    >>> round(posterior.moment(1), 9)
    1.417662822

    Ref: li2021 (the model); standard.
    """
    return scale_posterior(check_problem(kernel, targets, width, depth, sigma2, temperature))


def exact_predictor(
    kernel: Num[ArrayLike, "rows columns"],
    cross: Num[ArrayLike, "..."],
    diag: Num[ArrayLike, "..."],
    targets: Num[ArrayLike, "..."],
    width: Widths,
    depth: int,
    sigma2: Number,
    temperature: Number = 0.0,
) -> tuple[Float[np.ndarray, " tests"], Float[np.ndarray, " tests"]]:
    r"""Return the exact mean and variance of the output: the average variance given Q and the variance of the mean.

    Arguments and errors as :func:`~rgflow.kernel_rg.theory.predictor`. Ref: li2021 (the model); standard.
    """
    problem = check_problem(kernel, targets, width, depth, sigma2, temperature)
    cross, diag = check_tests(cross, diag, len(problem.eigenvalues))
    posterior = scale_posterior(problem)
    gain, modes = mode_gain(problem, posterior.scale), cross @ problem.vectors
    means = (gain * problem.projections) @ modes.T
    mean = posterior.weights @ means
    within = (posterior.weights * posterior.scale) @ (diag - gain @ (modes**2).T)
    return mean, within + posterior.weights @ (means - mean) ** 2


def exact_training_energy(
    kernel: Num[ArrayLike, "rows columns"],
    targets: Num[ArrayLike, "..."],
    width: Widths,
    depth: int,
    sigma2: Number,
    temperature: Number = 0.0,
) -> float:
    r"""Return the exact $\frac12 \langle |f - Y|^2 \rangle$. Arguments and errors as :func:`exact_scale_posterior`.

    Ref: li2021 (the model); standard.
    """
    problem = check_problem(kernel, targets, width, depth, sigma2, temperature)
    posterior = scale_posterior(problem)
    return float(posterior.weights @ energy_at(problem, posterior.scale))


def exact_hidden_kernels(
    kernel: Num[ArrayLike, "rows columns"],
    targets: Num[ArrayLike, "..."],
    width: Widths,
    depth: int,
    sigma2: Number,
    temperature: Number = 0.0,
) -> Float[np.ndarray, "L P P"]:
    r"""Return the exact average kernels $K_l = \sigma^2 [(1 - 1/N_l) K_{l-1} + \langle f f^T/\prod_{j \ge l} u_j
    \rangle/N_l]$ of the hidden layers.

    Arguments and errors as :func:`exact_scale_posterior`. Ref: li2021 (layer kernels); standard.
    """
    problem = check_problem(kernel, targets, width, depth, sigma2, temperature)
    grid = _grid(problem)
    posterior = _posterior_on(problem, grid)
    mean, variance = output_moments_at(problem, posterior.scale)
    layers, log_unit = [log_density(width, grid) for width in problem.widths], np.log(problem.sigma2)
    moments = []
    for layer in range(len(layers)):
        # The product from this layer up is 1/sigma2^(layers above) times the exponential of its share of ln Q.
        inverse = np.exp(log_inverse_above(layers, layer, grid) - (len(layers) - layer) * log_unit)
        weight = posterior.weights * inverse
        moments.append((mean.T * weight) @ mean + np.diag(weight @ variance))
    return recurse_kernels(problem, moments)


def scale_posterior(problem: Problem) -> ScalePosterior:
    """Return the posterior of a checked problem."""
    return _posterior_on(problem, _grid(problem))


def _posterior_on(problem: Problem, grid: Grid) -> ScalePosterior:
    log_prior = log_sum_density([log_density(width, grid) for width in problem.widths], grid)
    log_scale = grid.points + len(problem.widths) * np.log(problem.sigma2)
    log_joint = log_prior - _neg_log_likelihood(problem, log_scale)
    weights = np.exp(log_joint - log_joint.max())
    log_evidence = float(log_joint.max() + np.log(weights.sum() * grid.spacing))
    return ScalePosterior(log_scale, weights / weights.sum(), log_evidence)


def _neg_log_likelihood(problem: Problem, log_scale: Float[np.ndarray, " grid"]) -> Float[np.ndarray, " grid"]:
    r"""Return $-\ln \mathcal N(Y; 0, Q K_0 + T)$, at T = 0 within the range of the kernel."""
    kept = (problem.eigenvalues > 0) | (problem.temperature > 0)
    with np.errstate(divide="ignore"):
        log_eigenvalues, log_noise = np.log(problem.eigenvalues[kept]), np.log(problem.temperature)
    log_variance = np.logaddexp(log_scale[:, None] + log_eigenvalues, log_noise)
    energy = problem.projections[kept] ** 2 * np.exp(np.minimum(-log_variance, LARGEST_EXPONENT))
    return (log_variance + energy + np.log(2 * np.pi)).sum(axis=1) / 2


def _grid(problem: Problem) -> Grid:
    r"""Choose a grid that holds the posterior of $\ln Q - L \ln\sigma^2$ and all partial sums that lead to it.

    The support is where the action along the valley, $u_l = \sigma^2 (1 - \mu/N_l)$ with a common $\mu$, is within
    45 of its minimum; ``log_ratio`` below is $\ln u_l/\sigma^2$ of the narrowest layer.
    """
    narrowest = problem.widths.min()
    saddle = find_saddle(problem)
    best = np.log(saddle.layer_scales[0] / problem.sigma2)
    log_ratio = np.sort(np.concatenate([VALLEY, [best]]))
    with np.errstate(divide="ignore"):
        log_left = np.log1p((narrowest / problem.widths[:, None]) * np.expm1(log_ratio))
    # expm1 rounds to -1 far down the valley; for the narrowest layer itself the answer is known.
    log_left = np.where(problem.widths[:, None] == narrowest, log_ratio, log_left)
    centred = log_left.sum(axis=0)
    prior = (problem.widths[:, None] / 2 * (np.expm1(log_left) - log_left)).sum(axis=0)
    cost = prior + _neg_log_likelihood(problem, centred + len(problem.widths) * np.log(problem.sigma2))
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
    r"""Return a bound on the second derivative of $-\ln \mathcal N$ with respect to ln Q over the support."""
    log_scale = centred + len(problem.widths) * np.log(problem.sigma2)
    scale = np.exp(np.clip(log_scale, -LARGEST_EXPONENT, LARGEST_EXPONENT))
    gain = mode_gain(problem, scale)
    share = gain * problem.eigenvalues
    # The energy of a label in its mode, y^2 / (Q lambda + T), which its derivatives never exceed.
    variance = scale[:, None] * problem.eigenvalues + problem.temperature
    kept = variance > 0
    energy = np.divide(problem.projections**2, variance, out=np.zeros_like(variance), where=kept)
    return float((share * (1 - share) + share * energy).sum(axis=1).max() / 2)
