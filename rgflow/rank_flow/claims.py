r"""Claims of HR2026 on the effective rank of a residual stream: statistic, controls, decision rule.

* S1-i   effective rank falls with depth after training. Statistic $\ln R_{trained} - \ln R_{untrained}$ of the same
  run, $R = \mathrm{ER}_L / \mathrm{ER}_0$; supported below 0 where R itself is below 1.
* S1-ii  the collapse is selective: present at short, absent at long correlation length. Statistic
  $S = \overline{\ln R}(short) - \overline{\ln R}(long)$, trained minus untrained; supported below -0.5 where R(long)
  lies above 0.9, contradicted by either half.
* S1-iii training concentrates kernel drift on one or two transitions. Statistic $C_2 - \max(2/L, C_2^{untrained})$ of
  the same run; supported above 0. As $C_m \ge m/L$ for any drifts, it is the untrained share that binds.

The main reading is position level, uncentred, with the effective rank (for a flat network, which has no stream per
position, pooled); :mod:`rgflow.rank_flow.robustness` judges every other one, and the verdict on a claim is all of them.
A control that fails leaves a claim undecided, never supported. Runs that learned nothing, or are not trained, say
nothing about selectivity and are left out of S1-ii. Intervals are Student's (Welch's for differences), 95 %, over runs:
unlike percentile intervals they hold for few runs too. No verdict in the main reading is adjusted for the others; those
over all readings, and over all settings, are.
"""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float

from rgflow.judging.claim import make_verdict, not_run
from rgflow.judging.decisions import Control, Status, control, decide, information
from rgflow.judging.intervals import Interval, kendall_tau, strictly_decreasing, t_difference, t_interval
from rgflow.judging.points import average
from rgflow.probes.kernel import drift_concentration
from rgflow.protocol import Verdict
from rgflow.rank_flow.select import Cells

READING = {"level": "position", "centring": "uncentred"}
Reading = Mapping[str, str]
CONVERGED_NATS = 0.05
"""Most a loss may exceed the optimum of its own architecture to count as trained, where that optimum is known."""

LEARNED_FRACTION = 0.5
"""Least fraction of the attainable information, (L_0 - loss) / (L_0 - L*), for a reading as an RG of the data."""

ATTAINABLE_NATS = 1e-3
"""Where less can be learned, because tokens are independent or labels random, no fraction of it is meaningful."""

MONOTONE_FRACTION = 0.9
SELECTIVITY_BOUND = -0.5
LONG_RATIO = 0.9


def final(dataset: xr.Dataset) -> xr.Dataset:
    """Returns the dataset at each run's own last step."""
    return dataset.sel(step=dataset["steps"].astype(int))


def collapse_ratio(effective_rank: xr.DataArray) -> xr.DataArray:
    r"""Returns $R = \mathrm{ER}_L / \mathrm{ER}_0$ along the layer dimension.

    Each run is read at the layer that its coordinate ``depth`` names, if it has one: a rank that is undefined there
    makes R undefined, and is no stack that ends earlier.
    """
    depth = effective_rank.coords.get("depth")
    last = effective_rank.isel(layer=-1 if depth is None else depth.astype(int))
    return last / effective_rank.isel(layer=0)


def concentration(drift: xr.DataArray, top: int) -> xr.DataArray:
    """Returns the share of the ``top`` largest drifts in the total."""
    return xr.apply_ufunc(lambda x: np.asarray(drift_concentration(x, top)), drift, input_core_dims=[["transition"]])


def best_loss(at_end: xr.Dataset) -> xr.DataArray:
    """Returns the least loss with the whole sequence in sight: in closed form, else that of the exact posterior."""
    known = at_end["bayes_loss"]
    return known.where(known.notnull(), at_end["loss"] - at_end["excess_loss"])


def learned_fraction(at_end: xr.Dataset) -> xr.DataArray:
    """Returns the fraction of the attainable information that each run learned; NaN where there is nothing to learn.

    Information counts from the optimum of one who sees no other position.
    """
    blind = at_end["blind_loss"]
    attainable = blind - best_loss(at_end)
    return ((blind - at_end["loss"]) / attainable).where(attainable > ATTAINABLE_NATS)


