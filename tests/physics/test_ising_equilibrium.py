"""Ising lattices in equilibrium: Kaufman's torus, the two starts, autocorrelation times, exponents of blocked samples.

Fixed keys. Four sigma over the time averages of 64 independent walkers: a false-alarm rate of 1.7e-4 two-sided with
Student's t. A coupling 0.03 away must fail every comparison of energies.

Heat-bath sweeps reach equilibrium from both starts for L = 8 and 16, and for L = 40 at K = 0.408. For L = 40 at the
critical coupling their autocorrelation time, some $L^{2.17}$ sweeps, makes that a matter of hours in a test: there they
start from samples of the cluster method, whose law they must keep. In the ordered phase stripes that a hot start leaves
behind live as long: there they start cold.
"""

import itertools
import math

import emcee
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exponents import exponents_of_step

from rgflow.exact.ising import CRITICAL_COUPLING
from rgflow.exact.torus import kaufman_energy, kaufman_specific_heat
from rgflow.probes.monte_carlo_rg import even_operators, odd_operators
from rgflow.samplers import ising
from rgflow.samplers.blocks import block_majority
from rgflow.samplers.equilibration import WINDOW, compare_starts, in_equilibrium, integrated_autocorrelation_time
from rgflow.samplers.ising import sample_square, sample_square_with_report
from rgflow.samplers.square import SWEEPS, start_spins

OPTIMISED = True  # its programs run for longer than they compile

KC = CRITICAL_COUPLING
METHODS = tuple(SWEEPS)
WALKERS = 64


def watch(spins, method, coupling, chunks, first=0):
    """Energies [sweeps, walkers] of further sweeps, and the spins after them."""
    energies = []
    for chunk in range(first, first + chunks):
        spins, seen = ising._watch(jax.random.key(99), spins, jnp.float32(coupling), chunk * ising.CHUNK, method)
        energies.append(np.asarray(seen.energy, float))
    return np.concatenate(energies), spins


def must_agree_with_kaufman(energies, size, coupling, precision):
    """Energy and specific heat within 4 standard errors; the energy known to ``precision`` and able to fail."""
    exact = kaufman_energy(coupling, size, size)
    averages = energies.mean(axis=0)
    error = averages.std(ddof=1) / math.sqrt(len(averages))
    assert abs(averages.mean() - exact) < 4 * error < precision * abs(exact)
    for wrong in (coupling - 0.03, coupling + 0.03):
        assert abs(averages.mean() - kaufman_energy(wrong, size, size)) > 4 * error
    squares = ((energies - exact) ** 2).mean(axis=0) * coupling**2 * size**2
    spread = squares.std(ddof=1) / math.sqrt(len(squares))
    assert abs(squares.mean() - kaufman_specific_heat(coupling, size, size)) < 4 * spread


def sampled_energies(method, size, coupling, chunks):
    """Energies after the sampler's own equilibration from hot and cold starts, and its report."""
    spins, report = sample_square_with_report(jax.random.key(size), coupling, size, WALKERS, method, WALKERS)
    return watch(spins, method, coupling, chunks)[0], report


COUPLINGS = (0.408, KC, 0.5)
# Larger lattices take the same code, and cluster labels of all sizes are compared with another implementation's.
QUICK = [(method, 8, coupling) for method in METHODS for coupling in COUPLINGS]
LARGER = [("swendsen_wang", 4, KC), *((method, 16, coupling) for method in METHODS for coupling in COUPLINGS)]
LARGE = [("swendsen_wang", 40, coupling) for coupling in COUPLINGS] + [("heat_bath", 40, 0.408)]
SLOW = [pytest.param(*case, marks=pytest.mark.slow) for case in [*LARGER, *LARGE]]


