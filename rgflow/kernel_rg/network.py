r"""The network of this room on arrays that may be larger than it: forward pass, back-propagated vectors, observables.

$x^l = \phi(W_l x^{l-1}/\sqrt{N_{l-1}})$, $f = a \cdot x^L/\sqrt N$, no biases. Width, depth and numbers of points and
inputs are traced: a network lives in the corner of arrays of fixed size, entries outside it are zero and layers above
its depth pass their input on, so that networks of many sizes share one compiled program. Zero rows of X have f = 0 and
label 0 and change nothing.
"""

import dataclasses
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from rgflow.types import Hypers, Key, Record

SAMPLERS = ("gibbs", "hmc", "trained")
ACTIVATIONS = {"linear": lambda x: x, "relu": jax.nn.relu}


@dataclasses.dataclass(frozen=True)
class Static:
    """Everything that fixes shapes or the program of a run; sizes are those of the arrays, not of the network."""

    sampler: str
    activation: str
    width: int
    depth: int
    num_train: int
    num_inputs: int
    num_test: int
    leapfrog_steps: int


@flax.struct.dataclass
class Weights:
    """Weights of one network: ``first`` (N, N0), ``hidden`` (L - 1, N, N) and ``readout`` (N,)."""

    first: Any
    hidden: Any
    readout: Any


def active_layers(static: Static, hypers: Hypers) -> Bool[Array, " L"]:
    """Returns which layers of the arrays belong to the network."""
    return jnp.arange(static.depth) < hypers["depth"]


def masks(static: Static, hypers: Hypers) -> Weights:
    """Returns one for each weight of the network and zero for the others."""
    units = (jnp.arange(static.width) < hypers["width"]).astype(jnp.float32)
    upper = active_layers(static, hypers)[1:].astype(jnp.float32)
    hidden = upper[:, None, None] * jnp.outer(units, units)[None]
    inputs = (jnp.arange(static.num_inputs) < hypers["num_inputs"]).astype(jnp.float32)
    return Weights(jnp.outer(units, inputs), hidden, units)


def draw_prior(static: Static, key: Key, hypers: Hypers) -> Weights:
    r"""Returns a network with every weight drawn from $N(0, \sigma^2)$."""
    leaves, tree = jax.tree.flatten(masks(static, hypers))
    keys = jax.random.split(key, len(leaves))
    drawn = [mask * jax.random.normal(k, mask.shape) for k, mask in zip(keys, leaves, strict=True)]
    return jax.tree.map(lambda w: jnp.sqrt(hypers["sigma2"]) * w, jax.tree.unflatten(tree, drawn))


def hidden_features(
    static: Static, weights: Weights, inputs: Float[Array, "rows N0"], hypers: Hypers
) -> Float[Array, "L rows N"]:
    r"""Returns $x^1 \ldots x^L$ of every row; layers above the depth repeat $x^L$: the last is always $x^L$."""
    activation = ACTIVATIONS[static.activation]
    first = activation(inputs @ weights.first.T / jnp.sqrt(hypers["num_inputs"]))

    def layer(x: Array, matrix_and_active: tuple[Array, Array]) -> tuple[Array, Array]:
        matrix, active = matrix_and_active
        x = jnp.where(active, activation(x @ matrix.T / jnp.sqrt(hypers["width"])), x)
        return x, x

    upper = jax.lax.scan(layer, first, (weights.hidden, active_layers(static, hypers)[1:]))[1]
    return jnp.concatenate([first[None], upper])


def outputs(weights: Weights, features: Float[Array, "L rows N"], hypers: Hypers) -> Float[Array, " rows"]:
    r"""Returns $f = a \cdot x^L/\sqrt N$ of every row."""
    return features[-1] @ weights.readout / jnp.sqrt(hypers["width"])


def all_inputs(hypers: Hypers) -> Float[Array, "rows N0"]:
    """Returns training inputs and, below them, test inputs."""
    return jnp.concatenate([hypers["inputs"], hypers["test_inputs"]])


def product_scale(static: Static, weights: Weights, hypers: Hypers) -> Float[Array, ""]:
    r"""Returns $Q = |v_1|^2/N$ of a linear network, $v_L = a$, $v_{l-1} = W_l^T v_l/\sqrt N$.

    It is the Q of the theory: given $v_1$, the output is a Gaussian process of kernel $Q K_0$. Zero for other networks.
    """
    if static.activation != "linear":
        return jnp.zeros(())

    def down(v: Array, matrix_and_active: tuple[Array, Array]) -> tuple[Array, None]:
        matrix, active = matrix_and_active
        return jnp.where(active, matrix.T @ v / jnp.sqrt(hypers["width"]), v), None

    upper = (weights.hidden, active_layers(static, hypers)[1:])
    v = jax.lax.scan(down, weights.readout, upper, reverse=True)[0]
    return v @ v / hypers["width"]


def layer_kernels(static: Static, features: Float[Array, "L rows N"], hypers: Hypers) -> Float[Array, "L P P"]:
    r"""Returns $K_l = (\sigma^2/N) X_l X_l^T$ on the training points."""
    train = features[:, : static.num_train]
    return hypers["sigma2"] / hypers["width"] * jnp.einsum("lpn,lqn->lpq", train, train)


def observables(static: Static, weights: Weights, features: Float[Array, "L rows N"], hypers: Hypers) -> Record:
    """Returns what is averaged over sweeps, of one state whose features are known; zero where it has no meaning."""
    output = outputs(weights, features, hypers)
    misfit = output[: static.num_train] - hypers["targets"]
    train = features[:, : static.num_train]
    unit = hypers["sigma2"] / hypers["width"]
    overlap = jnp.einsum("lpn,p->ln", train, hypers["targets"])
    prediction = output[static.num_train :]
    return {
        "scale": product_scale(static, weights, hypers),
        "energy": misfit @ misfit / 2,
        "prediction": prediction,
        "prediction_square": prediction**2,
        "kernel_projection": unit * jnp.sum(overlap**2, axis=1) / (hypers["targets"] @ hypers["targets"]) ** 2,
        "kernel_trace": unit * jnp.sum(train**2, axis=(1, 2)) / hypers["num_train"],
    }
