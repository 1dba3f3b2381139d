"""Every claim in every reading: mixing x correlation length x level x centring x measure, with one error rate.

A claim does not say which rows to take, whether to centre them or which rank to count. All combinations are judged by
the same rule as the main reading, its bootstrap interval replaced by a t-test against the claim's bound (a percentile
interval of a few runs never leaves their range, so it cannot be widened for many comparisons); within one claim the
two-sided p-values are adjusted by Holm's method over all readings, so that the chance of any wrong decision among
them stays below 5 % however the readings depend on each other. The verdict on the claim is the whole table.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy import stats

from rgflow.judging.decisions import Control, Status, information, passed
from rgflow.judging.intervals import t_difference, t_interval
from rgflow.judging.points import average
from rgflow.judging.readings import holm
from rgflow.probes.spectrum import RANK_MEASURES
from rgflow.protocol import Verdict
from rgflow.rank_flow import claims
from rgflow.rank_flow.select import Cells

ERROR_RATE = 0.05
RESOLUTION = 1e-4
"""Accuracy of a rank (relative) and of a share: differences below it are rounding, not effects."""

DRIFT_MEASURES = ("kernel_drift", "frobenius_drift")
STATEMENTS = {
    "S1-i": "Training makes the effective rank of the residual stream fall with depth.",
    "S1-ii": "The collapse is selective: present at short, absent at long correlation length.",
    "S1-iii": "Training concentrates the kernel drift of the stream on one or two transitions.",
}


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
    status: Status | str


@dataclasses.dataclass(frozen=True)
class Test:
    """What a reading measured, before the readings are compared with each other."""

    mean: float
    low: float
    high: float
    runs: int
    support: float
    contradiction: float
    may_support: bool
    may_contradict: bool


UNDEFINED = Test(np.nan, np.nan, np.nan, 0, np.nan, np.nan, False, False)


def p_value(samples: Sequence[np.ndarray], bound: float, alternative: str) -> float:
    """Returns the one-sided p-value of a mean, or of a difference of two means (Welch), against a bound.

    Runs that agree to ``RESOLUTION`` have no spread to test with: their common value decides by itself, and nothing
    where it is the bound (NaN), as for a constant stream.
    """
    if max(np.ptp(x) for x in samples) < RESOLUTION:
        distance = float(samples[0].mean() - sum(x.mean() for x in samples[1:]) - bound)
        if abs(distance) < RESOLUTION:
            return np.nan
        return float((distance > 0) == (alternative == "less"))
    if len(samples) == 1:
        return float(np.asarray(stats.ttest_1samp(samples[0], bound, alternative=alternative))[1])
    return float(
        np.asarray(stats.ttest_ind(samples[0] - bound, samples[1], equal_var=False, alternative=alternative))[1]
    )


def bounds(samples: Sequence[np.ndarray]) -> tuple[float, float]:
    """Returns the ends of the 95 % t-interval of a mean or of a difference of two."""
    interval = t_interval(samples[0]) if len(samples) == 1 else t_difference(samples[0], samples[1])
    return interval.low, interval.high


def one_sample(
    values: Float[np.ndarray, " runs"], bound: float, side: str, controls: Mapping[str, Control], also: bool
) -> Test:
    """Returns the t-test of a mean over runs against a bound, on one side for support, on the other against.

    Support needs the shared controls and what the claim asks for besides (``also``), a contradiction trained runs.
    """
    live = values[np.isfinite(values)]
    if live.size < 2:
        return UNDEFINED
    p = p_value([live], bound, "less" if side == "below" else "greater")
    trained = controls["converged"]["passed"]
    everything = also and passed(controls)
    return Test(float(live.mean()), *bounds([live]), live.size, p, 1 - p, everything, trained)


def selective(changes: tuple[np.ndarray, np.ndarray], ratio_at_long: Float[np.ndarray, " runs"]) -> Test:
    """Returns the test of S1-ii in one reading, on the runs that learned something at the short and the long length.

    Support needs both of its parts (the larger p-value counts), a contradiction one of them (twice the smaller one).
    """
    pair = [x[np.isfinite(x)] for x in changes]
    smallest = min(x.size for x in pair)
    if smallest < 2:
        return UNDEFINED
    below = p_value(pair, claims.SELECTIVITY_BOUND, "less")
    above = p_value([ratio_at_long[np.isfinite(ratio_at_long)]], claims.LONG_RATIO, "greater")
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
    controls = claims.training_controls(claims.final(runs))
    for measure in RANK_MEASURES:
        changes, ranks = claims.ratio_change(runs, {}, measure), claims.final(runs)[measure].values
        ratios = np.exp(claims.log_ratio(claims.final(runs), {}, measure))
        for where, index in _each_reading(runs):
            falls = claims.falling_share(ranks[index]) >= claims.MONOTONE_FRACTION and average(ratios[index]) < 1
            test = one_sample(changes[index], 0.0, "below", controls, falls)
            yield ("S1-i", mixing, length, *where, measure), test
    for measure in DRIFT_MEASURES:
        above, largest = (claims.share_above(runs, {}, top, measure) for top in (2, 1))
        for where, index in _each_reading(runs):
            alone = one_sample(largest[index], 0.0, "above", controls, True)
            test = one_sample(above[index], 0.0, "above", controls, alone.low > 0)
            yield ("S1-iii", mixing, length, *where, measure), test


def _tests_of_pair(mixing: str, short: xr.Dataset, long: xr.Dataset) -> Iterator[Named]:
    """Yields the tests of S1-ii, which compares two correlation lengths."""
    pair = [runs.isel(run=claims.gate(claims.final(runs))) for runs in (short, long)]
    for measure in RANK_MEASURES:
        changes = [claims.ratio_change(runs, {}, measure) for runs in pair]
        ratio = np.exp(claims.log_ratio(claims.final(pair[1]), {}, measure))
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


def _status(test: Test, adjusted: float) -> str:
    if np.isnan(test.support):
        return "undefined"
    if not adjusted < ERROR_RATE:
        return "undecided"
    if test.support < test.contradiction:
        return "supported" if test.may_support else "undecided"
    return "contradicted" if test.may_contradict else "undecided"


def decided(found: Iterable[Named]) -> list[Reading]:
    """Returns the readings that some tests make, decided at one error rate per claim.

    A reading without a statistic (a constant stream, no run that learned anything) is ``undefined`` and does not count
    in the adjustment.
    """
    found = list(found)
    result: list[Reading] = []
    for claim in STATEMENTS:
        mine = [(names, test) for names, test in found if names[0] == claim]
        two_sided = np.array([min(1.0, 2 * min(t.support, t.contradiction)) for _, t in mine])
        two_sided = np.where([np.isnan(t.support) for _, t in mine], np.nan, two_sided)
        for (names, t), p, adjusted in zip(mine, two_sided, holm(two_sided), strict=True):
            numbers = (t.mean, t.low, t.high, t.runs, float(p), float(adjusted))
            result.append(Reading(*names, *numbers, _status(t, adjusted)))
    return result


def readings(cells: Cells) -> list[Reading]:
    """Returns every reading of every claim on the claims' runs by mixing and correlation length."""
    return decided(tests(cells))


