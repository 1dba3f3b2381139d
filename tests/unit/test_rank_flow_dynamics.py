"""The training step: masking, encodings, and the two shortcuts against the plain path."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from configs import rank_flow as rank_flow_config
from rgflow.rank_flow import dynamics, experiment, task

SIGMAS = 4


draw_batch = jax.jit(task.draw_batch, static_argnums=(0, 3))


def setup(**values):
    config = rank_flow_config.get_config("smoke")
    config.update({"width": 16, "depth": 2, "batch": 8, "length": 32, **values})
    made = experiment.make(config)
    return made.static, jax.tree.map(jnp.asarray, dict(made.hypers)), made


def batch_and_params(static, made, hypers, key):
    return jax.jit(lambda k: (task.draw_batch(static, k, hypers, static.batch), made.init(k, hypers).params))(key)


def assert_same_loss_and_gradient(fast, plain, params):
    both = jax.jit(lambda p: [jax.value_and_grad(f)(p) for f in (fast, plain)])
    (loss, gradient), (expected, expected_gradient) = both(params)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    scale = max(float(np.abs(x).max()) for x in jax.tree.leaves(expected_gradient))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=3e-6 * scale), gradient, expected_gradient)


@pytest.mark.parametrize("mask_mode", [pytest.param("pure", marks=pytest.mark.slow), "bert"])
def test_table_shortcut_equals_plain_path(key, mask_mode):
    static, hypers, made = setup(mixing="tokenwise", mask_mode=mask_mode)
    data, params = batch_and_params(static, made, hypers, key)
    assert_same_loss_and_gradient(
        lambda p: dynamics.table_loss(static, p, data), lambda p: dynamics.plain_loss(static, p, data), params
    )


# Masking and the reach of the window go through code of their own: each kind once, and all pairs among the slow tests.
@pytest.mark.parametrize(
    ("window", "mask_mode"),
    [
        (4, "bert"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in ((0, "pure"), (0, "bert"), (1, "pure"), (1, "bert"), (4, "pure"))
        ),
    ],
)
def test_scored_shortcut_equals_plain_path(key, window, mask_mode):
    static, hypers, made = setup(mixing="window", mask_mode=mask_mode, window=window)
    data, params = batch_and_params(static, made, hypers, key)
    assert_same_loss_and_gradient(
        lambda p: dynamics.scored_loss(static, p, data), lambda p: dynamics.plain_loss(static, p, data), params
    )


def test_batch_without_any_scored_position_has_zero_loss_and_gradient(key):
    for mixing, loss in (("tokenwise", dynamics.table_loss), ("window", dynamics.scored_loss)):
        static, hypers, made = setup(mixing=mixing)
        data, params = batch_and_params(static, made, hypers, key)
        data = data._replace(shown=data.tokens, mask=data.mask & False)
        value, gradient = jax.jit(jax.value_and_grad(lambda p, f=loss, s=static, d=data: f(s, p, d)))(params)
        assert value == 0
        assert all(not np.any(g) for g in jax.tree.leaves(gradient))


def test_capacity_is_the_quantile_that_scipy_gives():
    static = setup(mixing="window")[0]
    for positions in (1, 7, 64, 1024, 16384):
        for chance in (0.01, 0.15, 0.108375, 0.9):
            quantile = stats.binom.isf(task.OVERFLOW_PROBABILITY, positions, chance)
            assert static.capacity(positions, chance) == min(positions, -(-int(quantile) // 8) * 8)


def test_scored_capacity_overflows_as_rarely_as_it_says():
    for batch, length, mask_prob in ((32, 64, 0.15), (8, 16, 0.5), (1, 4, 0.9)):
        static = setup(mixing="window", window=1, batch=batch, length=length, mask_prob=mask_prob)[0]
        chance = stats.binom.sf(static.scored_capacity, batch * length, mask_prob)
        assert chance <= task.OVERFLOW_PROBABILITY
        assert static.scored_capacity <= batch * length


def test_window_symbols_by_hand():
    static = setup(mixing="window", window=2, length=4)[0]
    shown = jnp.array([[3, 1, 16, 0]])
    pad = static.num_states + 1
    expected = [[[pad, pad, 3, 1, 16], [pad, 3, 1, 16, 0], [3, 1, 16, 0, pad], [1, 16, 0, pad, pad]]]
    assert task.window_symbols(static, shown).tolist() == expected


def test_encoding_is_one_hot_per_symbol():
    static = setup(mixing="window", window=1)[0]
    encoded = task.encode(static, jnp.array([[0, 17, 5]]))
    assert np.flatnonzero(encoded[0]).tolist() == [0, 18 + 17, 36 + 5]
    assert encoded.sum() == 3


def test_mask_fractions_and_corruption_within_four_sigma(key):
    static, hypers, _ = setup(mask_mode="bert", length=64)
    tokens, shown, mask, _ = map(np.asarray, draw_batch(static, key, hypers, 2000))
    n, m = mask.size, int(mask.sum())

    def close(count, total, p):
        return abs(count - total * p) < SIGMAS * np.sqrt(total * p * (1 - p))

    assert close(m, n, static.mask_prob)
    assert bool((shown == tokens)[~mask].all())
    assert close(int((shown[mask] == static.num_states).sum()), m, 0.8)
    # Unchanged tokens: the 10 % left alone and one in V of the 10 % drawn at random.
    assert close(int((shown[mask] == tokens[mask]).sum()), m, 0.1 + 0.1 / static.num_states)
    random = shown[mask & (shown != tokens) & (shown != static.num_states)]
    assert stats.chisquare(np.bincount(random, minlength=static.num_states)[: static.num_states]).pvalue > 1e-4


def test_pure_mask_hides_every_scored_token(key):
    static, hypers, _ = setup(mask_mode="pure")
    tokens, shown, mask, _ = map(np.asarray, draw_batch(static, key, hypers, 64))
    assert (shown == np.where(mask, static.num_states, tokens)).all()


def test_learning_rate_is_traced_and_scales_the_first_update(key):
    _, hypers, made = setup(mixing="window")
    state = jax.jit(made.init)(key, hypers)
    step = jax.jit(made.step)
    after = [step(key, state, {**hypers, "learning_rate": jnp.float32(rate)})[0] for rate in (1e-3, 2e-3)]
    moves = [jax.tree.map(lambda a, b: np.asarray(a) - np.asarray(b), x.params, state.params) for x in after]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(2 * a, b, atol=1e-6), *moves)
    assert step._cache_size() == 1


# Without jit every operation is a program of its own. What the step computes is tested by all that train a network.
@pytest.mark.slow
def test_step_is_the_same_with_and_without_jit(key):
    _, hypers, made = setup(mixing="window", depth=2, width=4, batch=1, length=5, window=1)
    state = jax.jit(made.init)(key, hypers)
    jitted, info = jax.jit(made.step)(key, state, hypers)
    plain, plain_info = made.step(key, state, hypers)
    np.testing.assert_allclose(info["train_loss"], plain_info["train_loss"], rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), jitted.params, plain.params)
