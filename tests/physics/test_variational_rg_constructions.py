"""Machines whose place in the mapping is known: decimation by noisy copies, one hidden spin per bond. Rounding only."""

import itertools
import math

import numpy as np
import pytest

from rgflow.exact.enumeration import (
    all_couplings,
    enumerate_ising,
    log_weights,
    ring_couplings,
    spin_states,
    torus_couplings,
)
from rgflow.exact.ring import decimate_1d, ring_log_partition
from rgflow.exact.torus import kaufman_log_partition
from rgflow.variational_rg.constructions import (
    bond_constant,
    bond_machine,
    decimation_kernel,
)
from rgflow.variational_rg.exact import (
    log_partition,
    visible_probabilities,
)
from rgflow.variational_rg.theory import (
    coarse_hamiltonian,
    hidden_hamiltonian,
    log_trace_of_kernel,
    relative_entropy,
)

# --- decimation of a ring ---


def decimated_coupling(K, strength, num_sites=8):
    """The nearest-neighbour coupling of the coarse Hamiltonian of a ring; K' = 1/2 ln cosh 2K where B is infinite.

    At finite B the hidden spins have couplings of every range, which wind around a small ring: the value depends on the
    size, and settles as the hidden ring gets longer than its correlation length.
    """
    coarse = coarse_hamiltonian(decimation_kernel(num_sites, strength), -log_weights(ring_couplings(K, num_sites)))
    return float(all_couplings(-coarse)[0b11])


@pytest.mark.parametrize(("strength", "value"), [(1, 0.164543), (2, 0.271585), (4, 0.296346), (8, 0.296844)])
def test_decimated_coupling_of_eight_sites(strength, value):
    assert decimated_coupling(0.6, strength) == pytest.approx(value, abs=6e-7)


@pytest.mark.parametrize("num_sites", [6, 8, 10, 12])
@pytest.mark.parametrize("K", [0.2, 0.6, -0.6])
def test_strong_copies_have_the_decimated_coupling_at_every_size(num_sites, K):
    coarse = coarse_hamiltonian(noisy_copies(num_sites, 20.0), ring(K, num_sites))
    assert all_couplings(-coarse)[0b11] == pytest.approx(decimate_1d(K), abs=1e-13)


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0, 8.0, -2.0])
def test_a_noisy_copy_is_an_exact_step(strength):
    """The trace is 1 at every strength, though only an infinite one decimates."""
    kernel = decimation_kernel(8, strength)
    assert abs(log_trace_of_kernel(kernel)).max() < 1e-13
    coarse = coarse_hamiltonian(kernel, -log_weights(ring_couplings(0.6, 8)))
    assert np.logaddexp.reduce(-coarse) == pytest.approx(ring_log_partition(0.6, 8), abs=1e-13)


def test_a_strong_copy_is_the_ring_of_the_decimated_coupling():
    coarse = coarse_hamiltonian(noisy_copies(10, 20.0), ring(0.6, 10))
    constant = 5 * (math.log(2) + decimate_1d(0.6))  # ln Z of both rings: N/2 (ln 2 + 1/2 ln cosh 2K)
    expected = log_weights(ring_couplings(decimate_1d(0.6), 5)) + constant
    np.testing.assert_allclose(-coarse, expected, atol=1e-13)


# --- one hidden spin per bond ---


def bond_constant(couplings):
    r"""$\ln Z_\lambda - \ln Z = \sum (\ln 2 + |K|)$ of the bond machine, over the bonds."""
    strengths = couplings[np.triu(couplings) != 0]
    return (np.log(2) + abs(strengths)).sum()


