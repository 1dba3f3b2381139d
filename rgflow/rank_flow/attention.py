r"""Claims of HR2026b on a transformer beside the same stack without attention: loss, rank, decay of perturbations.

* S1b-loss   the transformer has the MLP's loss at short correlation length and a lower one at long. Statistic: loss of
  the MLP less that of the transformer (nats); at the shortest length supported within 0.05 of 0, at the longest above.
* S1b-rank   at long correlation length its effective rank jumps above the dimension of the input at the first layer.
  Statistic: $\mathrm{ER}_1 - (V + 1)$, supported above 0 if training raised $\mathrm{ER}_1$ as well.
* S1b-decay  at long correlation length the decay of perturbations spreads further over the modes than in the MLP
  (published as lengths: a factor of 5.4 against 1.3). Statistic: standard deviation over the modes of the decay rate
  relative to the stream, transformer less MLP (1/layer), above 0. A mode that grows has a rate but no decay length: the
  ratio of the longest to the shortest length is given as a companion, where every mode decays.

The source does not say what its MLP sees, so each claim is judged against every MLP that was run. Nor is the optimum of
a network that sees tokens without their order known: a transformer counts as trained once its loss has stopped falling.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from rgflow.judging.claim import Finding
from rgflow.judging.decisions import Control, control, decide, equivalent, information
from rgflow.judging.intervals import t_difference, t_interval
from rgflow.judging.points import average
from rgflow.rank_flow.collapse import READING
from rgflow.rank_flow.decay import decay_rates, dynamic_range, relative_perturbation
from rgflow.rank_flow.learning import CONVERGED_NATS, final
from rgflow.rank_flow.select import Cells

MARGIN_NATS = CONVERGED_NATS
"""Losses within this of each other are the same."""

MLPS = ("tokenwise", "window", "mixer")
TEXTS = {
    "same": ("A transformer reaches the same loss as the MLP at short correlation length.",
             f"loss(MLP) - loss(transformer) within {MARGIN_NATS} nats of 0"),
    "lower": ("A transformer beats the loss of the MLP at long correlation length.",
              f"loss(MLP) - loss(transformer) above {MARGIN_NATS} nats"),
    "rank": ("At long correlation length its effective rank jumps above the input's dimension at layer 1.",
             "ER_1 - (V + 1) above 0"),
    "decay": ("At long correlation length its perturbations decay at rates that spread further than the MLP's.",
              "spread of the decay rates over the modes, transformer less MLP, above 0 (1/layer)"),
}  # fmt: skip


def settled(runs: xr.Dataset) -> Control:
    """Returns the control that the loss has stopped falling between the last two records."""
    losses = np.asarray(runs["loss"].dropna("step", how="all").transpose("run", "step"), np.float64)
    gain = average(losses[:, -2] - losses[:, -1]) if losses.shape[1] > 1 else np.nan
    requirement = f"loss fell by less than {MARGIN_NATS} nats since the record before the last"
    return control(gain, requirement, gain < MARGIN_NATS)


def _counts(*groups: xr.Dataset) -> tuple[int, int]:
    dead = [int((runs["died_at"] >= 0).sum()) for runs in groups]
    return min(runs.sizes["run"] - lost for runs, lost in zip(groups, dead, strict=True)), sum(dead)


def losses_compare(mlp: xr.Dataset, transformer: xr.Dataset, what: str, place: str) -> Finding:
    """Judges S1b-loss at one length; ``what`` is the text of the claim there, "same" or "lower"."""
    found = [np.asarray(final(runs)["loss"], np.float64) for runs in (mlp, transformer)]
    interval = t_difference(found[0], found[1])
    controls = {
        "settled": settled(transformer),
        "mlp": information(average(found[0]), "loss of the MLP (nats)"),
        "transformer": information(average(found[1]), "loss of the transformer (nats)"),
        "bayes": information(float(transformer["bayes_loss"].mean()), "loss of the exact predictor of the sequence"),
    }
    passed = {name: c["passed"] for name, c in controls.items()}
    same = what == "same"
    status = equivalent(interval, MARGIN_NATS, controls) if same else decide(interval, MARGIN_NATS, "above", passed)
    return Finding(place, interval, status, _counts(mlp, transformer), controls, *TEXTS[what])


def rank_jumps(transformer: xr.Dataset, num_symbols: int, place: str) -> Finding:
    """Judges S1b-rank on the transformers of one length; ``num_symbols`` is the dimension V + 1 of the input."""
    first = transformer["effective_rank"].sel(READING).isel(layer=1)
    trained = np.asarray(first.sel(step=transformer["steps"].astype(int)), np.float64)
    interval = t_interval(trained - num_symbols)
    by_training = t_interval(trained - np.asarray(first.isel(step=0), np.float64))
    controls = {
        "settled": settled(transformer),
        "dimension": information(num_symbols, "symbols of the input, V + 1"),
        "raised": control(by_training.mean, "ER_1 trained less untrained above 0", by_training.low > 0),
    }
    status = decide(interval, 0.0, "above", {name: c["passed"] for name, c in controls.items()})
    return Finding(place, interval, status, _counts(transformer), controls)


def decay_spreads(mlp: xr.Dataset, transformer: xr.Dataset, place: str) -> Finding:
    """Judges S1b-decay on the MLPs and the transformers of one length."""
    live = [final(runs.isel(run=runs["died_at"].values < 0)) for runs in (mlp, transformer)]
    rates = [decay_rates(relative_perturbation(at_end)) for at_end in live]
    spreads = [np.asarray(x.where(np.isfinite(x)).std("mode", ddof=1, skipna=False), np.float64) for x in rates]
    ranges = [average(np.asarray(dynamic_range(x), np.float64)) for x in rates]
    interval = t_difference(spreads[1], spreads[0])
    controls = {
        "settled": settled(transformer),
        "mlp": information(average(spreads[0]), "spread of the rates, MLP (1/layer)"),
        "transformer": information(average(spreads[1]), "the same, transformer"),
        "range_mlp": information(ranges[0], "largest / smallest decay length where all decay, MLP (published: 1.3)"),
        "range_transformer": information(ranges[1], "the same, transformer (published: 5.4)"),
    }
    status = decide(interval, 0.0, "above", {name: c["passed"] for name, c in controls.items()})
    return Finding(place, interval, status, _counts(mlp, transformer), controls)


def losses(cells: Cells, config: Any) -> Iterator[Finding]:
    """Yields the findings on S1b-loss beside every MLP, at the shortest and the longest correlation length."""
    transformers = cells["attention"]
    short, *_, long = transformers
    for mlp in (m for m in MLPS if m in cells):
        for length, what in ((short, "same"), (long, "lower")):
            if length in cells[mlp]:
                place = f"{mlp}, length {length:g}"
                yield losses_compare(cells[mlp][length], transformers[length], what, place)


def ranks(cells: Cells, config: Any) -> Iterator[Finding]:
    """Yields the finding on S1b-rank at the longest correlation length."""
    *_, long = cells["attention"]
    yield rank_jumps(cells["attention"][long], config["num_states"] + 1, f"length {long:g}")


def decays(cells: Cells, config: Any) -> Iterator[Finding]:
    """Yields the findings on S1b-decay beside every MLP, at the longest correlation length."""
    *_, long = cells["attention"]
    for mlp in (m for m in MLPS if long in cells.get(m, {})):
        yield decay_spreads(cells[mlp][long], cells["attention"][long], f"{mlp}, length {long:g}")
