"""Exact Ising references: against published values, against enumeration, and against each other."""

import itertools
import math

import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from rgflow.exact import torus
from rgflow.exact.enumeration import (
    all_couplings,
    enumerate_ising,
    log_weights,
    ring_couplings,
    spin_states,
    torus_couplings,
)
from rgflow.exact.ising import CRITICAL_COUPLING, axis_correlation_length, onsager_energy, spontaneous_magnetization
from rgflow.exact.ring import correlation_length_1d, decimate_1d, ring_correlation, ring_log_partition
from rgflow.exact.torus import kaufman_energy, kaufman_log_partition, kaufman_specific_heat
from rgflow.exact.transfer import correlation_length, ising_operator

KC = CRITICAL_COUPLING


def derivative(function, K, step=2e-4):
    """Fourth-order central difference: an independent check of derivatives that are never taken this way."""
    near, far = (function(K + s * step) - function(K - s * step) for s in (1, 2))
    return (8 * near - far) / (12 * step)


@pytest.mark.parametrize(
    ("K", "energy", "specific_heat", "magnetization", "length"),
    [
        (0.3, -0.70449907, 0.286290, 0, 1.57889),
        (0.408, -1.15085489, 0.969920, 0, 7.46732),
        (KC, -math.sqrt(2), math.inf, 0, math.inf),
        (0.45, -1.51304581, 1.607953, 0.74932261, 13.50961),
        (0.5, -1.74556458, 0.724871, 0.91131938, 2.19238),
    ],
)
def test_onsager_table(K, energy, specific_heat, magnetization, length):
    assert onsager_energy(K) == pytest.approx(energy, abs=6e-9)
    if K != KC:
        # A torus of 17 and more correlation lengths is an infinite lattice.
        assert kaufman_specific_heat(K, 256, 256) == pytest.approx(specific_heat, abs=6e-7)
    assert spontaneous_magnetization(K) == pytest.approx(magnetization, abs=6e-9)
    assert axis_correlation_length(K) == pytest.approx(length, abs=6e-6)


@pytest.mark.parametrize(("K", "value"), [(0.408, 0.8883892096), (0.5, 1.0257928127)])
def test_free_energy_of_a_large_lattice(K, value):
    phases = 2 if K > KC else 1  # a torus has both signs of the magnetization, an infinite lattice has one
    assert (kaufman_log_partition(K, 256, 256) - math.log(phases)) / 256**2 == pytest.approx(value, abs=6e-11)


def test_critical_point():
    assert pytest.approx(0.44068679350977147, abs=1e-16) == KC
    assert pytest.approx(2.269185314213022, abs=1e-14) == 1 / KC


def test_correlation_length_is_self_dual():
    for K in (0.1, 0.3, 0.43):
        dual = -math.log(math.tanh(K)) / 2
        assert axis_correlation_length(K) == pytest.approx(2 * axis_correlation_length(dual), rel=1e-12)


def test_onsager_series_joins_the_closed_form():
    below, above = (onsager_energy(1e-3 * (1 + shift)) for shift in (-1e-9, 1e-9))
    assert below == pytest.approx(above, rel=1e-8)
    assert onsager_energy(1e-9) == pytest.approx(-2e-9, rel=1e-12)


@pytest.mark.parametrize(
    ("K", "size", "energy", "specific_heat"),
    [
        (KC, 4, 1.565623788, 0.78326683),
        (KC, 8, 1.491589107, 1.1455592),
        (KC, 16, 1.453064853, 1.498705),
        (KC, 32, 1.433658466, 1.8467676),
        (KC, 40, 1.429771312, 1.9581817),
        (0.408, 8, 1.277582976, 1.1515013),
        (0.408, 32, 1.154070286, 1.0336117),
        (0.408, 40, 1.151821151, 0.99467047),
    ],
)
def test_kaufman_table(K, size, energy, specific_heat):
    assert -kaufman_energy(K, size, size) == pytest.approx(energy, abs=6e-10)
    assert kaufman_specific_heat(K, size, size) == pytest.approx(specific_heat, rel=6e-8, abs=6e-8)


