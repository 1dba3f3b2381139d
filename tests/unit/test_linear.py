"""The linear probe against least squares in float64, and what it says of noise, constants and broken rows."""

import jax
import numpy as np

from rgflow.probes import linear

held_out_r2 = jax.jit(linear.held_out_r2)


def lstsq_r2(x, y, a, b):
    """R^2 on rows b of the least-squares fit with intercept on rows a."""
    fit = np.linalg.lstsq(np.c_[x[a], np.ones(a.sum())], y[a], rcond=None)[0]
    left = y[b] - np.c_[x[b], np.ones(b.sum())] @ fit
    return 1 - (left**2).sum(axis=0) / ((y[b] - y[b].mean(axis=0)) ** 2).sum(axis=0)


def data(rng, n=600, d=12):
    x = rng.standard_normal((n, d)) @ np.diag(np.geomspace(1, 0.05, d)) + 5
    y = np.c_[x[:, 0], x @ rng.standard_normal(d) + rng.standard_normal(n), rng.standard_normal(n)]
    return x, y


def test_equals_least_squares_on_the_other_half():
    x, y = data(np.random.default_rng(0))
    a = np.random.default_rng(1).random(len(x)) < 0.45
    b = ~a & (np.random.default_rng(2).random(len(x)) < 0.9)
    expected = (lstsq_r2(x, y, a, b) + lstsq_r2(x, y, b, a)) / 2
    np.testing.assert_allclose(held_out_r2(x.astype(np.float32), y.astype(np.float32), a, b), expected, atol=2e-3)


def test_unrelated_targets_cost_what_fitting_noise_costs():
    rng = np.random.default_rng(3)
    n, d = 2000, 40
    half = np.arange(n) < n // 2
    r2 = np.asarray(
        held_out_r2(rng.standard_normal((n, d), np.float32), rng.standard_normal((n, 50), np.float32), half, ~half)
    )
    expected = -d / (n / 2 - d)
    assert abs(r2.mean() - expected) < 4 * r2.std(ddof=1) / np.sqrt(r2.size) + 0.005


def test_rows_in_neither_half_are_not_read():
    x, y = data(np.random.default_rng(4))
    a, b = np.arange(600) < 250, (np.arange(600) >= 250) & (np.arange(600) < 500)
    spoiled = x.copy()
    spoiled[500:] = 1e3
    np.testing.assert_allclose(
        held_out_r2(x.astype(np.float32), y.astype(np.float32), a, b),
        held_out_r2(spoiled.astype(np.float32), y.astype(np.float32), a, b),
        atol=2e-3,
    )


def test_constant_and_broken_representations():
    x, y = (z.astype(np.float32) for z in data(np.random.default_rng(5)))
    half = np.arange(600) < 300
    layers = np.stack([x, np.ones_like(x), np.full_like(x, np.nan)])
    r2 = held_out_r2(layers, y, half, ~half)
    assert r2.shape == (3, 3)
    np.testing.assert_allclose(r2[0], held_out_r2(x, y, half, ~half), atol=1e-6)
    # A constant predicts the mean of the other half, which is not quite the mean of its own.
    assert ((r2[1] <= 1e-6) & (r2[1] > -0.05)).all()
    assert np.isnan(r2[2]).all()
    assert np.isnan(held_out_r2(x, np.ones((600, 1), np.float32), half, ~half)).all()


def test_jit_and_vmap():
    x, y = (z.astype(np.float32) for z in data(np.random.default_rng(6)))
    half = np.arange(600) < 300
    plain = linear.held_out_r2(x, y, half, ~half)
    np.testing.assert_allclose(held_out_r2(x, y, half, ~half), plain, atol=1e-5)
    both = jax.vmap(held_out_r2, in_axes=(0, None, None, None))(np.stack([x, 2 * x]), y, half, ~half)
    np.testing.assert_allclose(both, np.stack([plain, plain]), atol=1e-4)
