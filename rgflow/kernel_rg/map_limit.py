r"""Where training with weight decay ends: the minimum of the regularised energy of a deep linear network.

Of all networks with the output $\beta \cdot x$, the least norm is $|\Theta|^2 = (L + 1) (c|\beta|)^{2/(L+1)}$, $c =
\sqrt{N_0} N^{L/2}$; all layers then have rank one and equal norm. The minimum over $\beta$ of $\frac12 |X\beta - Y|^2 +
\frac{\lambda}{2} |\Theta|^2$ is a ridge regression whose ridge depends on its own answer, $\kappa = \lambda c^{2/(L+1)}
|\beta|^{-2L/(L+1)}$. Beside it $\beta = 0$ is stationary too, and where the decay is strong it is the deepest minimum.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.optimize import brentq

from rgflow.kernel_rg.problem import Problem

LOG_RIDGES = np.linspace(-30.0, 30.0, 1201)
"""Values of $\\ln \\kappa$ (relative to the largest eigenvalue of $XX^T$) between which solutions are looked for."""


class MapLimit(NamedTuple):
    r"""The minimum that is reached from interpolation: mean output at test points, training energy and Q.

    Mean and Q are zero where no other minimum than $\beta = 0$ exists.
    """

    mean: Float[np.ndarray, " tests"]
    energy: float
    scale: float


def map_limit(problem: Problem, cross: Float[np.ndarray, "tests P"], num_inputs: int) -> MapLimit:
    r"""Returns the minimum of the energy with weight decay $T/\sigma^2$ of a problem at temperature T > 0.

    Of the two solutions of the ridge's equation that with the smaller ridge is a minimum; descent from weights of the
    prior, whose outputs are not small, starts on its side.
    """
    depth, width = len(problem.widths), float(problem.widths[0])
    decay, unit = problem.temperature / problem.sigma2, num_inputs / problem.sigma2
    # Modes of X X^T; the kernel is sigma2 / N0 times it.
    squares = unit * problem.eigenvalues
    kept = squares > 0
    size = np.sqrt(num_inputs) * width ** (depth / 2)

    def log_norm(log_ridge: float) -> float:
        weights = squares[kept] * problem.projections[kept] ** 2 / (squares[kept] + np.exp(log_ridge)) ** 2
        return float(np.log(weights.sum()) / 2)

    def balance(log_ridge: float) -> float:
        power = 2 / (depth + 1)
        return log_ridge + 2 * depth / (depth + 1) * log_norm(log_ridge) - np.log(decay) - power * np.log(size)

    grid = LOG_RIDGES + np.log(squares.max())
    values = np.array([balance(x) for x in grid])
    rising = np.flatnonzero((values[:-1] < 0) & (values[1:] >= 0))
    if not rising.size:
        return MapLimit(np.zeros(len(cross)), float(problem.projections @ problem.projections / 2), 0.0)
    log_ridge = float(np.asarray(brentq(balance, grid[rising[0]], grid[rising[0] + 1])))
    ridge = float(np.exp(log_ridge))
    dual = problem.projections / (squares + ridge)
    misfit = ridge * dual
    squared_norm = (size * np.exp(log_norm(log_ridge))) ** (2 / (depth + 1))
    mean = unit * (cross @ problem.vectors) @ dual
    return MapLimit(mean, float(misfit @ misfit / 2), float((squared_norm / width) ** depth))
