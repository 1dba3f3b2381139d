"""Statistics over runs, on the host in float64: intervals and trends.

Ref: Hesterberg2015 = Hesterberg, "What teachers should know about the bootstrap", Am. Stat. 69 (2015) 371.
Ref: Kendall1938 = Kendall, "A new measure of rank correlation", Biometrika 30 (1938) 81.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Real
from scipy import stats

# The axis is anonymous: two independent groups need not have the same number of runs.
Values = Real[np.ndarray, " _"] | Sequence[float | int | np.number]


class Interval(NamedTuple):
    """A mean over runs and its interval; n is the number of live runs behind it."""

    mean: float
    low: float
    high: float
    n: int


def bootstrap_interval(values: Values, level: float = 0.95, resamples: int = 9999, seed: int = 0) -> Interval:
    r"""Returns the mean over runs with its expanded percentile bootstrap interval.

    $[\hat F^{-1}(a), \hat F^{-1}(1 - a)],\quad a = \Phi(-\sqrt{n/(n-1)}\,t_{(1+\mathrm{level})/2,\,n-1})$

    F is the distribution of the mean of n values drawn with replacement. Dead runs
    (values that are not finite) are dropped. Fewer than two live runs give NaN for both ends, equal values an
    interval of width zero. No percentile interval leaves the range of its data, so for a symmetric quantity
    it covers at most $1 - 2^{1-n}$: at n = 4 the nominal 95 % is 87.5 %.
    Shapes: [runs] -> Interval. Raises ValueError for other shapes, a level outside (0, 1), resamples < 1.

    Ref: Hesterberg2015 (expanded percentile interval)

    >>> interval = bootstrap_interval([1.0, 2.0, 3.0, float("nan")])
    >>> (interval.mean, interval.low, interval.high, interval.n)
    (2.0, 1.0, 3.0, 3)
    """
    _require_settings(level, resamples)
    live = _live("values", values)
    if live.size == 0:
        return Interval(np.nan, np.nan, np.nan, 0)
    # The mean of equal values can differ from them in the last bit; the mean of one of them cannot.
    mean = float(np.mean(live[:1] if np.ptp(live) == 0 else live))
    if live.size < 2 or np.ptp(live) == 0:
        end = np.nan if live.size < 2 else mean
        return Interval(mean, end, end, live.size)
    confidence = 1.0 - 2.0 * _expanded_tail(level, live.size)
    options: dict[str, Any] = {"method": "percentile", "vectorized": True, "rng": np.random.default_rng(seed)}
    result = stats.bootstrap((live,), np.mean, confidence_level=confidence, n_resamples=resamples, **options)
    low, high = result.confidence_interval
    return Interval(mean, float(low), float(high), live.size)


def _live(name: str, values: Values) -> Float[np.ndarray, " live"]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"{name}: shape {array.shape} is not one value per run; allowed: [runs]")
    return array[np.isfinite(array)]


def _expanded_tail(level: float, n: int) -> float:
    """Returns the tail probability that makes a percentile interval as wide as Student's for normal data."""
    quantile = stats.t.ppf(0.5 + level / 2, n - 1)
    return float(stats.norm.cdf(-np.sqrt(n / (n - 1)) * quantile))


def _require_settings(level: float, resamples: int) -> None:
    if not 0.0 < level < 1.0:
        raise ValueError(f"level: {level} is not a confidence level; allowed: between 0 and 1")
    if resamples < 1:
        raise ValueError(f"resamples: {resamples} is too few; allowed: 1 or more")


def kendall_tau(values: Values) -> float:
    r"""Returns Kendall's rank correlation of a sequence with its index.

    $\tau_b = (C - D) / \sqrt{(C + D + T_x)(C + D + T_y)}$ over concordant, discordant and tied pairs

    -1 for a strictly decreasing sequence; NaN for fewer than two values, all equal values, or any NaN.
    Shapes: [runs] -> float.

    Ref: Kendall1938

    >>> round(kendall_tau([16.0, 12.6, 8.9]), 9)
    -1.0
    """
    array = np.asarray(values, dtype=np.float64)
    if array.size < 2 or np.isnan(array).any():
        return float("nan")
    tau, _ = stats.kendalltau(np.arange(array.size), array)
    return float(np.asarray(tau))


