r"""Receptive fields of hidden units on a periodic square lattice: where they sit, how large they are, how they tile.

Site number r L + c is row r, column c of a lattice of side L; distances are in sites, to the nearest periodic image.
The field of unit j is the column $w_{\cdot j}$ of the weights, composed over layers as $r^{(l)} = r^{(l-1)} W^{(l)}$;
its sites have the weights $q_i = w_i^2 / \sum_k w_k^2$. Everything runs under jit and vmap and returns NaN for a unit
whose weights are all zero, which an L1 penalty with soft threshold produces.

Keys: mehta2014 = Mehta and Schwab, arXiv:1410.3831 (composed fields); mardia1999 = Mardia and Jupp, Directional
Statistics (circular mean); bell1970 = Bell and Dean, Discuss. Faraday Soc. 50 (1970) 55 (participation);
clark1954 = Clark and Evans, Ecology 35 (1954) 445 (nearest distances).
"""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from rgflow.probes.spectrum import column_scale


class FieldMeasures(NamedTuple):
    """Measures of the receptive field of each unit, all NaN for a unit without weights.

    ``centre`` (row, column) in [0, side), ``radius`` and ``extent`` (along rows axis 0 and columns axis 1) in sites,
    ``participation`` in number of sites (1 to all), ``coherence`` from 0 (signs cancel) to 1 (one sign).
    """

    centre: Float[Array, "units 2"]
    radius: Float[Array, " units"]
    participation: Float[Array, " units"]
    coherence: Float[Array, " units"]
    extent: Float[Array, "units 2"]


def compose(weights: Sequence[Float[Array, "_ _"]]) -> list[Float[Array, "sites _"]]:
    r"""Returns the fields of all layers on the lattice, $r^{(1)} = W^{(1)}$, $r^{(l)} = r^{(l-1)} W^{(l)}$.

    Shapes: [sites, n_1], [n_1, n_2], ... -> one field [sites, n_l] for each layer. Raises ValueError if there are no
    weights, or if their shapes do not fit together.

    >>> [field.shape for field in compose([jnp.ones((16, 4)), jnp.ones((4, 2))])]
    [(16, 4), (16, 2)]

    Ref: mehta2014.
    """
    shapes = [matrix.shape for matrix in weights]
    if not shapes or any(below[1] != above[0] for below, above in itertools.pairwise(shapes)):
        raise ValueError(f"weights = shapes {shapes}: must be at least one, each with as many rows as the last columns")
    fields = [weights[0]]
    for matrix in weights[1:]:
        # Accelerators would round the factors of a product to bfloat16 or tf32.
        fields.append(jnp.matmul(fields[-1], matrix, precision=jax.lax.Precision.HIGHEST))
    return fields


def site_positions(side: int) -> Float[Array, "sites 2"]:
    r"""Returns (row, column) of every site, $x_{rL + c} = (r, c)$, in float32.

    >>> site_positions(2).tolist()
    [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
    """
    line = jnp.arange(side, dtype=jnp.float32)
    return jnp.stack([jnp.repeat(line, side), jnp.tile(line, side)], axis=-1)


def periodic_offset(difference: Float[Array, "*shape"], side: float | int) -> Float[Array, "*shape"]:
    r"""Returns differences of coordinates to the nearest periodic image, $x - L\,\mathrm{round}(x/L)$, in [-L/2, L/2].

    >>> periodic_offset(jnp.array([7.0, 9.0, -15.5]), 16).tolist()
    [7.0, -7.0, 0.5]
    """
    return difference - side * jnp.round(difference / side)


def measure_fields(fields: Float[Array, "sites units"], side: int) -> FieldMeasures:
    r"""Returns centre, radius, participation, coherence and extent of fields, with weights $q = w^2/\sum w^2$.

    $c_a = \frac{L}{2\pi}\arg\sum q\, e^{2\pi i x_a/L}$ along each axis, $e_a^2 = \sum q\, d_a^2$ with the periodic
    distance $d_a$ to it, $\rho^2 = e_0^2 + e_1^2$, $n_{eff} = (\sum w^2)^2/\sum w^4$, coherence $|\sum w|/\sum|w|$.

    The scale of the weights does not matter. A field that is uniform along an axis has no mean angle there: rounding
    decides its centre along that axis, and its extent is L/sqrt(12) up to O(1/L) for any centre.
    Shape of the fields: [side^2, units]. Raises ValueError unless they have side^2 sites.

    >>> block = jnp.zeros((8, 8)).at[:2, :2].set(1.0).reshape(64, 1)
    >>> found = measure_fields(block, 8)
    >>> found.centre.round(3).tolist(), found.participation.round(3).tolist(), found.coherence.round(3).tolist()
    ([[0.5, 0.5]], [4.0], [1.0])

    Ref: mardia1999; bell1970.
    """
    sites, units = fields.shape
    if sites != side**2:
        raise ValueError(f"fields = {sites} sites: must be the square of side = {side}")
    # Dividing by a size first keeps w^4 of small and of large weights inside float32.
    relative = fields / column_scale(fields)[None, :]
    live = jnp.all(jnp.isfinite(fields), axis=0) & jnp.any(fields != 0, axis=0)
    relative = jnp.where(live[None, :], relative, 1.0)
    square = relative**2
    total = jnp.sum(square, axis=0)
    share = (square / total[None, :]).reshape(side, side, units)
    axes = [_centre_and_spread(jnp.sum(share, axis=1 - axis), side) for axis in (0, 1)]
    centre, spread = (jnp.stack(values, axis=-1) for values in zip(*axes, strict=True))
    found = FieldMeasures(
        centre=centre,
        radius=jnp.sqrt(jnp.sum(spread, axis=-1)),
        participation=total**2 / jnp.sum(square**2, axis=0),
        coherence=jnp.abs(jnp.sum(relative, axis=0)) / jnp.sum(jnp.abs(relative), axis=0),
        extent=jnp.sqrt(spread),
    )
    return jax.tree.map(lambda x: jnp.where(live.reshape(-1, *[1] * (x.ndim - 1)), x, jnp.nan), found)


