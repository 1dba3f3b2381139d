"""Couplings of spins by pseudo-likelihood: planted ones, calibrated errors, an independent optimiser, degenerate units.

The statistical tests have fixed keys and allow four standard errors, a false-alarm rate of 6e-5 each; where there are
many z-scores their sum of squares is within the chi-square quantiles at 1e-4. A nearby wrong coupling must fail.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import chi2

from rgflow.exact.enumeration import log_weights, spin_states
from rgflow.probes import pseudo_likelihood as probes
from rgflow.samplers.ising import sample_ring

_compiled = jax.jit(probes.pseudo_likelihood, static_argnums=1)
_ring = jax.jit(sample_ring, static_argnums=(2, 3))


def pseudo_likelihood(spins, ridge=1e-4):
    return jax.device_get(_compiled(np.asarray(spins, np.int8), ridge))


def ring(seed, coupling, sites, n):
    return np.asarray(_ring(jax.random.key(seed), coupling, sites, n))


def pairs(matrix):
    matrix = np.asarray(matrix)
    return matrix[..., *np.triu_indices(matrix.shape[-1], 1)]


@functools.cache
def dense_couplings():
    random = np.random.default_rng(7)
    matrix = np.triu(random.normal(0, 0.3, (6, 6)), 1)
    return matrix + matrix.T


def dense_samples(seed, n):
    """Exact samples of dense couplings with fields, from the table of all states."""
    fields = np.linspace(-0.3, 0.4, 6)
    states = spin_states(6)
    weight = log_weights(dense_couplings()) + states @ fields
    # The order of states is that of spin_states.
    chance = np.exp(weight - np.logaddexp.reduce(weight))
    return states[np.random.default_rng(seed).choice(len(states), n, p=chance / chance.sum())].astype(np.int8)


def test_window_of_a_ring():
    """D1 of the room: K = 1, n = 30000; the fit of a neighbour pair is 0.96 to 1.02 on average, 0.014 to 0.02 each."""
    spins = ring(1, 1.0, 48, 30000)[:, :8]
    fit = pseudo_likelihood(spins)
    assert fit.values.dtype == fit.errors.dtype == jnp.float32
    near = pairs(np.eye(8, k=1)) == 1
    found, error = pairs(fit.values), pairs(fit.errors)
    assert (np.abs(found - near) < 4 * error).all()
    assert ((error[near] > 0.012) & (error[near] < 0.021)).all()
    assert 0.96 < found[near].mean() < 1.02
    assert (np.abs(found[near].mean() - np.array([0.9, 1.1])) > 4 * error.max()).all()
    np.testing.assert_array_equal(np.diagonal(fit.values), 0)
    np.testing.assert_allclose(fit.values, np.transpose(fit.values))


@pytest.mark.parametrize(("coupling", "num_samples"), [(0.5, 1000), pytest.param(1.0, 4000, marks=pytest.mark.slow)])
def test_errors_are_calibrated(coupling, num_samples):
    draws, width = 100, 5

    def fit(key):
        return probes.pseudo_likelihood(sample_ring(key, coupling, 40, num_samples)[:, :width])

    fits = jax.jit(lambda keys: jax.lax.map(fit, keys))(jax.random.split(jax.random.key(2), draws))
    near = pairs(np.eye(width, k=1)) == 1
    scores = (pairs(fits.values) - coupling * near) / pairs(fits.errors)
    assert np.isfinite(scores).all()
    # One number a draw: pairs of the same draw are weakly correlated, draws are not.
    for chosen in (near, ~near):
        z = scores[:, chosen]
        spread = np.mean(z**2, axis=1)
        assert abs(spread.mean() - 1) < 4 * spread.std() / math.sqrt(draws) < 0.4
        assert abs(z.mean()) < 4 * z.mean(axis=1).std() / math.sqrt(draws) + 0.05
    single = np.sum(scores[:, 0] ** 2)
    assert chi2.ppf(5e-5, draws) < single < chi2.ppf(1 - 5e-5, draws)
    assert np.sum((scores[:, 0] * 1.5) ** 2) > chi2.ppf(1 - 5e-5, draws)


def test_dense_planted_couplings_under_vmap():
    spins = np.stack([dense_samples(seed, 20000) for seed in (3, 4)])
    fits = jax.jit(jax.vmap(probes.pseudo_likelihood))(spins)
    scores = (pairs(fits.values) - pairs(dense_couplings())) / pairs(fits.errors)
    assert np.abs(scores).max() < 4
    wrong = (pairs(fits.values) - pairs(dense_couplings()) - 0.05) / pairs(fits.errors)
    assert (np.abs(wrong).mean(axis=1) > 4).all()


def reference(spins, ridge):
    """J of each regression by a quasi-Newton method in float64, and influence functions sample by sample."""
    spins = np.asarray(spins, np.float64)
    n, width = spins.shape
    weights, influence = np.zeros((width, width)), np.zeros((n, width, width))
    for unit in range(width):
        inputs = np.concatenate([np.delete(spins, unit, axis=1), np.ones((n, 1))], axis=1)
        own = spins[:, unit]

        def loss(theta, inputs=inputs, own=own):
            margin = 2 * own * (inputs @ theta)
            slope = -(2 * own / (1 + np.exp(margin))) @ inputs / n + ridge * theta
            return np.mean(np.logaddexp(0, -margin)) + ridge / 2 * theta @ theta, slope

        theta = minimize(loss, np.zeros(width), jac=True, method="L-BFGS-B", options={"ftol": 1e-16, "gtol": 1e-11}).x
        field = inputs @ theta
        curvature = (inputs / np.cosh(field)[:, None] ** 2).T @ inputs / n + ridge * np.eye(width)
        score = (own - np.tanh(field))[:, None] * inputs - ridge * theta
        others = np.delete(np.arange(width), unit)
        weights[unit, others] = theta[:-1]
        influence[:, unit, others] = np.linalg.solve(curvature, score.T).T[:, :-1]
    mean = (influence + influence.transpose(0, 2, 1)) / 2
    return (weights + weights.T) / 2, np.sqrt(np.sum(mean**2, axis=0)) / n


@pytest.mark.parametrize("ridge", [1e-4, 0.02])
def test_agrees_with_another_optimiser(ridge):
    # 1500 samples leave the second block incomplete.
    spins = dense_samples(5, 1500)
    fit = pseudo_likelihood(spins, ridge)
    values, errors = reference(spins, ridge)
    known = np.isfinite(np.asarray(fit.values))
    assert known.all() == (ridge == 1e-4)
    np.testing.assert_allclose(np.where(known, fit.values, values), values, atol=1e-4)
    np.testing.assert_allclose(np.where(known, fit.errors, errors), errors, atol=1e-4)


def test_degenerate_units_are_nan_and_the_others_unharmed():
    spins = ring(5, 0.6, 12, 3000)[:, :5]
    alone = pseudo_likelihood(spins)
    majority = np.where(spins[:, 0] + spins[:, 2] + spins[:, 4] > 0, 1, -1)
    broken = {
        "constant": np.ones(len(spins)),
        "no spin": np.zeros(len(spins)),
        "not a spin": np.arange(len(spins)) % 3,
        "copy": -spins[:, 1],
        "function of others": majority,
    }
    for name, column in broken.items():
        fit = pseudo_likelihood(np.concatenate([spins, column[:, None]], axis=1))
        assert np.isnan(fit.values[5, :5]).all(), name
        assert np.isnan(fit.errors[5, :5]).all(), name
        if name == "function of others":
            continue
        kept = np.delete(np.arange(5), 1) if name == "copy" else np.arange(5)
        assert np.isnan(fit.values[1, 0]) == (name == "copy"), name
        np.testing.assert_allclose(fit.values[kept][:, kept], alone.values[kept][:, kept], atol=2e-3, err_msg=name)
        np.testing.assert_allclose(fit.errors[kept][:, kept], alone.errors[kept][:, kept], atol=2e-3, err_msg=name)


# A ridge below rounding counts as rounding does: what that does to one kind is in the default tests.
SLOW = [("copy", 1e-7), ("constant", 1e-7), ("one of sixteen", 1e-7), ("one of sixteen", 0.0)]


@pytest.mark.parametrize(
    ("kind", "ridge"),
    [
        pytest.param(kind, ridge, marks=pytest.mark.slow if (kind, ridge) in SLOW else ())
        for kind in ("copy", "constant", "one of four", "one of sixteen")
        for ridge in (0.0, 1e-7, 1e-4)
    ],
)
def test_dependence_is_found_in_whatever_order_is_summed(kind, ridge):
    """Samples and units in other orders are rounded as by other processors: the answer is the same every time.

    Of exclusive units one is +1 in every sample, so that their sum is constant.
    """
    n = 3000
    random = np.random.default_rng(1)
    spins = ring(5, 0.6, 12, n)[:, :5]
    exclusive = {"one of four": 4, "one of sixteen": 16}.get(kind, 0)
    if exclusive:
        added = np.where(np.arange(exclusive) == random.integers(0, exclusive, n)[:, None], 1, -1)
    else:
        added = -spins[:, 1:2] if kind == "copy" else np.ones((n, 1))
    together = np.concatenate([spins, added], axis=1).astype(np.int8)
    width = together.shape[1]
    lost = np.isin(np.arange(width), [*([1] if kind == "copy" else []), *range(5, width)])
    kept = np.flatnonzero(~lost)
    # No ridge moves couplings by as much as is allowed here.
    alone = pseudo_likelihood(spins).values
    for _ in range(4):
        rows, units = random.permutation(n), random.permutation(width)
        back = np.argsort(units)
        found, errors = (part[back][:, back] for part in pseudo_likelihood(together[rows][:, units], ridge))
        expected = (lost[:, None] | lost[None, :]) & ~np.eye(width, dtype=bool)
        np.testing.assert_array_equal(np.isnan(found), expected)
        np.testing.assert_array_equal(np.isnan(errors), expected)
        if not exclusive:
            np.testing.assert_allclose(found[kept][:, kept], alone[kept][:, kept], atol=2e-3)


def test_coupling_beyond_what_the_samples_say_is_nan():
    spins = ring(6, 4.0, 24, 2000)[:, :4]
    assert np.isnan(pairs(pseudo_likelihood(spins).values)).all()
