r"""Fall of the rank with depth (S1-i), its selectivity in correlation length (S1-ii), data without order (S1-data).

* S1-i: $\ln R_{trained} - \ln R_{untrained}$ of the same run, $R = \mathrm{ER}_L / \mathrm{ER}_0$, lies below 0 where R
  itself is below 1.
* S1-ii: $S = \overline{\ln R}(short) - \overline{\ln R}(long)$, trained minus untrained, lies below -0.5 where R(long)
  lies above 0.9; either half contradicts it. Runs that learned nothing, or are not trained, say nothing about
  selectivity and are left out.
* S1-data (ours): $\Delta - \Delta_{control}$ lies below 0, where
  $\Delta = \overline{\ln R_{trained}} - \overline{\ln R_{untrained}}$. A network that coarse-grains its data has
  something to integrate out only where the data have scales. A rank that falls as far without them has another cause.
"""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from jaxtyping import Float

from rgflow.judging.claim import Finding
from rgflow.judging.decisions import control, information
from rgflow.judging.intervals import kendall_tau, strictly_decreasing, t_difference, t_interval
from rgflow.judging.points import average
from rgflow.rank_flow.learning import LEARNED_FRACTION, excess, final, finding, gate, training_controls
from rgflow.rank_flow.mixing import names_where

READING = {"level": "position", "centring": "uncentred"}
Reading = Mapping[str, str]
MONOTONE_FRACTION = 0.9
SELECTIVITY_BOUND = -0.5
LONG_RATIO = 0.9
ORDERLESS = ("random_labels", "time_shuffled", "iid")
"""Controls whose data have no order that a network could learn."""


def collapse_ratio(effective_rank: xr.DataArray) -> xr.DataArray:
    r"""Returns $R = \mathrm{ER}_L / \mathrm{ER}_0$ along the layer dimension.

    Each run is read at the layer that its coordinate ``depth`` names, if it has one. Where the rank is undefined there,
    so is R: a missing rank does not mean that the stack ends earlier.
    """
    depth = effective_rank.coords.get("depth")
    last = effective_rank.isel(layer=-1 if depth is None else depth.astype(int))
    return last / effective_rank.isel(layer=0)


def reading_of(runs: xr.Dataset) -> Reading:
    """Returns the main reading of some runs of one mixing: position level, or pooled without a stream per position."""
    pooled = runs["mixing"].isin(names_where(lambda m: not m.per_position)).all()
    return {**READING, "level": "pooled"} if pooled else READING


def log_ratio(
    at_step: xr.Dataset, reading: Reading, measure: str = "effective_rank"
) -> Float[np.ndarray, "runs *readings"]:
    """Returns ln R of every run of a dataset at one step, in one reading (or, for an empty one, in all of them)."""
    return np.log(np.asarray(collapse_ratio(at_step[measure].sel(reading))))


def falling_share(ranks: Float[np.ndarray, "runs layers"]) -> float:
    """Returns the share of runs whose rank falls with depth by Kendall's tau; NaN where no run has a trend."""
    trends = np.array([kendall_tau(values[np.isfinite(values)]) for values in ranks])
    trends = trends[np.isfinite(trends)]
    return float(np.mean(trends < 0)) if trends.size else np.nan


def rank_falls(runs: xr.Dataset, *places: str) -> Finding:
    """Judges S1-i on the runs of one mixing and one correlation length."""
    at_end, reading = final(runs), reading_of(runs)
    trained, untrained = log_ratio(at_end, reading), log_ratio(runs.isel(step=0), reading)
    ranks = np.asarray(at_end["effective_rank"].sel(reading))
    falling = falling_share(ranks)
    requirement = f"Kendall tau below 0 in at least {MONOTONE_FRACTION:.0%} of the runs"
    ratio = average(np.exp(trained))
    strictly = [strictly_decreasing(values[np.isfinite(values)]) for values in ranks if np.isfinite(values).any()]
    controls = {
        **training_controls(at_end),
        "monotone": control(falling, requirement, falling >= MONOTONE_FRACTION),
        "ratio": control(ratio, "R = ER_L / ER_0 of the trained runs below 1", ratio < 1),
        "every_layer": information(average(np.array(strictly, float)), "share of runs whose rank falls at every layer"),
        "untrained": information(average(np.exp(untrained)), "R of the untrained runs"),
    }
    return finding(places, runs, (t_interval(trained - untrained), 0.0, "below"), controls)


def ratio_change(
    runs: xr.Dataset, reading: Reading, measure: str = "effective_rank"
) -> Float[np.ndarray, "runs *readings"]:
    """Returns ln R(trained) - ln R(untrained) of every run, in one reading or, for an empty one, in all of them."""
    return log_ratio(final(runs), reading, measure) - log_ratio(runs.isel(step=0), reading, measure)


def collapse_is_selective(short: xr.Dataset, long: xr.Dataset, *places: str) -> Finding:
    """Judges S1-ii on the runs of one mixing at the shortest and the longest correlation length.

    Runs that fail :func:`rgflow.rank_flow.learning.gate` are left out, and a control counts them.
    """
    pair = [runs.isel(run=gate(final(runs))) for runs in (short, long)]
    reading = reading_of(short)
    trained = [log_ratio(final(runs), reading) for runs in pair]
    at_long = t_interval(np.exp(trained[1]))
    alone = t_difference(trained[0], trained[1])
    everyone = t_difference(ratio_change(short, reading), ratio_change(long, reading))
    both = xr.concat([short, long], "run")
    live = int((both["died_at"] < 0).sum())
    left_out = live - sum(runs.sizes["run"] for runs in pair)
    nobody = min(runs.sizes["run"] for runs in pair) == 0
    trained_enough = f"runs left out, untrained or below {LEARNED_FRACTION} of the attainable; some must stay"
    controls = {
        "left_out": control(left_out, trained_enough, not nobody),
        "converged": information(float(excess(final(both)).mean()), "judged run by run"),
        "no_collapse_at_long": control(at_long.mean, f"R(long) above {LONG_RATIO}", at_long.low > LONG_RATIO),
        "trained_alone": information(alone.mean, "S without subtracting the untrained one"),
        "without_gate": information(everyone.mean, "S of all runs, those left out included"),
    }
    interval = t_difference(ratio_change(pair[0], reading), ratio_change(pair[1], reading))
    found = finding(places, both, (interval, SELECTIVITY_BOUND, "below"), controls)
    # Either half falsifies a claim that says both.
    return found._replace(status="contradicted") if at_long.high < LONG_RATIO else found


def owed_to_order(runs: xr.Dataset, without: xr.Dataset, name: str, *places: str) -> Finding:
    """Judges S1-data on the runs of one mixing and length beside those under one control."""
    reading = reading_of(runs)
    change, change_without = (ratio_change(x, reading) for x in (runs, without))
    trained = training_controls(final(without))["converged"]
    controls = {
        **training_controls(final(runs)),
        "control_trained": {**trained, "requirement": f"under the control: {trained['requirement']}"},
        "change": information(average(change), "ln R(trained) - ln R(untrained) on the chain"),
        name: information(average(change_without), "the same under the control"),
    }
    rule = (t_difference(change, change_without), 0.0, "below")
    return finding((*places, name), xr.concat([runs, without], "run"), rule, controls)
