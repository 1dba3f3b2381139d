"""The mixings: what follows from one object, and that a new one needs nothing but its object."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from configs import rank_flow as rank_flow_config
from rgflow.nets.mixing import Attention, PositionMixing
from rgflow.rank_flow import collapse, dynamics, experiment, held_out, learning, probe, relevance, select, task
from rgflow.rank_flow.mixing import MIXINGS, Mixing

SIZES = {"width": 16, "depth": 2, "batch": 4, "probe_batch": 8, "pooled_batch": 16, "length": 12, "window": 1}


draw_batch = jax.jit(task.draw_batch, static_argnums=(0, 3))


class Shift(PositionMixing):
    """Each position receives a linear map of the position on its left (the first one that of the last)."""

    @nn.compact
    def __call__(self, h):
        """Returns the update of a stream [B, T, D]."""
        return nn.Dense(h.shape[-1])(jnp.roll(h, 1, axis=-2))


class ShiftInFront(PositionMixing):
    """The same for a stream laid out [T, B, D]."""

    @nn.compact
    def __call__(self, h):
        """Returns the update of a stream [T, B, D]."""
        return nn.Dense(h.shape[-1])(jnp.roll(h, 1, axis=0))


NEW = {
    "shift": Mixing("shift", sublayer=Shift),
    # All that the five do not combine: positions in front, a window, an exchange, an optimum that is not known.
    "window in front": Mixing("window in front", "window", ShiftInFront, positions_first=True, optimum_known=False),
}


@pytest.fixture(params=[pytest.param("shift", marks=pytest.mark.slow), "window in front"])
def name(request, monkeypatch):
    """The name of a mixing that no file but this one knows."""
    monkeypatch.setitem(MIXINGS, request.param, NEW[request.param])
    return request.param


def setup(mixing):
    config = rank_flow_config.get_config("smoke")
    config.update({**SIZES, "mixing": mixing})
    made = experiment.make(config)
    return made, made.static, jax.tree.map(jnp.asarray, dict(made.hypers))


@pytest.mark.slow  # seven seconds; a new mixing is swept and read below
def test_a_new_mixing_trains_and_is_recorded(key, name):
    made, static, hypers = setup(name)
    state = jax.jit(made.init)(key, hypers)
    after, info = jax.jit(made.step)(key, state, hypers)
    plain = jax.jit(
        lambda: dynamics.plain_loss(static, state.params, task.draw_batch(static, key, hypers, static.batch))
    )()
    np.testing.assert_allclose(info["train_loss"], plain, rtol=1e-5)
    assert all(np.any(a != b) for a, b in zip(*map(jax.tree.leaves, (after.params, state.params)), strict=True))
    record, sizes = jax.jit(made.probe)(key, after, hypers), {k: len(labels) for k, labels in made.coords.items()}
    for variable, values in record.items():
        assert values.shape == tuple(sizes[d] for d in made.dims.get(variable, ())), variable
    # Elsewhere a constant stream, that of [MASK] alone at layer 0, has no rank.
    position = probe.LEVELS.index("position")
    assert all(np.isfinite(record[x][position]).all() for x in ("effective_rank", "kernel_drift"))
    assert all(np.isfinite(record[x]).all() for x in ("perturbation", "mode_r2", "loss"))
    data = draw_batch(static, key, hypers, static.probe_batch)
    stream_of = jax.jit(lambda p, shown: dynamics.forward(static, static.net(), p, shown)[1])
    stream = np.asarray(stream_of(after.params, data.shown), np.float64)
    scored = np.asarray(data.mask.T if static.mixing.positions_first else data.mask).reshape(-1)
    rows = stream.reshape(static.depth + 1, -1, static.width)
    for level, x in (("position", rows), ("masked", rows[:, scored])):
        s = np.linalg.svd(x, compute_uv=False)
        p = s / s.sum(axis=1, keepdims=True)
        expected = np.exp(-np.sum(np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0), axis=1))
        np.testing.assert_allclose(record["effective_rank"][probe.LEVELS.index(level), 0], expected, rtol=1e-4)


def test_a_new_mixing_keeps_rows_with_their_positions(key, name):
    made, static, hypers = setup(name)
    params = jax.jit(made.init)(key, hypers).params
    data = draw_batch(static, key, hypers, static.probe_batch)
    _, rows, targets, valid, _ = jax.jit(lambda: relevance.chunk_records(static, params, hypers, data))()
    read = np.asarray(relevance.readable(data))
    where = np.argwhere(read.T)[:, ::-1] if static.mixing.positions_first else np.argwhere(read)
    kernel, functions = np.asarray(params["embedding"]["kernel"]), np.asarray(hypers["mode_functions"])
    assert int(valid.sum()) == len(where) > 0
    for k, (b, t) in enumerate(where):
        reach = static.window
        symbols = np.asarray(data.shown)[b, t - reach : t + reach + 1]
        embedded = sum(kernel[slot * static.symbols + s] for slot, s in enumerate(symbols))
        np.testing.assert_allclose(rows[0, k], embedded, atol=1e-5)
        np.testing.assert_allclose(targets[k, :15], functions[:, np.asarray(data.tokens)[b, t - 1]], atol=1e-5)


def test_a_new_sublayer_moves_what_it_says(key, name):
    made, static, hypers = setup(name)
    params = jax.jit(made.init)(key, hypers).params
    logits = jax.jit(lambda shown: dynamics.forward(static, static.net(), params, shown)[0])
    shown, other = np.zeros((2, 1, static.length), np.int32)
    other[0, 3] = 5
    changed = np.abs(np.asarray(logits(other)) - np.asarray(logits(shown))).max(axis=-1).reshape(-1) > 1e-6
    reach = static.window
    assert np.flatnonzero(changed).tolist() == list(range(3 - reach, 6 + reach)), "two blocks, one position each"


def test_a_new_mixing_is_swept_and_read_without_more_words(name):
    config = rank_flow_config.get_config()
    config.sweep.study, config.sweep.mixing, config.sweep.phases.mixing = ("claims", "phases"), (name,), (name,)
    points = rank_flow_config.get_sweep(config)
    has_window = NEW[name].has_window
    assert {p.values["mixing"] for p in points} == {name}
    assert {p.values["window"] for p in points} == ({1, 4} if has_window else {0})
    assert {p.seeds for p in points} == {config.runs[name].seeds, config.phases.seeds}
    variables = {
        "loss": ("run", [1.0, 1.0]),
        "architecture_loss": ("run", [np.nan] * 2),
        "excess_loss": ("run", [0.1, 0.1]),
    }
    runs = xr.Dataset(variables, {"mixing": ("run", [name] * 2)})
    assert collapse.reading_of(runs) == collapse.READING
    np.testing.assert_array_equal(learning.excess(runs), [0.1, 0.1] if NEW[name].optimum_known else [np.nan] * 2)


def test_a_new_mixing_without_a_stream_per_position_is_read_pooled(monkeypatch):
    monkeypatch.setitem(MIXINGS, "whole", Mixing("whole", row="sequence"))
    runs = xr.Dataset(coords={"mixing": ("run", ["whole", "flat"])})
    assert collapse.reading_of(runs)["level"] == "pooled"
    whole, flat = setup("whole")[1], setup("flat")[1]
    assert (whole.features, whole.readout_rows) == (flat.features, flat.readout_rows)


@pytest.mark.parametrize("values", [{"sublayer": Attention}, {"positions_first": True}])
def test_one_row_per_sequence_has_no_positions_to_mix(values):
    with pytest.raises(ValueError, match="mixing odd: a stream of one row per sequence has no positions to mix"):
        Mixing("odd", row="sequence", **values)


@pytest.mark.parametrize(
    ("name", "loss", "reach", "level", "optimum_known"),
    [
        ("tokenwise", dynamics.table_loss, 0, "position", True),
        ("window", dynamics.scored_loss, 1, "position", True),
        ("mixer", dynamics.plain_loss, None, "position", True),
        ("flat", dynamics.plain_loss, None, "pooled", True),
        ("attention", dynamics.plain_loss, None, "position", False),
    ],
)
def test_what_follows_from_each_mixing(name, loss, reach, level, optimum_known):
    made, static, _ = setup(name)
    assert dynamics.loss_of(static.mixing) is loss
    assert (static.mixing.reach(static.window), static.mixing.level) == (reach, level)
    assert np.isfinite(made.reference["architecture_loss"]) == optimum_known
    # The sizes of a network are part of its program, the mixing too.
    assert static == setup(name)[1]
    assert hash(static) == hash(setup(name)[1])
    assert len({setup(other)[1] for other in MIXINGS}) == len(MIXINGS)


def test_the_optimum_of_an_architecture_is_that_of_what_it_sees():
    losses = {name: setup(name)[0].reference for name in MIXINGS}
    assert losses["tokenwise"]["architecture_loss"] == losses["tokenwise"]["blind_loss"]
    assert losses["mixer"]["architecture_loss"] == losses["flat"]["architecture_loss"] == losses["flat"]["bayes_loss"]
    between = losses["window"]["architecture_loss"]
    assert losses["flat"]["bayes_loss"] < between < losses["tokenwise"]["blind_loss"]


def test_the_exact_predictor_sees_what_the_architecture_sees(key):
    found = {}
    for name in MIXINGS:
        _, static, hypers = setup(name)

        @jax.jit
        def posterior(s=static, h=hypers):
            data = task.draw_batch(s, key, h, 4)
            return held_out.optimal_posterior(s, h, data), data.mask

        found[name], mask = map(np.asarray, posterior())
        hidden = found[name][mask]
        np.testing.assert_allclose(hidden.sum(axis=-1), 1, rtol=1e-5)
        if name == "tokenwise":
            np.testing.assert_allclose(hidden, np.tile(hypers["stationary"], (len(hidden), 1)), atol=1e-6)
    for name in ("flat", "attention"):
        np.testing.assert_array_equal(found[name], found["mixer"])
    assert np.abs(found["window"] - found["mixer"]).max() > 1e-3


def test_only_networks_with_a_window_are_chosen_by_its_size():
    mixing = np.array(["tokenwise", "window", "attention"])
    assert select._lacks(mixing, "window").tolist() == [True, False, True]
    assert not select._lacks(mixing, "depth").any()
