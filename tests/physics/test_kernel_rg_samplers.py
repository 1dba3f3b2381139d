"""Gibbs sampling and Hamiltonian Monte Carlo against the exact finite-width law; rescaling moves against theirs.

Seeds are fixed. Each comparison is a test at four standard errors of about six numbers: false-alarm rate below 1e-3.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import kve

from configs import kernel_rg as configs
from rgflow.engine import grid
from rgflow.judging.convergence import estimate
from rgflow.kernel_rg import experiment, gibbs, hmc, network
from rgflow.kernel_rg.reference import references
from rgflow.kernel_rg.task import draw_data

OBSERVABLES = ("scale", "energy", "prediction", "prediction_square", "kernel_projection", "kernel_trace")


def case_config(number, sampler, steps, burn_in, records):
    config = configs.get_config()
    config.sweep.update({"study": ("cases" if sampler == "gibbs" else "hmc",), "cases": (number,), "hmc": (number,)})
    config.runs[sampler].update({"steps": steps, "burn_in": burn_in, "records": records})
    config.num_test = 4
    return grid.point_config(config, configs.get_sweep(config)[0].values)


def run_chains(config, chains, seed=0):
    """Returns records [chains, records, ...] of a point, with one compilation of [sweeps, then a record]."""
    made = experiment.make(config)
    hypers = jax.tree.map(np.float32, dict(made.hypers))
    interval = made.schedule[2] - made.schedule[1]

    def one_chain(key, hypers):
        def one_step(state, step):
            return made.step(jax.random.fold_in(key, step), state, hypers)[0], None

        def one_batch(state, start):
            state = jax.lax.scan(one_step, state, start + jnp.arange(interval))[0]
            return state, made.probe(key, state, hypers)

        starts = jnp.arange(0, made.schedule[-1], interval)
        return jax.lax.scan(one_batch, made.init(jax.random.fold_in(key, 10**6), hypers), starts)[1]

    keys = jax.random.split(jax.random.key(seed), chains)
    records = jax.jit(jax.vmap(one_chain, in_axes=(0, None)))(keys, hypers)
    kept = made.schedule[1] // interval
    return {name: np.asarray(x, np.float64)[:, kept:] for name, x in records.items()}


def exact_values(config):
    """Returns the exact means of the recorded observables, by name, as flat arrays."""
    known = references(config, draw_data(config)).variables
    mean, variance = known["theory_mean"][1], known["theory_variance"][1]
    return {
        "scale": known["theory_scale"][1:2],
        "energy": known["theory_energy"][1:2],
        "prediction": mean,
        "prediction_square": variance + mean**2,
        "kernel_projection": known["theory_kernel_projection"][1, : config.depth],
        "kernel_trace": known["theory_kernel_trace"][1, : config.depth],
    }


def assert_exact(config, records, largest_error=0.1):
    """Every observable within four standard errors of its exact mean, and known well enough to say so."""
    for name, exact in exact_values(config).items():
        drawn = records[name].reshape(*records["scale"].shape, -1)
        for place, value in enumerate(exact):
            found = estimate(drawn[..., place])
            assert abs(found.mean - value) < 4 * found.error, (name, place, found, value)
            assert found.error < largest_error * max(abs(value), 0.2), (name, place, found)
            assert found.r_hat < 1.1, (name, place, found)


@functools.cache
def gibbs_records(number):
    config = case_config(number, "gibbs", steps=1900, burn_in=300, records=40)
    return config, run_chains(config, 4)


# Case 2 is sampled in padded arrays below.
@pytest.mark.parametrize("number", [pytest.param(n, marks=() if n == 4 else pytest.mark.slow) for n in configs.CASES])
def test_gibbs_samples_the_exact_law(number):
    config, records = gibbs_records(number)
    assert_exact(config, records)
    assert 0.1 < records["acceptance"].mean() < 0.7
    assert_kernels(config, records)


def assert_kernels(config, records):
    """The mean kernels are those of the exact law; the saddle point is off by order L/N, infinite width by more."""
    distance = records["kernel_distance"][:, -1, :, : config.depth].mean(axis=0)
    saddle, exact, wide, _ = distance.max(axis=1)
    assert exact < 0.05
    assert saddle < 2 * config.depth / config.width
    assert wide > max(saddle, 2 * exact)


@pytest.mark.slow  # seven seconds; a padded network computes what the bare one does in the default suite
def test_padding_changes_no_law():
    config = case_config(2, "gibbs", steps=1500, burn_in=300, records=40)
    config.padded.update({"width": 32, "depth": 3, "num_train": 26, "num_inputs": 43})
    records = run_chains(config, 4)
    assert np.isnan(records["kernel_projection"][..., 1:]).all()
    assert_exact(config, records)
    assert 0.1 < records["acceptance"].mean() < 0.7
    assert_kernels(config, records)


@pytest.mark.parametrize("number", [2, 4])
@pytest.mark.slow  # seven seconds each; in the default suite Gibbs samples the exact law, and this density is tested
def test_hamiltonian_monte_carlo_agrees_with_the_exact_law_and_with_gibbs(number):
    config = case_config(number, "hmc", steps=1300, burn_in=300, records=40)
    records = run_chains(config, 4)
    assert_exact(config, records)
    assert 0.6 < records["acceptance"].mean() < 0.95
    step_size = records["step_size"]
    np.testing.assert_array_equal(step_size[:, 1:], step_size[:, :-1])
    sampled = gibbs_records(number)[1]
    for name in ("scale", "energy"):
        ours, theirs = estimate(records[name]), estimate(sampled[name])
        assert abs(ours.mean - theirs.mean) < 4 * np.hypot(ours.error, theirs.error)


def small(sampler="gibbs", activation="linear", **values):
    config = configs.get_config("smoke")
    config.update({"sampler": sampler, "activation": activation, **values})
    config.padded.update({name: config[name] for name in configs.PADDED})
    config.update({"steps": 24, "burn_in": 8, "records": 8})
    made = experiment.make(config)
    return made, jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), dict(made.hypers))


def test_rescaling_alone_has_the_stationary_law_it_should(key):
    """With |a| |w| fixed, |a|^2 = e^(2t) is generalised inverse Gaussian of order (n_a - n_w)/2."""
    norms, readout, sizes, size, sigma2 = np.array([1.3]), 2.0, np.array([9.0]), 5.0, 0.7
    arguments = [jnp.asarray(x, jnp.float32) for x in (sizes, size, sigma2)]

    def move(state, k):
        norm, length = state
        factor, other, _ = gibbs.rescale(k, norm, length, *arguments)
        return (norm * factor, length * other), (length * other) ** 2

    start = (jnp.asarray(norms, jnp.float32), jnp.asarray(readout, jnp.float32))
    chains = jax.vmap(lambda k: jax.lax.scan(move, start, jax.random.split(k, 6000))[1])(jax.random.split(key, 4))
    drawn = np.asarray(chains, np.float64)[:, 500:]
    order, a, b = (size - 9.0) / 2, 1 / sigma2, (readout * 1.3) ** 2 / sigma2
    for power in (1, -1):
        exact = (b / a) ** (power / 2) * kve(order + power, np.sqrt(a * b)) / kve(order, np.sqrt(a * b))
        found = estimate(drawn**power)
        assert abs(found.mean - exact) < 4 * found.error
        assert found.error < 0.02 * exact


def test_rescaling_leaves_the_output_and_absent_layers_alone(key):
    norms = jnp.array([1.0, 2.0, 0.0])
    sizes = jnp.array([8.0, 6.0, 0.0])
    factors, factor, share = gibbs.rescale(key, norms, jnp.array(1.5), sizes, jnp.array(6.0), jnp.array(1.0))
    assert float(jnp.prod(factors) * factor) == pytest.approx(1.0, abs=1e-5)
    assert factors[2] == 1.0
    assert 0 <= share <= 1


def test_sweep_at_rescaled_start_forgets_it():
    """Over-dispersed starts: ln Q of the starts has a spread that no posterior has, and no chain remembers it."""
    config = case_config(2, "gibbs", steps=48, burn_in=40, records=8)
    made = experiment.make(config)
    hypers = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), dict(made.hypers))

    @jax.jit
    def scales(keys):
        return jax.vmap(lambda k: network.product_scale(made.static, made.init(k, hypers).weights, hypers))(keys)

    log_scale = np.log(scales(jax.random.split(jax.random.key(1), 64)))
    assert 1.2 < log_scale.std() < 1.9


def test_log_density_is_the_prior_times_the_likelihood(key):
    made, hypers = small("hmc")

    @jax.jit
    def both(key):
        weights = network.draw_prior(made.static, key, hypers)
        features = network.hidden_features(made.static, weights, hypers["inputs"], hypers)
        theta = jax.tree.map(lambda w: w / jnp.sqrt(hypers["sigma2"]), weights)
        return network.outputs(weights, features, hypers), theta, hmc.log_density(made.static, theta, hypers)

    outputs, theta, found = jax.device_get(both(key))
    misfit = outputs - np.asarray(hypers["targets"])
    expected = -float(misfit @ misfit) / (2 * float(hypers["temperature"]))
    expected -= sum(float(np.sum(w**2)) for w in jax.tree.leaves(theta)) / 2
    assert float(found) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("activation", ["linear", "relu"])
def test_padded_network_computes_what_the_bare_one_does(activation, key):
    made, hypers = small("hmc", activation, depth=2)
    static = made.static
    wide = network.Static(static.sampler, activation, 9, 4, 7, 11, static.num_test, static.leapfrog_steps)

    @jax.jit
    def both(key):
        weights = network.draw_prior(static, key, hypers)
        grown = network.Weights(
            first=jnp.zeros((9, 11)).at[: static.width, : static.num_inputs].set(weights.first),
            hidden=jnp.zeros((3, 9, 9)).at[:1, : static.width, : static.width].set(weights.hidden),
            readout=jnp.zeros(9).at[: static.width].set(weights.readout),
        )
        inputs = jnp.zeros((5, 11)).at[:, : static.num_inputs].set(hypers["inputs"])
        ours = network.outputs(weights, network.hidden_features(static, weights, hypers["inputs"], hypers), hypers)
        theirs = network.outputs(grown, network.hidden_features(wide, grown, inputs, hypers), hypers)
        scales = [network.product_scale(s, w, hypers) for s, w in ((static, weights), (wide, grown))]
        return ours, theirs, scales

    ours, theirs, scales = both(key)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    if activation == "linear":
        assert float(scales[0]) == pytest.approx(float(scales[1]), rel=1e-5)


def test_records_are_means_since_the_record_before(key):
    made, hypers = small()
    first, last = made.schedule[2], made.schedule[3]

    @jax.jit
    def run(key):
        def step(state, number):
            features = network.hidden_features(made.static, state.weights, network.all_inputs(hypers), hypers)
            seen = network.observables(made.static, state.weights, features, hypers)["energy"]
            state, info = made.step(jax.random.fold_in(key, number), state, hypers)
            assert info == {}
            return state, seen

        state, seen = jax.lax.scan(step, made.init(key, hypers), jnp.arange(last))
        return made.probe(key, state, hypers)["energy"], seen

    energy, seen = jax.device_get(run(key))
    assert float(energy) == pytest.approx(np.mean(seen[first:last]), rel=1e-5)
