r"""The Ising chain as an experiment of one run: sweeps of periodic square lattices, means of observables as records.

$p(s) \propto e^{K \sum_{\langle ij\rangle} s_i s_j}$. A run holds an even number of independent lattices, the walkers:
half of them start from random spins, half from aligned ones, so that each record itself can show whether the chain has
forgotten its start. A record is the mean over all sweeps since the record before (NaN at step 0, before any):

| record                        | dims                         | mean of                                               |
|-------------------------------|------------------------------|-------------------------------------------------------|
| chain_energy                  | start                        | $u$ per site in units of J                            |
| chain_energy_square           | start                        | $(u - u_0)^2$ of single lattices, $u_0$ by Kaufman    |
| chain_absolute_magnetization  | start                        | $|m|$ per site                                        |
| chain_squared_magnetization   | start                        | $m^2$                                                 |
| chain_fourth_magnetization    | start                        | $m^4$                                                 |
| chain_even, chain_odd         | lattice, even / odd          | $x_k$, operators of the k times blocked lattice       |
| chain_even_within, ...        | level, even, even_other      | $x_{k+1} x_{k+1}^T$                                   |
| chain_even_between, ...       | level, even, even_other      | $x_{k+1} x_k^T$                                       |

$x_k = (S_k - N_k r)/\sqrt{N_k}$ with S_k of :mod:`rgflow.probes.monte_carlo_rg` on the $N_k$ sites and r a constant.
Scaled and shifted so, moments are of order 1 and float32 sums of them keep their digits; connected correlations do not
see the shift, and the scale makes $T = \sqrt{N_k/N_{k+1}}\, \langle xx^T\rangle_c^{-1} \langle xx^T\rangle_c$.
Key: Swendsen1979 = Phys. Rev. Lett. 42 (1979) 859.
"""

import dataclasses
import itertools
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int8

from rgflow.exact.ising import axis_correlation_length, onsager_energy, spontaneous_magnetization
from rgflow.exact.torus import kaufman_energy, kaufman_specific_heat
from rgflow.probes.monte_carlo_rg import SMALLEST_SIZE, even_operators, odd_operators
from rgflow.protocol import Stream
from rgflow.samplers.blocks import block_majority
from rgflow.samplers.square import STARTS, SWEEPS, observe, start_spins
from rgflow.types import Config, Hypers, Info, Key, Record

OPERATORS = {"even": even_operators, "odd": odd_operators}

SHIFTS = {"even": (1.414, 1.273, 0.6), "odd": (0.0, 0.0)}
"""Operators per site near the critical point; any numbers give the same exponents, close ones keep more digits."""

DIMS = {
    **{
        f"chain_{name}": ("start",)
        for name in (
            "energy",
            "energy_square",
            "absolute_magnetization",
            "squared_magnetization",
            "fourth_magnetization",
        )
    },
    **{f"chain_{family}": ("lattice", family) for family in OPERATORS},
    **{f"chain_{f}_{part}": ("level", f, f"{f}_other") for f in OPERATORS for part in ("within", "between")},
}

EVEN, ODD = ("nearest", "diagonal", "plaquette"), ("spin", "triple")
COORDS = {"start": STARTS, "even": EVEN, "even_other": EVEN, "odd": ODD, "odd_other": ODD}