def random_radius(side: int, own_centre: bool = False) -> float:
    r"""Returns the radius of weights without any locality, $\sqrt{L^2/6}$.

    This is the root of the mean squared periodic distance of all sites from any centre (L^2/12 for each axis; 6.53 for
    side 16). Fields of independent normal weights have a smaller radius, because each is centred on its own circular
    mean. The mean resultant of L^2 shares has length $\sqrt{\pi/2}/L$, so that to leading order
    $\rho^2 = L^2/6 - \sqrt2\,\pi^{-3/2} L$ (6.21 for side 16, where the simulated median is 6.23). ``own_centre``
    selects this radius; it is smaller by 14, 8, 5 and 2 % for sides 6, 10, 16 and 40.
    Raises ValueError for a side below 2.

    >>> round(random_radius(16), 3), round(random_radius(16, own_centre=True), 3)
    (6.532, 6.213)

    Ref: mardia1999.
    """
    if side < 2:
        raise ValueError(f"side = {side}: must be at least 2")
    return math.sqrt(side**2 / 6 - (math.sqrt(2) * math.pi**-1.5 * side if own_centre else 0.0))


def periodic_distances(positions: Float[Array, "n 2"], side: float | int) -> Float[Array, "n n"]:
    r"""Returns the distances $|x_i - x_j|$ between positions, to the nearest periodic image, in sites.

    NaN where a position is NaN. Shapes: [n, 2] -> [n, n].

    >>> periodic_distances(jnp.array([[0.5, 0.0], [7.5, 0.0]]), 8).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    offsets = periodic_offset(positions[:, None, :] - positions[None, :, :], side)
    return jnp.sqrt(jnp.sum(offsets**2, axis=-1))


def nearest_distances(centres: Float[Array, "units 2"], side: float | int) -> Float[Array, " units"]:
    r"""Returns the periodic distance of each centre to the nearest other one, $\min_{j \ne i} |c_i - c_j|$, in sites.

    Centres that are NaN are ignored. The distance is NaN for such a centre and for a centre without any other.
    Shapes: [units, 2] -> [units].

    >>> nearest_distances(jnp.array([[0.0, 0.0], [0.0, 7.0], [jnp.nan, jnp.nan], [4.0, 4.0]]), 8).round(3).tolist()
    [1.0, 1.0, nan, 5.0]

    Ref: clark1954.
    """
    distances = periodic_distances(centres, side)
    usable = jnp.isfinite(distances) & ~jnp.eye(len(centres), dtype=bool)
    nearest = jnp.min(jnp.where(usable, distances, jnp.inf), axis=-1)
    return jnp.where(jnp.isfinite(nearest), nearest, jnp.nan)


def tiling(centres: Float[Array, "units 2"], side: float | int) -> Float[Array, ""]:
    r"""Returns the Clark-Evans ratio of centres, $R = \bar d / (\frac12 \varrho^{-1/2})$ with their density $\varrho$.

    It is 1 for centres placed at random ($\sqrt{n/\pi}\,B(\frac12, n) \approx 1 + 1/8n$ for n of them on a torus), 2
    for a square lattice, and near 0 for clusters. Centres that are NaN are ignored; NaN with fewer than two others.

    >>> round(float(tiling(site_positions(4), 4)), 5)
    2.0

    Ref: clark1954.
    """
    nearest = nearest_distances(centres, side)
    live = jnp.isfinite(nearest)
    count = jnp.sum(live)
    some = jnp.maximum(count, 1)
    mean = jnp.sum(jnp.where(live, nearest, 0.0)) / some
    return jnp.where(count > 1, 2 * mean * jnp.sqrt(some) / side, jnp.nan)


def _centre_and_spread(
    share: Num[Array, "L units"], side: int
) -> tuple[Float[Array, " units"], Float[Array, " units"]]:
    """Returns the circular mean along one axis and the mean squared periodic distance to it."""
    line = jnp.arange(side, dtype=share.dtype)
    angle = 2 * math.pi / side * line
    cosine = jnp.sum(jnp.cos(angle)[:, None] * share, axis=0)
    sine = jnp.sum(jnp.sin(angle)[:, None] * share, axis=0)
    centre = jnp.mod(side / (2 * math.pi) * jnp.arctan2(sine, cosine), side)
    # A negative angle below the rounding of side comes out of mod as side itself.
    centre = jnp.where(centre >= side, 0.0, centre)
    offsets = periodic_offset(line[:, None] - centre[None, :], side)
    return centre, jnp.sum(share * offsets**2, axis=0)
