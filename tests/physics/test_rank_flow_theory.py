"""Masked-token yardsticks against brute-force enumeration, reference tables and Monte Carlo.

Monte Carlo tests have fixed keys and are four-sigma tests: false-alarm rate 6e-5 each, errors clustered by
sequence.
"""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import entr

from rgflow.rank_flow.theory import (
    MASK_MODES,
    bayes_masked_loss,
    conditional_entropies,
    masked_posterior,
    stationary_entropy,
    tokenwise_optimum,
    window_posterior,
)
from rgflow.samplers.markov import MarkovChain, iid_chain, make_chain, sample_chain

POSTERIOR = jax.jit(masked_posterior, static_argnums=3)
POSTERIORS = jax.jit(jax.vmap(masked_posterior, in_axes=(None, 0, 0, None, None)), static_argnums=3)
WINDOW_POSTERIOR = jax.jit(window_posterior, static_argnums=(3, 4))
SAMPLE = jax.jit(sample_chain, static_argnums=(2, 3))
CHAIN2 = MarkovChain(np.array([[0.8, 0.2], [0.3, 0.7]]), np.array([0.6, 0.4]))
MASK_PROB = 0.15

# H(pi), h_1, 2 h_1 - h_2, then L* for no window and windows 4, 1, 0; V = 16, T = 64.
TABLE = {
    "lazy_uniform 1.2": (2.7726, 2.1268, 1.6437, 1.7724, 1.7724, 1.8058, 2.7726),
    "dirichlet 0.30": (2.7590, 2.2153, 1.7672, 1.8953, 1.8953, 1.9161, 2.7590),
    "dirichlet 0.85": (2.7590, 0.7537, 0.2830, 0.3446, 0.3448, 0.4773, 2.7590),
    "circulant 1": (2.7726, 2.6272, 2.5002),
    "circulant 7": (2.7726, 1.4218, 0.8997),
}


@functools.cache
def table_chain(name):
    return {
        "lazy_uniform 1.2": lambda: make_chain("lazy_uniform", 16, correlation_length=1.2),
        "dirichlet 0.30": lambda: make_chain("dirichlet_lazy", 16, alpha=0.30),
        "dirichlet 0.85": lambda: make_chain("dirichlet_lazy", 16, alpha=0.85),
        "circulant 1": lambda: make_chain("circulant", 16, correlation_length=1.0),
        "circulant 7": lambda: make_chain("circulant", 16, correlation_length=7.0),
    }[name]()


def sequence_probabilities(chain, length):
    """All sequences and their probabilities, by multiplying out the definition."""
    sequences = np.array(list(itertools.product(range(len(chain.stationary)), repeat=length)))
    steps = chain.transition[sequences[:, :-1], sequences[:, 1:]]
    return sequences, chain.stationary[sequences[:, 0]] * steps.prod(axis=1)


def corruption_table(mask_mode, num_states):
    """Probability of the shown symbol, indexed [selected, true, shown], straight from the process."""
    table = np.zeros((2, num_states, num_states + 1))
    for true in range(num_states):
        table[0, true, true] = 1
        table[1, true, num_states] = 1 if mask_mode == "pure" else 0.8
        if mask_mode == "bert":
            table[1, true, true] += 0.1
            table[1, true, :num_states] += 0.1 / num_states
    return table


def brute_posterior(chain, shown, scored, mask_mode, mask_prob):
    """Sum over all true sequences and selections, a scored position being selected in those that count."""
    num_states, length = len(chain.stationary), len(shown)
    sequences, prior = sequence_probabilities(chain, length)
    table = corruption_table(mask_mode, num_states)
    rows = np.zeros((length, num_states))
    for selection in itertools.product((0, 1), repeat=length):
        chance = np.prod([mask_prob if chosen else 1 - mask_prob for chosen in selection])
        emission = np.prod([table[selection[t], sequences[:, t], shown[t]] for t in range(length)], axis=0)
        for t in range(length):
            if selection[t] or not scored[t]:
                np.add.at(rows[t], sequences[:, t], chance * prior * emission)
    return rows / rows.sum(axis=1, keepdims=True)


def corrupt(rng, tokens, mask_mode, mask_prob, num_states):
    """Draw selections and shown symbols from the corruption table."""
    mask = rng.random(tokens.shape) < mask_prob
    cumulative = corruption_table(mask_mode, num_states)[mask.astype(int), tokens].cumsum(axis=-1)
    shown = (rng.random((*tokens.shape, 1)) >= cumulative).sum(axis=-1)
    return mask, np.minimum(shown, num_states)


