"""Every claim in every reading: mixing x correlation length x level x centring x measure, with one error rate.

A claim does not say which rows to take, whether to centre them or which rank to count. All combinations are judged by
the same rule as the main reading. Each is a t-test of its statistic against the claim's bound; within one claim the
two-sided p-values are adjusted by Holm's method over all readings, so that the chance of any wrong decision among
them stays below 5 % however the readings depend on each other. The verdict on the claim is the whole table.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy import stats

from rgflow.probes.spectrum import RANK_MEASURES
from rgflow.probes.stats import Status, holm
from rgflow.protocol import Verdict
from rgflow.rank_flow import verdict as claims

ERROR_RATE = 0.05
RESOLUTION = 1e-4
"""Accuracy of a rank (relative) and of a share: differences below it are rounding, not effects."""

DRIFT_MEASURES = ("kernel_drift", "frobenius_drift")
STATEMENTS = {
    "S1-i": "Training makes the effective rank of the residual stream fall with depth.",
    "S1-ii": "The collapse is selective: present at short, absent at long correlation length.",
    "S1-iii": "Kernel drift of the trained stream is concentrated on one or two transitions.",
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


def one_sample(
    values: Float[np.ndarray, " runs"], bound: float, side: str, controls: Mapping[str, claims.Control]
) -> Test:
    """Returns the t-test of a mean over runs against a bound, on one side for support, on the other against.

    Runs that agree to ``RESOLUTION`` have no spread to test with: their common value decides by itself.
    """
    live = values[np.isfinite(values)]
    if live.size < 2:
        return UNDEFINED
    mean, sign = float(live.mean()), 1.0 if side == "below" else -1.0
    trained = controls["converged"]["passed"]
    everything = all(c["passed"] for c in controls.values())
    if np.ptp(live) < RESOLUTION:
        distance = sign * (mean - bound)
        p = 0.5 if abs(distance) < RESOLUTION else float(distance > 0)
        return Test(mean, mean, mean, live.size, p, 1 - p, everything, trained)
    p = float(stats.ttest_1samp(live, bound, alternative="less" if side == "below" else "greater").pvalue)
    low, high = support_interval(stats.ttest_1samp(live, bound))
    return Test(mean, low, high, live.size, p, 1 - p, everything, trained)


def support_interval(test: object) -> tuple[float, float]:
    """Returns the ends of a t-test's two-sided 95 % interval."""
    interval = test.confidence_interval(0.95)  # type: ignore[attr-defined]
    return float(interval.low), float(interval.high)


def falling(runs: xr.Dataset, reading: claims.Reading, measure: str) -> Test:
    """Returns the test of S1-i in one reading."""
    controls = claims.training_controls(claims.final(runs))
    return one_sample(claims.ratio_change(runs, reading, measure), 0.0, "below", controls)


def concentrated(runs: xr.Dataset, reading: claims.Reading, measure: str) -> Test:
    """Returns the test of S1-iii in one reading."""
    at_end = claims.final(runs)
    trained, untrained = (claims.drift_shares(x, reading, measure) for x in (at_end, runs.isel(step=0)))
    above = trained[2] - np.maximum(2 * trained[0], untrained[2])
    return one_sample(above, 0.0, "above", claims.training_controls(at_end))


def selective(short: xr.Dataset, long: xr.Dataset, reading: claims.Reading, measure: str) -> Test:
    """Returns the test of S1-ii in one reading, on the runs that learned something.

    Support needs both of its parts (the larger p-value counts), a contradiction one of them (twice the smaller).
    """
    pair = [runs.isel(run=claims.gate(claims.final(runs))) for runs in (short, long)]
    changes = [claims.ratio_change(runs, reading, measure) for runs in pair]
    changes = [x[np.isfinite(x)] for x in changes]
    if min(x.size for x in changes) < 2 or max(np.ptp(x) for x in changes) == 0:
        return UNDEFINED
    shifted = changes[0] - claims.SELECTIVITY_BOUND
    below = stats.ttest_ind(shifted, changes[1], equal_var=False, alternative="less").pvalue
    ratio = np.exp(claims.log_ratio(claims.final(pair[1]), reading, measure))
    above = stats.ttest_1samp(ratio[np.isfinite(ratio)], claims.LONG_RATIO, alternative="greater").pvalue
    low, high = support_interval(stats.ttest_ind(changes[0], changes[1], equal_var=False))
    against = min(1.0, 2 * min(1 - below, 1 - above))
    mean = float(changes[0].mean() - changes[1].mean())
    return Test(mean, low, high, min(x.size for x in changes), max(below, above), against, True, True)


