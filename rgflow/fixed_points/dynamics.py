"""Training of a dense network on fresh exact samples: init and step of one run."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from rgflow.fixed_points.task import Batch, Static, draw_batch, loss
from rgflow.protocol import Stream
from rgflow.types import Hypers, Info, Key

FINAL_RATE = 0.1
"""The last learning rate as a share of the first."""


@flax.struct.dataclass
class TrainState:
    """Weights, optimiser state, and the random orthonormal rows [M, N] that compress the data beside the network.

    Leaves may be arrays or their shapes, hence the open types.
    """

    params: Any
    optimizer: Any
    projection: Any


def optimizer() -> optax.GradientTransformation:
    """Returns Adam without its learning rate, which is swept and multiplies the update."""
    return optax.scale_by_adam()


def init(static: Static, key: Key, hypers: Hypers) -> TrainState:
    """Draws the initial weights of one run and a random projection."""
    weights, rows = jax.random.split(key)
    projection = jax.random.orthogonal(rows, static.num_sites)[: static.num_features]
    if static.head == "none":
        return TrainState({}, optimizer().init({}), projection)
    params = static.net(hypers).init(weights, jnp.zeros((1, static.num_sites)))["params"]
    return TrainState(params, optimizer().init(params), projection)


def squared_norm(params: Any) -> Float[Array, ""]:
    """Returns the sum of all squared weights, biases left out."""
    return sum((jnp.sum(p**2) for p in jax.tree.leaves(params) if p.ndim > 1), start=jnp.zeros(()))


def objective(static: Static, hypers: Hypers, params: Any, data: Batch) -> tuple[Array, Array]:
    r"""Returns (loss + $\frac\lambda2 |W|^2$, loss): the penalty is part of what is minimised, not of the update."""
    outputs = static.net(hypers).apply({"params": params}, data.x)
    found = loss(static, hypers, jnp.asarray(outputs), data)
    return found + hypers["weight_decay"] / 2 * squared_norm(params), found


def learning_rate(hypers: Hypers, step: Int[Array, ""]) -> Float[Array, ""]:
    r"""Returns the rate at one step: constant, but falling in the first half of the last share c of the steps.

    It falls linearly to a tenth and stays there for the last share $c/2$: a loss that settles then has not settled
    because the rate went to 0.
    """
    since = step / hypers["steps"] - (1 - hypers["cooldown"])
    share = jnp.clip(2 * since / jnp.maximum(hypers["cooldown"], 1e-6), 0.0, 1.0)
    return hypers["learning_rate"] * (1 - (1 - FINAL_RATE) * share)


def step(static: Static, key: Key, state: TrainState, hypers: Hypers) -> tuple[TrainState, Info]:
    """Draws fresh samples, takes one Adam step and reports the loss; without a network nothing happens."""
    if static.head == "none":
        return state, {"train_loss": jnp.zeros(())}
    data = draw_batch(static, jax.random.fold_in(key, Stream.DATA), hypers, static.batch)
    slope = jax.value_and_grad(lambda p: objective(static, hypers, p, data), has_aux=True)
    (_, found), gradient = slope(state.params)
    direction, optimizer_state = optimizer().update(gradient, state.optimizer)
    rate = learning_rate(hypers, state.optimizer.count)
    params = jax.tree.map(lambda p, d: p - rate * d, state.params, direction)
    return TrainState(params, optimizer_state, state.projection), {"train_loss": found}
