"""The residual MLP stack of the rank-flow room: blocks of (norm, dense, activation, dense) on a residual stream."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jax import nn as functions
from jaxtyping import Array, Float

NORMS = ("pre", "post", "none")
ACTIVATIONS: dict[str, Callable] = {
    "gelu": functions.gelu,
    "relu": functions.relu,
    "tanh": functions.tanh,
    "identity": lambda x: x,
}


class Block(nn.Module):
    """One layer of the stream: ``h + mlp(norm(h))`` (pre), ``norm(h + mlp(h))`` (post) or without norm."""

    width: int
    hidden: int
    norm: str
    residual: bool
    activation: str

    @nn.compact
    def __call__(self, h: Float[Array, "*rows D"], _: None) -> tuple:
        """Returns the stream after this block, twice: as the carry and as the output of a scan over depth."""
        x = nn.LayerNorm()(h) if self.norm == "pre" else h
        x = ACTIVATIONS[self.activation](nn.Dense(self.hidden)(x))
        x = nn.Dense(self.width)(x)
        x = h + x if self.residual else x
        x = nn.LayerNorm()(x) if self.norm == "post" else x
        return x, x


class ResidualStack(nn.Module):
    """Maps each row of an input encoding through an embedding, ``depth`` blocks and a readout, row by row.

    Weights of the blocks are stacked along a leading layer axis (a scan over depth), so that compile time does not
    grow with depth. ``unroll`` blocks at a time are compiled as straight code: faster on a CPU, slower to compile,
    the same numbers and the same layout of the weights.
    """

    depth: int
    width: int
    hidden: int
    num_outputs: int
    norm: str = "pre"
    residual: bool = True
    activation: str = "gelu"
    unroll: int = 1

    @nn.compact
    def __call__(self, encoding: Float[Array, "*rows F"]) -> tuple:
        """Returns (logits [*rows, num_outputs], stream [depth + 1, *rows, width]); stream[0] is the embedding."""
        h0 = nn.Dense(self.width, use_bias=False, name="embedding")(encoding)
        per_layer = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}
        blocks = nn.scan(Block, **per_layer, length=self.depth, unroll=self.unroll)
        sizes = (self.width, self.hidden, self.norm, self.residual, self.activation)
        h, stream = blocks(*sizes, name="blocks")(h0, None)
        x = h if self.norm == "none" else nn.LayerNorm(name="readout_norm")(h)
        logits = nn.Dense(self.num_outputs, name="readout")(x)
        return logits, jnp.concatenate([h0[None], stream])
