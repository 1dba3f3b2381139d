r"""Deep ReLU networks by a heuristic: the theory of linear ones with the kernel of the infinitely wide ReLU network.

The heuristic replaces $K_0$ by $\hat K = \sigma^{-2L} K^{(L)}$, where $K^{(l)}$ is the covariance recursion of an
infinitely wide network, and keeps one scale per layer. Only its limits justify it: it is exact for $N \to \infty$. At
finite width it moves the variance in the right direction, but it cannot move the mean, which in a real network changes
as the features turn. Judge mean and variance apart. Key: li2021 (ReLU section; a heuristic there too).
"""

import numpy as np
from jaxtyping import Float, Num

from rgflow.kernel_rg.problem import ArrayLike
from rgflow.kernel_rg.task import Kernels


def arc_cosine_kernel(
    covariance: Num[ArrayLike, "rows columns"],
    row_variance: Num[ArrayLike, " rows"],
    column_variance: Num[ArrayLike, " columns"],
) -> Float[np.ndarray, "rows columns"]:
    r"""Returns $\langle \mathrm{relu}(a)\,\mathrm{relu}(b) \rangle$ of Gaussian a, b of given variances v, w.

    $\frac{1}{2\pi} \sqrt{vw}\, [\sin\theta + (\pi - \theta) \cos\theta]$, $\cos\theta = c/\sqrt{vw}$, c the covariance;
    zero where a variance is zero.

    >>> arc_cosine_kernel(np.array([[1.0, 0.0, -1.0]]), np.ones(1), np.ones(3)).round(6).tolist()
    [[0.5, 0.159155, 0.0]]
    """
    rows, columns = np.asarray(row_variance, np.float64), np.asarray(column_variance, np.float64)
    product = np.sqrt(rows[:, None] * columns[None, :])
    cosine = np.divide(covariance, product, out=np.zeros_like(product), where=product > 0)
    cosine = np.clip(cosine, -1.0, 1.0)
    angle = np.arccos(cosine)
    return product / (2 * np.pi) * (np.sin(angle) + (np.pi - angle) * cosine)


def heuristic_kernels(inputs: Kernels, depth: int) -> list[Kernels]:
    r"""Returns the kernels $\sigma^{-2l} K^{(l)}$, l = 1..L, from those of the inputs; the last ones are $\hat K$.

    The recursion $K^{(l)} = \sigma^2 \langle \mathrm{relu}\,\mathrm{relu} \rangle$ is homogeneous, so the factor
    $\sigma^{2l}$ comes off as a whole. What is returned contains one $\sigma^2$, that of ``inputs``.

    >>> kernels = heuristic_kernels(Kernels(np.eye(2), np.array([[1.0, 0.0]]), np.ones(1)), depth=2)
    >>> kernels[-1].kernel.diagonal().round(6).tolist(), kernels[-1].diag.round(6).tolist()
    ([0.25, 0.25], [0.25])

    Ref: li2021 (ReLU, a heuristic).
    """
    kernels, found = inputs, []
    for _ in range(depth):
        variance = np.diag(kernels.kernel)
        cross = arc_cosine_kernel(kernels.cross, kernels.diag, variance)
        kernel = arc_cosine_kernel(kernels.kernel, variance, variance)
        # arccos loses half the digits near angle zero; on the diagonal the answer is known.
        np.fill_diagonal(kernel, variance / 2)
        kernels = Kernels(kernel, cross, kernels.diag / 2)
        found.append(kernels)
    return found
