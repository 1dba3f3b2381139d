"""Points with error bars: means over runs with their 95 % bootstrap intervals, one point after the other."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from rgflow.judging.intervals import Interval, bootstrap_interval
from rgflow.judging.text import number_text
from rgflow.report import figures as base


def interval_of(values: Any) -> Interval:
    """Returns the mean over runs with its interval, as precise as a figure needs it; infinite values do not count."""
    return bootstrap_interval(np.asarray(values, np.float64).reshape(-1), resamples=base.RESAMPLES)


def text_of(interval: Interval) -> str:
    """Returns a mean with its interval as text."""
    return number_text(*interval[:3])


def two_decimals(interval: Interval, between: str = " ") -> str:
    """Returns a mean with its interval at two decimals, for places where longer numbers would not fit.

    Example:
        >>> two_decimals(Interval(-0.001, -0.5, 0.25, 4)), two_decimals(Interval(2.0, float("nan"), float("nan"), 1))
        ('0.00 [-0.50, 0.25]', '2.00')
    """
    # Adding zero turns a rounded "-0.00" into "0.00".
    mean, low, high = (f"{round(x, 2) + 0.0:.2f}" for x in interval[:3])
    return f"{mean}{between}[{low}, {high}]" if np.isfinite(interval.low) else mean


def columns(intervals: Iterable[Interval]) -> Float[np.ndarray, "3 points"]:
    """Returns means, lower and upper ends."""
    return np.array([interval[:3] for interval in intervals], np.float64).reshape(-1, 3).T


def bar_lengths(intervals: Float[np.ndarray, "3 points"]) -> Float[np.ndarray, "2 points"]:
    """Returns how far error bars reach below and above the mean; 0 where there is no interval."""
    mean, low, high = intervals
    return np.nan_to_num(np.abs(np.stack([mean - low, high - mean])))


def interval_points(axes: Axes, x: Sequence[float | int], intervals: Iterable[Interval], **look: Any) -> None:
    """Draws means against x with vertical error bars, where there is a mean; ``look`` is that of the line."""
    found = columns(intervals)
    seen = np.isfinite(found[0])
    if not seen.any():
        return
    where = np.asarray(x, np.float64)[seen]
    axes.plot(where, found[0, seen], **look)
    axes.errorbar(
        where, found[0, seen], bar_lengths(found[:, seen]), fmt="none", ecolor=look["color"], elinewidth=1, capsize=2
    )
