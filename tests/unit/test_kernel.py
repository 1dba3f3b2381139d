"""Kernel alignment and drift against explicitly formed n x n Gram matrices."""

import doctest
from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from rgflow.probes import kernel

# Compiled whole, once per shape: operation by operation, the tests would spend their time compiling.
cka = jax.jit(kernel.cka, static_argnames="center")
kernel_drift = jax.jit(kernel.kernel_drift, static_argnames="center")
relative_update = jax.jit(kernel.relative_update)
drift_concentration = jax.jit(kernel.drift_concentration, static_argnames="top")

CENTER = pytest.mark.parametrize("center", [True, False])


def explicit_unit_gram(x, center, weights=None):
    """Form the normalised n x n Gram matrix of the rows, each repeated weights[i] times."""
    rows = np.asarray(x, np.float64)
    rows = rows if weights is None else np.repeat(rows, weights, axis=0)
    size = len(rows)
    projection = np.eye(size) - np.ones((size, size)) / size if center else np.eye(size)
    gram = projection @ rows @ rows.T @ projection
    return gram / np.linalg.norm(gram)


def random_stream(layers=5, rows=40, features=6, seed=0, step=0.3):
    generator = np.random.default_rng(seed)
    steps = generator.normal(size=(layers, rows, features))
    steps[1:] *= step
    return np.cumsum(steps, axis=0) + 0.5


def random_rotation(size, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]


def test_doctests_run():
    outcome = doctest.testmod(kernel)
    assert outcome.attempted >= 5 and outcome.failed == 0


@partial(jax.jit, static_argnames="center")
def every_alignment(h, center, weights):
    overlaps = kernel.cka(h[:-1], h[1:], center, weights)
    return kernel.kernel_drift(h, center, weights), overlaps


@CENTER
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("step", [0.3, 1e-3])
def test_drifts_against_explicit_gram_matrices(center, weighted, step):
    h = random_stream(step=step)
    counts = np.random.default_rng(2).integers(0, 4, h.shape[1]) if weighted else np.ones(h.shape[1], int)
    grams = [explicit_unit_gram(layer, center, counts) for layer in h]
    pairs = list(pairwise(grams))
    with jax.enable_x64(True):
        drift, overlap = every_alignment(h, center, counts)
    distance = np.sqrt(2 * np.asarray(drift))
    np.testing.assert_allclose(distance, [np.linalg.norm(a - b) for a, b in pairs], atol=1e-10)
    np.testing.assert_allclose(drift, 1 - np.asarray(overlap), atol=1e-13)
    np.testing.assert_allclose(overlap, [np.sum(a * b) for a, b in pairs], atol=1e-12)


@CENTER
def test_cka_of_different_widths_is_the_overlap_of_explicit_gram_matrices(center):
    generator = np.random.default_rng(1)
    x, y = generator.normal(size=(30, 4)) + 1, generator.normal(size=(30, 7)) - 2
    expected = np.sum(explicit_unit_gram(x, center) * explicit_unit_gram(y, center))
    with jax.enable_x64(True):
        assert float(cka(x, y, center)) == pytest.approx(expected, abs=1e-12)


@CENTER
def test_float32_drift_resolves_nearly_equal_layers(center):
    h = random_stream(step=1e-4).astype(np.float32)
    with jax.enable_x64(True):
        expected = np.asarray(every_alignment(h.astype(np.float64), center, np.ones(h.shape[1], int))[0])
    assert expected.max() < 1e-7  # below what one minus a float32 alignment can show
    np.testing.assert_allclose(kernel_drift(h, center), expected, rtol=2e-2)


@CENTER
def test_equal_or_rotated_layers_do_not_drift(center):
    x = np.random.default_rng(3).normal(size=(40, 6)).astype(np.float32)
    turned = (x @ random_rotation(6)).astype(np.float32)
    drift = np.asarray(kernel_drift(np.stack([x, 4 * x, 4 * x, turned, turned]), center))
    np.testing.assert_allclose(drift[[0, 1, 3]], 0.0, atol=1e-13)
    assert 0 <= drift[2] < 2e-6


def test_cka_invariances_and_range():
    generator = np.random.default_rng(4)
    x, y = generator.normal(size=(40, 6)), generator.normal(size=(40, 6))
    with jax.enable_x64(True):
        plain = float(cka(x, y))
        assert 0 < plain < 1
        assert float(cka(x @ random_rotation(6), 7 * y)) == pytest.approx(plain, abs=1e-13)
        assert float(cka(1e-150 * x, 1e150 * y)) == pytest.approx(plain, abs=1e-13)
        assert float(cka(x + 100, y - 3)) == pytest.approx(plain, abs=1e-11)
        assert abs(float(cka(x + 100, y - 3, center=False)) - plain) > 0.1
        assert float(cka(x, x @ random_rotation(6, seed=1))) == pytest.approx(1.0, abs=1e-13)
    for scale in (1e-30, 1e30):
        found = float(cka((scale * x).astype(np.float32), y.astype(np.float32)))
        assert found == pytest.approx(plain, abs=1e-6)


@CENTER
def test_zero_constant_or_broken_is_nan(center):
    x = np.random.default_rng(5).normal(size=(40, 6)).astype(np.float32)
    constant = np.tile(x[:1] * 1000, (40, 1))
    assert np.isnan(float(cka(x, np.zeros_like(x), center)))
    assert np.isnan(float(cka(np.full_like(x, np.nan), x, center)))
    assert np.isnan(float(cka(x, constant, center))) == center
    drift = np.asarray(kernel_drift(np.stack([x, x, constant, np.zeros_like(x), x]), center))
    assert drift[0] < 1e-13 and np.isnan(drift[2]) and np.isnan(drift[1]) == center


