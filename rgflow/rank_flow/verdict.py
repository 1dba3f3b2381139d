r"""Claims of HR2026 on the effective rank of a residual stream: statistic, controls, decision rule.

* S1-i   effective rank falls with depth after training. Statistic $\ln R_{trained} - \ln R_{untrained}$ of the same
  run, $R = \mathrm{ER}_L / \mathrm{ER}_0$; supported below 0.
* S1-ii  the collapse is selective: present at short, absent at long correlation length. Statistic
  $S = \overline{\ln R}(short) - \overline{\ln R}(long)$, trained minus untrained; supported below -0.5.
* S1-iii kernel drift is concentrated on one or two transitions. Statistic $C_2 - \max(2/L, C_2^{untrained})$ of the
  same run; supported above 0.

Read at position level, uncentred, with the effective rank. A control that fails leaves a claim undecided, never
supported. Intervals are 95 % expanded percentile bootstraps over runs.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from rgflow.probes.kernel import drift_concentration
from rgflow.probes.stats import Interval, Status, bootstrap_difference, bootstrap_interval, decide, kendall_tau
from rgflow.protocol import Verdict

READING = {"level": "position", "centring": "uncentred"}
CONVERGED_NATS = 0.05
"""Most a run's mean loss may exceed the optimum of its own architecture to count as trained."""

LEARNED_FRACTION = 0.5
"""Least fraction of the attainable information, (H(pi) - loss) / (H(pi) - L*), for a reading as an RG of the data."""

MONOTONE_FRACTION = 0.9
SELECTIVITY_BOUND = -0.5
LONG_RATIO = 0.9

Control = dict[str, Any]


def control(value: float, requirement: str, passed: bool) -> Control:
    """Returns one control as plain data."""
    return {"value": float(value), "requirement": requirement, "passed": bool(passed)}


def information(values: Float[np.ndarray, " runs"], meaning: str) -> Control:
    """Returns a number that belongs beside the verdict and cannot fail: the mean over the runs that have one."""
    live = values[np.isfinite(values)]
    return control(float(live.mean()) if live.size else np.nan, f"{meaning} (for information)", True)


def final(dataset: xr.Dataset) -> xr.Dataset:
    """Returns the dataset at each run's own last step."""
    return dataset.sel(step=dataset["steps"].astype(int))


def collapse_ratio(effective_rank: xr.DataArray) -> xr.DataArray:
    r"""Returns $R = \mathrm{ER}_L / \mathrm{ER}_0$ along the layer dimension (NaN paddings of shallow runs ignored)."""
    depth = effective_rank.notnull().sum("layer") - 1
    last = effective_rank.isel(layer=depth.clip(min=0))
    return last / effective_rank.isel(layer=0)


def concentration(drift: xr.DataArray, top: int) -> xr.DataArray:
    """Returns the share of the ``top`` largest drifts in the total."""
    return xr.apply_ufunc(lambda x: np.asarray(drift_concentration(x, top)), drift, input_core_dims=[["transition"]])


def learned_fraction(at_end: xr.Dataset) -> xr.DataArray:
    """Returns the fraction of the attainable information that each run learned."""
    entropy = at_end["stationary_entropy"]
    return (entropy - at_end["loss"]) / (entropy - at_end["bayes_loss"])


def training_controls(at_end: xr.Dataset) -> dict[str, Control]:
    """Returns the two controls every claim shares: training converged, and something was learned."""
    excess = float((at_end["loss"] - at_end["architecture_loss"]).mean())
    fraction = float(learned_fraction(at_end).mean())
    close = f"loss within {CONVERGED_NATS} nats of the architecture's optimum"
    enough = f"at least {LEARNED_FRACTION} of the attainable"
    return {
        "converged": control(excess, close, abs(excess) < CONVERGED_NATS),
        "information_learned": control(fraction, enough, fraction >= LEARNED_FRACTION),
    }


def _status(interval: Interval, bound: float, side: str, controls: dict[str, Control]) -> Status:
    """Decides a claim; a run that is not trained contradicts nothing either."""
    passed = {name: c["passed"] for name, c in controls.items()}
    if not passed["converged"]:
        return "undecided"
    return decide(interval, bound, side, passed)


def log_ratio(at_step: xr.Dataset) -> Float[np.ndarray, " runs"]:
    """Returns ln R of every run of a dataset at one step, in the reading of the verdicts."""
    return np.log(np.asarray(collapse_ratio(at_step["effective_rank"].sel(READING))))


def _verdict(claim: str, runs: xr.Dataset, statement: str, expected: str, rule: tuple, controls: dict) -> Verdict:
    interval, bound, side = rule
    dead = int((runs["died_at"] >= 0).sum())
    mean, low, high = (None if np.isnan(x) else float(x) for x in interval[:3])
    status = _status(interval, bound, side, controls)
    return Verdict(claim, statement, status, mean, low, high, expected, interval.n, dead, controls)


