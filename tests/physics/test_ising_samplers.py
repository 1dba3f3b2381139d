"""Ising samplers against enumeration, their updates against exact transition matrices; see test_ising_equilibrium.

Every statistical test has a fixed key and a false-alarm rate of 1e-4 or below: chi-square at 1e-4, four sigma at 6e-5
two-sided. Where it makes sense a nearby wrong coupling shows that the test can fail.
"""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.stats import chi2

from rgflow.exact.enumeration import enumerate_ising, log_weights, ring_couplings, spin_states, torus_couplings
from rgflow.exact.ising import CRITICAL_COUPLING
from rgflow.exact.ring import ring_correlation
from rgflow.samplers import ising
from rgflow.samplers.clusters import label_clusters
from rgflow.samplers.equilibration import compare_starts, integrated_autocorrelation_time
from rgflow.samplers.ising import sample_ring, sample_square
from rgflow.samplers.square import (
    SWEEPS,
    _needed_field,
    heat_bath_sweep,
    heat_bath_sweep_unpacked,
    observe,
    open_bonds,
    start_spins,
    swendsen_wang_sweep,
)

FALSE_ALARM = 1e-4
KC = CRITICAL_COUPLING
METHODS = tuple(SWEEPS)
RING = jax.jit(sample_ring, static_argnums=(2, 3))
LABELS = jax.jit(jax.vmap(label_clusters))


def state_numbers(spins):
    """Number of each configuration in the order of the enumeration."""
    flat = np.asarray(spins).reshape(len(spins), -1)
    return (flat > 0) @ (1 << np.arange(flat.shape[1]))


def probabilities(couplings):
    weight = np.exp(log_weights(couplings))
    return weight / weight.sum()


def pvalue(counts, expected, smallest=5.0):
    """Chi-square with cells of few expected counts pooled into one."""
    counts, expected = np.ravel(counts), np.ravel(expected)
    few = expected < smallest
    if few.any():
        counts, expected = (np.append(part[~few], part[few].sum()) for part in (counts, expected))
        counts, expected = counts[expected > 0], expected[expected > 0]
    return chi2.sf(((counts - expected) ** 2 / expected).sum(), len(expected) - 1)


@pytest.mark.parametrize(("coupling", "num_sites"), [(0.7, 5), (-0.6, 5), (0.0, 5), (2.0, 5), (-3.0, 6), (0.4, 2)])
def test_ring_against_enumeration(coupling, num_sites):
    spins = RING(jax.random.key(1), coupling, num_sites, 20_000)
    assert spins.dtype == jnp.int8 and spins.shape == (20_000, num_sites)
    counts = np.bincount(state_numbers(spins), minlength=2**num_sites)
    assert pvalue(counts, 20_000 * probabilities(ring_couplings(coupling, num_sites))) > FALSE_ALARM
    wrong = probabilities(ring_couplings(coupling + 0.08, num_sites))
    if abs(coupling) < 1:
        assert pvalue(counts, 20_000 * wrong) < FALSE_ALARM


def test_long_ring_correlations():
    spins = np.asarray(RING(jax.random.key(2), 1.1, 200, 4000), float)
    for distance in (1, 5, 20, 100):
        products = (spins * np.roll(spins, distance, axis=1)).mean(axis=1)
        error = products.std() / math.sqrt(len(products))
        assert abs(products.mean() - ring_correlation(1.1, 200, distance)) < 4 * error
    assert np.abs(spins.mean(axis=0)).max() < 5 / math.sqrt(len(spins))


def test_ring_at_extreme_couplings():
    for coupling, expected in ((100.0, 1.0), (-100.0, -1.0)):
        spins = np.asarray(RING(jax.random.key(0), coupling, 6, 20_000), int)
        assert (spins * np.roll(spins, 1, axis=1) == expected).all()
    # An odd antiferromagnetic ring has exactly one unsatisfied bond, anywhere.
    spins = np.asarray(RING(jax.random.key(0), -100.0, 5, 20_000), int)
    unsatisfied = spins * np.roll(spins, -1, axis=1) == 1
    assert (unsatisfied.sum(axis=1) == 1).all()
    assert pvalue(unsatisfied.sum(axis=0), np.full(5, 4000.0)) > FALSE_ALARM


def test_couplings_are_traced_by_the_ring_sampler():
    couplings = jnp.array([-0.5, 0.2, 0.9])
    keys = jax.random.split(jax.random.key(3), 3)
    swept = jax.jit(jax.vmap(lambda key, coupling: sample_ring(key, coupling, 8, 16)))(keys, couplings)
    for key, coupling, spins in zip(keys, couplings, swept, strict=True):
        np.testing.assert_array_equal(RING(key, coupling, 8, 16), spins)