def test_zero_weight_removes_a_row():
    h = random_stream()
    keep = np.arange(h.shape[1]) % 3 > 0
    counts = keep.astype(int)
    grams = [explicit_unit_gram(layer[keep], True) for layer in h]
    expected = [np.linalg.norm(a - b) ** 2 / 2 for a, b in pairwise(grams)]
    with jax.enable_x64(True):
        update = relative_update(h, counts)
        h[:, ~keep] = np.nan
        np.testing.assert_allclose(every_alignment(h, True, counts)[0], expected, rtol=1e-10)
        np.testing.assert_allclose(relative_update(h, counts), update, rtol=1e-12)


def test_relative_update_against_numpy():
    h = random_stream()
    counts = np.random.default_rng(6).integers(0, 4, h.shape[1])
    rows = np.repeat(h, counts, axis=1)
    norm = lambda x: np.linalg.norm(x, axis=(-2, -1))  # noqa: E731
    with jax.enable_x64(True):
        plain = relative_update(h, np.ones_like(counts))
        np.testing.assert_allclose(plain, norm(np.diff(h, axis=0)) / norm(h[:-1]), rtol=1e-12)
        expected = norm(np.diff(rows, axis=0)) / norm(rows[:-1])
        np.testing.assert_allclose(relative_update(h, counts), expected, rtol=1e-12)
        np.testing.assert_allclose(relative_update(1e-160 * h, counts), expected, rtol=1e-12)
    broken = h.astype(np.float32)
    broken[1], broken[3, 0, 0] = 0.0, np.inf
    found = np.asarray(relative_update(broken))
    assert found[0] == 1.0 and np.isnan(found[1:4]).all()


def test_drift_concentration():
    drift = np.array([0.1, 0.6, 0.2, 0.1], np.float32)
    found = [float(drift_concentration(drift, top)) for top in (1, 2, 3, 4)]
    np.testing.assert_allclose(found, [0.6, 0.8, 0.9, 1.0], rtol=1e-6)
    assert float(drift_concentration(drift * np.float32(1e-35), 1)) == pytest.approx(0.6, rel=1e-5)
    assert float(drift_concentration(np.full(8, 0.3, np.float32), 2)) == pytest.approx(2 / 8)
    broken = np.array([[0.0, 0.0], [np.nan, 1.0], [np.inf, 1.0]], np.float32)
    assert np.all(np.isnan(drift_concentration(broken, 1)))


@pytest.mark.parametrize("name", ["kernel_drift", "relative_update"])
def test_jit_and_vmap_change_nothing(name):
    runs = np.stack([random_stream(seed=seed) for seed in range(3)]).astype(np.float32)
    compiled = {"kernel_drift": kernel_drift, "relative_update": relative_update}[name]
    looped = np.stack([np.asarray(compiled(run)) for run in runs])
    np.testing.assert_allclose(jax.vmap(compiled)(runs), looped, rtol=1e-4)
    np.testing.assert_allclose(getattr(kernel, name)(runs[0]), looped[0], rtol=1e-4)


def test_cka_batches_jit_and_vmap_agree():
    runs = np.stack([random_stream(seed=seed) for seed in range(3)]).astype(np.float32)
    looped = [float(cka(run[0], run[1])) for run in runs]
    np.testing.assert_allclose(kernel.cka(runs[:, 0], runs[:, 1]), looped, rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(cka)(runs[:, 0], runs[:, 1]), looped, rtol=1e-6)


@pytest.mark.parametrize("function", [kernel.kernel_drift, kernel.relative_update])
def test_no_rows_by_rows_array_is_formed(function):
    traced = str(jax.make_jaxpr(function)(jnp.ones((3, 997, 4))))
    assert "997,4]" in traced and "997,997" not in traced


def test_products_ask_for_full_precision():
    traced = str(jax.make_jaxpr(kernel.kernel_drift)(jnp.ones((3, 9, 4))))
    full = "precision=(Precision.HIGHEST, Precision.HIGHEST)"
    assert traced.count("dot_general[") == traced.count(full) > 0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: kernel.cka(jnp.ones((3, 2)), jnp.ones((4, 2))), ["y", "4 rows", "3"]),
        (lambda: kernel.kernel_drift(jnp.ones((3, 2))), ["h_LxNxD", "(3, 2)", "layers"]),
        (lambda: kernel.relative_update(jnp.ones((3, 2))), ["h_LxNxD", "(3, 2)", "layers"]),
        (lambda: kernel.drift_concentration(jnp.ones(3), 0), ["top", "0", "1 to"]),
        (lambda: kernel.drift_concentration(jnp.ones(3), 4), ["top", "4", "3"]),
    ],
)
def test_errors_name_key_value_and_what_is_allowed(call, words):
    # A shape checker switched on by the test run may refuse the malformed array first, with its own error.
    with pytest.raises((ValueError, jaxtyping.TypeCheckError), match=r"allowed|Type-check") as caught:
        call()
    if isinstance(caught.value, ValueError):
        message = str(caught.value)
        assert "\n" not in message
        assert all(word in message for word in words)
