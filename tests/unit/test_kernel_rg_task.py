"""Data sets: shapes, laws, purity; the ReLU heuristic's kernels; and what is refused."""

import jax
import numpy as np
import pytest

from rgflow.kernel_rg import task
from rgflow.kernel_rg.problem import make_problem, predictor_at
from rgflow.kernel_rg.relu import arc_cosine_kernel, heuristic_kernels
from rgflow.kernel_rg.saddle import find_saddle, saddle_grid
from rgflow.kernel_rg.theory import order_parameter, predictor

DRAWS = (task.noisy_linear_teacher, task.template_clusters, task.random_labels)


@pytest.mark.parametrize("draw", DRAWS)
def test_draws_are_pure_and_in_float64(draw, key):
    first, second = (draw(key, 7, 4, 11) for _ in range(2))
    assert [a.shape for a in first] == [(7, 11), (7,), (4, 11), (4,)]
    for one, other in zip(first, second, strict=True):
        assert one.dtype == np.float64
        np.testing.assert_array_equal(one, other)
    assert np.abs(first.inputs - draw(jax.random.fold_in(key, 1), 7, 4, 11).inputs).max() > 0.1
    with jax.enable_x64(True):
        np.testing.assert_array_equal(draw(key, 7, 4, 11).inputs, first.inputs)


@pytest.mark.parametrize("draw", DRAWS)
def test_inputs_have_unit_variance(draw, key):
    inputs = draw(key, 400, 1, 300).inputs
    assert np.mean(inputs**2) == pytest.approx(1.0, abs=0.1)


def test_teacher_is_linear_and_noise_has_its_size(key):
    clean = task.noisy_linear_teacher(key, 50, 30, 10, 0.0)
    weights = np.linalg.lstsq(clean.inputs, clean.targets, rcond=None)[0]
    np.testing.assert_allclose(clean.test_inputs @ weights, clean.test_targets, atol=1e-12)
    noisy = task.noisy_linear_teacher(key, 4000, 1, 10, 0.5)
    free = task.noisy_linear_teacher(key, 4000, 1, 10, 0.0)
    # Standard error of a standard deviation from 4000 draws: 0.0056; four of them.
    assert np.std(noisy.targets - free.targets) == pytest.approx(0.5, abs=0.023)


def test_clusters_stand_around_their_templates(key):
    tight = task.template_clusters(key, 200, 1, 30, 4, 0.0)
    distinct, index = np.unique(tight.inputs, axis=0, return_inverse=True)
    assert len(distinct) == 4
    for cluster in range(4):
        assert len(set(tight.targets[index == cluster].tolist())) == 1
    assert abs(tight.targets.mean()) < 0.3
    loose = task.template_clusters(key, 200, 1, 30, 4, 0.3)
    spread = (loose.inputs - np.sqrt(1 - 0.09) * tight.inputs).std()
    assert spread == pytest.approx(0.3, rel=0.05)


def test_random_labels_are_signs_without_a_bias(key):
    targets = task.random_labels(key, 4000, 1, 2).targets
    assert set(targets.tolist()) == {-1.0, 1.0}
    assert abs(targets.mean()) < 4 / np.sqrt(4000)


def test_digits(key):
    pytest.importorskip("sklearn")
    two = task.digits(key, 60, 40)
    assert two.inputs.shape == (60, 64) and set(two.targets.tolist()) == {-1.0, 1.0}
    everything = np.concatenate([two.inputs, two.test_inputs])
    assert len(np.unique(everything, axis=0)) == 100
    assert np.mean(everything**2) == pytest.approx(1, abs=0.1)
    # The labels belong to the images: a linear fit does far better than chance.
    fit = np.linalg.lstsq(two.inputs.T @ two.inputs + np.eye(64), two.inputs.T @ two.targets, rcond=None)[0]
    assert np.mean(np.sign(two.test_inputs @ fit) == two.test_targets) > 0.8


def test_kernels_are_gram_matrices(key):
    drawn = task.random_labels(key, 6, 4, 9)
    kernels = task.input_kernels(drawn.inputs, drawn.test_inputs, 0.3)
    both = np.concatenate([drawn.inputs, drawn.test_inputs])
    full = 0.3 / 9 * both @ both.T
    np.testing.assert_allclose(kernels.kernel, full[:6, :6], rtol=1e-12)
    np.testing.assert_allclose(kernels.cross, full[6:, :6], rtol=1e-12)
    np.testing.assert_allclose(kernels.diag, np.diag(full)[6:], rtol=1e-12)


def test_kernels_of_no_size_are_refused():
    with pytest.raises(ValueError, match="sigma2 = 0"):
        task.input_kernels(np.eye(2), np.eye(2), 0.0)


def test_relu_kernel_is_the_covariance_of_relu_features():
    covariance = np.array([[1.0, 0.3], [0.3, 2.0]])
    draws = np.maximum(np.random.default_rng(0).normal(size=(400_000, 2)) @ np.linalg.cholesky(covariance).T, 0)
    variance = np.diag(covariance)
    exact = arc_cosine_kernel(covariance, variance, variance)
    for i, j in ((0, 0), (0, 1), (1, 1)):
        products = draws[:, i] * draws[:, j]
        # Four standard errors: false-alarm rate 6e-5 each.
        assert abs(products.mean() - exact[i, j]) < 4 * products.std() / np.sqrt(len(products))


