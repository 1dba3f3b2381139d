"""Losses on held-out sequences beside the exact optimum of the very same sequences."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rgflow.rank_flow.dynamics import cross_entropy
from rgflow.rank_flow.task import Batch, Static, chain_of
from rgflow.rank_flow.theory import (
    SHOWN_AS_MASK,
    SHOWN_AS_RANDOM,
    SHOWN_UNCHANGED,
    masked_posterior,
    window_posterior,
)
from rgflow.types import Hypers, Record


def exact_table_loss(static: Static, logits: Float[Array, "S V"], stationary: Float[Array, " V"]) -> Float[Array, ""]:
    r"""Returns the expected loss of a token-wise network, $-\sum_{sv} J_{sv} \ln q_s(v)$, without sampling (nats)."""
    own = jnp.diag(stationary)
    random = jnp.broadcast_to(stationary / static.num_states, (static.num_states,) * 2)
    visible = jnp.zeros_like(own) if static.mask_mode == "pure" else SHOWN_UNCHANGED * own + SHOWN_AS_RANDOM * random
    hidden = stationary * (1.0 if static.mask_mode == "pure" else SHOWN_AS_MASK)
    if static.control == "random_labels":
        visible = jnp.sum(visible, axis=1, keepdims=True) * stationary[None, :]
    joint = jnp.concatenate([visible, hidden[None]])
    return -jnp.sum(joint * jax.nn.log_softmax(logits))


def bayes_posterior(static: Static, hypers: Hypers, data: Batch) -> Float[Array, "B T V"]:
    """Returns the exact posterior of the targets given the whole sequence; NaN where time is shuffled.

    Shuffled sequences are exchangeable and not Markov: their optimum has no closed form.
    """
    chain = chain_of(hypers)
    if static.control == "random_labels":
        return jnp.broadcast_to(chain.stationary, (*data.tokens.shape, static.num_states))
    if static.control == "time_shuffled":
        return jnp.full((*data.tokens.shape, static.num_states), jnp.nan)
    return jax.vmap(lambda s, m: masked_posterior(chain, s, m, static.mask_mode, static.mask_prob))(
        data.shown, data.mask
    )


def optimal_posterior(static: Static, hypers: Hypers, data: Batch) -> Float[Array, "B T V"]:
    """Returns the exact posterior given what the architecture sees: one token, a window, or the whole sequence.

    A network that sees one token sees the same whether time is shuffled or not. Attention without a position code sees
    the whole sequence but not its order; it cannot reach this posterior.
    """
    reach = static.mixing.reach(static.window)
    if static.control == "random_labels" or reach is None or (static.control == "time_shuffled" and reach > 0):
        return bayes_posterior(static, hypers, data)
    chain = chain_of(hypers)
    of_sequence = lambda s, m: window_posterior(chain, s, m, reach, static.mask_mode, static.mask_prob)  # noqa: E731
    return jax.vmap(of_sequence)(data.shown, data.mask)


def centred_logits(posterior: Float[Array, "*rows V"]) -> Float[Array, "*rows V"]:
    r"""Returns $\ln q$ minus its mean over the states, with q at least 1e-12. A softmax does not see that mean."""
    logits = jnp.log(jnp.maximum(posterior, 1e-12))
    return logits - jnp.mean(logits, axis=-1, keepdims=True)


def loss_sums(static: Static, hypers: Hypers, logits: Array, data: Batch) -> Float[Array, "3"]:
    """Returns the sums over the scored positions of the network's loss and of the exact posterior's, and their number.

    ``logits`` are those of every position, in the layout of the stream.
    """
    mask, targets = static.mixing.arrange(data.mask), static.mixing.arrange(data.targets)
    posterior = bayes_posterior(static, hypers, data)
    truth = jnp.take_along_axis(posterior, data.targets[..., None], axis=-1)[..., 0]
    own = jnp.sum(jnp.where(mask, cross_entropy(logits, targets), 0.0))
    best = jnp.sum(jnp.where(data.mask, -jnp.log(truth), 0.0))
    return jnp.stack([own, best, jnp.sum(data.mask)])


def loss_records(static: Static, hypers: Hypers, sums: Float[Array, "3"], table: Array | None = None) -> Record:
    """Returns ``loss`` and ``excess_loss`` over the exact optimum (nats), with the sampling noise taken out.

    For a table the expected loss is an exact sum over its logits [S, V]. For other networks ``sums`` over held-out
    scored positions give the excess as a paired difference to the exact posterior, which cancels most of the noise; in
    mode ``pure`` the optimum has a closed form, and the loss is that optimum plus the excess. Where time is shuffled,
    the loss is the plain mean and the excess is NaN.
    """
    plain, sampled = sums[0] / jnp.maximum(sums[2], 1), sums[1] / jnp.maximum(sums[2], 1)
    closed_form = static.mask_mode == "pure" and static.control == "none"
    optimum = hypers["bayes_loss"] if closed_form else sampled
    if table is not None:
        loss = exact_table_loss(static, table, hypers["stationary"])
        return {"loss": loss, "excess_loss": loss - optimum}
    if static.control == "time_shuffled":
        return {"loss": plain, "excess_loss": jnp.full_like(plain, jnp.nan)}
    return {"loss": optimum + plain - sampled, "excess_loss": plain - sampled}