@pytest.mark.parametrize(("method", "size", "coupling"), [*QUICK, *SLOW])
def test_energy_and_specific_heat_against_kaufman(method, size, coupling):
    energies, report = sampled_energies(method, size, coupling, chunks=8)
    must_agree_with_kaufman(energies, size, coupling, precision=0.02 if size == 40 else 0.06)
    assert report.method == method and report.discarded >= 40 * report.energy.autocorrelation.time
    assert max(abs(report.energy.deviation), abs(report.squared_magnetization.deviation)) < 3
    assert report.squared_magnetization.autocorrelation.closed


@pytest.mark.slow
def test_large_ordered_lattices_by_heat_bath():
    """From aligned spins: K = 0.5 is deep in the ordered phase, and within 640 sweeps the start is forgotten."""
    start = start_spins(jax.random.key(0), 40, WALKERS, "cold")
    _, spins = watch(start, "heat_bath", 0.5, chunks=20)
    energies, _ = watch(spins, "heat_bath", 0.5, chunks=20, first=20)
    assert integrated_autocorrelation_time(energies.T).time < 640 / 20
    must_agree_with_kaufman(energies, 40, 0.5, precision=0.005)


@pytest.mark.slow
def test_large_critical_lattices_keep_their_law_under_heat_bath():
    """512 sweeps from cluster samples; that they move energies at all is seen from the coupling 0.03 away."""
    start = sample_square(jax.random.key(40), KC, 40, WALKERS, walkers=WALKERS)
    energies, _ = watch(start, "heat_bath", KC, chunks=16)
    must_agree_with_kaufman(energies, 40, KC, precision=0.03)
    moved, _ = watch(start, "heat_bath", KC - 0.03, chunks=16)
    assert abs(moved[256:].mean() - kaufman_energy(KC - 0.03, 40, 40)) < 0.01
    assert abs(moved[256:].mean() - kaufman_energy(KC, 40, 40)) > 0.1


def test_starts_that_have_not_met_are_noticed():
    with pytest.raises(RuntimeError, match=r"max_sweeps = 64: hot and cold start have not met .* errors apart"):
        sample_square(jax.random.key(0), 0.6, 16, 64, "heat_bath", 64, max_sweeps=64)
    rng = np.random.default_rng(0)
    same, shifted = rng.normal(size=(2, 40, 100)) + np.array([0, 0.2])[:, None, None]
    assert abs(compare_starts(same[:20], same[20:]).deviation) < 3 < abs(compare_starts(same, shifted).deviation)
    agreed = compare_starts(same[:20], same[20:])
    assert in_equilibrium([agreed], 40, 100)
    assert not in_equilibrium([agreed, compare_starts(same, shifted)], 40, 100)
    assert not in_equilibrium([agreed], 4, 100) and not in_equilibrium([agreed], 4000, 9)


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.9, -0.3, -0.9])
def test_autocorrelation_time_of_a_known_process(memory):
    rng = np.random.default_rng(5)
    series = np.empty((32, 2000))
    series[:, 0] = rng.normal(size=32)
    for time in range(1, series.shape[1]):
        series[:, time] = memory * series[:, time - 1] + math.sqrt(1 - memory**2) * rng.normal(size=32)
    exact = 0.5 * (1 + memory) / (1 - memory)
    for values in (series + 3, series.ravel()):
        found = integrated_autocorrelation_time(values)
        # What the window leaves out of an exponential is exp(-5) of it.
        assert abs(found.time - exact) < 4 * found.error + 0.01 * exact and found.closed
        assert found.error < 0.1 * max(exact, 0.5)
    # The error of the mean, which is what the time is for.
    naive = series.std() / math.sqrt(series.size)
    spread = series.mean(axis=1).std(ddof=1) / math.sqrt(32)
    assert naive * math.sqrt(2 * exact) == pytest.approx(spread, rel=0.45)


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("walkers", [1, 8])
def test_autocorrelation_time_of_a_second_implementation(memory, walkers):
    rng, values = np.random.default_rng(3), np.zeros((walkers, 4000))
    for t in range(1, 4000):
        values[:, t] = memory * values[:, t - 1] + rng.normal(size=walkers)
    found = integrated_autocorrelation_time(values)
    # emcee counts both signs of the lag, in the time and in the window. It takes from each walker its own mean, and
    # divides every sum of products by the whole length: the two differ by some 2 window / sweeps.
    other = emcee.autocorr.integrated_time(values.T[:, :, None], c=WINDOW / 2, tol=0)[0] / 2
    assert found.time == pytest.approx(other, rel=0.02)