def monte_carlo(chain, mask_mode, sequences=3000, length=64, window=None, seed=0):
    """Losses at scored positions, losses expected by the posterior (0 where not scored), and the mask."""
    num_states = len(chain.stationary)
    tokens = np.asarray(SAMPLE(jax.random.key(seed), chain, sequences, length))
    mask, shown = corrupt(np.random.default_rng(seed), tokens, mask_mode, MASK_PROB, num_states)
    with jax.enable_x64(True):
        posterior = lambda shown, mask: np.asarray(POSTERIORS(chain, shown, mask, mask_mode, MASK_PROB))  # noqa: E731
        if window is None:
            rows = posterior(shown, mask)
        else:
            # A cut from a stationary sequence is a stationary sequence: its middle row is the optimum.
            span = [slice(max(t - window, 0), t + window + 1) for t in range(length)]
            rows = np.stack([posterior(shown[:, s], mask[:, s])[:, min(t, window)] for t, s in enumerate(span)], axis=1)
    truth = np.take_along_axis(rows, tokens[..., None], axis=-1)[..., 0]
    losses = -np.log(np.where(mask, truth, 1))
    return losses, np.where(mask, entr(rows).sum(axis=-1), 0), mask


def assert_within_four_sigma(losses, expected, mask):
    # The exact mean of (loss - expected) summed over scored positions is zero, sequence by sequence.
    residual = losses.sum(axis=1) - expected * mask.sum(axis=1)
    error = residual.std(ddof=1) / math.sqrt(len(residual))
    assert abs(residual.mean()) < 4 * error
    return error / mask.sum(axis=1).mean()


def test_chain2_fixture():
    assert CHAIN2.correlation_length == pytest.approx(1.4426950409, abs=1e-9)
    expected = [0, 0.54458717, 0.64177411, 0.66522665]
    np.testing.assert_allclose(conditional_entropies(CHAIN2, 3), expected, atol=5e-9)
    assert bayes_masked_loss(CHAIN2, 8, 0.15) == pytest.approx(0.4938450132, abs=1e-10)
    assert bayes_masked_loss(CHAIN2, 8, 0.15, window=1) == pytest.approx(0.4989070881, abs=1e-10)


@pytest.mark.parametrize("name", TABLE)
def test_reference_table(name):
    chain = table_chain(name)
    entropies = conditional_entropies(chain, 2)
    row = [stationary_entropy(chain), entropies[1], 2 * entropies[1] - entropies[2]]
    row += [bayes_masked_loss(chain, 64, MASK_PROB, window) for window in (None, 4, 1, 0)]
    np.testing.assert_allclose(row[: len(TABLE[name])], TABLE[name], atol=1e-4)


def test_entropies_rise_to_the_stationary_entropy():
    entropies = conditional_entropies(table_chain("dirichlet 0.85"), 400)
    assert entropies.shape == (401,) and entropies[0] == 0
    assert np.all(np.diff(entropies) > -1e-12)
    assert entropies[-1] == pytest.approx(stationary_entropy(table_chain("dirichlet 0.85")), abs=1e-12)


@pytest.mark.parametrize("mask_mode", MASK_MODES)
def test_posterior_equals_enumeration(mask_mode):
    chain = make_chain("dirichlet_lazy", 3, alpha=0.3, seed=4)
    rng = np.random.default_rng(1)
    with jax.enable_x64(True):
        for mask_prob in (0.15, 0.6):
            for _ in range(4):
                tokens = rng.choice(3, size=6)
                mask, shown = corrupt(rng, tokens, mask_mode, max(mask_prob, 0.4), 3)
                found = POSTERIOR(chain, jnp.asarray(shown), jnp.asarray(mask), mask_mode, mask_prob)
                assert found.dtype == jnp.float64
                expected = brute_posterior(chain, shown, mask, mask_mode, mask_prob)
                np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("mask_mode", ["pure", "bert"])
@pytest.mark.parametrize("window", [0, 1, 2])
def test_window_posterior_equals_enumeration_of_the_window(mask_mode, window):
    chain = make_chain("dirichlet_lazy", 3, alpha=0.4, seed=1)
    rng = np.random.default_rng(5)
    tokens = np.asarray(SAMPLE(jax.random.key(3), chain, 1, 6))
    mask, shown = corrupt(rng, tokens, mask_mode, 0.4, 3)
    with jax.enable_x64(True):
        found = WINDOW_POSTERIOR(chain, shown[0], mask[0], window, mask_mode, 0.4)
    for t in range(6):
        span = slice(max(t - window, 0), t + window + 1)
        expected = brute_posterior(chain, shown[0, span], mask[0, span], mask_mode, 0.4)[min(t, window)]
        np.testing.assert_allclose(found[t], expected, atol=1e-12)


