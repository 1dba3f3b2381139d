r"""One run of a stack: machines trained one after the other, each on what the machine below makes of the data.

Machine l takes ``steps_per_machine`` steps of contrastive divergence on batches of the data, passed up through the
machines below it as means or draws; then machine l + 1 starts. Batches follow each other in a fixed order: samples are
independent, so a shuffle would draw the same law.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from rgflow.protocol import Stream
from rgflow.types import Hypers, Info, Key
from rgflow.variational_rg.gibbs import hidden_means, sample_hidden
from rgflow.variational_rg.learning import contrast, init_machine, update
from rgflow.variational_rg.machine import Machine, to_units
from rgflow.variational_rg.task import unpack

PASS_UP = ("means", "draws")


@dataclasses.dataclass(frozen=True)
class Static:
    """Sites a side, hidden units of every machine, sizes and kinds; what is traced is in the hypers."""

    size: int
    layers: tuple[int, ...]
    units: str
    algorithm: str
    sweeps: int
    mean_field: bool
    l1_method: str
    pass_up: str
    batch: int
    steps_per_machine: int
    shown: int
    chains: int
    chain_sweeps: int
    temperatures: int

    @property
    def sites(self) -> int:
        """Visible units of the first machine."""
        return self.size**2

    @property
    def widths(self) -> tuple[int, ...]:
        """Units of every layer, the lattice first."""
        return (self.sites, *self.layers)


@flax.struct.dataclass
class StackState:
    """All machines, their velocities, the persistent chains of each (or nothing), and steps done."""

    machines: tuple[Machine, ...]
    velocities: tuple[Machine, ...]
    chains: tuple[Any, ...]
    steps: Any


@jax.custom_batching.custom_vmap
def in_step(number: Int[Array, ""]) -> Int[Array, ""]:
    """Returns a number that is the same in all live runs of a batch, as one number even under vmap.

    Runs of one program take their steps together, and only those that died fall behind: the largest number is that of
    the live ones. A branch on it stays a branch, where one on a batched number would compute every side for every run.
    """
    return number


@in_step.def_vmap
def _(axis_size: int, in_batched: list[bool], number: Int[Array, "..."]) -> tuple[Int[Array, ""], bool]:
    del axis_size
    return in_step(jnp.max(number) if in_batched[0] else number), False


def init(static: Static, key: Key, hypers: Hypers) -> StackState:
    """Draws small weights, zero biases and, where chains persist, random starts of them."""
    keys = jax.random.split(jax.random.fold_in(key, Stream.INIT), 2 * len(static.layers))
    pairs = zip(static.widths[:-1], static.layers, strict=True)
    machines = tuple(
        init_machine(k, visible, hidden, static.units, hypers["weight_deviation"])
        for k, (visible, hidden) in zip(keys, pairs, strict=False)
    )
    starts = tuple(
        to_units(jax.random.rademacher(k, (static.batch, width), jnp.float32), static.units)
        for k, width in zip(keys[len(static.layers) :], static.widths, strict=False)
    )
    return StackState(
        machines=machines,
        velocities=jax.tree.map(jnp.zeros_like, machines),
        chains=starts if static.algorithm == "pcd" else tuple(() for _ in machines),
        steps=jnp.zeros((), jnp.int32),
    )


def pass_up(
    static: Static, key: Key, machines: tuple[Machine, ...], visible: Float[Array, "B sites"]
) -> Float[Array, "B units"]:
    """Returns what trained machines hand to the next one for visible states: means of means, or draws of draws."""
    for number, machine in enumerate(machines):
        if static.pass_up == "draws":
            visible = sample_hidden(jax.random.fold_in(key, number), machine, visible)
        else:
            visible = hidden_means(machine, visible)
    return visible


def batch_of(static: Static, steps: Int[Array, ""], hypers: Hypers) -> Float[Array, "B sites"]:
    """Returns the training samples of a step as values of units: consecutive rows, over and over."""
    batches = hypers["samples"].shape[0] // static.batch
    start = (steps % static.steps_per_machine % batches) * static.batch
    packed = jax.lax.dynamic_slice_in_dim(hypers["samples"], start, static.batch)
    return to_units(unpack(packed, static.sites), static.units)


def _train(static: Static, layer: int) -> Callable[..., tuple[StackState, Info]]:
    """Returns the step that trains one machine."""

    def train(key: Key, state: StackState, hypers: Hypers) -> tuple[StackState, Info]:
        up_key, sample_key = jax.random.split(jax.random.fold_in(key, Stream.NOISE))
        steps = in_step(state.steps)
        visible = pass_up(static, up_key, state.machines[:layer], batch_of(static, steps, hypers))
        machine, chain = state.machines[layer], state.chains[layer]
        persistent = chain if static.algorithm == "pcd" else None
        found = contrast(sample_key, machine, visible, static.sweeps, persistent, static.mean_field)
        late = steps % static.steps_per_machine >= hypers["momentum_steps"]
        momentum = jnp.where(late, hypers["final_momentum"], hypers["momentum"])
        rates = (hypers["learning_rate"], momentum, hypers["l1"])
        machine, velocity = update(machine, state.velocities[layer], found.gradient, *rates, static.l1_method)
        put = lambda values, value: (*values[:layer], value, *values[layer + 1 :])  # noqa: E731
        chains = state.chains if persistent is None else put(state.chains, found.chain)
        after = StackState(put(state.machines, machine), put(state.velocities, velocity), chains, state.steps + 1)
        return after, {"reconstruction_loss": found.error}

    return train


def step(static: Static, key: Key, state: StackState, hypers: Hypers) -> tuple[StackState, Info]:
    """Takes one step of the machine whose turn it is; reports the squared error of its one-sweep reconstructions."""
    layer = in_step(state.steps) // static.steps_per_machine
    return jax.lax.switch(layer, [_train(static, number) for number in range(len(static.layers))], key, state, hypers)
