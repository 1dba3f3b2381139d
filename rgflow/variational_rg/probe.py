r"""What is recorded of a stack: receptive fields, hidden correlations and couplings, reconstructions, the model alone.

| record                       | dims                 | what it is                                                   |
|------------------------------|----------------------|--------------------------------------------------------------|
| radius, coherence,           | layer, unit          | of each receptive field, $r^1 = W^1$, $r^l = r^{l-1} W^l$    |
| participation                |                      |                                                              |
| centre, extent               | layer, unit, axis    | its place and rms extent along axis 0 and 1 of the lattice   |
| receptive_field              | layer, shown, site   | some of the fields themselves                                |
| dead_units                   | layer                | share of units whose field is zero                           |
| tiling                       | layer                | Clark-Evans ratio of the centres                             |
| hidden_coupling, ..._error   | layer                | nearest-neighbour pseudo-likelihood coupling of hidden draws |
| hidden_correlation_length    | layer                | second-moment length of hidden spins, in sites              |
| placed_coupling,             | layer                | the same two of majorities of blocks around the units' own   |
| placed_correlation_length    |                      | centres: what irregular places alone make of them            |
| hidden_correlation           | layer, distance      | normalised pair correlation over distance in sites           |
| reconstruction_error         | layer                | share of test spins of the wrong sign after up and down      |
| reconstruction               | layer, example, site | means of some test samples after up and down                 |
| model_energy, ..._error      | start                | free-running chains of the first machine: energy per site    |
| model_magnetization          | start                | m of the same: 0 unless the machine has chosen a sign        |
| model_squared_magnetization  | start                | $m^2$ of the same                                            |
| model_correlation            | distance             | $\langle s_0 s_r\rangle$ along the axes, of the same         |
| log_partition, ..._error     |                      | $\ln Z$ of the first machine by annealed importance sampling |
| effective_chains             |                      | how many chains of the annealing carry it                    |
| test_free_energy, ..._error  |                      | mean F(v) of the first machine over test samples             |

Hidden units are turned so that the sum of their field is positive, and count as spins at the centre of their field.
Free-running and annealed numbers are taken at the end alone, and are NaN before.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rgflow.probes.couplings import (
    axis_correlation,
    covariance,
    covariance_of_draws,
    nearest_neighbours,
    pseudo_coupling,
    pseudo_coupling_error,
    second_moment_length,
    signed,
)
from rgflow.probes.receptive_fields import compose, measure_fields, site_positions, tiling
from rgflow.protocol import Stream
from rgflow.types import Hypers, Key, Record
from rgflow.variational_rg.annealing import base_bias, log_partition_estimate
from rgflow.variational_rg.dynamics import StackState, Static, in_step
from rgflow.variational_rg.free_running import free_run
from rgflow.variational_rg.gibbs import hidden_means, reconstruct, sample_units
from rgflow.variational_rg.machine import Machine, free_energy, hidden_field, to_spins, to_units
from rgflow.variational_rg.task import unpack

BY_LAYER = (
    "dead_units",
    "tiling",
    "hidden_coupling",
    "hidden_coupling_error",
    "hidden_correlation_length",
    "placed_coupling",
    "placed_correlation_length",
    "reconstruction_error",
)
BY_START = ("energy", "energy_error", "magnetization", "squared_magnetization")
BY_UNIT = ("radius", "participation", "coherence")
DIMS = {
    **dict.fromkeys(BY_LAYER, ("layer",)),
    **dict.fromkeys(BY_UNIT, ("layer", "unit")),
    **dict.fromkeys(("centre", "extent"), ("layer", "unit", "axis")),
    "receptive_field": ("layer", "shown", "site"),
    "reconstruction": ("layer", "example", "site"),
    "hidden_correlation": ("layer", "distance"),
    "model_correlation": ("distance",),
    **dict.fromkeys((f"model_{name}" for name in BY_START), ("start",)),
}

LATEST = ("receptive_field", "reconstruction")
"""Records whose last values alone are kept in the results."""

EXAMPLES = 4
"""Test samples whose reconstructions are kept."""


def distances(size: int) -> tuple[int, ...]:
    """Returns the distances at which correlations are recorded, in sites: 1 to half the side.

    >>> distances(8)
    (1, 2, 3, 4)
    """
    return tuple(range(1, size // 2 + 1))


def padded(values: Sequence[Float[Array, "_ ..."]], width: int) -> Float[Array, "layers width ..."]:
    """Returns the rows of every layer in one array, with NaN behind those of narrower ones."""
    pad = lambda x: jnp.full((width, *x.shape[1:]), jnp.nan).at[: len(x)].set(x)  # noqa: E731
    return jnp.stack([pad(x[:width]) for x in values])


def field_records(static: Static, weights: Sequence[Float[Array, "_ _"]]) -> tuple[Record, list[Array], list[Array]]:
    """Returns what is recorded of the fields, and of every layer the units' centres and signs."""
    fields = compose(weights)
    found = [measure_fields(field, static.size) for field in fields]
    width = max(static.layers)
    record = {name: padded([getattr(one, name) for one in found], width) for name in (*BY_UNIT, "centre", "extent")}
    record["receptive_field"] = padded([field.T for field in fields], static.shown)
    record["dead_units"] = jnp.stack([jnp.mean(jnp.isnan(one.radius)) for one in found])
    record["tiling"] = jnp.stack([tiling(one.centre, static.size) for one in found])
    return record, [one.centre for one in found], [jnp.sum(field, axis=0) for field in fields]