@pytest.mark.parametrize(("size", "value"), [(4, 0.970119716172), (8, 0.939715324829), (32, 0.930320390184)])
def test_kaufman_free_energy_at_the_critical_point(size, value):
    assert kaufman_log_partition(KC, size, size) / size**2 == pytest.approx(value, abs=6e-13)


@pytest.mark.parametrize("K", [-0.4, 1e-6, 0.2, KC, 0.5, 1.5])
@pytest.mark.parametrize(("rows", "cols"), [(2, 2), (2, 3), (3, 2), (3, 3), (4, 3), (4, 4), (2, 6)])
def test_kaufman_against_enumeration(K, rows, cols):
    if K < 0 and (rows % 2 or cols % 2):
        with pytest.raises(ValueError, match="must both be even"):
            kaufman_log_partition(K, rows, cols)
        return
    exact, sites = enumerate_ising(torus_couplings(K, rows, cols)), rows * cols
    assert kaufman_log_partition(K, rows, cols) == pytest.approx(exact.log_partition, abs=1e-10)
    assert K * sites * kaufman_energy(K, rows, cols) == pytest.approx(exact.energy, abs=1e-10)
    assert sites * kaufman_specific_heat(K, rows, cols) == pytest.approx(exact.energy_variance, abs=1e-10)


def test_kaufman_is_symmetric_in_its_sides():
    for K in (0.1, 0.44, 0.6):
        for function in (kaufman_log_partition, kaufman_energy, kaufman_specific_heat):
            assert function(K, 5, 12) == pytest.approx(function(K, 12, 5), abs=1e-11)


def test_kaufman_goes_to_onsager():
    # Corrections at the critical point fall as 1/L in the energy and 1/L^2 in the free energy.
    gaps = [size * (kaufman_energy(KC, size, size) + math.sqrt(2)) for size in (64, 128, 256)]
    assert max(gaps) - min(gaps) < 1e-4 and gaps[0] == pytest.approx(-0.6224, abs=1e-3)
    catalan = 0.915965594177219015
    infinite = math.log(2) / 2 + 2 * catalan / math.pi
    assert infinite == pytest.approx(0.9296953983, abs=6e-11)
    free = [kaufman_log_partition(KC, size, size) - size**2 * infinite for size in (64, 128)]
    assert free[0] == pytest.approx(free[1], abs=1e-3) and free[0] == pytest.approx(0.6399, abs=1e-3)
    # Off it they fall exponentially.
    for K in (0.3, 0.6):
        assert kaufman_energy(K, 64, 64) == pytest.approx(onsager_energy(K), abs=1e-10)
        assert kaufman_specific_heat(K, 64, 64) == pytest.approx(-(K**2) * derivative(onsager_energy, K), abs=1e-8)


def test_kaufman_derivatives_on_a_large_lattice():
    for K in (0.3, KC, 0.45):
        slope = derivative(lambda k: kaufman_log_partition(k, 24, 17) / 408, K, 1e-4)
        assert slope == pytest.approx(-kaufman_energy(K, 24, 17), abs=1e-9)
        curvature = derivative(lambda k: -kaufman_energy(k, 24, 17), K, 1e-4)
        assert K**2 * curvature == pytest.approx(kaufman_specific_heat(K, 24, 17), abs=1e-8)


def test_enumeration_targets():
    small = enumerate_ising(torus_couplings(0.3, 3, 3))
    assert small.log_partition == pytest.approx(7.346915902869601, abs=1e-12)
    assert -small.energy / 0.3 / 9 == pytest.approx(0.9876831555671015, abs=1e-12)
    assert small.moments[2] / 9 == pytest.approx(4.51876086156281, abs=1e-12)
    square = enumerate_ising(torus_couplings(0.4406867935, 4, 4))
    assert square.log_partition == pytest.approx(15.521915458510508, abs=1e-12)
    assert square.moments[2] / 16 == pytest.approx(12.181742536738959, abs=1e-11)
    assert square.moments[4] / square.moments[2] ** 2 == pytest.approx(1.1484020447824366, abs=1e-12)
    assert enumerate_ising(torus_couplings(0.2, 4, 4)).log_partition == pytest.approx(11.771470358541581, abs=1e-12)


