r"""Exact samples of continuous fields on a ring, by decimation run backwards.

$p(x) \propto \exp(-\sum_i U(x_i) + K \sum_i x_i x_{i+1})$ with $U(x) = \frac12 r x^2 + u x^4 + v x^6$; components are
independent for K = 0. With the transfer operator $A(x,y) = e^{Kxy - U(x)/2 - U(y)/2}$ the weight of a site x between
neighbours a at distance m and b at distance n is $A^m(a,x) A^n(x,b)$. Once every second site is known, the sites
between them can therefore be drawn. There is no Markov chain and nothing to equilibrate.

Operators live on a grid that is shifted as a whole by one random offset in each call. The error of the trapezoid rule
for a smooth density is some $e^{-2\pi^2 \sigma^2/\Delta^2}$ at every offset ($\sigma$ is the width of the narrowest
conditional density, $\Delta$ the spacing). Marginals are therefore those of the continuous density, and means of smooth
functions of all sites are exact to that error and float32 rounding. Within one call values differ by multiples of the
spacing.

Couplings, potential and interval are traced: a sweep over them shares one compiled program.
"""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jax.core import Tracer
from jaxtyping import Array, Float, Int, Num

from rgflow.exact.potential import Potential, check_normalisable, potential_energy
from rgflow.samplers.threefry import random_uniform
from rgflow.types import Key

BLOCK = 8
"""Grid points per block: a draw selects first a block and then a point in it, which halves the time on a CPU."""

LEAST_POINTS = 16
"""Smallest number of grid points: fewer do not resolve any density over the interval."""

GRID_ERROR = 1e-4
"""How much of the largest eigenvalue of the transfer operator halving the spacing may change."""

Scalar = float | int | Num[Array, ""]

Coefficients = tuple[Scalar, Scalar, Scalar] | Num[Array, "3"] | Num[np.ndarray, "3"]
"""The numbers r, u, v of $U(x) = \\frac12 r x^2 + u x^4 + v x^6$."""


def sample_fields(
    key: Key,
    coupling: Scalar,
    potential: Coefficients,
    half_width: Scalar,
    num_sites: int,
    batch: int,
    points: int = 64,
) -> Float[Array, "B sites"]:
    r"""Returns independent exact samples of the ring, $p(x) \propto e^{-\sum_i U(x_i) + K \sum_i x_i x_{i+1}}$.

    ``potential`` holds r, u, v of $U(x) = \frac12 r x^2 + u x^4 + v x^6$. The potential, ``coupling`` K and
    ``half_width`` may be traced; ``num_sites`` (2 or more), ``batch`` and ``points`` are static. Two sites have two
    bonds between them. The first site is drawn from the diagonal of $A^N$, the others in the middle of ever shorter
    segments. Float32 of shape (batch, num_sites).

    The grid has ``points`` points on [-half_width, half_width]. One offset for the whole batch, uniform in half a
    spacing either way, shifts it as a whole. The caller chooses a width outside which the density is negligible, such
    as ``rgflow.exact.potential.support``, and a spacing below the standard deviation of a site given its neighbours,
    which makes the error of the trapezoid rule 1e-8. On that width, 48 points leave less than 1e-8 for quartic and
    sextic potentials and for Gaussian chains up to K/r = 0.45; at K/r = 0.49, 96 points leave 1e-7.

    Raises ValueError for fewer than 2 sites, a batch below 1, ``points`` below 16 or not a multiple of 8 and, where the
    values are not traced, for a density that cannot be normalised, a value that is not finite, a ``half_width`` that is
    not positive, and a grid too coarse for the density: near the massless point $r = 2|K|$ the field reaches so far
    that no grid resolves it.

    >>> sample_fields(jax.random.key(0), 0.8, (0.2, 0.25, 0.0), 4.0, 6, 3).shape
    (3, 6)
    """
    _check_fields(coupling, potential, half_width, points)
    if num_sites < 2 or batch < 1:
        raise ValueError(f"num_sites, batch = {num_sites}, {batch}: must be at least 2 and 1")
    offset_key, site_key = jax.random.split(key)
    # What remains of the mass is taken before numbers are rounded to float32: 1 - 2K would be lost.
    mass = _numbers(potential)[0] - 2 * abs(coupling)
    half_width = jnp.asarray(half_width, jnp.float32)
    spacing = 2 * half_width / (points - 1)
    lowest = (jax.random.uniform(offset_key, (), jnp.float32) - 0.5) * spacing - half_width
    operator = _transfer(lowest, spacing, points, coupling, (mass, *_numbers(potential)[1:]))
    # Uniforms are multiples of 2^-23, shifted by half a step: 0 would select the lowest grid point each time.
    uniforms = random_uniform(site_key, (num_sites, 2, batch)) + 2.0**-24
    return (lowest + spacing * _sample_ring(operator, uniforms)).T