Cells = Mapping[str, Mapping[float, xr.Dataset]]


def _tests(cells: Cells) -> Iterator[tuple[tuple, Test]]:
    """Yields ((claim, mixing, length, level, centring, measure), test) of every reading."""
    for mixing, at in cells.items():
        some = next(iter(at.values()))
        readings = [
            {"level": level, "centring": centring}
            for level in some["level"].values.tolist()
            for centring in some["centring"].values.tolist()
        ]
        for reading in readings:
            where = (reading["level"], reading["centring"])
            for measure in RANK_MEASURES:
                for length, runs in at.items():
                    yield ("S1-i", mixing, length, *where, measure), falling(runs, reading, measure)
                if len(at) > 1:
                    ends = list(at.values())[0], list(at.values())[-1]
                    yield ("S1-ii", mixing, np.nan, *where, measure), selective(*ends, reading, measure)
            for measure in DRIFT_MEASURES:
                for length, runs in at.items():
                    yield ("S1-iii", mixing, length, *where, measure), concentrated(runs, reading, measure)


def _status(test: Test, adjusted: float) -> str:
    if np.isnan(test.support):
        return "undefined"
    if not adjusted < ERROR_RATE:
        return "undecided"
    if test.support < test.contradiction:
        return "supported" if test.may_support else "undecided"
    return "contradicted" if test.may_contradict else "undecided"


def readings(cells: Cells) -> list[Reading]:
    """Returns every reading of every claim, decided at one error rate per claim.

    ``cells`` are the claims' runs by mixing and correlation length. A reading without a statistic (a constant stream,
    no run that learned anything) is ``undefined`` and does not count in the adjustment.
    """
    found = list(_tests(cells))
    result: list[Reading] = []
    for claim in STATEMENTS:
        mine = [(names, test) for names, test in found if names[0] == claim]
        two_sided = np.array([min(1.0, 2 * min(t.support, t.contradiction)) for _, t in mine])
        two_sided = np.where([np.isnan(t.support) for _, t in mine], np.nan, two_sided)
        for (names, t), p, adjusted in zip(mine, two_sided, holm(two_sided), strict=True):
            numbers = (t.mean, t.low, t.high, t.runs, float(p), float(adjusted))
            result.append(Reading(*names, *numbers, _status(t, adjusted)))
    return result


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


def summaries(found: Sequence[Reading]) -> list[Verdict]:
    """Returns one verdict per claim over all of its readings; ``measured`` is the share of them that support it."""
    verdicts = []
    for claim, statement in STATEMENTS.items():
        mine = [reading for reading in found if reading.claim == claim]
        if not mine:
            continue
        statuses = [reading.status for reading in mine]
        counts = {s: statuses.count(s) for s in ("supported", "contradicted", "undecided", "undefined")}
        controls = {s: claims.control(n, "readings (for information)", True) for s, n in counts.items()}
        defined = len(mine) - counts["undefined"]
        share = counts["supported"] / defined if defined else None
        expected = f"supported in every one of {defined} readings, with 5 % for any error among them (Holm)"
        name = f"{claim} [all readings]"
        runs = max(reading.runs for reading in mine)
        verdicts.append(Verdict(name, statement, overall(statuses), share, None, None, expected, runs, 0, controls))
    return verdicts