@pytest.mark.parametrize(
    "couplings",
    [
        ring_couplings(0.6, 6),
        ring_couplings(-0.6, 5),
        torus_couplings(0.4, 3, 3),
        torus_couplings(-1.0, 2, 3),
        np.triu(np.random.default_rng(3).normal(size=(5, 5)), 1),
    ],
    ids=["ring", "frustrated-ring", "torus", "antiferromagnetic-torus", "spin-glass"],
)
def test_bond_machine_is_exact(couplings):
    couplings = couplings if (couplings == couplings.T).all() else couplings + couplings.T
    machine, hamiltonian = bond_machine(couplings), -log_weights(couplings)
    assert abs(relative_entropy(machine, hamiltonian)) < 1e-14
    reference = enumerate_ising(couplings)
    np.testing.assert_allclose(
        np.exp(visible_log_probabilities(machine)), np.exp(-hamiltonian - reference.log_partition), rtol=1e-13
    )
    expected = reference.log_partition + bond_constant(couplings)
    assert log_partition(machine) == pytest.approx(expected, abs=1e-12)
    states = spin_states(len(couplings))
    np.testing.assert_allclose(visible_probabilities(machine) @ states, 0, atol=1e-14)


@pytest.mark.parametrize("K", [1e-9, 0.05, 2.0, 40.0, 400.0, -400.0])
def test_bond_weight_at_every_strength(K):
    """ln cosh 2w = 2|K|, from couplings of no digits in e^{2K} - 1 to those whose e^{2K} overflows."""
    weight = float(bond_machine(np.array([[0.0, K], [K, 0.0]])).weights[0, 0])
    if abs(K) < 100:
        # cosh 2w - 1 = 2 sinh^2 w keeps the digits of weak couplings.
        assert 2 * math.sinh(weight) ** 2 == pytest.approx(math.expm1(2 * abs(K)), rel=1e-13)
    assert np.logaddexp(2 * weight, -2 * weight) - math.log(2) == pytest.approx(2 * abs(K), rel=1e-13, abs=1e-15)


@pytest.mark.parametrize(("K", "num_sites"), [(0.6, 6), (0.6, 7), (0.1, 5), (-0.6, 6)])
def test_hidden_spins_of_a_ring_are_the_same_ring(K, num_sites):
    """A perfect fit without coarse-graining: as many spins, the same coupling, no other coupling."""
    hamiltonian = hidden_hamiltonian(bond_machine(ring_couplings(K, num_sites)))
    found = all_couplings(-hamiltonian)
    of_pairs = [2**i + 2**j for i, j in itertools.combinations(range(num_sites), 2)]
    assert abs(np.delete(found, [0, *of_pairs])).max() < 1e-10
    bonds = found[of_pairs][abs(found[of_pairs]) > 1e-10]
    np.testing.assert_allclose(abs(bonds), np.full(num_sites, abs(K)), atol=1e-10)
    # The signs of an antiferromagnet are those of the ring up to the choice of each hidden spin's direction.
    assert np.logaddexp.reduce(-hamiltonian) - found[0] == pytest.approx(ring_log_partition(K, num_sites), abs=1e-10)


def test_bond_machine_of_a_large_lattice_has_a_known_normalization():
    """ln Z of 16 + 32 units from the closed form of the torus."""
    couplings = torus_couplings(0.408, 4, 4)
    expected = kaufman_log_partition(0.408, 4, 4) + bond_constant(couplings)
    assert log_partition(bond_machine(couplings)) == pytest.approx(expected, abs=1e-10)


# --- bad inputs ---


@pytest.mark.parametrize("num_sites", [7, 16])
def test_rings_that_are_refused(num_sites):
    with pytest.raises(ValueError, match=f"num_sites = {num_sites}: must be an even number from 2 to 14"):
        decimation_kernel(num_sites, 1.0)


def test_small_rings_and_values_that_are_not_finite():
    with pytest.raises(ValueError, match="must be a finite number"):
        decimation_kernel(6, math.nan)


@pytest.mark.parametrize(
    ("couplings", "message"),
    [
        (np.zeros((3, 3)), "couplings = all 0: must have at least one bond"),
        (np.eye(2), "must be symmetric with 0 on the diagonal"),
        (np.triu(np.ones((2, 2)), 1), "must be symmetric with 0 on the diagonal"),
        (np.array([[0, np.nan], [np.nan, 0]]), "couplings = not finite"),
    ],
)
def test_graphs_that_are_refused(couplings, message):
    with pytest.raises(ValueError, match=message):
        bond_machine(couplings)
