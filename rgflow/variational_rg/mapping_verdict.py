r"""Verdicts on the mapping itself, from machines that can be enumerated (float64 on the host).

* S3-a: with $T = -E + H$ the coarse Hamiltonian is that of the hidden units, and the identities that follow hold, for
  every machine, trained or not. Statistic: the largest deviation; supported below 1e-12.
* S3-b: $\Delta F = 0$ if and only if the step is exact. Statistic: the relative entropy, which is 0 in an exact step,
  of machines whose energy is shifted by the constant that makes $\Delta F$ vanish; contradicted above 1e-6 nats, if
  the same functions see an exact machine as exact.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from rgflow.exact.ising import all_couplings, log_weights, ring_couplings, torus_couplings
from rgflow.judging.claim import make_verdict
from rgflow.judging.decisions import Status, control, information
from rgflow.judging.intervals import Interval
from rgflow.judging.points import Point, counts
from rgflow.protocol import Verdict
from rgflow.variational_rg.constructions import bond_machine
from rgflow.variational_rg.exact import hidden_hamiltonian, log_sum, visible_hamiltonian
from rgflow.variational_rg.machine import Machine
from rgflow.variational_rg.small import hamiltonian
from rgflow.variational_rg.theory import (
    constant_without_gap,
    free_energy_gap,
    identities,
    relative_entropy,
    trace_condition,
)

ROUNDING = 1e-12
EXACT = 1e-6
"""Nats below which a relative entropy counts as that of an exact step."""

RING_COUPLING, RING_SITES = 0.6, 6


class Mapped(NamedTuple):
    """One recorded machine and the numbers of its mapping: nats, but for the trace, which is relative to 1."""

    step: int
    relative_entropy: float
    free_energy_gap: float
    trace_deviation: float
    machine: Machine


def recorded_machines(cell: Point, units: str) -> Iterator[tuple[int, Machine]]:
    """Yield (step, machine) of every live run and record of a point, in float64."""
    names = ("machine_weights", "machine_visible_bias", "machine_hidden_bias")
    weights, visible, bias = (np.asarray(cell.live[name].values, np.float64) for name in names)
    hidden, steps = int(cell.values["small.hidden"]), cell.live["step"].values.tolist()
    for run, row in np.ndindex(weights.shape[:2]):
        machine = Machine(weights[run, row, :, :hidden], visible[run, row], bias[run, row, :hidden], units)
        # Other points may have more units or records: theirs are NaN here.
        if np.isfinite(machine.weights).all():
            yield steps[row], machine


def mapped(cell: Point, units: str) -> list[Mapped]:
    """Return the mapping of every recorded machine of a point, with $\\Delta F$ as it is, not shifted."""
    energies = hamiltonian(float(cell.values["coupling"]), int(cell.values["size"]))
    found = []
    for step, machine in recorded_machines(cell, units):
        gap, divergence = free_energy_gap(machine, energies), relative_entropy(machine, energies)
        # The trace is taken where its mean is 1: a constant in the energy is no property of the law.
        trace = trace_condition(machine, energies, constant_without_gap(machine, energies))
        found.append(Mapped(step, divergence, gap, trace.deviation, machine))
    return found


def _units(config: Any) -> str:
    return str(config["units"])


def identity(points: Sequence[Point], config: Any) -> Verdict:
    """Judge S3-a on the first and the last machine of every run."""
    worst: list[float] = []
    for cell in points:
        energies = hamiltonian(float(cell.values["coupling"]), int(cell.values["size"]))
        machines = list(recorded_machines(cell, _units(config)))
        ends = {machines[0][0], machines[-1][0]} if machines else set()
        worst += [max(identities(machine, energies)) for step, machine in machines if step in ends]
    largest = max(worst, default=np.nan)
    ends = np.log10([largest, min(worst)]) if worst else (np.nan, np.nan)
    interval = Interval(float(ends[0]), float(ends[1]), float(ends[0]), len(worst))
    status: Status = "undecided"
    if worst:
        status = "supported" if largest < ROUNDING else "contradicted"
    texts = (
        "With T = -E + H a machine's hidden Hamiltonian is that of a variational RG step, trained or not.",
        f"largest deviation of four identities below {ROUNDING:g}; shown is its log10, over all machines",
    )
    controls = {"machines": information(len(worst), "machines checked, untrained and trained")}
    return make_verdict("S3-a", texts, interval, status, counts(points), controls)


def gap_means_exact(points: Sequence[Point], config: Any) -> Verdict:
    """Judge S3-b on the trained machines, each shifted by the constant at which its free-energy gap vanishes."""
    entropies, gaps = [], []
    for cell in points:
        energies = hamiltonian(float(cell.values["coupling"]), int(cell.values["size"]))
        machines = list(recorded_machines(cell, _units(config)))
        for _, machine in (pair for pair in machines if pair[0] == machines[-1][0]):
            constant = constant_without_gap(machine, energies)
            # Summed over visible states, and not over those of the smaller layer, by which the constant was found.
            gaps.append(abs(log_sum(-visible_hamiltonian(machine)) + constant - log_sum(-energies)))
            entropies.append(relative_entropy(machine, energies))
    # Machines of several designs are no sample of anything: the ends are the least and the largest of them.
    known = entropies or [np.nan]
    interval = Interval(float(np.mean(known)), min(known), max(known), len(entropies))
    exact, coupling = _exact_machine()
    largest = max(gaps, default=np.nan)
    controls = {
        "gap": control(largest, f"|Delta F| of the shifted machines below {ROUNDING:g}", largest < ROUNDING),
        "exact_machine": control(exact, f"a machine built to be exact has less than {ROUNDING:g} nats",
                                 abs(exact) < ROUNDING),
        "bond_machine_coupling": information(
            coupling, f"hidden coupling of the exact machine of a ring at K = {RING_COUPLING}: fits without coarsening"
        ),
    }  # fmt: skip
    status: Status = "undecided"
    if controls["gap"]["passed"] and controls["exact_machine"]["passed"]:
        status = "contradicted" if interval.low > EXACT else "supported" if interval.high < EXACT else "undecided"
    texts = (
        "The free-energy gap vanishes if and only if the RG step is exact.",
        f"relative entropy of machines with Delta F = 0 below {EXACT:g} nats; shown are mean, least and largest",
    )
    return make_verdict("S3-b", texts, interval, status, counts(points), controls)


def _exact_machine() -> tuple[float, float]:
    """Return the relative entropy of the bond machine of a small torus, and the hidden coupling of that of a ring."""
    couplings = torus_couplings(0.4, 2, 3)
    energies = -log_weights(couplings)
    entropy = relative_entropy(bond_machine(couplings), energies)
    # Hidden spins of bonds that meet at a site are coupled, all by the same; no other set of them is.
    pair = all_couplings(-hidden_hamiltonian(bond_machine(ring_couplings(RING_COUPLING, RING_SITES))))
    return entropy, float(np.max(pair[1:]))
