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
from rgflow.variational_rg.constructions import bond_machine
from rgflow.variational_rg.exact import hidden_hamiltonian, log_partition, visible_log_probabilities
from rgflow.variational_rg.theory import coarse_hamiltonian, relative_entropy

# --- decimation of a ring ---


def noisy_copies(num_sites, strength):
    r"""$T(v, h) = \sum_j (B h_j v_{2j} - \ln 2\cosh B)$: each hidden spin copies every second visible one."""
    visible, hidden = spin_states(num_sites)[:, ::2].astype(float), spin_states(num_sites // 2).astype(float)
    return strength * visible @ hidden.T - num_sites // 2 * np.logaddexp(strength, -strength)


def ring(K, num_sites):
    """The Hamiltonian of a ring."""
    return -log_weights(ring_couplings(K, num_sites))


@pytest.mark.parametrize("num_sites", [6, 8, 10, 12])
@pytest.mark.parametrize("K", [0.2, 0.6, -0.6])
def test_strong_copies_have_the_decimated_coupling_at_every_size(num_sites, K):
    coarse = coarse_hamiltonian(noisy_copies(num_sites, 20.0), ring(K, num_sites))
    assert all_couplings(-coarse)[0b11] == pytest.approx(decimate_1d(K), abs=1e-13)


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0, 8.0, -2.0])
def test_a_noisy_copy_is_an_exact_step(strength):
    """The trace is 1 at every strength, though only an infinite one decimates: the coarse ring keeps ln Z."""
    kernel = noisy_copies(8, strength)
    assert abs(np.exp(kernel).sum(axis=1) - 1).max() < 1e-13
    coarse = coarse_hamiltonian(kernel, ring(0.6, 8))
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
