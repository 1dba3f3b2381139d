"""Dependence without a model and summary numbers of couplings, against closed forms.

The statistical tests have fixed keys and allow four standard errors, a false-alarm rate of 6e-5 each.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgflow.probes import dependence
from rgflow.probes.pseudo_likelihood import pseudo_likelihood
from rgflow.samplers.ising import sample_ring

excess_kurtosis = jax.jit(dependence.excess_kurtosis)
correlations = jax.jit(dependence.correlations)
independent_copy = jax.jit(dependence.independent_copy)
coupling_summary = jax.jit(dependence.coupling_summary)
mutual_information = jax.jit(dependence.mutual_information, static_argnums=1)


def normal(*shape):
    return np.random.default_rng(7).standard_normal(shape, np.float32)


def gaussian_pair(rho, n):
    first, second = normal(2, n)
    return np.stack([first, rho * first + np.float32(math.sqrt(1 - rho**2)) * second], axis=1)


def with_dead_units(values):
    n = len(values)
    broken = values[:, :1].copy()
    broken[3] = np.nan
    return np.concatenate([np.zeros((n, 1)), values, np.full((n, 1), 0.7), broken], axis=1, dtype=np.float32)


def test_kurtosis_of_known_distributions():
    grid = np.linspace(-1, 3, 20001, dtype=np.float32)
    rows = np.stack([grid, np.where(grid > 1, 2.0, -5.0), np.where(abs(grid - 1) > 1.8, grid - 1, 0)], axis=1)
    three_peaks = 1 / 0.1 * (1.9**2 + 0.1**2 / 3) ** -2 * (1.9**4 + 2 * 1.9**2 * 0.1**2 + 0.1**4 / 5) - 3
    np.testing.assert_allclose(excess_kurtosis(rows.astype(np.float32)), [-1.2, -2.0, three_peaks], atol=2e-3)
    assert np.abs(excess_kurtosis(normal(20001, 3))).max() < 4 * math.sqrt(24 / 20000)


def test_correlations_are_those_of_numpy():
    values = gaussian_pair(0.6, 5000) * np.float32([3.0, 0.02]) + np.float32(5.0)
    np.testing.assert_allclose(correlations(values), np.corrcoef(values.T), atol=1e-4)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_mutual_information_of_a_gaussian_pair(rho):
    n = 20000
    values = gaussian_pair(rho, n)
    exact = -0.5 * math.log(1 - rho**2)
    halved = math.asin(rho) / math.pi  # P(same sign) = 1/2 + asin(rho) / pi
    same = 0.5 + halved
    two = math.log(2) + same * math.log(same) + (1 - same) * math.log(1 - same)
    error = abs(math.log(same / (1 - same))) * math.sqrt(same * (1 - same) / n) + 1 / n
    coarse, fine = mutual_information(values, 2)[0, 1], mutual_information(values, 16)[0, 1]
    assert abs(coarse - two) < 4 * error
    # Bins lose information, and less of it the more there are.
    assert fine < exact + 4 * (error + 15 / n)
    if rho:
        assert 0.75 * exact < fine
        assert coarse < mutual_information(values, 4)[0, 1] < fine


def test_mutual_information_of_a_table():
    table = np.array([[40, 10], [20, 30]])
    rows = np.repeat([[0.0, 0], [0, 1], [1, 0], [1, 1]], table.ravel(), axis=0)
    share = table / 100
    exact = np.sum(share * np.log(share / share.sum(1, keepdims=True) / share.sum(0, keepdims=True)))
    # The second column has its median at 0 with more zeros than ones, the first one a median between both.
    found = mutual_information(rows.astype(np.float32), 2)
    np.testing.assert_allclose(found[0, 1], exact - 1 / 200, atol=1e-5)
    np.testing.assert_allclose(found[0, 0], math.log(2) + 1 / 200, atol=1e-5)
    np.testing.assert_allclose(found, np.transpose(found), atol=1e-6)


def test_bias_of_mutual_information_is_taken_off():
    found = jax.jit(jax.vmap(lambda rows: dependence.mutual_information(rows, 4)[0, 1]))(normal(400, 200, 2))
    error = float(np.std(found)) / 20
    assert abs(float(np.mean(found))) < 4 * error + 0.002  # terms of order 1/n^2 are left
    assert 4 * error + 0.002 < 9 / 800  # the bias of the plain estimate


def test_atom_of_a_rectified_feature_is_one_bin():
    values = np.maximum(gaussian_pair(0.8, 8000) - np.float32(0.2), 0)
    found = mutual_information(values, 4)
    assert 0.05 < found[0, 1] < -0.5 * math.log(1 - 0.8**2)
    independent = mutual_information(independent_copy(values), 4)[0, 1]
    assert abs(independent) < 4 * math.sqrt(2) / 8000 * 3


def test_dead_units_are_nan_and_the_others_unchanged():
    values = gaussian_pair(0.5, 1000)
    for measure in (correlations, lambda rows: mutual_information(rows, 4)):
        found = np.asarray(measure(with_dead_units(values)))
        np.testing.assert_allclose(found[1:3, 1:3], measure(values), atol=1e-6)
        assert np.isnan(found).sum() == 25 - 4
    kurtosis = np.asarray(excess_kurtosis(with_dead_units(values)))
    np.testing.assert_allclose(kurtosis[1:3], excess_kurtosis(values), atol=1e-6)
    assert np.isnan(kurtosis[[0, 3, 4]]).all()


def test_independent_copy_keeps_marginals_and_nothing_else():
    values = np.repeat(normal(1024, 1), 8, axis=1)
    copy = independent_copy(values)
    np.testing.assert_array_equal(np.sort(copy, axis=0), np.sort(values, axis=0))
    found = np.asarray(correlations(copy))[np.triu_indices(8, 1)]
    assert np.abs(found).max() < 5 / math.sqrt(1024)
    assert np.asarray(correlations(values)).min() > 0.99


def test_summary_of_a_ring_with_a_missing_unit_and_errors():
    ring = -0.4 * (np.roll(np.eye(8), 1, 0) + np.roll(np.eye(8), -1, 0))
    random = np.random.default_rng(0)
    order, sign = random.permutation(8), random.choice([-1, 1], 8)
    moved = ring[order][:, order] * sign[:, None] * sign
    zero = np.zeros((8, 8))
    for matrix in (ring, moved):
        found = coupling_summary(matrix.astype(np.float32), zero.astype(np.float32))
        np.testing.assert_allclose(found, [0.4 * 8 / 28, 0.4, 0.4], atol=1e-6)
    missing = ring.copy()
    missing[2] = missing[:, 2] = np.nan
    found = coupling_summary(missing.astype(np.float32), zero.astype(np.float32))
    # Six of the eight bonds and seven of the eight units are left.
    np.testing.assert_allclose(found, [0.4 * 6 / 21, 0.4, 0.4 * math.sqrt(6 / 7)], atol=1e-6)
    error = np.full((8, 8), 0.3)
    error[0, 1] = error[1, 0] = np.inf
    found = coupling_summary(zero.astype(np.float32), error.astype(np.float32))
    np.testing.assert_allclose(found, [0, 0, -0.3 * math.sqrt(7 / 2)], atol=1e-6)
    empty = coupling_summary(np.full((3, 3), np.nan, np.float32), np.zeros((3, 3), np.float32))
    assert np.isnan(empty).all()


def test_squared_ring_coupling_is_unbiased():
    coupling, width = 0.2, 6

    def square(key):
        fit = pseudo_likelihood(sample_ring(key, coupling, width, 500))
        number = coupling_summary(fit.values, fit.errors).ring_coupling
        return jnp.sign(number) * number**2, jnp.mean(fit.values**2) * width / 2

    found, plain = jax.jit(lambda keys: jax.lax.map(square, keys))(jax.random.split(jax.random.key(4), 300))
    found, plain = np.asarray(found), np.asarray(plain)
    error = found.std() / math.sqrt(300)
    # The fit of 500 samples is itself off by 1/n, 1 % of the square.
    assert abs(found.mean() - coupling**2) < 4 * error + 0.01 * coupling**2
    assert plain.mean() - coupling**2 > 8 * error


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="bins = 1: must be at least 2"):
        dependence.mutual_information(jnp.ones((4, 2)), 1)
    with pytest.raises(ValueError, match="samples, features = 2, 3"):
        dependence.independent_copy(jnp.ones((2, 3)))
