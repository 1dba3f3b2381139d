"""Gradient descent from the prior, and the minimum that weight decay leads to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from configs import kernel_rg as configs
from rgflow.kernel_rg import dynamics, experiment, network
from rgflow.kernel_rg.map_limit import map_limit
from rgflow.kernel_rg.problem import make_problem


def made_for(**values):
    config = configs.get_config("smoke")
    config.update({"sampler": "trained", "records": 4, **values})
    config.padded.update({name: config[name] for name in configs.PADDED})
    config.padded.depth = max(config.depth, 2)
    made = experiment.make(config)
    return made, jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), dict(made.hypers))


def trained(made, hypers, seeds, steps):
    def one(key):
        state = made.init(key, hypers)
        return jax.lax.fori_loop(0, steps, lambda t, s: made.step(key, s, hypers)[0], state).weights

    @jax.jit
    def all_seeds():
        weights = jax.vmap(one)(jax.random.split(jax.random.key(0), seeds))
        outputs, scale = jax.vmap(lambda w: read(made.static, w, hypers))(weights)
        return outputs, scale

    return map(np.asarray, all_seeds())


def read(static, weights, hypers):
    """Returns what a network says of every input, and the product of the squared norms of its layers."""
    features = network.hidden_features(static, weights, network.all_inputs(hypers), hypers)
    return network.outputs(weights, features, hypers), network.product_scale(static, weights, hypers)


def test_step_descends_the_regularised_energy(key):
    made, hypers = made_for(temperature=0.3, learning_rate=0.05)

    @jax.jit
    def run():
        state = made.init(key, hypers)
        after = made.step(key, state, hypers)[0]
        features = network.hidden_features(made.static, state.weights, hypers["inputs"], hypers)
        energies = [dynamics.energy(made.static, x.weights, hypers) for x in (state, after)]
        return state.weights, network.outputs(state.weights, features, hypers), *energies

    weights, outputs, before, after = run()
    assert after < before
    norm = sum(float(np.sum(np.square(w))) for w in jax.tree.leaves(weights))
    misfit = np.asarray(outputs) - np.asarray(hypers["targets"])
    expected = float(misfit @ misfit) / 2 + 0.3 / float(hypers["sigma2"]) * norm / 2
    assert float(before) == pytest.approx(expected, rel=1e-5)


def test_without_decay_mean_and_variance_have_the_form_of_the_equilibrium():
    """f - mu over sqrt(Q) has the Gaussian process's conditional variance: 200 runs, 3 points, 4 standard errors."""
    made, hypers = made_for(temperature=0.0, steps=3000, learning_rate=0.2, width=6, depth=2)
    output, scale = trained(made, hypers, 200, 3000)
    known = made.reference
    size = made.static.num_train
    # A start near zero leaves a saddle slowly.
    fitted = np.abs(output[:, :size] - np.asarray(hypers["targets"])).max(axis=1) < 0.05
    assert fitted.mean() > 0.9
    mean, unit = known["theory_mean"][0], known["theory_variance"][0] / known["theory_scale"][0]
    scores = ((output[:, size:] - mean) / np.sqrt(scale[:, None] * unit))[fitted]
    count = len(scores)
    assert np.abs(scores.mean(axis=0)).max() < 4 / np.sqrt(count)
    assert np.abs(scores.var(axis=0) - 1).max() < 4 * np.sqrt(2 / count)


@pytest.mark.parametrize("depth", [1, 2])
def test_with_decay_every_start_ends_in_the_minimum(depth):
    made, hypers = made_for(temperature=0.05, steps=8000, learning_rate=0.2, depth=depth, label_scale=2.0)
    output, scale = trained(made, hypers, 6, 8000)
    known = made.reference
    # The sign of the whole network is free and cancels in the output.
    np.testing.assert_allclose(output[:, made.static.num_train :], np.tile(known["theory_mean"][3], (6, 1)), atol=5e-3)
    np.testing.assert_allclose(scale, known["theory_scale"][3], rtol=5e-3)


@pytest.mark.parametrize(("depth", "width"), [(1, 3), (2, 4), (3, 2)])
def test_minimum_against_direct_minimisation_over_the_output(depth, width):
    rng = np.random.default_rng(depth)
    inputs, tests, sigma2, temperature = rng.normal(size=(5, 7)), rng.normal(size=(2, 7)), 0.8, 0.02
    targets = 2 * rng.normal(size=5)
    unit = sigma2 / 7
    problem = make_problem(unit * inputs @ inputs.T, targets, width, depth, sigma2, temperature)
    found = map_limit(problem, unit * tests @ inputs.T, 7)
    size, decay = np.sqrt(7) * width ** (depth / 2), temperature / sigma2

    def energy(beta):
        norm = (depth + 1) * (size * np.linalg.norm(beta)) ** (2 / (depth + 1))
        return np.sum((inputs @ beta - targets) ** 2) / 2 + decay * norm / 2

    start = np.linalg.lstsq(inputs, targets, rcond=None)[0]
    best = minimize(energy, start, method="BFGS", options={"gtol": 1e-9})
    np.testing.assert_allclose(found.mean, tests @ best.x, atol=1e-4)
    assert found.energy == pytest.approx(np.sum((inputs @ best.x - targets) ** 2) / 2, rel=1e-3)


def test_strong_decay_leaves_nothing():
    problem = make_problem(np.eye(2), np.array([0.1, 0.1]), 50, 3, 1.0, 10.0)
    found = map_limit(problem, np.array([[0.5, 0.5]]), 4)
    assert (found.scale, found.mean.tolist()) == (0.0, [0.0])
    assert found.energy == pytest.approx(0.01)
