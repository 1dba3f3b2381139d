"""Laws of the weights before training, and the keys of training: dropout, weight decay, position codes, own chains."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import rank_flow as rank_flow_config
from rgflow.nets.initialisation import INITIALISATIONS, Initialisation
from rgflow.nets.residual import ResidualStack
from rgflow.rank_flow import dynamics, experiment, task


def params_of(initialisation, **more):
    net = ResidualStack(4, 64, 256, 16, initialisation=initialisation, **more)
    return jax.jit(net.init)(jax.random.key(0), jnp.zeros((2, 6, 20)))["params"]


def spread(weights):
    return float(np.asarray(weights, np.float64).std())


@pytest.mark.parametrize(
    ("initialisation", "embedding", "first", "last", "bias"),
    [
        ("lecun", 20**-0.5, 64**-0.5, 256**-0.5, 0.0),
        ("torch", 1.0, (3 * 64) ** -0.5, (3 * 256) ** -0.5, (3 * 64) ** -0.5),
        ("scaled", 20**-0.5, 64**-0.5, 256**-0.5 / 2, 0.0),
    ],
)
def test_weights_begin_with_their_spread(initialisation, embedding, first, last, bias):
    """1280 to 65536 numbers each: standard deviations to 10 %, more than four of their standard errors."""
    found = params_of(initialisation)
    blocks = found["blocks"]
    assert spread(found["embedding"]["kernel"]) == pytest.approx(embedding, rel=0.1)
    assert spread(blocks["Dense_0"]["kernel"]) == pytest.approx(first, rel=0.1)
    assert spread(blocks["Dense_1"]["kernel"]) == pytest.approx(last, rel=0.1)
    assert spread(blocks["Dense_0"]["bias"]) == pytest.approx(bias, rel=0.1)
    if initialisation == "torch":
        assert abs(np.asarray(blocks["Dense_0"]["kernel"])).max() <= 64**-0.5


def test_initialisations_are_named_and_the_default_is_the_first():
    assert INITIALISATIONS[0] == "lecun"
    law = Initialisation("lecun")
    first, again = (law.kernel()(jax.random.key(1), (8, 8)) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def made(**values):
    config = rank_flow_config.get_config("smoke")
    config.update(values)
    found = experiment.make(config)
    hypers = jax.tree.map(jnp.asarray, dict(found.hypers))
    return found, hypers, jax.jit(found.init)(jax.random.key(3), hypers)


def test_weight_decay_takes_its_share_of_every_weight():
    """AdamW less Adam is -rate * decay * weight, exactly, at one step from one state."""
    found, hypers, state = made(mixing="window", learning_rate=1e-2)
    step = jax.jit(found.step)
    plain = step(jax.random.key(5), state, hypers)[0].params
    decayed = step(jax.random.key(5), state, {**hypers, "weight_decay": jnp.array(0.5)})[0].params
    for before, one, other in zip(*map(jax.tree.leaves, (state.params, plain, decayed)), strict=True):
        np.testing.assert_allclose(other - one, -1e-2 * 0.5 * before, atol=3e-7)


@pytest.mark.parametrize("mixing", ["tokenwise", "attention"])
def test_dropout_drops_while_training_alone(mixing):
    found, hypers, state = made(mixing=mixing, dropout=0.5)
    static: task.Static = found.static
    data = jax.jit(task.draw_batch, static_argnums=(0, 3))(static, jax.random.key(1), hypers, 8)
    loss = dynamics.loss_of(static.mixing, dropout=True)
    assert loss is not dynamics.table_loss
    value = jax.jit(lambda key: loss(static, state.params, data, key))
    losses = [float(value(jax.random.key(k))) for k in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]
    # The mean over dropped entries is the update itself: without a key nothing is dropped.
    without = float(jax.jit(lambda: loss(static, state.params, data, None))())
    np.testing.assert_allclose(
        without, float(jax.jit(lambda: dynamics.plain_loss(static, state.params, data))()), rtol=1e-5
    )
    with pytest.raises(ValueError, match=r"dropout = 1.0: must be at least 0 and below 1"):
        made(dropout=1.0)


def test_a_position_code_makes_attention_see_the_order():
    shown = jnp.array([[0, 1, 2, 3, 16, 5, 6, 7] * 2])
    for positional, sees in (("none", False), ("learned", True)):
        found, _, state = made(mixing="attention", positional=positional)
        static: task.Static = found.static
        turned = shown[:, ::-1]
        logits = jax.jit(
            lambda s, static=static, state=state: dynamics.forward(static, static.net(), state.params, s)[0]
        )
        gap = float(jnp.abs(logits(shown) - logits(turned)[:, ::-1]).max())
        assert (gap > 1e-3) is sees
        assert np.isnan(found.reference["architecture_loss"]) is not sees


def test_every_seed_has_a_chain_of_its_own_unless_they_share_one():
    found = made()[0]
    assert found.of_seed is not None
    one, other = found.of_seed(0), found.of_seed(3)
    assert (one.reference["chain_seed"], other.reference["chain_seed"]) == (1.0, 4.0)
    assert one.static == other.static and one.schedule == other.schedule
    assert abs(one.hypers["transition"] - other.hypers["transition"]).max() > 0.01
    np.testing.assert_array_equal(one.hypers["transition"], found.hypers["transition"])
    config = rank_flow_config.get_config("smoke")
    config.chain.per_seed = False
    assert experiment.make(config).of_seed is None
    config.chain.update({"per_seed": True, "kind": "circulant"})
    assert experiment.make(config).of_seed is None
