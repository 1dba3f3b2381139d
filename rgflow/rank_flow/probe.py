"""What is recorded of one run: ranks and kernel drift of the residual stream, relevance, and the loss.

Everything is measured on held-out sequences, the same at every record and for every layer: ``probe_batch`` of them for
positions, ``pooled_batch`` more for the loss and for what needs one row per sequence. A row with weight n stands for n
equal rows. This is exact, and a stream with V + 1 distinct rows becomes cheap to measure.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rgflow.probes.kernel import kernel_drift, relative_update
from rgflow.probes.spectrum import RANK_MEASURES, numerical_rank, singular_values, weighted_rows
from rgflow.protocol import Stream
from rgflow.rank_flow import relevance
from rgflow.rank_flow.dynamics import TrainState, apply_net, forward
from rgflow.rank_flow.held_out import centred_logits, loss_records, optimal_posterior
from rgflow.rank_flow.task import Batch, Static, draw_batch, encode
from rgflow.types import Hypers, Key, Record

LEVELS = ("position", "masked", "unmasked", "pooled", "clean", "update", "normalised")
"""Rows of the measured matrix: all positions, the scored ones, the others, or the mean over each sequence.

Three more take all positions (whole sequences, where the stream has no others) of something else: ``clean`` of
sequences that are shown without any mask, ``update`` of what each block adds to the stream (layer l has
$h_l - h_{l-1}$, layer 0 none), ``normalised`` of the stream with every row at mean 0 and variance 1.
"""

NORM_NOISE = 1e-6
"""Added to the variance of a row before it is normalised, as the network's own norm does."""

CENTRINGS = ("uncentred", "centred")
RANKS = (*RANK_MEASURES, "numerical_rank")
DIMS = {
    **dict.fromkeys(RANKS, ("level", "centring", "layer")),
    "kernel_drift": ("level", "centring", "transition"),
    "frobenius_drift": ("level", "centring", "transition"),
    "relative_update": ("level", "transition"),
    **{f"predictor_{name}": ("centring",) for name in RANK_MEASURES},
    "singular_values": ("centring", "layer", "direction"),
    **relevance.DIMS,
}
LATEST = ("singular_values",)
"""Of these the results keep only the first and the last record: all of them would outgrow everything else."""


def coords(static: Static) -> dict[str, Any]:
    """Returns the labels of the record dimensions; layer 0 is the embedding, transition l leads from layer l.

    Modes count from 1, slowest first; mode 0 would be the constant one. Directions count from 1, largest first.
    """
    layers, modes = list(range(static.depth + 1)), list(range(1, static.num_states))
    of_layers = {"layer": layers, "transition": layers[:-1], "direction": list(range(1, static.width + 1))}
    return {"level": LEVELS, "centring": CENTRINGS, "mode": modes, **of_layers}


def _table_rows(static: Static, params: Any, data: Batch) -> tuple[Array, Array, Array | None]:
    """Returns the stream of every symbol of a table, the counts of the symbols per level, and the logits."""
    symbols = jnp.arange(static.num_states + 1)
    logits, stream = apply_net(static.net(), params, encode(static, symbols[:, None]))
    one_hot = jax.nn.one_hot(data.shown, static.num_states + 1)
    of_masked = jnp.sum(jnp.where(data.mask[..., None], one_hot, 0.0), axis=(0, 1))
    of_all = jnp.sum(one_hot, axis=(0, 1))
    return stream, jnp.stack([of_all, of_masked, of_all - of_masked]), logits


def _position_rows(static: Static, params: Any, data: Batch) -> tuple[Array, Array, Array | None]:
    """Returns the stream of every position, its weight per level, and no table."""
    _, stream = forward(static, static.net(), params, data.shown)
    rows = stream.reshape(stream.shape[0], -1, stream.shape[-1])
    masked = static.mixing.arrange(data.mask).reshape(-1).astype(rows.dtype)
    return rows, jnp.stack([jnp.ones_like(masked), masked, 1 - masked]), None


