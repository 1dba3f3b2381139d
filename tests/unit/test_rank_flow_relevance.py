"""Modes, exact predictor and perturbations, each against a case where the answer is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import rank_flow as rank_flow_config
from rgflow.probes.spectrum import effective_rank, numerical_rank, singular_values
from rgflow.rank_flow import dynamics, experiment, held_out, probe, relevance, task
from rgflow.rank_flow.mixing import MIXINGS


def setup(key, **values):
    config = rank_flow_config.get_config("smoke")
    sizes = {"width": 16, "depth": 2, "probe_batch": 32, "pooled_batch": 64, "length": 32}
    config.update({**sizes, **{k: v for k, v in values.items() if k != "chain"}})
    config.chain.update(values.get("chain", {}))
    made = experiment.make(config)
    hypers = jax.tree.map(jnp.asarray, dict(made.hypers))
    params = jax.jit(made.init)(key, hypers).params
    return made.static, hypers, made, params


def test_readable_positions_by_hand():
    mask = jnp.array([[True, False, True, False, False, True, True, False, True]])
    data = task.Batch(mask, mask, mask, mask)
    # Both neighbours exist and are shown: only position 2.
    assert np.flatnonzero(relevance.readable(data)[0]).tolist() == [2]


def test_readable_rows_fit_their_room(key):
    static, hypers, _, _ = setup(key)
    draw = jax.jit(lambda k: jnp.sum(relevance.readable(task.draw_batch(static, k, hypers, static.probe_batch))))
    counts = [int(draw(jax.random.fold_in(key, k))) for k in range(50)]
    assert max(counts) <= relevance.readable_capacity(static)


@pytest.mark.parametrize("mixing", ["window", "mixer", "attention", "tokenwise"])
def test_rows_belong_to_their_targets(key, mixing):
    """The embedding of a readable position is the one that its own symbols have, whatever the order of the rows."""
    static, hypers, _, params = setup(key, mixing=mixing, window=1)
    data = task.draw_batch(static, key, hypers, static.probe_batch)
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
        static, hypers, _, params = setup(key, mixing=mixing, window=1, **values)
        more = task.draw_batch(static, key, hypers, static.pooled_batch)
        read = jax.jit(lambda s=static, p=params, h=hypers, d=more: relevance.pooled_and_readable(s, p, h, d)[1:4])
        r2 = jax.jit(lambda *rows, s=static: relevance.readout_records(s, *rows))(*read())["mode_r2"]
        assert ((r2[0] > low) & (r2[0] < high)).all(), mixing
        assert r2.shape == (static.depth + 1, 15)


def test_bayes_logits_of_a_chain_without_memory_are_constant(key):
    _, hypers, made, params = setup(key, mixing="window", control="iid", window=1)
    record = jax.jit(made.probe)(key, dynamics.TrainState(params, None), hypers)
    # The exact optimum ignores the neighbours: its logits hold no direction, its uncentred rank is 1.
    np.testing.assert_allclose(record["predictor_effective_rank"][0], 1, atol=1e-3)
    assert abs(float(record["loss"] - record["excess_loss"] - made.reference["stationary_entropy"])) < 1e-5


@pytest.mark.parametrize("groups", [2, 4, 8])
def test_exact_predictor_of_a_block_chain_has_rank_groups_minus_one(key, groups):
    chain = {"kind": "block", "groups": groups}
    static, hypers, _, _ = setup(key, mixing="window", window=4, correlation_length=2.0, chain=chain)
    data = task.draw_batch(static, key, hypers, static.probe_batch)
    rows = probe.predictor_rows(static, hypers, data)
    values = singular_values(rows)
    assert (np.sum(np.asarray(values) > 1e-4 * np.asarray(values)[:, :1], axis=1) == groups - 1).all()
    assert (effective_rank(values) <= groups - 1 + 1e-3).all()
    assert numerical_rank(values, rows.shape[-2:]).shape == (2,)


def test_tokenwise_predictor_table_equals_every_position(key):
    for mask_mode in ("pure", "bert"):
        static, hypers, _, _ = setup(key, mixing="tokenwise", mask_mode=mask_mode)
        data = task.draw_batch(static, key, hypers, static.probe_batch)
        logits = held_out.centred_logits(held_out.optimal_posterior(static, hypers, data))[data.mask]
        expected = np.linalg.svd(np.asarray(logits, np.float64), compute_uv=False)
        found = singular_values(probe.predictor_rows(static, hypers, data)[0])
        np.testing.assert_allclose(found[: expected.size], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("mixing", MIXINGS)
def test_perturbation_is_the_derivative_of_the_stream(key, mixing):
    static, hypers, _, params = setup(key, mixing=mixing, window=2)
    data = task.draw_batch(static, key, hypers, static.probe_batch)
    found = jax.jit(lambda: relevance.perturbation_records(static, hypers, params, data))()["perturbation"]
    directions = relevance.mode_directions(static, hypers, params)
    np.testing.assert_allclose(jnp.linalg.norm(directions, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(found[:, 0], 0, atol=1e-6)
    encoding = task.inputs(static, data.shown[: relevance.PERTURBED_SEQUENCES])
    stream = jax.jit(lambda shift: dynamics.apply_net(static.net(), params, encoding, shift)[1])
    for mode in (0, 14):
        shift = jnp.broadcast_to(directions[mode], (*encoding.shape[:-1], static.width))
        change = np.asarray(stream(1e-2 * shift) - stream(-1e-2 * shift), np.float64)
        sizes = np.sqrt((change**2).reshape(static.depth + 1, -1).sum(axis=1))
        np.testing.assert_allclose(found[mode], np.log(sizes / sizes[0]), atol=5e-3)


def test_perturbation_of_a_linear_identity_does_not_change(key):
    static, hypers, _, params = setup(key, mixing="tokenwise", norm="none", activation="identity")
    still = jax.tree.map(jnp.zeros_like, params["blocks"])
    record = relevance.perturbation_records(
        static, hypers, {**params, "blocks": still}, task.draw_batch(static, key, hypers, 8)
    )
    np.testing.assert_allclose(record["perturbation"], 0, atol=1e-4)


@pytest.mark.parametrize("length", [1.062, 7.09])
def test_exact_logits_are_linear_in_the_neighbours_where_both_are_shown(key, length):
    # So a readout finds them wherever both neighbours are kept: it tells what is kept, not what is computed.
    static, hypers, _, _ = setup(key, mixing="window", correlation_length=length)
    data = task.draw_batch(static, key, hypers, 256)
    read = np.asarray(relevance.readable(data))
    logits = np.asarray(held_out.centred_logits(held_out.bayes_posterior(static, hypers, data)), np.float64)[read]
    neighbours = [np.eye(static.num_states)[np.roll(data.tokens, shift, axis=1)[read]] for shift in (1, -1)]
    one_hots = np.concatenate(neighbours, axis=1)
    residual = logits - one_hots @ np.linalg.lstsq(one_hots, logits)[0]
    assert len(logits) > 4 * one_hots.shape[1]
    assert np.abs(residual).max() < 1e-3 * np.abs(logits).max()


def test_the_stream_grows_as_its_norm_does(key):
    static, hypers, _, params = setup(key, mixing="window", window=2)
    data = task.draw_batch(static, key, hypers, static.probe_batch)
    found = relevance.perturbation_records(static, hypers, params, data)["stream_growth"]
    encoding = task.inputs(static, data.shown[: relevance.PERTURBED_SEQUENCES])
    stream = np.asarray(dynamics.apply_net(static.net(), params, encoding)[1], np.float64)
    sizes = np.sqrt((stream**2).reshape(len(stream), -1).sum(axis=1))
    np.testing.assert_allclose(found, np.log(sizes / sizes[0]), atol=1e-5)
