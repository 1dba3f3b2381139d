r"""Gibbs sampling, contrastive gradients and annealing of Boltzmann machines against enumeration and exact kernels.

Everything exact is computed here in float64 from the definition $-E = v^T W h + b \cdot h + c \cdot v$. Statistical
tests have fixed keys; false-alarm rates per comparison are 1e-4 for chi-square and for Hotelling's T-square, which
takes all components of a gradient together, and 6e-5 for four sigma. Each also shows a nearby wrong value that fails.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from machines import random_machine
from scipy.stats import chi2
from scipy.stats import f as fisher

from rgflow.exact.enumeration import spin_states
from rgflow.variational_rg.annealing import base_bias, log_partition_estimate
from rgflow.variational_rg.gibbs import gibbs_chain, gibbs_sweep
from rgflow.variational_rg.learning import contrast
from rgflow.variational_rg.machine import UNITS, Machine

FALSE_ALARM = 1e-4


def narrow(machine):
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), machine)


def all_states(count, units):
    spins = spin_states(count).astype(np.float64)
    return spins if units == "spin" else (spins + 1) / 2


def tables(machine):
    """Visible and hidden states and minus the energy of each pair."""
    v, h = (all_states(len(bias), machine.units) for bias in (machine.visible_bias, machine.hidden_bias))
    return v, h, v @ machine.weights @ h.T + (v @ machine.visible_bias)[:, None] + (h @ machine.hidden_bias)[None, :]


def log_partition(machine):
    return np.logaddexp.reduce(tables(machine)[2], axis=None)


def kernels(machine):
    """The matrices p(h|v) [v, h] and p(v|h) [h, v]."""
    weights = np.exp(tables(machine)[2])
    return weights / weights.sum(axis=1, keepdims=True), (weights / weights.sum(axis=0)).T


def statistics(machine, law, visible):
    """Averages of v h, v and h in one vector, hidden units at their means given each row of ``visible``."""
    field = visible @ machine.weights + machine.hidden_bias
    hidden = np.tanh(field) if machine.units == "spin" else 1 / (1 + np.exp(-field))
    return np.concatenate([((law[:, None] * visible).T @ hidden).ravel(), law @ visible, law @ hidden])


def expected_contrast(machine, law, sweeps, mean_field=False):
    """The exact expectation of CD-k from chains that start in ``law`` over visible states; inf: the exact gradient."""
    visible, hidden, energies = tables(machine)
    start = statistics(machine, law, visible)
    if sweeps == np.inf:
        weights = np.exp(energies).sum(axis=1)
        return start - statistics(machine, weights / weights.sum(), visible)
    up, down = kernels(machine)
    hidden_law = law @ np.linalg.matrix_power(up @ down, sweeps - 1) @ up
    if not mean_field:
        return start - statistics(machine, hidden_law @ down, visible)
    field = hidden @ machine.weights.T + machine.visible_bias
    means = np.tanh(field) if machine.units == "spin" else 1 / (1 + np.exp(-field))
    return start - statistics(machine, hidden_law, means)


def flat(gradient):
    """The gradients of many replicates [R, ...] as rows [R, components]."""
    leaves = (gradient.weights, gradient.visible_bias, gradient.hidden_bias)
    return np.concatenate([np.asarray(leaf, np.float64).reshape(len(leaf), -1) for leaf in leaves], axis=1)


def hotelling(rows, expected):
    """The probability of a deviation of the mean this large, all components taken together.

    Directions in which the gradient cannot vary (there are fewer states than components) must agree to rounding.
    """
    replicates, apart = len(rows), rows.mean(axis=0) - expected
    variances, directions = np.linalg.eigh(np.cov(rows.T))
    varies = variances > 1e-9 * variances[-1]
    if np.abs(apart @ directions[:, ~varies]).max(initial=0) > 1e-5:
        return 0.0
    square, size = replicates * ((apart @ directions[:, varies]) ** 2 / variances[varies]).sum(), varies.sum()
    return fisher.sf(square * (replicates - size) / (size * (replicates - 1)), size, replicates - size)


def cosine(x, y):
    return x @ y / np.linalg.norm(x) / np.linalg.norm(y)


@pytest.mark.parametrize("units", UNITS)
def test_chains_visit_pairs_of_states_by_their_weight(units, key):
    machine, chains = random_machine(4, 3, units), 40_000
    chain_key, last_key = jax.random.split(key)

    @jax.jit
    def last_pairs(machine):
        ends = gibbs_chain(chain_key, machine, jnp.ones((chains, 4)), 30)
        return gibbs_sweep(last_key, machine, ends)

    visible, hidden = (np.asarray(states) > 0.5 for states in last_pairs(narrow(machine)))
    numbers = visible @ (1 << np.arange(4)) * 8 + hidden @ (1 << np.arange(3))
    counts = np.bincount(numbers, minlength=128)

    def tail(machine):
        expected = chains * np.exp(tables(machine)[2] - log_partition(machine)).ravel()
        return chi2.sf(((counts - expected) ** 2 / expected).sum(), 127)

    spectrum = np.sort(np.abs(np.linalg.eigvals(np.matmul(*kernels(machine)))))
    assert spectrum[-2] ** 30 < 1e-6
    assert tail(machine) > FALSE_ALARM
    assert tail(jax.tree.map(lambda x: 1.1 * x, machine)) < FALSE_ALARM


@pytest.mark.parametrize("units", UNITS)
def test_the_kernel_of_a_sweep_leaves_the_law_as_it_is(units):
    """Of the reference used below, not of the sampler."""
    machine = random_machine(8, 4, units)
    law = np.exp(tables(machine)[2]).sum(axis=1)
    np.testing.assert_allclose(law / law.sum() @ np.matmul(*kernels(machine)), law / law.sum(), atol=1e-15)


@pytest.mark.parametrize("units", UNITS)
def test_the_expected_contrast_tends_to_the_exact_gradient(units):
    machine = random_machine(8, 4, units, scale=0.3)
    law = np.random.default_rng(1).dirichlet(np.ones(256))
    exact = expected_contrast(machine, law, np.inf)
    distances = [np.abs(expected_contrast(machine, law, k) - exact).max() for k in (1, 2, 5, 10, 20, 50)]
    cosines = [cosine(expected_contrast(machine, law, k), exact) for k in (1, 2, 5, 10)]
    assert distances[0] > 1e-2 and (np.diff(distances) < 0).all() and distances[-1] < 1e-6
    assert (np.diff(cosines) > 0).all()
    published = np.abs(expected_contrast(machine, law, 50, mean_field=True) - exact).max()
    assert published > 1e-3  # means in place of states keep a bias


def test_one_sweep_misses_more_of_the_gradient_the_larger_the_weights():
    law = np.random.default_rng(1).dirichlet(np.ones(256))
    machine = random_machine(8, 4, scale=0.3)
    shares = []
    for factor in (1, 3, 6):
        scaled = Machine(factor * machine.weights, machine.visible_bias, machine.hidden_bias)
        one, exact = (expected_contrast(scaled, law, sweeps) for sweeps in (1, np.inf))
        shares.append((cosine(one, exact), np.linalg.norm(one) / np.linalg.norm(exact)))
    cosines, ratios = np.transpose(shares)
    assert (np.diff(cosines) < 0).all() and cosines[0] > 0.95 and cosines[-1] < 0.85
    assert (np.diff(ratios) < 0).all()


@functools.partial(jax.jit, static_argnums=3)
def replicated_gradients(keys, machine, batch, sweeps):
    """Gradients with states and with means for the last visible layer; the compiler shares what they have in common."""

    def both(key):
        return [contrast(key, machine, batch, sweeps, None, mean_field).gradient for mean_field in (False, True)]

    return jax.vmap(both)(keys)


@pytest.mark.parametrize(
    ("units", "sweeps"), [pytest.param("spin", 1, marks=pytest.mark.slow), ("spin", 3), ("binary", 1)]
)
def test_the_sampled_contrast_averages_to_its_expectation(units, sweeps, key):
    machine = random_machine(8, 4, units, scale=0.8)
    numbers = np.random.default_rng(2).integers(0, 256, 64)
    batch = jnp.asarray(all_states(8, units)[numbers], jnp.float32)
    law = np.bincount(numbers, minlength=256) / 64
    both = replicated_gradients(jax.random.split(key, 2000), narrow(machine), batch, sweeps)
    for mean_field, gradients in zip((False, True), both, strict=True):
        rows = flat(gradients)
        assert hotelling(rows, expected_contrast(machine, law, sweeps, mean_field)) > FALSE_ALARM
        assert hotelling(rows, expected_contrast(machine, law, sweeps + 1, mean_field)) < FALSE_ALARM
        assert hotelling(rows, expected_contrast(machine, law, sweeps, not mean_field)) < FALSE_ALARM


@pytest.mark.parametrize("units", UNITS)
def test_persistent_chains_forget_the_data(units, key):
    machine = random_machine(4, 3, units)
    batch = jnp.ones((5, 4))

    def replicate(key, machine):
        def step(chain, index):
            result = contrast(jax.random.fold_in(key, index), machine, batch, 1, chain, mean_field=False)
            return result.chain, result.gradient

        # No state is left of the 30 first steps: see the spectrum in the first test, of the same machine.
        gradients = jax.lax.scan(step, jnp.ones((8, 4)), jnp.arange(50))[1]
        return jax.tree.map(lambda x: x[30:].mean(axis=0), gradients)

    keys = jax.random.split(key, 1000)
    rows = flat(jax.jit(jax.vmap(replicate, in_axes=(0, None)))(keys, narrow(machine)))
    law = np.eye(16)[-1]
    assert hotelling(rows, expected_contrast(machine, law, np.inf)) > FALSE_ALARM
    assert hotelling(rows, expected_contrast(machine, law, 1)) < FALSE_ALARM
    wrong = jax.tree.map(lambda x: 1.1 * x, machine)
    assert hotelling(rows, expected_contrast(wrong, law, np.inf)) < FALSE_ALARM


estimate = jax.jit(log_partition_estimate, static_argnums=(2, 3))


@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_annealing_finds_the_partition_function(units, seed):
    machine = random_machine(12, 8, units, scale=0.4, seed=seed)
    means = np.random.default_rng(seed).uniform(0.2, 0.6, 12)
    bias = base_bias(jnp.asarray(means, jnp.float32), units)
    result = estimate(jax.random.key(seed), narrow(machine), 1000, 300, bias)
    exact = log_partition(machine)
    assert 0 < result.standard_error < 0.03 and 500 < result.effective_chains <= 1000
    assert abs(result.value - exact) < 4 * result.standard_error
    wrong = Machine(1.05 * machine.weights, machine.visible_bias, machine.hidden_bias, units)
    assert abs(result.value - log_partition(wrong)) > 4 * result.standard_error


def test_annealing_is_unbiased_however_short_and_better_when_long():
    machine = random_machine(12, 8, scale=0.2)
    short, long = (estimate(jax.random.key(7), narrow(machine), 20_000, count, jnp.zeros(12)) for count in (2, 40))
    for result in (short, long):
        assert abs(result.value - log_partition(machine)) < 4 * result.standard_error
    assert long.standard_error < short.standard_error / 2
    assert long.effective_chains > 2 * short.effective_chains


def test_the_error_of_annealing_is_the_scatter_of_its_estimates(key):
    """A variance from 400 estimates is known to 7 %: bounds of 0.8 and 1.25 on the deviation are six sigma away."""
    machine = narrow(random_machine(6, 4, scale=0.4))
    run = functools.partial(log_partition_estimate, machine=machine, chains=100, temperatures=10, bias=jnp.zeros(6))
    results = jax.jit(jax.vmap(lambda key: run(key)))(jax.random.split(key, 400))
    assert 0.8 < results.value.std() / results.standard_error.mean() < 1.25


def test_annealing_refuses_what_gives_no_error():
    machine = narrow(random_machine(3, 2))
    for chains, temperatures in ((1, 5), (5, 0)):
        with pytest.raises(ValueError, match=f"chains, temperatures = {chains}, {temperatures}: must be at least"):
            log_partition_estimate(jax.random.key(0), machine, chains, temperatures, jnp.zeros(3))
