"""The mapping of variational renormalization to Boltzmann machines: fixtures, exact sums, identities.

Nothing here is statistical: random machines have fixed seeds, and every bound is one on rounding.
"""

import itertools
import math

import numpy as np
import pytest
from machines import convert

from rgflow.exact.enumeration import (
    log_weights,
    ring_couplings,
    torus_couplings,
)
from rgflow.variational_rg.constructions import bond_machine
from rgflow.variational_rg.exact import (
    joint_log_weights,
    log_partition,
    unit_states,
    visible_log_probabilities,
)
from rgflow.variational_rg.machine import Machine
from rgflow.variational_rg.theory import (
    coarse_hamiltonian,
    constant_without_gap,
    free_energy_gap,
    hidden_hamiltonian,
    identities,
    jensen_gap,
    relative_entropy,
    rg_kernel,
    trace_condition,
)

FIXTURE = Machine(
    np.array([[0.5, -0.3], [0.2, 0.4], [-0.6, 0.1]]), np.array([0.3, 0.0, -0.1]), np.array([0.1, -0.2]), "spin"
)
RING = -log_weights(ring_couplings(0.5, 3))
UNITS = pytest.mark.parametrize("units", ["spin", "binary"])


def random_machine(num_visible, num_hidden, units, scale=0.5, seed=0):
    draw = np.random.default_rng(seed).normal
    return Machine(
        scale * draw(size=(num_visible, num_hidden)),
        scale * draw(size=num_visible),
        scale * draw(size=num_hidden),
        units,
    )


def random_hamiltonian(num_visible, seed=1):
    return 2 * np.random.default_rng(seed).normal(size=2**num_visible)


def by_hand(machine):
    """States, joint probabilities and ln Z of a machine, by the definition of E, one pair at a time."""
    values = (-1, 1) if machine.units == "spin" else (0, 1)
    visible, hidden = (
        [np.array(s[::-1], float) for s in itertools.product(values, repeat=n)] for n in machine.weights.shape
    )
    minus_energy = np.array(
        [
            [v @ machine.weights @ h + machine.hidden_bias @ h + machine.visible_bias @ v for h in hidden]
            for v in visible
        ]
    )
    weights = np.exp(minus_energy)
    return np.array(visible), weights / weights.sum(), math.log(weights.sum())


# --- the fixture ---


@UNITS
def test_fixture_probabilities(units):
    found = np.exp(visible_log_probabilities(convert(FIXTURE, units)))
    assert found[-1] == pytest.approx(0.08976055339399912, abs=1e-15)
    means = found @ unit_states(3, "spin")
    np.testing.assert_allclose(means, [0.40306804527654627, -0.0578497480392014, -0.2488553480240241], atol=1e-15)


def test_fixture_log_partition():
    assert log_partition(FIXTURE) == pytest.approx(4.01677210492374, abs=1e-14)
    opposite = FIXTURE.replace(weights=-FIXTURE.weights)  # the paper's sign of W
    assert abs(log_partition(opposite) - 4.01677210492374) > 1e-3


def test_fixture_in_both_units_has_one_law():
    binary = convert(FIXTURE, "binary")
    np.testing.assert_allclose(
        np.exp(visible_log_probabilities(binary)), np.exp(visible_log_probabilities(FIXTURE)), rtol=0, atol=1e-15
    )
    weights, binary_weights = joint_log_weights(FIXTURE), joint_log_weights(binary)
    joint, binary_joint = (np.exp(x - np.logaddexp.reduce(x, axis=None)) for x in (weights, binary_weights))
    np.testing.assert_allclose(binary_joint, joint, rtol=0, atol=1e-15)


def test_fixture_against_the_ring():
    assert relative_entropy(FIXTURE, RING) == pytest.approx(0.830526358163776, abs=1e-14)
    assert jensen_gap(FIXTURE, RING) == pytest.approx(0.830526358163776, abs=1e-14)
    assert free_energy_gap(FIXTURE, RING) == pytest.approx(-1.482871970450664, abs=1e-14)
    condition = trace_condition(FIXTURE, RING)
    # Both extremes by decimal arithmetic of 40 digits.
    assert condition.values.min() == pytest.approx(0.78997644257398903, abs=1e-14)
    assert condition.values.max() == pytest.approx(23.42622267545504, abs=1e-13)
    # The mean under the data is Z of the machine over Z of the data.
    data = np.exp(-RING) / np.exp(-RING).sum()
    assert data @ condition.values == pytest.approx(math.exp(1.482871970450664), abs=1e-13)
    assert condition.deviation == pytest.approx(condition.values.std(), rel=1e-14)
    assert condition.largest == pytest.approx(condition.values.max() - 1, rel=1e-14)


# --- exact sums against the definition ---


@UNITS
@pytest.mark.parametrize(("num_visible", "num_hidden"), [(4, 3), (3, 5)])
def test_sums_against_the_definition(units, num_visible, num_hidden):
    machine = random_machine(num_visible, num_hidden, units)
    visible, joint, log_norm = by_hand(machine)
    np.testing.assert_array_equal(unit_states(num_visible, units), visible)
    assert log_partition(machine) == pytest.approx(log_norm, abs=1e-13)
    np.testing.assert_allclose(np.exp(visible_log_probabilities(machine)), joint.sum(axis=1), atol=1e-15)
    np.testing.assert_allclose(np.exp(joint_log_weights(machine) - log_norm), joint, atol=1e-15)
    np.testing.assert_allclose(hidden_hamiltonian(machine), -np.log(joint.sum(axis=0)) - log_norm, atol=1e-13)


