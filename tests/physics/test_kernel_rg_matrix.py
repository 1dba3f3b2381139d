"""Several outputs: decoupling, the stationarity condition, limits, and Monte Carlo over Wishart matrices.

The Monte Carlo test has a fixed seed; its four-sigma band is added to the O(m/N) error of the saddle point.
"""

import numpy as np
import pytest

from rgflow.kernel_rg.hidden import hidden_kernels
from rgflow.kernel_rg.matrix_order import (
    matrix_hidden_kernels,
    matrix_order_parameter,
    matrix_predictor,
    matrix_saddle,
    matrix_training_energy,
)
from rgflow.kernel_rg.theory import order_parameter, predictor, training_energy


def regression(num_train=12, num_inputs=20, outputs=3, sigma2=0.8, seed=0):
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(num_train + 2, num_inputs))
    teacher = rng.normal(size=(num_inputs, outputs)) * np.linspace(1, 2, outputs)
    targets = inputs[:num_train] @ teacher / np.sqrt(num_inputs) + 0.3 * rng.normal(size=(num_train, outputs))
    full = sigma2 / num_inputs * inputs @ inputs.T
    return full[:num_train, :num_train], full[num_train:, :num_train], np.diag(full)[num_train:], targets


def power(matrix, exponent):
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * values**exponent) @ vectors.T


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_zero_temperature_commutes_and_decouples(depth):
    kernel, _, _, targets = regression()
    width, load = 30, 12 / 30
    label_matrix = targets.T @ np.linalg.solve(kernel, targets) / 12
    order = matrix_order_parameter(kernel, targets, width, depth, 0.8)
    np.testing.assert_allclose(order @ label_matrix, label_matrix @ order, atol=1e-10)
    right = load * (np.eye(3) - label_matrix @ np.linalg.inv(np.linalg.matrix_power(order, depth)))
    np.testing.assert_allclose(np.eye(3) - order / 0.8, right, atol=1e-10)
    values, vectors = np.linalg.eigh(label_matrix)
    separate = [order_parameter(kernel, targets @ vector, width, depth, 0.8) for vector in vectors.T]
    np.testing.assert_allclose(np.diag(vectors.T @ order @ vectors), separate, atol=1e-10)
    assert (values > 0).all()


@pytest.mark.parametrize("temperature", [0.0, 0.3])
def test_one_output_is_the_scalar_theory(temperature):
    kernel, cross, diag, targets = regression(outputs=1)
    arguments = (targets, 15, 3, 0.8, temperature)
    scalar = (targets[:, 0], 15, 3, 0.8, temperature)
    order = matrix_order_parameter(kernel, *arguments)
    assert order[0, 0] == pytest.approx(order_parameter(kernel, *scalar), rel=1e-7)
    mean, covariance = matrix_predictor(kernel, cross, diag, *arguments)
    expected = predictor(kernel, cross, diag, *scalar)
    np.testing.assert_allclose(mean[:, 0], expected[0], rtol=1e-6)
    np.testing.assert_allclose(covariance[:, 0, 0], expected[1], rtol=1e-6)
    energy = matrix_training_energy(kernel, *arguments)
    assert energy == pytest.approx(training_energy(kernel, *scalar), rel=1e-6, abs=1e-12)
    np.testing.assert_allclose(
        matrix_hidden_kernels(kernel, *arguments), hidden_kernels(kernel, *scalar), rtol=1e-6, atol=1e-8
    )


@pytest.mark.parametrize("depth", [1, 3])
def test_finite_temperature_is_stationary(depth):
    kernel, _, _, targets = regression()
    width, temperature = 20, 0.4
    order = matrix_order_parameter(kernel, targets, width, depth, 0.8, temperature)
    scale, root = np.linalg.matrix_power(order, depth), power(order, depth / 2)
    eigenvalues, vectors = np.linalg.eigh(kernel)
    total = np.zeros((3, 3))
    for value, label in zip(eigenvalues, vectors.T @ targets, strict=True):
        inverse = np.linalg.inv(value * scale + temperature * np.eye(3))
        total += value * (inverse - np.outer(inverse @ label, inverse @ label))
    residual = np.eye(3) - order / 0.8 - root @ total @ root / width
    np.testing.assert_allclose(residual, 0, atol=1e-6)


