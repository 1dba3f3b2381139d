"""Modes, exact predictor and perturbations, each against a case where the answer is known."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import rank_flow as rank_flow_config
from rgflow.probes.spectrum import effective_rank, numerical_rank, singular_values
from rgflow.rank_flow import dynamics, experiment, held_out, probe, relevance, task
from rgflow.rank_flow.mixing import MIXINGS

KEY = jax.random.key(20260101)
"""That of the fixture ``key``."""

draw_batch = jax.jit(task.draw_batch, static_argnums=(0, 3))


@cache
def setup(chain=(), **values):
    config = rank_flow_config.get_config("smoke")
    sizes = {"width": 16, "depth": 2, "probe_batch": 32, "pooled_batch": 64, "length": 32}
    config.update({**sizes, **values})
    config.chain.update(dict(chain))
    made = experiment.make(config)
    hypers = jax.tree.map(jnp.asarray, dict(made.hypers))
    params = jax.jit(made.init)(KEY, hypers).params
    return made.static, hypers, made, params


def test_readable_positions_by_hand():
    mask = np.array([[True, False, True, False, False, True, True, False, True]])
    data = task.Batch(mask, mask, mask, mask)
    # Both neighbours exist and are shown: only position 2.
    assert np.flatnonzero(relevance.readable(data)[0]).tolist() == [2]


def test_readable_rows_fit_their_room(key):
    static, hypers, _, _ = setup()
    draw = jax.jit(lambda k: jnp.sum(relevance.readable(task.draw_batch(static, k, hypers, static.probe_batch))))
    counts = [int(draw(k)) for k in jax.random.split(key, 50)]
    assert max(counts) <= relevance.readable_capacity(static)


@pytest.mark.parametrize("mixing", ["window", "mixer", pytest.param("attention", marks=pytest.mark.slow), "tokenwise"])
def test_rows_belong_to_their_targets(key, mixing):
    """The embedding of a readable position is the one that its own symbols have, whatever the order of the rows."""
    static, hypers, _, params = setup(mixing=mixing, window=1)
    data = draw_batch(static, key, hypers, static.probe_batch)
    _, rows, targets, valid, _ = jax.jit(lambda: relevance.chunk_records(static, params, hypers, data))()
    where = np.argwhere(np.asarray(static.mixing.arrange(relevance.readable(data))))
    kernel, functions = np.asarray(params["embedding"]["kernel"]), np.asarray(hypers["mode_functions"])
    assert int(valid.sum()) == len(where)
    for k in (0, len(where) // 2, len(where) - 1):
        b, t = where[k][::-1] if mixing == "mixer" else where[k]
        symbols = (
            np.asarray(data.shown)[b, t - 1 : t + 2] if mixing == "window" else np.asarray(data.shown)[b, t : t + 1]
        )
        embedded = sum(kernel[slot * static.symbols + s] for slot, s in enumerate(symbols))
        np.testing.assert_allclose(rows[0, k], embedded, atol=1e-5)
        left, right = (functions[:, np.asarray(data.tokens)[b, t + d]] for d in (-1, 1))
        np.testing.assert_allclose(targets[k, :30], np.concatenate([left, right]), atol=1e-5)
        np.testing.assert_allclose(targets[k, 30:].sum(), 0, atol=1e-4)


def test_modes_are_read_where_they_are_and_nowhere_else(key):
    # 54 inputs fit into 64 channels without loss: the neighbours can be read from the embedding exactly.
    values = {"width": 64, "probe_batch": 64, "pooled_batch": 256, "length": 64}
    for mixing, low, high in (("window", 0.99, 1.001), ("tokenwise", -0.02, 0.001), ("attention", -0.02, 0.001)):
        static, hypers, _, params = setup(mixing=mixing, window=1, **values)

        @jax.jit
        def read(s=static, p=params, h=hypers):
            more = task.draw_batch(s, key, h, s.pooled_batch)
            return relevance.readout_records(s, *relevance.pooled_and_readable(s, p, h, more)[1:4])["mode_r2"]

        r2 = np.asarray(read())
        assert ((r2[0] > low) & (r2[0] < high)).all(), mixing
        assert r2.shape == (static.depth + 1, 15)


@pytest.mark.slow  # five seconds; of other chains they are linear, below
def test_bayes_logits_of_a_chain_without_memory_are_constant(key):
    _, hypers, made, params = setup(mixing="window", control="iid", window=1)
    names = ("predictor_effective_rank", "loss", "excess_loss")
    of_state = lambda state: {name: made.probe(key, state, hypers)[name] for name in names}  # noqa: E731
    record = jax.jit(of_state)(dynamics.TrainState(params, None))
    # The exact optimum ignores the neighbours: its logits hold no direction, its uncentred rank is 1.
    np.testing.assert_allclose(record["predictor_effective_rank"][0], 1, atol=1e-3)
    assert abs(float(record["loss"] - record["excess_loss"] - made.reference["stationary_entropy"])) < 1e-5


@pytest.mark.parametrize("groups", [2, 4, 8])
def test_exact_predictor_of_a_block_chain_has_rank_groups_minus_one(key, groups):
    chain = (("kind", "block"), ("groups", groups))
    static, hypers, _, _ = setup(mixing="window", window=4, correlation_length=2.0, chain=chain)
    data = draw_batch(static, key, hypers, static.probe_batch)
    rows = jax.jit(lambda: probe.predictor_rows(static, hypers, data))()
    values = jax.jit(singular_values)(rows)
    assert (np.sum(np.asarray(values) > 1e-4 * np.asarray(values)[:, :1], axis=1) == groups - 1).all()
    assert (effective_rank(values) <= groups - 1 + 1e-3).all()
    assert numerical_rank(values, rows.shape[-2:]).shape == (2,)


def test_tokenwise_predictor_table_equals_every_position(key):
    for mask_mode in ("pure", "bert"):
        static, hypers, _, _ = setup(mixing="tokenwise", mask_mode=mask_mode)
        data = draw_batch(static, key, hypers, static.probe_batch)

        @jax.jit
        def both(s=static, h=hypers, d=data):
            logits = held_out.centred_logits(held_out.optimal_posterior(s, h, d))
            return logits, singular_values(probe.predictor_rows(s, h, d)[0])

        logits, found = map(np.asarray, both())
        expected = np.linalg.svd(np.asarray(logits[np.asarray(data.mask)], np.float64), compute_uv=False)
        np.testing.assert_allclose(found[: expected.size], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "mixing", [pytest.param(name, marks=() if name in ("window", "mixer") else pytest.mark.slow) for name in MIXINGS]
)
def test_perturbation_is_the_derivative_of_the_stream(key, mixing):
    static, hypers, _, params = setup(mixing=mixing, window=2)
    data = draw_batch(static, key, hypers, static.probe_batch)

    @jax.jit
    def records():
        found = relevance.perturbation_records(static, hypers, params, data)["perturbation"]
        return found, relevance.mode_directions(static, hypers, params)

    @jax.jit
    def stream(direction):
        encoding = task.inputs(static, data.shown[: relevance.PERTURBED_SEQUENCES])
        shift = jnp.broadcast_to(direction, (*encoding.shape[:-1], static.width))
        return dynamics.apply_net(static.net(), params, encoding, shift)[1]

    found, directions = map(np.asarray, records())
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(found[:, 0], 0, atol=1e-6)
    for mode in (0, 14):
        ends = [np.asarray(stream(step * directions[mode]), np.float64) for step in (1e-2, -1e-2)]
        change = ends[0] - ends[1]
        sizes = np.sqrt((change**2).reshape(static.depth + 1, -1).sum(axis=1))
        np.testing.assert_allclose(found[mode], np.log(sizes / sizes[0]), atol=5e-3)


def test_perturbation_of_a_linear_identity_does_not_change(key):
    static, hypers, _, params = setup(mixing="tokenwise", norm="none", activation="identity")
    still = jax.tree.map(np.zeros_like, params["blocks"])
    data = draw_batch(static, key, hypers, 8)
    record = jax.jit(lambda p: relevance.perturbation_records(static, hypers, p, data))({**params, "blocks": still})
    np.testing.assert_allclose(record["perturbation"], 0, atol=1e-4)


@pytest.mark.parametrize("length", [1.062, 7.09])
def test_exact_logits_are_linear_in_the_neighbours_where_both_are_shown(key, length):
    # So a readout finds them wherever both neighbours are kept: it tells what is kept, not what is computed.
    static, hypers, _, _ = setup(mixing="window", correlation_length=length)
    data = draw_batch(static, key, hypers, 256)
    read = np.asarray(jax.jit(relevance.readable)(data))
    exact = jax.jit(lambda: held_out.centred_logits(held_out.bayes_posterior(static, hypers, data)))()
    logits = np.asarray(exact, np.float64)[read]
    neighbours = [np.eye(static.num_states)[np.roll(data.tokens, shift, axis=1)[read]] for shift in (1, -1)]
    one_hots = np.concatenate(neighbours, axis=1)
    residual = logits - one_hots @ np.linalg.lstsq(one_hots, logits)[0]
    assert len(logits) > 4 * one_hots.shape[1]
    assert np.abs(residual).max() < 1e-3 * np.abs(logits).max()


def test_the_stream_grows_as_its_norm_does(key):
    static, hypers, _, params = setup(mixing="window", window=2)
    data = draw_batch(static, key, hypers, static.probe_batch)

    @jax.jit
    def both():
        encoding = task.inputs(static, data.shown[: relevance.PERTURBED_SEQUENCES])
        records = relevance.perturbation_records(static, hypers, params, data)
        return records["stream_growth"], dynamics.apply_net(static.net(), params, encoding)[1]

    found, stream = (np.asarray(x, np.float64) for x in both())
    sizes = np.sqrt((stream**2).reshape(len(stream), -1).sum(axis=1))
    np.testing.assert_allclose(found, np.log(sizes / sizes[0]), atol=1e-5)
