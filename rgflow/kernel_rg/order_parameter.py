r"""The scalar order parameter of a kernel and its labels: one point or a grid of them.

Inputs are checked on the host; the solving is done by :func:`~rgflow.kernel_rg.saddle.solve_saddle` under x64, whatever
the caller's setting, and the results are float64. Key: li2021.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from rgflow.kernel_rg.problem import ArrayLike, Layers, Number, Problem, Spectrum, Widths, check_problem
from rgflow.kernel_rg.saddle import Saddle, solve_saddle

MAP_BATCH = 100
"""Points of a grid solved together, which keeps their scan small."""

SMALLEST_SIZE = 32
"""Numbers of modes up to this one share one compiled program."""


def find_saddle(problem: Problem) -> Saddle:
    """Solve one checked problem under x64, into NumPy arrays. Raises ValueError if there is no saddle point."""
    with jax.enable_x64(True):
        arguments = (_padded(problem), problem.layers, problem.sigma2, problem.temperature)
        saddle = jax.tree.map(np.asarray, _solve(*jax.tree.map(jnp.asarray, arguments)))
    if not np.isfinite(saddle.log_scale):
        raise ValueError(
            f"targets have no part in the range of the kernel: at temperature = 0 width must exceed its rank "
            f"{problem.rank}, not be {int(problem.widths.min())}"
        )
    if problem.temperature > 0:
        rest = _null_action(problem, np.asarray(problem.temperature))
        saddle = saddle._replace(action=saddle.action + rest, actions=saddle.actions + rest)
    return saddle


def order_parameter(
    kernel: Num[ArrayLike, "rows columns"],
    targets: Num[ArrayLike, "..."],
    width: Widths,
    depth: int,
    sigma2: Number,
    temperature: Number = 0.0,
) -> float:
    r"""Return $u_0$ (for unequal widths $Q^{1/L}$) at the saddle point of least action.

    ``kernel`` $K_0 = (\sigma^2/N_0) X X^T$ of shape (P, P) contains $\sigma^2$; ``targets`` (P,). At T = 0 it solves
    $1 - u_0/\sigma^2 = \alpha (1 - r_0 u_0^{-L})$, $\alpha = \rho/N$, $r_0 = Y^T K_0^+ Y/\rho$, rho the rank of the
    kernel. Raises ValueError for bad input (:func:`~rgflow.kernel_rg.problem.check_problem`), and if the labels
    vanish at T = 0 and width is at most the rank: then nothing keeps $u_0$ from zero.

    >>> order = order_parameter(np.diag([2, 1, 0.5, 0.25]), np.sqrt([1, 2, 0.5, 0.1]), width=5, depth=1, sigma2=0.5)
    >>> round(order, 6)
    0.676498

    Ref: li2021 (saddle equation).
    """
    return float(saddle_points(kernel, targets, width, depth, sigma2, temperature).order_parameter)


def saddle_points(
    kernel: Num[ArrayLike, "rows columns"],
    targets: Num[ArrayLike, "..."],
    width: Widths,
    depth: int,
    sigma2: Number,
    temperature: Number = 0.0,
) -> Saddle:
    """Return all saddle points, as :class:`Saddle`, with one ``layer_scales`` for each layer. Arguments and errors as
    :func:`order_parameter`. Ref: li2021 (saddle equation)."""
    problem = check_problem(kernel, targets, width, depth, sigma2, temperature)
    saddle = find_saddle(problem)
    return saddle._replace(layer_scales=saddle.layer_scales[np.searchsorted(problem.layers.widths, problem.widths)])


def order_parameter_grid(
    unit_kernel: Num[ArrayLike, "rows columns"],
    targets: Num[ArrayLike, "..."],
    width: Num[ArrayLike, "..."] | Number,
    depth: Num[ArrayLike, "..."] | Number,
    sigma2: Num[ArrayLike, "..."] | Number,
    temperature: Num[ArrayLike, "..."] | Number = 0.0,
) -> Saddle:
    r"""Return the saddle points at many points (N, L, sigma2, T) in one compiled program; equal widths.

    ``unit_kernel`` is $X X^T/N_0$, the kernel at $\sigma^2 = 1$, so that sigma2 can be swept; the other four
    arguments are numbers or arrays that broadcast together, and the fields of the result have their shape (first).
    Where there is no saddle point the result is nan. Raises ValueError for bad input at any point.

    >>> grid = order_parameter_grid(np.eye(3), np.ones(3), np.array([3, 6]), 1, 1.0, 0.0)
    >>> grid.order_parameter.round(6).tolist()
    [1.0, 1.0]

    Ref: li2021 (saddle equation).
    """
    points = np.broadcast_arrays(*(np.asarray(a, np.float64) for a in (width, depth, sigma2, temperature)))
    names = ("width", "depth", "sigma2", "temperature")
    rules = ("at least 1", "at least 1", "positive", "not negative")
    for name, values, rule in zip(names, points, rules, strict=True):
        good = {"at least 1": values >= 1, "positive": values > 0, "not negative": values >= 0}[rule]
        if not (good & np.isfinite(values)).all():
            raise ValueError(f"{name} = {values[~(good & np.isfinite(values))][0]}: must be finite and {rule}")
    problem = check_problem(unit_kernel, targets, 1, 1, 1.0)
    with jax.enable_x64(True):
        flat = [jnp.asarray(values.ravel()) for values in points]
        saddles = _solve_grid(jax.tree.map(jnp.asarray, problem.spectrum), *flat)
    shape = points[0].shape
    saddles = jax.tree.map(lambda leaf: np.asarray(leaf).reshape(shape + leaf.shape[1:]), saddles)
    rest = _null_action(problem, points[3])
    return saddles._replace(action=saddles.action + rest, actions=saddles.actions + rest[..., None])


def _padded(problem: Problem) -> Spectrum:
    """Fill up the modes with empty ones to a power of two, so that few numbers of points need a compilation."""
    size = len(problem.eigenvalues)
    missing = max(SMALLEST_SIZE, 1 << (size - 1).bit_length()) - size
    return Spectrum(np.pad(problem.eigenvalues, (0, missing)), np.pad(problem.projections, (0, missing)))


def _null_action(problem: Problem, temperature: Float[np.ndarray, "*points"]) -> Float[np.ndarray, "*points"]:
    """Return what modes of eigenvalue zero add to the action: a constant, left out at T = 0 where it diverges."""
    squares = problem.projections[problem.eigenvalues == 0] ** 2
    warm = np.where(temperature > 0, temperature, 1.0)
    share = (len(squares) * np.log(warm) + squares.sum() / warm) / 2
    return np.where(temperature > 0, share, 0.0)


def _point(spectrum: Spectrum, width: Array, depth: Array, sigma2: Array, temperature: Array) -> Saddle:
    """Solve one point of a grid, whose kernel is sigma2 times the unit kernel."""
    scaled = Spectrum(sigma2 * spectrum.eigenvalues, spectrum.projections)
    return solve_saddle(scaled, Layers(width[None], depth[None]), sigma2, temperature)


@jax.jit
def _solve_grid(
    spectrum: Spectrum,
    width: Float[Array, " points"],
    depth: Float[Array, " points"],
    sigma2: Float[Array, " points"],
    temperature: Float[Array, " points"],
) -> Saddle:
    points = (width, depth, sigma2, temperature)
    return jax.lax.map(lambda point: _point(spectrum, *point), points, batch_size=MAP_BATCH)


_solve = jax.jit(solve_saddle)
