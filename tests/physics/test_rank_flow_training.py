"""Training reaches the exact optimum of its architecture: the entropy token-wise, the window optimum with a window."""

import functools

import jax
import numpy as np
import pytest

from configs import rank_flow as rank_flow_config
from rgflow.engine import keys
from rgflow.rank_flow import dynamics, experiment, probe


@functools.partial(jax.jit, static_argnums=(0, 1))
def last_record(static, names, key, hypers, steps):
    """The named numbers after some steps; runs that differ in what is traced share the program."""

    def body(k, state):
        return dynamics.step(static, keys.step_key(key, k), state, hypers)[0]

    state = jax.lax.fori_loop(0, steps, body, dynamics.init(static, keys.init_key(key), hypers))
    record = probe.probe(static, keys.probe_key(key), state, hypers)
    return {name: record[name] for name in names}


def train(steps, names=("loss",), **values):
    """The experiment, and the named numbers of its last record; the compiler drops what leads to no other."""
    config = rank_flow_config.get_config("smoke")
    sizes = {"depth": 2, "width": 32, "batch": 32, "probe_batch": 256, "pooled_batch": 256, "length": 32}
    # The rate falls to zero, so that what is left at the end is the optimum and not the noise of the steps.
    config.update({**sizes, "steps": steps, "learning_rate": 3e-3, "cooldown": 1.0, **values})
    made = experiment.make(config)
    hypers = jax.tree.map(np.float32, dict(made.hypers))
    return made, jax.device_get(last_record(made.static, names, keys.run_key(0, 1, 0), hypers, steps))


# In mode pure one symbol alone is scored, in mode bert any.
@pytest.mark.parametrize("mask_mode", [pytest.param("pure", marks=pytest.mark.slow), "bert"])
def test_tokenwise_network_reaches_the_tokenwise_optimum_and_nothing_below(mask_mode):
    names = ("loss", "effective_rank")
    made, record = train(1500, names, mixing="tokenwise", mask_mode=mask_mode, correlation_length=7.09)
    excess = float(record["loss"]) - made.reference["architecture_loss"]
    assert 0 <= excess + 1e-6 < 0.01
    assert np.isfinite(record["effective_rank"][0]).all()


@pytest.mark.slow  # ten seconds; flat sees the sequence and learns from it in the default suite
def test_window_network_comes_within_a_few_hundredths_of_the_window_optimum():
    made, record = train(1000, mixing="window", window=2, correlation_length=1.062)
    excess = float(record["loss"]) - made.reference["architecture_loss"]
    # The estimate of the loss has a standard error of about 0.005 nats at these sizes.
    assert -0.02 < excess < 0.05
    assert made.reference["architecture_loss"] < made.reference["stationary_entropy"] - 0.5


@pytest.mark.parametrize(
    "mixing", ["flat", pytest.param("mixer", marks=pytest.mark.slow), pytest.param("attention", marks=pytest.mark.slow)]
)
def test_networks_that_see_the_sequence_learn_from_it(mixing):
    sizes = {"length": 16, "probe_batch": 64, "pooled_batch": 256, "batch": 64, "correlation_length": 7.09}
    made, record = train(600, ("loss", "excess_loss", "effective_rank"), mixing=mixing, **sizes)
    learned = made.reference["stationary_entropy"] - float(record["loss"])
    assert learned > 0.5, "most of it is the token's own group of neighbours, even as an unordered bag"
    assert float(record["excess_loss"]) > -0.02
    level = 3 if mixing == "flat" else 0
    assert np.isfinite(record["effective_rank"][level, 0]).all()


# What the labels of the first control are is in the tests of the task.
@pytest.mark.parametrize("control", [pytest.param("random_labels", marks=pytest.mark.slow), "iid"])
def test_there_is_nothing_to_learn_under_these_controls(control):
    made, record = train(300, mixing="window", window=2, control=control, correlation_length=7.09)
    assert float(record["loss"]) == pytest.approx(made.reference["stationary_entropy"], abs=0.03)