def level_rows(static: Static, params: Any, data: Batch) -> tuple[Array, Array, Array | None]:
    """Returns (rows [L, N, D], weights [levels, N], logits of a table or None) of every level but the pooled one.

    Without a stream per position the rows are NaN, and so is everything read from them.
    """
    if static.mixing.is_table:
        return _table_rows(static, params, data)
    if static.mixing.per_position:
        return _position_rows(static, params, data)
    _, stream = forward(static, static.net(), params, data.shown)
    return jnp.full_like(stream, jnp.nan), jnp.ones((3, stream.shape[1])), None


# Anonymous dims: a stream without positions is measured on as many rows as it has sequences.
Rows = tuple[Float[Array, "_ _ _"], Float[Array, " _"] | None]
"""The rows of every layer, [L, N, D], and their weights, [N]."""


def clean_rows(static: Static, params: Any, rows: Float[Array, "L N D"], data: Batch, more: Batch) -> Rows:
    """Returns the rows of sequences shown without a mask: those of a table are those of any sequence."""
    if static.mixing.is_table:
        return rows, jnp.sum(jax.nn.one_hot(data.tokens, static.num_states + 1), axis=(0, 1))
    shown = data.tokens if static.mixing.per_position else more.tokens
    _, stream = forward(static, static.net(), params, shown)
    return stream.reshape(stream.shape[0], -1, stream.shape[-1]), None


def changed_rows(rows: Float[Array, "L N D"], weights: Float[Array, " N"] | None) -> list[Rows]:
    """Returns the rows of the update of each block (NaN at layer 0) and those of the normalised stream."""
    update = jnp.concatenate([jnp.full_like(rows[:1], jnp.nan), rows[1:] - rows[:-1]])
    centred = rows - jnp.mean(rows, axis=-1, keepdims=True)
    normalised = centred / jnp.sqrt(jnp.mean(centred**2, axis=-1, keepdims=True) + NORM_NOISE)
    return [(update, weights), (normalised, weights)]


def measured_rows(
    rows: Float[Array, "L N D"],
    weights: Float[Array, "levels N"],
    pooled: Float[Array, "L B D"],
    further: Sequence[Rows] = (),
) -> Float[Array, "_ 2 L rows D"]:
    """Returns the matrices to measure, [level, centring, layer, row, width], in the order of ``LEVELS``.

    Rows carry the square root of their weight and are centred where the centring says so; zero rows fill the
    smaller matrices, which changes neither singular values nor kernels' overlaps.
    """
    others = [(pooled, None), *further]
    count = max(rows.shape[-2], *(x.shape[-2] for x, _ in others))

    def all_levels(center: bool) -> Array:
        by_weight = jax.vmap(lambda w: weighted_rows(rows, w, center))(weights)
        return jnp.concatenate(
            [_fill(by_weight, count), *(_fill(weighted_rows(x, w, center), count)[None] for x, w in others)]
        )

    return jnp.stack([all_levels(center=False), all_levels(center=True)], axis=1)


def predictor_rows(static: Static, hypers: Hypers, data: Batch) -> Float[Array, "2 N V"]:
    """Returns the logits of the architecture's exact optimum at the scored positions, uncentred and centred."""
    weights = data.mask.reshape(-1)
    if static.mixing.is_table:
        # One row per distinct symbol, as for the stream.
        one_hot = jax.nn.one_hot(data.shown.reshape(-1), static.num_states + 1)
        weights = jnp.sum(jnp.where(weights[:, None], one_hot, 0.0), axis=0)
        symbols = jnp.arange(static.num_states + 1)[:, None]
        data = Batch(symbols, symbols, jnp.ones_like(symbols, bool), symbols)
    logits = centred_logits(optimal_posterior(static, hypers, data)).reshape(-1, static.num_states)
    return jnp.stack([weighted_rows(logits, weights, center) for center in (False, True)])


