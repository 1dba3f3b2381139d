"""Statistics over runs, on the host in float64: intervals and trends.

Ref: HettmanspergerSheather1986 = Hettmansperger and Sheather, "Confidence intervals based on interpolated order
statistics", Stat. Probab. Lett. 4 (1986) 75.
Ref: Kendall1938 = Kendall, "A new measure of rank correlation", Biometrika 30 (1938) 81.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Real
from scipy import special, stats

# The axis is anonymous: two independent groups need not have the same number of runs.
Values = Real[np.ndarray, " _"] | Sequence[float | int | np.number]


class Interval(NamedTuple):
    """A mean over runs and its interval; n is the number of live runs behind it."""

    mean: float
    low: float
    high: float
    n: int


def _live(name: str, values: Values) -> Float[np.ndarray, " live"]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"{name}: shape {array.shape} is not one value per run; allowed: [runs]")
    return array[np.isfinite(array)]


def _require_level(level: float) -> None:
    if not 0.0 < level < 1.0:
        raise ValueError(f"level: {level} is not a confidence level; allowed: between 0 and 1")


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


def t_interval(values: Values, level: float = 0.95) -> Interval:
    r"""Returns the mean over runs with Student's interval.

    $\bar x \pm t_{(1+\mathrm{level})/2,\,n-1}\, s/\sqrt n$; unlike a percentile interval it can leave the range of the
    runs, and so be widened for many comparisons. Dead runs are dropped; NaN ends for fewer than two live ones.
    Shapes: [runs] -> Interval. Raises ValueError for a level outside (0, 1).

    >>> [round(x, 3) for x in t_interval([1.0, 2.0, 3.0])]
    [2.0, -0.484, 4.484, 3]
    """
    _require_level(level)
    live = _live("values", values)
    if live.size < 2:
        return Interval(float(live.mean()) if live.size else np.nan, np.nan, np.nan, live.size)
    half = float(special.stdtrit(live.size - 1, (1 + level) / 2) * live.std(ddof=1) / np.sqrt(live.size))
    return Interval(float(live.mean()), float(live.mean()) - half, float(live.mean()) + half, live.size)


def t_difference(a: Values, b: Values, level: float = 0.95) -> Interval:
    r"""Returns the difference of the means of two independent groups with Welch's interval.

    $\bar a - \bar b \pm t_{(1+\mathrm{level})/2,\,\nu} \sqrt{s_a^2/n_a + s_b^2/n_b}$ with Welch's $\nu$

    The n of the result is that of the smaller group of live runs; NaN ends where that has fewer than two.
    Shapes: [runs of a], [runs of b] -> Interval. Raises ValueError for a level outside (0, 1).

    >>> [round(x, 3) for x in t_difference([1.0, 2.0, 3.0], [1.0, 1.0, 1.0])]
    [1.0, -1.484, 3.484, 3]
    """
    _require_level(level)
    groups = (_live("a", a), _live("b", b))
    smallest = min(x.size for x in groups)
    mean = float(groups[0].mean() - groups[1].mean()) if smallest else np.nan
    if smallest < 2:
        return Interval(mean, np.nan, np.nan, smallest)
    shares = np.array([x.var(ddof=1) / x.size for x in groups])
    if not shares.sum() > 0:
        return Interval(mean, mean, mean, smallest)
    freedom = shares.sum() ** 2 / np.sum(shares**2 / np.array([x.size - 1 for x in groups]))
    half = float(special.stdtrit(freedom, (1 + level) / 2) * np.sqrt(shares.sum()))
    return Interval(mean, mean - half, mean + half, smallest)


def median_interval(values: Values, level: float = 0.95) -> Interval:
    r"""Returns the median with its interval between interpolated order statistics.

    Of order statistics d and n + 1 - d the coverage is $\gamma_d = 1 - 2 P(B < d)$, B binomial (n, 1/2). Between the
    largest d that covers enough and the next one it is interpolated. NaN ends for fewer than six values at 95 %.
    Ref: HettmanspergerSheather1986.

    >>> [round(x, 3) for x in median_interval([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])]
    [3.5, 1.357, 5.643, 6]
    """
    given = np.asarray(values, np.float64)
    x = np.sort(given[np.isfinite(given)])
    n = x.size
    covers = lambda d: 1 - 2 * stats.binom.cdf(d - 1, n, 0.5)  # noqa: E731
    enough = [d for d in range(1, (n + 1) // 2 + 1) if covers(d) >= level]
    median = float(np.median(x)) if n else np.nan
    if not enough:
        return Interval(median, np.nan, np.nan, n)
    d = enough[-1]
    part = (covers(d) - level) / (covers(d) - covers(d + 1))
    share = (n - d) * part / (d + (n - 2 * d) * part)
    low, high = ((1 - share) * a + share * b for a, b in ((x[d - 1], x[d]), (x[n - d], x[n - d - 1])))
    return Interval(median, float(low), float(high), n)
