"""Dense networks that narrow by halves: an encoder, and behind it a mirrored decoder or one linear readout."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from rgflow.nets.activations import ACTIVATIONS


class Bottleneck(nn.Module):
    r"""Maps N inputs through layers of ``widths`` units, $f_l = \phi(W_l f_{l-1} + b_l)$, to ``num_outputs`` numbers.

    The last layer holds the features. The ``head`` behind it is a ``decoder``, which runs through the same widths
    backwards, or a ``readout``, which is linear. Both begin with an affine map of the features, so that $f \to f B$ can
    be undone there. ``activation`` is any function of an array, such as one of :func:`one_of`.
    """

    widths: tuple[int, ...]
    num_outputs: int
    activation: Callable[[Array], Array]
    head: str

    def setup(self) -> None:
        """Defines the layers; linen calls this."""
        behind = self.widths[-2::-1] if self.head == "decoder" else ()
        self.encoder = [nn.Dense(width) for width in self.widths]
        self.decoder = [nn.Dense(width) for width in (*behind, self.num_outputs)]

    def encode(self, x: Float[Array, "B N"]) -> list[Float[Array, "B _"]]:
        """Returns the outputs of every layer, the features last."""
        layers = []
        for dense in self.encoder:
            x = self.activation(dense(x))
            layers.append(x)
        return layers

    def decode(self, features: Float[Array, "B M"]) -> Float[Array, "B O"]:
        """Returns the outputs for given features."""
        x = self.decoder[0](features)
        for dense in self.decoder[1:]:
            x = dense(self.activation(x))
        return x

    def __call__(self, x: Float[Array, "B N"]) -> Float[Array, "B O"]:
        """Returns the outputs."""
        return self.decode(self.encode(x)[-1])


def one_of(names: Sequence[str], index: Int[Array, ""]) -> Callable[[Array], Array]:
    """Returns the activation that a traced index selects: one program serves all names and computes all of them.

    >>> one_of(("tanh", "relu"), jnp.array(1))(jnp.array([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """
    return lambda x: jax.lax.select_n(
        jnp.broadcast_to(jnp.asarray(index, jnp.int32), x.shape), *(ACTIVATIONS[name](x) for name in names)
    )


def halved(num_sites: int, halvings: int) -> tuple[int, ...]:
    """Returns the widths N/2, N/4, ... of an encoder; raises ValueError where a width cannot be halved.

    >>> halved(32, 2)
    (16, 8)
    """
    if halvings < 1 or num_sites < 1 or num_sites % 2**halvings:
        raise ValueError(
            f"num_sites = {num_sites}: must be divisible by 2**halvings = {2 ** max(halvings, 0)}, halvings at least 1"
        )
    return tuple(num_sites // 2**level for level in range(1, halvings + 1))


def with_kernel(params: dict, kernel: Float[Array, "M _"]) -> dict:
    """Returns parameters of a :class:`Bottleneck` with another first kernel behind the features."""
    return {**params, "decoder_0": {**params["decoder_0"], "kernel": kernel}}
