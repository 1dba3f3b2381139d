r"""Learning rules of Boltzmann machines: arithmetic of steps, exact gradients, refusals, and no recompilation.

No statistics here, apart from one deviation of 40 000 numbers at five sigma (a false alarm in 2e6).
"""

import functools

import jax
import jax.numpy as jnp
import machines
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from rgflow.exact.enumeration import spin_states
from rgflow.variational_rg import gibbs, learning
from rgflow.variational_rg.machine import UNITS, Machine, free_energy

gibbs_chain = jax.jit(gibbs.gibbs_chain)
reconstruct = jax.jit(gibbs.reconstruct)
contrast = jax.jit(learning.contrast, static_argnums=3)
exact_contrast = jax.jit(learning.exact_contrast)
init_machine = jax.jit(learning.init_machine, static_argnums=(1, 2, 3))
update = jax.jit(learning.update, static_argnums=6)


def random_machine(*arguments, **values):
    """A machine in float32."""
    return jax.tree.map(lambda x: np.asarray(x, np.float32), machines.random_machine(*arguments, **values))


def all_states(count, units):
    spins = spin_states(count).astype(np.float64)
    return spins if units == "spin" else (spins + 1) / 2


def log_likelihood(machine, probabilities, states):
    """The mean log probability in float64, by its definition."""
    energies = free_energy(machine, states)
    return -probabilities @ energies - np.logaddexp.reduce(-energies)


def free_energy_rows(machine, states):
    return jax.vmap(free_energy, in_axes=(None, 0))(machine, states)


@pytest.mark.parametrize("units", UNITS)
def test_the_exact_contrast_is_the_slope_of_the_log_likelihood(units):
    machine = random_machine(4, 3, units)
    states = all_states(4, units)
    probabilities = np.random.default_rng(1).dirichlet(np.ones(16))
    gradient = exact_contrast(machine, np.float32(probabilities), np.float32(states))
    wide = jax.tree.map(lambda x: np.asarray(x, np.float64), machine)
    leaves, tree = jax.tree.flatten(wide)
    for number, leaf in enumerate(leaves):
        slope = np.zeros_like(leaf)
        for index in np.ndindex(leaf.shape):
            step = np.zeros_like(leaf)
            step[index] = 1e-5
            sides = [tree.unflatten([*leaves[:number], leaf + sign * step, *leaves[number + 1 :]]) for sign in (1, -1)]
            slope[index] = np.subtract(*[log_likelihood(side, probabilities, states) for side in sides]) / 2e-5
        np.testing.assert_allclose(jax.tree.leaves(gradient)[number], slope, atol=2e-6)
        assert np.abs(slope).max() > 0.01


def test_the_exact_contrast_has_the_moments_of_a_known_machine():
    """Uniform data: their spins have no mean, so that minus the slopes of the visible biases are the model's means."""
    weights, hidden_bias, visible_bias = [[0.5, -0.3], [0.2, 0.4], [-0.6, 0.1]], [0.1, -0.2], [0.3, 0.0, -0.1]
    machine = Machine(*(np.array(values, np.float32) for values in (weights, visible_bias, hidden_bias)))
    states = all_states(3, "spin")
    gradient = exact_contrast(machine, np.full(8, 0.125, np.float32), np.float32(states))
    np.testing.assert_allclose(gradient.visible_bias, [-0.403068045, 0.057849748, 0.248855348], atol=1e-6)
    hidden = np.tanh(states @ np.array(weights) + np.array(hidden_bias))
    np.testing.assert_allclose(hidden.mean(0) - gradient.hidden_bias, [0.298690249, -0.295682911], atol=1e-6)
    assert abs((states[:, 0] * hidden[:, 1]).mean() - gradient.weights[0, 1] - -0.346641803) < 1e-6


def test_ascending_the_exact_contrast_fits_a_law():
    states = np.float32(all_states(3, "spin"))
    law_of = jax.jit(lambda machine: jax.nn.softmax(-free_energy_rows(machine, states)))
    law = law_of(random_machine(3, 2, seed=5))
    machine = init_machine(jax.random.key(3), 3, 4, "spin", 0.1)
    velocity = jax.tree.map(np.zeros_like, machine)

    @jax.jit
    def learn(machine, velocity):
        def step(_, carry):
            return update(*carry, exact_contrast(carry[0], law, states), 0.3, 0.9, 0.0)

        return jax.lax.fori_loop(0, 3000, step, (machine, velocity))

    fitted = law_of(learn(machine, velocity)[0])
    np.testing.assert_allclose(fitted, law, atol=1e-3)


