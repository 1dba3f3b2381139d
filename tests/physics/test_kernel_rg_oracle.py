"""The exact scale posterior against closed forms, quadrature and weight-level Monte Carlo; the saddle against it.

Monte Carlo tests have fixed seeds and are four-sigma tests of about ten numbers each: false-alarm rate below 1e-3.
"""

import numpy as np
import pytest
from scipy.special import kve

from rgflow.kernel_rg.oracle import exact_hidden_kernels, exact_predictor, exact_training_energy, scale_posterior
from rgflow.kernel_rg.problem import energy_at, make_problem, predictor_at
from rgflow.kernel_rg.saddle import find_saddle
from rgflow.kernel_rg.theory import exact_scale_posterior, hidden_kernels, order_parameter


def flat(rank, label_norm):
    return np.eye(rank), np.full(rank, np.sqrt(label_norm))


def regression(num_train, num_inputs, sigma2, strength=1.0, seed=0, num_test=3):
    """Kernels and noisy labels; singular when there are more points than inputs."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(num_train + num_test, num_inputs))
    labels = strength * (inputs @ rng.normal(size=num_inputs) / np.sqrt(num_inputs))[:num_train]
    labels += 0.3 * rng.normal(size=num_train)
    full = sigma2 / num_inputs * inputs @ inputs.T
    kernel, cross, diag = full[:num_train, :num_train], full[num_train:, :num_train], np.diag(full)[num_train:]
    return inputs, kernel, cross, diag, labels


@pytest.mark.parametrize(
    ("width", "rank", "expected"), [(10, 8, 1.4176628216), (100, 80, 1.3738172827), (1000, 800, 1.3693545537)]
)
def test_one_layer_at_zero_temperature(width, rank, expected):
    posterior = exact_scale_posterior(*flat(rank, 2.0), width, 1, 1.0)
    assert posterior.moment(1) == pytest.approx(expected, abs=6e-10)
    saddle = order_parameter(*flat(rank, 2.0), width, 1, 1.0)
    assert saddle == pytest.approx(1.3688577540, abs=6e-11)
    # The distance to the saddle point is 0.49 / N.
    assert (expected - saddle) * width == pytest.approx(0.49, abs=0.01)


@pytest.mark.parametrize("case", [(10, 8, 2.0, 1.0), (8, 11, 0.3, 0.5), (7, 7, 1.0, 2.0), (9, 10, 4.0, 0.4)])
def test_bessel_moments(case):
    """One layer at T = 0: u has a generalised inverse Gaussian law, whose moments are ratios of Bessel functions."""
    width, rank, label_norm, sigma2 = case
    order, argument = (width - rank) / 2, np.sqrt(width * rank * label_norm / sigma2)
    posterior = exact_scale_posterior(*flat(rank, label_norm), width, 1, sigma2)
    for power in (-3, -1, 0, 1, 2, 4):
        bessel = kve(order + power, argument) / kve(order, argument)
        direct = (sigma2 * rank * label_norm / width) ** (power / 2) * bessel
        assert posterior.moment(power) == pytest.approx(direct, rel=1e-11)


def test_prior_moments_where_the_data_say_nothing():
    kernel, labels = 1e-12 * np.eye(3), np.ones(3)
    posterior = exact_scale_posterior(kernel, labels, [5, 11, 3], 3, 0.7, 1.0)
    for power in (1, 2):
        exact = np.prod([np.prod([0.7 * (1 + 2 * i / n) for i in range(power)]) for n in (5, 11, 3)])
        assert posterior.moment(power) == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize(
    ("widths", "temperature", "strength"), [((6, 6), 0.1, 1.0), ((4, 9), 0.0, 6.0), ((25, 25), 0.05, 8.0)]
)
def test_two_layers_against_double_quadrature(widths, temperature, strength):
    sigma2 = 0.5
    _, kernel, _, _, labels = regression(6, 9, sigma2, strength)
    logs = np.linspace(-14, 6, 2001)
    first, second = np.meshgrid(logs, logs, indexing="ij")
    log_prior = sum(
        n / 2 * (z - np.log(sigma2) - np.exp(z) / sigma2) for n, z in zip(widths, (first, second), strict=True)
    )
    eigenvalues, vectors = np.linalg.eigh(kernel)
    variance = np.exp(np.arange(4001) * 0.01 - 28)[:, None] * eigenvalues + temperature
    log_likelihood = -0.5 * (np.log(variance) + (vectors.T @ labels) ** 2 / variance).sum(axis=1)
    index = np.arange(2001)[:, None] + np.arange(2001)[None, :]
    log_weight = log_prior + log_likelihood[index]
    weight = np.exp(log_weight - log_weight.max())
    posterior = exact_scale_posterior(kernel, labels, widths, 2, sigma2, temperature)
    for power in (-1, 1, 2):
        direct = np.sum(weight * np.exp(power * (first + second))) / weight.sum()
        assert posterior.moment(power) == pytest.approx(direct, rel=1e-9)


def test_everything_against_networks_drawn_from_the_prior_and_weighted_by_their_likelihood():
    widths, sigma2, temperature, count, num_train = (4, 3), 0.8, 0.5, 400_000, 3
    inputs, kernel, cross, diag, labels = regression(num_train, 5, sigma2, 1.5)
    rng = np.random.default_rng(1)
    spread = np.sqrt(sigma2)
    lower = spread * rng.normal(size=(count, widths[0], 5)) @ inputs.T / np.sqrt(5)
    upper = np.einsum("cij,cjk->cik", spread * rng.normal(size=(count, widths[1], widths[0])), lower) / np.sqrt(
        widths[0]
    )
    output = np.einsum("ci,cik->ck", spread * rng.normal(size=(count, widths[1])), upper) / np.sqrt(widths[1])
    misfit = np.sum((output[:, :num_train] - labels) ** 2, axis=1) / 2
    weight = np.exp(-misfit / temperature)

    def check(values, exact):
        """Importance-weighted mean within four standard errors."""
        mean = np.average(values, weights=weight)
        error = np.sqrt(np.sum((weight * (values - mean)) ** 2)) / weight.sum()
        assert abs(mean - exact) < 4 * error
        assert error < 0.05 * max(abs(exact), 0.2)

    problem = make_problem(kernel, labels, widths, 2, sigma2, temperature)
    posterior = scale_posterior(problem)
    mean, variance = exact_predictor(problem, posterior, cross, diag)
    for test in range(3):
        check(output[:, num_train + test], mean[test])
        check((output[:, num_train + test] - mean[test]) ** 2, variance[test])
    check(misfit, exact_training_energy(problem, posterior))
    kernels = exact_hidden_kernels(problem, posterior)
    for layer, hidden in enumerate((lower, upper)):
        for i, j in ((0, 0), (0, 1), (1, 2)):
            values = sigma2 / widths[layer] * np.sum(hidden[:, :, i] * hidden[:, :, j], axis=1)
            check(values, kernels[layer, i, j])


@pytest.mark.parametrize("temperature", [0.0, 0.2])
def test_saddle_point_errors_fall_as_one_over_width(temperature):
    errors = []
    for width in (10, 40, 160):
        kernel, labels = flat(8 * width // 10, 2.0)
        exact = exact_scale_posterior(kernel, labels, width, 2, 1.0, temperature).moment(1)
        errors.append(order_parameter(kernel, labels, width, 2, 1.0, temperature) ** 2 / exact - 1)
    print(f"T = {temperature}: relative errors at N = 10, 40, 160: {np.round(errors, 5)}")
    assert abs(errors[0]) < 0.08
    np.testing.assert_allclose(np.array(errors[:-1]) / errors[1:], 4.0, atol=0.8)


@pytest.mark.parametrize(
    ("num_train", "num_inputs", "width", "depth", "sigma2", "temperature"),
    [(24, 40, 30, 1, 1.0, 0.01), (24, 40, 30, 2, 1.0, 0.01), (25, 30, 20, 2, 0.25, 0.3), (40, 20, 40, 1, 1.0, 0.2)],
)
def test_theory_is_closer_to_the_exact_law_than_the_gaussian_process(
    num_train, num_inputs, width, depth, sigma2, temperature
):
    _, kernel, cross, diag, labels = regression(num_train, num_inputs, sigma2, 1.5)
    problem = make_problem(kernel, labels, width, depth, sigma2, temperature)
    posterior, saddle = scale_posterior(problem), find_saddle(problem)
    _, exact = exact_predictor(problem, posterior, cross, diag)
    _, theory = predictor_at(problem, cross, diag, float(saddle.scale))
    _, limit = predictor_at(problem, cross, diag, sigma2**depth)
    assert abs(theory.mean() / exact.mean() - 1) < 2 * depth / width
    assert abs(theory.mean() - exact.mean()) < abs(limit.mean() - exact.mean())
    energy = exact_training_energy(problem, posterior)
    assert energy_at(problem, float(saddle.scale)) == pytest.approx(energy, rel=0.04)
    exact_kernels = exact_hidden_kernels(problem, posterior)
    distance = np.linalg.norm(hidden_kernels(problem, saddle) - exact_kernels) / np.linalg.norm(exact_kernels)
    assert distance < 2 * depth / width


def test_exact_zero_temperature_kernels_are_the_limit_of_low_temperature():
    _, kernel, cross, diag, labels = regression(12, 20, 0.6)
    cold, warm = (make_problem(kernel, labels, [9, 14, 7], 3, 0.6, t) for t in (0.0, 1e-8))
    frozen, thawed = scale_posterior(cold), scale_posterior(warm)
    for function in (exact_hidden_kernels, exact_training_energy):
        np.testing.assert_allclose(function(cold, frozen), function(warm, thawed), rtol=1e-5, atol=1e-6)
    zero, low = exact_predictor(cold, frozen, cross, diag), exact_predictor(warm, thawed, cross, diag)
    np.testing.assert_allclose(zero, low, rtol=1e-5)


def test_posterior_with_two_phases_has_two_peaks():
    modes = (np.arange(50) + 0.5) / 50
    kernel, labels = np.diag(np.exp(0.85507085 - 2.74209089 * modes)), np.full(50, np.sqrt(5.94613569))
    posterior = exact_scale_posterior(kernel, labels, 49, 6, 0.282, 0.192)
    density = np.log(posterior.weights)
    inner = np.flatnonzero((density[1:-1] > density[:-2]) & (density[1:-1] > density[2:])) + 1
    peaks = np.exp(posterior.log_scale[inner] / 6)
    # The left phase is about to vanish: its minimum is flat, and finite width moves the peak most.
    np.testing.assert_allclose(peaks, [0.3205, 1.1337], rtol=0.05)
