"""Dense networks that narrow by halves: their formula, their shapes, and the freedom behind the features."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgflow.nets.activations import ACTIVATIONS
from rgflow.nets.dense import Bottleneck, halved, one_of, with_kernel

X = np.random.default_rng(0).normal(size=(5, 16)).astype(np.float32)


def network(head="decoder", activation="tanh", widths=(8, 4), outputs=16):
    net = Bottleneck(widths, outputs, ACTIVATIONS[activation], head)
    params = jax.jit(net.init)(jax.random.key(1), X)["params"]
    # Biases start at zero, where a forgotten one would not show.
    noise = np.random.default_rng(2)
    moved = lambda x: jnp.asarray(np.asarray(x) + np.float32(0.3) * noise.standard_normal(x.shape, np.float32))  # noqa: E731
    return net, jax.tree.map(moved, params)


@functools.partial(jax.jit, static_argnames=("net", "method"))
def run(net, params, x, method="__call__"):
    return net.apply({"params": params}, x, method=method)


def affine(params, name, x):
    return x @ np.asarray(params[name]["kernel"], np.float64) + np.asarray(params[name]["bias"], np.float64)[None, :]


def activate(activation, x):
    return {"tanh": np.tanh, "identity": lambda y: y, "relu": lambda y: np.maximum(y, 0)}[activation](x)


@pytest.mark.parametrize("activation", ["tanh", "identity", "relu"])
def test_layers_and_outputs_by_hand(activation):
    net, params = network("decoder", activation)
    first = activate(activation, affine(params, "encoder_0", X))
    second = activate(activation, affine(params, "encoder_1", first))
    inner = activate(activation, affine(params, "decoder_0", second))
    found = run(net, params, X, "encode")
    np.testing.assert_allclose(found[0], first, atol=1e-5)
    np.testing.assert_allclose(found[1], second, atol=1e-5)
    # The output has no activation: targets are not bounded.
    np.testing.assert_allclose(run(net, params, X), affine(params, "decoder_1", inner), atol=1e-5)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_a_readout_is_one_affine_map_of_the_features(activation):
    net, params = network("readout", activation, outputs=3)
    assert set(params) == {"encoder_0", "encoder_1", "decoder_0"}
    features = run(net, params, X, "encode")[-1]
    by_hand = affine(params, "decoder_0", np.asarray(features, np.float64))
    np.testing.assert_allclose(run(net, params, X), by_hand, atol=1e-5)


@pytest.mark.parametrize("head", ["decoder", "readout"])
@pytest.mark.parametrize("widths", [(8,), (8, 4), (8, 4, 2)])
def test_decoding_what_was_encoded_is_the_network(head, widths):
    net, params = network(head, widths=widths)
    layers = run(net, params, X, "encode")
    assert [layer.shape for layer in layers] == [(5, width) for width in widths]
    outputs = run(net, params, layers[-1], "decode")
    np.testing.assert_array_equal(outputs, run(net, params, X))
    kernels = [params[f"decoder_{k}"]["kernel"].shape for k in range(len(widths) if head == "decoder" else 1)]
    assert kernels == (
        list(zip(widths[::-1], (*widths[-2::-1], 16), strict=True)) if head == "decoder" else [(widths[-1], 16)]
    )


@pytest.mark.parametrize("head", ["decoder", "readout"])
@pytest.mark.parametrize("activation", ["identity", "tanh"])
def test_an_invertible_map_of_the_features_can_be_undone_behind_them(head, activation):
    net, params = network(head, activation)
    mixing = np.eye(4) + 0.4 * np.random.default_rng(1).normal(size=(4, 4))
    features = run(net, params, X, "encode")[-1]
    moved = (np.asarray(features, np.float64) @ mixing).astype(np.float32)
    kernel = np.linalg.inv(mixing) @ np.asarray(params["decoder_0"]["kernel"], np.float64)
    undone = with_kernel(params, jnp.asarray(kernel, jnp.float32))
    decode = lambda p, f: np.asarray(run(net, p, f, "decode"))  # noqa: E731
    np.testing.assert_allclose(decode(undone, moved), decode(params, features), atol=1e-4)
    assert np.abs(decode(params, moved) - decode(params, features)).max() > 0.1


def test_another_kernel_leaves_everything_else():
    _, params = network()
    kernel = jnp.ones_like(params["decoder_0"]["kernel"])
    changed = with_kernel(params, kernel)
    np.testing.assert_array_equal(changed["decoder_0"]["kernel"], kernel)
    assert not (params["decoder_0"]["kernel"] == 1).any()
    for name in params:
        for leaf in params[name]:
            if (name, leaf) != ("decoder_0", "kernel"):
                np.testing.assert_array_equal(changed[name][leaf], params[name][leaf])


@pytest.mark.parametrize(("num_sites", "halvings", "widths"), [(32, 1, (16,)), (32, 3, (16, 8, 4)), (12, 2, (6, 3))])
def test_widths(num_sites, halvings, widths):
    assert halved(num_sites, halvings) == widths


@pytest.mark.parametrize(("num_sites", "halvings"), [(32, 0), (32, -1), (12, 3), (0, 1), (-8, 1), (7, 1)])
def test_widths_that_do_not_exist_are_refused(num_sites, halvings):
    with pytest.raises(ValueError, match=f"^num_sites = {num_sites}: must be divisible by 2"):
        halved(num_sites, halvings)


def test_activations_are_what_they_are_called():
    for name in ("tanh", "identity", "relu"):
        np.testing.assert_allclose(ACTIVATIONS[name](jnp.asarray(X)), activate(name, X), rtol=1e-6)


def test_a_traced_activation_is_the_one_of_its_name():
    """In value and in slope, and beside others in one batch."""
    names, x = ("relu", "identity", "tanh"), jnp.asarray(X)
    both = jax.jit(jax.vmap(lambda index: jax.value_and_grad(lambda y: jnp.sum(one_of(names, index)(y) ** 2))(x)))
    values, slopes = both(jnp.arange(3))
    for place, name in enumerate(names):
        value, slope = jax.value_and_grad(lambda y, name=name: jnp.sum(ACTIVATIONS[name](y) ** 2))(x)
        np.testing.assert_allclose(values[place], value, rtol=1e-5)
        np.testing.assert_allclose(slopes[place], slope, atol=1e-5)
    assert len({round(float(value), 3) for value in values}) == 3
