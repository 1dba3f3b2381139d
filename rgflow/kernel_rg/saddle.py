r"""Saddle points of the action of one output, all of them, as pure functions of the modes of the kernel.

With $Q = \prod_l u_l$ the action is
$S = \sum_l \frac{N_l}{2} (u_l/\sigma^2 - \ln u_l) + \frac12 \ln\det(Q K_0 + T) + \frac12 Y^T (Q K_0 + T)^{-1} Y$.
All layers see the data through one number, the force $A(Q) = \sum_k [w_k - \hat y_k^2 Q\lambda_k / (Q\lambda_k + T)^2]$
with $w_k = Q\lambda_k / (Q\lambda_k + T)$, so that $u_l = \sigma^2 (1 - A/N_l)$ and a single equation is left, in
$q = \ln Q$: $h(q) = q - \sum_l \ln[\sigma^2 (1 - A(e^q)/N_l)] = 0$. Its sign is that of $dS/dq$ along the valley where
the u_l are best for given Q: minima are where it rises. For equal widths it is
$1 - u_0/\sigma^2 = \frac{Q}{N} \{\mathrm{tr}[K_0 G] - Y^T G K_0 G Y\}$, $G = (Q K_0 + T)^{-1}$. Key: li2021.

Directions outside the range of the kernel are left out here: each has the share $\frac12 (\ln T + \hat y_k^2/T)$ of the
action, whatever Q.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from rgflow.kernel_rg.problem import ArrayLike, Layers, Spectrum

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


class Saddle(NamedTuple):
    r"""Saddle points of the action; of what is not listed by root, the value at the one of least action.

    ``order_parameter`` is $Q^{1/L}$, equal to $u_0$ for equal widths; ``log_scale`` is $\ln Q$; ``layer_scales`` are
    the $u_l$ of the groups of layers. ``roots`` lists the order parameters of all saddle points in ascending order,
    nan where there are fewer than five, ``actions`` and ``is_minimum`` what belongs to them. ``coexistence``: the
    action has more than one minimum. All numbers are nan when there is no saddle point.
    """

    order_parameter: Float[ArrayLike, "*points"]
    log_scale: Float[ArrayLike, "*points"]
    layer_scales: Float[ArrayLike, "*points groups"]
    action: Float[ArrayLike, "*points"]
    coexistence: Bool[ArrayLike, "*points"]
    roots: Float[ArrayLike, "*points roots"]
    actions: Float[ArrayLike, "*points roots"]
    is_minimum: Bool[ArrayLike, "*points roots"]


def data_force(
    log_scale: Float[Array, ""], spectrum: Spectrum, temperature: Float[Array, ""]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    r"""Return $A = \sum_k [w_k - z_k]$, $z_k = \hat y_k^2 Q\lambda_k / (Q\lambda_k + T)^2$, and $dA/d\ln Q$.

    The slope is $\sum_k [w_k (1 - w_k) - z_k (1 - 2 w_k)]$. Pure, of one $\ln Q$. Ref: li2021 (saddle equation).
    """
    kept = spectrum.eigenvalues > 0
    eigenvalues = jnp.where(kept, spectrum.eigenvalues, 1.0)
    inverse = jnp.exp(-jnp.clip(log_scale, -LARGEST_EXPONENT, LARGEST_EXPONENT))
    # The variance of a mode is Q times its denominator here: one division for each mode and nothing overflows.
    reciprocal = 1 / (eigenvalues + temperature * inverse)
    share = eigenvalues * reciprocal
    pull = spectrum.projections**2 * (inverse * reciprocal) * share
    force = jnp.sum(jnp.where(kept, share - pull, 0.0))
    slope = jnp.sum(jnp.where(kept, share * (1 - share) - pull * (1 - 2 * share), 0.0))
    return force, slope


def solve_saddle(spectrum: Spectrum, layers: Layers, sigma2: Float[Array, ""], temperature: Float[Array, ""]) -> Saddle:
    r"""Find all saddle points by a scan in $\ln Q$ between bounds that hold them all, and refine each.

    Pure, of one point, with fixed iteration counts: jit and vmap over any of its arguments, under x64. Depths may be
    traced (``Layers.counts``), and modes of eigenvalue zero change nothing. Two roots closer than one interval of the
    scan (about 0.1 in ln Q) may be missed; the number found is odd, so at least one is. Ref: li2021 (saddle equation).
    """
    scan = _scan_points(spectrum, layers, sigma2, temperature)
    balance = jax.vmap(lambda q: _balance(q, spectrum, layers, sigma2, temperature)[0])(scan)
    below = balance < 0
    # A root is where the sign changes; the fill value marks unused slots.
    (start,) = jnp.nonzero(below[:-1] != below[1:], size=MAX_ROOTS, fill_value=-1)
    log_scales = jax.vmap(lambda low, high: _refine(low, high, spectrum, layers, sigma2, temperature))(
        scan[start], scan[start + 1]
    )
    found = start >= 0
    minimum = found & below[start]
    actions = jax.vmap(lambda q: action(q, spectrum, layers, sigma2, temperature))(log_scales)
    actions = jnp.where(found, actions, jnp.nan)
    best = jnp.argmin(jnp.where(minimum, actions, jnp.inf))
    log_scale = jnp.where(found[best], log_scales[best], jnp.nan)
    depth = layers.counts.sum()
    return Saddle(
        order_parameter=jnp.exp(log_scale / depth),
        log_scale=log_scale,
        layer_scales=_layer_scales(log_scale, spectrum, layers, sigma2, temperature),
        action=actions[best],
        coexistence=minimum.sum() > 1,
        roots=jnp.where(found, jnp.exp(log_scales / depth), jnp.nan),
        actions=actions,
        is_minimum=minimum,
    )


def action(
    log_scale: Float[Array, ""],
    spectrum: Spectrum,
    layers: Layers,
    sigma2: Float[Array, ""],
    temperature: Float[Array, ""],
) -> Float[Array, ""]:
    r"""Return S at a saddle point with $\ln Q$ given, for the layer scales $u_l = \sigma^2 (1 - A/N_l)$.

    Pure. Modes of eigenvalue zero, whose share depends on nothing that is solved for, are left out.
    Ref: li2021 (action).
    """
    scales = _layer_scales(log_scale, spectrum, layers, sigma2, temperature)
    prior = jnp.sum(layers.counts * layers.widths / 2 * (scales / sigma2 - jnp.log(scales)))
    kept = spectrum.eigenvalues > 0
    eigenvalues = jnp.where(kept, spectrum.eigenvalues, 1.0)
    log_variance = jnp.logaddexp(log_scale + jnp.log(eigenvalues), jnp.log(temperature))
    energy = spectrum.projections**2 * jnp.exp(-log_variance)
    return prior + jnp.sum(jnp.where(kept, log_variance + energy, 0.0)) / 2


def _layer_scales(
    log_scale: Float[Array, ""],
    spectrum: Spectrum,
    layers: Layers,
    sigma2: Float[Array, ""],
    temperature: Float[Array, ""],
) -> Float[Array, " groups"]:
    force = data_force(log_scale, spectrum, temperature)[0]
    return sigma2 * (1 - force / layers.widths)


def _balance(
    log_scale: Float[Array, ""],
    spectrum: Spectrum,
    layers: Layers,
    sigma2: Float[Array, ""],
    temperature: Float[Array, ""],
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    r"""Return a function of the sign of h, and its slope: $Q^{1/L}/\sigma^2$ less the geometric mean of $1 - A/N_l$.

    Unlike h it has no singularity, and at equal widths it is the equation of $u_0$. Where the force exceeds the
    smallest width, and h has no value, that width alone continues it.
    """
    force, slope = data_force(log_scale, spectrum, temperature)
    share = layers.counts / layers.counts.sum()
    order = jnp.exp(log_scale / layers.counts.sum() - jnp.log(sigma2))
    left, least = 1 - force / layers.widths, 1 - force / layers.widths.min()
    positive = jnp.maximum(left, 1e-300)
    mean = jnp.exp(jnp.sum(share * jnp.log(positive)))
    mean_slope = -mean * slope * jnp.sum(share / (layers.widths * positive))
    below = least > 0
    value = order - jnp.where(below, mean, least)
    return value, order / layers.counts.sum() - jnp.where(below, mean_slope, -slope / layers.widths.min())


def _refine(
    low: Float[Array, ""],
    high: Float[Array, ""],
    spectrum: Spectrum,
    layers: Layers,
    sigma2: Float[Array, ""],
    temperature: Float[Array, ""],
) -> Float[Array, ""]:
    """Halve the interval, then take Newton steps, with a halving in place of any that would leave it."""
    rising = _balance(low, spectrum, layers, sigma2, temperature)[0] < 0
    # A root on an end of its interval must not be refused for rounding.
    slack = 1e-10 * (1 + jnp.abs(low))

    def shrink(step: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        low, high, here = state
        value, slope = _balance(here, spectrum, layers, sigma2, temperature)
        is_low = (value < 0) == rising
        low, high = jnp.where(is_low, here, low), jnp.where(is_low, high, here)
        newton = here - value / slope
        usable = (step >= HALVINGS) & (newton >= low - slack) & (newton <= high + slack)
        return low, high, jnp.where(usable, newton, (low + high) / 2)

    return jax.lax.fori_loop(0, HALVINGS + NEWTON_STEPS, shrink, (low, high, (low + high) / 2))[2]


def _scan_points(
    spectrum: Spectrum, layers: Layers, sigma2: Float[Array, ""], temperature: Float[Array, ""]
) -> Float[Array, " scan"]:
    """Return ascending values of ln Q between bounds on every root, most of them where modes cross over."""
    low, high = _bounds(spectrum, layers, sigma2, temperature)
    kept = spectrum.eigenvalues > 0
    reach = 5 + jnp.log(layers.counts.sum())
    height = jnp.maximum(spectrum.projections**2, temperature)
    largest = jnp.max(jnp.where(kept, height / jnp.where(kept, spectrum.eigenvalues, 1.0), 0.0))
    first = jnp.clip(jnp.log(temperature / spectrum.eigenvalues.max()) - reach, low, high)
    last = jnp.clip(jnp.log(largest) + reach, first, high)
    edges = (low, first, last, high)
    parts = [
        jnp.linspace(start, stop, count, endpoint=False)
        for start, stop, count in zip(edges[:-1], edges[1:], SCAN_POINTS, strict=True)
    ]
    return jnp.concatenate([*parts, high[None]])


def _bounds(
    spectrum: Spectrum, layers: Layers, sigma2: Float[Array, ""], temperature: Float[Array, ""]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    r"""Return bounds on ln Q of every root; h is negative below the first and positive above the second.

    With $c = L \ln\sigma^2$ a root above c needs A < 0, so some $\hat y_k^2 > Q\lambda_k$. A root below c needs A > 0,
    so some $\hat y_k^2 < Q\lambda_k + T$; A is at most the rank, and at most $Q\,\mathrm{tr} K_0/T$, which must
    exceed $N/2$ when $Q < c - L\ln 2$; and at T = 0 it means $Q > r_0$. The best of these is taken.
    """
    kept = spectrum.eigenvalues > 0
    eigenvalues = jnp.where(kept, spectrum.eigenvalues, 1.0)
    squares = spectrum.projections**2
    rank, depth, narrowest = kept.sum(), layers.counts.sum(), layers.widths.min()
    centre = depth * jnp.log(sigma2)
    strongest = jnp.max(jnp.where(kept, squares / eigenvalues, 0.0))
    reached = jnp.min(jnp.where(kept, jnp.maximum(squares - temperature, 0.0) / eigenvalues, jnp.inf))
    room = jnp.maximum(1 - rank / layers.widths, 0.0)
    ratio = jnp.sum(jnp.where(kept, squares / eigenvalues, 0.0)) / rank
    warm = jnp.log(narrowest * temperature / (2 * jnp.sum(spectrum.eigenvalues)))
    candidates = (
        jnp.minimum(centre, jnp.log(reached)),
        centre + jnp.sum(layers.counts * jnp.log(room)),
        jnp.minimum(centre - depth * jnp.log(2.0), warm),
        jnp.where(temperature > 0, -jnp.inf, jnp.minimum(centre, jnp.log(ratio))),
    )
    # No bound means no root (labels zero at T = 0, nothing stops Q on its way to zero): a scan of nan finds none.
    best = jnp.stack(candidates).max()
    low = jnp.where(best > -jnp.inf, best, jnp.nan)
    return low - MARGIN, jnp.maximum(centre, jnp.log(strongest)) + MARGIN
