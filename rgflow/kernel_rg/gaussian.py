r"""The network of a given scale Q: a Gaussian process of kernel $Q K_0$ under noise of variance T, mode by mode.

Everything in this room that is known at fixed Q is here; the saddle point puts in one Q, the exact law averages over
many. In each mode the label is shrunk by $w_k = Q\lambda_k / (Q\lambda_k + T)$. Key: li2021.
"""

import numpy as np
from jaxtyping import Float

from rgflow.kernel_rg.problem import Problem


def mode_gain(problem: Problem, scale: Float[np.ndarray, "*batch"] | float) -> Float[np.ndarray, "*batch P"]:
    r"""Return $Q / (Q\lambda_k + T)$ for one or many scales Q, zero where $\lambda_k = 0$ at T = 0."""
    scale = np.asarray(scale, np.float64)[..., None]
    # Divided by Q first: neither a huge nor a tiny scale overflows.
    denominator = problem.eigenvalues + problem.temperature / scale
    return np.divide(1.0, denominator, out=np.zeros_like(denominator), where=denominator > 0)


def predictor_at(
    problem: Problem, cross: Float[np.ndarray, "tests P"], diag: Float[np.ndarray, " tests"], scale: float
) -> tuple[Float[np.ndarray, " tests"], Float[np.ndarray, " tests"]]:
    """Return mean and variance of the Gaussian process of a given scale Q."""
    modes, gain = cross @ problem.vectors, mode_gain(problem, scale)
    return modes @ (gain * problem.projections), scale * (diag - (modes**2) @ gain)


def energy_at(problem: Problem, scale: Float[np.ndarray, "*batch"] | float) -> Float[np.ndarray, "*batch"]:
    r"""Return $\frac12 \sum_k [(1 - w_k)^2 \hat y_k^2 + T w_k]$ for one or many scales Q."""
    share = mode_gain(problem, scale) * problem.eigenvalues
    return np.asarray(((1 - share) ** 2 * problem.projections**2 + problem.temperature * share).sum(axis=-1) / 2)


def output_moments_at(
    problem: Problem, scale: Float[np.ndarray, "*batch"] | float
) -> tuple[Float[np.ndarray, "*batch P"], Float[np.ndarray, "*batch P"]]:
    r"""Return mean $w_k \hat y_k$ and variance $T w_k$ of the training outputs in the eigenbasis, for many scales Q.

    Together they give $\langle f f^T \rangle = \mu\mu^T + C$: $YY^T$ in the range of the kernel at T = 0.
    """
    share = mode_gain(problem, scale) * problem.eigenvalues
    return share * problem.projections, problem.temperature * share
