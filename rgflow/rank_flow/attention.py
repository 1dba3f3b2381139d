r"""Claims of HR2026b on a transformer (one head before each MLP) beside the same stack without attention.

* S1b-loss     the transformer has the MLP's loss at short correlation length, within 0.05 nats, and a lower one at
  long: loss(MLP) - loss(transformer) above 0.05 nats.
* S1b-same     at short length its effective rank is the MLP's in every layer, within a factor of 0.9, and so is its
  kernel drift in every transition, within 0.05.
* S1b-damping  at short length it damps every mode of the chain faster than the MLP: the decay rate relative to the
  stream, transformer less MLP, above 0 for each mode (1/layer). That there is no order is information.
* S1b-rank     at long length its effective rank jumps above the dimension of the input at the first layer:
  $\mathrm{ER}_1 - (V + 1)$ above 0, and training raised $\mathrm{ER}_1$.
* S1b-decay    at long length its perturbations decay at rates that spread further over the modes than the MLP's
  (published as lengths: a factor of 5.4 against 1.3). Standard deviation over modes of the decay rate, transformer less
  MLP, above 0. A mode that grows has a rate but no decay length: the ratio of lengths is given where every mode decays.
* S1b-trend    at long length fast modes tend to decay faster: Kendall's tau of the decay rate with the place of the
  mode, slowest first, above 0. The source speaks of a trend, not of an exact order.

The source does not say what its MLP sees, so each claim is judged against every MLP that was run. Nor is the optimum of
a network that sees tokens without their order known: how far training came is information.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from rgflow.judging.claim import Finding, ruled
from rgflow.judging.components import MARGIN, Component, Side
from rgflow.judging.decisions import Control, information
from rgflow.judging.points import alive, average
from rgflow.rank_flow.collapse import READING
from rgflow.rank_flow.decay import decay_rates, dynamic_range, relative_perturbation
from rgflow.rank_flow.learning import CONVERGED_NATS, by_unit, dead, final
from rgflow.rank_flow.modes import order_of
from rgflow.rank_flow.select import Cells

MARGIN_NATS = CONVERGED_NATS
"""Losses within this of each other are the same."""

SAME_DRIFT = 0.05
"""Kernel drifts within this of each other are the same."""

MLPS = ("tokenwise", "window", "mixer")
LOSSES = (*MLPS, "flat")
"""Of a flat network, which has no stream per position, the loss can be compared and nothing else."""

TEXTS = {
    "same": ("A transformer reaches the same loss as the MLP at short correlation length.",
             f"loss(MLP) - loss(transformer) within {MARGIN_NATS} nats of 0"),
    "lower": ("A transformer beats the loss of the MLP at long correlation length.",
              f"loss(MLP) - loss(transformer) above {MARGIN_NATS} nats"),
    "stream": ("At short correlation length its effective rank and kernel drift are those of the MLP.",
               f"in every layer ln ER within {MARGIN:.3g}, in every transition 1 - CKA within {SAME_DRIFT}"),
    "damping": ("At short correlation length it damps every mode of the chain faster than the MLP.",
                "decay rate relative to the stream, transformer less MLP, above 0 for each mode (1/layer)"),
    "rank": ("At long correlation length its effective rank jumps above the input's dimension at layer 1.",
             "ER_1 - (V + 1) above 0, ER_1 raised by training"),
    "decay": ("At long correlation length its perturbations decay at rates that spread further than the MLP's.",
              "spread of the decay rates over the modes, transformer less MLP, above 0 (1/layer)"),
    "trend": ("At long correlation length its perturbations tend to decay faster along faster modes.",
              "Kendall tau of the decay rate with the mode's place, slowest first, above 0"),
}  # fmt: skip


def settling(runs: xr.Dataset) -> dict[str, Control]:
    """Returns by how much the loss still fell between the last two records, for information."""
    losses = np.asarray(runs["loss"].dropna("step", how="all").transpose("run", "step"), np.float64)
    gain = average(losses[:, -2] - losses[:, -1]) if losses.shape[1] > 1 else np.nan
    return {"settled": information(gain, "nats by which the transformer's loss fell since the record before the last")}


def _counts(*groups: xr.Dataset) -> tuple[int, int]:
    return min(runs.sizes["run"] - dead(runs) for runs in groups), sum(map(dead, groups))


def _difference(
    name: str, first: xr.DataArray, second: xr.DataArray, pair: tuple[xr.Dataset, ...], side: Side, bound: float
) -> Component:
    """Returns the component of a difference of means; ``pair`` are all runs of the two, dead ones included."""
    both = zip((first, second), pair, strict=True)
    groups = tuple(by_unit(np.asarray(x, np.float64), alive(runs)) for x, runs in both)
    return Component(name, groups, side, bound, (1.0, -1.0), tuple(dead(runs) for runs in pair))


def _ends(*groups: xr.Dataset) -> list[xr.Dataset]:
    return [final(alive(runs)) for runs in groups]


def losses_compare(mlp: xr.Dataset, transformer: xr.Dataset, what: str, place: str) -> Finding:
    """Judges S1b-loss at one length; ``what`` is the text of the claim there, "same" or "lower"."""
    one, other = _ends(mlp, transformer)
    controls = {
        **settling(transformer),
        "mlp": information(average(one["loss"].values), "loss of the MLP (nats)"),
        "transformer": information(average(other["loss"].values), "loss of the transformer (nats)"),
        "bayes": information(float(transformer["bayes_loss"].mean()), "loss of the exact predictor of the sequence"),
    }
    side: Side = "within" if what == "same" else "above"
    name = "loss(MLP) - loss(transformer)"
    part = _difference(name, one["loss"], other["loss"], (mlp, transformer), side, MARGIN_NATS)
    words = dict(zip(("statement", "expected"), TEXTS[what], strict=True))
    return ruled(place, (part,), _counts(mlp, transformer), controls, **words)


def streams_compare(mlp: xr.Dataset, transformer: xr.Dataset, place: str) -> Finding:
    """Judges S1b-same on the MLPs and the transformers of one length: every layer and every transition."""
    one, other = _ends(mlp, transformer)
    pair, parts = (transformer, mlp), []
    for layer in mlp["layer"].values.tolist():
        ranks = [xr.apply_ufunc(np.log, x["effective_rank"].sel(READING).sel(layer=layer)) for x in (other, one)]
        parts.append(_difference(f"ln ER_{layer}", ranks[0], ranks[1], pair, "within", MARGIN))
    for transition in mlp["transition"].values.tolist():
        drifts = [x["kernel_drift"].sel(READING).sel(transition=transition) for x in (other, one)]
        parts.append(_difference(f"1 - CKA_{transition}", drifts[0], drifts[1], pair, "within", SAME_DRIFT))
    parts.sort(key=lambda part: -abs(part.found.mean) / part.bound)
    return ruled(place, parts, _counts(*pair), settling(transformer))


def _rates(at_end: xr.Dataset) -> xr.DataArray:
    return decay_rates(relative_perturbation(at_end)).transpose("run", "mode")


def modes_decay(mlp: xr.Dataset, transformer: xr.Dataset, place: str) -> Finding:
    """Judges S1b-damping on the MLPs and the transformers of one length: every mode."""
    one, other = _ends(mlp, transformer)
    rates = [_rates(x) for x in (other, one)]
    modes = mlp["mode"].values.tolist()
    pair = (transformer, mlp)
    parts = [
        _difference(f"rate of mode {k}", rates[0].sel(mode=k), rates[1].sel(mode=k), pair, "above", 0.0) for k in modes
    ]
    parts.sort(key=lambda part: part.found.mean)
    controls = {
        **settling(transformer),
        "order": information(
            average(order_of(rates[0], other)), "tau of the transformer's rates with the modes' places"
        ),
        "order_mlp": information(average(order_of(rates[1], one)), "the same of the MLP"),
    }
    return ruled(place, parts, _counts(*pair), controls)


def rank_jumps(transformer: xr.Dataset, num_symbols: int, place: str) -> Finding:
    """Judges S1b-rank on the transformers of one length; ``num_symbols`` is the dimension V + 1 of the input."""
    live = alive(transformer)
    first = live["effective_rank"].sel(READING).isel(layer=1)
    trained = np.asarray(first.sel(step=live["steps"].astype(int)), np.float64)
    raised = trained - np.asarray(first.isel(step=0), np.float64)
    controls = {
        **settling(transformer),
        "dimension": information(num_symbols, "symbols of the input, V + 1"),
        "raised": information(average(raised), "ER_1 trained less untrained"),
    }
    lost = (dead(transformer),)
    parts = [
        Component(name, (by_unit(values, live),), "above", 0.0, dead=lost)
        for name, values in (("ER_1 - (V + 1)", trained - num_symbols), ("ER_1 trained less untrained", raised))
    ]
    return ruled(place, parts, _counts(transformer), controls)


def decay_spreads(mlp: xr.Dataset, transformer: xr.Dataset, place: str) -> Finding:
    """Judges S1b-decay on the MLPs and the transformers of one length."""
    rates = [_rates(at_end) for at_end in _ends(mlp, transformer)]
    spreads: list[xr.DataArray] = [x.where(np.isfinite(x)).std("mode", ddof=1, skipna=False) for x in rates]
    ranges = [average(np.asarray(dynamic_range(x), np.float64)) for x in rates]
    controls = {
        **settling(transformer),
        "mlp": information(average(spreads[0].values), "spread of the rates, MLP (1/layer)"),
        "transformer": information(average(spreads[1].values), "the same, transformer"),
        "range_mlp": information(ranges[0], "largest / smallest decay length where all decay, MLP (published: 1.3)"),
        "range_transformer": information(ranges[1], "the same, transformer (published: 5.4)"),
    }
    name = "spread(transformer) - spread(MLP)"
    part = _difference(name, spreads[1], spreads[0], (transformer, mlp), "above", 0.0)
    return ruled(place, (part,), _counts(mlp, transformer), controls)


def decay_tends(transformer: xr.Dataset, place: str) -> Finding:
    """Judges S1b-trend on the transformers of one length."""
    (at_end,) = _ends(transformer)
    tau: Float[np.ndarray, " runs"] = order_of(_rates(at_end), at_end)
    part = Component("tau", (by_unit(tau, alive(transformer)),), "above", 0.0, dead=(dead(transformer),))
    exact = information(float(np.mean(tau == 1)) if tau.size else np.nan, "share of the runs in exact order")
    return ruled(place, (part,), _counts(transformer), {**settling(transformer), "exact": exact})


def losses(cells: Cells, config: Any) -> Iterator[Finding]:
    """Yields the findings on S1b-loss beside every MLP, at the shortest and the longest correlation length."""
    transformers = cells["attention"]
    short, *_, long = transformers
    for mlp in (m for m in LOSSES if m in cells):
        for length, what in ((short, "same"), (long, "lower")):
            if length in cells[mlp]:
                place = f"{mlp}, length {length:g}"
                yield losses_compare(cells[mlp][length], transformers[length], what, place)


def _beside_mlps(cells: Cells, judge: Any, at_short: bool) -> Iterator[Finding]:
    short, *_, long = cells["attention"]
    length = short if at_short else long
    for mlp in (m for m in MLPS if length in cells.get(m, {})):
        yield judge(cells[mlp][length], cells["attention"][length], f"{mlp}, length {length:g}")


def streams(cells: Cells, config: Any) -> Iterator[Finding]:
    """Yields the findings on S1b-same beside every MLP, at the shortest correlation length."""
    yield from _beside_mlps(cells, streams_compare, at_short=True)


def dampings(cells: Cells, config: Any) -> Iterator[Finding]:
    """Yields the findings on S1b-damping beside every MLP, at the shortest correlation length."""
    yield from _beside_mlps(cells, modes_decay, at_short=True)


def ranks(cells: Cells, config: Any) -> Iterator[Finding]:
    """Yields the finding on S1b-rank at the longest correlation length."""
    *_, long = cells["attention"]
    yield rank_jumps(cells["attention"][long], config["num_states"] + 1, f"length {long:g}")


def decays(cells: Cells, config: Any) -> Iterator[Finding]:
    """Yields the findings on S1b-decay beside every MLP, at the longest correlation length."""
    yield from _beside_mlps(cells, decay_spreads, at_short=False)


def trends(cells: Cells, config: Any) -> Iterator[Finding]:
    """Yields the finding on S1b-trend at the longest correlation length."""
    *_, long = cells["attention"]
    yield decay_tends(cells["attention"][long], f"length {long:g}")