@pytest.mark.parametrize("mask_mode", ["pure", "bert"])
def test_window_as_wide_as_the_sequence_sees_all_of_it(mask_mode):
    chain = make_chain("dirichlet_lazy", 4, alpha=0.4, seed=2)
    tokens = np.asarray(SAMPLE(jax.random.key(4), chain, 1, 9))
    mask, shown = corrupt(np.random.default_rng(6), tokens, mask_mode, 0.3, 4)
    with jax.enable_x64(True):
        found = WINDOW_POSTERIOR(chain, shown[0], mask[0], 8, mask_mode, 0.3)
        np.testing.assert_allclose(found, POSTERIOR(chain, shown[0], mask[0], mask_mode, 0.3), atol=1e-12)


@pytest.mark.parametrize("name", TABLE)
def test_wider_windows_never_lose(name):
    chain = table_chain(name)
    losses = [bayes_masked_loss(chain, 64, MASK_PROB, window) for window in (0, 1, 2, 4, 8, 16, 63)]
    assert (np.diff(losses) <= 1e-12).all()
    assert losses[-1] == pytest.approx(bayes_masked_loss(chain, 64, MASK_PROB), abs=1e-12)


@pytest.mark.parametrize("mask_mode", MASK_MODES)
def test_nothing_shown_leaves_the_stationary_distribution(mask_mode):
    chain = make_chain("dirichlet_lazy", 3, alpha=0.3)
    with jax.enable_x64(True):
        found = POSTERIOR(chain, np.full(6, 3), np.ones(6, bool), mask_mode, MASK_PROB)
    np.testing.assert_allclose(found, np.tile(chain.stationary, (6, 1)), atol=1e-12)


def test_pure_mode_does_not_read_masked_tokens():
    chain = make_chain("dirichlet_lazy", 3, alpha=0.3)
    mask = np.array([False, True, True, False])
    first, second = (POSTERIOR(chain, np.array(t), mask, "pure", MASK_PROB) for t in ([0, 3, 3, 2], [0, 1, 2, 2]))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first[0], [1, 0, 0])


def test_long_sequences_do_not_underflow_in_single_precision():
    with jax.enable_x64(False):
        chain = table_chain("dirichlet 0.85")
        tokens = np.asarray(SAMPLE(jax.random.key(0), chain, 1, 2000))[0]
        mask = np.random.default_rng(1).random(2000) < MASK_PROB
        single = POSTERIOR(chain, tokens, mask)
        assert single.dtype == jnp.float32
    with jax.enable_x64(True):
        double = POSTERIOR(chain, tokens, mask)
    np.testing.assert_allclose(single, double, atol=2e-6)


@pytest.mark.parametrize("mask_mode", MASK_MODES)
def test_posterior_jit_and_vmap_over_chains(mask_mode):
    chains = [make_chain("dirichlet_lazy", 4, correlation_length=length) for length in (0.5, 7.0)]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *chains)
    tokens = np.array([[0, 4, 2, 1, 3], [4, 4, 2, 0, 3]])
    mask = tokens == 4
    over_runs = jax.vmap(masked_posterior, in_axes=(0, 0, 0, None, None))
    compiled = jax.jit(over_runs, static_argnums=3)(stacked, tokens, mask, mask_mode, MASK_PROB)
    for run, chain in enumerate(chains):
        alone = POSTERIOR(chain, tokens[run], mask[run], mask_mode, MASK_PROB)
        np.testing.assert_allclose(compiled[run], alone, atol=1e-6)


@pytest.mark.parametrize(("num_states", "length"), [(2, 6), (3, 5)])
def test_bayes_loss_equals_enumeration(num_states, length):
    chain = make_chain("dirichlet_lazy", num_states, alpha=0.3, seed=2)
    joint = sequence_probabilities(chain, length)[1].reshape((num_states,) * length)

    def entropy(positions):
        hidden = tuple(t for t in range(length) if t not in positions)
        return entr(joint.sum(axis=hidden)).sum()

    for window in (None, *range(length)):
        reach = length if window is None else window
        for mask_prob in (0.15, 0.7):
            total = 0.0
            for t in range(length):
                others = [s for s in range(length) if s != t and abs(s - t) <= reach]
                for seen in itertools.product((False, True), repeat=len(others)):
                    visible = {s for s, shown in zip(others, seen, strict=True) if shown}
                    chance = np.prod([1 - mask_prob if shown else mask_prob for shown in seen])
                    total += chance * (entropy(visible | {t}) - entropy(visible)) / length
            assert bayes_masked_loss(chain, length, mask_prob, window) == pytest.approx(total, abs=1e-12)


