r"""Several outputs: the order parameter becomes a symmetric matrix, m x m for m outputs.

The outputs share the hidden layers, so that given Q their covariance is $Q_{ab} K_0$, and at a saddle point the
products over layers are powers of one matrix. At T = 0, $I - U_0/\sigma^2 = \alpha (I - R_0 U_0^{-L})$ with $R_0 = Y^T
K_0^+ Y/\rho$: $U_0$ commutes with $R_0$, and each eigenvalue solves the equation of one output. At T > 0 the action
$\frac{NL}{2} \mathrm{tr}(U/\sigma^2 - \ln U) + \frac12 \sum_k [\ln\det G_k^{-1} + \hat y_k^T G_k \hat y_k]$ with $G_k
= (\lambda_k U^L + T)^{-1}$ is minimised over symmetric positive U (equal widths), where $I - U/\sigma^2 = \frac1N
\sum_k \lambda_k Q^{1/2} (G_k - G_k \hat y_k \hat y_k^T G_k) Q^{1/2}$. Valid for m much smaller than the widths. Key:
li2021; the form at T > 0 is ours.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num
from scipy.optimize import minimize

from rgflow.kernel_rg.hidden import recurse_kernels, scales_by_layer
from rgflow.kernel_rg.problem import ArrayLike, Number, Problem, Widths, check_problem, check_tests

TOLERANCE = 1e-10
"""Largest component of the gradient of the action per unit of width at which minimisation stops."""


class MatrixSaddle(NamedTuple):
    r"""A saddle point: the common eigenvectors of all scales (columns of ``basis``) and $u_l$ along each of them."""

    basis: Float[np.ndarray, "m m"]
    layer_scales: Float[np.ndarray, "L m"]

    def product_above(self, layer: int, power: float = 1.0) -> Float[np.ndarray, "m m"]:
        r"""Return the matrix $\prod_{j > l} u_j$ to a real power, for l = 0..L."""
        products = np.prod(self.layer_scales[layer:], axis=0) ** power
        return (self.basis * products) @ self.basis.T

    @property
    def scale(self) -> Float[np.ndarray, "m m"]:
        """The matrix Q."""
        return self.product_above(0)

    @property
    def order_parameter(self) -> Float[np.ndarray, "m m"]:
        r"""The matrix $U_0 = Q^{1/L}$."""
        return self.product_above(0, 1 / len(self.layer_scales))


def matrix_order_parameter(
    kernel: Num[ArrayLike, "rows columns"],
    targets: Num[ArrayLike, "..."],
    width: Widths,
    depth: int,
    sigma2: Number,
    temperature: Number = 0.0,
) -> Float[np.ndarray, "m m"]:
    r"""Return $U_0$ ($Q^{1/L}$ for unequal widths) for ``targets`` of shape (P, m).

    Raises ValueError for bad input, for unequal widths at T > 0, and where the labels of some combination of outputs
    vanish at T = 0 while width is at most the rank of the kernel.

    >>> order = matrix_order_parameter(np.eye(4), np.eye(4)[:, :2], width=8, depth=1, sigma2=1.0)
    >>> order.round(6).tolist()
    [[0.683013, 0.0], [0.0, 0.683013]]

    Ref: li2021 (several outputs).
    """
    return matrix_saddle(kernel, targets, width, depth, sigma2, temperature).order_parameter


def matrix_saddle(
    kernel: Num[ArrayLike, "rows columns"],
    targets: Num[ArrayLike, "..."],
    width: Widths,
    depth: int,
    sigma2: Number,
    temperature: Number = 0.0,
) -> MatrixSaddle:
    """Return the saddle point itself. Arguments and errors as :func:`matrix_order_parameter`. Ref: li2021."""
    return _find(check_problem(kernel, targets, width, depth, sigma2, temperature, outputs=True))


def matrix_predictor(
    kernel: Num[ArrayLike, "rows columns"],
    cross: Num[ArrayLike, "..."],
    diag: Num[ArrayLike, "..."],
    targets: Num[ArrayLike, "..."],
    width: Widths,
    depth: int,
    sigma2: Number,
    temperature: Number = 0.0,
) -> tuple[Float[np.ndarray, "tests m"], Float[np.ndarray, "tests m m"]]:
    r"""Return mean and covariance of the m outputs at each test point.

    With $k = V^T k_0$, $\langle f \rangle = \sum_k k_k Q (\lambda_k Q + T)^{-1} \hat y_k$ and $\mathrm{cov} f = Q
    k_{00} - \sum_k k_k^2 Q (\lambda_k Q + T)^{-1} Q$; at T = 0 it is $Q (k_{00} - k_0^T K_0^+ k_0)$. Arguments and
    errors as :func:`matrix_order_parameter`. Ref: li2021 (several outputs).
    """
    problem = check_problem(kernel, targets, width, depth, sigma2, temperature, outputs=True)
    cross, diag = check_tests(cross, diag, len(problem.eigenvalues))
    saddle = _find(problem)
    modes, scale = cross @ problem.vectors, np.prod(saddle.layer_scales, axis=0)
    gain = _gain(problem, scale)
    mean = modes @ (gain * (problem.projections @ saddle.basis)) @ saddle.basis.T
    along = scale * (diag[:, None] - modes**2 @ gain)
    return mean, np.einsum("ai,ti,bi->tab", saddle.basis, along, saddle.basis)


def matrix_training_energy(
    kernel: Num[ArrayLike, "rows columns"],
    targets: Num[ArrayLike, "..."],
    width: Widths,
    depth: int,
    sigma2: Number,
    temperature: Number = 0.0,
) -> float:
    r"""Return $\frac12 \langle |f - Y|^2 \rangle$ summed over points and outputs. Arguments and errors as
    :func:`matrix_order_parameter`. Ref: li2021 (several outputs)."""
    problem = check_problem(kernel, targets, width, depth, sigma2, temperature, outputs=True)
    saddle = _find(problem)
    share = _gain(problem, np.prod(saddle.layer_scales, axis=0)) * problem.eigenvalues[:, None]
    misfit = (1 - share) * (problem.projections @ saddle.basis)
    return float((misfit**2 + problem.temperature * share).sum() / 2)


def matrix_hidden_kernels(
    kernel: Num[ArrayLike, "rows columns"],
    targets: Num[ArrayLike, "..."],
    width: Widths,
    depth: int,
    sigma2: Number,
    temperature: Number = 0.0,
) -> Float[np.ndarray, "depth P P"]:
    r"""Return $K_l = \sigma^2 [(1 - m/N_l) K_{l-1} + \langle F (\prod_{j \ge l} u_j)^{-1} F^T \rangle / N_l]$.

    The layers are l = 1..L, and F (P, m) are the training outputs. Arguments and errors as
    :func:`matrix_order_parameter`. Ref: li2021 (layer kernels, several outputs).
    """
    problem = check_problem(kernel, targets, width, depth, sigma2, temperature, outputs=True)
    saddle = _find(problem)
    share = _gain(problem, np.prod(saddle.layer_scales, axis=0)) * problem.eigenvalues[:, None]
    mean = share * (problem.projections @ saddle.basis)
    moments = []
    for layer in range(len(problem.widths)):
        above = np.prod(saddle.layer_scales[layer:], axis=0)
        variance = (problem.temperature * share / above).sum(axis=1)
        moments.append((mean / above) @ mean.T + np.diag(variance))
    return recurse_kernels(problem, moments, outputs=mean.shape[1])


def _gain(problem: Problem, scale: Float[np.ndarray, " m"]) -> Float[np.ndarray, "P m"]:
    r"""Return $q_i / (\lambda_k q_i + T)$ along each eigenvector of Q, zero where $\lambda_k = 0$ at T = 0."""
    denominator = problem.eigenvalues[:, None] + problem.temperature / scale[None, :]
    return np.divide(1.0, denominator, out=np.zeros_like(denominator), where=denominator > 0)


def _find(problem: Problem) -> MatrixSaddle:
    if problem.temperature == 0:
        return _zero_temperature(problem)
    if np.ptp(problem.widths) > 0:
        raise ValueError(f"width = {problem.widths.tolist()}: must be equal in all layers for several outputs at T > 0")
    return _least_action(problem)


def _zero_temperature(problem: Problem) -> MatrixSaddle:
    """Solve the equation of one output for each eigenvalue of the label matrix R_0."""
    kept = problem.eigenvalues > 0
    whitened = problem.projections[kept] / np.sqrt(problem.eigenvalues[kept])[:, None]
    # Squared singular values of the whitened labels: exact zeros stay zeros, which R_0 itself would round away.
    _, norms, basis = np.linalg.svd(whitened.T @ whitened / problem.rank)
    norms = np.where(norms > 1e-14 * norms.max(), norms, 0.0)
    scales = [
        # Any labels of the same r_0 will do: at T = 0 nothing else enters.
        scales_by_layer(problem._replace(projections=np.sqrt(norm * problem.eigenvalues)))[0]
        for norm in norms
    ]
    return MatrixSaddle(basis.T, np.stack(scales, axis=1))


def _least_action(problem: Problem) -> MatrixSaddle:
    """Minimise the action over ln U from two starts: best among diagonal matrices in a label basis, and isotropic."""
    outputs, depth = problem.projections.shape[1], len(problem.widths)
    damping = np.sqrt(problem.eigenvalues) / (problem.eigenvalues + problem.temperature)
    basis = np.linalg.svd(damping[:, None] * problem.projections)[2].T
    rotated = problem.projections @ basis
    separate = [scales_by_layer(problem._replace(projections=column))[1] / depth for column in rotated.T]
    pooled = np.sqrt((problem.projections**2).mean(axis=1))
    common = scales_by_layer(problem._replace(projections=pooled))[1] / depth
    starts = [(basis * np.array(separate)) @ basis.T, common * np.eye(outputs)]
    with jax.enable_x64(True):
        action = _matrix_action(problem)
        fits = [minimize(action, _flatten(start), jac=True, method="BFGS", tol=TOLERANCE) for start in starts]
    best = min(fits, key=lambda fit: fit.fun)
    logs, vectors = np.linalg.eigh(_symmetric(best.x, outputs))
    return MatrixSaddle(vectors, np.broadcast_to(np.exp(logs), (depth, outputs)).copy())


def _matrix_action(problem: Problem) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """Return a function of the upper triangle of ln U: the action per unit of width, and its gradient."""
    rows, columns = np.triu_indices(problem.projections.shape[1])
    arrays = [jnp.asarray(problem.eigenvalues), jnp.asarray(problem.projections)]
    numbers = [float(problem.widths[0]), float(len(problem.widths)), problem.sigma2, problem.temperature]

    def evaluate(flat: np.ndarray) -> tuple[float, np.ndarray]:
        log_order = jnp.asarray(_symmetric(flat, problem.projections.shape[1]))
        value, gradient = _value_and_gradient(log_order, *arrays, *numbers)
        gradient = np.asarray(gradient)
        # An entry off the diagonal moves two elements of the matrix.
        return float(value), np.where(rows == columns, 1.0, 2.0) * ((gradient + gradient.T) / 2)[rows, columns]

    return evaluate


@jax.jit
@jax.value_and_grad
def _value_and_gradient(
    log_order: Float[Array, "m m"],
    eigenvalues: Float[Array, " P"],
    projections: Float[Array, "P m"],
    width: Float[Array, ""],
    depth: Float[Array, ""],
    sigma2: Float[Array, ""],
    temperature: Float[Array, ""],
) -> Float[Array, ""]:
    identity = jnp.eye(len(log_order))
    scale = jax.scipy.linalg.expm(depth * log_order)
    prior = depth / 2 * (jnp.trace(jax.scipy.linalg.expm(log_order)) / sigma2 - jnp.trace(log_order))
    covariance = eigenvalues[:, None, None] * scale[None] + temperature * identity[None]
    energy = jnp.sum(projections * jnp.linalg.solve(covariance, projections[:, :, None])[..., 0])
    return prior + (jnp.linalg.slogdet(covariance)[1].sum() + energy) / (2 * width)


def _flatten(matrix: Float[np.ndarray, "m m"]) -> Float[np.ndarray, " triangle"]:
    return matrix[np.triu_indices(len(matrix))]


def _symmetric(flat: Float[np.ndarray, " triangle"], size: int) -> Float[np.ndarray, "m m"]:
    matrix = np.zeros((size, size))
    matrix[np.triu_indices(size)] = flat
    return matrix + matrix.T - np.diag(np.diag(matrix))