def test_enumeration_of_any_graph_against_a_plain_loop():
    rng = np.random.default_rng(0)
    couplings, fields = rng.normal(size=(5, 5)), rng.normal(size=5)
    couplings = np.triu(couplings, 1) + np.triu(couplings, 1).T
    states = np.array(list(itertools.product((-1, 1), repeat=5)))
    bonds = [(i, j) for i in range(5) for j in range(i)]
    energy = -np.array([sum(couplings[i, j] * s[i] * s[j] for i, j in bonds) + fields @ s for s in states])
    probability = np.exp(-energy) / np.exp(-energy).sum()
    found = enumerate_ising(couplings, fields)
    assert found.log_partition == pytest.approx(np.log(np.exp(-energy).sum()), abs=1e-12)
    assert found.energy == pytest.approx(probability @ energy, abs=1e-12)
    np.testing.assert_allclose(found.means, probability @ states, atol=1e-13)
    np.testing.assert_allclose(found.correlations, (states * probability[:, None]).T @ states, atol=1e-13)
    np.testing.assert_allclose(found.moments, [probability @ states.sum(axis=1) ** k for k in range(5)], atol=1e-11)


def test_twenty_spins_across_chunks():
    found = enumerate_ising(torus_couplings(0.4, 4, 5))
    assert found.log_partition == pytest.approx(kaufman_log_partition(0.4, 4, 5), abs=1e-10)
    np.testing.assert_allclose(found.means, 0, atol=1e-12)
    assert found.moments[2] == pytest.approx(found.correlations.sum(), abs=1e-9)


def test_all_couplings_rebuild_the_weights():
    log_weight = np.random.default_rng(1).normal(size=64)
    found = all_couplings(log_weight)
    members = (np.arange(64)[:, None] >> np.arange(6)) & 1
    products = np.array([np.prod(np.where(row, spin_states(6), 1), axis=1) for row in members])
    np.testing.assert_allclose(found @ products, log_weight, atol=1e-13)


@pytest.mark.parametrize("K", [-2.0, -0.5, 0.3, 0.6, 1.2])
@pytest.mark.parametrize("num_sites", [2, 3, 6, 7])
def test_ring_against_enumeration(K, num_sites):
    exact = enumerate_ising(ring_couplings(K, num_sites))
    assert ring_log_partition(K, num_sites) == pytest.approx(exact.log_partition, abs=1e-12)
    for distance in range(num_sites):
        assert ring_correlation(K, num_sites, distance) == pytest.approx(exact.correlations[0, distance], abs=1e-13)