@pytest.mark.parametrize("name", ["dirichlet 0.30", "dirichlet 0.85", "circulant 1", "circulant 7"])
def test_bayes_loss_by_monte_carlo(name):
    chain = table_chain(name)
    losses, _, mask = monte_carlo(chain, "pure")
    error = assert_within_four_sigma(losses, bayes_masked_loss(chain, 64, MASK_PROB), mask)
    # Fine enough to see what a one-token window would cost these Dirichlet chains, 0.02 and 0.13 nats.
    assert error < 0.01
    # Rounded Monte Carlo values from elsewhere, taken to be about as uncertain as ours.
    known = {"circulant 1": 2.537, "circulant 7": 1.002}.get(name)
    if known:
        assert losses.sum() / mask.sum() == pytest.approx(known, abs=4 * math.sqrt(2) * error + 5e-4)


@pytest.mark.parametrize("window", [0, 1, 2])
def test_window_loss_by_monte_carlo(window):
    chain = table_chain("dirichlet 0.85")
    losses, _, mask = monte_carlo(chain, "pure", sequences=2000, length=12, window=window)
    assert_within_four_sigma(losses, bayes_masked_loss(chain, 12, MASK_PROB, window), mask)


@pytest.mark.parametrize("name", ["dirichlet 0.30", "dirichlet 0.85"])
def test_bert_posterior_is_calibrated_and_beats_the_tokenwise_optimum(name):
    chain = table_chain(name)
    losses, entropies, mask = monte_carlo(chain, "bert")
    residual = (losses - entropies).sum(axis=1)
    assert abs(residual.mean()) < 4 * residual.std(ddof=1) / math.sqrt(len(residual))
    assert losses.sum() / mask.sum() < tokenwise_optimum(chain, "bert") - 0.5


def test_bert_posterior_of_independent_tokens_reaches_the_tokenwise_optimum():
    chain = iid_chain(make_chain("dirichlet_lazy", 16, alpha=0.0, concentration=0.3))
    losses, _, mask = monte_carlo(chain, "bert", length=16)
    assert_within_four_sigma(losses, tokenwise_optimum(chain, "bert"), mask)


def test_tokenwise_optimum():
    uniform = table_chain("lazy_uniform 1.2")
    skewed = make_chain("dirichlet_lazy", 3, alpha=0.3, concentration=0.5)
    assert tokenwise_optimum(uniform, "bert") == pytest.approx(2.6102, abs=5e-5)
    certain = 0.5 + 0.5 / 16
    shown = -certain * math.log(certain) - (1 - certain) * math.log((1 - certain) / 15)
    assert tokenwise_optimum(uniform, "bert") == pytest.approx(0.8 * math.log(16) + 0.2 * shown, abs=1e-12)
    for mask_mode in MASK_MODES:
        joint = skewed.stationary[:, None] * corruption_table(mask_mode, 3)[1]
        expected = entr(joint).sum() - entr(joint.sum(axis=0)).sum()
        assert tokenwise_optimum(skewed, mask_mode) == pytest.approx(expected, abs=1e-12)
    assert bayes_masked_loss(skewed, 9, 0.15, 0) == pytest.approx(tokenwise_optimum(skewed), abs=1e-12)


def test_bayes_loss_limits():
    chain = table_chain("dirichlet 0.30")
    assert bayes_masked_loss(chain, 1, 0.3) == pytest.approx(stationary_entropy(chain), abs=1e-12)
    assert bayes_masked_loss(chain, 9, 0.3, 8) == pytest.approx(bayes_masked_loss(chain, 9, 0.3), abs=1e-12)
    assert bayes_masked_loss(iid_chain(chain), 9, 0.3) == pytest.approx(stationary_entropy(chain), abs=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bayes_masked_loss(CHAIN2, 8, 0.0), "mask_prob = 0.0: must lie inside"),
        (lambda: bayes_masked_loss(CHAIN2, 8, 1.0), "mask_prob = 1.0"),
        (lambda: bayes_masked_loss(CHAIN2, 8, float("nan")), "mask_prob = nan"),
        (lambda: bayes_masked_loss(CHAIN2, 0, 0.1), "length = 0: must be at least 1"),
        (lambda: bayes_masked_loss(CHAIN2, 8, 0.1, -1), r"window = -1: must be 0\.\.7"),
        (lambda: bayes_masked_loss(CHAIN2, 8, 0.1, 8), "window = 8: .*not a window wider than the sequence"),
        (lambda: conditional_entropies(CHAIN2, -1), "max_lag = -1"),
        (lambda: tokenwise_optimum(CHAIN2, "half"), "mask_mode = 'half': must be one of pure, bert"),
        (lambda: masked_posterior(CHAIN2, jnp.arange(2), jnp.arange(2) > 0, "half"), "mask_mode = 'half'"),
        (lambda: masked_posterior(CHAIN2, jnp.arange(2), jnp.arange(2) > 0, "bert", 0.0), "mask_prob = 0.0"),
    ],
)
def test_bad_inputs_are_refused_in_one_line(call, message):
    with pytest.raises(ValueError, match=message) as raised:
        call()
    assert "\n" not in str(raised.value)