def test_a_time_is_never_negative():
    for series in (np.array([1.0, -1.0] * 500), np.array([2.0, -1.0, -1.0] * 300), np.array([1.0, -1.0])):
        found = integrated_autocorrelation_time(series)
        assert found.time >= 0 and found.error >= 0 and (found.time > 0 or not found.closed)


@pytest.mark.parametrize(("method", "size"), [("swendsen_wang", 3), ("swendsen_wang", 4), ("heat_bath", 4)])
def test_advice_where_starts_do_not_meet_is_another_way(method, size):
    with pytest.raises(RuntimeError, match=r"max_sweeps = 0: .*; allow more sweeps") as raised:
        sample_square_with_report(jax.random.key(0), -2.0, size, 64, method, 64, max_sweeps=0)
    assert ("take method = 'swendsen_wang'" in str(raised.value)) == (method == "heat_bath")
    assert ("take an even size" in str(raised.value)) == (size == 3)


def test_short_and_constant_series():
    # Walkers that never move, each somewhere else: no window is ever long enough.
    assert not integrated_autocorrelation_time(np.repeat(np.arange(4.0)[:, None], 10, axis=1)).closed
    assert integrated_autocorrelation_time(np.full((3, 10), 0.1)) == (0.5, 0.0, 0, True)


@pytest.mark.slow
def test_exponents_from_blocked_samples():
    """Measured once with 16384 samples, by the first 1, 2 and 3 even operators (one standard error 0.007).

    y_t = 0.913, 0.965, 0.968 at level 0, 0.951, 0.997, 1.001 at level 1, 0.942, 0.995, 0.997 at level 2. The yardstick
    is level 1 with three operators: the finest step starts from the nearest-neighbour model, not from the fixed point
    of the majority rule, and the bias of that is 0.03.
    """
    spins = sample_square(jax.random.key(3), KC, 32, 6144, walkers=256)
    lattices = [spins]
    for key in jax.random.split(jax.random.key(1), 2):
        lattices.append(jax.jit(block_majority)(key, lattices[-1]))

    def exponents(operators):
        values = [np.asarray(operators(each), np.float64) for each in lattices]
        steps = [exponents_of_step(*pair, walkers=256) for pair in itertools.pairwise(values)]
        return (np.stack(part) for part in zip(*steps, strict=True))

    (thermal, thermal_error), (magnetic, magnetic_error) = exponents(even_operators), exponents(odd_operators)
    assert (thermal_error < 0.015).all() and (magnetic_error < 0.002).all()
    # The whole 95 % interval lies within 0.05 of 1, with two operators and with three.
    assert (abs(thermal[1, 1:] - 1) + 2 * thermal_error[1, 1:]).max() < 0.05
    assert abs(thermal[0, 2] - 0.968) < 4 * math.hypot(thermal_error[0, 2], 0.007)
    # One operator on the finest level is no yardstick, and the test can tell.
    assert abs(thermal[0, 0] - 1) - 2 * thermal_error[0, 0] > 0.05
    assert abs(magnetic[1] - 15 / 8).max() < 0.01
    magnetization = np.asarray(spins, float).mean(axis=(1, 2))
    assert (magnetization**4).mean() / (magnetization**2).mean() ** 2 == pytest.approx(1.168, abs=0.02)
    assert (magnetization**2).mean() * 32**0.25 == pytest.approx(1.092, abs=0.04)
