"""Many readings of one claim on the same runs, judged at one error rate.

Ref: Holm1979 = Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Stat. 6 (1979) 65.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

from rgflow.judging.decisions import Control, Status, information, passed
from rgflow.judging.intervals import Values, t_difference, t_interval

ERROR_RATE = 0.05
"""Chance of any wrong decision among all readings of a claim."""

RESOLUTION = 1e-4
"""Accuracy of a rank (relative) and of a share: differences below it are rounding, not effects."""


class Test(NamedTuple):
    """What a reading measured, before the readings are compared with each other.

    ``support`` and ``contradiction`` are one-sided p-values; ``may_support`` and ``may_contradict`` say whether the
    controls allow it.
    """

    mean: float
    low: float
    high: float
    runs: int
    support: float
    contradiction: float
    may_support: bool
    may_contradict: bool


UNDEFINED = Test(np.nan, np.nan, np.nan, 0, np.nan, np.nan, False, False)


def holm(p_values: Values) -> Float[np.ndarray, " _"]:
    r"""Returns p-values adjusted so that the chance of any false rejection among all of them stays below the level.

    $\tilde p_{(i)} = \max_{j \le i} \min(1, (m - j + 1)\, p_{(j)})$ over the m values in increasing order

    Valid under any dependence between the tests. NaN (no test) stays NaN and does not count.
    Shapes: [tests] -> [tests]. Raises ValueError for a value outside [0, 1]. Ref: Holm1979.

    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p_values, np.float64)
    tested = np.flatnonzero(~np.isnan(values))
    if ((values[tested] < 0) | (values[tested] > 1)).any():
        raise ValueError(f"p_values: {values.tolist()} are no probabilities; allowed: 0 to 1")
    order = tested[np.argsort(values[tested], kind="stable")]
    adjusted = np.full(values.shape, np.nan)
    remaining = np.arange(order.size, 0, -1)
    adjusted[order] = np.maximum.accumulate(np.minimum(1.0, remaining * values[order]))
    return adjusted


def two_sided(support: Values, against: Values) -> Float[np.ndarray, " _"]:
    """Returns the two-sided p-values that belong to one-sided ones for and against a claim, NaN where one is NaN.

    >>> two_sided([0.01, 0.8], [0.99, 0.2]).tolist()
    [0.02, 0.4]
    """
    return np.minimum(1.0, 2 * np.minimum(np.asarray(support, np.float64), np.asarray(against, np.float64)))


def overall(statuses: Sequence[str]) -> Status:
    """Returns the status of a whole table of readings; one that is ``undefined`` does not count.

    Supported where every defined reading is; contradicted where one is and none is supported; else undecided.

    >>> overall(["supported", "contradicted"]), overall(["contradicted", "undecided", "undefined"])
    ('undecided', 'contradicted')
    """
    defined = [status for status in statuses if status != "undefined"]
    if defined and all(status == "supported" for status in defined):
        return "supported"
    return "contradicted" if "contradicted" in defined and "supported" not in defined else "undecided"


def tally(statuses: Sequence[str], names: Sequence[str], what: str = "readings") -> dict[str, Control]:
    """Returns how many readings have each of the named statuses, as numbers for information."""
    found = Counter(statuses)
    return {name: information(found[name], what) for name in names}


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


def status_of(test: Test, adjusted: float) -> str:
    """Returns what a test decides once its two-sided p-value is adjusted; ``undefined`` without a statistic."""
    if np.isnan(test.support):
        return "undefined"
    if not adjusted < ERROR_RATE:
        return "undecided"
    if test.support < test.contradiction:
        return "supported" if test.may_support else "undecided"
    return "contradicted" if test.may_contradict else "undecided"


def decided(tests: Sequence[Test]) -> list[tuple[float, float, str]]:
    """Returns (two-sided p-value, the same adjusted by Holm's method, status) of tests that share one error rate."""
    raw = two_sided([test.support for test in tests], [test.contradiction for test in tests])
    return [(float(p), float(q), status_of(test, q)) for test, p, q in zip(tests, raw, holm(raw), strict=True)]
