r"""Which degrees of freedom of the data a layer keeps: modes of the chain, the exact posterior, perturbations.

Mode k is the right eigenfunction $\varphi_k$ of the transition matrix. Under coarse-graining by n tokens it decays as
$|\lambda_k|^n$, which makes it relevant or irrelevant.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rgflow.probes.linear import held_out_r2
from rgflow.rank_flow.dynamics import apply_net, forward
from rgflow.rank_flow.held_out import bayes_posterior, centred_logits, loss_sums
from rgflow.rank_flow.task import Batch, Static, encode, inputs
from rgflow.types import Hypers, Record

PERTURBED_SEQUENCES = 8
DIMS = {
    "mode_r2": ("layer", "mode"),
    "bayes_r2": ("layer",),
    "perturbation": ("mode", "layer"),
    "stream_growth": ("layer",),
}


def readable(data: Batch) -> Bool[Array, "B T"]:
    """Returns which positions are scored and have two neighbours that both are shown."""
    shown = jnp.pad(~data.mask, ((0, 0), (1, 1)))
    return data.mask & shown[:, :-2] & shown[:, 2:]


def readable_capacity(static: Static) -> int:
    """Returns how many rows hold the readable positions of one chunk of ``probe_batch`` sequences."""
    probability = static.mask_prob * (1 - static.mask_prob) ** 2
    return static.capacity(static.probe_batch * static.length, probability)


def context_targets(static: Static, hypers: Hypers, data: Batch) -> Float[Array, "rows K"]:
    """Returns what is read out at each position: the modes at the left and right neighbour, then the Bayes logits."""
    functions = hypers["mode_functions"].T
    neighbours = [functions[jnp.roll(data.tokens, shift, axis=1)] for shift in (1, -1)]
    targets = jnp.concatenate([*neighbours, centred_logits(bayes_posterior(static, hypers, data))], axis=-1)
    return static.mixing.arrange(targets).reshape(-1, targets.shape[-1])


def chunk_records(static: Static, params: Any, hypers: Hypers, data: Batch) -> tuple[Array, Array, Array, Array, Array]:
    """Returns (pooled [L, B, D], rows [L, C, D], targets [C, K], valid [C], loss sums) of one chunk of sequences."""
    kept = static.mixing.arrange(readable(data)).reshape(-1)
    index = jnp.nonzero(kept, size=readable_capacity(static), fill_value=0)[0]
    valid = jnp.arange(index.size) < jnp.sum(kept)
    targets = context_targets(static, hypers, data)[index]
    if static.mixing.is_table:
        pooled, rows, logits = table_records(static, params, data.shown, index)
        return pooled, rows, targets, valid, loss_sums(static, hypers, logits, data)
    logits, stream = forward(static, static.net(), params, data.shown)
    sums, pooled = loss_sums(static, hypers, logits, data), static.mixing.mean_over_positions(stream)
    if not static.mixing.per_position:
        return pooled, jnp.zeros((stream.shape[0], index.size, static.width)), targets, valid & False, sums
    return pooled, stream.reshape(stream.shape[0], -1, static.width)[:, index], targets, valid, sums


def table_records(
    static: Static, params: Any, shown: Int[Array, "B T"], index: Int[Array, " C"]
) -> tuple[Float[Array, "L B D"], Float[Array, "L C D"], Float[Array, "B T V"]]:
    """Returns pooled rows, the rows of some positions and all logits of a table, from its V + 1 rows."""
    symbols = jnp.arange(static.num_states + 1)
    logits, table = apply_net(static.net(), params, encode(static, symbols[:, None]))
    shares = jnp.mean(jax.nn.one_hot(shown, static.num_states + 1), axis=1)
    pooled = jnp.einsum("bs,lsd->lbd", shares, table, precision=jax.lax.Precision.HIGHEST)
    return pooled, table[:, shown.reshape(-1)[index]], logits[shown]


def pooled_and_readable(
    static: Static, params: Any, hypers: Hypers, data: Batch
) -> tuple[Float[Array, "L P D"], Float[Array, "L N D"], Float[Array, "N K"], Bool[Array, " N"], Float[Array, "3"]]:
    """Returns :func:`chunk_records` of all sequences, in chunks of ``probe_batch`` one at a time, to save memory."""
    chunks = jax.tree.map(lambda x: x.reshape(-1, static.probe_batch, static.length), data)
    pooled, rows, targets, valid, sums = jax.lax.map(lambda chunk: chunk_records(static, params, hypers, chunk), chunks)
    join = lambda x: jnp.moveaxis(x, 0, 1).reshape(x.shape[1], -1, x.shape[-1])  # noqa: E731
    return join(pooled), join(rows), targets.reshape(-1, targets.shape[-1]), valid.reshape(-1), jnp.sum(sums, axis=0)


def readout_records(
    static: Static, rows: Float[Array, "L N D"], targets: Float[Array, "N K"], valid: Bool[Array, " N"]
) -> Record:
    """Returns per layer the held-out R^2 of each mode at the neighbours (mean of the two) and of the Bayes logits."""
    layers, modes = rows.shape[0], static.num_states - 1
    if not static.mixing.per_position:
        return {"mode_r2": jnp.full((layers, modes), jnp.nan), "bayes_r2": jnp.full((layers,), jnp.nan)}
    seen = jnp.cumsum(valid)
    early = 2 * seen <= seen[-1]
    r2 = held_out_r2(rows, targets, valid & early, valid & ~early)
    # One R^2 for all logits together: each weighs by its own variance.
    spread = jnp.var(targets[:, 2 * modes :], axis=0, where=valid[:, None])
    weights = spread / jnp.sum(spread)
    mode_r2 = (r2[:, :modes] + r2[:, modes : 2 * modes]) / 2
    return {"mode_r2": mode_r2, "bayes_r2": jnp.sum(r2[:, 2 * modes :] * weights[None], axis=-1)}


def mode_directions(static: Static, hypers: Hypers, params: Any) -> Float[Array, "modes D"]:
    r"""Returns the unit vectors along the embedded modes, $\sum_v \pi_v \varphi_k(v)\, e_v$.

    $e_v$ is the sum of the embeddings of state v over the positions that a row shows; in a window only the two
    neighbours of the predicted position count.
    """
    blocks = params["embedding"]["kernel"].reshape(-1, static.symbols, static.width)[:, : static.num_states]
    if static.window > 0:
        blocks = blocks[jnp.array([static.window - 1, static.window + 1])]
    images = (hypers["mode_functions"] * hypers["stationary"][None]) @ jnp.sum(blocks, axis=0)
    sizes = jnp.linalg.norm(images, axis=-1, keepdims=True)
    return images / jnp.where(sizes > 0, sizes, 1.0)


def perturbation_records(static: Static, hypers: Hypers, params: Any, data: Batch) -> Record:
    r"""Returns $\ln \|\delta h_l\|_F / \|\delta h_0\|_F$ for a small shift of the embedding along each mode.

    This is exact linear response, a derivative without a finite step, over the rows of a few held-out sequences. The
    growth of the same rows is ``stream_growth``, $\ln \|h_l\|_F / \|h_0\|_F$. A layer that normalises its input sees
    only the ratio of the two.
    """
    encoding = inputs(static, data.shown[:PERTURBED_SEQUENCES])
    shape = (*encoding.shape[:-1], static.width)
    stream_of = lambda shift: apply_net(static.net(), params, encoding, shift)[1]  # noqa: E731
    stream, push = jax.linearize(stream_of, jnp.zeros(shape))

    def size(x: Array) -> Float[Array, " L"]:
        return jnp.sqrt(jnp.sum(x**2, axis=tuple(range(1, x.ndim))))

    def response(direction: Float[Array, " D"]) -> Float[Array, " L"]:
        return size(push(jnp.broadcast_to(direction, shape)))

    sizes = jax.lax.map(response, mode_directions(static, hypers, params))
    of_stream = size(stream)
    return {"perturbation": jnp.log(sizes / sizes[:, :1]), "stream_growth": jnp.log(of_stream / of_stream[0])}
