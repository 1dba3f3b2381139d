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
from rgflow.protocol import Stream
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
    net: ResidualStack,
    params: Any,
    encoding: Float[Array, "*rows F"],
    shift: Array | None = None,
    dropout: Key | None = None,
) -> tuple[Array, Array]:
    """Returns (logits [*rows, outputs], stream [depth + 1, *rows, width]) of encoded rows.

    ``dropout`` is the key of the dropped entries while training; without it none is dropped.
    """
    rngs = None if dropout is None else {"dropout": dropout}
    logits, stream = net.apply({"params": params}, encoding, shift, rngs=rngs)
    return jnp.asarray(logits), jnp.asarray(stream)


def forward(
    static: Static, net: ResidualStack, params: Any, shown: Int[Array, "B T"], dropout: Key | None = None
) -> tuple[Array, Array]:
    """Returns (logits [.., V], stream [depth + 1, .., width]) of whole sequences, in the layout of the stream.

    A network without a stream per position has logits for each position all the same, [B, T, V].
    """
    logits, stream = apply_net(net, params, inputs(static, shown), dropout=dropout)
    return logits.reshape(*static.mixing.arrange(shown).shape, static.num_states), stream


def plain_loss(static: Static, params: Any, data: Batch, dropout: Key | None = None) -> Float[Array, ""]:
    """Returns the mean loss over the scored positions of a network that is run on every position."""
    arrange = static.mixing.arrange
    logits, _ = forward(static, static.training_net(), params, data.shown, dropout)
    return masked_mean(cross_entropy(logits, arrange(data.targets)), arrange(data.mask))


def scored_symbols(static: Static) -> Int[Array, "S"]:
    """Returns the symbols that a scored position can show: only [MASK] in mode ``pure``, any in mode ``bert``."""
    first = static.num_states if static.mask_mode == "pure" else 0
    return jnp.arange(first, static.num_states + 1)


def table_loss(static: Static, params: Any, data: Batch, dropout: None = None) -> Float[Array, ""]:
    """Returns the loss of a table from one row per scored symbol, weighted by the counts of (symbol, target).

    With dropout equal symbols have different outputs: ``dropout`` can be no key.
    """
    del dropout
    symbols = scored_symbols(static)
    shows = (data.shown.reshape(-1, 1) == symbols[None]) & data.mask.reshape(-1, 1)
    counts = shows.astype(jnp.float32).T @ jax.nn.one_hot(data.targets.reshape(-1), static.num_states)
    logits, _ = apply_net(static.training_net(), params, encode(static, symbols[:, None]))
    return -jnp.sum(counts * jax.nn.log_softmax(logits)) / jnp.maximum(jnp.sum(data.mask), 1)


def scored_loss(static: Static, params: Any, data: Batch, dropout: Key | None = None) -> Float[Array, ""]:
    """Returns the loss of a network of independent rows, run on the scored positions only: a fixed number of rows."""
    capacity = static.scored_capacity
    index = jnp.nonzero(data.mask.reshape(-1), size=capacity, fill_value=0)[0]
    valid = jnp.arange(capacity) < jnp.sum(data.mask)
    symbols = window_symbols(static, data.shown).reshape(-1, 2 * static.window + 1)[index]
    logits, _ = apply_net(static.training_net(), params, encode(static, symbols), dropout=dropout)
    return masked_mean(cross_entropy(logits, data.targets.reshape(-1)[index]), valid)


def loss_of(mixing: Mixing, dropout: bool = False) -> Callable[..., Float[Array, ""]]:
    """Returns the cheapest exact form of the loss (static, params, data, key of dropout or None) of a mixing."""
    if mixing.is_table and not dropout:
        return table_loss
    return scored_loss if mixing.independent_rows else plain_loss


def learning_rate(hypers: Hypers, step: Int[Array, ""]) -> Float[Array, ""]:
    r"""Returns $\eta \min(1, (n - t) / (c n))$ at step t of n: constant, then linear to 0 over the last share c."""
    remaining = (hypers["steps"] - step) / jnp.maximum(hypers["cooldown"] * hypers["steps"], 1e-6)
    return hypers["learning_rate"] * jnp.minimum(1.0, remaining)


def step(static: Static, key: Key, state: TrainState, hypers: Hypers) -> tuple[TrainState, Info]:
    r"""Returns the state after one step of Adam on fresh sequences, and the masked loss before it (nats).

    With weight decay w it is AdamW: every weight p also loses $\eta w p$.
    """
    data = draw_batch(static, key, hypers, static.batch)
    masked_loss = loss_of(static.mixing, static.dropout > 0)
    dropped = jax.random.fold_in(key, Stream.DROPOUT) if static.dropout > 0 else None
    loss, gradient = jax.value_and_grad(lambda p: masked_loss(static, p, data, dropped))(state.params)
    rate, decay = learning_rate(hypers, state.optimizer.count), hypers["weight_decay"]
    direction, optimizer_state = optimizer().update(gradient, state.optimizer)
    params = jax.tree.map(lambda p, d: p - rate * (d + decay * p), state.params, direction)
    return TrainState(params, optimizer_state), {"train_loss": loss}
