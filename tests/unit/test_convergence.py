"""R-hat and effective sample size against chains whose autocorrelation is known, and against textbook failures.

Seeds are fixed; tolerances of the effective sample size are about four of its own standard deviations (5 % each).
"""

import numpy as np
import pytest
from arviz_stats.base import array_stats

from rgflow.judging.convergence import (
    autocovariance,
    effective_sample_size,
    estimate,
    rank_normalize,
    split_chains,
    split_r_hat,
)


def autoregressive(correlation, chains=4, draws=4000, seed=0):
    """Chains x_t = c x_{t-1} + noise of unit variance, started in equilibrium; their time is (1 + c)/(1 - c)."""
    rng = np.random.default_rng(seed)
    x = np.empty((chains, draws))
    x[:, 0] = rng.normal(size=chains)
    for t in range(1, draws):
        x[:, t] = correlation * x[:, t - 1] + np.sqrt(1 - correlation**2) * rng.normal(size=chains)
    return x


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9, -0.4])
def test_effective_sample_size_of_autoregressive_chains(correlation):
    draws = autoregressive(correlation)
    exact = draws.size * (1 - correlation) / (1 + correlation)
    assert effective_sample_size(draws) == pytest.approx(exact, rel=0.2)
    assert split_r_hat(draws) < 1.01


@pytest.mark.parametrize("correlation", [pytest.param(0.0, marks=pytest.mark.slow), 0.8])
def test_standard_error_covers_the_truth_as_often_as_it_says(correlation):
    scores = np.array(
        [e.mean / e.error for e in (estimate(autoregressive(correlation, 4, 500, seed)) for seed in range(300))]
    )
    # 300 scores: their spread is 1 within four standard errors of 1/sqrt(600).
    assert scores.std() == pytest.approx(1.0, abs=0.16)
    assert abs(scores.mean()) < 4 / np.sqrt(300)


def test_error_of_batch_means_is_that_of_the_draws():
    draws = autoregressive(0.6, 4, 6000)
    batches = draws.reshape(4, 60, 100).mean(axis=2)
    whole, short = estimate(draws), estimate(batches)
    assert short.mean == pytest.approx(whole.mean, abs=1e-12)
    assert short.error == pytest.approx(whole.error, rel=0.25)


def test_chains_at_different_places_are_seen():
    draws = autoregressive(0.0, 4, 200)
    draws[0] += 1.0
    assert split_r_hat(draws) > 1.05
    assert effective_sample_size(draws) < 60


def test_chains_of_different_spread_are_seen_by_the_folded_draws():
    draws = autoregressive(0.0, 4, 400)
    draws[0] *= 4
    assert split_r_hat(draws) > 1.05


def test_chain_that_drifts_is_seen_by_its_halves():
    draws = autoregressive(0.0, 1, 400) + np.linspace(0, 2, 400)
    assert split_r_hat(draws) > 1.1


def test_infinite_variance_does_not_hide_disagreement():
    rng = np.random.default_rng(0)
    draws = rng.standard_cauchy((4, 400))
    assert split_r_hat(draws) < 1.02
    draws[0] += 5
    assert split_r_hat(draws) > 1.05


def test_autocovariance_is_the_direct_sum():
    x = autoregressive(0.5, 2, 20)
    centred = x - x.mean(axis=1, keepdims=True)
    direct = [[(row[: 20 - t] * row[t:]).sum() / 20 for t in range(20)] for row in centred]
    np.testing.assert_allclose(autocovariance(x), direct, atol=1e-12)


def test_constant_and_dead_chains():
    same = np.ones((3, 10))
    assert (split_r_hat(same), effective_sample_size(same)) == (1.0, 30.0)
    stuck = same * np.arange(1.0, 4.0)[:, None]
    assert split_r_hat(stuck) > 100
    dead = autoregressive(0.0, 3, 50)
    dead[1, 20:] = np.nan
    assert np.isnan(split_r_hat(dead)) and np.isnan(effective_sample_size(dead))
    assert estimate(dead) == estimate(dead[[0, 2]])
    assert np.isnan(estimate(np.full((2, 10), np.nan)).mean)


def test_ranks_do_not_depend_on_the_scale():
    draws = autoregressive(0.3, 2, 50)
    np.testing.assert_allclose(rank_normalize(np.exp(3 * draws)), rank_normalize(draws))
    assert abs(rank_normalize(draws).mean()) < 1e-12


@pytest.mark.parametrize("shape", [(10,), (2, 3), (0, 10), (2, 3, 4)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="draws"):
        split_chains(np.zeros(shape))


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9, -0.4])
@pytest.mark.parametrize("shape", [(2, 400), (4, 101), (7, 1000)])
def test_a_second_implementation_finds_the_same(correlation, shape):
    draws = autoregressive(correlation, *shape)
    axes = {"chain_axis": 0, "draw_axis": 1}
    assert split_r_hat(draws) == pytest.approx(float(array_stats.rhat(draws, **axes)), rel=1e-12)
    # ArviZ adds half of the first pair that the sequence leaves out, which matters where the correlation is negative.
    assert effective_sample_size(draws) == pytest.approx(float(array_stats.ess(draws, method="mean", **axes)), rel=0.1)
