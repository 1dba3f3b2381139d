"""Packed heat-bath sweeps: digits by enumeration, conditional chances, equilibrium, lattices that share a word.

Every statistical test has a fixed key and a false-alarm rate of 1e-4 or below: chi-square at 1e-4, four sigma at 7e-5
two-sided (Student's t of 256). A nearby wrong value shows that the test can fail.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2, chi2_contingency

from rgflow.exact.enumeration import log_weights, spin_states, torus_couplings
from rgflow.exact.torus import kaufman_energy
from rgflow.samplers import multispin, square
from rgflow.samplers.multispin import (
    DIGITS,
    LATTICES,
    bits_below,
    checkerboard,
    draw_below,
    heat_bath_sweep_packed,
)
from rgflow.samplers.square import heat_bath_sweep, heat_bath_sweep_unpacked

FALSE_ALARM = 1e-4
PACKED, UNPACKED = jax.jit(heat_bath_sweep), jax.jit(heat_bath_sweep_unpacked)
BELOW = jax.jit(bits_below)
pack_lattices, unpack_lattices = jax.jit(multispin.pack_lattices), jax.jit(multispin.unpack_lattices)
start_spins = jax.jit(square.start_spins, static_argnums=(1, 2, 3))
neighbour_sum, observe = jax.jit(square.neighbour_sum), jax.jit(square.observe)


def pvalue(counts, expected, smallest=5.0):
    """Chi-square with cells of few expected counts pooled into one."""
    few = expected < smallest
    if few.any():
        counts, expected = (np.append(part[~few], part[few].sum()) for part in (counts, expected))
        counts, expected = counts[expected > 0], expected[expected > 0]
    return chi2.sf(((counts - expected) ** 2 / expected).sum(), len(expected) - 1)


@jax.jit
def many_sweeps(key, packed, coupling, sweeps):
    def sweep(number, packed):
        return heat_bath_sweep_packed(jax.random.fold_in(key, number), packed, coupling)

    return jax.lax.fori_loop(0, sweeps, sweep, packed)


def digit_words(numbers, digits):
    """Words [digits, len(numbers) / 32] of which bit l of word w holds the digits of number 32 w + l."""
    bits = (numbers.reshape(-1, 32)[None] >> np.arange(digits - 1, -1, -1)[:, None, None]) & 1
    return (bits.astype(np.uint64) << np.arange(32, dtype=np.uint64)).sum(axis=2).astype(np.uint32)


def bits_of(words):
    return ((np.asarray(words)[..., None] >> np.arange(32)) & 1).reshape(*words.shape[:-1], -1)


def test_packing_and_unpacking_are_inverse():
    spins = start_spins(jax.random.key(0), 6, 96)
    packed = pack_lattices(spins)
    assert packed.shape == (3, 6, 6) and packed.dtype == jnp.uint32
    np.testing.assert_array_equal(unpack_lattices(packed), spins)
    words = jax.random.bits(jax.random.key(1), (2, 4, 4), jnp.uint32)
    np.testing.assert_array_equal(pack_lattices(unpack_lattices(words)), words)
    assert ((np.asarray(packed[1]) >> 7) & 1 == np.asarray(spins[39] > 0)).all()


def test_comparison_of_all_numbers_with_few_digits():
    """All 2^8 numbers of 8 digits once: exactly those below the rounded chance, in places and in number."""
    numbers = np.arange(256)
    chances = np.array([0.0, 0.0015, 0.0025, 0.1, 1 / 3, 0.5, 0.75, 0.997])
    found = bits_of(BELOW(digit_words(numbers, 8), chances.astype(np.float32)))
    thresholds = np.round(chances * 256)
    np.testing.assert_array_equal(found, numbers[None] < thresholds[:, None])
    np.testing.assert_array_equal(found.sum(axis=1), thresholds)
    assert thresholds[1] == 0 and thresholds[2] == 1


@pytest.mark.parametrize("coupling", [0.0, 0.2, 0.44, 1.0, 2.0])
def test_comparison_at_the_thresholds_of_a_sweep(coupling):
    for field in (2, 4):
        chance = 1 / (1 + math.exp(2 * coupling * field))
        threshold = round(chance * 2**DIGITS)
        numbers = np.clip(threshold + np.arange(-16, 16), 0, 2**DIGITS - 1)
        found = bits_of(BELOW(digit_words(numbers, DIGITS), np.array([chance], np.float32)))[0]
        # Half a digit is what float32 leaves open between neighbours.
        np.testing.assert_array_equal(found[numbers < threshold - 1], 1)
        np.testing.assert_array_equal(found[numbers > threshold], 0)
        assert abs(np.count_nonzero(found) - np.count_nonzero(numbers < threshold)) <= 1


@pytest.mark.parametrize("kind", ["threefry2x32", "rbg"])
def test_comparison_as_words_are_drawn_is_that_of_all_words(kind):
    key, chances = jax.random.key(18, impl=kind), jnp.array([0.1, 0.3, 0.0])
    words = jax.random.bits(key, (DIGITS, 500), jnp.uint32)
    coin, below = jax.jit(draw_below, static_argnums=2)(key, chances, 500)
    np.testing.assert_array_equal(coin, words[0])
    np.testing.assert_array_equal(below, BELOW(words, chances))


@pytest.mark.parametrize("sweep", [PACKED, UNPACKED])
@pytest.mark.parametrize("coupling", [0.0, 0.2, 0.408, 0.9, -0.3, -0.44])
def test_conditional_chances_for_every_neighbour_sum(sweep, coupling):
    """Even squares saw the old odd ones, odd squares the new even ones; each draw is independent given its sum."""
    before = start_spins(jax.random.key(2), 16, 1024)
    new = np.asarray(sweep(jax.random.key(3), before, coupling))
    even = np.asarray(checkerboard(16))[None]
    old, seen = (np.asarray(neighbour_sum(np.where(even, part, before))) for part in (before, new))
    fields = np.where(even, old, seen)
    for nearby, can_fail in ((coupling, False), (coupling + 0.05, True)):
        counts, expected = [], []
        for field in (-4, -2, 0, 2, 4):
            drawn, chance = new[fields == field], 1 / (1 + math.exp(-2 * nearby * field))
            counts += [(drawn > 0).sum(), (drawn < 0).sum()]
            expected += [len(drawn) * chance, len(drawn) * (1 - chance)]
        terms = (np.array(counts) - expected) ** 2 / np.array(expected)
        assert (chi2.sf(terms.sum(), 5) < FALSE_ALARM) == can_fail


@pytest.mark.parametrize("coupling", [30.0, math.inf])
def test_large_couplings_of_either_sign(coupling):
    cold = start_spins(jax.random.key(0), 4, 32, "cold")
    squares = np.where(np.asarray(checkerboard(4)), -1, 1)
    for sign, final in ((1, np.ones_like(squares)), (-1, squares)):
        after = PACKED(jax.random.key(4), cold, sign * coupling)
        np.testing.assert_array_equal(after, np.broadcast_to(final, cold.shape))
        np.testing.assert_array_equal(PACKED(jax.random.key(5), after, sign * coupling), after)


@pytest.mark.parametrize("coupling", [0.3, -0.3])
def test_histogram_of_four_by_four(coupling):
    count = 16_384
    packed = pack_lattices(start_spins(jax.random.key(6), 4, count))
    spins = np.asarray(unpack_lattices(many_sweeps(jax.random.key(7), packed, coupling, 60)), int)
    states = spin_states(16).astype(int).reshape(-1, 4, 4)

    def classes(lattices):
        bonds = (lattices * (np.roll(lattices, 1, 1) + np.roll(lattices, 1, 2))).sum(axis=(1, 2))
        return (bonds + 32) // 4 * 17 + (lattices.sum(axis=(1, 2)) + 16) // 2

    seen = np.bincount(classes(spins), minlength=17 * 17)
    for nearby, can_fail in ((coupling, False), (1.04 * coupling, True)):
        weight = np.exp(log_weights(torus_couplings(nearby, 4, 4)))
        expected = count * np.bincount(classes(states), weight / weight.sum(), minlength=17 * 17)
        assert (pvalue(seen, expected) < FALSE_ALARM) == can_fail


@pytest.mark.parametrize("coupling", [0.2, 0.408])
def test_energy_against_kaufman(coupling):
    """Means over 300 sweeps of 256 lattices, half of them from a cold start."""
    halves = [start_spins(jax.random.key(8), 8, 128, start) for start in ("hot", "cold")]
    packed = many_sweeps(jax.random.key(9), pack_lattices(jnp.concatenate(halves)), coupling, 300)

    def watch(packed, key):
        packed = heat_bath_sweep_packed(key, packed, coupling)
        return packed, observe(unpack_lattices(packed)).energy

    watched = jax.jit(lambda packed, keys: jax.lax.scan(watch, packed, keys)[1])
    energies = np.asarray(watched(packed, jax.random.split(jax.random.key(10), 300)), float)
    averages = energies.mean(axis=0)
    error = averages.std(ddof=1) / math.sqrt(len(averages))
    assert abs(averages.mean() - kaufman_energy(coupling, 8, 8)) < 4 * error
    for wrong in (coupling - 0.01, coupling + 0.01):
        assert abs(averages.mean() - kaufman_energy(wrong, 8, 8)) > 4 * error


def test_lattices_of_a_word_are_independent():
    """Correlations of all pairs of magnetizations in a word, over 2000 words: chi-square, and their mean."""
    packed = pack_lattices(start_spins(jax.random.key(0), 4, 2000 * LATTICES, "cold"))
    spins = unpack_lattices(many_sweeps(jax.random.key(11), packed, 0.3, 50))
    magnetization = np.asarray(spins, float).sum(axis=(1, 2)).reshape(-1, LATTICES)

    def scores(magnetization):
        pairs = np.triu_indices(LATTICES, 1)
        return np.corrcoef(magnetization.T)[pairs] * math.sqrt(len(magnetization))

    def independent(scores):
        return chi2.sf((scores**2).sum(), len(scores)) > FALSE_ALARM and abs(scores.mean()) * math.sqrt(len(scores)) < 4

    assert independent(scores(magnetization))
    copied = magnetization.copy()
    copied[:600, 1::2] = copied[:600, ::2]
    assert not independent(scores(copied))


@pytest.mark.parametrize("coupling", [0.35, -0.6])
def test_packed_and_unpacked_sweeps_agree_in_law(coupling):
    """Histograms of energy and magnetization three sweeps after a cold start; another coupling must differ."""

    def classes(sweep, coupling, seed):
        spins = start_spins(jax.random.key(0), 6, 8192, "cold")
        for key in jax.random.split(jax.random.key(seed), 3):
            spins = sweep(key, spins, coupling)
        seen = observe(spins)
        energy = np.clip(np.round(np.asarray(seen.energy) * 3), -5, 5).astype(int) + 5
        return np.bincount(energy * 2 + (np.asarray(seen.squared_magnetization) > 0.1), minlength=22)

    def homogeneous(*histograms):
        table = np.stack(histograms)
        return chi2_contingency(table[:, table.sum(axis=0) >= 20]).pvalue > FALSE_ALARM

    packed = classes(PACKED, coupling, 12)
    assert homogeneous(packed, classes(UNPACKED, coupling, 13))
    assert not homogeneous(packed, classes(UNPACKED, 1.05 * coupling, 13))


def test_multiples_of_thirty_two_lattices_go_packed_with_and_without_jit():
    key = jax.random.key(14)
    spins = start_spins(jax.random.key(15), 4, 64)
    packed = unpack_lattices(many_sweeps(key, pack_lattices(spins), 0.4, 1))
    assert packed.dtype == jnp.int8 and set(np.unique(packed)) == {-1, 1}
    first = jax.random.fold_in(key, 0)
    np.testing.assert_array_equal(PACKED(first, spins, 0.4), packed)
    np.testing.assert_array_equal(heat_bath_sweep(first, spins, 0.4), packed)
    np.testing.assert_array_equal(PACKED(key, spins[:63], 0.4), UNPACKED(key, spins[:63], 0.4))
    assert (np.asarray(packed) != np.asarray(UNPACKED(first, spins, 0.4))).any()


def test_runs_with_traced_couplings_of_either_sign():
    couplings = jnp.array([-0.5, 0.0, 0.4])
    keys = jax.random.split(jax.random.key(16), 3)
    spins = start_spins(jax.random.key(17), 4, 96).reshape(3, 32, 4, 4)
    swept = jax.jit(jax.vmap(heat_bath_sweep))(keys, spins, couplings)
    for number in range(3):
        np.testing.assert_array_equal(swept[number], PACKED(keys[number], spins[number], couplings[number]))


def test_bad_input_is_refused_with_a_sentence(key):
    with pytest.raises(ValueError, match="spins = 31 lattices: must be a multiple of 32"):
        pack_lattices(start_spins(key, 4, 31))
    for sweep, lattices in ((heat_bath_sweep, 32), (heat_bath_sweep, 3), (heat_bath_sweep_unpacked, 32)):
        with pytest.raises(ValueError, match=r"size = 5: .*checkerboard needs an even number"):
            sweep(key, start_spins(key, 5, lattices), 0.3)
