"""What is recorded of one run: ranks and kernel drift of the residual stream, and the loss against its optimum.

Everything is measured on one held-out batch, the same at every record and for every layer. Rows with a weight stand
for that many equal rows, which is exact and makes a token-wise stream (V + 1 distinct rows) cheap to measure.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rgflow.probes.kernel import kernel_drift, relative_update
from rgflow.probes.spectrum import RANK_MEASURES, numerical_rank, singular_values, weighted_rows
from rgflow.rank_flow import dynamics
from rgflow.rank_flow.dynamics import Static, TrainState
from rgflow.rank_flow.theory import SHOWN_AS_MASK, SHOWN_AS_RANDOM, SHOWN_UNCHANGED, masked_posterior
from rgflow.samplers.markov import MarkovChain
from rgflow.types import Hypers, Key, Record

LEVELS = ("position", "masked", "unmasked", "pooled")
"""Rows of the measured matrix: all positions, the scored ones, the others, or the mean over each sequence."""

CENTRINGS = ("uncentred", "centred")
RANKS = (*RANK_MEASURES, "numerical_rank")
DIMS = {
    **dict.fromkeys(RANKS, ("level", "centring", "layer")),
    "kernel_drift": ("level", "centring", "transition"),
    "frobenius_drift": ("level", "centring", "transition"),
    "relative_update": ("level", "transition"),
}


def coords(static: Static) -> dict[str, Any]:
    """Returns the labels of the record dimensions; layer 0 is the embedding, transition l leads from layer l."""
    layers = list(range(static.depth + 1))
    return {"level": LEVELS, "centring": CENTRINGS, "layer": layers, "transition": layers[:-1]}


def _table_rows(static: Static, params: Any, shown: Array, mask: Array) -> tuple[Array, Array, Array, Array]:
    """Token-wise: the stream of every symbol, the counts per level, the pooled rows and the table's logits."""
    symbols = jnp.arange(static.num_states + 1)
    logits, stream = dynamics.forward(static.net(), params, dynamics.encode(static, symbols[:, None]))
    one_hot = jax.nn.one_hot(shown, static.num_states + 1)
    of_masked = jnp.sum(jnp.where(mask[..., None], one_hot, 0.0), axis=(0, 1))
    of_all = jnp.sum(one_hot, axis=(0, 1))
    weights = jnp.stack([of_all, of_masked, of_all - of_masked])
    pooled = jnp.einsum("bs,lsd->lbd", jnp.mean(one_hot, axis=1), stream, precision=jax.lax.Precision.HIGHEST)
    return stream, weights, pooled, logits


def _position_rows(static: Static, params: Any, shown: Array, mask: Array) -> tuple[Array, Array, Array, Array]:
    """Any mixing: the stream of every position, the weights per level, the pooled rows and the logits."""
    logits, stream = dynamics.forward(static.net(), params, dynamics.inputs(static, shown))
    rows = stream.reshape(stream.shape[0], -1, stream.shape[-1])
    masked = mask.reshape(-1).astype(rows.dtype)
    weights = jnp.stack([jnp.ones_like(masked), masked, 1 - masked])
    return rows, weights, jnp.mean(stream, axis=2), logits


def measured_rows(
    rows: Float[Array, "L N D"], weights: Float[Array, "levels N"], pooled: Float[Array, "L B D"]
) -> Float[Array, "levels+1 2 L rows D"]:
    """Returns the matrices to measure, [level, centring, layer, row, width], the pooled level last.

    Rows carry the square root of their weight and are centred where the centring says so; zero rows fill the
    smaller matrices, which changes neither singular values nor kernels' overlaps.
    """
    count = max(rows.shape[-2], pooled.shape[-2])

    def fill(x: Array) -> Array:
        return jnp.pad(x, [(0, 0)] * (x.ndim - 2) + [(0, count - x.shape[-2]), (0, 0)])

    def all_levels(center: bool) -> Array:
        by_weight = jax.vmap(lambda w: weighted_rows(rows, w, center))(weights)
        return jnp.concatenate([fill(by_weight), fill(weighted_rows(pooled, None, center))[None]])

    return jnp.stack([all_levels(center=False), all_levels(center=True)], axis=1)