def _transfer(
    lowest: Float[Array, ""], spacing: Float[Array, ""], points: int, coupling: Scalar, rest: Sequence[Scalar]
) -> Float[Array, "G G"]:
    r"""Returns the transfer operator on a grid, divided by its largest element; ``rest`` is r - 2|K|, u and v.

    $K x y - \frac r4 (x^2 + y^2) = -\frac{|K|}2 (x \mp y)^2 - \frac{r - 2|K|}4 (x^2 + y^2)$: large terms never cancel.
    """
    mass, quartic, sextic, coupling = (jnp.asarray(value, jnp.float32) for value in (*rest, coupling))
    place = jnp.arange(points, dtype=jnp.float32)
    squares = (lowest + spacing * place) ** 2
    on_site = squares * (mass / 2 + squares * (quartic + squares * sextic))
    apart = spacing * (place[:, None] - place[None, :])
    together = 2 * lowest + spacing * (place[:, None] + place[None, :])
    bond = jnp.abs(coupling) * jnp.where(coupling < 0, together, apart) ** 2
    exponent = -(bond + on_site[:, None] + on_site[None, :]) / 2
    return jnp.exp(exponent - jnp.max(exponent))


def _sample_ring(operator: Float[Array, "G G"], uniforms: Float[Array, "sites 2 B"]) -> Int[Array, "sites B"]:
    """Returns the grid points of all sites, given the operator of one bond and two uniform numbers a site."""
    num_sites = len(uniforms)
    powers = _powers(operator, num_sites)
    half = num_sites // 2
    # All operators are symmetric, so that rows serve as columns.
    diagonal = jnp.sum(powers[half] * powers[num_sites - half], axis=1)
    total = _product(diagonal[None, :], _ladder(len(operator), 1))
    drawn = _first_above(jnp.broadcast_to(total, (uniforms.shape[2], len(operator))), uniforms[0, 0])[None]
    sites = np.zeros(1, int)
    while len(sites) < num_sites:
        lengths = np.diff(sites, append=num_sites)
        all_sites, all_drawn, done = [sites], [drawn], len(sites)
        # The lengths of the segments of one level differ by one site at most.
        for length in sorted({*lengths.tolist()} - {1}):
            (where,) = np.nonzero(lengths == length)
            ends = drawn[where], drawn[(where + 1) % len(sites)]
            factors = powers[length // 2], powers[length - length // 2]
            numbers = jnp.swapaxes(uniforms[done : done + len(where)], 0, 1).reshape(2, -1)
            all_drawn.append(_between(factors, ends, numbers).reshape(ends[0].shape))
            all_sites.append(sites[where] + length // 2)
            done += len(where)
        sites = np.concatenate(all_sites)
        drawn = jnp.concatenate(all_drawn)[np.argsort(sites)]
        sites = np.sort(sites)
    return drawn


def _powers(operator: Float[Array, "G G"], num_sites: int) -> dict[int, Float[Array, "G G"]]:
    """Returns the powers of an operator that repeated halving of a ring needs, each divided by its maximum."""
    asked, lengths = {num_sites}, set[int]()
    while asked:
        asked = {part for length in asked for part in (length // 2, length - length // 2) if length > 1}
        lengths |= asked
    powers = {1: operator}
    for length in sorted(lengths - {0, 1}):
        power = _product(powers[length // 2], powers[length - length // 2])
        powers[length] = power / jnp.max(power)
    return powers


def _between(
    factors: tuple[Float[Array, "G G"], Float[Array, "G G"]],
    ends: tuple[Int[Array, "m B"], Int[Array, "m B"]],
    uniforms: Float[Array, "2 n"],
) -> Int[Array, " n"]:
    """Returns a point drawn for each pair of ends, weighted by the product of a row of each factor."""
    points = len(factors[0])
    left, right = ends[0].ravel(), ends[1].ravel()
    weights = _rows(factors[0], left) * _rows(factors[1], right)
    block = _first_above(_product(weights, _ladder(points, BLOCK)), uniforms[0])
    # Multiplying the eight weights once more is twice as fast as looking them up among all weights.
    pieces = [factor.reshape(-1, BLOCK) for factor in factors]
    blocks = points // BLOCK
    inside = _rows(pieces[0], left * blocks + block) * _rows(pieces[1], right * blocks + block)
    return BLOCK * block + _first_above(_product(inside, _ladder(BLOCK, 1)), uniforms[1])


def _rows(matrix: Float[Array, "m k"], index: Int[Array, " n"]) -> Float[Array, "n k"]:
    # The index is in bounds, and a check would cost as much as the look-up.
    return matrix.at[index].get(mode="promise_in_bounds")


def _ladder(points: int, size: int) -> Float[Array, "G blocks"]:
    """Returns the matrix whose product with weights is their cumulative sum at the ends of blocks of some size."""
    block = np.arange(points) // size
    return jnp.asarray(block[:, None] <= np.arange(points // size)[None, :], jnp.float32)


def _first_above(cumulative: Float[Array, "n k"], uniform: Float[Array, " n"]) -> Int[Array, " n"]:
    """Returns the first column above the given fraction of the last one; a column without weight is never returned."""
    number = jnp.sum(cumulative <= (uniform * cumulative[:, -1])[:, None], axis=1, dtype=jnp.int32)
    return jnp.minimum(number, cumulative.shape[1] - 1)


def _product(left: Float[Array, "n k"], right: Float[Array, "k m"]) -> Float[Array, "n m"]:
    # Accelerators would round the factors of a product to bfloat16 or tf32.
    return jnp.matmul(left, right, precision=jax.lax.Precision.HIGHEST)


def _check_fields(coupling: Scalar, potential: Coefficients, half_width: Scalar, points: int) -> None:
    if points < LEAST_POINTS or points % BLOCK:
        raise ValueError(f"points = {points}: must be a multiple of {BLOCK} and at least {LEAST_POINTS}")
    width = _known(half_width)
    if width is not None and not 0 < width < math.inf:
        raise ValueError(f"half_width = {half_width}: must be positive and finite")
    values = [_known(value) for value in (coupling, *_numbers(potential))]
    known = [value for value in values if value is not None]
    if not all(math.isfinite(value) for value in known):
        raise ValueError(f"coupling, potential = {coupling}, {potential}: must be finite")
    if len(known) == len(values):
        check_normalisable(known[0], Potential(*known[1:]))
        if width is not None and _grid_error(known[0], Potential(*known[1:]), points, width) > GRID_ERROR:
            spacing = 2 * width / (points - 1)
            raise ValueError(
                f"points = {points}: too few on half_width = {width:g}: the spacing {spacing:.3g} must be below the "
                "width of a site given its neighbours"
            )


@functools.lru_cache(maxsize=256)
def _grid_error(coupling: float, potential: Potential, points: int, width: float) -> float:
    """Returns the relative change of the largest eigenvalue of the transfer operator when the spacing is halved."""
    grid = np.linspace(-width, width, 2 * points - 1)
    energy = potential_energy(potential, grid) / 2
    exponent = coupling * grid[:, None] * grid[None, :] - energy[:, None] - energy[None, :]
    fine = np.exp(exponent - exponent.max())
    largest = [
        float(scipy.linalg.eigh(operator, eigvals_only=True, subset_by_index=[len(operator) - 1] * 2)[0])
        for operator in (fine, fine[::2, ::2])
    ]
    return abs(1 - 2 * largest[1] / largest[0])


def _numbers(potential: Coefficients) -> list[Scalar]:
    # Under jit the elements of a known JAX array are traced, those of a NumPy array are not.
    known = isinstance(potential, Array | np.ndarray) and not isinstance(potential, Tracer)
    return np.asarray(potential, float).tolist() if known else list(potential)


def _known(value: Scalar) -> float | None:
    """Returns a value as a float of the host, None for a traced one, which cannot be checked."""
    return None if isinstance(value, Tracer) else float(value)
