"""Flax modules measured by `rgflow.probes.measure`, against their activations written out by hand."""

import warnings

import flax.linen as nn
import jax
import numpy as np
import pytest
import xarray as xr
from flax import nnx

from rgflow.probes import measure

ROWS = 60


def affine(weights, x):
    """A dense layer of a linen module, in numpy."""
    return np.asarray(x) @ np.asarray(weights["kernel"]) + np.asarray(weights["bias"])


def assert_same(found, layers):
    """Asserts that a measured module equals its activations, measured as plain arrays."""
    # A Frobenius drift is the root of a kernel drift, whose rounding error is 1e-8 or so.
    expected = measure(layers, layers=found.layer_name.values.tolist())
    xr.testing.assert_allclose(found, expected, rtol=2e-4, atol=3e-4)


# --- linen


@pytest.fixture(scope="module")
def batch():
    return jax.random.normal(jax.random.key(0), (ROWS, 4))


class Deep(nn.Module):
    """Twelve layers named by Flax: Dense_10 comes before Dense_2 in the alphabet."""

    @nn.compact
    def __call__(self, x):
        """Returns the last activation."""
        for _ in range(12):
            x = nn.tanh(nn.Dense(4)(x))
        return x


def test_linen_layers_come_in_the_order_of_the_calls(batch):
    variables = jax.jit(Deep().init)(jax.random.key(1), batch)
    x, layers = batch, []
    for k in range(12):
        layers.append(affine(variables["params"][f"Dense_{k}"], x))
        x = np.tanh(layers[-1])
    found = measure(Deep(), batch, variables=variables)
    assert found.layer_name.values.tolist() == [*(f"Dense_{k}" for k in range(12)), "output"]
    assert_same(found, [*layers, x])


class Reversed(nn.Module):
    """Modules from setup, called against the alphabet; one of them twice; the last output is the root's own."""

    def setup(self):
        """Makes the modules in alphabetical order."""
        self.a, self.m, self.z = nn.Dense(3), nn.Dense(4), nn.Dense(4)

    def __call__(self, x, scale=1.0):
        """Returns what `a` returns."""
        return self.a(scale * self.m(self.m(self.z(x))))


def test_linen_modules_may_be_called_twice_and_with_options(batch):
    variables = jax.jit(Reversed().init)(jax.random.key(1), batch)
    weights = variables["params"]
    z = affine(weights["z"], batch)
    once = affine(weights["m"], z)
    twice = affine(weights["m"], once)
    found = measure(Reversed(), batch, variables=variables, scale=2.0)
    assert found.layer_name.values.tolist() == ["z", "m[0]", "m[1]", "a"]
    assert_same(found, [z, once, twice, affine(weights["a"], 2 * twice)])


class Step(nn.Module):
    """One step of a scan over depth: two modules and a carry."""

    @nn.compact
    def __call__(self, x, _):
        """Returns the carry and no output."""
        return x + nn.Dense(4, name="b")(nn.tanh(nn.Dense(4, name="c")(x))), None


class Scanned(nn.Module):
    """Three scanned steps between two layers; ``kept`` says whether the scan keeps what its modules return."""

    kept: bool = True

    @nn.compact
    def __call__(self, x):
        """Returns the readout."""
        axes = {"params": 0, "intermediates": 0} if self.kept else {"params": 0}
        blocks = nn.scan(Step, variable_axes=axes, split_rngs={"params": True}, length=3)
        x, _ = blocks(name="blocks")(nn.Dense(4, name="first")(x), None)
        return nn.Dense(2, name="a")(x)


def test_linen_scan_is_taken_apart_into_its_steps(batch):
    variables = jax.jit(Scanned().init)(jax.random.key(1), batch)
    weights = variables["params"]
    x = affine(weights["first"], batch)
    layers = [x]
    for k in range(3):
        c, b = ({n: w[k] for n, w in weights["blocks"][name].items()} for name in "cb")
        layers.append(affine(c, x))
        layers.append(affine(b, np.tanh(layers[-1])))
        x = x + layers[-1]
    layers.append(affine(weights["a"], x))
    found = measure(Scanned(), batch, variables=variables)
    steps = [f"blocks/{name}[{k}]" for k in range(3) for name in "cb"]
    assert found.layer_name.values.tolist() == ["first", *steps, "a"]
    assert_same(found, layers)


def test_what_a_scan_hides_is_said(batch):
    variables = jax.jit(Scanned().init)(jax.random.key(1), batch)
    with pytest.warns(UserWarning, match="'blocks/c', 'blocks/b', 'blocks' ran inside a transformation"):
        found = measure(Scanned(kept=False), batch, variables=variables)
    assert found.layer_name.values.tolist() == ["first", "a"]


# --- nnx


class Hidden(nnx.Module):
    """A dense layer with its activation."""

    def __init__(self, rngs):
        """Draws the weights."""
        self.linear = nnx.Linear(4, 4, rngs=rngs)

    def __call__(self, x):
        """Returns the activation."""
        return nnx.relu(self.linear(x))