def overall(statuses: Sequence[str]) -> Status:
    """Returns the verdict of a whole table: supported only where no defined reading says otherwise.

    Example:
        >>> overall(["supported", "contradicted"]), overall(["contradicted", "undecided"])
        ('undecided', 'contradicted')
    """
    defined = [status for status in statuses if status != "undefined"]
    if defined and all(status == "supported" for status in defined):
        return "supported"
    return "contradicted" if "contradicted" in defined and "supported" not in defined else "undecided"


def summaries(found: Sequence[Reading], what: str = "readings") -> list[Verdict]:
    """Returns one verdict per claim over all of its readings; ``measured`` is the share of them that support it."""
    verdicts = []
    for claim, statement in STATEMENTS.items():
        mine = [reading for reading in found if reading.claim == claim]
        if not mine:
            continue
        statuses = [reading.status for reading in mine]
        counts = {s: statuses.count(s) for s in ("supported", "contradicted", "undecided", "undefined")}
        controls = {s: information(n, what) for s, n in counts.items()}
        defined = len(mine) - counts["undefined"]
        share = counts["supported"] / defined if defined else None
        expected = f"supported in every one of {defined} {what}, with 5 % for any error among them (Holm)"
        name = f"{claim} [all {what}]"
        runs = max(reading.runs for reading in mine)
        verdicts.append(Verdict(name, statement, overall(statuses), share, None, None, expected, runs, 0, controls))
    return verdicts
