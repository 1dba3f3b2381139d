"""Couplings and correlation lengths of spins: closed forms, exact samples of the ring, equilibrium square lattices.

The statistical tests have fixed keys and allow four standard errors, a false-alarm rate of 6e-5 each; a nearby wrong
coupling or length lies further off and must fail.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lattices import heated
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import norm

from rgflow.exact.enumeration import ring_couplings, torus_couplings
from rgflow.exact.ising import axis_correlation_length
from rgflow.probes import couplings as probes
from rgflow.probes.couplings import (
    BOUND,
    axis_correlation,
    covariance_of_draws,
    nearest_neighbours,
    pseudo_coupling,
    pseudo_coupling_error,
    second_moment_length,
    signed,
    structure_factor,
)
from rgflow.samplers.ising import sample_ring

SIDE, SAMPLES, BLOCKS = 16, 2048, 16
RING = 16


def site_positions(side):
    return np.stack(np.divmod(np.arange(side**2), side), axis=1).astype(np.float32)


ring_samples = jax.jit(sample_ring, static_argnums=(2, 3))
fit = jax.jit(pseudo_coupling)
fit_error = jax.jit(pseudo_coupling_error)
length = jax.jit(second_moment_length, static_argnums=(2, 3))
correlation_at = jax.jit(axis_correlation, static_argnums=2)
factor = jax.jit(structure_factor, static_argnums=2)
covariance = jax.jit(probes.covariance)
neighbours_of = jax.jit(nearest_neighbours, static_argnums=(1, 2))


@functools.cache
def square_samples(coupling):
    """Some forty autocorrelation times from a random start."""
    return heated(jax.random.key(5), coupling, SIDE, SAMPLES, 1000 if coupling > 0.3 else 100)


def ring_neighbours():
    return ring_couplings(1, RING).astype(np.float32)


def product_covariance(t, side):
    """The product of two Ising rings, $C = c(r) c(c')$ with $c(r) = (t^r + t^{L-r}) / (1 + t^L)$."""
    apart = np.abs(np.arange(side)[:, None] - np.arange(side)[None, :])
    ring = (t**apart + t ** (side - apart)) / (1 + t**side)
    return np.kron(ring, ring).astype(np.float32)


def reference_factor(matrix, positions, side):
    """S(k) by the double sum in float64."""
    offsets = 2 * np.pi / side * (positions[:, None, :] - positions[None, :, :])
    waves = [np.ones_like(matrix), (np.cos(offsets[..., 0]) + np.cos(offsets[..., 1])) / 2]
    return [np.sum(matrix * wave) / len(matrix) for wave in waves]


@pytest.mark.parametrize("coupling", [-0.4, 0.2, 0.7])
def test_coupling_of_exact_ring_samples(coupling, key):
    spins = ring_samples(key, coupling, RING, 4000)
    found = fit(spins, ring_neighbours())
    error = fit_error(spins, ring_neighbours(), found)
    assert found.dtype == error.dtype == jnp.float32
    assert abs(found - coupling) < 4 * error < 0.04
    assert abs(found - (coupling + 0.05)) > 4 * error


@pytest.mark.parametrize("coupling", [0.3, pytest.param(0.408, marks=pytest.mark.slow)])
def test_coupling_of_square_lattice_samples(coupling):
    spins, neighbours = square_samples(coupling), neighbours_of(site_positions(SIDE), SIDE, 4)
    found = fit(spins, neighbours)
    error = fit_error(spins, neighbours, found)
    assert abs(found - coupling) < 4 * error < 0.005
    assert abs(found - 1.03 * coupling) > 4 * error


def test_error_of_the_coupling_is_its_spread_over_repetitions(key):
    spins = ring_samples(key, 0.5, RING, 400 * 100).reshape(400, 100, RING)

    @jax.jit
    def fitted(spins, neighbours):
        found = jax.vmap(fit, (0, None))(spins, neighbours)
        return found, jax.vmap(fit_error, (0, None, 0))(spins, neighbours, found)

    found, errors = fitted(spins, ring_neighbours())
    spread, typical = np.std(found), np.sqrt(np.mean(errors**2))
    allowed = 4 / math.sqrt(2 * 400)
    assert abs(typical / spread - 1) < allowed
    # If the conditional laws of one sample were independent, as they are not: each bond is counted from both ends.
    alignment = np.asarray(spins) * (np.asarray(spins) @ np.asarray(ring_neighbours()))
    information = np.sum(alignment**2 / np.cosh(0.5 * alignment) ** 2, axis=(1, 2))
    assert abs(np.mean(information**-0.5) / spread - 1) > allowed


@pytest.mark.parametrize("seed", range(4))
def test_coupling_is_the_root_of_the_slope(seed):
    draws = np.random.default_rng(seed)
    spins = np.where(draws.random((30, 12)) < [0.3, 0.6, 0.9, 0.97][seed], 1, -1).astype(np.int8)
    neighbours = np.triu(draws.random((12, 12)) < 0.3, 1).astype(np.float32)
    neighbours += neighbours.T
    alignment = (spins * (spins @ neighbours)).astype(float)
    slope = lambda K: np.sum(alignment * expit(-2 * K * alignment))  # noqa: E731
    np.testing.assert_allclose(fit(spins, neighbours), brentq(slope, -5, 5), atol=2e-5)


def test_coupling_without_a_maximum_or_without_neighbours():
    signs = np.where(np.arange(RING) % 2, -1, 1).astype(np.int8)
    for pattern, bound in ((np.ones(RING, np.int8), BOUND), (signs, -BOUND)):
        spins = np.tile(pattern[None, :], (5, 1))
        found = fit(spins, ring_neighbours())
        np.testing.assert_allclose(found, bound, rtol=1e-3)
        assert np.isinf(fit_error(spins, ring_neighbours(), found))
        none = np.zeros((RING, RING), np.float32)
        assert np.isnan(fit(spins, none)) and np.isnan(fit_error(spins, none, fit(spins, none)))


def test_one_sample_off_the_aligned_state_has_a_finite_coupling():
    spins = np.ones((1000, RING), np.int8)
    spins[0, 0] = -1
    alignment = spins * (spins @ ring_neighbours())
    root = brentq(lambda K: np.sum(alignment * expit(-2 * K * alignment)), 1, 4)
    np.testing.assert_allclose(fit(spins, ring_neighbours()), root, rtol=1e-3)


def test_gauge_restores_what_signs_of_units_hide(key):
    spins = ring_samples(key, 0.7, RING, 4000)
    # Every second bond changes its sign: the fit sees nothing.
    sign = np.where(np.arange(RING) % 4 < 2, 1, -1).astype(np.float32)
    gauged = jax.jit(signed)
    hidden = gauged(spins, sign)
    assert hidden.dtype == jnp.int8
    np.testing.assert_array_equal(gauged(hidden, 0.1 * sign), spins)
    np.testing.assert_array_equal(gauged(spins, np.array([0.0, np.nan] * (RING // 2), np.float32)), spins)
    found = fit(hidden, ring_neighbours())
    assert abs(found) < 4 * fit_error(hidden, ring_neighbours(), found) < 0.1


def test_covariance_of_spins_and_of_means(key):
    spins = ring_samples(key, 0.7, RING, 4000)
    expected = np.cov(np.asarray(spins, float).T, bias=True)
    np.testing.assert_allclose(covariance(spins), expected, atol=1e-5)
    np.testing.assert_allclose(covariance(0.5 * np.asarray(spins, np.float32)), expected / 4, atol=1e-5)


def test_covariance_of_draws_is_that_of_drawn_spins():
    n, repetitions = 6, 400
    random = np.random.default_rng(0)
    means = np.tanh(random.normal(size=(50, 1)) + 0.5 * random.normal(size=(50, n)) + 0.3)
    every = np.tile(means, (repetitions, 1))
    spins = np.where(random.random(every.shape) < (1 + every) / 2, 1.0, -1.0)
    centred = spins - means.mean(0)
    products = centred[:, :, None] * centred[:, None, :]
    error = products.std(0) / math.sqrt(len(spins))
    limit = norm.isf(6e-5 / 2 / (n * (n + 1) / 2))
    assert (np.abs(products.mean(0) - jax.jit(covariance_of_draws)(means.astype(np.float32))) < limit * error).all()
    assert (np.abs(products.mean(0) - np.cov(means.T, bias=True)) > limit * error).diagonal().all()


def random_units(count=10, side=7, seed=0):
    """A covariance of units and their positions."""
    random = np.random.default_rng(seed)
    matrix = np.cov(random.normal(size=(20, count)).T, bias=True)
    return matrix.astype(np.float32), (side * random.random((count, 2))).astype(np.float32)


def test_structure_factor_is_the_double_sum():
    matrix, positions = random_units()
    found = factor(matrix, positions, 7)
    np.testing.assert_allclose(found, reference_factor(matrix, positions, 7), rtol=1e-4, atol=1e-5)


def test_units_without_a_position_are_left_out():
    matrix, positions = random_units()
    with_dead = np.where(np.arange(10)[:, None] < 7, positions, np.float32(np.nan))
    distances = np.array([0.5, 1.5, 2.5], np.float32)
    for measure in (
        lambda m, x: factor(m, x, 7),
        lambda m, x: length(m + 1.0, x, 7),
        lambda m, x: correlation_at(m, x, 7, distances),
    ):
        found, expected = measure(matrix, with_dead), measure(matrix[:7, :7], positions[:7])
        assert np.isfinite(jax.tree.leaves(expected)).any()
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), found, expected)
    neighbours = neighbours_of(with_dead, 7, 4)
    assert not neighbours[7:].any() and not neighbours[:, 7:].any()
    np.testing.assert_array_equal(neighbours[:7, :7], neighbours_of(positions[:7], 7, 4))


@pytest.mark.parametrize(("t", "side"), [(0.3, 8), (0.6, 16), (0.8, 12)])
def test_second_moment_length_of_a_product_of_rings(t, side):
    # S(k) / S(0) of one ring is (1 - t)^2 / (1 - 2 t cos k + t^2) at any size, and the other factor cancels.
    matrix, positions = product_covariance(t, side), site_positions(side)
    np.testing.assert_allclose(length(matrix, positions, side), math.sqrt(t) / (1 - t), rtol=1e-4)
    moved = np.mod(2 * positions + np.float32(3.7), 2 * side)
    np.testing.assert_allclose(length(matrix, moved, 2 * side, 2), 2 * math.sqrt(t) / (1 - t), rtol=1e-4)


def test_second_moment_length_that_does_not_exist():
    positions = site_positions(4)
    staggered = np.where(np.sum(positions, axis=1) % 2 == 0, 1, -1).astype(np.float32)
    for matrix in (np.outer(staggered, staggered), -np.eye(16, dtype=np.float32)):
        assert np.isnan(length(matrix, positions, 4))
    assert np.isnan(length(np.eye(16, dtype=np.float32), np.full((16, 2), np.nan, np.float32), 4))


def test_second_moment_length_of_the_square_lattice():
    # At side 32, where S(0) / S(k) - 1 is 0.1, the same error would need ten times the samples.
    spins, positions = np.asarray(square_samples(0.3)), site_positions(SIDE)
    found = length(covariance(spins), positions, SIDE)
    # The jackknife: in a single block S(0) may well be below S(k), where there is no length.
    places = np.arange(SAMPLES) * BLOCKS // SAMPLES
    without = [length(covariance(spins[places != block]), positions, SIDE) for block in range(BLOCKS)]
    error = np.std(without) * math.sqrt(BLOCKS - 1)
    # The two lengths differ by less than 1 % above the critical temperature.
    allowed = 4 * error + 0.01 * found
    assert abs(found - axis_correlation_length(0.3)) < allowed
    assert abs(found - axis_correlation_length(0.34)) > allowed


def test_correlations_at_a_distance():
    t, side = 0.5, 12
    matrix, positions = product_covariance(t, side), site_positions(side)
    distances = np.array([0.0, 1.0, 2.0, 9.5], np.float32)
    found = correlation_at(matrix, positions, side, distances)
    c = [(t**r + t ** (side - r)) / (1 + t**side) for r in range(3)]
    # Distances in [1/2, 3/2) are 1 and sqrt 2, four pairs each; in [3/2, 5/2) they are 2 (four) and sqrt 5 (eight).
    expected = [np.nan, (c[1] + c[1] ** 2) / 2, (c[2] + 2 * c[1] * c[2]) / 3, np.nan]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    scale = np.linspace(0.5, 2.0, side**2, dtype=np.float32)
    scaled = matrix * np.outer(scale, scale)
    np.testing.assert_allclose(correlation_at(scaled, positions, side, distances), expected, rtol=1e-5)
    # A unit without variance is in no pair.
    scaled[7] = scaled[:, 7] = 0
    found = correlation_at(scaled, positions, side, distances)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(("side", "spacing"), [(3, 1.0), (4, 4.0), (16, 1.0), (12, 16 / 12)])
def test_four_neighbours_on_a_square_lattice(side, spacing):
    positions = np.mod(spacing * site_positions(side) + 0.37, spacing * side).astype(np.float32)
    found = neighbours_of(positions, spacing * side, 4)
    np.testing.assert_array_equal(found, torus_couplings(1, side, side))


def test_neighbours_agree_with_a_search_whatever_the_numbering():
    positions = random_units(20, 9)[1]
    apart = np.abs(positions[:, None] - positions[None, :])
    distances = np.hypot(*np.moveaxis(np.minimum(apart, 9 - apart), -1, 0))
    near = np.zeros((20, 20), bool)
    for i in range(20):
        near[i, np.argsort(distances[i])[1:4]] = True
    expected = near | near.T
    np.testing.assert_array_equal(neighbours_of(positions, 9, 3), expected)
    np.testing.assert_array_equal(neighbours_of(positions[::-1], 9, 3), expected[::-1, ::-1])


def test_ties_all_count_and_few_units_are_all_neighbours():
    np.testing.assert_array_equal(neighbours_of(site_positions(5), 5, 2), torus_couplings(1, 5, 5))
    np.testing.assert_array_equal(neighbours_of(np.array([[0.0, 0.0], [1.0, 2.0]], np.float32), 8, 4), 1 - np.eye(2))
    with pytest.raises(ValueError, match="count = 0"):
        nearest_neighbours(jnp.asarray(site_positions(2)), 2, 0)


def test_runs_side_by_side_agree_with_one_after_the_other(key):
    spins = ring_samples(key, 0.5, RING, 300).reshape(3, 100, RING)
    positions = np.stack([random_units(RING, 8, seed)[1] for seed in range(3)])
    positions[1, 3] = np.nan
    distances = jnp.arange(1.0, 4.0)

    def measure(spins, positions):
        matrix, neighbours = covariance_of_draws(0.9 * spins), nearest_neighbours(positions, 8)
        found = pseudo_coupling(spins, neighbours)
        correlation = correlation_at(matrix, positions, 8, distances)
        length = second_moment_length(matrix + 0.1, positions, 8)
        return neighbours, found, pseudo_coupling_error(spins, neighbours, found), correlation, length

    together = jax.jit(jax.vmap(measure))(spins, positions)
    one = jax.jit(measure)
    for run in range(3):
        alone = one(spins[run], positions[run])
        jax.tree.map(lambda a, b, run=run: np.testing.assert_allclose(a[run], b, rtol=1e-4, atol=1e-6), together, alone)
