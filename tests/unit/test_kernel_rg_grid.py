"""Shortcuts give what they replace: grid of predictors, normal numbers; the benchmark's peer has the same posterior."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from launch.benchmarks import kernel_rg as suite
from rgflow.kernel_rg import gibbs, hmc, task, theory
from rgflow.kernel_rg.network import Static, Weights


@pytest.fixture(scope="module")
def drawn():
    return task.noisy_linear_teacher(jax.random.key(3), num_train=7, num_test=4, num_inputs=9, label_noise=0.5)


@pytest.mark.parametrize("temperature", [0.0, 0.2])
def test_grid_is_the_predictor_of_every_point(drawn, temperature):
    unit = task.input_kernels(drawn.inputs, drawn.test_inputs, 1.0)
    widths, sigma2 = np.array([5, 9, 30])[:, None], np.array([0.5, 1.0, 2.0, 3.0])[None]
    arguments = unit.kernel, unit.cross, unit.diag, drawn.targets
    mean, variance = theory.predictor_grid(*arguments, widths, 2, sigma2, temperature)
    assert mean.shape == variance.shape == (3, 4, 4)
    for i, j in np.ndindex(3, 4):
        own = task.input_kernels(drawn.inputs, drawn.test_inputs, float(sigma2[0, j]))
        one = own.kernel, own.cross, own.diag, drawn.targets, int(widths[i, 0]), 2, float(sigma2[0, j]), temperature
        expected = theory.predictor(*one)
        np.testing.assert_allclose(mean[i, j], expected[0], rtol=1e-8, atol=1e-12)
        np.testing.assert_allclose(variance[i, j], expected[1], rtol=1e-8, atol=1e-12)


def test_temperature_may_be_an_axis_of_the_grid(drawn):
    unit = task.input_kernels(drawn.inputs, drawn.test_inputs, 1.0)
    arguments = unit.kernel, unit.cross, unit.diag, drawn.targets
    mean, variance = theory.predictor_grid(*arguments, 10, np.array([1, 3]), 1.0, np.array([0.0, 0.5]))
    for k, (depth, temperature) in enumerate(((1, 0.0), (3, 0.5))):
        expected = theory.predictor(*arguments, 10, depth, 1.0, temperature)
        np.testing.assert_allclose((mean[k], variance[k]), expected, rtol=1e-8, atol=1e-12)


def test_points_without_a_saddle_are_nan():
    mean, variance = theory.predictor_grid(
        np.eye(3), np.ones((1, 3)), np.full(1, 4.0), np.zeros(3), np.array([2, 9]), 1, 1.0
    )
    assert np.isnan(mean[0]).all()
    assert np.isnan(variance[0]).all()
    assert np.isfinite(mean[1]).all()


def test_nuts_of_the_benchmark_has_the_posterior_of_the_room():
    infer = pytest.importorskip("numpyro.infer.util")
    from launch.benchmarks import kernel_rg_peers

    problem = suite.problem_of(3, tiny=True)
    rows, inputs = problem.inputs.shape
    static = Static("hmc", "linear", problem.width, problem.depth, rows, inputs, len(problem.test_inputs), 1)
    scalars = {"sigma2": problem.sigma2, "temperature": problem.temperature, "width": problem.width}
    scalars |= {"depth": problem.depth, "num_inputs": inputs, "num_train": rows}
    hypers = {name: jnp.float32(value) for name, value in scalars.items()}
    hypers |= {"inputs": jnp.float32(problem.inputs), "targets": jnp.float32(problem.targets)}
    differences = []
    for seed in range(3):
        keys = jax.random.split(jax.random.key(seed), 3)
        shapes = ((problem.width, inputs), (1, problem.width, problem.width), (problem.width,))
        first, hidden, readout = (jax.random.normal(k, shape) for k, shape in zip(keys, shapes, strict=True))
        spread = np.sqrt(problem.sigma2)
        sites = {"first": spread * first, "hidden_1": spread * hidden[0], "readout": spread * readout}
        theirs = infer.log_density(kernel_rg_peers.model, (problem,), {}, sites)[0]
        differences.append(float(theirs - hmc.log_density(static, Weights(first, hidden, readout), hypers)))
    np.testing.assert_allclose(differences, differences[0], rtol=1e-5)


def test_effective_samples_of_independent_draws_is_their_number():
    draws = np.random.default_rng(0).normal(size=(40, 25, 8, 6))
    found = suite.effective_samples(draws.mean(axis=2), (draws**2).mean(axis=2))
    # The variance of 1000 means has a relative standard deviation of 4.5 %; the median over six tests less.
    assert abs(found / (40 * 25 * 8) - 1) < 0.15


@pytest.mark.parametrize("size", [1, 7, 5000])
def test_normal_numbers_are_those_of_jax_bit_for_bit(size):
    keys = jax.random.split(jax.random.key(5), 3)
    ours = jax.jit(jax.vmap(lambda key: gibbs.standard_normals(key, size)))(keys)
    theirs = jax.jit(jax.vmap(lambda key: jax.random.normal(key, (size,))))(keys)
    assert ours.dtype == theirs.dtype == jnp.float32
    np.testing.assert_array_equal(ours, theirs)