def reference_labels(right, down):
    """Connected components by scipy; each named by the smallest number of its sites."""
    sites = np.arange(right.size).reshape(right.shape)
    starts = np.concatenate([sites[right], sites[down]])
    ends = np.concatenate([np.roll(sites, -1, 1)[right], np.roll(sites, -1, 0)[down]])
    graph = coo_matrix((np.ones(len(starts)), (starts, ends)), shape=(right.size,) * 2)
    component = connected_components(graph, directed=False)[1]
    _, first = np.unique(component, return_index=True)
    return first[component].reshape(right.shape)


def some_bonds(shape):
    """Below, at and above the percolation threshold: clusters that wrap, one way and both, come with the last two."""
    chance = np.repeat([0.0, 0.2, 0.5, 0.6, 1.0], [1, 20, 40, 20, 1])[:, None, None, None]
    return np.random.default_rng(4).random((len(chance), 2, *shape)) < chance


# One tile, more along one axis and along both, sides without a tile.
@pytest.mark.parametrize("shape", [(2, 2), (5, 5), (7, 30), (36, 40), (17, 19)])
def test_cluster_labels_against_scipy(shape):
    bonds = some_bonds(shape)
    found = np.asarray(LABELS(bonds[:, 0], bonds[:, 1]))
    for labels, (right, down) in zip(found, bonds, strict=True):
        np.testing.assert_array_equal(labels, reference_labels(right, down))


@pytest.mark.parametrize("shape", [(7, 30), pytest.param((36, 40), marks=pytest.mark.slow)])
def test_cluster_labels_count_through_what_one_call_is_given(shape):
    """Without vmap, and with part of the batch below it."""
    bonds = some_bonds(shape)
    found, sites = np.asarray(LABELS(bonds[:, 0], bonds[:, 1])), np.prod(shape)
    whole = np.asarray(jax.jit(label_clusters)(bonds[:, 0], bonds[:, 1]))
    np.testing.assert_array_equal(whole, found + sites * np.arange(len(found))[:, None, None])
    split = bonds[:82].reshape(2, 41, 2, *shape)
    parts = LABELS(split[:, :, 0], split[:, :, 1])
    np.testing.assert_array_equal(parts, whole[:82].reshape(parts.shape) % (41 * sites))


@pytest.mark.parametrize("side", [16, 48])
def test_cluster_labels_of_long_paths(side):
    # A snake through the whole lattice, and a spiral of one wrapping row: worst cases for labels that walk.
    rows, cols = side, side
    right, down = np.ones((rows, cols), bool), np.zeros((rows, cols), bool)
    right[:, -1] = False
    down[np.arange(rows), np.where(np.arange(rows) % 2, 0, cols - 1)] = True
    down[-1] = False
    label = jax.jit(label_clusters)
    assert (np.asarray(label(right, down)) == 0).all()
    right, down = np.ones((rows, cols), bool), np.zeros((rows, cols), bool)
    expected = np.repeat(np.arange(rows)[:, None] * cols, cols, axis=1)
    np.testing.assert_array_equal(label(right, down), expected)


@pytest.mark.parametrize("snakes", [0, 1, 8, 9, 30, 32])
def test_slow_tiles_are_settled_apart_however_many_there_are(snakes):
    # 32 lattices of 2 x 2 tiles: 8 tiles are left to go on without the others, and a snake fills the 4 of its lattice.
    side, rng = 32, np.random.default_rng(snakes)
    bonds = rng.random((32, 2, side, side)) < 0.45
    rows = np.arange(side)
    slow = rng.permutation(32)[:snakes]
    bonds[slow, 0] = (rows + 1) % 16 != 0
    bonds[slow, 1] = False
    for row in rows[(rows + 1) % 16 != 0]:
        for turn in (15, 31) if row % 2 == 0 else (0, 16):
            bonds[slow, 1, row, turn] = True
    found = LABELS(bonds[:, 0], bonds[:, 1])
    for labels, (right, down) in zip(found, bonds, strict=True):
        np.testing.assert_array_equal(labels, reference_labels(right, down))


def heat_bath_matrix(coupling, colour):
    """Exact transition matrix of drawing one colour of the 2 x 2 torus anew; of sites, not of a lattice roll."""
    states = spin_states(4).astype(float)
    drawn = [0, 3] if colour == 0 else [1, 2]
    field = states @ torus_couplings(coupling, 2, 2)
    matrix = np.ones((16, 16))
    for site in range(4):
        if site in drawn:
            matrix *= 1 / (1 + np.exp(-2 * np.outer(field[:, site], states[:, site])))
        else:
            matrix *= states[:, None, site] == states[None, :, site]
    return matrix