class Louder(Hidden):
    """A subclass that calls its parent, which must not count twice."""

    def __call__(self, x):
        """Returns twice the parent's activation."""
        return 2 * super().__call__(x)


class Network(nnx.Module):
    """Modules whose names are against the alphabet, with state, a transformation and an inherited call."""

    def __init__(self, rngs):
        """Draws the weights."""
        self.z = nnx.Linear(4, 4, rngs=rngs)
        self.hidden = nnx.List([Hidden(rngs), Louder(rngs)])
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.batch_norm = nnx.BatchNorm(4, rngs=rngs)
        self.a = nnx.Linear(4, 2, rngs=rngs)

    def __call__(self, x):
        """Returns the readout."""
        x = self.z(x)
        for layer in self.hidden:
            x = layer(x)
        return self.a(self.batch_norm(self.drop(x)))


NETWORK_LAYERS = ["z", "hidden/0/linear", "hidden/0", "hidden/1/linear", "hidden/1", "batch_norm", "a"]


def activations_of(network, x):
    """The activations of an evaluated Network, written out."""
    layers = [network.z(x)]
    for hidden, factor in zip(network.hidden, (1, 2), strict=True):
        layers.append(hidden.linear(layers[-1]))
        layers.append(factor * jax.nn.relu(layers[-1]))
    layers.append(network.batch_norm(layers[-1]))
    return [*layers, network.a(layers[-1])]


def test_nnx_layers_come_in_the_order_of_the_calls(batch):
    network = Network(nnx.Rngs(0))
    network.eval()
    found = measure(network, batch)
    assert found.layer_name.values.tolist() == NETWORK_LAYERS
    assert_same(found, activations_of(network, batch))


def test_an_nnx_network_in_training_mode_is_warned_of(batch):
    class Noisy(nnx.Module):
        def __init__(self):
            self.first, self.dropout = (
                nnx.Linear(batch.shape[-1], 4, rngs=nnx.Rngs(0)),
                nnx.Dropout(0.5, rngs=nnx.Rngs(1)),
            )

        def __call__(self, x, **options):
            return self.dropout(self.first(x), **options)

    network = Noisy()
    with pytest.warns(UserWarning, match=r"^network: 'dropout' runs as in training; call network.eval\(\) before"):
        measure(network, batch)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        measure(network, batch, deterministic=True)
        network.eval()
        measure(network, batch)


@pytest.mark.filterwarnings("ignore:network. .* runs as in training")
def test_nnx_module_and_its_classes_are_left_as_they_were(batch):
    network = Network(nnx.Rngs(0))
    classes = (Network, Hidden, Louder, nnx.Linear, nnx.BatchNorm, nnx.Dropout)
    before = [dict(c.__dict__) for c in classes], str(nnx.state(network)), set(vars(network.z))
    measure(network, batch)
    assert ([dict(c.__dict__) for c in classes], str(nnx.state(network)), set(vars(network.z))) == before
    with pytest.raises(TypeError):
        measure(network, batch, no_such_option=1)
    assert [dict(c.__dict__) for c in classes] == before[0]


class Transformed(nnx.Module):
    """Three scanned blocks inside a jitted call."""

    def __init__(self, rngs):
        """Draws the weights of all blocks at once."""
        self.blocks = nnx.split_rngs(splits=3)(nnx.vmap(Hidden))(rngs)

    @nnx.jit
    def __call__(self, x):
        """Returns the last activation."""
        return nnx.scan(lambda block, x: block(x), in_axes=(0, nnx.Carry), out_axes=nnx.Carry)(self.blocks, x)


def test_nnx_transformations_are_seen_through_every_time(batch):
    network = Transformed(nnx.Rngs(0))
    x, layers = batch, []
    for k in range(3):
        linear = network.blocks.linear
        layers.append(affine({"kernel": linear.kernel[k], "bias": linear.bias[k]}, x))
        x = np.maximum(layers[-1], 0)
        layers.append(x)
    network(batch)
    for _ in range(2):
        found = measure(network, batch)
        assert found.layer_name.values.tolist() == [f"blocks{part}[{k}]" for k in range(3) for part in ("/linear", "")]
        assert_same(found, layers)


def test_layers_are_picked_by_name_or_predicate(batch):
    network = Network(nnx.Rngs(0))
    network.eval()
    whole = measure(network, batch)
    named = measure(network, (batch,), layers=["a", "z", "output"])
    assert named.layer_name.values.tolist() == ["a", "z", "output"]
    np.testing.assert_array_equal(named.effective_rank, whole.effective_rank.isel(layer=[6, 0, 6]))
    some = measure(network, batch, layers=lambda name: name.startswith("hidden/") and "linear" not in name)
    assert some.layer_name.values.tolist() == ["hidden/0", "hidden/1"]
