"""Names of activation functions, as configs spell them."""

from collections.abc import Callable

from jax import nn

ACTIVATIONS: dict[str, Callable] = {
    "gelu": nn.gelu,
    "relu": nn.relu,
    "tanh": nn.tanh,
    "identity": lambda x: x,
}
