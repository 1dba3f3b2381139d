r"""One run: a start, then sweeps, trajectories or training steps, with running sums for the records.

A chain starts from a network of the prior with all weights multiplied by one random factor, so that starts are spread
more widely than the posterior. What is summed is the state that a step starts from, whose features the Gibbs sweep
needs anyway.

Training is full-batch gradient descent from weights of the prior on the energy whose Gibbs measure is the equilibrium,
$E = \frac12 |f - Y|^2 + \frac{\lambda}{2} |\Theta|^2$ with weight decay $\lambda = T/\sigma^2$, none at T = 0. The rate
is in units of $1/\lambda_{max}$ of the tangent kernel at infinite width, $(L + 1) \sigma^{2(L-1)} K_0$.

What theory says of a linear network, and what it does not:

* No weight decay, $P \le N_0$. Gradients of $W_1$ lie in the span of the data, so the rest of $W_1$ stays as drawn and
  never matters to the dynamics. Hence, at any width, the trained output has mean $k_0^T K_0^{-1} Y$ and variance
  $\langle Q \rangle (k_{00} - k_0^T K_0^{-1} k_0)$ over starts: the form of the equilibrium theory at T = 0. In the
  limit of infinite width $Q = \sigma^{2L}$ as there. At finite width nothing says that the Q of training is the Q of
  equilibrium: this is what the room measures.
* Weight decay. The minimum of E is the most probable network of the Gibbs measure at temperature T, not a typical one:
  see :mod:`rgflow.kernel_rg.map_limit`. Starts end there, with no variance, and the theory of the equilibrium at the
  same T does not describe it.

Key: li2021 (the model).
"""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rgflow.kernel_rg import gibbs, hmc
from rgflow.kernel_rg.network import (
    Static,
    Weights,
    all_inputs,
    draw_prior,
    hidden_features,
    layer_kernels,
    observables,
    outputs,
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
    """Returns a start: a network of the prior, for chains with all weights multiplied by one random factor."""
    weights_key, factor_key = jax.random.split(key)
    weights = draw_prior(static, weights_key, hypers)
    if static.sampler != "trained":
        factor = jnp.exp(START_SPREAD * jax.random.normal(factor_key) / (2 * hypers["depth"]))
        weights = jax.tree.map(lambda w: factor * w, weights)
    features = hidden_features(static, weights, all_inputs(hypers), hypers)
    sums = {**observables(static, weights, features, hypers), "acceptance": jnp.zeros(())}
    return RunState(
        weights=weights,
        adaptation=hmc.init_step_size() if static.sampler == "hmc" else (),
        steps=jnp.zeros((), jnp.int32),
        count=jnp.zeros(()),
        sums=jax.tree.map(jnp.zeros_like, sums),
        kernels=jnp.zeros((static.depth, static.num_train, static.num_train)),
    )


def energy(static: Static, weights: Weights, hypers: Hypers) -> Float[Array, ""]:
    r"""Returns $\frac12 |f - Y|^2 + \frac{T}{2\sigma^2} |\Theta|^2$."""
    misfit = outputs(weights, hidden_features(static, weights, hypers["inputs"], hypers), hypers) - hypers["targets"]
    norm = sum(jnp.sum(w**2) for w in jax.tree.leaves(weights))
    return misfit @ misfit / 2 + hypers["temperature"] / hypers["sigma2"] * norm / 2


def descend(static: Static, weights: Weights, hypers: Hypers) -> Weights:
    """Returns the weights after one step of gradient descent; entries outside the network are zero and stay so."""
    gradient = jax.grad(lambda w: energy(static, w, hypers))(weights)
    rate = hypers["learning_rate"] * hypers["rate_unit"]
    return jax.tree.map(lambda w, g: w - rate * g, weights, gradient)


def _move(static: Static, key: Key, state: RunState, features: Array, hypers: Hypers) -> tuple[Weights, Any, Array]:
    """Returns weights after one step, the adaptation, and the share of moves accepted."""
    if static.sampler == "gibbs":
        weights, share = gibbs.sweep(static, key, features, hypers)
        return weights, state.adaptation, share
    if static.sampler == "hmc":
        tuning = state.steps < hypers["burn_in"]
        return hmc.trajectory(static, key, state.weights, state.adaptation, tuning, hypers)
    return descend(static, state.weights, hypers), state.adaptation, jnp.ones(())


def step(static: Static, key: Key, state: RunState, hypers: Hypers) -> tuple[RunState, Info]:
    """Returns the state after one step, with the present state added to the sums; there is no other information."""
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
