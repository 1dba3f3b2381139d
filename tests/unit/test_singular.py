"""Singular values by way of the Gram matrix in float64: as good as a float32 decomposition on every kind of stream."""

import doctest
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgflow.probes import singular, spectrum
from rgflow.probes.spectrum import RANK_MEASURES, effective_rank, numerical_rank

effective_rank_of = jax.jit(effective_rank)
measures = jax.jit(lambda values: [measure(values) for measure in RANK_MEASURES.values()])
values_of = jax.jit(spectrum.singular_values, static_argnames="method")

ROWS, COLUMNS = 1200, 64
INDEX = np.arange(COLUMNS)
SPECTRA = {
    "flat": np.ones(COLUMNS),
    "inverse": 1 / (1.0 + INDEX),
    "decay_e-14": np.exp(-14 * INDEX / (COLUMNS - 1)),
    "rank_8_floor_1e-4": np.where(INDEX < 8, 1.0, 1e-4),
    "rank_8_floor_1e-5": np.where(INDEX < 8, 1.0, 1e-5),
    "spike_floor_1e-4": np.where(INDEX < 1, 1.0, 1e-4),
}


def matrices():
    generator = np.random.default_rng(0)
    left = np.linalg.qr(generator.normal(size=(ROWS, COLUMNS)))[0]
    right = np.linalg.qr(generator.normal(size=(COLUMNS, COLUMNS)))[0]
    found = {name: (left * s) @ right for name, s in SPECTRA.items()}
    gauss = generator.normal(size=(ROWS, COLUMNS))
    integers = generator.integers(-3, 4, (ROWS, 5)) @ generator.integers(-3, 4, (5, COLUMNS))
    few = {"gauss": gauss, "deficient": integers, "duplicates": np.repeat(gauss[:, :4], COLUMNS // 4, axis=1)}
    padded = {"zero_columns": np.where(INDEX < 10, gauss, 0.0), "large_mean": gauss + 300.0}
    scaled = {f"scale_{s:.0e}": gauss * s * (1.0 + INDEX) ** -2 for s in (1e-20, 1e20)}
    return {name: x.astype(np.float32) for name, x in (found | few | padded | scaled).items()}


MATRICES = matrices()


def exact_values(x):
    return np.linalg.svd(np.asarray(x, np.float64), compute_uv=False)


@cache
def exact(name):
    return exact_values(MATRICES[name])


@cache
def found(name, method):
    return values_of(MATRICES[name], method)


def exact_rank(values):
    shares = values / values.sum()
    shares = shares[shares > 0]
    return np.exp(-(shares * np.log(shares)).sum())


def test_doctests_run():
    outcome = doctest.testmod(singular)
    assert outcome.attempted >= 1 and outcome.failed == 0


@pytest.mark.parametrize("name", MATRICES)
def test_effective_rank_and_every_value_agree_with_numpy_float64(name):
    expected = exact(name)
    for method in ("auto", "gram"):
        values = np.asarray(found(name, method), np.float64)
        assert float(effective_rank_of(found(name, method))) == pytest.approx(exact_rank(expected), rel=2e-5)
        # 5e-8 is what float32 rounds by; below that, LAPACK's error in the eigenvalues, squared: 3e-8 of the largest.
        np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-7 * expected[0])
        assert np.all(np.diff(values) <= 0) and values[-1] >= 0


@pytest.mark.parametrize("name", MATRICES)
def test_every_rank_measure_is_that_of_the_decomposition(name):
    x = MATRICES[name]
    svd, gram = found(name, "svd"), found(name, "gram")
    np.testing.assert_allclose(measures(gram), measures(svd), rtol=1e-4)
    assert float(numerical_rank(gram, x.shape)) == float(numerical_rank(svd, x.shape))


def test_gram_is_closer_than_the_decomposition_it_replaces():
    errors = {
        method: max(
            np.abs(np.asarray(found(name, method), np.float64) - exact(name)).max() / exact(name)[0]
            for name in MATRICES
        )
        for method in ("svd", "gram")
    }
    assert errors["gram"] <= errors["svd"] and errors["gram"] < 1e-7


def test_what_is_lost_is_below_3e_8_of_the_largest_value():
    # Of a matrix of rank 5 all others are rounding: the effective rank must not see them.
    values = np.asarray(found("deficient", "gram"))
    assert np.all(values[5:] <= 3e-8 * values[0])


def test_batches_wide_matrices_and_every_way_of_mapping():
    x = np.stack([MATRICES[name] for name in ("gauss", "inverse", "large_mean", "rank_8_floor_1e-4")])
    whole = np.asarray(values_of(x))
    assert whole.shape == (4, COLUMNS) and whole.dtype == np.float32
    np.testing.assert_allclose(np.asarray(values_of(np.swapaxes(x, 1, 2))), whole, rtol=1e-5, atol=1e-6 * whole.max())
    pairs = x.reshape(2, 2, ROWS, COLUMNS)
    one = spectrum.singular_values
    ways = [
        values_of(pairs),
        jax.jit(jax.vmap(one))(pairs),
        jax.vmap(jax.vmap(one))(pairs),
        jax.jit(jax.vmap(lambda y: jax.lax.map(one, y), in_axes=1, out_axes=1))(pairs),
        jax.jit(lambda y: jax.lax.scan(lambda c, m: (c, one(m)), 0, y)[1])(pairs),
        jax.jit(lambda y: jax.lax.cond(y[0, 0, 0, 0] < 1e9, jax.vmap(one), lambda z: jnp.zeros((2, 2, 64)), y))(pairs),
    ]
    for way in ways:
        np.testing.assert_allclose(np.asarray(way).reshape(4, -1), whole, rtol=1e-6, atol=1e-7 * whole.max())


def test_short_rows_and_odd_numbers_of_them():
    generator = np.random.default_rng(1)
    for rows, columns in ((1, 1), (8, 1), (255, 3), (256, 3), (257, 3), (1000, 7), (3, 1000)):
        x = generator.normal(size=(2, rows, columns)).astype(np.float32)
        np.testing.assert_allclose(values_of(x, "gram"), exact_values(x), rtol=1e-5)


def test_broken_matrices_are_nan_and_alone_and_zeros_are_zero():
    x = np.stack([MATRICES["gauss"]] * 5)
    x[1], x[2, 7, 3], x[3] = np.nan, np.inf, 0.0
    found = np.asarray(values_of(x))
    assert np.isnan(found[1:3]).all() and np.all(found[3] == 0)
    np.testing.assert_array_equal(found[4], found[0])
    np.testing.assert_array_equal(found[0], values_of(x[:1])[0])


def test_empty_matrices_have_no_values():
    shapes = [spectrum.singular_values(jnp.zeros(s), m).shape for s in ((2, 0, 3), (0, 9, 2)) for m in spectrum.METHODS]
    assert shapes == [(2, 0)] * 3 + [(0, 2)] * 3


def test_double_precision_takes_the_decomposition_and_stays_exact():
    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(2).normal(size=(90, 6)) * 1e-3 ** np.arange(6))
        found = spectrum.singular_values(x)
        assert found.dtype == jnp.float64
        np.testing.assert_allclose(found, exact_values(x), rtol=1e-4, atol=1e-15 * float(found[0]))
        assert "svd" in str(jax.make_jaxpr(spectrum.singular_values)(x))