def excess(at_end: xr.Dataset) -> xr.DataArray:
    """Returns each run's loss above the optimum of its architecture (nats), NaN where that is not known.

    Where it has no closed form (mode ``bert``) the optimum of the whole sequence stands in, which is no larger; but not
    for attention, which sees a bag of tokens and is far from it.
    """
    known = at_end["loss"] - at_end["architecture_loss"]
    return known.where(known.notnull() | (at_end["mixing"] == "attention"), at_end["excess_loss"])


def gate(at_end: xr.Dataset) -> Bool[np.ndarray, " runs"]:
    """Tells which runs are trained and learned something; the others cannot speak about selectivity."""
    untrained = abs(excess(at_end)) >= CONVERGED_NATS
    return np.asarray((learned_fraction(at_end) >= LEARNED_FRACTION) & ~untrained)


def training_controls(at_end: xr.Dataset) -> dict[str, Control]:
    """Returns the two controls every claim shares: training converged, and something was learned."""
    above, fraction = finite(excess(at_end)), finite(learned_fraction(at_end))
    close = (
        f"mean loss within {CONVERGED_NATS} nats of the architecture's optimum, every run within {2 * CONVERGED_NATS}"
    )
    enough = f"at least {LEARNED_FRACTION} of the attainable in the mean, half of that in every run"
    known = above.size and above.size == np.isfinite(at_end["loss"].values).sum()
    near = abs(average(above)) < CONVERGED_NATS and abs(above).max(initial=0) < 2 * CONVERGED_NATS
    learned = average(fraction) >= LEARNED_FRACTION and fraction.min(initial=1) >= LEARNED_FRACTION / 2
    return {
        "converged": control(average(above), close if known else f"{close} (not known)", near or not known),
        "information_learned": control(average(fraction), enough, learned),
    }


def finite(values: xr.DataArray) -> Float[np.ndarray, " _"]:
    """Returns the values that are numbers."""
    return values.values[np.isfinite(values.values)]


def _status(interval: Interval, bound: float, side: str, controls: dict[str, Control]) -> Status:
    """Decides a claim; a run that is not trained contradicts nothing either."""
    passed = {name: c["passed"] for name, c in controls.items()}
    if not passed["converged"]:
        return "undecided"
    return decide(interval, bound, side, passed)


def reading_of(runs: xr.Dataset) -> Reading:
    """Returns the main reading of some runs of one mixing: position level, but pooled for a flat network."""
    return {**READING, "level": "pooled"} if (runs["mixing"] == "flat").all() else READING


def log_ratio(
    at_step: xr.Dataset, reading: Reading, measure: str = "effective_rank"
) -> Float[np.ndarray, "runs *readings"]:
    """Returns ln R of every run of a dataset at one step, in one reading (or, for an empty one, in all of them)."""
    return np.log(np.asarray(collapse_ratio(at_step[measure].sel(reading))))


def judged(claim: str, runs: xr.Dataset, statement: str, expected: str, rule: tuple, controls: dict) -> Verdict:
    """Returns the verdict of an interval against a bound on one side: ``rule`` is (interval, bound, side)."""
    interval, bound, side = rule
    dead = int((runs["died_at"] >= 0).sum())
    status = _status(interval, bound, side, controls)
    return make_verdict(claim, (statement, expected), interval, status, (interval.n, dead), controls)


def falling_share(ranks: Float[np.ndarray, "runs layers"]) -> float:
    """Returns the share of runs whose rank falls with depth by Kendall's tau; NaN where no run has a trend."""
    trends = np.array([kendall_tau(values[np.isfinite(values)]) for values in ranks])
    trends = trends[np.isfinite(trends)]
    return float(np.mean(trends < 0)) if trends.size else np.nan


def rank_falls(runs: xr.Dataset) -> Verdict:
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
    return judged(
        "S1-i", runs, "Training makes the effective rank of the residual stream fall with depth.",
        "ln R(trained) - ln R(untrained) below 0, R below 1, falling in at least 90 % of the runs",
        (t_interval(trained - untrained), 0.0, "below"), controls,
    )  # fmt: skip


