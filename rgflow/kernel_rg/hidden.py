r"""Kernels of the hidden layers, and the flow of the kernel as layers are integrated out one by one.

$K_l = (\sigma^2/N_l) X_l X_l^T$ is the kernel that layer l hands on. In posterior average $K_l = \sigma^2 [(1 - 1/N_l)
K_{l-1} + \langle f f^T \rangle / (N_l \prod_{j \ge l} u_j)]$: every direction of the weights of layer l but the one
the output looks along stays as drawn from the prior. Integrating out the layers above l leaves a network of l layers
that ends in the kernel $\prod_{j > l} u_j\, K_l$: the renormalization that gives the method its name. Key: li2021.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num

from rgflow.kernel_rg.gaussian import output_moments_at
from rgflow.kernel_rg.order_parameter import find_saddle
from rgflow.kernel_rg.problem import ArrayLike, Number, Problem, Widths, check_problem


class KernelFlow(NamedTuple):
    r"""One row for each stage of the flow, from nothing integrated out (layer L) to everything (layer 0).

    ``layer``: the topmost layer that is left. ``scale``: $\prod_{j>l} u_j$, and ``infinite_width_scale``
    $\sigma^{2(L-l)}$, what its kernel has been multiplied by. Of the renormalized kernel $\mathcal K_l$ in posterior
    average: ``variance`` $\mathrm{tr}\,\mathcal K_l / P$, ``alignment`` $Y^T \mathcal K_l Y / (|Y|^2 \mathrm{tr}\,
    \mathcal K_l)$ in [0, 1] (nan for labels zero) and ``participation_ratio`` $(\mathrm{tr}\,\mathcal K_l)^2 /
    \mathrm{tr}\,\mathcal K_l^2$, an effective rank in [1, P].
    """

    layer: Int[np.ndarray, " stages"]
    scale: Float[np.ndarray, " stages"]
    infinite_width_scale: Float[np.ndarray, " stages"]
    variance: Float[np.ndarray, " stages"]
    alignment: Float[np.ndarray, " stages"]
    participation_ratio: Float[np.ndarray, " stages"]


def hidden_kernels(
    kernel: Num[ArrayLike, "rows columns"],
    targets: Num[ArrayLike, "..."],
    width: Widths,
    depth: int,
    sigma2: Number,
    temperature: Number = 0.0,
) -> Float[np.ndarray, "depth P P"]:
    r"""Return the average kernels $K_1 \ldots K_L$ on the training set at the saddle point.

    The recursion above, with $\langle f f^T \rangle = \mu\mu^T + C$ of the training outputs; at T = 0 this is $YY^T$
    (its part in the range of the kernel). Raises ValueError for bad input.

    >>> kernels = hidden_kernels(np.eye(2), np.ones(2), width=10, depth=2, sigma2=1.0)
    >>> kernels[0].round(6).tolist()
    [[1.0, 0.1], [0.1, 1.0]]

    Ref: li2021 (layer kernels).
    """
    problem = check_problem(kernel, targets, width, depth, sigma2, temperature)
    layer_scales, log_scale = scales_by_layer(problem)
    mean, variance = output_moments_at(problem, float(np.exp(log_scale)))
    above = np.cumprod(layer_scales[::-1])[::-1]
    moment = np.outer(mean, mean) + np.diag(variance)
    return recurse_kernels(problem, [moment / scale for scale in above])


def hidden_kernels_zero_temperature(
    kernel: Num[ArrayLike, "rows columns"],
    targets: Num[ArrayLike, "..."],
    width: int,
    depth: int,
    sigma2: Number,
) -> Float[np.ndarray, "depth P P"]:
    r"""Return the kernels at T = 0 and equal widths in closed form, l = 1..L.

    $K_l = \sigma^{2l} (1 - \frac1N)^l K_0 + \frac{YY^T}{N} \sum_{j=1}^{l} \sigma^{2(l-j+1)} (1 - \frac1N)^{l-j}
    u_0^{-(L-j+1)}$, with Y's part in the range of the kernel. Raises ValueError for bad input.
    Ref: li2021 (layer kernels).
    """
    problem = check_problem(kernel, targets, width, depth, sigma2)
    order = np.exp(find_saddle(problem).log_scale / depth)
    labels = problem.vectors @ np.where(problem.eigenvalues > 0, problem.projections, 0.0)
    start = (problem.vectors * problem.eigenvalues) @ problem.vectors.T
    kept = sigma2 * (1 - 1 / width)
    kernels = []
    for layer in range(1, depth + 1):
        above = np.arange(1, layer + 1)
        weight = np.sum(sigma2 * kept ** (layer - above) * order ** -(depth - above + 1.0)) / width
        kernels.append(kept**layer * start + weight * np.outer(labels, labels))
    return np.array(kernels)


def kernel_flow(
    kernel: Num[ArrayLike, "rows columns"],
    targets: Num[ArrayLike, "..."],
    width: Widths,
    depth: int,
    sigma2: Number,
    temperature: Number = 0.0,
) -> KernelFlow:
    r"""Return the flow of the partially integrated kernel, L + 1 rows from layer L down to the input.

    Arguments and errors as :func:`hidden_kernels`.

    >>> flow = kernel_flow(np.eye(2), np.ones(2), width=10, depth=2, sigma2=1.0)
    >>> flow.layer.tolist(), flow.scale.round(6).tolist(), flow.alignment.round(6).tolist()
    ([2, 1, 0], [1.0, 1.0, 1.0], [0.595, 0.55, 0.5])

    Ref: li2021 (back-propagating kernel renormalization).
    """
    problem = check_problem(kernel, targets, width, depth, sigma2, temperature)
    layer_scales, _ = scales_by_layer(problem)
    bare = np.concatenate(
        [
            ((problem.vectors * problem.eigenvalues) @ problem.vectors.T)[None],
            hidden_kernels(kernel, targets, width, depth, sigma2, temperature),
        ]
    )[::-1]
    scale = np.concatenate([[1.0], np.cumprod(layer_scales[::-1])])
    renormalized = scale[:, None, None] * bare
    labels = problem.vectors @ problem.projections
    trace = np.trace(renormalized, axis1=1, axis2=2)
    norm = labels @ labels
    overlap = np.einsum("i,lij,j->l", labels, renormalized, labels)
    return KernelFlow(
        layer=np.arange(depth, -1, -1),
        scale=scale,
        infinite_width_scale=float(sigma2) ** np.arange(depth + 1.0),
        variance=trace / len(labels),
        alignment=overlap / (norm * trace) if norm > 0 else np.full(depth + 1, np.nan),
        participation_ratio=trace**2 / (renormalized**2).sum(axis=(1, 2)),
    )


def scales_by_layer(problem: Problem) -> tuple[Float[np.ndarray, " L"], float]:
    r"""Return all $u_l$ at the saddle point, from the input to the output, and $\ln Q$."""
    saddle = find_saddle(problem)
    order = np.searchsorted(problem.layers.widths, problem.widths)
    return np.asarray(saddle.layer_scales)[order], float(saddle.log_scale)


def recurse_kernels(
    problem: Problem, moments: list[Float[np.ndarray, "P P"]], outputs: int = 1
) -> Float[np.ndarray, "L P P"]:
    r"""Carry $K_l = \sigma^2 [(1 - m/N_l) K_{l-1} + M_l/N_l]$ up the layers; ``moments`` $M_l$ are in the eigenbasis.

    ``outputs`` m directions of each layer's weights are not as drawn from the prior.
    """
    current, kernels = np.diag(problem.eigenvalues), []
    for width, moment in zip(problem.widths, moments, strict=True):
        current = problem.sigma2 * ((1 - outputs / width) * current + moment / width)
        kernels.append(problem.vectors @ current @ problem.vectors.T)
    return np.array(kernels)