@pytest.mark.parametrize("K", [-0.7, 1e-4, 0.3, 0.6, 1.2, 3.0])
def test_decimation_of_the_ring(K):
    decimated = decimate_1d(K)
    assert decimated == pytest.approx(math.log(math.cosh(2 * K)) / 2, rel=1e-8)
    assert math.tanh(decimated) == pytest.approx(math.tanh(K) ** 2, rel=1e-8)
    for num_sites in (4, 8, 50):
        rest = num_sites / 2 * (math.log(2) + math.log(math.cosh(2 * K)) / 2)
        total = rest + ring_log_partition(decimated, num_sites // 2)
        assert ring_log_partition(K, num_sites) == pytest.approx(total, abs=1e-8)


def test_decimation_flows_to_zero_and_equals_marginals():
    flow = list(itertools.accumulate(range(8), lambda K, _: decimate_1d(K), initial=1.2))
    assert all(after < before for before, after in itertools.pairwise(flow)) and flow[-1] < 1e-3
    # Axis a of the table of states is spin 9 - a.
    kept = np.exp(log_weights(ring_couplings(0.6, 10))).reshape((2,) * 10).sum(axis=(0, 2, 4, 6, 8)).ravel()
    found = all_couplings(np.log(kept))[1:]
    expected = all_couplings(log_weights(ring_couplings(decimate_1d(0.6), 5)))[1:]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def precise(function, *numbers):
    """A formula evaluated with 400 digits, whatever cancels in it."""
    with mpmath.workdps(400):
        return float(function(*map(mpmath.mpf, numbers)))


ALL_COUPLINGS = [
    1e-15,
    1e-10,
    1e-5,
    9.9e-4,
    1.1e-3,
    0.03,
    0.3,
    0.4406,
    0.44068679,
    0.4406868,
    0.6,
    2.0,
    7.0,
    18.0,
    100.0,
]


@pytest.mark.parametrize("K", [*ALL_COUPLINGS, KC - 5e-16, KC + 5e-16])
def test_closed_forms_keep_their_digits_at_every_coupling(K):
    chain = precise(lambda k: -1 / mpmath.log(mpmath.tanh(k)), K)
    inverse = precise(lambda k: 2 * k + mpmath.log(mpmath.tanh(k)), K)
    assert correlation_length_1d(K) == correlation_length_1d(-K) == pytest.approx(chain, rel=1e-12)
    assert axis_correlation_length(K) == pytest.approx(-1 / inverse if K < KC else 0.5 / inverse, rel=1e-9)
    assert decimate_1d(K) == pytest.approx(precise(lambda k: mpmath.log(mpmath.cosh(2 * k)) / 2, K), rel=1e-12)
    if K > KC:
        magnetization = precise(lambda k: (1 - mpmath.sinh(2 * k) ** -4) ** 0.125, K)
        assert spontaneous_magnetization(K) == pytest.approx(magnetization, rel=1e-9)
    if abs(K - KC) > 1e-12:  # at the critical point itself the elliptic integral diverges
        modulus = lambda k: 2 * mpmath.tanh(2 * k) ** 2 - 1  # noqa: E731
        onsager = lambda k: -mpmath.coth(2 * k) * (1 + 2 / mpmath.pi * modulus(k) * mpmath.ellipk(1 - modulus(k) ** 2))  # noqa: E731
        assert onsager_energy(K) == pytest.approx(precise(onsager, K), rel=1e-9)


def test_correlation_length_of_a_chain_beyond_every_float():
    assert correlation_length_1d(354.0) > 1e307
    assert correlation_length_1d(400.0) == math.inf
    assert correlation_length_1d(0.0) == 0


@pytest.mark.parametrize("K", [1e-15, 1e-6, 0.02, 1.5, 3.0, 5.0, 10.0, 30.0])
@pytest.mark.parametrize(("rows", "cols"), [(4, 4), (2, 3)])
def test_torus_keeps_its_digits_at_every_coupling(K, rows, cols):
    """Enumeration, with energies counted from the ground state: neither sum cancels."""
    weights = log_weights(torus_couplings(1.0, rows, cols))
    excitation = weights.max() - weights
    chances = np.exp(-K * excitation) / np.exp(-K * excitation).sum()
    mean = chances @ excitation
    variance = chances @ (excitation - mean) ** 2
    found = K**2 * variance / (rows * cols)
    assert kaufman_specific_heat(K, rows, cols) == pytest.approx(found, rel=1e-9)
    assert kaufman_energy(K, rows, cols) * rows * cols == pytest.approx(mean - weights.max(), rel=1e-9, abs=1e-12)
    excited = enumerate_ising(torus_couplings(K, rows, cols)).energy_variance
    assert excited == pytest.approx(K**2 * variance, rel=1e-9)


def test_specific_heat_is_never_negative():
    heats = [kaufman_specific_heat(K, 16, 16) for K in np.linspace(0.9, 12.0, 24)]
    assert all(after < before for before, after in itertools.pairwise(heats)) and heats[-1] > 0


@pytest.mark.parametrize("size", [5, 16, 64])
@pytest.mark.parametrize("K", [0.0501, 0.2, KC, 0.999])
def test_floats_and_forty_digits_agree_where_floats_are_used(K, size):
    with mpmath.workdps(40):
        expected = torus._kaufman(mpmath.mp, mpmath.mpf(K), size, size)
    found = kaufman_log_partition(K, size, size), -(size**2) * kaufman_energy(K, size, size)
    assert [*found, kaufman_specific_heat(K, size, size) * size**2 / K**2] == pytest.approx(
        [float(part) for part in expected], rel=1e-10
    )


@pytest.mark.parametrize("kind", [np.float32, np.float64, jnp.float32, jnp.asarray, np.asarray, np.int64])
def test_scalars_of_every_library_are_numbers(kind):
    K = kind(2) if kind is np.int64 else kind(0.4)
    assert onsager_energy(K) == onsager_energy(float(K))
    assert kaufman_specific_heat(K, np.int32(4), jnp.asarray(6)) == kaufman_specific_heat(float(K), 4, 6)
    assert correlation_length(ising_operator(K)) == correlation_length(ising_operator(float(K)))


@pytest.mark.parametrize("K", [True, np.nan, 10**400, -(10**400), 1e101, -1.7e308])
def test_what_is_no_number_is_refused(K):
    for function in (onsager_energy, decimate_1d, ising_operator, lambda K: torus_couplings(K, 2, 2)):
        with pytest.raises(ValueError, match=r"K = .*: the coupling must be (a finite number|within 1e\+100)"):
            function(K)


@pytest.mark.parametrize("K", [0.0, 5e-324, 1e-300, -1e-300, 353.0, -356.0, 800.0, 1e100])
def test_every_coupling_gives_a_number(K):
    found = [
        onsager_energy(K),
        spontaneous_magnetization(K),
        decimate_1d(K),
        *enumerate_ising(torus_couplings(K, 2, 2))[:3],
    ]
    found += [ring_log_partition(K, n) for n in (1, 2, 3)] + [ring_correlation(K, 5, r) for r in range(6)]
    assert np.isfinite(found).all()
    lengths = axis_correlation_length(K), correlation_length_1d(K), correlation_length(ising_operator(K))
    assert min(lengths) >= 0


def test_extreme_couplings_stay_finite():
    for K in (50.0, 299.0):
        assert kaufman_log_partition(K, 8, 8) == pytest.approx(128 * K + math.log(2), rel=1e-14)
        assert onsager_energy(K) == pytest.approx(-2)
        assert spontaneous_magnetization(K) == pytest.approx(1)
    assert kaufman_log_partition(0.0, 5, 7) == pytest.approx(35 * math.log(2))
    assert axis_correlation_length(0.0) == decimate_1d(0.0) == 0
    # A frustrated ring: one bond of five must break, in any of five places, each with two signs.
    assert ring_log_partition(-500.0, 5) == pytest.approx(3 * 500 + math.log(10))
    assert ring_correlation(-500.0, 5, 1) == pytest.approx(-0.6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: onsager_energy(math.nan), "K = nan: the coupling must be a finite number"),
        (lambda: decimate_1d(math.nan), "K = nan: the coupling"),
        (lambda: kaufman_log_partition(0.4, 1, 4), "rows = 1: must be an integer of at least 2"),
        (lambda: kaufman_energy(400.0, 4, 4), "K = 400.0: must be within 300"),
        (lambda: kaufman_energy(-0.3, 4, 3), "rows, cols = 4, 3: must both be even for a negative K"),
        (lambda: ring_log_partition(0.3, 0), "num_sites = 0: must be an integer of at least 1"),
        (lambda: ring_correlation(0.3, 4, 5), r"distance = 5: must be 0\.\.4"),
        (lambda: torus_couplings(0.3, 1, 4), "rows, cols = 1, 4: .* at least 2"),
        (lambda: ring_couplings(math.nan, 4), "K = nan: the coupling"),
        (lambda: enumerate_ising(np.zeros((21, 21))), "couplings = 21 spins: enumeration takes 1 to 20"),
        (lambda: enumerate_ising(np.triu(np.ones((3, 3)), 1)), "must be symmetric with 0 on the diagonal"),
        (lambda: enumerate_ising(np.full((2, 2), np.inf)), "couplings, fields = not finite"),
        (lambda: all_couplings(np.zeros(6)), r"log_weight = 6 states: must be 2\*\*n"),
        (lambda: spin_states(0), "num_spins = 0: enumeration takes 1 to 20"),
    ],
)
def test_bad_input_is_refused_with_a_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()
