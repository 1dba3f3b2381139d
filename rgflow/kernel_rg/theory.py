r"""What the theory of a deep linear network in equilibrium says, in closed form or at the saddle point.

:func:`order_parameter`, :func:`predictor` and :func:`exact_scale_posterior` take a kernel, its labels and the network.
Each of them makes one :class:`~rgflow.kernel_rg.problem.Problem` and calls one function of it; for several quantities
of the same data make the problem once and call those functions. Key: li2021.
"""

import math

import numpy as np
from jaxtyping import Float, Num

from rgflow.kernel_rg.oracle import ScalePosterior, scale_posterior
from rgflow.kernel_rg.problem import (
    ArrayLike,
    Number,
    Problem,
    Widths,
    average_kernels,
    check_positive,
    checked_tests,
    make_problem,
    output_moments_at,
    predictor_at,
)
from rgflow.kernel_rg.saddle import Saddle, find_saddle, saddle_grid


def order_parameter(
    kernel: Num[ArrayLike, "rows columns"],
    targets: Num[ArrayLike, "..."],
    width: Widths,
    depth: int,
    sigma2: Number,
    temperature: Number = 0.0,
) -> float:
    r"""Returns $u_0$ (for unequal widths $Q^{1/L}$) at the saddle point of least action.

    ``kernel`` $K_0 = (\sigma^2/N_0) X X^T$ of shape (P, P) contains $\sigma^2$; ``targets`` (P,). At T = 0 it solves
    $1 - u_0/\sigma^2 = \alpha (1 - r_0 u_0^{-L})$, $\alpha = \rho/N$, $r_0 = Y^T K_0^+ Y/\rho$, rho the rank of the
    kernel. Raises ValueError for bad input (:func:`~rgflow.kernel_rg.problem.make_problem`), and if the labels
    vanish at T = 0 and width is at most the rank: then nothing keeps $u_0$ from zero.

    >>> order = order_parameter(np.diag([2, 1, 0.5, 0.25]), np.sqrt([1, 2, 0.5, 0.1]), width=5, depth=1, sigma2=0.5)
    >>> round(order, 6)
    0.676498

    Ref: li2021 (saddle equation).
    """
    return float(find_saddle(make_problem(kernel, targets, width, depth, sigma2, temperature)).order_parameter)


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
    r"""Returns mean $Q k_0^T G Y$ and variance $Q k_{00} - Q^2 k_0^T G k_0$ of the output, $G = (Q K_0 + T)^{-1}$.

    ``kernel`` $K_0 = (\sigma^2/N_0) X X^T$ (P, P), ``cross`` $k_0$ (tests, P), ``diag`` $k_{00}$ (tests,), ``targets``
    (P,). At T = 0 the mean $k_0^T K_0^+ Y$ depends on neither width, depth nor sigma2. Raises ValueError as
    :func:`order_parameter`, and for bad test kernels.

    >>> kernel, cross, diag = np.eye(2), np.array([[0.5, 0.0]]), np.ones(1)
    >>> mean, variance = predictor(kernel, cross, diag, np.array([1.0, -1.0]), width=4, depth=2, sigma2=1.0)
    >>> mean.round(6).tolist(), variance.round(6).tolist()
    ([0.5], [0.75])

    Ref: li2021 (predictor statistics).
    """
    problem = make_problem(kernel, targets, width, depth, sigma2, temperature)
    return predictor_at(problem, cross, diag, float(find_saddle(problem).scale))


def exact_scale_posterior(
    kernel: Num[ArrayLike, "rows columns"],
    targets: Num[ArrayLike, "..."],
    width: Widths,
    depth: int,
    sigma2: Number,
    temperature: Number = 0.0,
) -> ScalePosterior:
    r"""Returns the exact posterior of $Q = \prod_l u_l$ at any width.

    Arguments and errors as :func:`order_parameter`; see :func:`~rgflow.kernel_rg.oracle.scale_posterior`.

    >>> posterior = exact_scale_posterior(np.eye(8), np.full(8, np.sqrt(2)), width=10, depth=1, sigma2=1.0)
    >>> round(posterior.moment(1), 9)
    1.417662822
    """
    return scale_posterior(make_problem(kernel, targets, width, depth, sigma2, temperature))


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
    r"""Returns what :func:`predictor` does at many points (N, L, sigma2, T) of a sweep on the same data.

    The kernels are those at $\sigma^2 = 1$; the last four arguments are numbers or arrays that broadcast together, and
    the results have their shape (first), nan where there is no saddle point. Raises ValueError for bad input.

    >>> arguments = np.eye(2), np.array([[0.5, 0.0]]), np.ones(1), np.array([1.0, -1.0])
    >>> mean, variance = predictor_grid(*arguments, width=np.array([4, 8]), depth=2, sigma2=1.0)
    >>> mean.round(6).tolist(), variance.round(6).tolist()
    ([[0.5], [0.5]], [[0.75], [0.75]])
    """
    unit = make_problem(unit_kernel, targets, 1, 1, 1.0)
    cross, diag = checked_tests(unit, unit_cross, unit_diag)
    saddle = saddle_grid(unit, width, depth, sigma2, temperature)
    # The kernel is sigma2 times the unit kernel, so that Q sigma2 is the scale of the latter.
    scale = (saddle.scale * np.asarray(sigma2, np.float64))[..., None]
    modes, denominator = cross @ unit.vectors, unit.eigenvalues + np.asarray(temperature)[..., None] / scale
    gain = np.divide(1.0, denominator, out=np.zeros_like(denominator), where=unit.eigenvalues > 0)
    # The maximum of nan is nan: there is no variance without a saddle point.
    return (gain * unit.projections) @ modes.T, scale * np.maximum(diag - gain @ (modes**2).T, 0.0)


def hidden_kernels(problem: Problem, saddle: Saddle) -> Float[np.ndarray, "L P P"]:
    r"""Returns the average kernels $K_1 \ldots K_L$ of the hidden layers on the training set at the saddle point.

    $K_l = (\sigma^2/N_l) X_l X_l^T$ is what layer l hands on, in posterior average $\sigma^2 [(1 - 1/N_l) K_{l-1} +
    \langle f f^T \rangle / (N_l \prod_{j \ge l} u_j)]$. Integrating out the layers above l leaves a network of l layers
    that ends in the kernel $\prod_{j > l} u_j\, K_l$: the renormalization that gives the method its name.

    >>> problem = make_problem(np.eye(2), np.ones(2), width=10, depth=2, sigma2=1.0)
    >>> hidden_kernels(problem, find_saddle(problem))[0].round(6).tolist()
    [[1.0, 0.1], [0.1, 1.0]]

    Ref: li2021 (layer kernels, back-propagating kernel renormalization).
    """
    mean, variance = output_moments_at(problem, float(saddle.scale))
    above = np.cumprod(np.asarray(saddle.layer_scales)[::-1])[::-1]
    moment = np.outer(mean, mean) + np.diag(variance)
    return average_kernels(problem, [moment / scale for scale in above])


def infinite_depth_scale(load: Number, label_norm: Number, sigma2: Number) -> float:
    r"""Returns $\lim_{L\to\infty} u_0^L$ at T = 0: $r_0 / [1 - \alpha^{-1} (1 - \sigma^{-2})]$, or inf.

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
