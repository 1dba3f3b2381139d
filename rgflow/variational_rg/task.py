r"""What a machine learns from: equilibrium Ising samples, shuffled controls, and the samples as bits.

Samples are spins $\pm1$ in int8, one row each, site number r size + c. A control keeps something of the data and
destroys the rest: ``sites`` permutes every site's values among the samples, which leaves each spin's mean and no
correlation; ``bonds`` permutes the bonds within every row of every sample, which leaves each row's energy and magnetic
symmetry, and no blocks of more than one row.
"""

import functools
import zlib
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int8, UInt8

from rgflow.samplers.ising import SquareReport, sample_square_with_report
from rgflow.types import Config

SHUFFLES = ("none", "sites", "bonds")

Samples = Int8[np.ndarray, "_ sites"]
"""Spins, one sample a row; training and test samples differ in number."""


@functools.lru_cache(maxsize=32)
def lattice_samples(coupling: float, size: int, number: int, seed: int) -> tuple[Samples, SquareReport]:
    r"""Returns independent-looking equilibrium samples of the periodic square lattice and how they came about.

    Swendsen-Wang walkers whose equilibration is decided by two starts, samples at least four autocorrelation times
    apart (:mod:`rgflow.samplers.ising`); random numbers depend on (seed, coupling, size) alone. Raises what
    ``sample_square_with_report`` raises.
    """
    key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(repr((float(coupling), size)).encode()))
    spins, report = sample_square_with_report(key, coupling, size, number)
    return np.asarray(spins).reshape(number, size * size), report


def shuffle_bonds(samples: Samples, size: int, seed: int) -> Samples:
    r"""Returns samples whose bonds $s_c s_{c+1}$ are permuted within every periodic row, its first spin drawn anew.

    The product of a row's bonds stays 1, so that every row closes, and so does its energy; spins of different rows
    become uncorrelated.

    >>> spins = np.array([[1, 1, -1, -1], [1, 1, 1, 1], [-1, 1, 1, 1], [1, -1, -1, 1]], np.int8).reshape(1, 16)
    >>> rows = shuffle_bonds(spins, 4, 0).reshape(4, 4)
    >>> (rows * np.roll(rows, -1, axis=1)).sum(axis=1).tolist()
    [0, 4, 0, 0]
    """
    generator = np.random.default_rng(seed)
    rows = samples.reshape(-1, size)
    bonds = generator.permuted(rows * np.roll(rows, -1, axis=1), axis=1)
    first = generator.choice(np.array([-1, 1], np.int8), (len(rows), 1))
    spins = np.cumprod(np.concatenate([first, bonds[:, :-1]], axis=1), axis=1, dtype=np.int8)
    return spins.reshape(samples.shape)


def shuffled(samples: Samples, size: int, shuffle: str, seed: int) -> Samples:
    """Returns the samples, or a control made of them (see the module). Raises ValueError for an unknown ``shuffle``."""
    if shuffle not in SHUFFLES:
        raise ValueError(f"shuffle = {shuffle!r}: must be one of {', '.join(SHUFFLES)}")
    if shuffle == "sites":
        return np.random.default_rng(seed).permuted(samples, axis=0)
    return shuffle_bonds(samples, size, seed) if shuffle == "bonds" else samples


@functools.lru_cache(maxsize=32)
def data(
    coupling: float, size: int, shuffle: str, num_samples: int, num_test: int, seed: int
) -> tuple[Samples, Samples, SquareReport]:
    """Returns training samples, test samples and how both came about; controls are shuffled apart."""
    drawn, report = lattice_samples(coupling, size, num_samples + num_test, seed)
    samples, test = (shuffled(part, size, shuffle, seed + k) for k, part in enumerate(np.split(drawn, [num_samples])))
    return samples, test, report


def data_keys(config: Config) -> tuple[Any, ...]:
    """Returns what the data of a stack depend on, the arguments of :func:`data`: all other points share them."""
    stack = config.stack
    return float(config.coupling), config.size, config.shuffle, stack.num_samples, stack.num_test, config.data_seed


def pack(samples: Samples) -> UInt8[np.ndarray, "_ bytes"]:
    r"""Returns spins as bits, eight sites a byte, up = 1: many runs then hold their own data.

    Raises ValueError for samples that are not spins.

    >>> pack(np.array([[1, -1, -1, -1, -1, -1, -1, 1, 1]], np.int8)).tolist()
    [[129, 128]]
    """
    if not np.isin(samples, (-1, 1)).all():
        raise ValueError("samples = not spins: every entry must be -1 or 1")
    return np.packbits(samples > 0, axis=1)


def unpack(packed: UInt8[Array, "B bytes"], sites: int) -> Float[Array, "B sites"]:
    r"""Returns bits as spins $\pm1$ in float32, on the device; the inverse of :func:`pack`.

    >>> unpack(jax.numpy.array([[129, 128]], "uint8"), 9).astype(int).tolist()
    [[1, -1, -1, -1, -1, -1, -1, 1, 1]]
    """
    bits = jax.numpy.unpackbits(packed, axis=1, count=sites)
    return 2.0 * bits.astype(jax.numpy.float32) - 1.0
