r"""Deep ReLU networks by a heuristic: the theory of linear ones with the kernel of the infinitely wide ReLU network.

The heuristic replaces $K_0$ by $\hat K = \sigma^{-2L} K^{(L)}$, where $K^{(l)}$ is the covariance recursion of an
infinitely wide network, and keeps one scale per layer. Nothing justifies it beyond its limits: it is exact for $N \to
\infty$, and at finite width it moves the variance in the right direction while it cannot move the mean, which in a
real network changes as its features turn. Judge mean and variance apart. Key: li2021 (ReLU section; a heuristic there
too).
"""

import numpy as np
from jaxtyping import Float, Num

from rgflow.kernel_rg.problem import ArrayLike, Number, Widths, check_problem, check_tests, check_widths
from rgflow.kernel_rg.theory import order_parameter, predictor


def arc_cosine_kernel(
    covariance: Num[ArrayLike, "rows columns"],
    row_variance: Num[ArrayLike, " rows"],
    column_variance: Num[ArrayLike, " columns"],
) -> Float[np.ndarray, "rows columns"]:
    r"""Return $\langle \mathrm{relu}(a)\,\mathrm{relu}(b) \rangle$ of Gaussian a, b of given variances v, w.

    $\frac{1}{2\pi} \sqrt{vw}\, [\sin\theta + (\pi - \theta) \cos\theta]$, $\cos\theta = c/\sqrt{vw}$, c the covariance;
    zero where a variance is zero.

    >>> arc_cosine_kernel(np.array([[1.0, 0.0, -1.0]]), np.ones(1), np.ones(3)).round(6).tolist()
    [[0.5, 0.159155, 0.0]]

    Ref: standard (arc-cosine kernel of degree one).
    """
    rows, columns = np.asarray(row_variance, np.float64), np.asarray(column_variance, np.float64)
    product = np.sqrt(rows[:, None] * columns[None, :])
    cosine = np.divide(covariance, product, out=np.zeros_like(product), where=product > 0)
    cosine = np.clip(cosine, -1.0, 1.0)
    angle = np.arccos(cosine)
    return product / (2 * np.pi) * (np.sin(angle) + (np.pi - angle) * cosine)


def heuristic_kernels(
    kernel: Num[ArrayLike, "rows columns"],
    cross: Num[ArrayLike, "tests rows"],
    diag: Num[ArrayLike, " tests"],
    depth: int,
) -> tuple[Float[np.ndarray, "P P"], Float[np.ndarray, "tests P"], Float[np.ndarray, " tests"]]:
    r"""Return $\hat K$, $\hat k$ and $\hat k_{00}$ of the ReLU heuristic from the kernels of the inputs.

    The recursion $K^{(l)} = \sigma^2 \langle \mathrm{relu}\,\mathrm{relu} \rangle$ is homogeneous, so the factor
    $\sigma^{2L}$ comes off as a whole: $\hat K$ contains one $\sigma^2$, that of ``kernel``, and the kernel of infinite
    width is $\sigma^{2L} \hat K$. Raises ValueError for bad input.

    >>> kernel, cross, diag = heuristic_kernels(np.eye(2), np.array([[1.0, 0.0]]), np.ones(1), depth=2)
    >>> kernel.diagonal().round(6).tolist(), diag.round(6).tolist()
    ([0.25, 0.25], [0.25])

    Ref: li2021 (ReLU, a heuristic).
    """
    kernel = np.asarray(kernel, np.float64)
    check_problem(kernel, np.zeros(len(kernel)), 1, depth, 1.0)
    cross, diag = check_tests(cross, diag, len(kernel))
    for _ in check_widths(1, depth):
        variance = np.diag(kernel)
        cross, diag = arc_cosine_kernel(cross, diag, variance), diag / 2
        kernel = arc_cosine_kernel(kernel, variance, variance)
        # arccos loses half the digits near angle zero; on the diagonal the answer is known.
        np.fill_diagonal(kernel, variance / 2)
    return kernel, cross, diag


def heuristic_order_parameter(
    kernel: Num[ArrayLike, "rows columns"],
    targets: Num[ArrayLike, "..."],
    width: Widths,
    depth: int,
    sigma2: Number,
    temperature: Number = 0.0,
) -> float:
    r"""Return $u_0$ of the ReLU heuristic; ``kernel`` is that of the inputs, $(\sigma^2/N_0) X X^T$.

    Arguments and errors as :func:`~rgflow.kernel_rg.order_parameter.order_parameter`. Ref: li2021 (ReLU, a heuristic).
    """
    size = len(np.asarray(kernel))
    hat, _, _ = heuristic_kernels(kernel, np.zeros((0, size)), np.zeros(0), depth)
    return order_parameter(hat, targets, width, depth, sigma2, temperature)


def heuristic_predictor(
    kernel: Num[ArrayLike, "rows columns"],
    cross: Num[ArrayLike, "tests rows"],
    diag: Num[ArrayLike, " tests"],
    targets: Num[ArrayLike, "..."],
    width: Widths,
    depth: int,
    sigma2: Number,
    temperature: Number = 0.0,
) -> tuple[Float[np.ndarray, " tests"], Float[np.ndarray, " tests"]]:
    r"""Return mean and variance of the output of the ReLU heuristic; the three kernels are those of the inputs.

    Arguments and errors as :func:`~rgflow.kernel_rg.theory.predictor`. Ref: li2021 (ReLU, a heuristic).
    """
    return predictor(*heuristic_kernels(kernel, cross, diag, depth), targets, width, depth, sigma2, temperature)