def swendsen_wang_matrix(coupling):
    """Exact transition matrix of one cluster update of the 2 x 2 torus, over all open and closed bonds."""
    sites = np.arange(4).reshape(2, 2)
    bonds = [(i, j) for axis in (1, 0) for i, j in zip(sites.ravel(), np.roll(sites, -1, axis).ravel(), strict=True)]
    states, matrix = spin_states(4).astype(int), np.zeros((16, 16))
    for number, spins in enumerate(states):
        chance = [1 - math.exp(-2 * max(coupling * spins[i] * spins[j], 0)) for i, j in bonds]
        for is_open in itertools.product((False, True), repeat=len(bonds)):
            weight = math.prod(c if o else 1 - c for c, o in zip(chance, is_open, strict=True))
            if weight:
                chosen = np.array([bond for bond, o in zip(bonds, is_open, strict=True) if o], int).reshape(-1, 2)
                graph = coo_matrix((np.ones(len(chosen)), chosen.T), shape=(4, 4))
                count, component = connected_components(graph, directed=False)
                for signs in itertools.product((-1, 1), repeat=count):
                    target = state_numbers([spins * np.array(signs)[component]])[0]
                    matrix[number, target] += weight / 2**count
    return matrix


@pytest.mark.parametrize("coupling", [0.3, -0.2])
def test_transitions_of_one_sweep(coupling):
    """Every row of the transition matrix of the code itself, and detailed balance of the exact one it must equal."""
    stationary = probabilities(torus_couplings(coupling, 2, 2))
    colours = [heat_bath_matrix(coupling, colour) for colour in (0, 1)]
    clusters = swendsen_wang_matrix(coupling)
    for matrix in (*colours, clusters):
        flow = stationary[:, None] * matrix
        np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-12)
        np.testing.assert_allclose(flow, flow.T, atol=1e-14)
    copies = 3000
    spins = jnp.repeat(jnp.asarray(spin_states(4)).reshape(16, 2, 2), copies, axis=0)
    laws = dict.fromkeys((heat_bath_sweep, heat_bath_sweep_unpacked), colours[0] @ colours[1])
    for sweep, exact in {**laws, swendsen_wang_sweep: clusters}.items():
        after, counts = jax.jit(sweep)(jax.random.key(6), spins, coupling), np.zeros((16, 16))
        np.add.at(counts, (np.repeat(np.arange(16), copies), state_numbers(after)), 1)
        assert min(pvalue(row, copies * law) for row, law in zip(counts, exact, strict=True)) > FALSE_ALARM / 32
        assert (counts[exact < 1e-12] == 0).all()


@pytest.mark.parametrize("coupling", [0.0, 0.2, KC, 1.0])
def test_heat_bath_chances(coupling):
    uniforms = ((np.arange(20_000) + 0.5) / 20_000).astype(np.float32).reshape(2, 100, 100)
    needed = np.asarray(jax.jit(_needed_field)(uniforms, np.float32(coupling)))
    for field in (-4, -2, 0, 2, 4):
        assert (field >= needed).mean() == pytest.approx(1 / (1 + math.exp(-2 * coupling * field)), abs=1e-4)


@pytest.mark.parametrize("coupling", [0.0, 0.2, -KC, 1.0])
def test_chances_of_both_bonds_from_one_word(coupling):
    words = (np.arange(2**16, dtype=np.uint32) << 16).reshape(1, 256, 256)
    checkers = np.where(np.indices((256, 256)).sum(axis=0) % 2 == 0, 1, -1).astype(np.int8)[None]
    satisfied, other = (np.ones_like(checkers), checkers)[:: 1 if coupling >= 0 else -1]
    opened = jax.jit(open_bonds)
    right, down = (np.asarray(bonds) for bonds in opened(words, satisfied, coupling))
    chance = 1 - math.exp(-2 * abs(coupling))
    for is_open, expected in ((right, chance), (down, chance), (right & down, chance**2)):
        assert is_open.mean() == pytest.approx(expected, abs=5e-5)
    assert not np.any(opened(words, other, coupling))


