"""The sub-layers that let positions of a sequence exchange information; none moves the stream's axes."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from rgflow.nets.activations import ACTIVATIONS
from rgflow.nets.initialisation import Initialisation


class PositionMixing(nn.Module):
    """A sub-layer of a block that maps a stream to an update of the same shape.

    A kind that holds an MLP over the positions gives it ``hidden`` units and an ``activation``; others read neither.
    The weights begin as ``initialisation`` says in a stack of ``branches`` residual branches.
    """

    hidden: int
    activation: str
    initialisation: str = "lecun"
    branches: int = 1


class TokenMixing(PositionMixing):
    """An MLP along the positions, the same for every channel, of a stream laid out [T, B, D].

    With positions in front, mixing tokens is one matrix product from the left and mixing channels one from the right,
    so that the stream is never transposed.
    """

    @nn.compact
    def __call__(self, h: Float[Array, "T B D"]) -> Float[Array, "T B D"]:
        r"""Returns $W_2\,\phi(W_1 h + b_1) + b_2$, the products over the positions."""
        x = ACTIVATIONS[self.activation](self._from_the_left("in", self.hidden, h))
        return self._from_the_left("out", h.shape[0], x)

    def _from_the_left(self, name: str, outputs: int, x: Float[Array, "S B D"]) -> Float[Array, "outputs B D"]:
        initial = Initialisation(self.initialisation)
        of_kernel = initial.kernel(in_axis=-1, out_axis=-2, branches=self.branches if name == "out" else 1)
        kernel = self.param(f"{name}_kernel", of_kernel, (outputs, x.shape[0]))
        bias = self.param(f"{name}_bias", initial.bias(x.shape[0]), (outputs,))
        # The product takes one flat matrix: otherwise the compiler transposes the stream in the backward pass.
        mixed = kernel @ x.reshape(x.shape[0], -1)
        return mixed.reshape(outputs, *x.shape[1:]) + bias[:, None, None]


class Attention(PositionMixing):
    """Softmax attention with one head over the positions of a stream laid out [B, T, D], without any position code."""

    @nn.compact
    def __call__(self, h: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        r"""Returns $\mathrm{softmax}(q k^\top / \sqrt d)\, v\, W$; the order of the other positions plays no part."""
        width, initial = h.shape[-1], Initialisation(self.initialisation)
        q, k, v = (initial.dense(h, width, name) for name in ("query", "key", "value"))
        scores = jnp.einsum("btd,bsd->bts", q, k) / jnp.sqrt(float(width))
        seen = jnp.einsum("bts,bsd->btd", nn.softmax(scores), v)
        return initial.dense(seen, width, "out", self.branches)
