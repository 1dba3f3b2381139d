r"""Hamiltonian Monte Carlo of the same posterior, by blackjax: for ReLU networks, and to check the Gibbs sampler.

In units of the prior, $\theta = \Theta/\sigma$, the target is $-\frac{1}{2T}|f - Y|^2 - \frac12 |\theta|^2$. A
trajectory has a fixed number of leapfrog steps, whose size is tuned by dual averaging during burn-in and varies by
30 % about that value (a trajectory that returns to its start would never mix).
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rgflow.kernel_rg.network import Static, Weights, hidden_features, masks, outputs
from rgflow.types import Hypers, Key

TARGET_ACCEPTANCE = 0.8
FIRST_STEP_SIZE = 0.1
JITTER = 0.3


def log_density(static: Static, weights: Weights, hypers: Hypers) -> Float[Array, ""]:
    r"""Returns $-\frac{1}{2T} |f - Y|^2 - \frac12 |\theta|^2$ of weights in units of $\sigma$, up to a constant."""
    # Entries outside the network have no energy: they move freely, change no acceptance, and are put back to zero.
    theta = jax.tree.map(jnp.multiply, weights, masks(static, hypers))
    inside = jax.tree.map(lambda w: jnp.sqrt(hypers["sigma2"]) * w, theta)
    features = hidden_features(static, inside, hypers["inputs"], hypers)
    misfit = outputs(inside, features, hypers) - hypers["targets"]
    norm = sum(jnp.sum(w**2) for w in jax.tree.leaves(theta))
    return -(misfit @ misfit) / (2 * hypers["temperature"]) - norm / 2


def init_step_size() -> Any:
    """Returns the state of the step size's adaptation, as arrays of fixed type."""
    start = _adaptation()[0](FIRST_STEP_SIZE)
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), start)


def tuned_step_size(adaptation: Any) -> Float[Array, ""]:
    """Returns the step size that the adaptation has settled on so far."""
    return jnp.exp(adaptation.log_step_size_avg)


def trajectory(
    static: Static, key: Key, weights: Weights, adaptation: Any, tuning: Array, hypers: Hypers
) -> tuple[Weights, Any, Float[Array, ""]]:
    """Returns weights after one trajectory, the adaptation (changed only while ``tuning``) and the acceptance rate."""
    from blackjax.mcmc import hmc

    spread = jnp.sqrt(hypers["sigma2"])
    position = jax.tree.map(lambda w: w / spread, weights)
    jitter_key, move_key = jax.random.split(key)
    size = jnp.where(tuning, jnp.exp(adaptation.log_step_size), tuned_step_size(adaptation))
    size = size * jax.random.uniform(jitter_key, (), minval=1 - JITTER, maxval=1 + JITTER)

    def target(theta: Weights) -> Float[Array, ""]:
        return log_density(static, theta, hypers)

    dimension = sum(w.size for w in jax.tree.leaves(position))
    start = hmc.init(position, target)
    kernel: Any = hmc.build_kernel()  # its step size is annotated as float, and may be traced
    moved, info = kernel(move_key, start, target, size, jnp.ones(dimension), static.leapfrog_steps)
    rate = jnp.nan_to_num(info.acceptance_rate)
    tuned = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), _adaptation()[1](adaptation, rate))
    adaptation = jax.tree.map(lambda new, old: jnp.where(tuning, new, old), tuned, adaptation)
    position = jax.tree.map(lambda w, m: spread * w * m, moved.position, masks(static, hypers))
    return position, adaptation, rate


def _adaptation() -> Any:
    # Imported here: blackjax takes a second to load, and most commands need none of it.
    from blackjax.adaptation.step_size import dual_averaging_adaptation

    return dual_averaging_adaptation(TARGET_ACCEPTANCE)
