"""The residual stack of the rank-flow room: blocks of a mixing of positions, if any, and an MLP."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from rgflow.nets.activations import ACTIVATIONS
from rgflow.nets.initialisation import Initialisation
from rgflow.nets.mixing import PositionMixing

NORMS = ("pre", "post", "none")


def by_row(f: Callable[[Array], Array], x: Float[Array, "*rows F"]) -> Float[Array, "*rows G"]:
    """Returns ``f`` of every row, computed on one flat matrix, which keeps the gradient from transposing the stream."""
    return f(x.reshape(-1, x.shape[-1])).reshape(*x.shape[:-1], -1)


class Block(nn.Module):
    """One layer of the stream: ``h + f(norm(h))`` (pre), ``norm(h + f(h))`` (post) or without norm.

    f is first the sub-layer that mixes positions, if there is one, and then the MLP. While training a share ``dropout``
    of the entries of f is set to zero, and the others are enlarged to the same mean.
    """

    width: int
    hidden: int
    norm: str
    residual: bool
    activation: str
    sublayer: type[PositionMixing] | None = None
    token_hidden: int = 0
    initialisation: str = "lecun"
    branches: int = 1
    dropout: float = 0.0

    @nn.compact
    def __call__(self, h: Float[Array, "*rows D"], _: None) -> tuple:
        """Returns the stream after this block, twice: as the carry and as the output of a scan over depth."""
        if self.sublayer is not None:
            begin = (self.initialisation, self.branches)
            h = self._add(h, self.sublayer(self.token_hidden, self.activation, *begin, name="mixing"), "mixing_norm")
        initial = Initialisation(self.initialisation)

        def mlp(x: Array) -> Array:
            x = ACTIVATIONS[self.activation](initial.dense(x, self.hidden, "Dense_0"))
            return initial.dense(x, self.width, "Dense_1", self.branches)

        h = self._add(h, lambda x: by_row(mlp, x), "LayerNorm_0")
        return h, h

    def _add(self, h: Array, f: Callable[[Array], Array], norm: str) -> Array:
        x = f(nn.LayerNorm(name=norm)(h) if self.norm == "pre" else h)
        if self.dropout and self.has_rng("dropout"):
            x = nn.Dropout(self.dropout, deterministic=False)(x)
        x = h + x if self.residual else x
        return nn.LayerNorm(name=norm)(x) if self.norm == "post" else x


class ResidualStack(nn.Module):
    """Maps an input encoding through an embedding, ``depth`` blocks and a readout.

    Weights of the blocks are stacked along a leading layer axis (a scan over depth), so that compile time does not
    grow with depth. ``unroll`` blocks at a time are compiled as straight code: this is faster on a CPU and slower to
    compile, and changes neither the numbers nor the layout of the weights. Without a ``sublayer`` every row is mapped
    on its own; with one the stream is laid out as that module wants it, and ``token_hidden`` is the hidden width of an
    MLP over positions. ``tied`` lists the rows of the embedding that serve as readout, one for each output; if it is
    empty, the readout has its own weights. ``initialisation`` is one of ``INITIALISATIONS``. ``dropout`` acts where a
    random stream of that name is given. With ``positions`` > 0 a learned vector of each position is added to the
    embedding; they lie along the first axis of the stream if ``positions_first``, else along the last but one.
    """

    depth: int
    width: int
    hidden: int
    num_outputs: int
    norm: str = "pre"
    residual: bool = True
    activation: str = "gelu"
    unroll: int = 1
    sublayer: type[PositionMixing] | None = None
    token_hidden: int = 0
    tied: tuple[int, ...] = ()
    initialisation: str = "lecun"
    dropout: float = 0.0
    positions: int = 0
    positions_first: bool = False

    @nn.compact
    def __call__(self, encoding: Float[Array, "*rows F"], shift: Float[Array, "*rows D"] | None = None) -> tuple:
        """Returns (logits [*rows, num_outputs], stream [depth + 1, *rows, width]); stream[0] is the embedding.

        ``shift`` is added to the embedding; the derivative in it tells what a perturbation of the stream does.
        """
        initial = Initialisation(self.initialisation)
        embedding = nn.Dense(self.width, use_bias=False, kernel_init=initial.embedding(), name="embedding")
        h0 = by_row(embedding, encoding)
        if self.positions:
            code = self.param("positions", initial.embedding(), (self.positions, self.width))
            h0 = h0 + (code[:, None] if self.positions_first else code[None])
        h0 = h0 if shift is None else h0 + shift
        per_layer = {"variable_axes": {"params": 0}, "split_rngs": {"params": True, "dropout": True}}
        blocks = nn.scan(Block, **per_layer, length=self.depth, unroll=self.unroll)
        sizes = (self.width, self.hidden, self.norm, self.residual, self.activation, self.sublayer, self.token_hidden)
        branches = self.depth * (1 if self.sublayer is None else 2)
        h, stream = blocks(*sizes, self.initialisation, branches, self.dropout, name="blocks")(h0, None)
        x = h if self.norm == "none" else nn.LayerNorm(name="readout_norm")(h)
        if self.tied:
            rows = embedding.variables["params"]["kernel"][jnp.array(self.tied)]
            bias = self.param("readout_bias", nn.initializers.zeros_init(), (self.num_outputs,))
            logits = by_row(lambda x: x @ rows.T + bias[None], x)
        else:
            logits = by_row(lambda x: initial.dense(x, self.num_outputs, "readout"), x)
        return logits, jnp.concatenate([h0[None], stream])