@dataclasses.dataclass(frozen=True)
class Static:
    """Sites a side, lattices of a run, ``swendsen_wang`` or ``heat_bath``, recorded block-spin steps (or 0)."""

    size: int
    walkers: int
    method: str = "swendsen_wang"
    levels: int = 0

    def __post_init__(self) -> None:
        """Refuses what cannot run."""
        if self.method not in SWEEPS:
            raise ValueError(f"lattice.method = {self.method!r}: must be one of {', '.join(SWEEPS)}")
        if self.size < 2 or (self.method == "heat_bath" and self.size % 2):
            raise ValueError(f"size = {self.size}: must be at least 2, and even for heat_bath")
        if self.walkers < 2 or self.walkers % 2:
            raise ValueError(f"lattice.walkers = {self.walkers}: must be even and at least 2")
        blocks = 2**self.levels if self.levels >= 0 else 0
        if not blocks or (self.levels and (self.size % blocks or self.size // blocks < SMALLEST_SIZE)):
            raise ValueError(
                f"lattice.levels = {self.levels}: must leave a whole number of at least {SMALLEST_SIZE} sites a side "
                f"of the {self.size}"
            )


@flax.struct.dataclass
class ChainState:
    """Spins [walkers, side, side] of which the first half started hot, steps done, sums since the last record."""

    spins: Any
    steps: Any
    count: Any
    sums: Any


def static_of(config: Config) -> Static:
    """Returns what fixes the program of a chain. Raises ValueError as :class:`Static`."""
    return Static(config.size, config.lattice.walkers, config.lattice.method, config.lattice.levels)


def hypers_of(config: Config) -> dict[str, Any]:
    """Returns coupling, sweeps between records and the energy around which squares are taken."""
    centre = kaufman_energy(config.coupling, config.size, config.size)
    return {"coupling": float(config.coupling), "interval": schedule(config)[1], "energy_centre": float(centre)}


def schedule(config: Config) -> tuple[int, ...]:
    """Returns the start and the steps of the records, evenly spaced; ValueError unless the records divide the steps."""
    steps, records = config.lattice.steps, config.lattice.records
    if records < 1 or steps < records or steps % records:
        raise ValueError(f"lattice.steps, records = {steps}, {records}: the records must divide the steps")
    return tuple(range(0, steps + 1, steps // records))


def reference(config: Config) -> dict[str, float]:
    """Returns exact values of the torus (Kaufman) and of the infinite lattice; walkers per start."""
    coupling, size = float(config.coupling), config.size
    return {
        "kaufman_energy": float(kaufman_energy(coupling, size, size)),
        "kaufman_specific_heat": float(kaufman_specific_heat(coupling, size, size)),
        "onsager_energy": onsager_energy(coupling),
        "onsager_magnetization": spontaneous_magnetization(coupling),
        "correlation_length": axis_correlation_length(coupling),
        "walkers_per_start": float(config.lattice.walkers // 2),
    }


def init(static: Static, key: Key, hypers: Hypers) -> ChainState:
    """Draws the starts: the first half of the walkers random, the second half aligned."""
    key = jax.random.fold_in(key, Stream.INIT)
    starts = [start_spins(key, static.size, static.walkers // 2, start) for start in STARTS]
    spins = jnp.concatenate(starts)
    shapes = jax.eval_shape(lambda key, spins: _measure(static, key, spins, hypers), key, spins)
    sums = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    return ChainState(spins, jnp.zeros((), jnp.int32), jnp.zeros(()), sums)


def step(static: Static, key: Key, state: ChainState, hypers: Hypers) -> tuple[ChainState, Info]:
    """Sweeps every walker once and adds what it then shows to the sums; nothing is reported but the records."""
    sweep_key, tie_key = jax.random.split(jax.random.fold_in(key, Stream.NOISE))
    spins = SWEEPS[static.method](sweep_key, state.spins, hypers["coupling"])
    now = _measure(static, tie_key, spins, hypers)
    # A record has just been taken, or none has: sums start again, wherever the engine cut its chunks.
    fresh = state.steps % hypers["interval"] == 0
    sums = jax.tree.map(lambda total, x: jnp.where(fresh, 0.0, total) + x, state.sums, now)
    count = jnp.where(fresh, 0.0, state.count) + 1
    return ChainState(spins, state.steps + 1, count, sums), {}


def probe(static: Static, key: Key, state: ChainState, hypers: Hypers) -> Record:
    """Returns the means since the last record, by the names of the module's table; NaN before the first sweep."""
    del static, key
    means = {f"chain_{name}": total / state.count for name, total in state.sums.items()}
    return means | {"chain_energy": means["chain_energy"] + hypers["energy_centre"]}


def block_lattices(key: Key, spins: Int8[Array, "walkers side side"], levels: int) -> list[Int8[Array, "walkers _ _"]]:
    r"""Returns the lattices, then after 1 ... ``levels`` steps of the majority rule $s'_I = \mathrm{sign} \sum s_i$.

    Blocks are 2 by 2, with ties drawn from ``key``. Ref: Swendsen1979.
    """
    lattices = [spins]
    for level_key in jax.random.split(key, levels):
        lattices.append(block_majority(level_key, lattices[-1]))
    return lattices


def block_moments(lattices: list[Int8[Array, "walkers _ _"]], family: str) -> dict[str, Float[Array, "..."]]:
    r"""Returns means over walkers of $x_k$ [levels + 1, n], $x_{k+1}x_{k+1}^T$ and $x_{k+1}x_k^T$ [levels, n, n].

    ``family`` is ``even`` or ``odd``; names are the family's own, and that with ``_within`` and ``_between``.
    Ref: Swendsen1979.
    """
    scaled = [_scaled_operators(lattice, family) for lattice in lattices]
    return {
        family: jnp.stack([x.mean(axis=0) for x in scaled]),
        f"{family}_within": jnp.stack([_mean_product(x, x) for x in scaled[1:]]),
        f"{family}_between": jnp.stack([_mean_product(x, y) for y, x in itertools.pairwise(scaled)]),
    }


def _measure(
    static: Static, key: Key, spins: Int8[Array, "walkers side side"], hypers: Hypers
) -> dict[str, Float[Array, "..."]]:
    energy, square = observe(spins)
    deviation = energy - hypers["energy_centre"]
    values = {
        "energy": deviation,
        "energy_square": deviation**2,
        "absolute_magnetization": jnp.sqrt(square),
        "squared_magnetization": square,
        "fourth_magnetization": square**2,
    }
    means = {name: jnp.mean(value.reshape(len(STARTS), -1), axis=1) for name, value in values.items()}
    if static.levels:
        lattices = block_lattices(key, spins, static.levels)
        for family in OPERATORS:
            means |= block_moments(lattices, family)
    return means


def _scaled_operators(spins: Int8[Array, "walkers side side"], family: str) -> Float[Array, "walkers n"]:
    num_sites = spins.shape[1] * spins.shape[2]
    shift = num_sites * jnp.asarray(SHIFTS[family], jnp.float32)
    return (OPERATORS[family](spins) - shift[None, :]) / num_sites**0.5


def _mean_product(left: Float[Array, "walkers n"], right: Float[Array, "walkers n"]) -> Float[Array, "n n"]:
    # Full precision also where matrix units would round their inputs.
    return jnp.einsum("wa,wb->ab", left, right, precision=jax.lax.Precision.HIGHEST) / len(left)
