r"""All saddle points of the action of one output: of one problem, or at many points of a sweep on the same data.

With $Q = \prod_l u_l$ the action is
$S = \sum_l \frac{N_l}{2} (u_l/\sigma^2 - \ln u_l) + \frac12 \ln\det(Q K_0 + T) + \frac12 Y^T (Q K_0 + T)^{-1} Y$.
All layers see the data through one number, the force $A(Q) = \sum_k [w_k - \hat y_k^2 Q\lambda_k / (Q\lambda_k + T)^2]$
with $w_k = Q\lambda_k / (Q\lambda_k + T)$, so that $u_l = \sigma^2 (1 - A/N_l)$ and a single equation is left, in
$q = \ln Q$: $h(q) = q - \sum_l \ln[\sigma^2 (1 - A(e^q)/N_l)] = 0$. Its sign is that of $dS/dq$ along the valley where
the u_l are best for given Q: minima are where it rises. For equal widths it is
$1 - u_0/\sigma^2 = \frac{Q}{N} \{\mathrm{tr}[K_0 G] - Y^T G K_0 G Y\}$, $G = (Q K_0 + T)^{-1}$. Key: li2021.

The sums are over modes in the range of the kernel. The others would add $\frac12 (\ln T + \hat y_k^2/T)$ each to the
action, whatever Q. :func:`find_saddle` and :func:`saddle_grid` solve under x64 whatever the caller's setting.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Num

from rgflow.kernel_rg.problem import ArrayLike, Number, Problem

MAX_ROOTS = 5
"""Saddle points kept; more than three were never met."""

SCAN_POINTS = (32, 192, 32)
"""Points of the scan below, inside and above the range of Q where modes cross over."""

HALVINGS, NEWTON_STEPS = 6, 10
"""Refinement of a root inside one interval of the scan."""

LARGEST_EXPONENT = 300.0
"""Modes are saturated long before: clipping leaves squares and products inside float64."""

MARGIN = 0.1
"""The scan reaches beyond the bounds on ln Q by this much, so that a root on a bound is inside."""

MAP_BATCH = 100
"""Points of a grid solved together, which keeps their scan small."""

SMALLEST_SIZE = 32
"""Numbers of modes up to this one share one compiled program."""


class Equation(NamedTuple):
    """What the saddle-point equation depends on: modes, layers grouped by width, sigma2 and temperature.

    ``counts[g]`` layers have the width ``widths[g]``.
    """

    eigenvalues: Float[Array, " P"]
    projections: Float[Array, " P"]
    widths: Float[Array, " groups"]
    counts: Float[Array, " groups"]
    sigma2: Float[Array, ""]
    temperature: Float[Array, ""]


class Saddle(NamedTuple):
    r"""All saddle points of the action, and the one of least action; all numbers are nan where there is none.

    Of the one of least action: ``order_parameter`` $Q^{1/L}$, equal to $u_0$ for equal widths; ``log_scale``
    $\ln Q$; ``layer_scales`` $u_l$, one for each group of layers (from :func:`find_saddle` one for each layer);
    ``action`` S. Of all five at most: ``roots``, their order parameters in ascending order, then nan, with their
    ``actions`` and ``is_minimum``. ``coexistence`` says that the action has more than one minimum.
    """

    order_parameter: Float[ArrayLike, "*points"]
    log_scale: Float[ArrayLike, "*points"]
    layer_scales: Float[ArrayLike, "*points groups"]
    action: Float[ArrayLike, "*points"]
    coexistence: Bool[ArrayLike, "*points"]
    roots: Float[ArrayLike, "*points roots"]
    actions: Float[ArrayLike, "*points roots"]
    is_minimum: Bool[ArrayLike, "*points roots"]

    @property
    def scale(self) -> Float[np.ndarray, "*points"]:
        """Q at the saddle point of least action."""
        return np.asarray(np.exp(self.log_scale))


def find_saddle(problem: Problem) -> Saddle:
    """Returns the saddle points of one problem in NumPy arrays, with one ``layer_scales`` for each layer.

    Raises ValueError where there is none: labels vanish at T = 0 and width is at most the rank, so nothing keeps Q
    from zero. Ref: li2021 (saddle equation).
    """
    size = len(problem.eigenvalues)
    # Empty modes up to a power of two: few numbers of points need a compilation.
    missing = max(SMALLEST_SIZE, 1 << (size - 1).bit_length()) - size
    widths, counts = np.unique(problem.widths, return_counts=True)
    with jax.enable_x64(True):
        equation = Equation(
            eigenvalues=jnp.asarray(np.pad(problem.eigenvalues, (0, missing))),
            projections=jnp.asarray(np.pad(problem.projections, (0, missing))),
            widths=jnp.asarray(widths),
            counts=jnp.asarray(counts, jnp.float64),
            sigma2=jnp.asarray(problem.sigma2),
            temperature=jnp.asarray(problem.temperature),
        )
        saddle = jax.tree.map(np.asarray, _solve(equation))
    if not np.isfinite(saddle.log_scale):
        raise ValueError(
            f"targets have no part in the range of the kernel: at temperature = 0 width must exceed its rank "
            f"{problem.rank}, not be {int(problem.widths.min())}"
        )
    return saddle._replace(layer_scales=saddle.layer_scales[np.searchsorted(widths, problem.widths)])


def saddle_grid(
    unit: Problem,
    width: Num[ArrayLike, "..."] | Number,
    depth: Num[ArrayLike, "..."] | Number,
    sigma2: Num[ArrayLike, "..."] | Number,
    temperature: Num[ArrayLike, "..."] | Number = 0.0,
) -> Saddle:
    r"""Returns the saddle points at many points (N, L, sigma2, T) in one compiled program; all layers are equally wide.

    Of the problem ``unit`` only modes and labels count; its kernel is that at $\sigma^2 = 1$, $X X^T/N_0$. The other
    arguments are numbers or arrays that broadcast together, and the fields of the result have their shape (first).
    Where there is no saddle point the result is nan. Raises ValueError for a bad value at any point.
    """
    points = np.broadcast_arrays(*(np.asarray(a, np.float64) for a in (width, depth, sigma2, temperature)))
    rules = (("width", ">= 1"), ("depth", ">= 1"), ("sigma2", "> 0"), ("temperature", ">= 0"))
    for (name, rule), values in zip(rules, points, strict=True):
        good = np.isfinite(values) & {">= 1": values >= 1, "> 0": values > 0, ">= 0": values >= 0}[rule]
        if not good.all():
            raise ValueError(f"{name} = {values[~good][0]}: must be finite and {rule}")
    with jax.enable_x64(True):
        modes = jnp.asarray(unit.eigenvalues), jnp.asarray(unit.projections)
        saddles = _solve_grid(*modes, [jnp.asarray(values.ravel()) for values in points])
    shape = points[0].shape
    return jax.tree.map(lambda leaf: np.asarray(leaf).reshape(shape + leaf.shape[1:]), saddles)


def data_force(log_scale: Float[Array, ""], equation: Equation) -> tuple[Float[Array, ""], Float[Array, ""]]:
    r"""Returns $A = \sum_k [w_k - z_k]$, $z_k = \hat y_k^2 Q\lambda_k / (Q\lambda_k + T)^2$, and $dA/d\ln Q$.

    The slope is $\sum_k [w_k (1 - w_k) - z_k (1 - 2 w_k)]$.
    """
    kept = equation.eigenvalues > 0
    eigenvalues = jnp.where(kept, equation.eigenvalues, 1.0)
    inverse = jnp.exp(-jnp.clip(log_scale, -LARGEST_EXPONENT, LARGEST_EXPONENT))
    # The variance of a mode is Q times its denominator here: one division for each mode and nothing overflows.
    reciprocal = 1 / (eigenvalues + equation.temperature * inverse)
    share = eigenvalues * reciprocal
    pull = equation.projections**2 * (inverse * reciprocal) * share
    force = jnp.sum(jnp.where(kept, share - pull, 0.0))
    slope = jnp.sum(jnp.where(kept, share * (1 - share) - pull * (1 - 2 * share), 0.0))
    return force, slope


def solve_saddle(equation: Equation) -> Saddle:
    r"""Returns all saddle points of one point: a scan in $\ln Q$ between bounds that hold all of them, then refinement.

    Pure, with fixed iteration counts; jit and vmap over any part of the equation, under x64. Depths (``counts``) may be
    traced, and modes of eigenvalue zero change nothing. Two roots closer than one interval of the scan (about 0.1 in
    ln Q) may be missed; the number found is odd, so at least one is.
    """
    scan = _scan_points(equation)
    balance = jax.vmap(lambda q: _balance(q, equation)[0])(scan)
    below = balance < 0
    # A root is where the sign changes; the fill value marks unused slots.
    (start,) = jnp.nonzero(below[:-1] != below[1:], size=MAX_ROOTS, fill_value=-1)
    log_scales = jax.vmap(lambda low, high: _refine(low, high, equation))(scan[start], scan[start + 1])
    found = start >= 0
    minimum = found & below[start]
    actions = jax.vmap(lambda q: action(q, equation))(log_scales)
    actions = jnp.where(found, actions, jnp.nan)
    best = jnp.argmin(jnp.where(minimum, actions, jnp.inf))
    log_scale = jnp.where(found[best], log_scales[best], jnp.nan)
    depth = equation.counts.sum()
    return Saddle(
        order_parameter=jnp.exp(log_scale / depth),
        log_scale=log_scale,
        layer_scales=_layer_scales(log_scale, equation),
        action=actions[best],
        coexistence=minimum.sum() > 1,
        roots=jnp.where(found, jnp.exp(log_scales / depth), jnp.nan),
        actions=actions,
        is_minimum=minimum,
    )


def action(log_scale: Float[Array, ""], equation: Equation) -> Float[Array, ""]:
    r"""Returns S at a saddle point with $\ln Q$ given, for the layer scales $u_l = \sigma^2 (1 - A/N_l)$."""
    scales = _layer_scales(log_scale, equation)
    prior = jnp.sum(equation.counts * equation.widths / 2 * (scales / equation.sigma2 - jnp.log(scales)))
    kept = equation.eigenvalues > 0
    eigenvalues = jnp.where(kept, equation.eigenvalues, 1.0)
    log_variance = jnp.logaddexp(log_scale + jnp.log(eigenvalues), jnp.log(equation.temperature))
    energy = equation.projections**2 * jnp.exp(-log_variance)
    return prior + jnp.sum(jnp.where(kept, log_variance + energy, 0.0)) / 2


def _layer_scales(log_scale: Float[Array, ""], equation: Equation) -> Float[Array, " groups"]:
    force = data_force(log_scale, equation)[0]
    return equation.sigma2 * (1 - force / equation.widths)


def _balance(log_scale: Float[Array, ""], equation: Equation) -> tuple[Float[Array, ""], Float[Array, ""]]:
    r"""Returns a function of the sign of h, and its slope: $Q^{1/L}/\sigma^2$ less the geometric mean of $1 - A/N_l$.

    Unlike h it has no singularity, and at equal widths it is the equation of $u_0$. Where the force exceeds the
    smallest width, and h has no value, that width alone continues it.
    """
    force, slope = data_force(log_scale, equation)
    share = equation.counts / equation.counts.sum()
    order = jnp.exp(log_scale / equation.counts.sum() - jnp.log(equation.sigma2))
    left, least = 1 - force / equation.widths, 1 - force / equation.widths.min()
    positive = jnp.maximum(left, 1e-300)
    mean = jnp.exp(jnp.sum(share * jnp.log(positive)))
    mean_slope = -mean * slope * jnp.sum(share / (equation.widths * positive))
    below = least > 0
    value = order - jnp.where(below, mean, least)
    return value, order / equation.counts.sum() - jnp.where(below, mean_slope, -slope / equation.widths.min())


def _refine(low: Float[Array, ""], high: Float[Array, ""], equation: Equation) -> Float[Array, ""]:
    """Returns the root in an interval: first by halving, then by Newton steps; one that would leave it is a halving."""
    rising = _balance(low, equation)[0] < 0
    # A root on an end of its interval must not be refused for rounding.
    slack = 1e-10 * (1 + jnp.abs(low))

    def shrink(step: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        low, high, here = state
        value, slope = _balance(here, equation)
        is_low = (value < 0) == rising
        low, high = jnp.where(is_low, here, low), jnp.where(is_low, high, here)
        newton = here - value / slope
        usable = (step >= HALVINGS) & (newton >= low - slack) & (newton <= high + slack)
        return low, high, jnp.where(usable, newton, (low + high) / 2)

    return jax.lax.fori_loop(0, HALVINGS + NEWTON_STEPS, shrink, (low, high, (low + high) / 2))[2]


def _scan_points(equation: Equation) -> Float[Array, " scan"]:
    """Returns ascending values of ln Q between bounds on every root, most of them where modes cross over."""
    low, high = _bounds(equation)
    kept = equation.eigenvalues > 0
    reach = 5 + jnp.log(equation.counts.sum())
    height = jnp.maximum(equation.projections**2, equation.temperature)
    largest = jnp.max(jnp.where(kept, height / jnp.where(kept, equation.eigenvalues, 1.0), 0.0))
    first = jnp.clip(jnp.log(equation.temperature / equation.eigenvalues.max()) - reach, low, high)
    last = jnp.clip(jnp.log(largest) + reach, first, high)
    edges = (low, first, last, high)
    parts = [
        jnp.linspace(start, stop, count, endpoint=False)
        for start, stop, count in zip(edges[:-1], edges[1:], SCAN_POINTS, strict=True)
    ]
    return jnp.concatenate([*parts, high[None]])


def _bounds(equation: Equation) -> tuple[Float[Array, ""], Float[Array, ""]]:
    r"""Returns bounds on ln Q of every root; h is negative below the first and positive above the second.

    With $c = L \ln\sigma^2$ a root above c needs A < 0, so some $\hat y_k^2 > Q\lambda_k$. A root below c needs A > 0,
    so some $\hat y_k^2 < Q\lambda_k + T$; A is at most the rank, and at most $Q\,\mathrm{tr} K_0/T$, which must
    exceed $N/2$ when $Q < c - L\ln 2$; and at T = 0 it means $Q > r_0$. The best of these is taken.
    """
    kept = equation.eigenvalues > 0
    eigenvalues = jnp.where(kept, equation.eigenvalues, 1.0)
    squares = equation.projections**2
    rank, depth, narrowest = kept.sum(), equation.counts.sum(), equation.widths.min()
    centre = depth * jnp.log(equation.sigma2)
    strongest = jnp.max(jnp.where(kept, squares / eigenvalues, 0.0))
    reached = jnp.min(jnp.where(kept, jnp.maximum(squares - equation.temperature, 0.0) / eigenvalues, jnp.inf))
    room = jnp.maximum(1 - rank / equation.widths, 0.0)
    ratio = jnp.sum(jnp.where(kept, squares / eigenvalues, 0.0)) / rank
    warm = jnp.log(narrowest * equation.temperature / (2 * jnp.sum(equation.eigenvalues)))
    candidates = (
        jnp.minimum(centre, jnp.log(reached)),
        centre + jnp.sum(equation.counts * jnp.log(room)),
        jnp.minimum(centre - depth * jnp.log(2.0), warm),
        jnp.where(equation.temperature > 0, -jnp.inf, jnp.minimum(centre, jnp.log(ratio))),
    )
    # No bound means no root (labels zero at T = 0, nothing stops Q on its way to zero): a scan of nan finds none.
    best = jnp.stack(candidates).max()
    low = jnp.where(best > -jnp.inf, best, jnp.nan)
    return low - MARGIN, jnp.maximum(centre, jnp.log(strongest)) + MARGIN


@jax.jit
def _solve_grid(
    eigenvalues: Float[Array, " P"], projections: Float[Array, " P"], points: list[Float[Array, " points"]]
) -> Saddle:
    def solve(point: list[Array]) -> Saddle:
        width, depth, sigma2, temperature = point
        return solve_saddle(Equation(sigma2 * eigenvalues, projections, width[None], depth[None], sigma2, temperature))

    return jax.lax.map(solve, points, batch_size=MAP_BATCH)


_solve = jax.jit(solve_saddle)