def strictly_decreasing(values: Values) -> bool:
    """Returns whether every value is below the one before it.

    $x_{l+1} < x_l$ for all l

    False for fewer than two values and for any NaN: nothing was seen to decrease.
    Shapes: [runs] -> bool.

    >>> strictly_decreasing([3.0, 2.0, 2.0])
    False
    """
    array = np.asarray(values, dtype=np.float64)
    return bool(array.size >= 2 and np.all(np.diff(array) < 0))


def t_interval(values: Values, level: float = 0.95) -> Interval:
    r"""Returns the mean over runs with Student's interval.

    $\bar x \pm t_{(1+\mathrm{level})/2,\,n-1}\, s/\sqrt n$; unlike a percentile interval it can leave the range of the
    runs, and so be widened for many comparisons. Dead runs are dropped; NaN ends for fewer than two live ones.
    Shapes: [runs] -> Interval. Raises ValueError for a level outside (0, 1).

    >>> [round(x, 3) for x in t_interval([1.0, 2.0, 3.0])]
    [2.0, -0.484, 4.484, 3]
    """
    _require_settings(level, 1)
    live = _live("values", values)
    if live.size < 2:
        return Interval(float(live.mean()) if live.size else np.nan, np.nan, np.nan, live.size)
    half = float(stats.t.ppf((1 + level) / 2, live.size - 1) * live.std(ddof=1) / np.sqrt(live.size))
    return Interval(float(live.mean()), float(live.mean()) - half, float(live.mean()) + half, live.size)


def t_difference(a: Values, b: Values, level: float = 0.95) -> Interval:
    r"""Returns the difference of the means of two independent groups with Welch's interval.

    $\bar a - \bar b \pm t_{(1+\mathrm{level})/2,\,\nu} \sqrt{s_a^2/n_a + s_b^2/n_b}$ with Welch's $\nu$

    The n of the result is that of the smaller group of live runs; NaN ends where that has fewer than two.
    Shapes: [runs of a], [runs of b] -> Interval. Raises ValueError for a level outside (0, 1).

    >>> [round(x, 3) for x in t_difference([1.0, 2.0, 3.0], [1.0, 1.0, 1.0])]
    [1.0, -1.484, 3.484, 3]
    """
    _require_settings(level, 1)
    groups = (_live("a", a), _live("b", b))
    smallest = min(x.size for x in groups)
    mean = float(groups[0].mean() - groups[1].mean()) if smallest else np.nan
    if smallest < 2:
        return Interval(mean, np.nan, np.nan, smallest)
    shares = np.array([x.var(ddof=1) / x.size for x in groups])
    if not shares.sum() > 0:
        return Interval(mean, mean, mean, smallest)
    freedom = shares.sum() ** 2 / np.sum(shares**2 / np.array([x.size - 1 for x in groups]))
    half = float(stats.t.ppf((1 + level) / 2, freedom) * np.sqrt(shares.sum()))
    return Interval(mean, mean - half, mean + half, smallest)


def mean_p_value(values: Values, bound: float | int, alternative: str, resolution: float = 1e-6) -> float:
    r"""Returns the one-sided p-value of a mean over runs against a bound, by Student's t.

    $t = (\bar x - b) / (s / \sqrt n)$; ``alternative`` is ``less`` or ``greater``. Dead runs (values that are not
    finite) are dropped. Values that agree to ``resolution`` have no spread to test with and decide by themselves: 0
    beyond the bound, else 1, also at the bound to this resolution. NaN for fewer than two. Shapes: [runs] -> float.
    Raises ValueError for another alternative.

    >>> round(mean_p_value([1.0, 2.0, 3.0], 0.0, "greater"), 4), mean_p_value([2.0, 2.0], 0.0, "less")
    (0.0371, 1.0)
    """
    if alternative not in ("less", "greater"):
        raise ValueError(f"alternative: {alternative!r} is unknown; allowed: less, greater")
    live = _live("values", values)
    if live.size < 2:
        return float("nan")
    if np.ptp(live) < resolution:
        beyond = bound - live.mean() if alternative == "less" else live.mean() - bound
        return float(beyond < resolution)
    return float(np.asarray(stats.ttest_1samp(live, bound, alternative=alternative))[1])