def test_type_and_numbers_do_not_depend_on_the_switch_for_double_precision():
    x = MATRICES["inverse"]
    outside = np.asarray(values_of(x))
    with jax.enable_x64(True):
        inside = values_of(x)
        assert inside.dtype == jnp.float32
        np.testing.assert_array_equal(inside, outside)


def test_derivatives_are_those_of_the_decomposition():
    x = jnp.asarray(MATRICES["inverse"][:300])
    derivative = {m: jax.grad(lambda y, m=m: jnp.sum(spectrum.singular_values(y, m) ** 2))(x) for m in ("auto", "svd")}
    np.testing.assert_allclose(derivative["auto"], derivative["svd"], atol=1e-6)
    np.testing.assert_allclose(derivative["auto"], 2 * x, atol=1e-4)


@pytest.mark.parametrize("platforms", [("cuda", "tpu"), ("cpu",)])
def test_only_a_cpu_is_given_double_precision(platforms):
    program = jax.jit(jax.vmap(spectrum.singular_values))
    text = jax.export.export(program, platforms=platforms)(jnp.ones((2, 3, 64, 4))).mlir_module()
    assert ("f64" in text) == (platforms == ("cpu",))
    assert text.count("lapack_dsyevd_ffi") == (platforms == ("cpu",))
