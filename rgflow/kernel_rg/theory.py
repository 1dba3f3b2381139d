r"""What a deep linear network in equilibrium predicts: mean, covariance, energies, and its two limits in width.

Given the scale Q of the saddle point the network is a Gaussian process of kernel $Q K_0$ under noise of variance T:
in each mode the label is shrunk by $w_k = Q\lambda_k / (Q\lambda_k + T)$. At T = 0 shrinking is none inside the range
of the kernel and complete outside it. Variances are those of the network's output; they do not contain the noise T.
Key: li2021. The exact finite-width law that all this approximates is :mod:`rgflow.kernel_rg.oracle`.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num

from rgflow.kernel_rg.gaussian import energy_at, mode_gain, predictor_at
from rgflow.kernel_rg.oracle import exact_scale_posterior
from rgflow.kernel_rg.order_parameter import find_saddle, order_parameter, order_parameter_grid, saddle_points
from rgflow.kernel_rg.problem import ArrayLike, Number, Widths, check_positive, check_problem, check_tests

__all__ = [
    "GeneralizationError",
    "exact_scale_posterior",
    "generalization_error",
    "infinite_depth_scale",
    "infinite_width_predictor",
    "order_parameter",
    "order_parameter_grid",
    "predictor",
    "predictor_covariance",
    "predictor_grid",
    "saddle_points",
    "training_energy",
]


class GeneralizationError(NamedTuple):
    r"""Mean over test points of $\langle (f - y)^2 \rangle$ and its two parts: ``total = bias + variance``."""

    bias: float
    variance: float
    total: float


def predictor(
    kernel: Num[ArrayLike, "rows columns"],
    cross: Num[ArrayLike, "..."],
    diag: Num[ArrayLike, "..."],
    targets: Num[ArrayLike, "..."],
    width: Widths,
    depth: int,
    sigma2: Number,
    temperature: Number = 0.0,
) -> tuple[Float[np.ndarray, " tests"], Float[np.ndarray, " tests"]]:
    r"""Return mean $Q k_0^T G Y$ and variance $Q k_{00} - Q^2 k_0^T G k_0$ of the output, $G = (Q K_0 + T)^{-1}$.

    ``kernel`` $K_0 = (\sigma^2/N_0) X X^T$ (P, P), ``cross`` $k_0$ (tests, P), ``diag`` $k_{00}$ (tests,), ``targets``
    (P,). At T = 0 the mean $k_0^T K_0^+ Y$ depends on neither width, depth nor sigma2. Raises ValueError for bad input.

    >>> kernel, cross, diag = np.eye(2), np.array([[0.5, 0.0]]), np.ones(1)
    >>> mean, variance = predictor(kernel, cross, diag, np.array([1.0, -1.0]), width=4, depth=2, sigma2=1.0)
    >>> mean.round(6).tolist(), variance.round(6).tolist()
    ([0.5], [0.75])

    Ref: li2021 (predictor statistics).
    """
    problem = check_problem(kernel, targets, width, depth, sigma2, temperature)
    cross, diag = check_tests(cross, diag, len(problem.eigenvalues))
    return predictor_at(problem, cross, diag, float(np.exp(find_saddle(problem).log_scale)))


def predictor_grid(
    unit_kernel: Num[ArrayLike, "rows columns"],
    unit_cross: Num[ArrayLike, "..."],
    unit_diag: Num[ArrayLike, "..."],
    targets: Num[ArrayLike, "..."],
    width: Num[ArrayLike, "..."] | Number,
    depth: Num[ArrayLike, "..."] | Number,
    sigma2: Num[ArrayLike, "..."] | Number,
    temperature: Num[ArrayLike, "..."] | Number = 0.0,
) -> tuple[Float[np.ndarray, "*points tests"], Float[np.ndarray, "*points tests"]]:
    r"""Return what :func:`predictor` does at many points (N, L, sigma2, T) of a sweep on the same data.

    The kernels are those at $\sigma^2 = 1$; the last four arguments are numbers or arrays that broadcast together, and
    the results have their shape (first), nan where there is no saddle point. Raises ValueError for bad input.

    >>> arguments = np.eye(2), np.array([[0.5, 0.0]]), np.ones(1), np.array([1.0, -1.0])
    >>> mean, variance = predictor_grid(*arguments, width=np.array([4, 8]), depth=2, sigma2=1.0)
    >>> mean.round(6).tolist(), variance.round(6).tolist()
    ([[0.5], [0.5]], [[0.75], [0.75]])

    Ref: li2021 (predictor statistics).
    """
    problem = check_problem(unit_kernel, targets, 1, 1, 1.0)
    cross, diag = check_tests(unit_cross, unit_diag, len(problem.eigenvalues))
    saddle = order_parameter_grid(unit_kernel, targets, width, depth, sigma2, temperature)
    # The kernel is sigma2 times the unit kernel, so that Q sigma2 is the scale of the latter.
    scale = (np.exp(saddle.log_scale) * np.asarray(sigma2, np.float64))[..., None]
    modes, denominator = cross @ problem.vectors, problem.eigenvalues + np.asarray(temperature)[..., None] / scale
    gain = np.divide(1.0, denominator, out=np.zeros_like(denominator), where=denominator != 0)
    return (gain * problem.projections) @ modes.T, scale * (diag - gain @ (modes**2).T)


def predictor_covariance(
    kernel: Num[ArrayLike, "rows columns"],
    cross: Num[ArrayLike, "..."],
    test_kernel: Num[ArrayLike, "tests tests"],
    targets: Num[ArrayLike, "..."],
    width: Widths,
    depth: int,
    sigma2: Number,
    temperature: Number = 0.0,
) -> Float[np.ndarray, "tests tests"]:
    r"""Return $Q k_0(x, x') - Q^2 k_0(x)^T G k_0(x')$ between test points, $u_0^L [k_0 - k_0^T K_0^+ k_0']$ at T = 0.

    ``test_kernel`` holds $k_0(x, x')$; its diagonal gives the variances of :func:`predictor`. Raises ValueError for bad
    input. Ref: li2021 (predictor statistics).
    """
    problem = check_problem(kernel, targets, width, depth, sigma2, temperature)
    test_kernel = np.asarray(test_kernel, np.float64)
    cross, _ = check_tests(cross, np.diag(test_kernel), len(problem.eigenvalues))
    scale = float(np.exp(find_saddle(problem).log_scale))
    modes = cross @ problem.vectors
    return scale * test_kernel - scale * (modes * mode_gain(problem, scale)) @ modes.T


def training_energy(
    kernel: Num[ArrayLike, "rows columns"],
    targets: Num[ArrayLike, "..."],
    width: Widths,
    depth: int,
    sigma2: Number,
    temperature: Number = 0.0,
) -> float:
    r"""Return $\frac12 \langle |f - Y|^2 \rangle = \frac12 \sum_k [(1 - w_k)^2 \hat y_k^2 + T w_k]$.

    A sum over the P training points. At T = 0 what the range of the kernel cannot fit is left. Raises ValueError for
    bad input.

    >>> training_energy(np.diag([1.0, 0.0]), np.array([1.0, 2.0]), width=4, depth=2, sigma2=1.0)
    2.0

    Ref: li2021 (training error).
    """
    problem = check_problem(kernel, targets, width, depth, sigma2, temperature)
    return float(energy_at(problem, float(np.exp(find_saddle(problem).log_scale))))


def generalization_error(
    kernel: Num[ArrayLike, "rows columns"],
    cross: Num[ArrayLike, "..."],
    diag: Num[ArrayLike, "..."],
    targets: Num[ArrayLike, "..."],
    test_targets: Num[ArrayLike, "..."],
    width: Widths,
    depth: int,
    sigma2: Number,
    temperature: Number = 0.0,
) -> GeneralizationError:
    r"""Return $\epsilon_g = (\langle f \rangle - y)^2 + \mathrm{var} f$ with its parts, means over test points.

    ``test_targets`` (tests,); whether they carry noise is the caller's choice. Raises ValueError for bad input.
    Ref: li2021 (generalization error).
    """
    mean, variance = predictor(kernel, cross, diag, targets, width, depth, sigma2, temperature)
    return split_error(mean, variance, test_targets)


def split_error(
    mean: Float[np.ndarray, " tests"], variance: Float[np.ndarray, " tests"], test_targets: Num[ArrayLike, "..."]
) -> GeneralizationError:
    """Return bias, variance and their sum for predictions of any origin. Raises ValueError for shapes that differ.

    >>> split_error(np.array([1.0, 2.0]), np.array([0.5, 0.5]), np.array([1.0, 1.0]))
    GeneralizationError(bias=0.5, variance=0.5, total=1.0)
    """
    test_targets = np.asarray(test_targets, np.float64)
    if test_targets.shape != mean.shape or not np.isfinite(test_targets).all():
        raise ValueError(f"test_targets have shape {test_targets.shape}: must be {mean.shape} and finite")
    bias, spread = float(np.mean((mean - test_targets) ** 2)), float(np.mean(variance))
    return GeneralizationError(bias, spread, bias + spread)


def infinite_width_predictor(
    kernel: Num[ArrayLike, "rows columns"],
    cross: Num[ArrayLike, "..."],
    diag: Num[ArrayLike, "..."],
    targets: Num[ArrayLike, "..."],
    depth: int,
    sigma2: Number,
    temperature: Number = 0.0,
) -> tuple[Float[np.ndarray, " tests"], Float[np.ndarray, " tests"]]:
    r"""Return mean and variance of the Gaussian process $N \to \infty$, where $Q = \sigma^{2L}$.

    Arguments and errors as :func:`predictor`, without a width. Ref: li2021 (infinite-width limit).
    """
    problem = check_problem(kernel, targets, 1, depth, sigma2, temperature)
    cross, diag = check_tests(cross, diag, len(problem.eigenvalues))
    return predictor_at(problem, cross, diag, float(sigma2) ** depth)


def infinite_depth_scale(load: Number, label_norm: Number, sigma2: Number) -> float:
    r"""Return $\lim_{L\to\infty} u_0^L$ at T = 0: $r_0 / [1 - \alpha^{-1} (1 - \sigma^{-2})]$, or inf.

    ``load`` is $\alpha$, ``label_norm`` $r_0$. The limit is finite if $\sigma^2 (1 - \alpha) < 1$, and $u_0 \to 1$;
    else $u_0 \to \sigma^2 (1 - \alpha)$ and Q grows without bound. Raises ValueError unless all three are positive.

    >>> round(infinite_depth_scale(0.5, 2.0, 1.5), 12), infinite_depth_scale(0.5, 2.0, 2.5)
    (6.0, inf)

    Ref: li2021 (depth dependence).
    """
    for name, value in (("load", load), ("label_norm", label_norm), ("sigma2", sigma2)):
        check_positive(name, value)
    if sigma2 * (1 - load) >= 1:
        return math.inf
    return float(label_norm / (1 - (1 - 1 / sigma2) / load))
