"""One run: over-dispersed or prior start, one sweep, trajectory or training step, and running sums for the records.

What is summed is the state that a step starts from, whose features the Gibbs sweep needs anyway.
"""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array

from rgflow.kernel_rg import gibbs, hmc, training
from rgflow.kernel_rg.network import (
    Static,
    Weights,
    all_inputs,
    draw_prior,
    hidden_features,
    layer_kernels,
    observables,
)
from rgflow.types import Hypers, Info, Key

START_SPREAD = 1.5
"""Standard deviation of ln Q over the starts of chains, on top of the prior's own: more than any posterior has."""


@flax.struct.dataclass
class RunState:
    """Weights, the step size's adaptation (hmc), steps done, sums since the last record, mean kernels after burn-in."""

    weights: Weights
    adaptation: Any
    steps: Any
    count: Any
    sums: Any
    kernels: Any


def init(static: Static, key: Key, hypers: Hypers) -> RunState:
    """Draws a start: a network of the prior, for chains with all weights multiplied by one random factor."""
    weights_key, factor_key = jax.random.split(key)
    weights = draw_prior(static, weights_key, hypers)
    if static.sampler != "trained":
        factor = jnp.exp(START_SPREAD * jax.random.normal(factor_key) / (2 * hypers["depth"]))
        weights = jax.tree.map(lambda w: factor * w, weights)
    features = hidden_features(static, weights, all_inputs(hypers), hypers)
    sums = {**observables(static, weights, features, hypers), "acceptance": jnp.zeros(())}
    zero = jnp.zeros(())
    return RunState(
        weights=weights,
        adaptation=hmc.init_step_size() if static.sampler == "hmc" else (),
        steps=jnp.zeros((), jnp.int32),
        count=zero,
        sums=jax.tree.map(jnp.zeros_like, sums),
        kernels=jnp.zeros((static.depth, static.num_train, static.num_train)),
    )


def _move(static: Static, key: Key, state: RunState, features: Array, hypers: Hypers) -> tuple[Weights, Any, Array]:
    """Returns weights after one step, the adaptation, and the share of moves accepted."""
    if static.sampler == "gibbs":
        weights, share = gibbs.sweep(static, key, features, hypers)
        return weights, state.adaptation, share
    if static.sampler == "hmc":
        tuning = state.steps < hypers["burn_in"]
        return hmc.trajectory(static, key, state.weights, state.adaptation, tuning, hypers)
    return training.descend(static, state.weights, hypers), state.adaptation, jnp.ones(())


def step(static: Static, key: Key, state: RunState, hypers: Hypers) -> tuple[RunState, Info]:
    """Adds the present state to the sums and takes one step; reports nothing but the records."""
    features = hidden_features(static, state.weights, all_inputs(hypers), hypers)
    weights, adaptation, share = _move(static, key, state, features, hypers)
    now = {**observables(static, state.weights, features, hypers), "acceptance": share}
    # A record has just been taken, or none has: sums start again.
    since = state.steps - hypers["burn_in"]
    fresh = since % hypers["interval"] == 0
    sums = jax.tree.map(lambda total, x: jnp.where(fresh, 0.0, total) + x, state.sums, now)
    count = jnp.where(fresh, 0.0, state.count) + 1
    weight = 1.0 / jnp.maximum(since + 1, 1)
    kernels = state.kernels
    if static.sampler != "trained":
        kernels = kernels + weight * (layer_kernels(static, features, hypers) - kernels)
    return RunState(weights, adaptation, state.steps + 1, count, sums, kernels), {}