def test_relu_heuristic_is_consistent_and_has_the_right_wide_limit(key):
    drawn = task.noisy_linear_teacher(key, 12, 5, 20)
    both = np.concatenate([drawn.inputs, drawn.test_inputs])
    kernels, joint = (task.input_kernels(x, drawn.test_inputs, 1.4) for x in (drawn.inputs, both))
    layers = heuristic_kernels(kernels, depth=3)
    hat, full = layers[-1], heuristic_kernels(joint, depth=3)[-1].kernel
    np.testing.assert_allclose(hat.kernel, full[:12, :12], rtol=1e-12)
    np.testing.assert_allclose(hat.cross, full[12:, :12], rtol=1e-12)
    np.testing.assert_allclose(hat.diag, np.diag(full)[12:], rtol=1e-12)
    assert np.linalg.eigvalsh(hat.kernel).min() > 0
    np.testing.assert_array_equal(layers[1].kernel, heuristic_kernels(kernels, depth=2)[-1].kernel)
    problem = make_problem(hat.kernel, drawn.targets, 10**9, 3, 1.4, 0.1)
    wide = predictor_at(problem, hat.cross, hat.diag, float(find_saddle(problem).scale))
    limit = predictor_at(problem, hat.cross, hat.diag, 1.4**3)
    np.testing.assert_allclose(wide, limit, rtol=1e-6)


GOOD = {"kernel": np.eye(3), "targets": np.ones(3), "width": 5, "depth": 2, "sigma2": 1.0, "temperature": 0.1}


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"targets": np.ones(4)}, r"targets have shape \(4,\): must be \(3,\)"),
        ({"targets": np.array([1.0, np.nan, 0.0])}, "targets hold 1 nan or inf"),
        ({"kernel": np.ones((3, 2))}, r"kernel has shape \(3, 2\): must be square"),
        ({"kernel": np.triu(np.ones((3, 3)))}, "kernel differs from its transpose by 1: must be symmetric"),
        ({"kernel": np.diag([1.0, 1.0, -0.5])}, "kernel has smallest eigenvalue -0.5: must be positive semi-definite"),
        ({"kernel": np.zeros((3, 3))}, "kernel has largest eigenvalue 0"),
        ({"kernel": np.full((3, 3), np.inf)}, "kernel holds 9 nan or inf"),
        ({"temperature": -0.1}, "temperature = -0.1: must be a finite number, not negative"),
        ({"temperature": float("nan")}, "temperature = nan"),
        ({"width": 0}, "width = 0: must be a number of at least 1"),
        ({"width": [3, 4, 5]}, "width has 3 entries"),
        ({"depth": 0}, "depth = 0: must be a whole number"),
        ({"sigma2": 0.0}, "sigma2 = 0.0: must be a finite positive number"),
        ({"sigma2": float("inf")}, "sigma2 = inf"),
    ],
)
def test_bad_input_is_refused_with_one_sentence(bad, said):
    with pytest.raises(ValueError, match=said) as caught:
        order_parameter(**{**GOOD, **bad})
    assert "\n" not in str(caught.value)


def test_test_kernels_are_checked():
    arguments = (np.ones(3), 5, 2, 1.0)
    with pytest.raises(ValueError, match=r"cross has shape \(2, 4\)"):
        predictor(np.eye(3), np.ones((2, 4)), np.ones(2), *arguments)
    with pytest.raises(ValueError, match=r"diag has shape \(3,\)"):
        predictor(np.eye(3), np.ones((2, 3)), np.ones(3), *arguments)
    with pytest.raises(ValueError, match="cross holds 6 nan"):
        predictor(np.eye(3), np.full((2, 3), np.nan), np.ones(2), *arguments)


def test_collapse_is_refused_where_nothing_holds_the_scale():
    assert order_parameter(np.eye(3), np.zeros(3), 6, 2, 1.0) == pytest.approx(0.5, abs=1e-12)
    with pytest.raises(ValueError, match="rank 3"):
        order_parameter(np.eye(3), np.zeros(3), 3, 2, 1.0)
    grid = saddle_grid(make_problem(np.eye(3), np.zeros(3), 1, 1, 1.0), np.array([3, 6]), 2, 1.0)
    assert np.isnan(grid.order_parameter).tolist() == [True, False]


def test_grid_broadcasts_and_refuses():
    unit = make_problem(np.eye(3), np.ones(3), 1, 1, 1.0)
    grid = saddle_grid(unit, np.array([[3], [6]]), np.array([1, 2]), 0.7, 0.1)
    assert grid.order_parameter.shape == (2, 2) and grid.roots.shape == (2, 2, 5)
    for bad in ({"width": 0}, {"sigma2": -1.0}, {"temperature": np.nan}, {"depth": 0}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            saddle_grid(unit, **{"width": 4, "depth": 1, "sigma2": 1.0, **bad})
