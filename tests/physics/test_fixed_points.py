r"""Exact references against closed forms, sampled compressions against them, and training that reaches known optima.

Statistical tests have fixed keys. Means over seeds are tested by Student's t at 1e-4; other bounds are four sigma, a
false alarm in 16 000 each.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from decimation import ground_state
from scipy import stats

from configs import fixed_points as configs
from rgflow.engine import grid
from rgflow.exact.block_moments import SCHEMES
from rgflow.exact.potential import Potential, support
from rgflow.exact.transfer import ising_operator, transfer_operator
from rgflow.fixed_points import dynamics, experiment, theory
from rgflow.fixed_points.task import (
    ACTIVATIONS,
    COMPRESSIONS,
    TASKS,
    Batch,
    Static,
    draw_batch,
    loss,
    optimal_loss,
    trivial_loss,
)
from rgflow.probes.gauges import GAUGES
from rgflow.protocol import Stream

PHI4 = Potential(0.2, 0.25)
DECIMATION, BLOCK_SUM = map(SCHEMES.index, ("decimation", "block_sum"))


def made(num_sites=16, halvings=1, **values):
    config = configs.get_config("smoke")
    config.num_sites, config.samples = num_sites, max(4096, 50 * num_sites)
    point = {"activation": "tanh", "halvings": halvings, "weight_decay": 0.0, "shuffle": "none", **values}
    return experiment.make(grid.point_config(config, point))


def traced(values):
    return {k: jnp.asarray(v, jnp.float32 if np.asarray(v).dtype == np.float64 else None) for k, v in values.items()}


# What is known beforehand.


@pytest.mark.parametrize(
    ("coupling", "flow"),
    [(1.0, [0.66250137, 0.35006114, 0.11367207, 0.01281154]), (0.5, [0.21689042, 0.04563623, 0.00207978, 4.33e-6])],
)
def test_the_exact_flow_of_spins(coupling, flow):
    found = made(64, 4, data="ising", coupling=coupling, task="autoencoder").reference
    np.testing.assert_allclose(found["exact_coupling"][DECIMATION, :], [coupling, *flow], atol=6e-9)
    # A block sum of spins has no pair coupling alone.
    assert np.isnan(found["exact_coupling"][BLOCK_SUM, 1:]).all()
    np.testing.assert_allclose(found["fixed_kurtosis"], [-2.0, 0.0], atol=1e-9)


def test_the_exact_flow_of_gaussian_chains():
    """Decimation: kappa' times the variance of the decimated ring; block sums from the covariance itself."""
    found = made(32, 3, data="gaussian", coupling=0.4, task="autoencoder").reference
    r, K, standard = 1.0, 0.4, []
    for level in range(4):
        variance = np.mean(1 / (r - 2 * K * np.cos(2 * np.pi * np.arange(32 // 2**level) / (32 // 2**level))))
        standard.append(K * variance)
        if level < 3:
            assert [0.235294, 0.062257, 0.003906][level] == pytest.approx(K**2 / (r**2 - 2 * K**2), abs=5e-7)
        r, K = r - 2 * K**2 / r, K**2 / r
    np.testing.assert_allclose(found["exact_coupling"][DECIMATION], standard, atol=1e-9)
    chain = np.eye(32) - 0.4 * (np.roll(np.eye(32), 1, 0) + np.roll(np.eye(32), -1, 0))
    rows = np.kron(np.eye(8), np.full((1, 4), 0.5))
    covariance = rows @ np.linalg.inv(chain) @ rows.T
    couplings = np.linalg.inv(covariance) * covariance[0, 0] * (1 - np.eye(8))
    assert found["exact_coupling"][BLOCK_SUM, 2] == pytest.approx(np.sqrt((couplings**2).sum() / 16), abs=1e-8)
    np.testing.assert_allclose(found["exact_kurtosis"], 0, atol=1e-9)
    np.testing.assert_allclose(found["fixed_onsite"], [[0.5, 0, 0], [0.5, 0, 0]], atol=1e-7)


def test_level_zero_of_a_field_is_its_coupling_times_its_variance():
    found = made(32, 3, data="phi4", coupling=0.8, task="autoencoder").reference
    operator = transfer_operator(0.8, PHI4)
    weight = ground_state(operator) ** 2
    variance = (weight * operator.grid**2).sum() / weight.sum()
    # The ring of 32 sites and 1.6 sites of correlation is an infinite one.
    np.testing.assert_allclose(found["exact_coupling"][:, 0], 0.8 * variance, rtol=1e-8)
    assert found["correlation_length"] == pytest.approx(1.617753, abs=1e-6)
    # Decimation keeps the law of a site at every level. Its coupling falls nearly as that of a fit to -ln A, which has
    # terms of its own for what a step generates.
    np.testing.assert_allclose(found["exact_kurtosis"][DECIMATION], found["fixed_kurtosis"][0], atol=1e-9)
    ratio = found["exact_coupling"][DECIMATION, 1:] / found["exact_coupling"][DECIMATION, 0]
    np.testing.assert_allclose(ratio, np.array([0.37901, 0.10951, 9.26e-3]) / 0.8, rtol=0.25)


def test_block_sums_of_independent_sites_halve_the_kurtosis():
    found = made(32, 3, data="independent", coupling=0.0, task="autoencoder").reference
    own = -0.37084 / 0.67598**2
    np.testing.assert_allclose(found["exact_kurtosis"][BLOCK_SUM], own / 2 ** np.arange(4), atol=5e-5)
    np.testing.assert_allclose(found["exact_kurtosis"][DECIMATION], own, atol=5e-5)
    np.testing.assert_allclose(found["exact_coupling"], 0, atol=1e-9)
    np.testing.assert_allclose(found["fixed_kurtosis"], [own, 0], atol=5e-5)


def test_the_fixed_point_on_site_is_the_law_of_one_site():
    """The fitted potential of the marginal psi_0^2, which has higher powers too: compared by its score."""
    found = made(32, 1, data="phi4", coupling=0.8, task="autoencoder").reference["fixed_onsite"][DECIMATION]
    operator = transfer_operator(0.8, PHI4)
    grid_, weight = operator.grid, ground_state(operator) ** 2
    weight /= weight.sum()
    z = grid_ / np.sqrt((weight * grid_**2).sum())
    kept = weight > 1e-12 * weight.max()
    slope = -np.gradient(np.log(np.maximum(weight, 1e-300)), z)
    powers = np.array([2, 4, 6])
    design = (powers[None, :] * z[kept, None] ** (powers - 1)[None, :]) * np.sqrt(weight[kept])[:, None]
    by_hand = np.linalg.lstsq(design, slope[kept] * np.sqrt(weight[kept]), rcond=None)[0]
    np.testing.assert_allclose(found, by_hand, atol=2e-3)
    assert found[1] > 0.1


def test_kurtosis_of_blocks_of_spins():
    """Two spins: their sum is 0 or +-2, by the correlation of neighbours."""
    block = theory.flow(ising_operator(0.6), "block_sum", 1)[1]
    c = (np.tanh(0.6) + np.tanh(0.6) ** 31) / (1 + np.tanh(0.6) ** 32)
    assert theory.kurtosis(block, 16) == pytest.approx(2 * (1 + c) / (1 + c) ** 2 - 3, abs=1e-9)


# What is measured of the data without a network.


@pytest.mark.parametrize(
    ("data", "coupling", "estimator"), [pytest.param("phi4", 1.2, 0, marks=pytest.mark.slow), ("ising", 1.0, 1)]
)
def test_sampled_compressions_agree_with_the_exact_flow(data, coupling, estimator):
    one = made(8, data=data, coupling=coupling, task="compression")
    hypers, reference = traced(dict(one.hypers)), dict(one.reference)
    names = ("compressed_excess_kurtosis", "compressed_ring_coupling")

    @jax.jit
    def read(key):
        record = one.probe(key, one.init(key, hypers), hypers)
        return {name: record[name] for name in names}

    records = [jax.tree.map(np.asarray, read(jax.random.key(seed))) for seed in range(8)]
    gauge = GAUGES.index("standardised")
    for place, scheme in enumerate(SCHEMES):
        row = COMPRESSIONS.index(scheme)
        kurtosis = [record["compressed_excess_kurtosis"][row, gauge] for record in records]
        if np.ptp(kurtosis) > 1e-4:
            assert stats.ttest_1samp(kurtosis, reference["exact_kurtosis"][place, 1])[1] > 1e-4, scheme
            assert stats.ttest_1samp(kurtosis, reference["exact_kurtosis"][place, 1] + 0.1)[1] < 1e-4, scheme
        else:
            assert kurtosis[0] == pytest.approx(reference["exact_kurtosis"][place, 1], abs=1e-4)
        exact = reference["exact_coupling"][place, 1]
        if np.isfinite(exact):
            found = [record["compressed_ring_coupling"][row, gauge, estimator] for record in records]
            assert stats.ttest_1samp(found, exact)[1] > 1e-4, scheme
            assert stats.ttest_1samp(found, 1.15 * exact)[1] < 1e-4, scheme


# Training.

STATIC = Static("field", "decoder", 16, 1, 64, 4096, 2, 48)


def hypers_of(static, task, coupling, steps=1200, decay=0.0, contrast=0.5, activation="identity"):
    law = None if static.system == "ising" else Potential(1.0)
    width = 1.0 if law is None else support(coupling, law)
    partition = [theory.log_partition(K, law, static.num_sites, width) for K in (coupling, contrast * coupling)]
    numbers = {
        "coupling": coupling, "other_coupling": contrast * coupling, "log_partition_gap": partition[0] - partition[1],
        "half_width": width, "learning_rate": 1e-2, "cooldown": 0.5, "weight_decay": decay, "steps": steps,
    }  # fmt: skip
    return {
        "task": np.int32(TASKS.index(task)),
        "activation": np.int32(ACTIVATIONS.index(activation)),
        "potential": np.array([1.0, 0.0, 0.0], np.float32),
        "shuffled": np.bool_(False),
        **{name: np.float32(value) for name, value in numbers.items()},
    }


def run(static, key, hypers, steps):
    """The last state, and the losses of all steps, NaN beyond them; the number of steps is traced."""

    def one(number, carried):
        state, path = carried
        state, info = dynamics.step(static, jax.random.fold_in(key, number), state, hypers)
        return state, path.at[number].set(info["train_loss"])

    return jax.lax.fori_loop(0, steps, one, (dynamics.init(static, key, hypers), jnp.full(1200, jnp.nan)))


run_alone = jax.jit(run, static_argnums=0)


def trained(static, hypers, steps=1200):
    return run_alone(static, jax.random.key(0), hypers, steps)


@functools.partial(jax.jit, static_argnums=(0, 3))
def losses(static, hypers, state, number=8192):
    """Loss of the network, of the best constant and of the best function, on samples it has not seen."""
    data = draw_batch(static, jax.random.key(99), hypers, number)
    outputs = static.net(hypers).apply({"params": state.params}, data.x)
    return loss(static, hypers, outputs, data), trivial_loss(static, hypers, data), optimal_loss(static, hypers, data)


@pytest.mark.slow  # five seconds of training
def test_a_linear_autoencoder_ends_at_the_principal_components():
    hypers = hypers_of(STATIC, "autoencoder", 0.4)
    state, path = trained(STATIC, hypers)
    variances = np.sort(1 / (1 - 0.8 * np.cos(2 * np.pi * np.arange(16) / 16)))
    # What eight components leave; the sum of 8192 x 16 squares has an error below one per cent.
    found, trivial, _ = losses(STATIC, hypers, state)
    assert trivial == pytest.approx(variances.mean(), rel=0.04)
    residual = variances[:8].sum() / 16
    assert 0.96 * residual < found < 1.06 * residual
    assert float(path[:20].mean()) > 2 * float(path[-100:].mean())


@pytest.mark.slow  # five seconds; a classification comes near to Bayes in the default suite
def test_a_network_learns_the_magnetization():
    static = dataclasses.replace(STATIC, head="readout")
    hypers = hypers_of(static, "magnetization", 0.4)
    state, path = trained(static, hypers)
    found, trivial, optimum = losses(static, hypers, state)
    assert optimum == 0 and found < 1e-3 * trivial
    assert trivial == pytest.approx(1 / (1 - 0.8), rel=0.1)
    assert float(path[0]) > 0.2 * trivial


def test_a_classification_comes_near_to_bayes_and_never_below():
    static = dataclasses.replace(STATIC, system="ising", head="readout", num_sites=8)
    hypers = hypers_of(static, "classification", 1.0, contrast=0.0, activation="tanh")
    state, _ = trained(static, hypers)
    found, trivial, optimum = losses(static, hypers, state, 16384)
    assert trivial == pytest.approx(np.log(2)) and optimum < 0.8 * trivial
    # Four units tell most of what there is to tell; both are asked on the same samples, so the difference has no noise.
    assert optimum - 0.005 < found < optimum + 0.4 * (trivial - optimum)


def test_the_penalty_has_its_gradient():
    static = STATIC
    given = [hypers_of(static, "autoencoder", 0.4, decay=decay, activation="tanh") for decay in (0.0, 0.03)]
    state = jax.jit(lambda hypers: dynamics.init(static, jax.random.key(0), hypers))(given[0])
    params = jax.tree.map(lambda x: np.asarray(x) + np.float32(0.1), state.params)
    data = Batch(jnp.asarray(np.random.default_rng(1).normal(size=(32, 16)), jnp.float32), jnp.zeros(32))

    @jax.jit
    def of(hypers):
        return jax.value_and_grad(lambda p: dynamics.objective(static, hypers, p, data), has_aux=True)(params)

    (values, slopes) = zip(*map(of, given), strict=True)
    free, penalised = slopes
    for name in params:
        difference = penalised[name]["kernel"] - free[name]["kernel"]
        np.testing.assert_allclose(difference, 0.03 * params[name]["kernel"], atol=1e-6)
        np.testing.assert_array_equal(penalised[name]["bias"], free[name]["bias"])
    # What is reported is the loss without it.
    assert values[0][1] == values[1][1] == values[0][0] < values[1][0]


def test_weights_shrink_under_a_penalty():
    norms = []
    for decay in (0.0, 0.1):
        state, _ = trained(STATIC, hypers_of(STATIC, "autoencoder", 0.2, decay=decay, steps=300), 300)
        norms.append(float(dynamics.squared_norm(jax.device_get(state.params))))
    assert norms[1] < 0.7 * norms[0]


def test_the_learning_rate_is_constant_then_falls_then_stays():
    hypers = {"steps": 1000.0, "cooldown": 0.5, "learning_rate": 0.02}
    rates = [float(dynamics.learning_rate(hypers, jnp.int32(step))) for step in (0, 499, 500, 625, 750, 751, 999)]
    np.testing.assert_allclose(rates, [0.02, 0.02, 0.02, 0.011, 0.002, 0.002, 0.002], rtol=1e-4)
    always = {**hypers, "cooldown": 1.0}
    assert float(dynamics.learning_rate(always, jnp.int32(0))) == pytest.approx(0.02)
    assert float(dynamics.learning_rate(always, jnp.int32(500))) == pytest.approx(0.002)
    never = {**hypers, "cooldown": 0.0}
    assert float(dynamics.learning_rate(never, jnp.int32(999))) == pytest.approx(0.02)
    some = {**hypers, "cooldown": 0.2}
    rates = [float(dynamics.learning_rate(some, jnp.int32(step))) for step in (799, 850, 900, 999)]
    np.testing.assert_allclose(rates, [0.02, 0.011, 0.002, 0.002], rtol=1e-4)


def test_a_step_of_adam_by_hand():
    hypers = hypers_of(STATIC, "autoencoder", 0.4)

    @jax.jit
    def by_hand(hypers):
        state, key = dynamics.init(STATIC, jax.random.key(0), hypers), jax.random.key(1)
        data = draw_batch(STATIC, jax.random.fold_in(key, Stream.DATA), hypers, 64)
        slope = jax.grad(lambda p: dynamics.objective(STATIC, hypers, p, data)[0])(state.params)
        return state, slope, dynamics.step(STATIC, key, state, hypers)[0]

    state, slope, after = by_hand(hypers)
    # The first step of Adam has the size of the rate, whatever the slope.
    for name in slope:
        moved = np.asarray(after.params[name]["kernel"] - state.params[name]["kernel"])
        np.testing.assert_allclose(moved, -0.01 * np.sign(slope[name]["kernel"]), atol=1e-4)
    np.testing.assert_array_equal(after.projection, state.projection)


def drawn(static, key, hypers):
    """The samples [step, sample, site] of the first 20 steps."""
    keys = [jax.random.fold_in(jax.random.fold_in(key, number), Stream.DATA) for number in range(20)]
    return jax.lax.map(lambda k: draw_batch(static, k, hypers, static.batch).x, jnp.stack(keys))


def test_a_run_alone_is_the_run_in_a_batch():
    """To rounding; a draw within rounding of an edge, a few in a million, may fall on its other side.

    That moves the loss of its own step, and the weights by less than a step of Adam, the learning rate of 0.01.
    """
    static = dataclasses.replace(STATIC, head="readout")
    points = (("energy", 0.2, "tanh"), ("magnetization", 0.45, "relu"), ("classification", 0.3, "identity"))
    given = [hypers_of(static, task, K, activation=activation) for task, K, activation in points]
    together = jax.tree.map(lambda *values: np.stack(values), *given)
    keys = jax.random.split(jax.random.key(5), 3)
    batch = jax.jit(jax.vmap(functools.partial(run, static), in_axes=(0, 0, None)))
    state, paths = jax.device_get(batch(keys, together, 20))
    samples = jax.jit(jax.vmap(functools.partial(drawn, static)))(keys, together)
    for number in range(3):
        own, path = jax.device_get(run_alone(static, keys[number], given[number], 20))
        other = np.abs(samples[number] - jax.jit(drawn, static_argnums=0)(static, keys[number], given[number])) > 1e-3
        assert other.sum() <= 1
        same = ~other.any(axis=(1, 2))
        np.testing.assert_allclose(paths[number, :20][same], path[:20][same], rtol=1e-3, atol=1e-5)
        for batched, single in zip(jax.tree.leaves(state.params), jax.tree.leaves(own.params), strict=True):
            np.testing.assert_allclose(batched[number], single, atol=2e-3 if same.all() else 1e-2)
    assert not np.allclose(paths[0, :20], paths[1, :20])


def test_without_a_network_nothing_moves():
    static = dataclasses.replace(STATIC, head="none")
    hypers = hypers_of(static, "compression", 0.4)
    state = dynamics.init(static, jax.random.key(0), hypers)
    after, info = dynamics.step(static, jax.random.key(1), state, hypers)
    assert state.params == {} and info["train_loss"] == 0
    np.testing.assert_array_equal(after.projection, state.projection)
