"""Order parameter, limits, predictor, energies and layer kernels against fixtures, brute force and each other."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq, minimize

from rgflow.kernel_rg.problem import energy_at, make_problem, predictor_at
from rgflow.kernel_rg.saddle import Equation, find_saddle, saddle_grid, solve_saddle
from rgflow.kernel_rg.task import input_kernels, noisy_linear_teacher
from rgflow.kernel_rg.theory import hidden_kernels, infinite_depth_scale, order_parameter, predictor

KERNEL = np.diag([2.0, 1.0, 0.5, 0.25])
LABELS = np.sqrt([1.0, 2.0, 0.5, 0.1])

# u_0 at T = 0, 0.1, 1 for width 5, by depth and sigma2.
FIXTURES = {
    (1, 0.5): (0.6764982043, 0.6131161508, 0.4674236050),
    (1, 1.0): (0.9888194417, 0.9488328260, 0.8561263716),
    (1, 2.0): (1.4649110641, 1.4603529468, 1.5026608067),
    (3, 0.5): (0.8164908463, 0.7496772908, 0.4988375594),
    (3, 1.0): (0.9940618775, 0.9704682420, 0.8870050597),
    (3, 2.0): (1.2327404483, 1.2418419062, 1.3196632083),
}


def flat(rank, label_norm):
    """A kernel and labels of given rank and r_0 (all that matters at T = 0)."""
    return np.eye(rank), np.full(rank, np.sqrt(label_norm))


def teacher(num_train=24, num_inputs=40, sigma2=0.7, label_noise=0.5, seed=0):
    data = noisy_linear_teacher(jax.random.key(seed), num_train, 5, num_inputs, label_noise)
    return data, input_kernels(data.inputs, data.test_inputs, sigma2)


def direct_action(logs, kernel, targets, widths, sigma2, temperature):
    """The action of all u_l, written down with determinants and inverses."""
    scales = np.exp(logs)
    covariance = np.prod(scales) * kernel + temperature * np.eye(len(kernel))
    data = np.linalg.slogdet(covariance)[1] + targets @ np.linalg.solve(covariance, targets)
    return np.sum(widths / 2 * (scales / sigma2 - logs)) + data / 2


@pytest.mark.parametrize(("depth", "sigma2"), FIXTURES)
def test_fixtures(depth, sigma2):
    found = [order_parameter(KERNEL, LABELS, 5, depth, sigma2, t) for t in (0.0, 0.1, 1.0)]
    np.testing.assert_allclose(found, FIXTURES[depth, sigma2], rtol=0, atol=6e-11)


@pytest.mark.parametrize(("sigma2", "expected"), [(1.0, 1.28078), (1.5, 1.65587), (2.5, 2.32518)])
def test_half_load(sigma2, expected):
    assert order_parameter(*flat(10, 2.0), 20, 1, sigma2) == pytest.approx(expected, abs=6e-6)


def test_narrow_limit():
    assert order_parameter(*flat(10, 2.0), 1, 1, 0.5) == pytest.approx(1.6310436741, abs=6e-11)
    assert order_parameter(*flat(10, 2.0), 1, 3, 0.5) == pytest.approx(1.2056769040, abs=6e-11)
    # The solver itself takes any width: alpha = 1e5 from ten modes.
    for depth, expected in ((1, 1.99994), (3, 1.99997)):
        with jax.enable_x64(True):
            modes, layers = (jnp.ones(10), jnp.full(10, jnp.sqrt(2.0))), (jnp.array([1e-4]), jnp.array([1.0 * depth]))
            saddle = jax.jit(solve_saddle)(Equation(*modes, *layers, jnp.array(0.5), jnp.array(0.0)))
        assert np.exp(saddle.log_scale) == pytest.approx(expected, abs=6e-6)


def test_order_parameter_lies_between_its_limits_and_moves_with_the_sign_rule():
    widths = np.geomspace(1, 1e7, 60)
    for label_norm in (0.05, 0.9, 1.1, 8.0):
        for depth in (1, 2, 5):
            order = saddle_grid(make_problem(*flat(12, label_norm), 1, 1, 1.0), widths, depth, 1.0).order_parameter
            low, high = sorted((1.0, label_norm ** (1 / depth)))
            assert (order > low).all() and (order < high).all()
            assert order[-1] == pytest.approx(1.0, abs=2e-5)
            assert (np.sign(np.diff(order)) == np.sign(1 - label_norm)).all()
    assert order_parameter(*flat(7, 1.0), 7, 3, 1.0) == pytest.approx(1.0, abs=1e-14)


@pytest.mark.parametrize(("sigma2", "limit", "deep"), [(1.0, 2.0, 1.9972), (1.5, 6.0, 5.957)])
def test_infinite_depth_is_finite(sigma2, limit, deep):
    assert infinite_depth_scale(0.5, 2.0, sigma2) == pytest.approx(limit, abs=1e-12)
    scale = order_parameter(*flat(10, 2.0), 20, 1000, sigma2) ** 1000
    assert scale == pytest.approx(deep, abs=6e-4)
    deeper = order_parameter(*flat(10, 2.0), 20, 100_000, sigma2) ** 100_000
    assert deeper == pytest.approx(limit, rel=1e-3)


def test_infinite_depth_diverges():
    assert infinite_depth_scale(0.5, 2.0, 2.5) == np.inf
    for depth in (100, 1000, 100_000):
        assert order_parameter(*flat(10, 2.0), 20, depth, 2.5) == pytest.approx(1.25, abs=1e-4)


def coexisting():
    """Fifty modes whose three saddle points at width 49, depth 6 are 0.3205, 0.3662, 1.1337."""
    modes = (np.arange(50) + 0.5) / 50
    return np.diag(np.exp(0.85507085 - 2.74209089 * modes)), np.full(50, np.sqrt(5.94613569))


def test_coexistence_finds_three_roots_and_the_least_action():
    kernel, labels = coexisting()
    saddle = find_saddle(make_problem(kernel, labels, 49, 6, 0.282, 0.192))
    np.testing.assert_allclose(saddle.roots[:3], [0.3205, 0.3662, 1.1337], atol=2e-6)
    assert np.isnan(saddle.roots[3:]).all() and saddle.coexistence
    assert saddle.is_minimum.tolist() == [True, False, True, False, False]
    direct = [direct_action(np.full(6, np.log(u)), kernel, labels, 49, 0.282, 0.192) for u in saddle.roots[:3]]
    np.testing.assert_allclose(saddle.actions[:3], direct, rtol=1e-12)
    assert saddle.order_parameter == saddle.roots[np.argmin(direct)]
    assert not find_saddle(make_problem(kernel, labels, 49, 1, 0.282, 0.192)).coexistence


def test_scan_misses_no_root_of_random_instances():
    rng = np.random.default_rng(3)
    crowded = 0
    for _ in range(40):
        size, depth = int(rng.integers(4, 50)), int(rng.integers(1, 9))
        squares, eigenvalues = rng.uniform(0, 8, size), np.exp(rng.uniform(-3, 1, size))
        width, sigma2, temperature = int(rng.integers(3, 100)), np.exp(rng.uniform(-2, 0.5)), np.exp(rng.uniform(-3, 0))

        def equation(
            log_order, depth=depth, squares=squares, eigenvalues=eigenvalues, n=width, s=sigma2, t=temperature
        ):
            variance = np.exp(depth * log_order) * eigenvalues + t
            share = 1 - t / variance
            return np.exp(log_order) / s - 1 + np.sum(share - squares * share / variance) / n

        scan = np.linspace(-6, 3, 3001)
        signs = np.array([equation(x) for x in scan]) < 0
        brackets = np.flatnonzero(signs[:-1] != signs[1:])
        roots = [np.exp(brentq(equation, scan[i], scan[i + 1], xtol=1e-14)) for i in brackets]
        problem = make_problem(np.diag(eigenvalues), np.sqrt(squares), width, depth, sigma2, temperature)
        saddle = find_saddle(problem)
        np.testing.assert_allclose(saddle.roots[np.isfinite(saddle.roots)], roots, rtol=1e-10)
        crowded += len(roots) > 1
    assert crowded >= 2  # the test has seen what it is about


@pytest.mark.parametrize("temperature", [0.0, 0.2])
def test_unequal_widths_minimise_the_action(temperature):
    widths = np.array([9, 30, 14])
    _, kernels = teacher(num_train=8)
    targets = np.linspace(-1, 2, 8)
    saddle = find_saddle(make_problem(kernels.kernel, targets, widths, 3, 0.6, temperature))
    arguments = (kernels.kernel, targets, widths, 0.6, temperature)
    fit = minimize(direct_action, np.zeros(3), arguments, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12})
    np.testing.assert_allclose(saddle.layer_scales, np.exp(fit.x), rtol=1e-5)
    assert saddle.action == pytest.approx(fit.fun, abs=1e-9)
    assert np.prod(saddle.layer_scales) == pytest.approx(float(saddle.scale), rel=1e-12)
    if temperature == 0:
        ratio = targets @ np.linalg.solve(kernels.kernel, targets) / np.prod(saddle.layer_scales)
        np.testing.assert_allclose(widths * (1 - saddle.layer_scales / 0.6), 8 - ratio, rtol=1e-9)


def test_singular_kernel_is_the_limit_of_low_temperature():
    data, kernels = teacher(num_train=40, num_inputs=15)
    cold = order_parameter(kernels.kernel, data.targets, 20, 2, 0.7)
    assert order_parameter(kernels.kernel, data.targets, 20, 2, 0.7, 1e-9) == pytest.approx(cold, rel=1e-6)
    values, vectors = np.linalg.eigh(kernels.kernel)
    missed = vectors[:, values < 1e-10].T @ np.asarray(data.targets)
    assert len(missed) == 25
    problem = make_problem(kernels.kernel, data.targets, 20, 2, 0.7)
    assert energy_at(problem, float(find_saddle(problem).scale)) == pytest.approx(missed @ missed / 2, rel=1e-10)


def random_points(number):
    rng = np.random.default_rng(0)
    points = (rng.integers(5, 1000, number), rng.integers(1, 11, number), rng.uniform(0.3, 2, number))
    return (*points, rng.choice([0.0, 0.01, 0.1, 0.3], number))


def test_grid_is_equal_to_single_points():
    data, _ = teacher(num_train=100, num_inputs=200)
    unit = input_kernels(data.inputs, data.test_inputs, 1.0).kernel
    points = random_points(200)
    grid = saddle_grid(make_problem(unit, data.targets, 1, 1, 1.0), *points)
    assert np.isfinite(grid.order_parameter).all()
    for i in range(0, 200, 20):
        width, depth, sigma2, temperature = (p[i] for p in points)
        single = order_parameter(sigma2 * unit, data.targets, int(width), int(depth), sigma2, temperature)
        assert grid.order_parameter[i] == pytest.approx(single, rel=1e-12)


@pytest.mark.slow
@pytest.mark.usefixtures("optimised")
def test_grid_of_ten_thousand_points_is_fast():
    data, _ = teacher(num_train=100, num_inputs=200)
    unit = input_kernels(data.inputs, data.test_inputs, 1.0).kernel
    problem, points = make_problem(unit, data.targets, 1, 1, 1.0), random_points(10_000)
    saddle_grid(problem, *points)
    started = time.perf_counter()
    grid = saddle_grid(problem, *points)
    seconds = time.perf_counter() - started
    print(f"10 000 points, P = 100: {seconds:.2f} s")
    assert seconds < 8  # about 1 s on two idle cores
    assert np.isfinite(grid.order_parameter).all()


def test_predictor_from_its_definition():
    data, kernels = teacher()
    test_kernel = 0.7 / 40 * data.test_inputs @ data.test_inputs.T
    for depth, temperature in ((1, 0.05), (3, 0.0)):
        arguments = (data.targets, 30, depth, 0.7, temperature)
        scale = order_parameter(kernels.kernel, *arguments) ** depth
        inverse = np.linalg.inv(scale * kernels.kernel + temperature * np.eye(24))
        mean, variance = predictor(*kernels, *arguments)
        np.testing.assert_allclose(mean, scale * kernels.cross @ inverse @ data.targets, rtol=1e-9)
        covariance = scale * test_kernel - scale**2 * kernels.cross @ inverse @ kernels.cross.T
        np.testing.assert_allclose(variance, np.diag(covariance), rtol=1e-9)
        training = scale * kernels.kernel @ inverse
        spread = scale * kernels.kernel - training @ kernels.kernel * scale
        energy = np.sum((training @ data.targets - data.targets) ** 2) / 2 + np.trace(spread) / 2
        found = energy_at(make_problem(kernels.kernel, *arguments), scale)
        assert found == pytest.approx(energy, rel=1e-9, abs=1e-12)


def test_at_zero_temperature_the_mean_knows_neither_width_depth_nor_sigma2():
    data, _ = teacher()
    means = []
    for width, depth, sigma2 in ((3, 1, 0.5), (300, 1, 0.5), (20, 6, 2.0)):
        kernels = input_kernels(data.inputs, data.test_inputs, sigma2)
        means.append(predictor(*kernels, data.targets, width, depth, sigma2)[0])
    np.testing.assert_allclose(means[1:], [means[0]] * 2, rtol=1e-9)


def test_infinite_width_is_the_gaussian_process_and_variance_obeys_the_sign_rule():
    data, kernels = teacher(sigma2=1.0)
    limit = predictor_at(make_problem(kernels.kernel, data.targets, 1, 2, 1.0, 0.1), kernels.cross, kernels.diag, 1.0)
    np.testing.assert_allclose(predictor(*kernels, data.targets, 10**9, 2, 1.0, 0.1), limit, rtol=1e-6)
    for scale, sign in ((0.05, 1), (5.0, -1)):
        # Small labels: r_0 < sigma^(2L), and a narrow network varies less than a wide one.
        variances = [predictor(*kernels, scale * data.targets, n, 2, 1.0)[1].mean() for n in (10, 100, 1000)]
        assert (np.sign(np.diff(variances)) == sign).all()


def test_error_peaks_where_points_equal_inputs_and_temperature_rounds_it():
    def errors(temperature):
        table = np.zeros(3)
        for seed in range(6):
            for column, num_train in enumerate((20, 40, 80)):
                data, kernels = teacher(num_train, 40, 1.0, 0.5, seed)
                mean, _ = predictor(*kernels, data.targets, 50, 1, 1.0, temperature)
                table[column] += np.mean((mean - data.test_targets) ** 2) / 6
        return table

    cold, warm = errors(0.0), errors(0.3)
    assert cold[1] > 3 * max(cold[0], cold[2])
    assert warm[1] < cold[1] / 3


def test_layer_kernels_are_those_of_the_closed_form_at_zero_temperature():
    r"""$K_l = s^l K_0 + YY^T/N \sum_{j \le l} \sigma^2 s^{l-j} u_0^{-(L-j+1)}$ with $s = \sigma^2 (1 - 1/N)$."""
    width, depth, sigma2 = 30, 4, 0.7
    data, kernels = teacher()
    order = order_parameter(kernels.kernel, data.targets, width, depth, sigma2)
    kept, closed = sigma2 * (1 - 1 / width), []
    for layer in range(1, depth + 1):
        weight = sum(sigma2 * kept ** (layer - j) * order ** -(depth - j + 1) for j in range(1, layer + 1))
        closed.append(kept**layer * kernels.kernel + weight / width * np.outer(data.targets, data.targets))
    for temperature, tolerance in ((0.0, 1e-10), (1e-10, 1e-5)):
        problem = make_problem(kernels.kernel, data.targets, width, depth, sigma2, temperature)
        found = hidden_kernels(problem, find_saddle(problem))
        np.testing.assert_allclose(found, closed, rtol=tolerance, atol=tolerance / 100)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_several_outputs_decouple_at_zero_temperature(depth):
    r"""$U_0$ of the solutions along the eigenvectors of $R_0$ solves $I - U_0/\sigma^2 = \alpha (I - R_0 U_0^{-L})$."""
    width, sigma2, num_train = 30, 0.8, 12
    _, kernels = teacher(num_train, 20, sigma2)
    targets = np.random.default_rng(0).normal(size=(num_train, 3)) * np.linspace(1, 2, 3)
    label_matrix = targets.T @ np.linalg.solve(kernels.kernel, targets) / num_train
    vectors = np.linalg.eigh(label_matrix)[1]
    separate = [order_parameter(kernels.kernel, targets @ vector, width, depth, sigma2) for vector in vectors.T]
    order = (vectors * separate) @ vectors.T
    np.testing.assert_allclose(order @ label_matrix, label_matrix @ order, atol=1e-10)
    right = num_train / width * (np.eye(3) - label_matrix @ np.linalg.inv(np.linalg.matrix_power(order, depth)))
    np.testing.assert_allclose(np.eye(3) - order / sigma2, right, atol=1e-10)
