"""Gauges of features: what each makes of the covariance, degenerate features, binarised spins, equivalent forms."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgflow.probes import gauges
from rgflow.probes.dependence import correlations
from rgflow.probes.gauges import GAUGES
from rgflow.probes.pseudo_likelihood import pseudo_likelihood
from rgflow.probes.score_matching import score_matching

WIDTH, SAMPLES = 5, 4000

apply_gauge = jax.jit(gauges.apply_gauge, static_argnums=1)
binarise = jax.jit(gauges.binarise)
orbit = jax.jit(gauges.orbit, static_argnums=3)


@functools.cache
def features():
    """Correlated features of sizes 0.1 to 10 around means that are not zero."""
    random = np.random.default_rng(3)
    mixing = np.eye(WIDTH) + 0.4 * random.normal(size=(WIDTH, WIDTH))
    values = random.laplace(size=(SAMPLES, WIDTH)) @ mixing * np.geomspace(0.1, 10, WIDTH) + np.arange(WIDTH)
    return values.astype(np.float32)


def centred(values):
    values = np.asarray(values, np.float64)
    return values - values.mean(axis=0)


def covariance(values):
    return np.cov(np.asarray(values, np.float64).T, bias=True)


def test_raw_is_centred_and_standardised_has_unit_variance():
    raw, standard = apply_gauge(features(), "raw"), apply_gauge(features(), "standardised")
    np.testing.assert_allclose(raw, centred(features()), atol=1e-5)
    np.testing.assert_allclose(covariance(standard).diagonal(), 1, atol=1e-5)
    np.testing.assert_allclose(np.corrcoef(standard.T), np.corrcoef(features().T), atol=1e-5)


def test_whitened_is_uncorrelated_by_a_symmetric_matrix():
    values = features() / np.std(features(), axis=0, keepdims=True)
    white = apply_gauge(values, "whitened")
    np.testing.assert_allclose(covariance(white), np.eye(WIDTH), atol=1e-4)
    exact = np.linalg.eigh(covariance(values))
    root = exact[1] / np.sqrt(exact[0]) @ exact[1].T
    np.testing.assert_allclose(white, centred(values) @ root, atol=1e-3)


def test_principal_axes_come_by_variance_with_a_fixed_sign():
    principal = apply_gauge(features(), "principal")
    variance, axes = np.linalg.eigh(covariance(features()))
    axes = axes[:, ::-1] * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(WIDTH)])[::-1]
    exact = centred(features()) @ axes / np.sqrt(variance[::-1])
    # The smallest variance is 1e-4 of the largest: float32 leaves three digits of its axis.
    np.testing.assert_allclose(principal[:, :4], exact[:, :4], atol=2e-3)
    np.testing.assert_allclose(covariance(principal), np.eye(WIDTH), atol=2e-2)
    np.testing.assert_allclose(apply_gauge(-features(), "principal"), -np.asarray(principal), atol=1e-3)


@pytest.mark.parametrize("gauge", GAUGES)
@pytest.mark.parametrize("filling", [0.0, 0.1, 3e4, np.nan, np.inf])
def test_useless_unit_is_nan_and_leaves_the_others_alone(gauge, filling):
    small = features()[:500, :3]
    broken = small[:, 1].copy() if not np.isfinite(filling) else np.full(500, filling, np.float32)
    broken[7] = filling
    alone = apply_gauge(small, gauge)
    found = apply_gauge(np.concatenate([broken[:, None], small], axis=1), gauge)
    # The axis of a unit without variance is the last one.
    place = 3 if gauge == "principal" else 0
    assert np.isnan(found[:, place]).all()
    np.testing.assert_allclose(np.delete(found, place, axis=1), alone, atol=1e-3)


def test_copy_has_no_place_in_a_whitened_layer_and_no_axis_of_its_own():
    small = features()[:500, :3] / np.std(features()[:500, :3], axis=0, keepdims=True)
    doubled = np.concatenate([small, -small[:, :1]], axis=1)
    white = apply_gauge(doubled, "whitened")
    assert np.isnan(white[:, [0, 3]]).all()
    np.testing.assert_allclose(covariance(white[:, 1:3]), np.eye(2), atol=1e-4)
    principal = apply_gauge(doubled, "principal")
    assert np.isnan(principal[:, 3]).all()
    np.testing.assert_allclose(covariance(principal[:, :3]), np.eye(3), atol=1e-3)


def test_binarised_at_the_median():
    spins = binarise(features())
    assert spins.dtype == jnp.int8
    assert (np.sum(spins, axis=0) == 0).all()
    np.testing.assert_array_equal(binarise(-features()), -np.asarray(spins))
    np.testing.assert_array_equal(spins[:, 2] > 0, features()[:, 2] > np.median(features()[:, 2]))


def test_binarised_atoms_at_a_bound_and_dead_units():
    rectified = np.maximum(features() - np.quantile(features(), 0.6, axis=0, keepdims=True), 0).astype(np.float32)
    np.testing.assert_array_equal(binarise(rectified) > 0, rectified > 0)
    np.testing.assert_array_equal(binarise(-rectified), -np.asarray(binarise(rectified)))
    broken = np.where(np.arange(9) == 2, np.nan, np.arange(9.0))
    dead = np.stack([np.zeros(9), np.full(9, 0.3), broken, np.arange(9.0)], axis=1).astype(np.float32)
    found = binarise(dead)
    assert (np.asarray(found[:, :3]) == 0).all()
    assert set(np.asarray(found[:, 3]).tolist()) == {-1, 1}


def test_orbit_keeps_the_output_and_changes_the_couplings(key):
    readout = np.random.default_rng(4).standard_normal((WIDTH, 2), np.float32)
    standard = np.asarray(apply_gauge(features(), "standardised"))
    mixed, readouts = map(np.asarray, orbit(key, standard, readout, 6))
    assert mixed.shape == (6, SAMPLES, WIDTH)
    assert readouts.shape == (6, WIDTH, 2)
    for values, weights in zip(mixed, readouts, strict=True):
        np.testing.assert_allclose(values @ weights, standard @ readout, atol=2e-4)
        spread = np.linalg.svd(np.linalg.lstsq(standard, values, rcond=None)[0], compute_uv=False)
        assert 0.5 - 1e-4 < spread.min() < spread.max() < 2 + 1e-4
    found = np.asarray(jax.jit(jax.vmap(correlations))(mixed))
    assert np.abs(found[0] - found[1]).max() > 0.1
    # The Gaussian couplings of the same layer, with their errors: same loss, other couplings.
    fits = jax.tree.map(np.asarray, jax.jit(jax.vmap(lambda values: score_matching(values, (2,))))(mixed))
    apart = np.abs(fits.values.couplings[0] - fits.values.couplings[1])
    off = ~np.eye(WIDTH, dtype=bool)
    assert (apart[off] / fits.errors.couplings[:2].sum(axis=0)[off]).max() > 10


def test_couplings_follow_a_signed_permutation():
    order, sign = np.array([3, 0, 4, 1, 2]), np.float32([1.0, -1, -1, 1, -1])
    moved = features()[:, order] * sign[None, :]
    turned = sign[:, None] * sign[None, :]
    fit = jax.jit(lambda values: score_matching(gauges.apply_gauge(values, "standardised"), (2, 4)))
    one, other = (jax.tree.map(np.asarray, fit(values).values) for values in (features(), moved))
    expected = one.couplings[order][:, order] * turned
    np.testing.assert_allclose(other.couplings, expected, atol=1e-3)
    np.testing.assert_allclose(other.onsite, one.onsite[:, order], atol=1e-3)
    assert np.abs(other.couplings - one.couplings).max() > 0.05
    fit_signs = jax.jit(lambda values: pseudo_likelihood(gauges.binarise(values)).values)
    binary = lambda values: np.asarray(fit_signs(values))  # noqa: E731
    np.testing.assert_allclose(binary(moved), binary(features())[order][:, order] * turned, atol=1e-4)


def test_bad_input_is_refused(key):
    with pytest.raises(ValueError, match="gauge = 'white': must be one of raw"):
        gauges.apply_gauge(jnp.asarray(features()), "white")
    with pytest.raises(ValueError, match="count = 0: must be at least 1"):
        gauges.orbit(key, jnp.asarray(features()), jnp.ones((WIDTH, 1)), 0)
