"""Block moments against enumeration, direct sums and closed forms. Nothing is drawn."""

import math

import numpy as np
import pytest
from decimation import decimate, ground_state

from rgflow.exact.block_moments import (
    SCHEMES,
    coarse_grain,
    cumulants,
    ring_moments,
    site_block,
)
from rgflow.exact.enumeration import log_weights, ring_couplings, spin_states
from rgflow.exact.potential import Potential
from rgflow.exact.transfer import ising_operator, transfer_operator

QUARTIC = Potential(0.2, 0.25)
POWERS = [(1, 1), (3, 1), (5, 1), (1, 3), (2, 2), (5, 5), (0, 2)]


def renormalised_block(operator, scheme, steps):
    block = site_block(operator)
    for _ in range(steps):
        block = coarse_grain(block, scheme)
    return block


def block_variables(sites, scheme, steps):
    """Coarse-grain configurations [..., sites] themselves."""
    for _ in range(steps):
        left, right = sites[..., ::2], sites[..., 1::2]
        sites = left if scheme == "decimation" else (left + right) / math.sqrt(2)
    return sites


def averages(weights, blocks, a, b):
    """Return <s_0^a s_d^b> by distance from weights [states] and block variables [states, blocks]."""
    return np.einsum("s,s,sd->d", weights, blocks[:, 0] ** a, blocks**b) / weights.sum()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("steps", [0, 1, 2, 3])
@pytest.mark.parametrize("K", [0.7, -0.4])
def test_ising_enumeration(scheme, steps, K):
    states = spin_states(8).astype(float)
    weights = np.exp(log_weights(ring_couplings(K, 8)))
    blocks = block_variables(states, scheme, steps)
    block = renormalised_block(ising_operator(K), scheme, steps)
    for a, b in POWERS:
        found = ring_moments(block, 8 >> steps, a, b)
        np.testing.assert_allclose(found, averages(weights, blocks, a, b), rtol=1e-11, atol=1e-13)
        if steps in (1, 2) and (a, b) != (0, 2):
            other = block_variables(states, SCHEMES[1 - SCHEMES.index(scheme)], steps)
            assert np.abs(found - averages(weights, other, a, b)).max() > 0.02


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("K", "potential"), [(0.8, QUARTIC), (-0.5, Potential(-0.5, -0.2, 0.1))])
def test_field_ring_of_four_by_direct_sums(scheme, K, potential):
    # Over all configurations of a coarse grid, for which the operators are as exact as for a fine one.
    operator = transfer_operator(K, potential, 20)
    bonds, x = operator.values, operator.grid
    weights = np.einsum("ab,bc,cd,da->abcd", bonds, bonds, bonds, bonds, optimize=True).ravel()
    sites = np.stack(np.meshgrid(x, x, x, x, indexing="ij"), axis=-1).reshape(-1, 4)
    for steps in (0, 1, 2):
        blocks = block_variables(sites, scheme, steps)
        for a, b in POWERS:
            found = ring_moments(renormalised_block(operator, scheme, steps), 4 >> steps, a, b)
            np.testing.assert_allclose(found, averages(weights, blocks, a, b), rtol=1e-11)


@pytest.mark.parametrize(("K", "potential"), [(0.8, QUARTIC), (-0.5, Potential(-0.5, -0.2, 0.1))])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_grid_is_fine_enough(scheme, K, potential):
    def moments(points):
        block = renormalised_block(transfer_operator(K, potential, points), scheme, 1)
        return np.concatenate([ring_moments(block, 16, *powers) for powers in POWERS])

    np.testing.assert_allclose(moments(64), moments(401), rtol=1e-11)
    assert np.abs(moments(16) / moments(401) - 1).max() > 1e-4


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("steps", [0, 1, 2, 3])
@pytest.mark.parametrize(("K", "quadratic"), [(0.4, 1.0), (-0.3, 1.0), (0.93, 2.0)])
def test_gaussian_ring_is_circulant(scheme, steps, K, quadratic):
    sites = 16
    neighbours = np.roll(np.eye(sites), 1, axis=0) + np.roll(np.eye(sites), -1, axis=0)
    mapping = block_variables(np.eye(sites), scheme, steps)
    covariance = (mapping.T @ np.linalg.inv(quadratic * np.eye(sites) - K * neighbours) @ mapping)[0]
    block = renormalised_block(transfer_operator(K, Potential(quadratic)), scheme, steps)
    variance = covariance[0]
    # Wick's theorem.
    for a, factor in ((1, 1.0), (3, 3 * variance), (5, 15 * variance**2)):
        found = ring_moments(block, sites >> steps, a, 1)
        np.testing.assert_allclose(found, factor * covariance, rtol=1e-9, atol=1e-11)
    assert ring_moments(block, sites >> steps, 5, 5)[0] == pytest.approx(945 * variance**5, rel=1e-9)