def drift_shares(
    at_step: xr.Dataset, reading: Reading, measure: str = "kernel_drift"
) -> dict[int, Float[np.ndarray, "runs *readings"]]:
    """Returns C_1 and C_2 of every run of a dataset at one step, and under 0 the share 1/L of one transition.

    In one reading or, for an empty one, in all of them.
    """
    drift = at_step[measure].sel(reading)
    if drift.notnull().any():  # shallower stacks are padded with NaN; where every run is dead there is nothing else
        drift = drift.dropna("transition", how="all")
    shape = [size for name, size in drift.sizes.items() if name != "transition"]
    return {
        0: np.full(shape, 1 / drift.sizes["transition"]),
        **{top: np.asarray(concentration(drift, top)) for top in (1, 2)},
    }


def share_above(
    runs: xr.Dataset, reading: Reading, top: int, measure: str = "kernel_drift"
) -> Float[np.ndarray, "runs *readings"]:
    """Returns by how much C_top of every trained run exceeds both top/L and its untrained value."""
    trained, untrained = (drift_shares(x, reading, measure) for x in (final(runs), runs.isel(step=0)))
    return trained[top] - np.maximum(top * trained[0], untrained[top])


def drift_concentrates(runs: xr.Dataset) -> Verdict:
    """Judges S1-iii on the runs of one mixing and one correlation length."""
    reading = reading_of(runs)
    trained, untrained = drift_shares(final(runs), reading), drift_shares(runs.isel(step=0), reading)
    above = {top: share_above(runs, reading, top) for top in (1, 2)}
    first = t_interval(above[1])
    controls = {
        **training_controls(final(runs)),
        "largest_transition": control(first.mean, "C_1 above 1/L and above the untrained C_1 as well", first.low > 0),
        "share": information(average(trained[2]), "C_2 of the trained runs"),
        "untrained": information(average(untrained[2]), "C_2 of the untrained runs"),
    }
    return judged(
        "S1-iii", runs, "Training concentrates the kernel drift of the stream on one or two transitions.",
        "C_2 - max(2/L, untrained C_2) above 0", (t_interval(above[2]), 0.0, "above"), controls,
    )  # fmt: skip


def ratio_change(
    runs: xr.Dataset, reading: Reading, measure: str = "effective_rank"
) -> Float[np.ndarray, "runs *readings"]:
    """Returns ln R(trained) - ln R(untrained) of every run, in one reading or, for an empty one, in all of them."""
    return log_ratio(final(runs), reading, measure) - log_ratio(runs.isel(step=0), reading, measure)


def collapse_is_selective(short: xr.Dataset, long: xr.Dataset) -> Verdict:
    """Judges S1-ii on the runs of one mixing at the shortest and the longest correlation length.

    Runs that fail :func:`gate` are left out, and how many is said.
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
    verdict = judged(
        "S1-ii", both, "The collapse is selective: present at short, absent at long correlation length.",
        f"S(trained) - S(untrained) below {SELECTIVITY_BOUND} and R(long) above {LONG_RATIO}",
        (interval, SELECTIVITY_BOUND, "below"), controls,
    )  # fmt: skip
    # Either half falsifies a claim that says both.
    return dataclasses.replace(verdict, status="contradicted") if at_long.high < LONG_RATIO else verdict


def named(verdict: Verdict, *places: str) -> Verdict:
    """Returns a verdict whose claim says where it was judged, as ``S1-i [window, length 7]``; empty places left out."""
    return dataclasses.replace(verdict, claim=f"{verdict.claim} [{', '.join(place for place in places if place)}]")


def in_cells(cells: Cells, setting: str = "") -> list[Verdict]:
    """Judges S1-i and S1-iii for each mixing and length and S1-ii for each mixing; ``setting`` names what departs."""
    found: list[Verdict] = []
    per_length: list[Callable[[xr.Dataset], Verdict]] = [rank_falls, drift_concentrates]
    for mixing, at in cells.items():
        lengths = list(at)
        for judge in per_length:
            found += [named(judge(at[x]), mixing, f"length {x:g}", setting) for x in lengths]
        if len(lengths) > 1:
            found.append(named(collapse_is_selective(at[lengths[0]], at[lengths[-1]]), mixing, setting))
        else:
            lacking = not_run("S1-ii", "The collapse is selective.", "needs two correlation lengths")
            found.append(named(lacking, mixing, setting))
    return found
