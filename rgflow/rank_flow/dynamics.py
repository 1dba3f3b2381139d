"""Masked-token training of a residual stack on Markov chains: init and step of one run.

Two exact shortcuts save most of the cost. A network that sees one symbol has only V + 1 distinct inputs: it is run once
for each input that can be scored, and counts weight the losses. Any other network with independent rows is run on the
scored positions only. Both equal the plain path (``plain_loss``) to float rounding.
"""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from rgflow.nets.residual import ResidualStack
from rgflow.rank_flow.mixing import Mixing
from rgflow.rank_flow.task import Batch, Static, draw_batch, encode, inputs, window_symbols
from rgflow.types import Hypers, Info, Key


@flax.struct.dataclass
class TrainState:
    """Weights and optimiser state of one run."""

    params: Any
    optimizer: Any


def optimizer() -> optax.GradientTransformation:
    """Returns Adam without its learning rate, which is swept and multiplies the update."""
    return optax.scale_by_adam()


def init(static: Static, key: Key, hypers: Hypers) -> TrainState:
    """Returns the initial weights and optimiser state of one run."""
    del hypers
    encoding = inputs(static, jnp.zeros((1, static.length), jnp.int32))
    params = static.net().init(key, encoding)["params"]
    return TrainState(params, optimizer().init(params))


def masked_mean(values: Float[Array, "*rows"], mask: Bool[Array, "*rows"]) -> Float[Array, ""]:
    """Returns the mean over the scored positions (0 when there is none)."""
    return jnp.sum(jnp.where(mask, values, 0.0)) / jnp.maximum(jnp.sum(mask), 1)


def cross_entropy(logits: Float[Array, "*rows V"], targets: Int[Array, "*rows"]) -> Float[Array, "*rows"]:
    r"""Returns $-\ln q(x)$ in nats for each row."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, targets)


def apply_net(
    net: ResidualStack, params: Any, encoding: Float[Array, "*rows F"], shift: Array | None = None
) -> tuple[Array, Array]:
    """Returns (logits [*rows, outputs], stream [depth + 1, *rows, width]) of encoded rows."""
    logits, stream = net.apply({"params": params}, encoding, shift)
    return jnp.asarray(logits), jnp.asarray(stream)


def forward(static: Static, net: ResidualStack, params: Any, shown: Int[Array, "B T"]) -> tuple[Array, Array]:
    """Returns (logits [.., V], stream [depth + 1, .., width]) of whole sequences, in the layout of the stream.

    A network without a stream per position has logits for each position all the same, [B, T, V].
    """
    logits, stream = apply_net(net, params, inputs(static, shown))
    return logits.reshape(*static.mixing.arrange(shown).shape, static.num_states), stream


def plain_loss(static: Static, params: Any, data: Batch) -> Float[Array, ""]:
    """Returns the mean loss over the scored positions of a network that is run on every position."""
    arrange = static.mixing.arrange
    logits, _ = forward(static, static.training_net(), params, data.shown)
    return masked_mean(cross_entropy(logits, arrange(data.targets)), arrange(data.mask))


def scored_symbols(static: Static) -> Int[Array, "S"]:
    """Returns the symbols that a scored position can show: only [MASK] in mode ``pure``, any in mode ``bert``."""
    first = static.num_states if static.mask_mode == "pure" else 0
    return jnp.arange(first, static.num_states + 1)


def table_loss(static: Static, params: Any, data: Batch) -> Float[Array, ""]:
    """Returns the loss of a table from one row per scored symbol, weighted by the counts of (symbol, target)."""
    symbols = scored_symbols(static)
    shows = (data.shown.reshape(-1, 1) == symbols[None]) & data.mask.reshape(-1, 1)
    counts = shows.astype(jnp.float32).T @ jax.nn.one_hot(data.targets.reshape(-1), static.num_states)
    logits, _ = apply_net(static.training_net(), params, encode(static, symbols[:, None]))
    return -jnp.sum(counts * jax.nn.log_softmax(logits)) / jnp.maximum(jnp.sum(data.mask), 1)


def scored_loss(static: Static, params: Any, data: Batch) -> Float[Array, ""]:
    """Returns the loss of a network of independent rows, run on the scored positions only: a fixed number of rows."""
    capacity = static.scored_capacity
    index = jnp.nonzero(data.mask.reshape(-1), size=capacity, fill_value=0)[0]
    valid = jnp.arange(capacity) < jnp.sum(data.mask)
    symbols = window_symbols(static, data.shown).reshape(-1, 2 * static.window + 1)[index]
    logits, _ = apply_net(static.training_net(), params, encode(static, symbols))
    return masked_mean(cross_entropy(logits, data.targets.reshape(-1)[index]), valid)


def loss_of(mixing: Mixing) -> Callable[[Static, Any, Batch], Float[Array, ""]]:
    """Returns the cheapest exact form of the loss (static, params, data) that a mixing allows."""
    if mixing.is_table:
        return table_loss
    return scored_loss if mixing.independent_rows else plain_loss


def learning_rate(hypers: Hypers, step: Int[Array, ""]) -> Float[Array, ""]:
    r"""Returns $\eta \min(1, (n - t) / (c n))$ at step t of n: constant, then linear to 0 over the last share c."""
    remaining = (hypers["steps"] - step) / jnp.maximum(hypers["cooldown"] * hypers["steps"], 1e-6)
    return hypers["learning_rate"] * jnp.minimum(1.0, remaining)


def step(static: Static, key: Key, state: TrainState, hypers: Hypers) -> tuple[TrainState, Info]:
    """Returns the state after one Adam step on fresh sequences, and the masked loss before it (nats)."""
    data = draw_batch(static, key, hypers, static.batch)
    masked_loss = loss_of(static.mixing)
    loss, gradient = jax.value_and_grad(lambda p: masked_loss(static, p, data))(state.params)
    rate = learning_rate(hypers, state.optimizer.count)
    direction, optimizer_state = optimizer().update(gradient, state.optimizer)
    params = jax.tree.map(lambda p, d: p - rate * d, state.params, direction)
    return TrainState(params, optimizer_state), {"train_loss": loss}