def test_a_step_is_the_published_rule():
    machine, gradient, velocity = (random_machine(3, 2, seed=seed) for seed in (1, 2, 3))
    moved, speed = update(machine, velocity, gradient, 0.1, 0.5, 0.02)
    expected = 0.5 * velocity.weights + 0.1 * (gradient.weights - 0.02 * np.sign(machine.weights))
    np.testing.assert_allclose(speed.weights, expected, rtol=1e-6)
    np.testing.assert_allclose(moved.weights, machine.weights + expected, rtol=1e-6)
    bias = 0.5 * velocity.hidden_bias + 0.1 * gradient.hidden_bias
    np.testing.assert_allclose(speed.hidden_bias, bias, rtol=1e-6)
    np.testing.assert_allclose(moved.visible_bias, machine.visible_bias + speed.visible_bias, rtol=1e-6)


def test_a_proximal_step_shrinks_after_the_move():
    machine, gradient, velocity = (random_machine(3, 2, seed=seed) for seed in (1, 2, 3))
    moved, speed = update(machine, velocity, gradient, 0.1, 0.5, 2.0, "proximal")
    free = np.asarray(machine.weights + 0.5 * velocity.weights + 0.1 * gradient.weights, np.float64)
    expected = np.sign(free) * np.maximum(np.abs(free) - 0.1 * 2.0 / (1 - 0.5), 0)
    np.testing.assert_allclose(moved.weights, expected, atol=1e-6)
    np.testing.assert_allclose(speed.weights, 0.5 * velocity.weights + 0.1 * gradient.weights, rtol=1e-6)
    assert 0 < (expected == 0).sum() < expected.size


def test_only_the_proximal_rule_leaves_true_zeros():
    start = init_machine(jax.random.key(0), 20, 10, "spin")
    rest = jax.tree.map(np.zeros_like, start)
    ends = {}
    for method in ("sign", "proximal"):
        machine, velocity = start, rest
        for _ in range(20):
            machine, velocity = update(machine, velocity, rest, 0.1, 0.0, 0.03, method)
        ends[method] = np.asarray(machine.weights)
    assert (ends["proximal"] == 0).all()
    assert (ends["sign"] != 0).all() and np.abs(ends["sign"]).max() < 0.01


def test_a_weight_at_zero_feels_no_sign():
    zero = jax.tree.map(np.zeros_like, random_machine(3, 2))
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(update(zero, zero, zero, 0.1, 0.5, 1.0)))


def test_swept_rates_share_one_program():
    @functools.partial(jax.jit, static_argnames="method")
    def step(key, machine, velocity, batch, rate, momentum, l1, method):
        gradient = contrast(key, machine, batch, 1).gradient
        return update(machine, velocity, gradient, rate, momentum, l1, method)

    machine = init_machine(jax.random.key(0), 6, 3, "binary")
    batch = np.ones((4, 6), np.float32)
    arguments = (jax.random.key(1), machine, jax.tree.map(np.zeros_like, machine), batch)
    ends = [step(*arguments, rate, momentum, l1, "sign") for rate, momentum, l1 in [(0.1, 0.5, 0.0), (0.2, 0.9, 2e-4)]]
    assert step._cache_size() == 1
    assert not np.allclose(ends[0][0].weights, ends[1][0].weights)


def test_the_number_of_sweeps_of_a_chain_may_be_traced():
    machine, visible = random_machine(4, 3), jnp.ones((2, 4))
    chain = jax.jit(gibbs.gibbs_chain)
    ends = [chain(jax.random.key(0), machine, visible, sweeps) for sweeps in (0, 1, 7)]
    assert chain._cache_size() == 1
    np.testing.assert_array_equal(ends[0], visible)
    np.testing.assert_array_equal(ends[2], gibbs.gibbs_chain(jax.random.key(0), machine, visible, 7))


