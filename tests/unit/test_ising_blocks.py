"""Block-spin maps and the algebra of the Monte Carlo renormalization group, and what they refuse.

Statistical tests have fixed keys and fail by chance with probability 6e-5 (four sigma) each.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exponents import exponents_of_step

from rgflow.exact.ring import decimate_1d, ring_correlation
from rgflow.probes.monte_carlo_rg import even_operators, odd_operators
from rgflow.samplers.blocks import block_decimate, block_majority
from rgflow.samplers.ising import sample_ring


def random_spins(*shape):
    return jax.random.rademacher(jax.random.key(3), shape, jnp.int8)


@pytest.mark.parametrize("factor", [2, 3])
def test_majority_against_a_plain_loop(factor):
    spins = random_spins(12, 6, 12)
    found = np.asarray(jax.jit(block_majority, static_argnums=2)(jax.random.key(0), spins, factor))
    assert found.shape == (12, 6 // factor, 12 // factor) and found.dtype == np.int8
    ties = []
    for (sample, row, col), value in np.ndenumerate(found):
        block = np.asarray(spins)[sample, row * factor : (row + 1) * factor, col * factor : (col + 1) * factor]
        if block.sum():
            assert value == np.sign(block.sum(dtype=int))
        else:
            ties.append(value)
    assert set(ties) <= {-1, 1} and (factor == 2) == bool(ties)
    if ties:
        assert abs(np.mean(ties)) < 4 / np.sqrt(len(ties))


def test_majority_commutes_with_a_change_of_sign_where_no_tie():
    spins = random_spins(20, 6, 6)
    one, other = (np.asarray(block_majority(jax.random.key(0), s, 3)) for s in (spins, -spins))
    np.testing.assert_array_equal(one, -other)


def test_ties_are_drawn_anew_with_each_key():
    tied = jnp.tile(jnp.array([[1, -1], [-1, 1]], jnp.int8), (1, 8, 8))
    one, other = (np.asarray(block_majority(jax.random.key(k), tied)) for k in (0, 1))
    assert (one != other).any()


def test_decimation_keeps_one_spin_of_each_block():
    spins = random_spins(2, 6, 6)
    np.testing.assert_array_equal(block_decimate(spins, 3), np.asarray(spins)[:, [0, 3]][:, :, [0, 3]])


def test_maps_are_the_same_under_jit():
    spins = random_spins(3, 4, 4)
    key = jax.random.key(1)
    np.testing.assert_array_equal(jax.jit(block_majority)(key, spins), block_majority(key, spins))
    np.testing.assert_array_equal(jax.jit(block_decimate)(spins), block_decimate(spins))


def test_operators_against_a_plain_loop():
    spins = random_spins(3, 4, 6)
    s = np.asarray(spins, int)
    right, down = np.roll(s, -1, 2), np.roll(s, -1, 1)
    both = np.roll(right, -1, 1)
    even = [s * right + s * down, s * both + right * down, s * right * down * both]
    odd = [s, s * right * down + s * right * both + s * down * both + right * down * both]
    for operators, expected in ((even_operators, even), (odd_operators, odd)):
        np.testing.assert_array_equal(operators(spins), np.stack([e.sum(axis=(1, 2)) for e in expected], axis=1))


def test_exponents_of_a_linear_response():
    # S = T^T S' + independent noise has <S' S^T> = <S' S'^T> T.
    rng = np.random.default_rng(0)
    coarse, response = rng.normal(size=(200_000, 2)) + 7, np.array([[1.9, 0.4], [0.1, 0.5]])
    fine = coarse @ response + rng.normal(size=coarse.shape) - 3
    exponents, errors = exponents_of_step(fine, coarse, walkers=500, resamples=100)
    assert exponents[1] == pytest.approx(np.log2(np.abs(np.linalg.eigvals(response)).max()), abs=4 * errors[1])
    # The error of a regression slope through unit noise, as that of its logarithm.
    slope_error = np.sqrt((1 + 0.1**2) / len(fine)) / 1.9 / np.log(2)
    assert errors[0] == pytest.approx(slope_error, rel=0.35)


def test_flow_of_the_decimated_ring_is_the_derivative_of_its_recursion():
    coupling = 0.5
    spins = np.asarray(sample_ring(jax.random.key(5), coupling, 32, 40_000))
    kept = spins[:, ::2]
    energies = [(s * np.roll(s, 1, axis=1)).sum(axis=1, dtype=float)[:, None] for s in (spins, kept)]
    # Both rings are what they should be before their relation is.
    for energy, K, sites in zip(energies, (coupling, decimate_1d(coupling)), (32, 16), strict=True):
        error = energy.std() / np.sqrt(len(energy))
        assert abs(energy.mean() - sites * ring_correlation(K, sites, 1)) < 4 * error
    exponents, errors = exponents_of_step(*energies)
    expected = np.log2(np.tanh(2 * coupling))
    assert abs(exponents[0] - expected) < 4 * errors[0] < 0.1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: block_majority(jax.random.key(0), random_spins(2, 5, 4)), "factor = 2: .* divide the sides 5 and 4"),
        (lambda: block_decimate(random_spins(2, 4, 4), 1), "factor = 1: must be at least 2"),
    ],
)
def test_bad_input_is_refused_with_a_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()