@UNITS
def test_either_layer_may_be_enumerated(units):
    """14 visible and 13 hidden units: both sums take several chunks."""
    machine = random_machine(14, 13, units, scale=0.3)
    assert log_partition(machine) == pytest.approx(log_partition(machine.transposed), abs=1e-13)
    free_energies = -np.logaddexp.reduce(-hidden_hamiltonian(machine))
    assert log_partition(machine) == pytest.approx(-free_energies, abs=1e-12)


def test_a_wide_layer_costs_no_enumeration():
    machine = random_machine(3, 200, "spin", scale=0.1)
    assert log_partition(machine) == pytest.approx(log_partition(machine.transposed), abs=1e-10)


def test_large_weights_do_not_overflow():
    machine = random_machine(4, 3, "spin", scale=500)
    hamiltonian = 1000 * random_hamiltonian(4)
    assert np.isfinite(visible_log_probabilities(machine)).all()
    found = identities(machine, hamiltonian)
    assert max(found.coarse_hamiltonian, found.conditional, found.divergence) < 1e-10
    assert trace_condition(machine, hamiltonian).largest == math.inf


# --- the identities ---


@UNITS
@pytest.mark.parametrize("seed", range(3))
def test_identities_of_random_machines(units, seed):
    machine = random_machine(8, 4, units, seed=seed)
    for hamiltonian in (-log_weights(ring_couplings(0.5, 8)), random_hamiltonian(8, seed)):
        assert max(identities(machine, hamiltonian)) < 1e-12


@UNITS
def test_identities_do_not_see_the_training(units):
    """The fixture of the ring and the exact bond machine of it: all hold as well for the one as for the other."""
    exact = convert(bond_machine(ring_couplings(0.5, 3)), units)
    assert max(*identities(exact, RING), *identities(convert(FIXTURE, units), RING)) < 1e-13


def test_a_kernel_of_the_wrong_sign_breaks_the_first_identity():
    """Even the sign convention of E matters: T = E + H is another coarse Hamiltonian."""
    machine = random_machine(5, 3, "spin")
    hamiltonian = random_hamiltonian(5)
    wrong = 2 * hamiltonian[:, None] - rg_kernel(machine, hamiltonian)
    right = coarse_hamiltonian(rg_kernel(machine, hamiltonian), hamiltonian)
    assert abs(coarse_hamiltonian(wrong, hamiltonian) - right).max() > 0.1


def test_the_constant_of_the_hamiltonian_moves_the_gap_alone():
    shifted = RING + 3.0
    assert relative_entropy(FIXTURE, shifted) == pytest.approx(relative_entropy(FIXTURE, RING), abs=1e-14)
    assert free_energy_gap(FIXTURE, shifted) == pytest.approx(free_energy_gap(FIXTURE, RING) - 3, abs=1e-14)
    assert max(identities(FIXTURE, shifted)) < 1e-13


@UNITS
def test_no_gap_does_not_mean_an_exact_step(units):
    machine = convert(FIXTURE, units)
    constant = constant_without_gap(machine, RING)
    assert abs(free_energy_gap(machine, RING, constant)) < 1e-14
    condition = trace_condition(machine, RING, constant)
    assert condition.values @ np.exp(-RING) / np.exp(-RING).sum() == pytest.approx(1, abs=1e-14)
    assert condition.largest > 1


def test_a_perfect_fit_is_an_exact_step_up_to_a_constant():
    couplings = torus_couplings(0.4, 2, 3)
    machine, hamiltonian = bond_machine(couplings), -log_weights(couplings)
    constant = constant_without_gap(machine, hamiltonian)
    # ln 2 + |K| of each bond, K = 0.4: the pairs of sites that are neighbours twice have one bond of 0.8.
    assert constant == pytest.approx(-np.sum(np.log(2) + couplings[np.triu(couplings) > 0]), abs=1e-13)
    assert trace_condition(machine, hamiltonian, constant).largest < 1e-13
    raw = trace_condition(machine, hamiltonian)
    assert raw.deviation / raw.values.mean() < 1e-13
    assert raw.largest > 1000


# --- bad inputs ---


def test_machines_that_are_refused():
    with pytest.raises(ValueError, match="weights or biases not finite"):
        log_partition(FIXTURE.replace(weights=FIXTURE.weights * np.nan))
    with pytest.raises(ValueError, match=r"leaves of shapes .* must be \(V, H\)"):
        log_partition(FIXTURE.replace(hidden_bias=np.zeros(3)))
    with pytest.raises(ValueError, match="machine = 21 units to enumerate: must be 1 to 20"):
        log_partition(random_machine(21, 21, "spin"))
    with pytest.raises(ValueError, match="machine = 21 units to enumerate"):
        visible_log_probabilities(random_machine(21, 2, "spin"))
    with pytest.raises(ValueError, match=r"12 \+ 11 units: a table of pairs of states takes at most 22"):
        joint_log_weights(random_machine(12, 11, "spin"))


@pytest.mark.parametrize(
    "call",
    [rg_kernel, trace_condition, free_energy_gap, relative_entropy, jensen_gap, identities, constant_without_gap],
)
def test_hamiltonians_that_are_refused(call):
    with pytest.raises(ValueError, match="hamiltonian = 4 states: must be 8, one per visible state"):
        call(FIXTURE, np.zeros(4))
    with pytest.raises(ValueError, match="hamiltonian = not finite"):
        call(FIXTURE, np.append(np.zeros(7), np.inf))


def test_other_bad_inputs():
    with pytest.raises(ValueError, match="hamiltonian = 4 states: must be 8"):
        coarse_hamiltonian(np.zeros((8, 2)), np.zeros(4))
    with pytest.raises(ValueError, match="constant = inf: must be a finite number"):
        free_energy_gap(FIXTURE, RING, math.inf)
