"""What is recorded: exact shortcuts against the plain path, losses against closed forms, undefined ranks."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import rank_flow as rank_flow_config
from rgflow.protocol import Stream
from rgflow.rank_flow import dynamics, experiment, held_out, probe, task, theory
from rgflow.rank_flow.mixing import MIXINGS

KEY = jax.random.key(20260101)
"""That of the fixture ``key``."""

draw_batch = jax.jit(task.draw_batch, static_argnums=(0, 3))


@cache
def setup(**values):
    config = rank_flow_config.get_config("smoke")
    config.update({"width": 16, "depth": 3, "probe_batch": 24, "pooled_batch": 24, "length": 32, **values})
    made = experiment.make(config)
    hypers = jax.tree.map(jnp.asarray, dict(made.hypers))
    return made.static, hypers, made, jax.jit(made.init)(KEY, hypers), config


@cache
def compiled_probe(mixing):
    """The probe of a mixing: its program takes most of the time here, and several tests run it."""
    return jax.jit(setup(mixing=mixing)[2].probe)


@cache
def record_of(mixing):
    _, hypers, _, state, _ = setup(mixing=mixing)
    return compiled_probe(mixing)(KEY, state, hypers)


def explicit_stream(static, params, shown):
    """The stream as float64 [layer, sequence, position, width], whatever the order of the network's own rows."""
    apply = jax.jit(lambda p, s: static.net().apply({"params": p}, task.inputs(static, s))[1])
    stream = np.asarray(apply(params, shown), np.float64)
    if not static.mixing.per_position:
        return stream[:, :, None]
    return np.swapaxes(stream, 1, 2) if static.mixing.positions_first else stream


@pytest.mark.parametrize("mask_mode", ["pure", pytest.param("bert", marks=pytest.mark.slow)])
def test_weighted_table_measures_what_every_position_measures(key, mask_mode):
    static, hypers, _, state, _ = setup(mixing="tokenwise", mask_mode=mask_mode)
    data = draw_batch(static, key, hypers, static.probe_batch)

    def measure(rows):
        pooled = jnp.mean(dynamics.forward(static, static.net(), state.params, data.shown)[1], axis=2)
        measured = probe.measured_rows(*rows(static, state.params, data)[:2], pooled)
        values = probe.singular_values(measured)
        return {**probe.rank_records(values, measured.shape[-2:]), **probe.drift_records(measured)}

    fast, plain = (jax.jit(lambda rows=rows: measure(rows))() for rows in (probe._table_rows, probe._position_rows))
    # The Frobenius drift is a square root: where the stream is constant, rounding noise of 1e-8 would read as 1e-4.
    for drift in (fast, plain):
        drift["frobenius_drift"] = drift["frobenius_drift"] ** 2
    for name in fast:
        np.testing.assert_allclose(fast[name], plain[name], rtol=2e-4, atol=1e-6, err_msg=name)


# Attention has the rows of a window: one for each position, sequences in front. So has a mixer, positions in front, of
# which the relevance is tested; the table of token-wise networks is compared with every position above.
SLOW = dict.fromkeys(("attention", "mixer", "tokenwise", "flat"), pytest.mark.slow)


@pytest.mark.parametrize("mixing", [pytest.param(name, marks=SLOW.get(name, ())) for name in MIXINGS])
def test_ranks_equal_float64_numpy_on_the_explicit_matrix(key, mixing):
    static, hypers, _, state, _ = setup(mixing=mixing)
    record = record_of(mixing)
    data = draw_batch(static, key, hypers, static.probe_batch)
    more = draw_batch(static, jax.random.fold_in(key, Stream.PROBE), hypers, static.pooled_batch)
    streams = [explicit_stream(static, state.params, d.shown) for d in (data, more)]
    clean = explicit_stream(static, state.params, (more if mixing == "flat" else data).tokens)
    clean = clean.reshape(static.depth + 1, -1, static.width)
    if mixing == "flat":
        assert np.isnan(record["effective_rank"][:3]).all()
        whole = streams[1][:, :, 0]
        levels = [None, None, None, whole, clean]
    else:
        whole, chosen = streams[0].reshape(static.depth + 1, -1, static.width), np.asarray(data.mask).reshape(-1)
        levels = [whole, whole[:, chosen], whole[:, ~chosen], streams[1].mean(axis=2), clean]
    assert np.isnan(record["effective_rank"][probe.LEVELS.index("update"), :, 0]).all()
    update = np.concatenate([np.random.default_rng(0).standard_normal(whole[:1].shape), np.diff(whole, axis=0)])
    normalised = whole - whole.mean(axis=-1, keepdims=True)
    levels += [update, normalised / np.sqrt(normalised.var(axis=-1, keepdims=True) + probe.NORM_NOISE)]
    for level, rows in ((k, rows) for k, rows in enumerate(levels) if rows is not None):
        for centring, x in enumerate((rows, rows - rows.mean(axis=1, keepdims=True))):
            s = np.linalg.svd(x, compute_uv=False)
            p = s / np.maximum(s.sum(axis=1, keepdims=True), 1e-300)
            expected = np.exp(-np.sum(np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0), axis=1))
            measured = np.asarray(record["effective_rank"])[level, centring]
            if probe.LEVELS[level] == "update":
                measured, expected, x = measured[1:], expected[1:], x[1:]
            # Only a constant stream may be undefined: that of [MASK] alone, at layer 0 or everywhere token-wise.
            constant = np.ptp(x, axis=1).max(axis=1) < 1e-5
            assert (np.isnan(measured) == (constant & (centring == 1))).all()
            np.testing.assert_allclose(measured[~np.isnan(measured)], expected[~np.isnan(measured)], rtol=1e-4)
            if probe.LEVELS[level] == static.mixing.level:
                found = np.asarray(record["singular_values"])[centring]
                assert found.shape == (static.depth + 1, static.width)
                np.testing.assert_allclose(found, s, atol=1e-5 * s.max(), err_msg=probe.LEVELS[level])