def test_runs_with_their_own_keys_and_rates_are_mapped():
    def run(key, deviation, rate):
        machine = init_machine(key, 6, 3, "spin", deviation)
        result = contrast(key, machine, jnp.ones((4, 6)), 2)
        return update(machine, jax.tree.map(jnp.zeros_like, machine), result.gradient, rate, 0.5, 1e-3, "proximal")[0]

    keys, deviations, rates = (
        jax.random.split(jax.random.key(0), 3),
        np.float32([0.01, 0.1, 1.0]),
        np.float32([0, 1, 2]),
    )
    together = jax.jit(jax.vmap(run))(keys, deviations, rates)
    alone = jax.jit(run)(keys[1], deviations[1], rates[1])
    np.testing.assert_allclose(together.weights[1], alone.weights, atol=1e-6)


def test_the_error_is_that_of_the_published_code():
    """The squared error of means given drawn hidden states; for a machine that copies its units it vanishes."""
    batch = np.float32(all_states(3, "spin"))
    copying = Machine(20 * np.eye(3, dtype=np.float32), *np.zeros((2, 3), np.float32))
    blind = jax.tree.map(np.zeros_like, copying)
    assert contrast(jax.random.key(0), copying, batch, 1).error == 0
    assert contrast(jax.random.key(0), blind, batch, 1).error == 1
    binary = jax.tree.map(np.zeros_like, machines.convert(copying, "binary"))
    assert contrast(jax.random.key(0), binary, (batch + 1) / 2, 1).error == 0.25


def test_a_stack_goes_up_and_down_through_its_means():
    stack = (random_machine(5, 4, "binary"), random_machine(4, 2, "binary", seed=1))
    visible = np.float32(all_states(5, "binary"))
    logistic = lambda x, weights, bias: 1 / (1 + np.exp(-(x @ weights + bias[None, :])))  # noqa: E731
    first = logistic(visible, stack[0].weights, stack[0].hidden_bias)
    second = logistic(first, stack[1].weights, stack[1].hidden_bias)
    back = logistic(second, stack[1].weights.T, stack[1].visible_bias)
    for machines_below, means in ((stack, back), (stack[:1], first)):
        expected = logistic(means, stack[0].weights.T, stack[0].visible_bias)
        np.testing.assert_allclose(reconstruct(machines_below, visible), expected, atol=1e-6)


@pytest.mark.parametrize("sweeps", [0, -1, True])
def test_a_number_of_sweeps_that_is_none_is_refused(sweeps):
    with pytest.raises(ValueError, match=r"sweeps = .*: must be an integer of at least 1"):
        learning.contrast(jax.random.key(0), random_machine(3, 2), jnp.ones((2, 3)), sweeps)


def test_other_refusals():
    machine = random_machine(3, 2)
    with pytest.raises((ValueError, TypeCheckError)):
        learning.contrast(jax.random.key(0), machine, jnp.ones((2, 3)), 1.5)  # type: ignore
    with pytest.raises(ValueError, match="method = 'l2': must be one of sign, proximal"):
        learning.update(machine, machine, machine, 0.1, 0.5, 0.0, "l2")
    with pytest.raises(ValueError, match="units = 'potts': must be one of spin, binary"):
        learning.init_machine(jax.random.key(0), 3, 2, "potts")


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_both_methods_rest_at_the_minimum_of_the_same_cost(momentum):
    # Climbing -(w - a)^2 / 2 - l1 |w| ends at a - l1 sign(a), or at 0 where |a| < l1, whatever the momentum.
    target = np.float32([[0.5, -0.5, 0.05]])
    start = Machine(*(np.zeros(shape, np.float32) for shape in ((1, 3), (1,), (3,))))
    for method, tolerance in (("proximal", 1e-5), ("sign", 2e-2)):

        def climb(_, carry, method=method):
            machine, velocity = carry
            gradient = start.replace(weights=target - machine.weights)
            return update(machine, velocity, gradient, 0.02, momentum, 0.1, method)

        machine, _ = jax.jit(lambda climb=climb: jax.lax.fori_loop(0, 600, climb, (start, start)))()
        assert np.abs(machine.weights - np.float32([[0.4, -0.4, 0.0]])).max() < tolerance, method
