"""The residual stack against a forward pass written out in numpy, and its options."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgflow.nets.activations import ACTIVATIONS
from rgflow.nets.residual import NORMS, ResidualStack


def make(key, unroll=1, **options):
    net = ResidualStack(depth=3, width=8, hidden=16, num_outputs=5, unroll=unroll, **options)
    noise = np.random.default_rng(1)
    encoding = noise.standard_normal((4, 7), np.float32)
    params = jax.jit(net.init)(key, encoding)["params"]
    # Biases and scales start at 0 and 1, where a wrong use of them would not show.
    moved = lambda x: np.asarray(x) + np.float32(0.3) * noise.standard_normal(x.shape, np.float32)  # noqa: E731
    return net, jax.tree.map(moved, params), encoding


def run(net, params, x):
    return jax.jit(net.apply)({"params": params}, x)


def layer_norm(x, p):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    return x * p["scale"] + p["bias"]


def numpy_forward(params, x, norm, residual, activation):
    params = jax.tree.map(lambda p: np.asarray(p, np.float64), params)
    h = np.asarray(x, np.float64) @ params["embedding"]["kernel"]
    stream = [h]
    for layer in range(3):
        p = jax.tree.map(lambda leaf, k=layer: leaf[k], params["blocks"])
        y = layer_norm(h, p["LayerNorm_0"]) if norm == "pre" else h
        y = y @ p["Dense_0"]["kernel"] + p["Dense_0"]["bias"]
        y = np.asarray(ACTIVATIONS[activation](jnp.asarray(y)), np.float64)
        y = y @ p["Dense_1"]["kernel"] + p["Dense_1"]["bias"]
        h = h + y if residual else y
        h = layer_norm(h, p["LayerNorm_0"]) if norm == "post" else h
        stream.append(h)
    h = h if norm == "none" else layer_norm(h, params["readout_norm"])
    return h @ params["readout"]["kernel"] + params["readout"]["bias"], np.stack(stream)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("residual", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_forward_equals_numpy(key, norm, residual):
    net, params, x = make(key, norm=norm, residual=residual)
    logits, stream = run(net, params, x)
    expected_logits, expected_stream = numpy_forward(params, x, norm, residual, "gelu")
    np.testing.assert_allclose(stream, expected_stream, rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(logits, expected_logits, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_activations(key, activation):
    net, params, x = make(key, activation=activation)
    expected = numpy_forward(params, x, "pre", True, activation)[0]
    np.testing.assert_allclose(run(net, params, x)[0], expected, rtol=2e-4, atol=2e-5)


def test_unrolled_depth_is_the_same_network(key):
    net, params, x = make(key)
    unrolled = net.clone(unroll=3)
    shapes = jax.tree.map(np.shape, params)
    assert shapes == jax.tree.map(np.shape, jax.eval_shape(unrolled.init, key, x)["params"])
    for a, b in zip(run(net, params, x), run(unrolled, params, x), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_blocks_start_unlike_each_other(key):
    net = ResidualStack(depth=3, width=8, hidden=16, num_outputs=5)
    kernel = jax.jit(net.init)(key, jnp.zeros((1, 7)))["params"]["blocks"]["Dense_0"]["kernel"]
    assert kernel.shape == (3, 8, 16)
    assert not np.allclose(kernel[0], kernel[1])
