"""S1-i, S1-ii and S1-iii in every reading, and at every setting that the source leaves open, with one error rate each.

The source does not say which rows to take, whether to centre them or which rank to measure. All combinations of level,
centring and measure are judged by the rule of the main reading, as a t-test against the bound of the claim; within one
claim the two-sided p-values are adjusted by Holm's method over all readings, so that the chance of any wrong decision
among them stays below 5 % however the readings depend on each other. The verdict on the claim is the whole table. In
the main reading the same is done over settings, one of which at a time departs from the config.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from rgflow.judging.claim import Finding
from rgflow.judging.intervals import Interval
from rgflow.judging.points import average
from rgflow.judging.readings import UNDEFINED, Test, bounds, decided, one_sample, overall, p_value, tally
from rgflow.probes.spectrum import RANK_MEASURES
from rgflow.rank_flow.collapse import (
    LONG_RATIO,
    MONOTONE_FRACTION,
    READING,
    SELECTIVITY_BOUND,
    falling_share,
    log_ratio,
)
from rgflow.rank_flow.drift import drift_shares, share_above
from rgflow.rank_flow.learning import final, gate, training_controls
from rgflow.rank_flow.mixing import MIXINGS
from rgflow.rank_flow.select import Cells, by_mixing_and_length, claim_runs, setting_runs

DRIFT_MEASURES = ("kernel_drift", "frobenius_drift")
MAIN_MEASURES = ("effective_rank", "kernel_drift")
COUNTED = ("supported", "contradicted", "undecided", "undefined")
OWN = "as configured"
"""The setting that departs from the config in nothing."""


@dataclasses.dataclass(frozen=True)
class Reading:
    """One claim in one reading: mean of the statistic, its 95 % t-interval, p-values, and what they decide.

    ``p_value`` is two-sided against the bound of the claim, ``adjusted`` the same after Holm's method over the readings
    of the claim. ``correlation_length`` is NaN for S1-ii, which compares two of them.
    """

    claim: str
    mixing: str
    correlation_length: float
    level: str
    centring: str
    measure: str
    mean: float
    low: float
    high: float
    runs: int
    p_value: float
    adjusted: float
    status: str


def selective(changes: tuple[np.ndarray, np.ndarray], ratio_at_long: Float[np.ndarray, " runs"]) -> Test:
    """Returns the test of S1-ii in one reading, on the runs that learned something at the short and the long length.

    Support needs both of its parts (the larger p-value counts), a contradiction one of them (twice the smaller one).
    """
    pair = [x[np.isfinite(x)] for x in changes]
    smallest = min(x.size for x in pair)
    if smallest < 2:
        return UNDEFINED
    below = p_value(pair, SELECTIVITY_BOUND, "less")
    above = p_value([ratio_at_long[np.isfinite(ratio_at_long)]], LONG_RATIO, "greater")
    against = min(1.0, 2 * float(np.minimum(1 - below, 1 - above)))
    mean = float(pair[0].mean() - pair[1].mean())
    # Not max(): it would pass over an undefined second part.
    both = float(np.maximum(below, above))
    return Test(mean, *bounds(pair), smallest, both, against, True, True)


Named = tuple[tuple[str, str, float, str, str, str], Test]


def _each_reading(runs: xr.Dataset) -> Iterator[tuple[tuple[str, str], tuple[slice, int, int]]]:
    """Yields (level, centring) and where an array [runs, level, centring] holds it."""
    for i, level in enumerate(runs["level"].values.tolist()):
        for j, centring in enumerate(runs["centring"].values.tolist()):
            yield (level, centring), (slice(None), i, j)


def _tests_of_one(mixing: str, length: float, runs: xr.Dataset) -> Iterator[Named]:
    """Yields the tests of S1-i and S1-iii at one correlation length."""
    trained, untrained = final(runs), runs.isel(step=0)
    controls = training_controls(trained)
    for measure in RANK_MEASURES:
        ln_ratio, ranks = log_ratio(trained, {}, measure), trained[measure].values
        changes, ratios = ln_ratio - log_ratio(untrained, {}, measure), np.exp(ln_ratio)
        for where, index in _each_reading(runs):
            falls = falling_share(ranks[index]) >= MONOTONE_FRACTION and average(ratios[index]) < 1
            test = one_sample(changes[index], 0.0, "below", controls, falls)
            yield ("S1-i", mixing, length, *where, measure), test
    for measure in DRIFT_MEASURES:
        shares, before = (drift_shares(x, {}, measure) for x in (trained, untrained))
        above, largest = (share_above(shares, before, top) for top in (2, 1))
        for where, index in _each_reading(runs):
            alone = one_sample(largest[index], 0.0, "above", controls, True)
            test = one_sample(above[index], 0.0, "above", controls, alone.low > 0)
            yield ("S1-iii", mixing, length, *where, measure), test


def _tests_of_pair(mixing: str, short: xr.Dataset, long: xr.Dataset) -> Iterator[Named]:
    """Yields the tests of S1-ii, which compares two correlation lengths."""
    pair = [runs.isel(run=gate(final(runs))) for runs in (short, long)]
    trained, untrained = [final(runs) for runs in pair], [runs.isel(step=0) for runs in pair]
    for measure in RANK_MEASURES:
        ln_ratios = [log_ratio(runs, {}, measure) for runs in trained]
        changes = [x - log_ratio(runs, {}, measure) for x, runs in zip(ln_ratios, untrained, strict=True)]
        ratio = np.exp(ln_ratios[1])
        for where, index in _each_reading(short):
            test = selective((changes[0][index], changes[1][index]), ratio[index])
            yield ("S1-ii", mixing, np.nan, *where, measure), test


def tests(cells: Cells) -> Iterator[Named]:
    """Yields the name (claim, mixing, length, level, centring, measure) and the test of every reading."""
    for mixing, at in cells.items():
        for length, runs in at.items():
            yield from _tests_of_one(mixing, length, runs)
        if len(at) > 1:
            short, *_, long = at.values()
            yield from _tests_of_pair(mixing, short, long)


def judged(found: Iterable[Named]) -> list[Reading]:
    """Returns the readings that some tests make, decided at one error rate per claim.

    A reading without a statistic (a constant stream, no run that learned anything) is ``undefined`` and does not count
    in the adjustment.
    """
    by_claim: dict[str, list[Named]] = {}
    for names, test in found:
        by_claim.setdefault(names[0], []).append((names, test))
    return [
        Reading(*names, *test[:4], *decision)
        for mine in by_claim.values()
        for (names, test), decision in zip(mine, decided([test for _, test in mine]), strict=True)
    ]


def readings(cells: Cells) -> list[Reading]:
    """Returns every reading of every claim on the claims' runs by mixing and correlation length."""
    return judged(tests(cells))