def test_low_temperature_approaches_zero_temperature():
    kernel, cross, diag, targets = regression()
    cold = matrix_order_parameter(kernel, targets, 30, 2, 0.8)
    low = matrix_order_parameter(kernel, targets, 30, 2, 0.8, 1e-6)
    np.testing.assert_allclose(low, cold, rtol=1e-3, atol=1e-4)
    mean, covariance = matrix_predictor(kernel, cross, diag, targets, 30, 2, 0.8)
    inverse = np.linalg.inv(kernel)
    np.testing.assert_allclose(mean, cross @ inverse @ targets, rtol=1e-8)
    spread = diag - np.einsum("ti,ij,tj->t", cross, inverse, cross)
    np.testing.assert_allclose(covariance, spread[:, None, None] * (cold @ cold)[None], rtol=1e-8, atol=1e-12)


def test_layer_kernels_close_on_their_definition_at_zero_temperature():
    kernel, _, _, targets = regression()
    order = matrix_order_parameter(kernel, targets, 30, 2, 0.8)
    inverse = np.linalg.inv(order)
    first = 0.8 * ((1 - 3 / 30) * kernel + targets @ inverse @ inverse @ targets.T / 30)
    second = 0.8 * ((1 - 3 / 30) * first + targets @ inverse @ targets.T / 30)
    np.testing.assert_allclose(
        matrix_hidden_kernels(kernel, targets, 30, 2, 0.8), [first, second], rtol=1e-8, atol=1e-10
    )


def test_unequal_widths_solve_every_layer():
    kernel, _, _, targets = regression()
    widths = np.array([20, 50, 30])
    saddle = matrix_saddle(kernel, targets, widths, 3, 0.8)
    label_matrix = targets.T @ np.linalg.solve(kernel, targets) / 12
    norms = np.diag(saddle.basis.T @ label_matrix @ saddle.basis)
    right = 12 * (1 - norms / saddle.layer_scales.prod(axis=0))
    np.testing.assert_allclose(
        widths[:, None] * (1 - saddle.layer_scales / 0.8), right[None] * np.ones((3, 1)), atol=1e-9
    )
    with pytest.raises(ValueError, match="width"):
        matrix_saddle(kernel, targets, widths, 3, 0.8, 0.1)


def test_against_weighted_products_of_wishart_matrices():
    width, sigma2, temperature, count = 60, 1.0, 0.3, 60_000
    kernel, _, _, targets = regression(num_train=6, num_inputs=15, outputs=2, sigma2=sigma2)
    rng = np.random.default_rng(2)
    scale = np.broadcast_to(np.eye(2), (count, 2, 2))
    for _ in range(2):
        # The next matrix is Wishart with the last one as its scale: a Gram matrix of vectors coloured by its root.
        colour = np.linalg.cholesky(scale)
        vectors = np.einsum("cab,cbn->can", colour, rng.normal(size=(count, 2, width)))
        scale = sigma2 / width * np.einsum("can,cbn->cab", vectors, vectors)
    eigenvalues, modes = np.linalg.eigh(kernel)
    covariance = eigenvalues[:, None, None] * scale[:, None] + temperature * np.eye(2)
    labels = modes.T @ targets
    solved = np.linalg.solve(covariance, np.broadcast_to(labels[:, :, None], (count, 6, 2, 1)))[..., 0]
    log_weight = -0.5 * (np.linalg.slogdet(covariance)[1] + np.sum(solved * labels, axis=2)).sum(axis=1)
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    order = matrix_order_parameter(kernel, targets, width, 2, sigma2, temperature)
    theory = order @ order
    mean = np.einsum("c,cab->ab", weight, scale)
    error = np.sqrt(np.einsum("c,cab->ab", weight**2, (scale - mean) ** 2))
    print(f"exact {mean.round(3).tolist()} saddle {theory.round(3).tolist()} standard error {error.max():.4f}")
    assert (np.abs(mean - theory) < 4 * error + 0.05 * np.trace(mean)).all()
    assert np.abs(mean - np.eye(2)).max() > 2 * np.abs(mean - theory).max()  # far from the Gaussian process
