"""The theory at the edge of rounding: kernels of rank below P, duplicates, float32, tiny T, and what is refused."""

import numpy as np
import pytest

from rgflow.kernel_rg.oracle import exact_predictor, scale_posterior
from rgflow.kernel_rg.problem import make_problem, predictor_at
from rgflow.kernel_rg.theory import exact_scale_posterior, order_parameter, predictor, predictor_grid


def kernels_in(dtype, inputs, tests):
    """The kernel, cross and diagonal as a program computes them that works in one precision."""
    x, z = inputs.astype(dtype), tests.astype(dtype)
    size = np.asarray(x.shape[1], dtype)
    return x @ x.T / size, z @ x.T / size, (z**2).sum(axis=1) / size


def tall_data(duplicates=False, points=20, size=5):
    """More training points than inputs, so that most eigenvalues of the kernel are rounding."""
    rng = np.random.default_rng(0)
    inputs, labels = rng.standard_normal((points, size)), rng.standard_normal(points)
    if duplicates:
        inputs[points // 2 :] = inputs[: points // 2]
    return inputs, labels, rng.standard_normal((4, size))


@pytest.mark.parametrize("duplicates", [False, True])
@pytest.mark.parametrize("size", [5, 30])
@pytest.mark.parametrize("temperature", [0.0, 1e-14, 1e-8, 1e-3])
def test_kernels_of_either_precision_have_one_answer(temperature, size, duplicates):
    inputs, labels, tests = tall_data(duplicates, size=size)
    arguments = labels, 50, 2, 1.0, temperature
    (kernel, *rest), (single, *coarse) = (kernels_in(t, inputs, tests) for t in (np.float64, np.float32))
    assert order_parameter(single, *arguments) == pytest.approx(order_parameter(kernel, *arguments), rel=1e-3)
    found, expected = predictor(single, *coarse, *arguments), predictor(kernel, *rest, *arguments)
    np.testing.assert_allclose(found[0], expected[0], rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(found[1], expected[1], atol=2e-3)
    assert min(found[1].min(), expected[1].min()) >= 0
    if temperature == 0:
        # Minimum-norm least squares, whatever the width.
        np.testing.assert_allclose(expected[0], tests @ np.linalg.lstsq(inputs, labels, rcond=None)[0], atol=1e-9)
    unit = predictor_grid(single, *coarse, labels, np.array([50.0]), 2, 1.0, temperature)
    np.testing.assert_allclose(unit[0][0], found[0], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(unit[1][0], found[1], rtol=1e-6, atol=1e-9)


def test_a_float32_kernel_in_float64_is_refused_where_it_matters():
    inputs, labels, tests = tall_data()
    kernel = kernels_in(np.float32, inputs, tests)[0]
    with pytest.raises(ValueError, match=r"kernel holds float32 numbers in float64, and 15 eigenvalues .*: pass it in"):
        order_parameter(kernel.astype(np.float64), labels, 50, 2, 1.0)
    # Where every eigenvalue is large, and where the numbers are exact, there is nothing to lose.
    few, labels_of_few = kernel[:4, :4].astype(np.float64), labels[:4]
    assert order_parameter(few, labels_of_few, 50, 2, 1.0) == pytest.approx(
        order_parameter(kernel[:4, :4], labels_of_few, 50, 2, 1.0), rel=1e-6
    )
    powers = np.diag(2.0 ** -np.arange(30.0))
    assert make_problem(powers, np.ones(30), 50, 2, 1.0).rank == 30


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_variances_at_training_points_are_zero_and_never_negative(seed, dtype):
    inputs = np.random.default_rng(seed).standard_normal((6, 10))
    inputs[3] = inputs[0]
    kernel, cross, diag = kernels_in(dtype, inputs, inputs)
    problem = make_problem(kernel, np.arange(6.0), 10, 2, 1.0)
    for variance in (
        predictor_at(problem, cross, diag, 1.0)[1],
        predictor(kernel, cross, diag, np.arange(6.0), 10, 2, 1.0)[1],
        predictor_grid(kernel, cross, diag, np.arange(6.0), 10, 2, 1.0)[1],
        exact_predictor(problem, scale_posterior(problem), cross, diag)[1],
    ):
        assert variance.min() >= 0 and variance.max() < 50 * np.finfo(dtype).eps + 1e-9 + 20 * (dtype == np.float32)


def test_test_kernels_of_other_inputs_are_refused():
    kernel, labels = np.diag([1.0, 0.5, 0.0]), np.ones(3)
    with pytest.raises(
        ValueError, match=r"cross has a part of size 0.3 outside of the range of kernel, for test point 1"
    ):
        predictor(kernel, np.array([[0.5, 0, 0], [0, 0, 0.3]]), np.ones(2), labels, 5, 2, 1.0)
    with pytest.raises(ValueError, match=r"diag = 0.2 for test point 0: must be at least 0.25, what kernel and cross"):
        predictor(kernel, np.array([[0.5, 0, 0]]), np.array([0.2]), labels, 5, 2, 1.0)


@pytest.mark.parametrize("sigma2", [1e-30, 1e-12])
def test_a_posterior_too_narrow_for_floats_is_refused(sigma2):
    kernel, labels = sigma2 * np.eye(8), np.full(8, np.sqrt(2))
    assert order_parameter(kernel, labels, 10, 1, sigma2) == pytest.approx(np.sqrt(1.6), rel=1e-3)
    with pytest.raises(
        ValueError, match=r"targets, sigma2 = labels of size .*: the posterior is narrower than float64"
    ):
        exact_scale_posterior(kernel, labels, 10, 1, sigma2)
