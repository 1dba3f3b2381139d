"""The mixings (layout, symmetry, cost of depth), tied embeddings, and the controls."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from configs import rank_flow as rank_flow_config
from rgflow.rank_flow import dynamics, experiment, task
from rgflow.rank_flow.mixing import MIXINGS

SIZES = {"width": 16, "depth": 2, "batch": 4, "probe_batch": 4, "pooled_batch": 4, "length": 12}


def setup(**values):
    config = rank_flow_config.get_config("smoke")
    config.update({**SIZES, **{k: v for k, v in values.items() if k != "chain"}})
    config.chain.update(values.get("chain", {}))
    made = experiment.make(config)
    return made.static, jax.tree.map(jnp.asarray, dict(made.hypers)), made


def network(key, **values):
    static, hypers, made = setup(**values)
    # Biases start at 0, where a wrong use of them would not show.
    noise = np.random.default_rng(0)
    params = jax.jit(made.init)(key, hypers).params
    params = jax.tree.map(lambda x: jnp.asarray(np.asarray(x) + np.float32(0.1 * noise.normal(size=x.shape))), params)
    return static, params, jax.jit(lambda shown: dynamics.forward(static, static.net(), params, shown))


def some_symbols(static, batch=3):
    return np.random.default_rng(1).integers(0, static.num_states + 1, (batch, static.length), np.int32)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("mixing", MIXINGS)
def test_shapes_of_logits_and_stream(key, mixing, tied):
    static, hypers, made = setup(mixing=mixing, tied=tied)

    def run(shown):
        params = made.init(key, hypers).params
        return params, *dynamics.forward(static, static.net(), params, shown)

    params, logits, stream = jax.eval_shape(run, some_symbols(static))
    rows = {"mixer": (12, 3), "flat": (3,)}.get(mixing, (3, 12))
    assert stream.shape == (static.depth + 1, *rows, static.width)
    assert logits.shape == ((12, 3) if mixing == "mixer" else (3, 12)) + (static.num_states,)
    assert ("readout" in params) != tied


@pytest.mark.parametrize(
    "mixing",
    [pytest.param(name, marks=() if name in ("window", "tokenwise") else pytest.mark.slow) for name in MIXINGS],
)
def test_tied_readout_is_the_embedding_of_the_states(key, mixing):
    static, params, forward = network(key, mixing=mixing, tied=True, norm="none")
    logits, stream = forward(some_symbols(static))
    kernel = np.asarray(params["embedding"]["kernel"], np.float64)
    last = np.asarray(stream[-1], np.float64)
    if mixing == "flat":
        rows = kernel.reshape(static.length, static.symbols, -1)[:, : static.num_states]
        expected = np.einsum("bd,tvd->btv", last, rows)
        expected += np.asarray(params["readout_bias"]).reshape(static.length, static.num_states)
    else:
        middle = static.window * static.symbols
        expected = last @ kernel[middle : middle + static.num_states].T + np.asarray(params["readout_bias"])
    np.testing.assert_allclose(logits, expected, rtol=2e-4, atol=2e-4)


def test_mixer_equals_the_sum_over_positions(key):
    static, params, forward = network(key, mixing="mixer", norm="none", activation="tanh", depth=2)
    shown = some_symbols(static)
    stream = np.swapaxes(np.asarray(forward(shown)[1], np.float64), 1, 2)
    blocks = jax.tree.map(lambda x: np.asarray(x, np.float64), params["blocks"])
    h = np.asarray(params["embedding"]["kernel"], np.float64)[np.asarray(shown)]
    for layer in range(2):
        m = {name: x[layer] for name, x in blocks["mixing"].items()}
        x = np.tanh(np.einsum("st,btd->bsd", m["in_kernel"], h) + m["in_bias"][None, :, None])
        h = h + np.einsum("ts,bsd->btd", m["out_kernel"], x) + m["out_bias"][None, :, None]
        d = [{name: x[layer] for name, x in blocks[dense].items()} for dense in ("Dense_0", "Dense_1")]
        h = h + np.tanh(h @ d[0]["kernel"] + d[0]["bias"]) @ d[1]["kernel"] + d[1]["bias"]
        np.testing.assert_allclose(stream[layer + 1], h, rtol=2e-4, atol=2e-4)


def test_attention_equals_its_formula(key):
    static, params, forward = network(key, mixing="attention", norm="none", activation="tanh", depth=2)
    shown = some_symbols(static)
    stream = np.asarray(forward(shown)[1], np.float64)
    blocks = jax.tree.map(lambda x: np.asarray(x, np.float64), params["blocks"])
    h = np.asarray(params["embedding"]["kernel"], np.float64)[np.asarray(shown)]
    for layer in range(2):
        dense = lambda p, x, k=layer: x @ p["kernel"][k] + p["bias"][k]  # noqa: E731
        q, k, v = (dense(blocks["mixing"][name], h) for name in ("query", "key", "value"))
        weights = np.exp(np.einsum("btd,bsd->bts", q, k) / np.sqrt(static.width))
        h = h + dense(blocks["mixing"]["out"], weights / weights.sum(-1, keepdims=True) @ v)
        h = h + dense(blocks["Dense_1"], np.tanh(dense(blocks["Dense_0"], h)))
        np.testing.assert_allclose(stream[layer + 1], h, rtol=2e-4, atol=2e-4)


def test_attention_sees_a_bag_and_a_mixer_an_order(key):
    for mixing, moves in (("attention", True), ("mixer", False)):
        static, _, forward = network(key, mixing=mixing)
        shown = some_symbols(static)
        order = np.random.default_rng(2).permutation(static.length)
        axis = 0 if mixing == "mixer" else 1
        expected = np.take(np.asarray(forward(shown)[0]), order, axis=axis)
        found = forward(shown[:, order])[0]
        assert np.allclose(found, expected, atol=1e-4) == moves


@pytest.mark.parametrize("mixing", ["tokenwise", "window"])
def test_positions_outside_the_window_are_not_seen(key, mixing):
    static, _, forward = network(key, mixing=mixing, window=2)
    shown = some_symbols(static, batch=1)
    changed = shown.copy()
    changed[0, 3] = (shown[0, 3] + 1) % static.num_states
    moved = np.abs(np.asarray(forward(shown)[0]) - np.asarray(forward(changed)[0])).max(axis=(0, 2)) > 1e-6
    reach = 2 if mixing == "window" else 0
    assert np.flatnonzero(moved).tolist() == list(range(3 - reach, 3 + reach + 1))


@pytest.mark.parametrize("multiple", [1, 3])
def test_hidden_layers_are_a_multiple_of_what_they_mix(key, multiple):
    _, hypers, made = setup(mixing="mixer", hidden_multiple=multiple, length=12, width=8, depth=2)
    blocks = jax.eval_shape(made.init, key, hypers).params["blocks"]
    assert blocks["Dense_0"]["kernel"].shape == (2, 8, 8 * multiple)
    assert blocks["mixing"]["in_kernel"].shape == (2, 12 * multiple, 12)


@pytest.mark.usefixtures("optimised")
def test_no_mixing_direction_transposes_the_stream(key):
    # Sizes that no weight has: an array with as many entries as the stream or its hidden layers is the stream.
    static, hypers, made = setup(mixing="mixer", length=24, batch=5, width=16, depth=2)
    runs = 2
    stacked = jax.tree.map(lambda x: np.stack([x] * runs), hypers)
    keys = jax.random.split(key, runs)
    state = jax.eval_shape(jax.vmap(made.init), keys, stacked)
    text = jax.jit(jax.vmap(made.step)).lower(keys, state, stacked).compile().as_text()
    stream = runs * 24 * 5 * 16
    entries = {stream, stream * static.hidden_multiple}
    moved = re.findall(r"= f32\[([\d,]+)\]\S* (?:transpose|copy)\(", text)
    assert not [shape for shape in moved if np.prod([int(n) for n in shape.split(",")]) in entries]
    assert "dot(" in text or "custom-call" in text


@pytest.mark.parametrize(
    "mixing",
    [pytest.param(name, marks=() if name in ("window", "attention") else pytest.mark.slow) for name in MIXINGS],
)
def test_program_does_not_grow_with_depth(mixing):
    def operations(depth):
        _, hypers, made = setup(mixing=mixing, depth=depth)
        state = jax.eval_shape(made.init, jax.random.key(0), hypers)
        return jax.jit(made.step).lower(jax.random.key(0), state, hypers).as_text().count("\n")

    assert operations(2 * task.UNROLLED_DEPTH) == operations(8 * task.UNROLLED_DEPTH)


def test_random_labels_are_independent_draws_from_the_stationary_distribution(key):
    static, hypers, _ = setup(control="random_labels", chain={"kind": "lazy_zipf"}, length=64)
    data = jax.jit(lambda k: task.draw_batch(static, k, hypers, 500))(key)
    table = np.zeros((static.num_states, static.num_states))
    np.add.at(table, (np.asarray(data.tokens).ravel(), np.asarray(data.targets).ravel()), 1)
    expected = np.asarray(hypers["stationary"], np.float64)
    assert stats.chisquare(table.sum(axis=0), expected / expected.sum() * table.sum()).pvalue > 1e-4
    # Tokens of a sequence are dependent, so independence is tested on one position of each sequence.
    one = np.zeros_like(table)
    np.add.at(one, (np.asarray(data.tokens)[:, 5], np.asarray(data.targets)[:, 5]), 1)
    frequent = one[:4, :4]
    assert stats.chi2_contingency(frequent).pvalue > 1e-4


def test_shuffled_sequences_keep_their_tokens_and_lose_their_order(key):
    plain, hypers, _ = setup(correlation_length=7.09, length=64)
    shuffled = setup(control="time_shuffled", correlation_length=7.09, length=64)[0]
    draw = jax.jit(lambda: [task.draw_batch(s, key, hypers, 200).tokens for s in (plain, shuffled)])
    a, b = map(np.asarray, draw())
    assert (np.sort(a, axis=1) == np.sort(b, axis=1)).all()
    near, far = (np.mean(b[:, :-d] == b[:, d:]) for d in (1, 32))
    assert np.mean(a[:, :-1] == a[:, 1:]) > near + 0.2
    # At every distance alike; the standard error of either share is below 0.004.
    assert abs(near - far) < 0.016


def test_controls_that_change_no_shape_share_a_program():
    statics = {control: setup(control=control)[0] for control in task.CONTROLS}
    assert statics["none"] == statics["untrained"] == statics["iid"]
    assert len(set(statics.values())) == 3


def test_untrained_control_never_moves(key):
    _, hypers, made = setup(control="untrained", mixing="window", window=2)
    state = jax.jit(made.init)(key, hypers)
    after, _ = jax.jit(made.step)(key, state, hypers)
    moved = jax.tree.leaves(jax.tree.map(lambda a, b: np.any(a != b), after.params, state.params))
    assert not any(moved)


def test_iid_control_keeps_marginals_and_knows_nothing_of_neighbours():
    for mixing in MIXINGS:
        _, hypers, made = setup(control="iid", mixing=mixing, window=2)
        np.testing.assert_allclose(hypers["transition"], np.tile(hypers["stationary"], (16, 1)), rtol=1e-6)
        assert made.reference["bayes_loss"] == pytest.approx(made.reference["stationary_entropy"], abs=1e-9)
    # Modes are those of the ordered chain, in whose terms the control is read.
    np.testing.assert_allclose(made.reference["mode_modulus"], setup()[2].reference["mode_modulus"])


def test_learning_rate_stays_and_then_falls_to_zero():
    hypers = {"learning_rate": jnp.float32(2.0), "steps": jnp.float32(100.0), "cooldown": jnp.float32(0.2)}
    learning_rate = jax.jit(dynamics.learning_rate)
    rates = [float(learning_rate(hypers, jnp.int32(k))) for k in (0, 50, 80, 90, 99)]
    np.testing.assert_allclose(rates, [2, 2, 2, 1, 0.1], rtol=1e-5)
    constant = {**hypers, "cooldown": jnp.float32(0.0)}
    assert all(float(learning_rate(constant, jnp.int32(k))) == 2.0 for k in (0, 99))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"control": "shuffled"}, "control = 'shuffled': must be one of none, untrained, random_labels"),
        ({"mixing": "conv"}, "mixing = 'conv': must be one of tokenwise, window, mixer, flat, attention"),
        ({"cooldown": 1.5}, r"cooldown = 1.5: must lie within \[0, 1\]"),
        ({"pooled_batch": 6}, "pooled_batch = 6: must be a multiple of probe_batch = 4"),
        ({"learning_rate": 0.0}, "learning_rate = 0.0: must be positive"),
        ({"chain": {"kind": "lazy_zipf", "exponent": -1.0}}, "exponent = -1.0: must be a number in"),
    ],
)
def test_bad_settings_are_refused_in_one_line(values, message):
    with pytest.raises(ValueError, match=message):
        setup(**values)
