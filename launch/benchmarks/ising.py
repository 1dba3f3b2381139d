r"""Suite ising: configurations of a 64 x 64 Ising lattice that have forgotten each other, rgflow and mcising.

A chain whose slower observable (energy or |m|) has the integrated autocorrelation time $\tau$ gives one such
configuration every $2\tau$ sweeps. Every contender runs the fastest of its algorithms on both cores, from lattices in
equilibrium, and measures the energy of every configuration that it counts.

Of rgflow's processor time per sweep (64 lattices of 64 x 64 on one core) labelling clusters takes 70 %: spreading
labels within tiles and joining tiles a quarter of the sweep each; random bits 10 %, opening bonds 2 %. What changed,
with the same labels: words of Threefry as one expression in place of ``jax.random.bits``: 4 to 9 times faster alone,
1.03 times in a cluster sweep, 2 to 4 times in a packed heat-bath sweep; joining tiles in place of sites: sweeps 1.6
times faster; slow tiles without the others (most are settled after 8 sweeps within them, the worst of a thousand after
20), a cheaper look at which are settled, and cutting tiles once (the compiler transposed them anew for each reader):
1.4 times. No gain: labelling whole rows first, skipping the first scatter, lines of a tile as a scan or as straight
code. Packed heat-bath sweeps cost a tenth of a cluster sweep, but |m| forgets in 57 of them at K = 0.408, where energy
forgets in 2.1 cluster sweeps. At K_c mcising's Wolff clusters, one at a time and each only a part of the lattice,
forget in 5.7: an algorithm whose steps many lattices cannot take together.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from launch import environment
from launch.benchmarks.cases import Case, Contender, Outcome, Peer

COUPLINGS = {"K = K_c": 0.4406867935097715, "K = 0.408": 0.408}


class Chain(NamedTuple):
    """An algorithm and the integrated times of its energy and |m| at 64 x 64, in its own sweeps.

    Measured by ``rgflow.samplers.equilibration.integrated_autocorrelation_time`` from equilibrium, each over some
    10^5 sweeps of all chains; the same algorithm has the same times in both packages, and was found to (within errors).
    """

    algorithm: str
    energy: float
    magnetization: float

    @property
    def spacing(self) -> float:
        """Sweeps from one configuration to the next that has forgotten it."""
        return 2 * max(self.energy, self.magnetization)


OURS = {"K = K_c": Chain("swendsen_wang", 4.9, 4.0), "K = 0.408": Chain("swendsen_wang", 2.13, 0.69)}
THEIRS = {"K = K_c": Chain("wolff", 5.7, 3.8), "K = 0.408": Chain("swendsen_wang", 2.13, 0.69)}
"""The fastest ones. mcising, microseconds per sweep and times at K_c: wolff 57 and 5.7, swendsen_wang 143 and 4.9,
metropolis 36 and 190 (|m|); at 0.408: 14 and 54, 147 and 2.1, 40 and 18 (|m|)."""

TOLERANCE = {"K = K_c": 0.012, "K = 0.408": 0.006}
"""Of the energy per site, over four standard errors of one repetition; a coupling 1 % off changes it by 0.05, 0.03."""

TINY_TOLERANCE = 0.12


def sweeps_of(chain: Chain, sweeps: int) -> tuple[int, int]:
    """Returns (measurements, sweeps between two): about one per configuration that is counted."""
    interval = max(1, round(chain.spacing))
    return max(1, sweeps // interval), interval


def make_rgflow(coupling: float, chain: tuple, size: int, lattices: int, sweeps: int) -> Callable[[], Outcome]:
    """The sweeps of samplers.square, on a device per core; ``lattices`` on each of them."""
    environment.configure(runs=environment.cores())
    import jax
    import jax.numpy as jnp
    from jax.sharding import PartitionSpec

    from rgflow.engine import mesh
    from rgflow.samplers.square import SWEEPS, observe, start_spins, swendsen_wang_sweep

    chain = Chain(*chain)
    devices = jax.device_count()
    measurements, interval = sweeps_of(chain, sweeps)
    cores, runs = mesh.run_mesh(devices, 1), PartitionSpec(mesh.RUN_AXIS)

    def stretch(sweep: Callable, number: int, key: Any, spins: Any) -> Any:
        return jax.lax.fori_loop(0, number, lambda k, s: sweep(jax.random.fold_in(key, k), s, coupling), spins)

    def advance(keys: Any, spins: Any) -> tuple[Any, Any]:
        def measure(spins: Any, key: Any) -> tuple[Any, Any]:
            spins = stretch(SWEEPS[chain.algorithm], interval, key, spins)
            return spins, jnp.mean(observe(spins).energy)

        spins, energies = jax.lax.scan(measure, spins, jax.random.split(keys[0], measurements))
        return spins, jnp.mean(energies)[None]

    on_cores = functools.partial(jax.shard_map, mesh=cores, in_specs=(runs, runs), check_vma=False)
    warm = jax.jit(on_cores(lambda keys, spins: stretch(swendsen_wang_sweep, 100, keys[0], spins), out_specs=runs))
    spins = warm(jax.random.split(jax.random.key(0), devices), start_spins(jax.random.key(1), size, lattices * devices))
    step = jax.jit(on_cores(advance, out_specs=(runs, runs)), donate_argnums=1)
    state = {"spins": spins, "number": 1}

    def repeat() -> Outcome:
        state["number"] += 1
        keys = jax.random.split(jax.random.key(state["number"]), devices)
        state["spins"], energies = step(keys, state["spins"])
        configurations = devices * lattices * measurements * interval / chain.spacing
        return Outcome(configurations, float(np.mean(np.asarray(energies))))

    return repeat


def make_mcising(coupling: float, chain: tuple, size: int, sweeps: int) -> Callable[[], Outcome]:
    """One simulation per core, each in a thread: its stretches of sweeps run outside of Python's lock."""
    from concurrent.futures import ThreadPoolExecutor

    from mcising import IsingSimulation  # pyright: ignore[reportMissingImports]

    chain = Chain(*chain)
    cores = environment.cores()
    measurements, interval = sweeps_of(chain, sweeps)
    chains = [IsingSimulation(size, 1.0, 0.0, 0.0, 0.0, 1 + k, algorithm=chain.algorithm) for k in range(cores)]
    pool = ThreadPoolExecutor(cores)
    for simulation in chains:
        simulation.sweep(2000, temperature=1 / coupling)

    def advance(simulation: Any) -> float:
        block = simulation.production_sweeps(measurements, interval, temperature=1 / coupling, store_configs=False)
        return float(np.mean(block["energies"]))

    def repeat() -> Outcome:
        energies = list(pool.map(advance, chains))
        return Outcome(cores * measurements * interval / chain.spacing, float(np.mean(energies)))

    return repeat


def cases(tiny: bool) -> list[Case]:
    """Returns the critical point and a point in the disordered phase."""
    size = 16 if tiny else 64
    found = []
    for name, coupling in COUPLINGS.items():
        common = {"coupling": coupling, "size": size}
        ours = {**common, "chain": OURS[name], "lattices": 64, "sweeps": 40 if tiny else 100}
        theirs = {**common, "chain": THEIRS[name], "sweeps": 2000 if tiny else 12_000}
        found.append(
            Case(
                suite="ising",
                name=f"{size} x {size}, {name}",
                unit="decorrelated configuration",
                ours=Contender("rgflow", "launch.benchmarks.ising:make_rgflow", ours),
                peers=(
                    Peer(
                        Contender("mcising", "launch.benchmarks.ising:make_mcising", theirs, ("mcising",)),
                        target=0.5 if name == "K = K_c" else 1.0,
                    ),
                ),
                tolerance=TINY_TOLERANCE if tiny else TOLERANCE[name],
            )
        )
    return found