@pytest.mark.parametrize("K", [0.8, 0.3])
def test_decimation_leaves_the_law_of_a_site_and_doubles_distances(K):
    operator = transfer_operator(K, QUARTIC)
    block = site_block(operator)
    coarse = coarse_grain(block, "decimation")
    for a, b in [(1, 1), (5, 1), (5, 5)]:
        np.testing.assert_allclose(ring_moments(coarse, 8, a, b), ring_moments(block, 16, a, b)[::2], rtol=1e-11)
        # The decimated operator as the operator of a chain of its own.
        again = ring_moments(site_block(decimate(operator)), 8, a, b)
        np.testing.assert_allclose(ring_moments(coarse, 8, a, b), again, rtol=1e-10)


def test_moments_of_a_site_of_a_long_chain_are_those_of_the_ground_state():
    operator = transfer_operator(0.8, QUARTIC)
    law = ground_state(operator) ** 2 * operator.spacing
    for power in (2, 4, 6):
        found = ring_moments(site_block(operator), 64, power, 0)[0]
        assert found == pytest.approx(law @ operator.grid**power, rel=1e-10)


def test_moments_are_those_of_a_ring():
    moments = ring_moments(site_block(transfer_operator(0.8, QUARTIC)), 12, 3, 1)
    np.testing.assert_allclose(moments[1:], moments[:0:-1], rtol=1e-12)
    assert moments[1] > moments[6] * 1.5 > 0
    # Exact bookkeeping: the sum of all sites has the same second moment from sites and from one block of all.
    second = ring_moments(site_block(transfer_operator(0.8, QUARTIC)), 8, 1, 1).sum()
    one = renormalised_block(transfer_operator(0.8, QUARTIC), "block_sum", 3)
    assert ring_moments(one, 1, 1, 1) == pytest.approx([second], rel=1e-12)


@pytest.mark.parametrize("num_blocks", [1, 4])
def test_independent_components_scale_their_cumulants(num_blocks):
    block = site_block(transfer_operator(0.0, Potential(0, 0.25)))
    table = {2: [0.67598] * 3, 4: [-0.37084, -0.18542, -0.09271], 6: [1.15484, 0.28871, 0.07218]}
    first = None
    for level in range(3):
        found = cumulants(np.array([ring_moments(block, num_blocks, a, a)[0] for a in (1, 2, 3, 4, 5)]))
        assert found[:3] == pytest.approx([table[order][level] for order in (2, 4, 6)], abs=6e-6)
        first = found if first is None else first
        scaling = 2.0 ** (-level * np.arange(5.0))
        np.testing.assert_allclose(found, first * scaling, rtol=1e-9, atol=1e-9)
        block = coarse_grain(block, "block_sum")


def test_many_steps_neither_overflow_nor_vanish():
    operator = transfer_operator(0.8, QUARTIC)
    decimated = renormalised_block(operator, "decimation", 30)
    summed = renormalised_block(operator, "block_sum", 30)
    assert ring_moments(decimated, 4, 1, 1)[1:] == pytest.approx([0, 0, 0], abs=1e-12)
    variance, fourth = ring_moments(summed, 4, 1, 1)[0], ring_moments(summed, 4, 2, 2)[0]
    # The central limit theorem: a Gaussian whose variance is the susceptibility.
    assert fourth == pytest.approx(3 * variance**2, rel=1e-6)
    assert variance == pytest.approx(ring_moments(site_block(operator), 256, 1, 1).sum(), rel=1e-6)


def test_cumulants_of_known_laws():
    uniform = np.array([1 / 3, 1 / 5, 1 / 7, 1 / 9])
    np.testing.assert_allclose(cumulants(uniform), [1 / 3, -2 / 15, 16 / 63, -16 / 15], rtol=1e-12)
    np.testing.assert_allclose(cumulants(np.ones(3)), [1, -2, 16], rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda block: coarse_grain(block, "majority"), "scheme = majority: must be one of decimation, block_sum"),
        (lambda block: ring_moments(block, 4, 3, 2), "a [+] b = 5: must be at most the order 4"),
        (lambda block: ring_moments(block, 0, 1, 1), "num_blocks = 0"),
        (lambda block: ring_moments(block, 4, -1, 1), "a = -1"),
        (lambda block: site_block(ising_operator(1), -1), "order = -1"),
    ],
)
def test_bad_input_is_refused(call, named):
    with pytest.raises(ValueError, match=named):
        call(site_block(ising_operator(1), 4))
