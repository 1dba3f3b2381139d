"""What is recorded: exact shortcuts against the plain path, losses against closed forms, undefined ranks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import rank_flow as rank_flow_config
from rgflow.rank_flow import dynamics, experiment, probe, theory


def setup(key, **values):
    config = rank_flow_config.get_config("smoke")
    config.update({"width": 16, "depth": 3, "probe_batch": 24, "length": 32, **values})
    made = experiment.make(config)
    hypers = jax.tree.map(jnp.asarray, dict(made.hypers))
    return made.static, hypers, made, made.init(key, hypers), config


@pytest.mark.parametrize("mask_mode", ["pure", "bert"])
def test_weighted_table_measures_what_every_position_measures(key, mask_mode):
    static, hypers, _, state, _ = setup(key, mixing="tokenwise", mask_mode=mask_mode)
    _, shown, mask = dynamics.draw_batch(static, key, hypers, static.probe_batch)

    def measure(rows):
        measured = probe.measured_rows(*rows(static, state.params, shown, mask)[:3])
        return {**probe.rank_records(measured), **probe.drift_records(measured)}

    fast, plain = (jax.jit(lambda rows=rows: measure(rows))() for rows in (probe._table_rows, probe._position_rows))
    assert set(fast) == set(probe.DIMS)
    # The Frobenius drift is a square root: where the stream is constant, rounding noise of 1e-8 would read as 1e-4.
    for drift in (fast, plain):
        drift["frobenius_drift"] = drift["frobenius_drift"] ** 2
    for name in fast:
        np.testing.assert_allclose(fast[name], plain[name], rtol=2e-4, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("mixing", dynamics.MIXINGS)
def test_ranks_equal_float64_numpy_on_the_explicit_matrix(key, mixing):
    static, hypers, made, state, _ = setup(key, mixing=mixing)
    record = jax.jit(made.probe)(key, state, hypers)
    _, shown, mask = dynamics.draw_batch(static, key, hypers, static.probe_batch)
    _, stream = static.net().apply({"params": state.params}, dynamics.inputs(static, shown))
    flat = np.asarray(stream, np.float64).reshape(static.depth + 1, -1, static.width)
    chosen = np.asarray(mask).reshape(-1)
    levels = [flat, flat[:, chosen], flat[:, ~chosen], np.asarray(stream, np.float64).mean(axis=2)]
    for level, rows in enumerate(levels):
        for centring, x in enumerate((rows, rows - rows.mean(axis=1, keepdims=True))):
            s = np.linalg.svd(x, compute_uv=False)
            p = s / np.maximum(s.sum(axis=1, keepdims=True), 1e-300)
            expected = np.exp(-np.sum(np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0), axis=1))
            measured = np.asarray(record["effective_rank"])[level, centring]
            if np.isnan(measured).any():
                # Only a constant stream may be undefined: token-wise, every scored position shows [MASK].
                assert (mixing, probe.LEVELS[level], probe.CENTRINGS[centring]) == ("tokenwise", "masked", "centred")
            else:
                np.testing.assert_allclose(measured, expected, rtol=1e-4)


def test_constant_stream_has_no_centred_rank(key):
    _, hypers, made, state, _ = setup(key, mixing="tokenwise", mask_mode="pure")
    record = jax.jit(made.probe)(key, state, hypers)
    masked = probe.LEVELS.index("masked")
    assert np.isnan(record["effective_rank"][masked, 1]).all()
    np.testing.assert_allclose(record["effective_rank"][masked, 0], 1.0, rtol=1e-4)


def test_record_shapes_are_the_declared_ones(key):
    for mixing in dynamics.MIXINGS:
        _, hypers, made, state, _ = setup(key, mixing=mixing)
        sizes = {name: len(labels) for name, labels in made.coords.items()}
        for name, values in jax.eval_shape(made.probe, key, state, hypers).items():
            assert values.shape == tuple(sizes[d] for d in made.dims.get(name, ())), name


def test_nan_weights_give_nan_ranks_never_one(key):
    _, hypers, made, state, _ = setup(key, mixing="window")
    broken = jax.tree.map(lambda x: x * jnp.nan, state)
    record = jax.jit(made.probe)(key, broken, hypers)
    assert all(np.isnan(record[name]).all() for name in probe.RANKS)


@pytest.mark.parametrize("mask_mode", ["pure", "bert"])
def test_exact_table_loss_is_the_mean_of_the_sampled_one(key, mask_mode):
    static, hypers, _, state, _ = setup(key, mixing="tokenwise", mask_mode=mask_mode)
    logits, _ = static.net().apply({"params": state.params}, dynamics.encode(static, jnp.arange(17)[:, None]))
    exact = probe.exact_table_loss(static, logits, hypers["stationary"])
    sample = jax.jit(lambda k: dynamics.plain_loss(static, state.params, *dynamics.draw_batch(static, k, hypers, 64)))
    losses = [float(sample(jax.random.fold_in(key, k))) for k in range(40)]
    assert abs(np.mean(losses) - exact) < 4 * np.std(losses, ddof=1) / np.sqrt(len(losses))


def test_sampled_bayes_loss_agrees_with_the_closed_form(key):
    static, hypers, _, _, config = setup(key, mixing="window")
    chain = experiment.chain_of(config)
    exact = theory.bayes_masked_loss(chain, static.length, static.mask_prob)
    sample = jax.jit(lambda k: probe.bayes_sample_loss(static, hypers, *dynamics.draw_batch(static, k, hypers, 64)))
    losses = [float(sample(jax.random.fold_in(key, k))) for k in range(40)]
    assert abs(np.mean(losses) - exact) < 4 * np.std(losses, ddof=1) / np.sqrt(len(losses))


def test_a_network_that_knows_the_optimum_has_no_excess(key):
    static, hypers, _, _, _ = setup(key, mixing="window")
    tokens, shown, mask = dynamics.draw_batch(static, key, hypers, 64)
    chain = dynamics.MarkovChain(hypers["transition"], hypers["stationary"])
    posterior = jax.jit(jax.vmap(lambda s, m: theory.masked_posterior(chain, s, m)))(shown, mask)
    record = jax.jit(lambda q: probe.loss_records(static, hypers, jnp.log(q), tokens, shown, mask))(posterior + 1e-30)
    assert abs(record["excess_loss"]) < 1e-5
    assert abs(record["loss"] - hypers["bayes_loss"]) < 1e-5