def cells_by_setting(dataset: xr.Dataset, config: Any) -> dict[str, Cells]:
    """Returns the runs of every setting by mixing and correlation length; nothing where no setting was varied.

    The config's own come first, for the mixings that were run at other settings.
    """
    departing = {name: by_mixing_and_length(runs) for name, runs in setting_runs(dataset, config).items()}
    mixings = {mixing for cells in departing.values() for mixing in cells}
    own = by_mixing_and_length(claim_runs(dataset, config))
    both: dict[str, Cells] = {OWN: {mixing: at for mixing, at in own.items() if mixing in mixings}, **departing}
    return both if departing else {}


def tests_of_settings(by_setting: Mapping[str, Cells]) -> Iterator[Named]:
    """Yields the test of every claim in the main reading at every setting, which is named beside the mixing."""
    for setting, cells in by_setting.items():
        for (claim, mixing, length, *reading), test in tests(cells):
            level = MIXINGS[mixing].level
            level_is, centring, measure = reading
            if level_is == level and centring == READING["centring"] and measure in MAIN_MEASURES:
                yield (claim, f"{mixing}, {setting}", length, level_is, centring, measure), test


def summed(claim: str, found: Sequence[Reading], what: str = "readings") -> Iterator[Finding]:
    """Yields the finding on all readings of a claim, if it has any; its effect is the share that support the claim."""
    mine = [reading for reading in found if reading.claim == claim]
    if not mine:
        return
    statuses = [reading.status for reading in mine]
    defined = len(mine) - statuses.count("undefined")
    share = statuses.count("supported") / defined if defined else np.nan
    expected = f"supported in every one of {defined} {what}, with 5 % for any error among them (Holm)"
    runs = max(reading.runs for reading in mine)
    controls = tally(statuses, COUNTED, what)
    interval = Interval(share, np.nan, np.nan, runs)
    yield Finding(f"all {what}", interval, overall(statuses), (runs, 0), controls, expected=expected)
