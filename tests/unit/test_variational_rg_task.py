"""Shuffled controls keep what they say and destroy the rest; bits and back."""

import jax.numpy as jnp
import numpy as np
import pytest

from rgflow.exact.torus import kaufman_energy
from rgflow.variational_rg import task

OPTIMISED = True
"""Long chains are drawn here: the samples take longer than the programs."""


@pytest.fixture(scope="module")
def samples():
    return task.lattice_samples(0.408, 8, 2000, 0)[0]


def correlations(samples, size, axis, distance=1):
    lattices = samples.reshape(-1, size, size).astype(float)
    return np.mean(lattices * np.roll(lattices, distance, axis), axis=(1, 2))


def test_samples_are_those_of_the_lattice_and_repeat(samples):
    energy = -(correlations(samples, 8, 1) + correlations(samples, 8, 2))
    error = energy.std() / len(energy) ** 0.5
    # Samples of one walker are 4 autocorrelation times apart; four sigma, false-alarm rate 6e-5.
    assert abs(energy.mean() - kaufman_energy(0.408, 8, 8)) < 4 * error
    assert abs(energy.mean() - kaufman_energy(0.38, 8, 8)) > 4 * error
    task.lattice_samples.cache_clear()
    assert (task.lattice_samples(0.408, 8, 2000, 0)[0] == samples).all()
    few, *others = (
        task.lattice_samples(*drawn)[0] for drawn in ((0.408, 8, 64, 0), (0.408, 8, 64, 1), (0.41, 8, 64, 0))
    )
    assert all((other != few).any() for other in others)


def test_shuffled_sites_keep_means_and_lose_correlations(samples):
    shuffled = task.shuffled(samples, 8, "sites", 3)
    assert (shuffled.sum(axis=0) == samples.sum(axis=0)).all()
    # Rows of 64 independent products of spins: four sigma of their mean.
    bound = 4 / (samples.size) ** 0.5
    assert abs(correlations(shuffled, 8, 1).mean()) < bound and abs(correlations(shuffled, 8, 2).mean()) < bound
    assert correlations(samples, 8, 1).mean() > 10 * bound


def test_shuffled_bonds_keep_the_energy_of_rows_alone(samples):
    shuffled = task.shuffled(samples, 8, "bonds", 3)
    assert set(np.unique(shuffled)) == {-1, 1}
    rows = lambda x: (x.reshape(-1, 8).astype(int) * np.roll(x.reshape(-1, 8).astype(int), -1, axis=1)).sum(axis=1)  # noqa: E731
    assert (rows(shuffled) == rows(samples)).all()
    assert (shuffled != samples).any()
    # Spins of different rows are independent: each row's first spin is drawn anew.
    assert abs(correlations(shuffled, 8, 1).mean()) < 4 / (len(samples) * 8) ** 0.5
    # Within a row the bonds no longer know their places.
    far = correlations(shuffled, 8, 2, 4).mean()
    assert far < correlations(samples, 8, 2, 4).mean()


def test_no_shuffle_is_the_data_itself_and_others_are_refused(samples):
    assert task.shuffled(samples, 8, "none", 0) is samples
    with pytest.raises(ValueError, match=r"^shuffle = 'rows': must be one of none, sites, bonds$"):
        task.shuffled(samples, 8, "rows", 0)


@pytest.mark.parametrize("sites", [1, 8, 9, 400])
def test_bits_and_back(sites):
    spins = np.random.default_rng(sites).choice(np.array([-1, 1], np.int8), (5, sites))
    packed = task.pack(spins)
    assert packed.dtype == np.uint8 and packed.shape == (5, -(-sites // 8))
    assert (np.asarray(task.unpack(jnp.asarray(packed), sites)) == spins).all()


def test_what_is_no_spin_is_not_packed():
    with pytest.raises(ValueError, match=r"^samples = not spins: every entry must be -1 or 1$"):
        task.pack(np.array([[0, 1]], np.int8))