def rank_falls(runs: xr.Dataset) -> Verdict:
    """Judges S1-i on the runs of one mixing and one correlation length."""
    at_end = final(runs)
    trained, untrained = log_ratio(at_end), log_ratio(runs.isel(step=0))
    ranks = np.asarray(at_end["effective_rank"].sel(READING))
    trends = np.array([kendall_tau(values[np.isfinite(values)]) for values in ranks])
    falling = float(np.mean(trends[np.isfinite(trends)] < 0)) if np.isfinite(trends).any() else np.nan
    requirement = f"Kendall tau below 0 in at least {MONOTONE_FRACTION:.0%} of the runs"
    controls = {
        **training_controls(at_end),
        "monotone": control(falling, requirement, falling >= MONOTONE_FRACTION),
        "ratio": information(np.exp(trained), "R = ER_L / ER_0 of the trained runs"),
        "untrained": information(np.exp(untrained), "R of the untrained runs"),
    }
    return _verdict(
        "S1-i", runs, "Training makes the effective rank of the residual stream fall with depth.",
        "ln R(trained) - ln R(untrained) below 0, falling in at least 90 % of the runs",
        (bootstrap_interval(trained - untrained), 0.0, "below"), controls,
    )  # fmt: skip


def drift_shares(at_step: xr.Dataset) -> dict[int, Float[np.ndarray, " runs"]]:
    """Returns C_1 and C_2 of every run of a dataset at one step, and under 0 the share 1/L of one transition."""
    drift = at_step["kernel_drift"].sel(READING)
    if drift.notnull().any():  # shallower stacks are padded with NaN; where every run is dead there is nothing else
        drift = drift.dropna("transition", how="all")
    uniform = np.full(drift.sizes["run"], 1 / drift.sizes["transition"])
    return {0: uniform, **{top: np.asarray(concentration(drift, top)) for top in (1, 2)}}


def drift_concentrates(runs: xr.Dataset) -> Verdict:
    """Judges S1-iii on the runs of one mixing and one correlation length."""
    trained, untrained = drift_shares(final(runs)), drift_shares(runs.isel(step=0))
    above = {top: trained[top] - np.maximum(top * trained[0], untrained[top]) for top in (1, 2)}
    first = bootstrap_interval(above[1])
    controls = {
        **training_controls(final(runs)),
        "largest_transition": control(first.mean, "C_1 above 1/L and above the untrained C_1 as well", first.low > 0),
        "share": information(trained[2], "C_2 of the trained runs"),
        "untrained": information(untrained[2], "C_2 of the untrained runs"),
    }
    return _verdict(
        "S1-iii", runs, "Kernel drift of the trained stream is concentrated on one or two transitions.",
        "C_2 - max(2/L, untrained C_2) above 0", (bootstrap_interval(above[2]), 0.0, "above"), controls,
    )  # fmt: skip


def collapse_is_selective(short: xr.Dataset, long: xr.Dataset) -> Verdict:
    """Judges S1-ii on the runs of one mixing at the shortest and the longest correlation length."""
    both = xr.concat([short, long], "run")
    trained = [log_ratio(final(runs)) for runs in (short, long)]
    change = [x - log_ratio(runs.isel(step=0)) for x, runs in zip(trained, (short, long), strict=True)]
    at_long = bootstrap_interval(np.exp(trained[1]))
    alone = bootstrap_difference(trained[0], trained[1])
    controls = {
        **training_controls(final(both)),
        "no_collapse_at_long": control(at_long.mean, f"R(long) above {LONG_RATIO}", at_long.low > LONG_RATIO),
        "trained_alone": information(np.array([alone.mean]), "S without subtracting the untrained one"),
    }
    return _verdict(
        "S1-ii", both, "The collapse is selective: present at short, absent at long correlation length.",
        f"S(trained) - S(untrained) below {SELECTIVITY_BOUND} and R(long) above {LONG_RATIO}",
        (bootstrap_difference(change[0], change[1]), SELECTIVITY_BOUND, "below"), controls,
    )  # fmt: skip


def _named(verdict: Verdict, where: str) -> Verdict:
    return dataclasses.replace(verdict, claim=f"{verdict.claim} [{where}]")


def not_run(claim: str, statement: str, why: str) -> Verdict:
    """Returns the verdict on a claim whose runs the sweep lacks."""
    return Verdict(claim, statement, "not_run", None, None, None, why, 0, 0, {})


def verdict(dataset: xr.Dataset, config: Any) -> list[Verdict]:
    """Judges S1-i and S1-iii for each mixing and correlation length, and S1-ii for each mixing."""
    del config
    verdicts: list[Verdict] = []
    for mixing in dict.fromkeys(dataset["mixing"].values.tolist()):
        runs = dataset.isel(run=dataset["mixing"].values == mixing)
        lengths = sorted(set(runs["correlation_length"].values.tolist()))
        at = {length: runs.isel(run=runs["correlation_length"].values == length) for length in lengths}
        per_length: list[Callable[[xr.Dataset], Verdict]] = [rank_falls, drift_concentrates]
        for judge in per_length:
            verdicts += [_named(judge(at[x]), f"{mixing}, length {x:g}") for x in lengths]
        if len(lengths) > 1:
            verdicts.append(_named(collapse_is_selective(at[lengths[0]], at[lengths[-1]]), mixing))
        else:
            verdicts.append(not_run(f"S1-ii [{mixing}]", "The collapse is selective.", "needs two correlation lengths"))
    return sorted(verdicts, key=lambda v: v.claim.split(" ")[0])