def _fill(x: Float[Array, "*batch n d"], rows: int, columns: int = 0) -> Float[Array, "*batch rows columns"]:
    """Returns matrices with zero rows and columns added, which add nothing but zeros to their singular values."""
    missing = [(0, rows - x.shape[-2]), (0, max(columns - x.shape[-1], 0))]
    return jnp.pad(x, [(0, 0)] * (x.ndim - 2) + missing)


def spectra(
    measured: Float[Array, "levels 2 L N D"], predictor: Float[Array, "2 M V"]
) -> tuple[Float[Array, "levels 2 L k"], Float[Array, "2 k"]]:
    """Returns the singular values of every matrix and of the exact predictor, from one batched call.

    Two calls at the same time could each wait for the threads of the other, and never end.
    """
    shape = (max(measured.shape[-2], predictor.shape[-2]), max(measured.shape[-1], predictor.shape[-1]))
    stack = _fill(measured.reshape(-1, *measured.shape[-2:]), *shape)
    values = singular_values(jnp.concatenate([stack, _fill(predictor, *shape)]))
    return values[: len(stack)].reshape(*measured.shape[:3], -1), values[len(stack) :]


def rank_records(values: Float[Array, "levels 2 L k"], shape: tuple[int, int]) -> Record:
    """Returns every rank measure for each level, centring and layer, from the singular values of [rows, width]."""
    ranks = {name: measure(values) for name, measure in RANK_MEASURES.items()}
    return {**ranks, "numerical_rank": numerical_rank(values, shape)}


def spectrum_records(static: Static, values: Float[Array, "levels 2 L k"]) -> Record:
    r"""Returns the singular values $s_1 \ge \dots \ge s_d$ of the stream at the level of the main reading.

    Of the matrix with one row per held-out position (per sequence where the level is ``pooled``): $s_i^2$ over the
    number of rows is the mean square of the stream along direction i. Zeros stand for directions beyond the number of
    rows.
    """
    found = values[LEVELS.index(static.mixing.level), ..., : static.width]
    return {"singular_values": _fill(found, found.shape[-2], static.width)}


def drift_records(measured: Float[Array, "levels 2 L N D"]) -> Record:
    """Returns kernel drift, Frobenius drift and (of the uncentred stream) relative update between layers."""
    each_matrix = jax.vmap(jax.vmap(lambda h: kernel_drift(h, center=False)))
    drift = each_matrix(measured)
    updates = jax.vmap(relative_update)(measured[:, 0])
    return {"kernel_drift": drift, "frobenius_drift": jnp.sqrt(2 * drift), "relative_update": updates}


def probe(static: Static, key: Key, state: TrainState, hypers: Hypers) -> Record:
    """Returns what is measured of one run on its held-out sequences."""
    params = state.params
    data = draw_batch(static, key, hypers, static.probe_batch)
    more = draw_batch(static, jax.random.fold_in(key, Stream.PROBE), hypers, static.pooled_batch)
    rows, weights, table = level_rows(static, params, data)
    pooled, readable, targets, valid, sums = relevance.pooled_and_readable(static, params, hypers, more)
    whole = (rows, weights[0]) if static.mixing.per_position else (pooled, None)
    further = [clean_rows(static, params, rows, data, more), *changed_rows(*whole)]
    measured = measured_rows(rows, weights, pooled, further)
    values, of_predictor = spectra(measured, predictor_rows(static, hypers, data))
    # A stream whose singular values are NaN has no readout either; this also makes the regression wait for them.
    readable = jnp.where(jnp.all(jnp.isfinite(values[0, 0])), readable, jnp.nan)
    return {
        **rank_records(values, (measured.shape[-2], static.width)),
        **spectrum_records(static, values),
        **{f"predictor_{name}": RANK_MEASURES[name](of_predictor) for name in RANK_MEASURES},
        **drift_records(measured),
        **relevance.readout_records(static, readable, targets, valid),
        **relevance.perturbation_records(static, hypers, params, data),
        **loss_records(static, hypers, sums, table),
    }
