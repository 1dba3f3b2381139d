"""Random numbers made faster are those of JAX, bit for bit."""

import jax
import numpy as np
import pytest

from rgflow.samplers.threefry import is_threefry, random_bits, random_uniform, random_words

SHAPES = [(), (1,), (7,), (3, 5), (3, 5, 8), (64, 32)]


@pytest.mark.parametrize("kind", ["threefry2x32", "rbg"])
@pytest.mark.parametrize("shape", SHAPES)
def test_words_and_uniforms_are_those_of_the_library(kind, shape):
    """Other generators than the default one are the library's own."""
    key = jax.random.key(2**31 + 7, impl=kind)
    assert is_threefry(key) == (kind == "threefry2x32")
    draws = lambda k: [random_bits(k, shape), random_uniform(k, shape)]  # noqa: E731
    library = lambda k: [jax.random.bits(k, shape), jax.random.uniform(k, shape)]  # noqa: E731
    for found, expected in zip(jax.jit(draws)(key), jax.jit(library)(key), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_stretch_of_words():
    key = jax.random.key(18)
    np.testing.assert_array_equal(random_words(key, 100, 400), jax.random.bits(key, (3000,))[400:500])


def test_many_keys_at_once():
    keys = jax.random.split(jax.random.key(18), 4)
    one_by_one = np.stack([jax.random.uniform(key, (6, 5)) for key in keys])
    np.testing.assert_array_equal(jax.jit(jax.vmap(lambda key: random_uniform(key, (6, 5))))(keys), one_by_one)


def test_the_other_layout_of_threefry_is_left_to_the_library():
    key = jax.random.key(3)
    with jax.threefry_partitionable(False):
        assert not is_threefry(key)
        np.testing.assert_array_equal(random_bits(key, (9,)), jax.random.bits(key, (9,)))