def test_the_spectrum_has_one_value_per_channel_at_the_level_of_the_main_reading():
    for mixing, level in (("tokenwise", "position"), ("flat", "pooled")):
        static = setup(mixing=mixing)[0]
        # Fewer rows than channels, and columns that only fill up to the number of states.
        for columns in (5, 20):
            values = jnp.arange(4.0)[:, None, None, None] + jnp.ones((4, 2, static.depth + 1, columns))
            found = np.asarray(probe.spectrum_records(static, values)["singular_values"])
            expected = 1 + probe.LEVELS.index(level) * np.ones((2, static.depth + 1, min(columns, 16)))
            np.testing.assert_array_equal(found[..., :columns], expected)
            assert found.shape == (2, static.depth + 1, 16)
            assert not found[..., columns:].any()


def test_constant_stream_has_no_centred_rank():
    assert setup(mixing="tokenwise")[0].mask_mode == "pure"
    record = record_of("tokenwise")
    masked = probe.LEVELS.index("masked")
    assert np.isnan(record["effective_rank"][masked, 1]).all()
    np.testing.assert_allclose(record["effective_rank"][masked, 0], 1.0, rtol=1e-4)


def test_record_shapes_are_the_declared_ones():
    for mixing in MIXINGS:
        _, hypers, made, state, _ = setup(mixing=mixing)
        sizes = {name: len(labels) for name, labels in made.coords.items()}
        for name, values in jax.eval_shape(compiled_probe(mixing), KEY, state, hypers).items():
            assert values.shape == tuple(sizes[d] for d in made.dims.get(name, ())), name


def test_nan_weights_give_nan_ranks_never_one(key):
    _, hypers, _, state, _ = setup(mixing="window")
    broken = jax.tree.map(lambda x: np.full_like(x, np.nan if x.dtype == np.float32 else 0), state)
    record = compiled_probe("window")(key, broken, hypers)
    assert all(np.isnan(record[name]).all() for name in probe.RANKS)


@pytest.mark.parametrize("mask_mode", [pytest.param("pure", marks=pytest.mark.slow), "bert"])
def test_exact_table_loss_is_the_mean_of_the_sampled_one(key, mask_mode):
    static, hypers, _, state, _ = setup(mixing="tokenwise", mask_mode=mask_mode)

    @jax.jit
    def exact_loss():
        logits, _ = static.net().apply({"params": state.params}, task.encode(static, jnp.arange(17)[:, None]))
        return held_out.exact_table_loss(static, logits, hypers["stationary"])

    exact = exact_loss()
    sample = jax.jit(lambda k: dynamics.plain_loss(static, state.params, task.draw_batch(static, k, hypers, 64)))
    losses = [float(sample(k)) for k in jax.random.split(key, 40)]
    assert abs(np.mean(losses) - exact) < 4 * np.std(losses, ddof=1) / np.sqrt(len(losses))


def test_sampled_bayes_loss_agrees_with_the_closed_form(key):
    static, hypers, _, _, config = setup(mixing="window")
    chain = experiment.chain_of(experiment.chain_key(config))[0]
    exact = theory.bayes_masked_loss(chain, static.length, static.mask_prob)

    @jax.jit
    def sample(k):
        data = task.draw_batch(static, k, hypers, 64)
        truth = jnp.take_along_axis(held_out.bayes_posterior(static, hypers, data), data.targets[..., None], axis=-1)
        return dynamics.masked_mean(-jnp.log(truth[..., 0]), data.mask)

    losses = [float(sample(k)) for k in jax.random.split(key, 40)]
    assert abs(np.mean(losses) - exact) < 4 * np.std(losses, ddof=1) / np.sqrt(len(losses))


def test_a_network_that_knows_the_optimum_has_no_excess(key):
    static, hypers, _, _, _ = setup(mixing="window")
    data, chain = draw_batch(static, key, hypers, 64), task.chain_of(hypers)

    @jax.jit
    def records():
        posterior = jax.vmap(lambda s, m: theory.masked_posterior(chain, s, m))(data.shown, data.mask)
        sums = held_out.loss_sums(static, hypers, jnp.log(posterior + 1e-30), data)
        return held_out.loss_records(static, hypers, sums)

    record = records()
    assert abs(record["excess_loss"]) < 1e-5
    assert abs(record["loss"] - hypers["bayes_loss"]) < 1e-5
