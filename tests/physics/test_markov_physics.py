"""Markov chains against their spectra, and samples against the chain.

Every statistical test has a fixed key and a false-alarm rate of 1e-4 or below: chi-square at 1e-4, four
sigma at 6e-5 two-sided. Where it makes sense a nearby wrong chain shows that the test can fail.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2

from rgflow.samplers.markov import (
    iid_chain,
    make_chain,
    mode_functions,
    sample_chain,
    shuffle_time,
)

FALSE_ALARM = 1e-4
LENGTHS = (0.5, 1.0, 1.2, 2.0, 3.5, 6.7, 7.0, 15.0)


def autocovariance(chain, function, lag):
    """C_n = sum_vw f_v pi_v (P^n)_vw f_w - (pi f)^2 of a function of the token."""
    joint = chain.stationary[:, None] * np.linalg.matrix_power(chain.transition, lag)
    return function @ joint @ function - (chain.stationary @ function) ** 2


@functools.cache
def draw(kind, correlation_length, batch=2000, length=64):
    chain = make_chain(kind, 16, correlation_length=correlation_length)
    sample = jax.jit(sample_chain, static_argnums=(2, 3))
    return chain, np.asarray(sample(jax.random.key(11), chain, batch, length))


def bigram_pvalue(tokens, transition):
    """Chi-square of transition counts; asymptotically V (V - 1) degrees of freedom, the chain being known."""
    num_states = len(transition)
    counts = np.zeros((num_states, num_states))
    np.add.at(counts, (tokens[:, :-1].ravel(), tokens[:, 1:].ravel()), 1)
    expected = counts.sum(axis=1, keepdims=True) * transition
    return chi2.sf(((counts - expected) ** 2 / expected).sum(), num_states * (num_states - 1))


def unigram_pvalue(column, stationary):
    expected = len(column) * stationary
    counts = np.bincount(column, minlength=len(stationary))
    return chi2.sf(((counts - expected) ** 2 / expected).sum(), len(stationary) - 1)


@pytest.mark.parametrize(("alpha", "expected"), [(0.3, 1.062), (0.85, 7.090)])
def test_dirichlet_reference_lengths(alpha, expected):
    assert make_chain("dirichlet_lazy", 16, alpha=alpha, seed=0).correlation_length == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize("length", [*LENGTHS, 1e4])
@pytest.mark.parametrize("kind", ["dirichlet_lazy", "lazy_uniform", "circulant", "block"])
def test_correlation_length_round_trip(kind, length):
    params = {"groups": 4} if kind == "block" else {}
    chain = make_chain(kind, 16, correlation_length=length, **params)
    assert chain.correlation_length == pytest.approx(length, rel=1e-9)


@pytest.mark.parametrize("num_states", [2, 3, 5])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_round_trip_of_small_dirichlet_chains(num_states, seed):
    for length in (0.2, 1.0, 20.0):
        chain = make_chain("dirichlet_lazy", num_states, correlation_length=length, seed=seed)
        assert chain.correlation_length == pytest.approx(length, rel=1e-9)


@pytest.mark.parametrize(("num_states", "shortest"), [(2, 0.0), (3, 0.0), (4, -1 / math.log(1 / 3)), (16, 13.13067)])
def test_ring_walk_reaches_all_it_says(num_states, shortest):
    for length in (shortest * 1.0001 + 0.1, 50.0):
        chain = make_chain("ring_walk", num_states, correlation_length=length)
        assert chain.correlation_length == pytest.approx(length, rel=1e-9)
    # No hop does better than the bound: scan them all.
    found = min(
        make_chain("ring_walk", num_states, hop=hop).correlation_length for hop in np.linspace(1e-3, 0.499, 500)
    )
    assert shortest - 1e-4 <= found <= 1.02 * shortest + 0.2


def test_lazy_uniform_spectrum():
    for eigenvalue in (-1 / 15, 0.0, 0.3, 0.9):
        spectrum = make_chain("lazy_uniform", 16, eigenvalue=eigenvalue).eigenvalues
        np.testing.assert_allclose(np.sort(spectrum.real), [eigenvalue] * 15 + [1], atol=1e-10)
        np.testing.assert_allclose(spectrum.imag, 0, atol=1e-10)


@pytest.mark.parametrize("num_states", [7, 16])
def test_circulant_spectrum(num_states):
    mode = np.arange(num_states)
    for length in (0.7, 7.0):
        prescribed = np.exp(-np.minimum(mode, num_states - mode) / length)
        for params in ({"correlation_length": length}, {"eigenvalues": prescribed}):
            spectrum = make_chain("circulant", num_states, **params).eigenvalues
            np.testing.assert_allclose(spectrum, np.sort(prescribed)[::-1], atol=1e-10)


def test_ring_walk_spectrum():
    prescribed = 1 - 2 * 0.3 + 2 * 0.3 * np.cos(2 * np.pi * np.arange(9) / 9)
    spectrum = make_chain("ring_walk", 9, hop=0.3).eigenvalues
    np.testing.assert_allclose(np.sort(spectrum.real), np.sort(prescribed), atol=1e-10)


@pytest.mark.parametrize("groups", [2, 4, 8, 16])
def test_block_spectrum_has_one_relevant_mode_less_than_groups(groups):
    chain = make_chain("block", 16, groups=groups, persistence=0.6)
    expected = [1] + [0.6] * (groups - 1) + [0] * (16 - groups)
    np.testing.assert_allclose(chain.eigenvalues, expected, atol=1e-10)


def test_dirichlet_family_shares_its_stationary_distribution_and_modes():
    bare = make_chain("dirichlet_lazy", 16, alpha=0.0)
    for alpha in (-1.0, -0.5, 0.3, 0.85, 0.999):
        chain = make_chain("dirichlet_lazy", 16, alpha=alpha)
        np.testing.assert_array_equal(chain.stationary, bare.stationary)
        np.testing.assert_allclose(chain.stationary @ chain.transition, bare.stationary, atol=1e-12)
        moved = alpha + (1 - alpha) * bare.eigenvalues[1:] if alpha >= 0 else (1 + alpha) * bare.eigenvalues[1:]
        difference = np.abs(np.subtract.outer(chain.eigenvalues[1:], moved))
        assert difference.min(axis=0).max() < 1e-10 and difference.min(axis=1).max() < 1e-10


@pytest.mark.parametrize(("kind", "length"), [("dirichlet_lazy", 0.5), ("dirichlet_lazy", 7.0), ("circulant", 2.0)])
def test_bigrams_and_first_token_by_chi_square(kind, length):
    chain, tokens = draw(kind, length)
    assert bigram_pvalue(tokens, chain.transition) > FALSE_ALARM
    assert unigram_pvalue(tokens[:, 0], chain.stationary) > FALSE_ALARM
    assert unigram_pvalue(tokens[:, -1], chain.stationary) > FALSE_ALARM
    nearby = make_chain(kind, 16, correlation_length=1.1 * length)
    assert bigram_pvalue(tokens, nearby.transition) < FALSE_ALARM


def test_sampled_covariance_within_four_sigma():
    chain, tokens = draw("dirichlet_lazy", 7.0)
    function = np.cos(np.arange(16.0))
    centred = function[tokens] - chain.stationary @ function
    for lag, exact in enumerate(autocovariance(chain, function, lag) for lag in range(12)):
        # One number per sequence: sequences are independent, tokens are not.
        products = (centred[:, : 64 - lag] * centred[:, lag:]).mean(axis=1)
        error = products.std(ddof=1) / math.sqrt(len(products))
        assert abs(products.mean() - exact) < 4 * error
    assert error < 0.2 * abs(exact)


def test_time_shuffled_sequences_lose_order_and_keep_counts():
    chain, tokens = draw("dirichlet_lazy", 7.0)
    shuffled = np.asarray(shuffle_time(jax.random.key(5), jnp.asarray(tokens)))
    np.testing.assert_array_equal(np.sort(shuffled, axis=1), np.sort(tokens, axis=1))
    centred = np.cos(np.arange(16.0))[shuffled] - chain.stationary @ np.cos(np.arange(16.0))
    # Exchangeable: within a sequence every pair of times has the same covariance.
    near, far = (centred[:, :-lag] * centred[:, lag:] for lag in (1, 30))
    difference = near.mean(axis=1) - far.mean(axis=1)
    assert abs(difference.mean()) < 4 * difference.std(ddof=1) / math.sqrt(len(difference))


def test_iid_chain_has_the_same_marginals_and_no_memory():
    chain = iid_chain(make_chain("dirichlet_lazy", 16, alpha=0.85))
    tokens = np.asarray(sample_chain(jax.random.key(2), chain, 1000, 64))
    assert bigram_pvalue(tokens, chain.transition) > FALSE_ALARM
    assert unigram_pvalue(tokens.ravel(), chain.stationary) > FALSE_ALARM
    assert unigram_pvalue(tokens.ravel(), np.full(16, 1 / 16)) < FALSE_ALARM


@pytest.mark.parametrize("kind", ["dirichlet_lazy", "lazy_uniform", "lazy_zipf", "circulant", "block"])
def test_mode_functions_span_the_decaying_modes(kind):
    params = {"groups": 4} if kind == "block" else {}
    chain = make_chain(kind, 16, correlation_length=2.5, **params)
    functions, moduli = mode_functions(chain)
    stationary = chain.stationary
    np.testing.assert_allclose(functions @ stationary, 0, atol=1e-10)
    np.testing.assert_allclose(functions**2 @ stationary, 1, atol=1e-10)
    # The transition matrix maps their span onto itself, and within it has the chain's other eigenvalues.
    within = np.linalg.lstsq(functions.T, chain.transition @ functions.T, rcond=None)[0]
    np.testing.assert_allclose(functions.T @ within, chain.transition @ functions.T, atol=1e-10)
    np.testing.assert_allclose(np.sort(abs(np.linalg.eigvals(within)))[::-1], moduli, atol=1e-9)
    np.testing.assert_allclose(moduli, abs(chain.eigenvalues[1:]), atol=1e-9)
    if kind != "dirichlet_lazy":
        np.testing.assert_allclose((functions * stationary) @ functions.T, np.eye(15), atol=1e-10)
        np.testing.assert_allclose(chain.transition @ functions[0], moduli[0] * functions[0], atol=1e-10)


def test_covariance_of_a_mode_decays_with_its_eigenvalue():
    chain = make_chain("circulant", 12, correlation_length=3.0)
    functions, moduli = mode_functions(chain)
    for mode in (0, 4, 10):
        found = [autocovariance(chain, functions[mode], lag) for lag in range(6)]
        np.testing.assert_allclose(found, moduli[mode] ** np.arange(6), atol=1e-10)


def test_zipf_chain_has_its_stationary_distribution_and_spectrum():
    chain = make_chain("lazy_zipf", 8, correlation_length=2.0, exponent=1.0)
    np.testing.assert_allclose(chain.stationary, 1 / np.arange(1, 9) / np.sum(1 / np.arange(1, 9)), atol=1e-12)
    np.testing.assert_allclose(chain.eigenvalues, [1] + [np.exp(-0.5)] * 7, atol=1e-10)
    flat = make_chain("lazy_zipf", 8, correlation_length=2.0, exponent=0)
    np.testing.assert_allclose(
        flat.transition, make_chain("lazy_uniform", 8, correlation_length=2.0).transition, atol=1e-12
    )
