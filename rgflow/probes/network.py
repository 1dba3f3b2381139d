"""Ranks and kernel drift of the layers of any network, as a labelled dataset: the probes for a user's own model."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from rgflow.probes.capture import Outputs, flavour, linen_outputs, nnx_outputs
from rgflow.probes.kernel import kernel_drift, relative_update
from rgflow.probes.spectrum import RANK_MEASURES, numerical_rank, singular_values, weighted_rows

LEVELS = ("position",)
CENTRINGS = ("uncentred", "centred")
ROWS_PER_COLUMN = 10
"""With fewer rows than this for each column, the effective rank depends on the sample as much as on the layer."""

DRIFTS: dict[str, tuple[int, ...]] = {"kernel_drift": (2,), "frobenius_drift": (2,), "relative_update": ()}
"""The measures between two layers, and the shape of each: one value for each centring, or a single value."""

Layers = Sequence[str] | Callable[[str], bool] | None


def measure(
    network: Any, batch: Any = None, *, variables: Any = None, layers: Layers = None, **options: Any
) -> xr.Dataset:
    r"""Returns ranks and kernel drift of every layer of a network on one batch, labelled as in `results.nc`.

    $\exp(-\sum_i p_{li} \ln p_{li}),\ p_{li} = s_{li} / \sum_j s_{lj}$ of layer l; $1 - \mathrm{CKA}(h_l, h_{l+1})$

    `network` is one of

    * a sequence of activations [..., D_l], one array per layer, or one array [L, ..., D]. All axes but the last are
      rows; every layer needs the same number of rows. `layers` may name the layers, one name per array.
    * a Flax linen module, with its `variables` and a `batch`, run by `module.apply`.
    * a Flax nnx module, with a `batch`. It runs as it is (call `network.eval()` first) and is not changed.

    A `batch` that is a tuple holds the inputs of the call, and `options` are passed on to it (`train=False`). Every
    submodule's output with two or more axes is a layer. Layers are in the order of the forward pass and named by their
    paths; the module's own `output` is the last one. An array that several modules return counts once, under its first
    name. Functions are not modules: the output of a bare `relu(...)` is seen only where a module returns it. `layers`
    selects layers by a sequence of names, in that order, or by a predicate on the name.

    The dataset has `effective_rank`, `energy_rank`, `participation_ratio`, `stable_rank` and `numerical_rank` over
    (level, centring, layer), `kernel_drift` and `frobenius_drift` over (level, centring, transition), and
    `relative_update` over (level, transition), NaN where widths differ. `layer_name` labels the layers, and the
    attribute `rows` is the number of rows. A layer that is not finite, or the same in every row, is NaN and never of
    rank 1. `xr.concat([untrained, trained], xr.IndexVariable("step", [0, steps]))`, and a second concat over "run",
    give the dims of `results.nc`, which `rgflow.plots.network` draws.

    Warns where a layer has fewer than 10 rows per column: its rank would grow with more rows. Raises ValueError if
    there is no layer, for arrays without two axes or with different numbers of rows, for a missing or unnecessary
    `batch` or `variables`, and for names that do not exist.

    Ref: HR2026; Kornblith2019 (linear CKA)

    >>> rows = jnp.eye(4).repeat(10, axis=0)
    >>> found = measure([rows, rows[:, :2]])
    >>> found.effective_rank.sel(level="position", centring="uncentred").values.round(3).tolist()
    [4.0, 2.0]
    """
    outputs = _outputs(network, batch, variables, layers, options)
    names = [name for name, _ in outputs]
    matrices = [_matrix(name, array) for name, array in outputs]
    _require_equal_rows(names, matrices)
    _warn_of_few_rows(names, matrices)
    records = _records(matrices)
    return xr.Dataset(
        {name: (_dims(name), np.asarray(values)[None]) for name, values in records.items()},
        {
            "level": list(LEVELS),
            "centring": list(CENTRINGS),
            "layer": np.arange(len(names)),
            "transition": np.arange(len(names) - 1),
            "layer_name": ("layer", names),
        },
        {"rows": matrices[0].shape[0]},
    )


def _dims(name: str) -> tuple[str, ...]:
    if name == "relative_update":
        return ("level", "transition")
    return ("level", "centring", "transition" if name in DRIFTS else "layer")


def _outputs(network: Any, batch: Any, variables: Any, layers: Layers, options: Mapping[str, Any]) -> Outputs:
    """Returns the named arrays to measure, from any kind of network."""
    kind = flavour(network)
    if not kind:
        arrays = _as_list(network)
        for name, value in {"batch": batch, "variables": variables, **options}.items():
            if value is not None:
                raise ValueError(f"{name}: given with arrays; allowed: only with a Flax module")
        return _named_arrays(arrays, layers)
    if batch is None:
        raise ValueError("batch: None with a Flax module; allowed: its input array, or a tuple of the call's inputs")
    inputs = batch if isinstance(batch, tuple) else (batch,)
    if kind == "nnx":
        if variables is not None:
            raise ValueError("variables: given with an nnx module, which holds its own; allowed: only with linen")
        return _selected(nnx_outputs(network, inputs, options), layers)
    if variables is None:
        raise ValueError("variables: None with a linen module; allowed: what its `init` returned")
    return _selected(linen_outputs(network, variables, inputs, options), layers)


def _as_list(network: Any) -> list[Any]:
    if not isinstance(network, list | tuple) and not (hasattr(network, "shape") and len(network.shape) >= 3):
        what = f"shape {network.shape}" if hasattr(network, "shape") else type(network).__name__
        raise ValueError(f"network: {what} is no network; allowed: a list of [..., D], an [L, N, D], a Flax module")
    if len(network) == 0:
        raise ValueError("network: no array in it; allowed: one [..., D] per layer, at least one")
    return list(network)


def _named_arrays(arrays: list[Any], layers: Layers) -> Outputs:
    if layers is None:
        return [(str(number), array) for number, array in enumerate(arrays)]
    if callable(layers) or len(layers) != len(arrays):
        what = "a predicate" if callable(layers) else f"{len(layers)} names"
        raise ValueError(f"layers: {what} for {len(arrays)} arrays; allowed: one name per array")
    return list(zip(layers, arrays, strict=True))


def _selected(outputs: Outputs, layers: Layers) -> Outputs:
    """Returns the outputs selected by name, or those that a predicate accepts, each array once."""
    known = dict(outputs)
    if layers is None or callable(layers):
        first: dict[int, tuple[str, Any]] = {}
        for name, array in outputs:
            if layers is None or layers(name):
                first.setdefault(id(array), (name, array))
        kept = list(first.values())
    else:
        if unknown := [name for name in layers if name not in known]:
            raise ValueError(f"layers: {unknown[0]!r} does not exist; allowed: {', '.join(known)}")
        kept = [(name, known[name]) for name in layers]
    if not kept:
        raise ValueError(f"layers: none is left; allowed: some of {', '.join(known) or 'no array with two axes'}")
    return kept


def _matrix(name: str, array: Any) -> Float[Array, "n d"]:
    """Returns one layer with all axes but the last flattened to rows, in a real floating-point type."""
    try:
        values = jnp.asarray(array)
    except (TypeError, ValueError):
        raise ValueError(f"network: layer {name!r} is {type(array).__name__}; allowed: arrays [..., D]") from None
    if values.ndim < 2 or values.size == 0:
        raise ValueError(f"network: layer {name!r} has shape {values.shape}; allowed: [..., D] with at least one row")
    if jnp.issubdtype(values.dtype, jnp.complexfloating):
        raise ValueError(f"network: layer {name!r} has type {values.dtype}; allowed: real numbers")
    values = values if jnp.issubdtype(values.dtype, jnp.floating) else values.astype(jnp.float32)
    return values.reshape(-1, values.shape[-1])


def _require_equal_rows(names: list[str], matrices: list[Array]) -> None:
    rows = matrices[0].shape[0]
    for name, matrix in zip(names, matrices, strict=True):
        if matrix.shape[0] != rows:
            raise ValueError(
                f"network: layer {name!r} has {matrix.shape[0]} rows where {names[0]!r} has {rows}; "
                "allowed: the same rows in every layer (`layers` picks some)"
            )


def _warn_of_few_rows(names: list[str], matrices: list[Array]) -> None:
    rows, columns = max((matrix.shape for matrix in matrices), key=lambda shape: shape[1])
    if rows < ROWS_PER_COLUMN * columns:
        widest = next(n for n, matrix in zip(names, matrices, strict=True) if matrix.shape[1] == columns)
        warnings.warn(
            f"batch: {rows} rows for the {columns} columns of layer {widest!r}; below {ROWS_PER_COLUMN} rows per "
            "column the effective rank depends on the number of rows",
            stacklevel=3,
        )


def _records(matrices: list[Float[Array, "n _"]]) -> dict[str, Float[np.ndarray, "..."]]:
    """Returns every measure of the record, layers or transitions last.

    Each layer is measured and copied to the host before the next one: stacks of wide layers would not fit, and LAPACK
    calls that run side by side starve each other.
    """
    ranks, drifts, before = [], [], None
    for matrix in matrices:
        rows = _both_centrings(matrix)
        ranks.append(jax.device_get(_rank_record(rows)))
        if before is not None:
            drifts.append(jax.device_get(_drift_record(before, rows)))
        before = rows
    empty = {name: np.zeros((*shape, 0), np.float32) for name, shape in DRIFTS.items()}
    return {**_along_last_axis(ranks), **(_along_last_axis(drifts) if drifts else empty)}


def _along_last_axis(records: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.stack([record[name] for record in records], axis=-1) for name in records[0]}


@jax.jit
def _both_centrings(matrix: Float[Array, "n d"]) -> Float[Array, "2 n d"]:
    """Returns the rows as they are and centred, NaN where all are equal: such a layer does not depend on its input."""
    centred = weighted_rows(matrix, None, center=True)
    uncentred = jnp.where(jnp.isfinite(centred), weighted_rows(matrix, None, center=False), jnp.nan)
    return jnp.stack([uncentred, centred])


@jax.jit
def _rank_record(rows: Float[Array, "2 n d"]) -> dict[str, Float[Array, "2"]]:
    values = singular_values(rows)
    ranks = {name: rank(values) for name, rank in RANK_MEASURES.items()}
    return {**ranks, "numerical_rank": numerical_rank(values, (rows.shape[-2], rows.shape[-1]))}


@jax.jit
def _drift_record(before: Float[Array, "2 n d"], after: Float[Array, "2 n e"]) -> dict[str, Float[Array, "..."]]:
    widths = before.shape[-1], after.shape[-1]
    # Zero columns change no Gram matrix, so layers of any two widths have a drift.
    pair = jnp.stack([jnp.pad(x, ((0, 0), (0, 0), (0, max(widths) - x.shape[-1]))) for x in (before, after)], axis=1)
    drift = jax.vmap(lambda h: kernel_drift(h, center=False)[0])(pair)
    update = relative_update(pair[0])[0] if widths[0] == widths[1] else jnp.full((), jnp.nan, pair.dtype)
    return {"kernel_drift": drift, "frobenius_drift": jnp.sqrt(2 * drift), "relative_update": update}
