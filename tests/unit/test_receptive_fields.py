"""Receptive fields: blocks and Gaussians across the seam, symmetries, baselines without locality, tiling of centres.

The statistical tests have fixed keys and allow four standard errors, a false-alarm rate of 6e-5 each.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import beta

from rgflow.probes.receptive_fields import (
    FieldMeasures,
    compose,
    measure_fields,
    nearest_distances,
    periodic_offset,
    random_radius,
    site_positions,
    tiling,
)

SIDE = 12
POISSON_UNITS = 64

composed = jax.jit(compose)
measured = jax.jit(measure_fields, static_argnums=1)
ratio = jax.jit(tiling, static_argnums=1)
nearest = jax.jit(nearest_distances, static_argnums=1)


def flat(fields):
    """Fields [units, side, side] as a matrix [sites, units]."""
    fields = np.asarray(fields, np.float32)
    return fields.reshape(len(fields), -1).T


def normal(*shape):
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def block(side, size, corner):
    field = np.zeros((side, side))
    field[:size, :size] = 1.0
    return np.roll(field, corner, (0, 1))


def reference(fields, side):
    """Definitions in float64, one unit and one site after the other."""
    rows = []
    positions = np.array([(r, c) for r in range(side) for c in range(side)], float)
    for w in np.asarray(fields, np.float64).T:
        q = w**2 / np.sum(w**2)
        phase = np.exp(2j * np.pi * positions / side)
        centre = np.angle(np.sum(q[:, None] * phase, axis=0)) * side / (2 * np.pi) % side
        apart = np.abs(positions - centre)
        squared = np.sum(q[:, None] * np.minimum(apart, side - apart) ** 2, axis=0)
        participation, coherence = 1 / np.sum(q**2), abs(w.sum()) / np.abs(w).sum()
        rows.append((centre, np.sqrt(squared.sum()), participation, coherence, np.sqrt(squared)))
    return FieldMeasures(*(np.array(column) for column in zip(*rows, strict=True)))


def distance(a, b, side):
    """Periodic distance of coordinates, by hand."""
    apart = np.abs(np.asarray(a, float) - np.asarray(b, float)) % side
    return np.minimum(apart, side - apart)


def test_any_field_agrees_with_the_definitions():
    fields = normal(SIDE**2, 20) * np.linspace(0.01, 3.0, 20, dtype=np.float32)
    for name, found, expected in zip(
        FieldMeasures._fields, measured(fields, SIDE), reference(fields, SIDE), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5, err_msg=name)
        assert found.dtype == jnp.float32


@pytest.mark.parametrize("corner", [(3, 4), (-1, -2), (11, 5)])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_block_of_ones_anywhere_on_the_torus(size, corner):
    found = measured(flat(block(SIDE, size, corner)[None]), SIDE)
    centre = np.asarray(corner) + (size - 1) / 2
    np.testing.assert_allclose(distance(found.centre[0], centre, SIDE), 0, atol=1e-5)
    assert (found.centre >= 0).all() and (found.centre < SIDE).all()
    np.testing.assert_allclose(found.radius, math.sqrt((size**2 - 1) / 6), atol=2e-5)
    np.testing.assert_allclose(found.extent, math.sqrt((size**2 - 1) / 12), atol=2e-5)
    np.testing.assert_allclose(found.participation, size**2, rtol=1e-6)
    np.testing.assert_allclose(found.coherence, 1, rtol=1e-6)


@pytest.mark.parametrize("centre", [(6.3, 4.8), (0.2, 15.7)])
def test_gaussian_has_its_own_widths_along_rows_and_columns(centre):
    side, widths = 16, np.array([1.0, 1.8])
    apart = jax.jit(lambda: periodic_offset(site_positions(side) - jnp.array(centre)[None, :], side))()
    field = np.exp(-np.sum((np.asarray(apart) / widths.astype(np.float32)) ** 2, axis=1) / 4)
    found = measured(field[:, None], side)
    np.testing.assert_allclose(distance(found.centre[0], centre, side), 0, atol=2e-3)
    np.testing.assert_allclose(found.extent[0], widths, rtol=2e-3)
    np.testing.assert_allclose(found.radius[0], np.hypot(*widths), rtol=2e-3)
    # Of a Gaussian q, 1 / sum q^2 = 4 pi times the product of its widths.
    np.testing.assert_allclose(found.participation[0], 4 * np.pi * widths.prod(), rtol=2e-3)


def test_translation_moves_the_centre_and_nothing_else():
    fields = normal(10, SIDE, SIDE)
    before = measured(flat(fields), SIDE)
    after = measured(flat(np.roll(fields, (5, -3), (1, 2))), SIDE)
    np.testing.assert_allclose(
        distance(after.centre, np.asarray(before.centre) + np.array([[5, -3]]), SIDE), 0, atol=1e-4
    )
    for name in ("radius", "participation", "coherence", "extent"):
        np.testing.assert_allclose(getattr(after, name), getattr(before, name), rtol=1e-4, err_msg=name)


def test_quarter_turn_exchanges_the_axes():
    fields = normal(10, SIDE, SIDE)
    before = measured(flat(fields), SIDE)
    after = measured(flat(np.rot90(fields, axes=(1, 2))), SIDE)
    row, column = np.asarray(before.centre).T
    turned = np.stack([SIDE - 1 - column, row], axis=1)
    np.testing.assert_allclose(distance(after.centre, turned, SIDE), 0, atol=1e-4)
    np.testing.assert_allclose(after.extent, np.asarray(before.extent)[:, ::-1], rtol=1e-4)
    np.testing.assert_allclose(after.radius, before.radius, rtol=1e-4)


def test_coherence_counts_signs():
    field = block(SIDE, 4, (0, 0))
    stripes = field * np.where(np.arange(SIDE) % 2, -1, 1)[None, :]
    one_of_four = field * np.where(np.arange(SIDE) % 4 == 0, -1, 1)[None, :]
    found = measured(flat(np.stack([field, -field, stripes, one_of_four])), SIDE)
    np.testing.assert_allclose(found.coherence, [1, 1, 0, 0.5], atol=1e-6)
    np.testing.assert_allclose(found.participation, 16, rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_scale_of_the_weights_does_not_matter(scale):
    fields = normal(SIDE**2, 5)
    for found, expected in zip(measured(np.float32(scale) * fields, SIDE), measured(fields, SIDE), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_unit_without_weights_is_nan_and_disturbs_no_other():
    fields = normal(SIDE**2, 3)
    kept = measured(fields[:, ::2], SIDE)
    fields[:, 1] = 0.0
    found = measured(fields, SIDE)
    for with_dead, without in zip(map(np.asarray, found), kept, strict=True):
        assert np.isnan(with_dead[1]).all()
        np.testing.assert_allclose(with_dead[::2], without, rtol=1e-6)


def test_fields_must_fill_the_lattice():
    with pytest.raises(ValueError, match="side = 5"):
        measured(jnp.ones((24, 2)), 5)


def test_composed_fields_are_products_of_the_weights():
    shapes = [(16, 8), (8, 4), (4, 2)]
    random = np.random.default_rng(1)
    weights = [random.standard_normal(shape, np.float32) for shape in shapes]
    fields = composed(weights)
    assert len(fields) == 3
    np.testing.assert_array_equal(fields[0], weights[0])
    np.testing.assert_allclose(fields[1], np.asarray(weights[0]) @ np.asarray(weights[1]), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(fields[2], np.linalg.multi_dot([np.asarray(w) for w in weights]), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="weights = shapes"):
        composed([weights[0], weights[2]])
    with pytest.raises(ValueError, match="at least one"):
        compose([])


def test_blocks_of_blocks_compose_to_larger_blocks():
    below = flat(np.stack([block(8, 2, (2 * r, 2 * c)) for r in range(4) for c in range(4)]))
    above = flat(np.stack([block(4, 2, (2 * r, 2 * c)) for r in range(2) for c in range(2)]))
    first, second = (measured(field, 8) for field in composed([below, above]))
    np.testing.assert_allclose(first.radius, math.sqrt(3 / 6), rtol=1e-4)
    np.testing.assert_allclose(second.radius, math.sqrt(15 / 6), rtol=1e-4)
    np.testing.assert_allclose(second.centre, [[1.5, 1.5], [1.5, 5.5], [5.5, 1.5], [5.5, 5.5]], rtol=1e-4)


def test_radius_without_locality_is_the_mean_over_all_sites_and_centres():
    side, fine = 6, 50
    offsets = np.arange(side * fine) / fine + 0.5 / fine
    squared = np.minimum(offsets, side - offsets) ** 2
    np.testing.assert_allclose(random_radius(side), math.sqrt(2 * squared.mean()), rtol=1e-4)
    with pytest.raises(ValueError, match="side = 1"):
        random_radius(1)


def test_normal_weights_have_the_radius_and_participation_without_locality():
    side, units = 16, 4000
    found = measured(normal(side**2, units), side)
    # The median of 64 units has a standard error of 0.02: the reference value 6.25 came from 64.
    assert abs(np.median(found.radius) - 6.25) < 4 * 0.02
    assert abs(np.median(found.radius) - random_radius(side)) > 4 * 0.02
    np.testing.assert_allclose(np.mean(found.radius), random_radius(side, own_centre=True), rtol=5e-3)
    # Shares of normal weights are a Dirichlet law with parameters 1/2: <1 / n_eff> = 3 / (n + 2), here 1 / 86.
    inverse = 1 / np.asarray(found.participation, np.float64)
    error = inverse.std() / math.sqrt(units)
    assert abs(inverse.mean() - 1 / 86) < 4 * error
    assert abs(inverse.mean() - 1 / 85) > 4 * error
    assert np.median(found.coherence) < 0.1


@pytest.mark.parametrize(("count", "side"), [(2, 16), (4, 16), (5, 12)])
def test_square_lattice_tiles_with_ratio_two(count, side):
    sites = np.stack(np.meshgrid(np.arange(count), np.arange(count), indexing="ij"), -1).reshape(-1, 2)
    centres = np.mod(sites * side / count + 0.9 * side, side).astype(np.float32)
    np.testing.assert_allclose(ratio(centres, side), 2, rtol=1e-5)
    with_dead = np.concatenate([centres, np.full((3, 2), np.nan, np.float32)])
    np.testing.assert_allclose(ratio(with_dead, side), 2, rtol=1e-5)


def test_random_centres_tile_with_ratio_one():
    draws = 400
    centres = 16 * np.random.default_rng(2).random((draws, POISSON_UNITS, 2), np.float32)
    each = jax.jit(jax.vmap(lambda x: tiling(x, 16)))
    ratios = np.asarray(each(centres), np.float64)
    error = ratios.std() / math.sqrt(draws)
    expected = math.sqrt(POISSON_UNITS / math.pi) * beta(0.5, POISSON_UNITS)
    assert abs(expected - 1 - 1 / (8 * POISSON_UNITS)) < 1e-4
    assert abs(ratios.mean() - expected) < 4 * error
    assert abs(ratios.mean() - 1.03) > 4 * error
    assert np.max(each(np.float32(0.1) * centres)) < 0.2


@pytest.mark.parametrize("live", [0, 1])
def test_fewer_than_two_centres_have_no_tiling(live):
    centres = np.full((3, 2), np.nan, np.float32)
    centres[:live] = 1.0
    assert np.isnan(ratio(centres, 8)) and np.isnan(nearest(centres, 8)).all()


def test_nearest_distances_agree_with_a_search():
    centres = 8 * np.random.default_rng(3).random((12, 2), np.float32)
    centres[3] = np.nan
    expected = [
        np.nan if i == 3 else min(np.hypot(*distance(centres[i], centres[j], 8)) for j in range(12) if j not in (3, i))
        for i in range(12)
    ]
    np.testing.assert_allclose(nearest(centres, 8), expected, rtol=1e-5)


def test_runs_side_by_side_agree_with_one_after_the_other():
    fields = normal(3, SIDE**2, 6)
    fields[1, :, 2] = 0.0
    together = jax.jit(jax.vmap(lambda f: (found := measured(f, SIDE), ratio(found.centre, SIDE))))(fields)
    for run, field in enumerate(fields):
        alone = measured(field, SIDE)
        jax.tree.map(
            lambda a, b, run=run: np.testing.assert_allclose(a[run], b, rtol=1e-4),
            together,
            (alone, ratio(alone.centre, SIDE)),
        )
