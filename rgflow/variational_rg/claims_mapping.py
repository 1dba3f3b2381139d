r"""Claims on the mapping itself (S3-a, S3-b), from machines that can be enumerated (float64 on the host).

* S3-a: with $T = -E + H$ the coarse Hamiltonian is that of the hidden units, and the identities that follow hold, for
  every machine, trained or not. Statistic: the largest deviation; supported below 1e-12.
* S3-b: $\Delta F = 0$ if and only if the step is exact. Statistic: the relative entropy, which is 0 in an exact step,
  of machines whose energy is shifted by the constant that makes $\Delta F$ vanish; contradicted above 1e-6 nats, if
  the same functions see an exact machine as exact.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from rgflow.exact.enumeration import all_couplings, log_weights, ring_couplings, torus_couplings
from rgflow.judging.claim import Finding
from rgflow.judging.decisions import Status, control, information
from rgflow.judging.intervals import Interval
from rgflow.judging.points import Point, counts
from rgflow.protocol import Results
from rgflow.variational_rg.constructions import bond_machine
from rgflow.variational_rg.exact import hidden_hamiltonian, log_sum, visible_hamiltonian
from rgflow.variational_rg.machine import Machine
from rgflow.variational_rg.select import small
from rgflow.variational_rg.small import DIMS, hamiltonian
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


class Learner(NamedTuple):
    """The machines of one live run, from the untrained one to the trained one, and H(v) of its data in nats."""

    point: Point
    machines: list[Machine]
    hamiltonian: np.ndarray


class Mapped(NamedTuple):
    """The numbers of one machine's mapping: in nats, but for the trace, which is relative to 1."""

    relative_entropy: float
    free_energy_gap: float
    trace_deviation: float


def learners(results: Results) -> list[Learner]:
    """Returns the recorded machines of every live run, in float64."""
    found = []
    for point in results.once(small):
        energies = hamiltonian(float(point.values["coupling"]), int(point.values["size"]))
        # Other systems' records are many and would be read from the file for every machine.
        live, hidden = point.live[list(DIMS)].load(), int(point.values["small.hidden"])
        weights, visible, bias = (np.asarray(live[name].values, np.float64) for name in DIMS)
        for run in range(len(weights)):
            machines = [
                Machine(w[:, :hidden], c, b[:hidden], str(results.config["units"]))
                for w, c, b in zip(weights[run], visible[run], bias[run], strict=True)
            ]
            # Other points may have more units or records: theirs are NaN here.
            machines = [machine for machine in machines if np.isfinite(machine.weights).all()]
            found += [Learner(point, machines, energies)] if machines else []
    return found


def mapped(machine: Machine, energies: np.ndarray) -> Mapped:
    r"""Returns the numbers of the mapping, with $\Delta F$ as it is, not shifted."""
    # The trace is taken where its mean is 1: a constant in the energy is no property of the law.
    trace = trace_condition(machine, energies, constant_without_gap(machine, energies))
    return Mapped(relative_entropy(machine, energies), free_energy_gap(machine, energies), trace.deviation)


def deviations(results: Results) -> list[list[float]]:
    """Returns of every live run the largest deviation of the identities of its first and of its last machine."""
    ends = [(one, one.machines if len(one.machines) < 3 else one.machines[:: len(one.machines) - 1])
            for one in results.once(learners)]  # fmt: skip
    return [[max(identities(machine, one.hamiltonian)) for machine in machines] for one, machines in ends]


def identity(results: Results) -> Iterator[Finding]:
    """Yields the largest deviation of the identities over the first and the last machine of every run."""
    if not results.once(small):
        return
    worst = [value for run in results.once(deviations) for value in run]
    largest = max(worst, default=np.nan)
    ends = np.log10([largest, min(worst)]) if worst else (np.nan, np.nan)
    interval = Interval(float(ends[0]), float(ends[1]), float(ends[0]), len(worst))
    status: Status = "undecided"
    if worst:
        status = "supported" if largest < ROUNDING else "contradicted"
    controls = {"machines": information(len(worst), "machines checked, untrained and trained")}
    yield Finding("", interval, status, counts(results.once(small)), controls)


def gap_means_exact(results: Results) -> Iterator[Finding]:
    """Yields the relative entropies of the trained machines, each shifted by the constant at which its gap vanishes."""
    if not results.once(small):
        return
    entropies, gaps = [], []
    for one in results.once(learners):
        machine, energies = one.machines[-1], one.hamiltonian
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
    yield Finding("", interval, status, counts(results.once(small)), controls)


def _exact_machine() -> tuple[float, float]:
    """Returns the relative entropy of the bond machine of a small torus, and the hidden coupling of that of a ring."""
    couplings = torus_couplings(0.4, 2, 3)
    energies = -log_weights(couplings)
    entropy = relative_entropy(bond_machine(couplings), energies)
    # Hidden spins of bonds that meet at a site are coupled, all by the same; no other set of them is.
    pair = all_couplings(-hidden_hamiltonian(bond_machine(ring_couplings(RING_COUPLING, RING_SITES))))
    return entropy, float(np.max(pair[1:]))
