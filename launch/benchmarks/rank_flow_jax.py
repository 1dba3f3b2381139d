"""The peer in JAX: one jitted training step per seed, called from a Python loop over steps and seeds.

What a JAX user writes first: flax.linen layers, optax.adam, the chain sampled by a scan inside the step, every
position through the network, buffers donated. The scan inverts the cumulative distribution with all uniforms drawn
beforehand, several times faster than jax.random.categorical in each step of the scan.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from launch.benchmarks.cases import Outcome
from launch.benchmarks.rank_flow_training import FIRST_STEPS, Sizes, chain, config_of, sizes_of


def _dense(key: Any, inputs: int, outputs: int) -> dict[str, Any]:
    kernel = jax.nn.initializers.lecun_normal()(key, (inputs, outputs))
    return {"kernel": kernel, "bias": jnp.zeros(outputs)}


def _norm(width: int) -> dict[str, Any]:
    return {"scale": jnp.ones(width), "shift": jnp.zeros(width)}


def initial(sizes: Sizes, key: Any) -> dict[str, Any]:
    """Returns the weights of one network as nested dicts."""
    keys = iter(jax.random.split(key, 6 * sizes.depth + 2))
    window = 2 * sizes.window + 1 if sizes.mixing == "window" else 1
    symbols = sizes.num_states + 2
    blocks = []
    for _ in range(sizes.depth):
        block = {"norm": _norm(sizes.width), "in": _dense(next(keys), sizes.width, sizes.hidden)}
        block["out"] = _dense(next(keys), sizes.hidden, sizes.width)
        blocks.append(block)
    embedding = _dense(next(keys), symbols * window, sizes.width)["kernel"].reshape(window, symbols, sizes.width)
    readout = _dense(next(keys), sizes.width, sizes.num_states)
    return {"embedding": embedding, "blocks": blocks, "norm": _norm(sizes.width), "readout": readout}


def _apply_norm(p: dict[str, Any], x: Any) -> Any:
    x = x - x.mean(-1, keepdims=True)
    return x * jax.lax.rsqrt((x**2).mean(-1, keepdims=True) + 1e-6) * p["scale"] + p["shift"]


def _apply_dense(p: dict[str, Any], x: Any) -> Any:
    return x @ p["kernel"] + p["bias"]


def logits_of(sizes: Sizes, params: dict[str, Any], shown: Any) -> Any:
    """Returns the logits [B, T, V] of every position of sequences [B, T]."""
    w = sizes.window if sizes.mixing == "window" else 0
    padded = jnp.pad(shown, ((0, 0), (w, w)), constant_values=sizes.num_states + 1)
    h = sum(params["embedding"][k][padded[:, k : k + sizes.length]] for k in range(2 * w + 1))
    for block in params["blocks"]:
        x = jax.nn.gelu(_apply_dense(block["in"], _apply_norm(block["norm"], h)))
        h = h + _apply_dense(block["out"], x)
    return _apply_dense(params["readout"], _apply_norm(params["norm"], h))


def sample(sizes: Sizes, key: Any, cumulative: Any, stationary: Any) -> Any:
    """Returns stationary sequences [B, T] of the chain."""
    uniforms = jax.random.uniform(key, (sizes.length, sizes.batch))
    first = jnp.sum(uniforms[0][:, None] > stationary[None], axis=1)

    def advance(x: Any, u: Any) -> tuple[Any, Any]:
        following = jnp.minimum(jnp.sum(u[:, None] > cumulative[x], axis=1), sizes.num_states - 1)
        return following, following

    _, rest = jax.lax.scan(advance, jnp.minimum(first, sizes.num_states - 1), uniforms[1:])
    return jnp.concatenate([first[None], rest]).T


def loop_over_seeds(mixing: str, seeds: int, steps: int, tiny: bool = False, **values: Any) -> Callable[[], Outcome]:
    """Returns a repetition: ``steps`` steps of ``seeds`` networks, one seed after the other."""
    config = config_of(mixing, tiny, **values)
    sizes = sizes_of(config)
    cumulative, stationary = (jnp.asarray(x, jnp.float32) for x in chain(config))
    optimizer = optax.adam(sizes.learning_rate)

    def loss_of(params: Any, tokens: Any, mask: Any) -> Any:
        shown = jnp.where(mask, sizes.num_states, tokens)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits_of(sizes, params, shown), tokens)
        return jnp.sum(losses * mask) / jnp.sum(mask)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params: Any, state: Any, key: Any) -> tuple[Any, Any, Any]:
        data_key, mask_key = jax.random.split(key)
        tokens = sample(sizes, data_key, cumulative, stationary)
        mask = jax.random.bernoulli(mask_key, sizes.mask_prob, tokens.shape)
        loss, gradient = jax.value_and_grad(loss_of)(params, tokens, mask)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state, loss

    def train(seed: int, params: Any, state: Any, steps: int) -> tuple[Any, Any, list[Any]]:
        key, losses = jax.random.key(seed), []
        for _ in range(steps):
            key, step_key = jax.random.split(key)
            params, state, loss = step(params, state, step_key)
            losses.append(loss)
        return params, state, losses

    make = jax.jit(functools.partial(initial, sizes))
    answers = []
    for seed in range(4):
        params = make(jax.random.key(100 + seed))
        answers += train(seed, params, optimizer.init(params), FIRST_STEPS)[2]
    answer = float(np.mean([float(x) for x in answers]))
    networks = [(params, optimizer.init(params)) for params in (make(jax.random.key(s)) for s in range(seeds))]

    def repeat() -> Outcome:
        for seed, (params, state) in enumerate(networks):
            params, state, _ = train(seed, params, state, steps)
            networks[seed] = jax.block_until_ready((params, state))
        return Outcome(seeds * steps, answer)

    return repeat