def placed_majority(
    key: Key, spins: Float[Array, "B sites"], centres: Float[Array, "units 2"], side: int, block: int
) -> Float[Array, "B units"]:
    r"""Returns $\mathrm{sign} \sum s_i$ over the block of sites whose middle is nearest to each centre, ties at random.

    Where the centres are those of a regular lattice of blocks this is the majority rule.

    >>> spins, centre = jnp.ones((1, 16)).at[0, 0].set(-1.0), jnp.array([[0.5, 0.4]])
    >>> placed_majority(jax.random.key(0), spins, centre, 4, 2).tolist()
    [[1.0]]
    """
    corners = jnp.round(centres - (block - 1) / 2)
    inside = jnp.all(jnp.mod(site_positions(side)[:, None, :] - corners[None, :, :], side) < block, axis=-1)
    total = jnp.matmul(spins, inside.astype(spins.dtype), precision=jax.lax.Precision.HIGHEST)
    return jnp.where(total == 0, jax.random.rademacher(key, total.shape, spins.dtype), jnp.sign(total))


def hidden_records(
    static: Static, key: Key, machines: Sequence[Machine], visible: Array, centres: list[Array], signs: list[Array]
) -> Record:
    """Returns couplings, lengths and correlations of hidden spins that were drawn layer by layer from test samples."""
    rows: list[Record] = []
    lattices = to_spins(visible, static.units)
    for number, (machine, centre, sign) in enumerate(zip(machines, centres, signs, strict=True)):
        means = to_spins(hidden_means(machine, visible), machine.units)
        field = hidden_field(machine, visible)
        visible = sample_units(jax.random.fold_in(key, number), field, machine.units)
        spins, neighbours = signed(to_spins(visible, machine.units), sign), nearest_neighbours(centre, static.size)
        pairs = covariance_of_draws(signed(means, sign))
        coupling, spacing = pseudo_coupling(spins, neighbours), static.size / len(centre) ** 0.5
        tie_key = jax.random.fold_in(key, len(machines) + number)
        placed = placed_majority(tie_key, lattices, centre, static.size, round(spacing))
        rows.append(
            {
                "hidden_coupling": coupling,
                "hidden_coupling_error": pseudo_coupling_error(spins, neighbours, coupling),
                "hidden_correlation_length": second_moment_length(pairs, centre, static.size, spacing=spacing),
                "placed_coupling": pseudo_coupling(placed, neighbours),
                "placed_correlation_length": second_moment_length(
                    covariance(placed), centre, static.size, spacing=spacing
                ),
                "hidden_correlation": axis_correlation(
                    pairs, centre, static.size, jnp.array(distances(static.size), jnp.float32)
                ),
            }
        )
    return {name: jnp.stack([row[name] for row in rows]) for name in rows[0]}


def reconstruction_records(static: Static, machines: Sequence[Machine], visible: Array) -> Record:
    """Returns errors and examples of the means that come back from every layer."""
    means = [to_spins(reconstruct(machines[: layer + 1], visible), static.units) for layer in range(len(static.layers))]
    spins = to_spins(visible, static.units)
    return {
        "reconstruction_error": jnp.stack([jnp.mean(mean * spins <= 0) for mean in means]),
        "reconstruction": jnp.stack([mean[:EXAMPLES] for mean in means]),
    }


def model_records(static: Static, key: Key, machine: Machine, visible: Array) -> Record:
    """Returns what the first machine says by itself: free-running chains and its partition function."""
    run_key, anneal_key = jax.random.split(key)
    samples = visible[: static.chains // 2]
    run = free_run(run_key, machine, samples, static.size, static.chain_sweeps)
    bias = base_bias(jnp.mean(visible, axis=0), static.units)
    annealed = log_partition_estimate(anneal_key, machine, static.chains, static.temperatures, bias)
    return {
        **{f"model_{name}": value for name, value in run._asdict().items()},
        "log_partition": annealed.value,
        "log_partition_error": annealed.standard_error,
        "effective_chains": annealed.effective_chains,
    }


def probe(static: Static, key: Key, state: StackState, hypers: Hypers) -> Record:
    """Reads one stack on the test samples; machines not trained yet are recorded as they are."""
    draw_key, model_key = jax.random.split(jax.random.fold_in(key, Stream.PROBE))
    visible = to_units(unpack(hypers["test_samples"], static.sites), static.units)
    record, centres, signs = field_records(static, [machine.weights for machine in state.machines])
    record |= hidden_records(static, draw_key, state.machines, visible, centres, signs)
    record |= reconstruction_records(static, state.machines, visible)
    energies = free_energy(state.machines[0], visible)
    record["test_free_energy"] = jnp.mean(energies)
    record["test_free_energy_error"] = jnp.std(energies) / len(energies) ** 0.5
    model = lambda machine: model_records(static, model_key, machine, visible)  # noqa: E731
    shapes = jax.eval_shape(model, state.machines[0])
    nothing = lambda machine: jax.tree.map(lambda x: jnp.full(x.shape, jnp.nan, x.dtype), shapes)  # noqa: E731
    at_end = in_step(state.steps) >= static.steps_per_machine * len(static.layers)
    return record | jax.lax.cond(at_end, model, nothing, state.machines[0])