def rank_records(measured: Float[Array, "levels 2 L N D"]) -> Record:
    """Returns every rank measure for each level, centring and layer, from one batched singular-value call."""
    values = singular_values(measured)
    ranks = {name: measure(values) for name, measure in RANK_MEASURES.items()}
    return {**ranks, "numerical_rank": numerical_rank(values, (measured.shape[-2], measured.shape[-1]))}


def drift_records(measured: Float[Array, "levels 2 L N D"]) -> Record:
    """Returns kernel drift, Frobenius drift and (of the uncentred stream) relative update between layers."""
    each_matrix = jax.vmap(jax.vmap(lambda h: kernel_drift(h, center=False)))
    drift = each_matrix(measured)
    updates = jax.vmap(relative_update)(measured[:, 0])
    return {"kernel_drift": drift, "frobenius_drift": jnp.sqrt(2 * drift), "relative_update": updates}


def exact_table_loss(static: Static, logits: Float[Array, "S V"], stationary: Float[Array, " V"]) -> Float[Array, ""]:
    r"""Returns the expected loss of a token-wise network, $-\sum_{sv} J_{sv} \ln q_s(v)$, without sampling (nats)."""
    own = jnp.diag(stationary)
    random = jnp.broadcast_to(stationary / static.num_states, (static.num_states,) * 2)
    visible = jnp.zeros_like(own) if static.mask_mode == "pure" else SHOWN_UNCHANGED * own + SHOWN_AS_RANDOM * random
    hidden = stationary * (1.0 if static.mask_mode == "pure" else SHOWN_AS_MASK)
    joint = jnp.concatenate([visible, hidden[None]])
    return -jnp.sum(joint * jax.nn.log_softmax(logits))


def bayes_sample_loss(static: Static, hypers: Hypers, tokens: Array, shown: Array, mask: Array) -> Float[Array, ""]:
    """Returns the loss of the exact posterior on the scored positions of these very sequences (nats)."""
    chain = MarkovChain(hypers["transition"], hypers["stationary"])
    posterior = jax.vmap(lambda s, m: masked_posterior(chain, s, m, static.mask_mode, static.mask_prob))(shown, mask)
    truth = jnp.take_along_axis(posterior, tokens[..., None], axis=-1)[..., 0]
    return dynamics.masked_mean(-jnp.log(truth), mask)


def loss_records(static: Static, hypers: Hypers, logits: Array, tokens: Array, shown: Array, mask: Array) -> Record:
    """Returns ``loss`` and ``excess_loss`` over the exact optimum (nats), with the sampling noise taken out.

    Token-wise the expected loss is summed exactly. Otherwise the excess is averaged over the held-out scored
    positions as a paired difference to the exact posterior, which cancels most of the noise; mode ``pure``, where
    the optimum has a closed form, adds it back to get the loss.
    """
    sampled = bayes_sample_loss(static, hypers, tokens, shown, mask)
    optimum = hypers["bayes_loss"] if static.mask_mode == "pure" else sampled
    if static.mixing == "tokenwise":
        loss = exact_table_loss(static, logits, hypers["stationary"])
        return {"loss": loss, "excess_loss": loss - optimum}
    excess = dynamics.masked_mean(dynamics.cross_entropy(logits, tokens), mask) - sampled
    return {"loss": optimum + excess, "excess_loss": excess}


def probe(static: Static, key: Key, state: TrainState, hypers: Hypers) -> Record:
    """Measures one run on its held-out batch."""
    tokens, shown, mask = dynamics.draw_batch(static, key, hypers, static.probe_batch)
    rows_of = _table_rows if static.mixing == "tokenwise" else _position_rows
    rows, weights, pooled, logits = rows_of(static, state.params, shown, mask)
    measured = measured_rows(rows, weights, pooled)
    return {
        **rank_records(measured),
        **drift_records(measured),
        **loss_records(static, hypers, logits, tokens, shown, mask),
    }
