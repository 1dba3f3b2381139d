"""Spectra and effective ranks against numpy float64, exact identities, and the cases that must be NaN."""

import doctest
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgflow.probes import spectrum
from rgflow.probes.spectrum import RANK_MEASURES

# Compiled whole, once per shape: operation by operation, the tests would spend their time compiling.
singular_values = jax.jit(spectrum.singular_values, static_argnames="method")
weighted_rows = jax.jit(spectrum.weighted_rows, static_argnums=2)
numerical_rank = jax.jit(spectrum.numerical_rank, static_argnames="shape")
effective_rank = jax.jit(spectrum.effective_rank)
every_rank = jax.jit(lambda s: {name: measure(s) for name, measure in RANK_MEASURES.items()})
compiled_measures = {name: (lambda s, name=name: every_rank(s)[name]) for name in RANK_MEASURES}

MEASURES = pytest.mark.parametrize("measure", compiled_measures.values(), ids=compiled_measures.keys())

ROWS, COLUMNS = 256, 32
INDEX = np.arange(COLUMNS)
SPECTRA = {
    "geometric": 10.0 ** (-6 * INDEX / (COLUMNS - 1)),
    "half": np.where(INDEX < COLUMNS // 2, 1.0, 1e-6),
    "spike": np.where(INDEX < 1, 1.0, 1e-6),
    "power": np.maximum((1.0 + INDEX) ** -4, 1e-6),
    "low_rank_floor": np.where(INDEX < 8, 1.0, 1e-4),
}


def random_rotation(generator, size):
    return np.linalg.qr(generator.normal(size=(size, size)))[0]


def matrix_with(spectrum_values, rows=ROWS, seed=0):
    generator = np.random.default_rng(seed)
    columns = len(spectrum_values)
    left = np.linalg.qr(generator.normal(size=(rows, columns)))[0]
    return (left * spectrum_values) @ random_rotation(generator, columns).T


def reference_rank(matrix):
    values = np.linalg.svd(np.asarray(matrix, np.float64), compute_uv=False)
    shares = values / values.sum()
    shares = shares[shares > 0]
    return np.exp(-(shares * np.log(shares)).sum())


def entropy_rank(weights):
    shares = weights / weights.sum()
    return np.exp(-(shares * np.log(shares)).sum())


FORMULAS = {
    "effective_rank": lambda s: entropy_rank(s),
    "energy_rank": lambda s: entropy_rank(s**2),
    "participation_ratio": lambda s: (s**2).sum() ** 2 / (s**4).sum(),
    "stable_rank": lambda s: (s**2).sum() / s.max() ** 2,
}


@pytest.mark.parametrize("name", SPECTRA)
def test_every_measure_is_its_formula(name):
    assert set(FORMULAS) == set(RANK_MEASURES)
    for measure, formula in FORMULAS.items():
        found = float(every_rank(jnp.asarray(SPECTRA[name], jnp.float32))[measure])
        assert found == pytest.approx(formula(SPECTRA[name]), rel=1e-5), measure


def test_doctests_run():
    outcome = doctest.testmod(spectrum)
    assert outcome.attempted >= 9 and outcome.failed == 0


@MEASURES
@pytest.mark.parametrize("size", [1, 32])
def test_identity_has_full_rank(measure, size):
    assert float(measure(singular_values(jnp.eye(size)))) == pytest.approx(size, rel=1e-6)


@MEASURES
def test_rank_one_is_one(measure):
    generator = np.random.default_rng(0)
    with jax.enable_x64(True):
        x = jnp.asarray(np.outer(generator.normal(size=40), generator.normal(size=7)))
        assert float(measure(singular_values(x))) == pytest.approx(1.0, abs=1e-10)


@MEASURES
def test_scale_and_rotation_invariance(measure):
    generator = np.random.default_rng(1)
    x = generator.normal(size=(30, 6)) * np.arange(1, 7)
    rotated = random_rotation(generator, 30) @ x @ random_rotation(generator, 6)
    with jax.enable_x64(True):
        plain, turned, small, large = (
            float(measure(singular_values(jnp.asarray(y)))) for y in (x, rotated, 1e-150 * x, 1e150 * x)
        )
    np.testing.assert_allclose([turned, small, large], plain, rtol=1e-12)


@MEASURES
def test_extreme_scales_survive_float32(measure):
    values = np.array([3.0, 2.0, 1.0], np.float32)
    plain = float(measure(values))
    for scale in (1e-35, 1e-25, 1e25, 1e37):
        assert float(measure(values * np.float32(scale))) == pytest.approx(plain, rel=1e-6)


@pytest.mark.parametrize("scale", [1e-35, 1e36])
def test_singular_values_survive_extreme_scales_in_float32(scale):
    x = matrix_with([3.0, 2.0, 1.0], rows=9).astype(np.float32)
    found = np.asarray(singular_values(x * np.float32(scale)), np.float64) / scale
    np.testing.assert_allclose(found, [3.0, 2.0, 1.0], rtol=1e-5)


def test_renyi_ordering():
    generator = np.random.default_rng(2)
    with jax.enable_x64(True):
        for size in (3, 40):
            s = np.sort(np.exp(2 * generator.normal(size=(50, size))), axis=-1)[:, ::-1]
            s[::3, size // 2 + 1 :] = 0.0
            names = ("stable_rank", "participation_ratio", "energy_rank", "effective_rank")
            ordered = [compiled_measures[name](s) for name in names] + [numerical_rank(s, (size, size))]
            for smaller, larger in pairwise(ordered):
                assert np.all(np.asarray(smaller) <= np.asarray(larger) + 1e-12)
            assert np.all(np.asarray(ordered[0]) >= 1)


@pytest.mark.parametrize("shape", SPECTRA)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64"])
def test_ill_conditioned_default_agrees_with_numpy(shape, dtype):
    with jax.enable_x64(dtype == "float64"):
        x = jnp.asarray(matrix_with(SPECTRA[shape]), dtype)
        found = singular_values(x)
        assert found.dtype == ("float64" if dtype == "float64" else "float32")
        wide = np.asarray(x.astype(found.dtype), np.float64)
        assert float(effective_rank(found)) == pytest.approx(reference_rank(wide), rel=1e-5)


@pytest.mark.parametrize("shape", SPECTRA)
@pytest.mark.parametrize("rows", [ROWS, 20])
def test_gram_in_float64_agrees_with_numpy(shape, rows):
    with jax.enable_x64(True):
        x = jnp.asarray(matrix_with(SPECTRA[shape])[:rows])
        found = singular_values(x, "gram")
        assert found.shape == (min(x.shape),)
        assert float(effective_rank(found)) == pytest.approx(reference_rank(x), rel=1e-5)


def test_singular_values_are_descending_and_batched():
    x = np.random.default_rng(3).normal(size=(2, 3, 10, 4)).astype(np.float32)
    found = np.asarray(singular_values(x))
    assert found.shape == (2, 3, 4) and np.all(np.diff(found, axis=-1) <= 0)
    np.testing.assert_allclose(found, np.linalg.svd(x.astype(np.float64), compute_uv=False), rtol=1e-5)
    mapped = jax.jit(jax.vmap(jax.vmap(singular_values)))(x)
    np.testing.assert_allclose(spectrum.singular_values(x), found, rtol=1e-6)
    looped = np.array([[np.asarray(singular_values(y)) for y in row] for row in x])
    np.testing.assert_allclose(mapped, looped, rtol=1e-6)


def test_batch_is_one_decomposition():
    traced = str(jax.make_jaxpr(jax.vmap(spectrum.singular_values))(jnp.ones((5, 8, 3))))
    assert traced.count("= svd[") == 1 and "scan" not in traced and "while" not in traced
    # Several calls of LAPACK side by side can wait for each other's threads.
    elongated = jax.jit(jax.vmap(jax.vmap(spectrum.singular_values))).lower(jnp.ones((2, 5, 80, 3))).as_text("hlo")
    assert elongated.count("lapack_") == 1 and "f64[10,3,3]" in elongated


@pytest.mark.parametrize("name", RANK_MEASURES)
def test_jit_and_vmap_change_nothing(name):
    s = np.abs(np.random.default_rng(4).normal(size=(6, 5))).astype(np.float32)
    whole = np.asarray(RANK_MEASURES[name](s))
    compiled = compiled_measures[name]
    np.testing.assert_allclose(compiled(s), whole, rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(compiled)(s), whole, rtol=1e-6)
    np.testing.assert_allclose([float(compiled(row)) for row in s], whole, rtol=1e-6)


@MEASURES
def test_no_signal_or_broken_spectrum_is_nan(measure):
    broken = [np.zeros(4), [1.0, np.nan, 0.0, 0.0], [np.inf, 1.0, 0.0, 0.0], np.full(4, np.nan)]
    assert np.all(np.isnan(measure(np.array(broken, np.float32))))
    assert np.all(np.isnan(numerical_rank(np.array(broken, np.float32), (4, 4))))


@MEASURES
def test_exact_zeros_contribute_nothing(measure):
    padded = measure(np.array([3.0, 1.0, 0.0, 0.0], np.float32))
    assert float(padded) == pytest.approx(float(measure(np.array([3.0, 1.0], np.float32))), rel=1e-6)


@pytest.mark.parametrize("method", ["svd", "gram"])
def test_broken_run_is_nan_and_alone(method):
    with jax.enable_x64(True):
        x = np.random.default_rng(5).normal(size=(4, 12, 3))
        clean = np.asarray(singular_values(x, method))
        x[1], x[2, 0, 0] = np.nan, np.inf
        found = np.asarray(singular_values(x, method))
    assert np.isnan(found[1:3]).all()
    np.testing.assert_array_equal(found[[0, 3]], clean[[0, 3]])


def centred_rank(x, weights=None, center=True):
    weights = np.ones(len(x)) if weights is None else np.asarray(weights, np.float64)
    return float(effective_rank(singular_values(weighted_rows(x, weights, center))))


@pytest.mark.parametrize("rows", [2, 4096])
def test_centred_constant_rows_are_nan_though_rounding_leaves_noise(rows):
    constant = np.tile(np.random.default_rng(6).normal(size=16).astype(np.float32) * 1000, (rows, 1))
    assert np.isnan(centred_rank(constant))
    assert np.isnan(centred_rank(constant, np.random.default_rng(7).integers(1, 9, rows)))
    assert centred_rank(constant, center=False) == pytest.approx(1.0, abs=1e-3)
    # Rows that differ only by rounding, as two evaluation orders of one formula would, are constant as well.
    noisy = constant * (1 + np.float32(1e-7) * np.random.default_rng(8).choice([-1, 1], constant.shape))
    assert np.isnan(centred_rank(noisy.astype(np.float32)))


def test_a_small_but_real_difference_is_kept():
    x = np.full((5, 3), 100.0, np.float32)
    x[:2, 0] += 0.5
    assert centred_rank(x) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("center", [True, False])
def test_no_rows_or_zero_rows_are_nan(center):
    x = np.random.default_rng(9).normal(size=(5, 3)).astype(np.float32)
    assert np.isnan(centred_rank(np.zeros_like(x), center=center))
    assert np.isnan(centred_rank(x, np.zeros(5), center))
    assert np.isnan(centred_rank(np.full_like(x, np.nan), center=center))
    assert np.isnan(centred_rank(x, np.array([1.0, -1.0, 1.0, 1.0, 1.0]), center))


def test_one_live_row_is_nan_when_centred_and_rank_one_otherwise():
    x = np.random.default_rng(10).normal(size=(5, 3)).astype(np.float32)
    for weight in (1, 9):
        weights = np.array([0, 0, weight, 0, 0])
        assert np.isnan(centred_rank(x, weights))
        assert centred_rank(x, weights, center=False) == pytest.approx(1.0, abs=1e-3)
    assert centred_rank(x, np.array([0, 1, 1, 0, 0])) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("center", [True, False])
def test_weights_are_row_multiplicities(center):
    generator = np.random.default_rng(11)
    x, counts = generator.normal(size=(20, 5)) + 3, generator.integers(0, 5, 20)
    repeated = np.repeat(x, counts, axis=0)
    if center:
        repeated = repeated - repeated.mean(axis=0)
    expected = np.linalg.svd(repeated, compute_uv=False)
    with jax.enable_x64(True):
        found = singular_values(weighted_rows(x, counts, center))
        np.testing.assert_allclose(found, expected, rtol=1e-12)
        # Only ratios of weights matter to a rank, so shares of a distribution may be given.
        shares = effective_rank(singular_values(weighted_rows(x, counts / counts.sum(), center)))
        assert float(shares) == pytest.approx(float(effective_rank(expected)), rel=1e-12)


@pytest.mark.parametrize("center", [True, False])
def test_zero_weight_removes_a_row_even_a_broken_one(center):
    x = np.random.default_rng(12).normal(size=(8, 3))
    keep = np.array([True, False, True, True, False, True, True, True])
    with jax.enable_x64(True):
        expected = singular_values(weighted_rows(x[keep], None, center))
        x[~keep] = np.nan
        np.testing.assert_allclose(singular_values(weighted_rows(x, keep, center)), expected, rtol=1e-12)


def test_centring_agrees_with_numpy_under_a_large_mean():
    x = (np.random.default_rng(13).normal(size=(500, 6)) + 3000).astype(np.float32)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(weighted_rows(x, None, True), wide - wide.mean(axis=0), atol=1e-6)
    scaled = np.asarray(weighted_rows(x * np.float32(1e30), None, True), np.float64) / 1e30
    assert np.isfinite(scaled).all()
    np.testing.assert_allclose(scaled, wide - wide.mean(axis=0), atol=1e-3)


def test_weighted_rows_jit_vmap_and_shared_weights():
    generator = np.random.default_rng(14)
    x = jnp.asarray(generator.normal(size=(4, 9, 3)), jnp.float32)
    weights = jnp.asarray(generator.integers(0, 3, (4, 9)))
    looped = np.stack([weighted_rows(y, w, True) for y, w in zip(x, weights, strict=True)])
    np.testing.assert_allclose(weighted_rows(x, weights, True), looped, atol=1e-6)
    with jax.disable_jit():
        np.testing.assert_allclose(spectrum.weighted_rows(x[0], weights[0], True), looped[0], atol=1e-6)
    mapped = jax.jit(jax.vmap(lambda y, w: spectrum.weighted_rows(y, w, True)))(x, weights)
    np.testing.assert_allclose(mapped, looped, atol=1e-6)
    shared = np.stack([weighted_rows(y, weights[0], True) for y in x])
    np.testing.assert_allclose(weighted_rows(x, weights[0], True), shared, atol=1e-6)


def test_half_precision_is_cast_up():
    x = np.random.default_rng(15).normal(size=(8, 3))
    assert weighted_rows(jnp.asarray(x, jnp.bfloat16), None, True).dtype == jnp.float32
    assert effective_rank(jnp.asarray([1.0, 0.5], jnp.bfloat16)).dtype == jnp.float32


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: spectrum.singular_values(jnp.ones((3, 3)), "qr"), ["method", "'qr'", "auto, svd, gram"]),
        (lambda: spectrum.numerical_rank(jnp.ones(3), (3, 0)), ["shape", "(3, 0)", "positive"]),
    ],
)
def test_errors_name_key_value_and_what_is_allowed(call, words):
    with pytest.raises(ValueError, match="allowed") as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words)
