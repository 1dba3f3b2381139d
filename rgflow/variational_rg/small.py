r"""One run of a machine small enough to enumerate: learning by the exact gradient, by CD-k or by PCD.

The data are exact: the law of a periodic square lattice of at most 16 sites, its whole table for the exact gradient,
draws from it for the others. Whole machines are recorded, so that identities can be checked on them in float64.
"""

import dataclasses
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rgflow.exact.enumeration import log_weights, spin_states, torus_couplings
from rgflow.protocol import Stream
from rgflow.samplers.markov import interval_ends
from rgflow.types import Hypers, Info, Key, Record
from rgflow.variational_rg.learning import contrast, exact_contrast, init_machine, update
from rgflow.variational_rg.machine import Machine, free_energy, to_units

ALGORITHMS = ("exact", "cd", "pcd")
DIMS = {
    "machine_weights": ("visible", "hidden"),
    "machine_visible_bias": ("visible",),
    "machine_hidden_bias": ("hidden",),
}
LARGEST_SITES = 16


@dataclasses.dataclass(frozen=True)
class Static:
    """Sites a side, hidden units, kinds and sizes."""

    size: int
    hidden: int
    units: str
    algorithm: str
    sweeps: int
    mean_field: bool
    l1_method: str
    batch: int


@flax.struct.dataclass
class SmallState:
    """The machine, its velocity and the persistent chains (or nothing)."""

    machine: Any
    velocity: Any
    chain: Any


def hamiltonian(coupling: float | int, size: int) -> Float[np.ndarray, " states"]:
    r"""Returns $H(v) = -K\sum_{\langle ij\rangle} v_i v_j$ of all states of the periodic square, in nats.

    In the order of :func:`rgflow.exact.enumeration.spin_states`. Raises ValueError for more than 20 sites.
    """
    return -log_weights(torus_couplings(coupling, size, size))


def data_law(coupling: float | int, size: int) -> Float[np.ndarray, " states"]:
    r"""Returns the exact probabilities $P(v) = e^{-H(v)}/Z$ of all states of the periodic square."""
    weights = -hamiltonian(coupling, size)
    return np.exp(weights - np.logaddexp.reduce(weights))


def _states(static: Static) -> Float[Array, "states sites"]:
    return to_units(jnp.asarray(spin_states(static.size**2), jnp.float32), static.units)


def init(static: Static, key: Key, hypers: Hypers) -> SmallState:
    """Draws small weights and, where chains persist, random starts of them."""
    machine_key, chain_key = jax.random.split(jax.random.fold_in(key, Stream.INIT))
    sites = static.size**2
    machine = init_machine(machine_key, sites, static.hidden, static.units, hypers["weight_deviation"])
    start = to_units(jax.random.rademacher(chain_key, (static.batch, sites), jnp.float32), static.units)
    chain = start if static.algorithm == "pcd" else ()
    return SmallState(machine, jax.tree.map(jnp.zeros_like, machine), chain)


def step(static: Static, key: Key, state: SmallState, hypers: Hypers) -> tuple[SmallState, Info]:
    """Takes one step of learning; reports the relative entropy of the machine before it, exactly, in nats."""
    draw_key, sample_key = jax.random.split(jax.random.fold_in(key, Stream.DATA))
    states, law, chain = _states(static), hypers["law"], state.chain
    if static.algorithm == "exact":
        gradient = exact_contrast(state.machine, law, states)
    else:
        # In (0, 1], so that the first end at or above it belongs to a state with a probability.
        uniform = 1 - jax.random.uniform(draw_key, (static.batch,), jnp.float32)
        drawn = jnp.searchsorted(interval_ends(law[None])[0], uniform)
        persistent = chain if static.algorithm == "pcd" else None
        found = contrast(sample_key, state.machine, states[drawn], static.sweeps, persistent, static.mean_field)
        gradient, chain = found.gradient, chain if persistent is None else found.chain
    rates = (hypers["learning_rate"], hypers["final_momentum"], hypers["l1"])
    machine, velocity = update(state.machine, state.velocity, gradient, *rates, static.l1_method)
    return SmallState(machine, velocity, chain), {"relative_entropy": _relative_entropy(state.machine, law, states)}


def probe(static: Static, key: Key, state: SmallState, hypers: Hypers) -> Record:
    """Returns the machine itself."""
    del static, key, hypers
    machine = state.machine
    return dict(zip(DIMS, (machine.weights, machine.visible_bias, machine.hidden_bias), strict=True))


def _relative_entropy(
    machine: Machine, law: Float[Array, " states"], states: Float[Array, "states sites"]
) -> Float[Array, ""]:
    log_model = jax.nn.log_softmax(-free_energy(machine, states))
    return jnp.sum(law * (jnp.log(law) - log_model))
