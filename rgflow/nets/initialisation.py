r"""How the weights of a network begin: the law of an embedding, of a linear map and of its bias.

* ``lecun``: every matrix is normal with variance 1 / fan_in, biases are zero.
* ``torch``: embeddings are N(0, 1); matrices and biases are uniform in $\pm 1/\sqrt{\mathrm{fan\_in}}$, as in the
  layers of PyTorch. A stream begins larger by a factor of the root of fan_in, and blocks add less to it.
* ``scaled``: ``lecun``, with the last matrix of each residual branch smaller by $1/\sqrt{\text{branches}}$, so that
  the stream of a deep stack begins with the same size at any depth.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rgflow.types import Key

Initialiser = Callable[..., Array]


def uniform_of(fan_in: int) -> Initialiser:
    r"""Returns the initialiser of a bias that is uniform in $\pm 1/\sqrt{\mathrm{fan\_in}}$.

    >>> bool(abs(uniform_of(4)(jax.random.key(0), (99,))).max() <= 0.5)
    True
    """

    def draw(key: Key, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -1, 1) / jnp.sqrt(fan_in)

    return draw


@dataclasses.dataclass(frozen=True)
class Initialisation:
    """The laws of one kind of initialisation; each method returns an initialiser (key, shape) -> array."""

    name: str

    def embedding(self) -> Initialiser:
        """Of a table of vectors [symbols, D]."""
        return nn.initializers.normal(1.0) if self.name == "torch" else nn.initializers.lecun_normal()

    def kernel(self, in_axis: int = -2, out_axis: int = -1, branches: int = 1) -> Initialiser:
        """Of a matrix; ``branches`` counts the residual branches of the stack where it is the last of one."""
        if self.name == "torch":
            return nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform", in_axis, out_axis)
        scale = 1 / branches if self.name == "scaled" else 1.0
        return nn.initializers.variance_scaling(scale, "fan_in", "truncated_normal", in_axis, out_axis)

    def bias(self, fan_in: int) -> Initialiser:
        """Of the bias behind a matrix with ``fan_in`` inputs."""
        return uniform_of(fan_in) if self.name == "torch" else nn.initializers.zeros_init()

    def dense(self, x: Float[Array, "*rows F"], features: int, name: str | None, branches: int = 1) -> Array:
        """Returns a linear map of the rows of x; to be called in a compact method, whose module then owns it."""
        kernel, bias = self.kernel(branches=branches), self.bias(x.shape[-1])
        return nn.Dense(features, kernel_init=kernel, bias_init=bias, name=name)(x)


INITIALISATIONS = ("lecun", "torch", "scaled")
