r"""Blocked Gibbs sampling of a deep linear network's posterior, with rescaling moves between its layers.

Given all other layers the output is linear in one layer. The readout is a Bayesian linear regression on $x^L/\sqrt N$.
Of layer l only $w_l = \hat v_l^T W_l$ meets the data, $\hat v_l$ the direction of the back-propagated vector: it is a
regression on $|v_l| x^{l-1}/N$, and the rest of $W_l$ is drawn from the prior. One sweep goes from the readout down, so
every layer is drawn given all the others; it leaves the posterior exactly invariant at any width. Key: li2021 (the
model).

Float32: the regressions solve with $\sigma^2 \Phi^T\Phi + T$, whose smallest eigenvalue must stay above rounding; the
room refuses temperatures below :data:`LEAST_TEMPERATURE` and below :data:`LEAST_RATIO` of the largest eigenvalue of
$Q K_0$.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rgflow.kernel_rg.network import Static, Weights, active_layers, masks
from rgflow.samplers.threefry import random_uniform
from rgflow.types import Hypers, Key

LEAST_TEMPERATURE = 1e-3
LEAST_RATIO = 1e-5
"""A Cholesky factor in float32 answers for a matrix changed by about 1e-6 of its largest eigenvalue."""

RESCALINGS = 3
"""Rescaling moves of every layer in a sweep; they cost little."""


def condition(
    prior: Float[Array, " N"],
    noise: Float[Array, " P"],
    features: Float[Array, "P N"],
    targets: Float[Array, " P"],
    sigma2: Float[Array, ""],
    temperature: Float[Array, ""],
) -> Float[Array, " N"]:
    r"""Returns what turns a draw from the prior into one from the posterior of $y = \Phi w + \sqrt T\epsilon$.

    Matheron's rule, $w = w_0 + \sigma^2 \Phi^T (\sigma^2 \Phi\Phi^T + T)^{-1} (y - \Phi w_0 - \sqrt T\epsilon)$, of
    which this is the second term; ``prior`` is $w_0$ and ``noise`` standard normal. Exact, one P x P factor.
    """
    gram = sigma2 * features @ features.T + temperature * jnp.eye(targets.size)
    residual = targets - features @ prior - jnp.sqrt(temperature) * noise
    return sigma2 * jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(gram), True), residual) @ features


def standard_normals(key: Key, size: int) -> Float[Array, " size"]:
    r"""Returns ``jax.random.normal(key, (size,))``, bit for bit, in half of its time on a CPU.

    They are a third of a sweep's cost or more. $\sqrt 2\,\mathrm{erf}^{-1}$ of uniform numbers in (-1, 1).
    """
    low = np.nextafter(np.float32(-1), np.float32(0))
    uniform = jnp.maximum(low, random_uniform(key, (size,)) * (np.float32(1) - low) + low)
    return np.sqrt(2).astype(np.float32) * jax.scipy.special.erfinv(uniform)


class Draw(NamedTuple):
    """Standard normal numbers of one sweep: all weights, in units of the prior, and the noise of every regression."""

    weights: Weights
    noise: Float[Array, "L+1 P"]


def draw_normals(static: Static, key: Key, hypers: Hypers) -> Draw:
    """Returns all random numbers of the regressions, drawn at once: this compiles faster than one by one."""
    mask = masks(static, hypers)
    shapes = [mask.first.shape, mask.hidden.shape, mask.readout.shape, (static.depth + 1, static.num_train)]
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    parts = jnp.split(standard_normals(key, int(ends[-1])), ends[:-1])
    first, hidden, readout, noise = (part.reshape(shape) for part, shape in zip(parts, shapes, strict=True))
    return Draw(Weights(mask.first * first, mask.hidden * hidden, mask.readout * readout), noise)


def rescale(
    key: Key,
    norms: Float[Array, " L"],
    readout_norm: Float[Array, ""],
    sizes: Float[Array, " L"],
    readout_size: Float[Array, ""],
    sigma2: Float[Array, ""],
) -> tuple[Float[Array, " L"], Float[Array, ""], Float[Array, ""]]:
    r"""Moves length between the readout and each layer, $a \to ca$, $w_l \to w_l/c$; no output changes.

    ``norms`` are $|w_l|$ and ``sizes`` their numbers of components (0 for a layer that is not there, which is left
    alone). A step $t = \ln c$ is accepted with probability $\min(1, e^\Delta)$, $\Delta = (n_a - n_l) t -
    [|a|^2 (e^{2t} - 1) + |w_l|^2 (e^{-2t} - 1)]/2\sigma^2$: the Jacobian $c^{n_a - n_l}$ and both priors. Returns the
    factors of all $w_l$ and of a, and the share of moves accepted.
    """
    width = 2.4 / jnp.sqrt(2 * (readout_size + sizes))
    steps_key, accept_key = jax.random.split(key)
    shape = (RESCALINGS, norms.size)
    steps = (width[None] * jax.random.normal(steps_key, shape)).reshape(-1)
    chances = jax.random.exponential(accept_key, shape).reshape(-1)
    layers = jnp.tile(jnp.arange(norms.size), RESCALINGS)

    def move(state: tuple[Array, Array], trial: tuple[Array, Array, Array]) -> tuple[tuple[Array, Array], Array]:
        logs, log_readout = state
        t, chance, layer = trial
        up = (readout_norm * jnp.exp(log_readout)) ** 2 * jnp.expm1(2 * t)
        down = (norms[layer] * jnp.exp(logs[layer])) ** 2 * jnp.expm1(-2 * t)
        gain = (readout_size - sizes[layer]) * t - (up + down) / (2 * sigma2)
        accepted = (sizes[layer] > 0) & (gain > -chance)
        t = jnp.where(accepted, t, 0.0)
        return (logs.at[layer].add(-t), log_readout + t), accepted

    start = (jnp.zeros_like(norms), jnp.zeros_like(readout_norm))
    (logs, log_readout), accepted = jax.lax.scan(move, start, (steps, chances, layers))
    share = jnp.sum(accepted) / (RESCALINGS * jnp.sum(sizes > 0))
    return jnp.exp(logs), jnp.exp(log_readout), share


def sweep(
    static: Static, key: Key, features: Float[Array, "L rows N"], hypers: Hypers
) -> tuple[Weights, Float[Array, ""]]:
    """Returns the weights after one sweep and the share of rescaling moves accepted.

    Every layer is drawn once, from the readout down; then lengths are moved between layers. Of the present weights only
    their ``features`` are needed: these stay valid below the layer that is being drawn.
    """
    sigma2, temperature, width = hypers["sigma2"], hypers["temperature"], hypers["width"]
    active = active_layers(static, hypers)
    draw_key, rescale_key = jax.random.split(key)
    draw = draw_normals(static, draw_key, hypers)
    start = jax.tree.map(lambda w: jnp.sqrt(sigma2) * w, draw.weights)
    train = features[:, : static.num_train]

    def regress(prior: Array, noise: Array, below: Array, length: Array) -> Array:
        return condition(prior, noise, length * below, hypers["targets"], sigma2, temperature)

    readout = start.readout + regress(start.readout, draw.noise[-1], train[-1], 1 / jnp.sqrt(width))

    def down(v: Array, layer: tuple[Array, ...]) -> tuple[Array, tuple[Array, Array, Array]]:
        below, matrix, noise, is_active = layer
        length = jnp.linalg.norm(v)
        prior = (v / length) @ matrix
        change = regress(prior, noise, below, length / width)
        change, row = (jnp.where(is_active, x, 0.0) for x in (change, prior + change))
        after = jnp.where(is_active, length * row / jnp.sqrt(width), v)
        return after, (matrix + jnp.outer(v / length, change), v / length, row)

    upper = (train[:-1], start.hidden, draw.noise[1:-1], active[1:])
    v, (hidden, directions, rows) = jax.lax.scan(down, readout, upper, reverse=True)
    length = jnp.linalg.norm(v)
    prior = (v / length) @ start.first
    unit = length / jnp.sqrt(width * hypers["num_inputs"])
    change = regress(prior, draw.noise[0], hypers["inputs"], unit)
    first = start.first + jnp.outer(v / length, change)
    directions, rows_below = jnp.concatenate([(v / length)[None], directions]), prior + change

    norms = jnp.concatenate([jnp.linalg.norm(rows_below)[None], jnp.linalg.norm(rows, axis=1)])
    sizes = jnp.where(active, width, 0.0).at[0].set(hypers["num_inputs"])
    factors, factor, share = rescale(rescale_key, norms, jnp.linalg.norm(readout), sizes, width, sigma2)
    return Weights(
        first + (factors[0] - 1) * jnp.outer(directions[0], rows_below),
        hidden + (factors[1:] - 1)[:, None, None] * directions[1:, :, None] * rows[:, None, :],
        factor * readout,
    ), share