@pytest.mark.parametrize("method", METHODS)
def test_histogram_of_four_by_four(method):
    coupling, count = 0.4, 20_000
    spins = np.asarray(sample_square(jax.random.key(8), coupling, 4, count, method, walkers=500))
    states = spin_states(16).astype(int).reshape(-1, 4, 4)

    def classes(lattices):
        bonds = (lattices * (np.roll(lattices, 1, 1) + np.roll(lattices, 1, 2))).sum(axis=(1, 2), dtype=int)
        return (bonds + 32) // 4 * 17 + (lattices.sum(axis=(1, 2), dtype=int) + 16) // 2

    seen = np.bincount(classes(spins), minlength=17 * 17)
    for nearby, can_fail in ((coupling, False), (1.03 * coupling, True)):
        weight = probabilities(torus_couplings(nearby, 4, 4))
        expected = count * np.bincount(classes(states), weight, minlength=17 * 17)
        assert (pvalue(seen, expected) < FALSE_ALARM) == can_fail
    # The sixteen states of one plaquette, whose neighbours the classes above cannot tell apart.
    corner = np.bincount(state_numbers(spins[:, :2, :2]), minlength=16)
    plaquette = np.bincount(state_numbers(states[:, :2, :2]), probabilities(torus_couplings(coupling, 4, 4)))
    assert pvalue(corner, count * plaquette) > FALSE_ALARM


def test_moments_of_the_magnetization_against_enumeration():
    exact = enumerate_ising(torus_couplings(KC, 4, 4)).moments
    total = np.asarray(sample_square(jax.random.key(12), KC, 4, 4000, walkers=500), float).sum(axis=(1, 2))
    for order in (1, 2, 4):
        error = (total**order).std() / math.sqrt(len(total))
        assert abs((total**order).mean() - exact[order]) < 4 * error


def test_odd_lattices_and_antiferromagnets():
    exact = enumerate_ising(torus_couplings(-0.3, 3, 3))
    spins = sample_square(jax.random.key(4), -0.3, 3, 3000, walkers=3000)
    energy = np.asarray(observe(spins).energy, float) * 9
    expected = exact.energy / -0.3
    assert abs(energy.mean() - expected) < 4 * energy.std() / math.sqrt(len(energy))


def test_a_sweep_over_couplings_never_recompiles():
    sample_square(jax.random.key(0), 0.3, 4, 1000, walkers=500)
    sizes = ising._watch._cache_size(), ising._advance._cache_size()
    sample_square(jax.random.key(0), 0.41, 4, 1000, walkers=500)
    assert (ising._watch._cache_size(), ising._advance._cache_size()) == sizes


def test_samples_do_not_depend_on_jit_and_repeat():
    spins = start_spins(jax.random.key(1), 4, 3)
    plain = heat_bath_sweep(jax.random.key(2), spins, 0.4)
    assert plain.dtype == jnp.int8 and set(np.unique(plain)) <= {-1, 1}
    np.testing.assert_array_equal(jax.jit(heat_bath_sweep)(jax.random.key(2), spins, jnp.float32(0.4)), plain)
    one, other = (sample_square(jax.random.key(0), 0.3, 4, 1000, walkers=500) for _ in range(2))
    assert one.shape == (1000, 4, 4) and one.dtype == jnp.int8
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda key: sample_ring(key, math.nan, 4, 2), "coupling = nan: must be finite"),
        (lambda key: sample_ring(key, 0.3, 1, 2), "num_sites, batch = 1, 2: must be"),
        (lambda key: sample_square(key, math.inf, 4, 2), "coupling = inf: must be finite"),
        (lambda key: sample_square(key, 0.3, 1, 2), "size, batch = 1, 2: must be at least 2 and 1"),
        (lambda key: sample_square(key, 0.3, 4, 0), "size, batch = 4, 0: must be"),
        (lambda key: sample_square(key, 0.3, 5, 2, "heat_bath"), "size = 5: .*checkerboard needs an even number"),
        (lambda key: sample_square(key, 0.3, 4, 2, "wolff"), "method = 'wolff': must be one of swendsen_wang, heat"),
        (lambda key: sample_square(key, 0.3, 4, 2, walkers=17), "walkers = 17: must be an even number of at least 16"),
        (lambda key: jax.jit(lambda k: sample_square(key, k, 4, 2))(0.3), "coupling = traced: "),
        (lambda key: heat_bath_sweep(key, start_spins(key, 5, 2), 0.3), "size = 5: .*checkerboard"),
        (lambda key: start_spins(key, 1, 2), "size = 1: .* at least 2 sites"),
        (lambda key: start_spins(key, 4, 0), "batch = 0: must be at least 1"),
        (lambda key: start_spins(key, 4, 2, "warm"), "start = 'warm': must be one of hot, cold"),
        (lambda key: integrated_autocorrelation_time(np.array([1.0])), "series = 1 sweeps: must be"),
        (lambda key: integrated_autocorrelation_time(np.ones(4), window=0.0), "window = 0.0: must be positive"),
        (lambda key: compare_starts(np.ones((1, 4)), np.ones((2, 4))), "hot, cold = 1, 2 walkers: .* at least 2"),
    ],
)
def test_bad_input_is_refused_with_a_sentence(call, message, key):
    with pytest.raises(ValueError, match=message):
        call(key)
