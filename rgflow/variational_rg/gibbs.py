r"""Block Gibbs sampling and mean-field passes of restricted Boltzmann machines, batched, on the device.

Given one layer the units of the other are independent, $p(h_j = 1|v) = \sigma(2x_j)$ for spins and $\sigma(x_j)$ for
binary units with $x = b + W^T v$ and $\sigma(x) = 1/(1 + e^{-x})$, so that a sweep draws each layer at once: two
products of matrices and one uniform number per unit. States are floats of the dtype of the weights, $\pm1$ or 0/1.
Key: HS2006 = Hinton and Salakhutdinov, Science 313 (2006) 504, for the stack of machines.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from rgflow.samplers.threefry import random_uniform
from rgflow.types import Key
from rgflow.variational_rg.machine import Machine, hidden_field, mean_unit, visible_field

# Mapped over the batch rather than broadcast, which strict rank promotion allows; it compiles to one matrix product.
_hidden_fields: Callable[..., Any] = jax.vmap(hidden_field, in_axes=(None, 0))
_visible_fields: Callable[..., Any] = jax.vmap(visible_field, in_axes=(None, 0))


def sample_units(key: Key, field: Float[Array, "*units"], units: str) -> Float[Array, "*units"]:
    r"""Draws independent units in their fields, $p(s) \propto e^{xs}$ with s in $\{-1, 1\}$ or $\{0, 1\}$.

    >>> sample_units(jax.random.key(0), jnp.array([-50.0, 50.0]), "spin").tolist()
    [-1.0, 1.0]
    >>> sample_units(jax.random.key(0), jnp.array([-50.0, 50.0]), "binary").tolist()
    [0.0, 1.0]
    """
    spin = units == "spin"
    probability = jax.nn.sigmoid(2 * field if spin else field)
    fast = field.dtype == jnp.float32
    uniforms = random_uniform(key, field.shape) if fast else jax.random.uniform(key, field.shape, field.dtype)
    raised = uniforms < probability
    return jnp.where(raised, 1.0, -1.0 if spin else 0.0).astype(field.dtype)


def hidden_means(machine: Machine, visible: Float[Array, "B V"]) -> Float[Array, "B H"]:
    r"""Returns $\langle h_j\rangle$ given visible states or means: $\tanh x_j$ or $\sigma(x_j)$, $x = b + W^T v$."""
    return jnp.asarray(mean_unit(_hidden_fields(machine, visible), machine.units))


def visible_means(machine: Machine, hidden: Float[Array, "B H"]) -> Float[Array, "B V"]:
    r"""Returns $\langle v_i\rangle$ given hidden states or means: $\tanh y_i$ or $\sigma(y_i)$, $y = c + W h$."""
    return jnp.asarray(mean_unit(_visible_fields(machine, hidden), machine.units))


def sample_hidden(key: Key, machine: Machine, visible: Float[Array, "B V"]) -> Float[Array, "B H"]:
    r"""Draws hidden states from $p(h|v) \propto \prod_j e^{x_j h_j}$, $x = b + W^T v$."""
    return sample_units(key, _hidden_fields(machine, visible), machine.units)


def sample_visible(key: Key, machine: Machine, hidden: Float[Array, "B H"]) -> Float[Array, "B V"]:
    r"""Draws visible states from $p(v|h) \propto \prod_i e^{y_i v_i}$, $y = c + W h$."""
    return sample_units(key, _visible_fields(machine, hidden), machine.units)


def gibbs_sweep(
    key: Key, machine: Machine, visible: Float[Array, "B V"]
) -> tuple[Float[Array, "B V"], Float[Array, "B H"]]:
    r"""Draws $h \sim p(h|v)$, then $v' \sim p(v'|h)$, and returns (v', h), which leaves $p(v, h)$ as it is."""
    up_key, down_key = jax.random.split(key)
    hidden = sample_hidden(up_key, machine, visible)
    return sample_visible(down_key, machine, hidden), hidden


def gibbs_chain(
    key: Key, machine: Machine, visible: Float[Array, "B V"], sweeps: int | Int[Array, ""]
) -> Float[Array, "B V"]:
    r"""Returns the visible states after $k$ sweeps, $v_{t+1} \sim p(v|h_t)$ with $h_t \sim p(h|v_t)$.

    The number of sweeps may be traced; with 0 the states come back unchanged. Every row is a chain of its own. Hidden
    states that go with the result are drawn by :func:`sample_hidden`.
    """

    def sweep(index: Array, states: Array) -> Array:
        return gibbs_sweep(jax.random.fold_in(key, index), machine, states)[0]

    return jax.lax.fori_loop(0, sweeps, sweep, visible)


def reconstruct(machines: Sequence[Machine], visible: Float[Array, "B V"]) -> Float[Array, "B V"]:
    r"""Returns the visible means that a stack sees: up through the means of every layer and back down. Ref: HS2006."""
    for machine in machines:
        visible = hidden_means(machine, visible)
    for machine in reversed(machines):
        visible = visible_means(machine, visible)
    return visible
