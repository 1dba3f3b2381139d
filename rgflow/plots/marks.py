"""How a series looks: lines with bands, points with error bars, bars, levels. The kind of a series decides."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from rgflow.judging.intervals import Interval
from rgflow.plots import style

HATCH = "////"
BAR_WIDTH = 0.8
"""Share of the room between two places that the bars of one place fill together."""

LEVEL_WIDTH = 0.9
"""Length of a level, in units of x."""

DASHED, DOTTED = (0, (4, 2)), ":"


class Kind(NamedTuple):
    """The look of a kind of series: drawn as line, points, bars or levels, with these settings of matplotlib.

    A level is a short line across one place, in a grey band from the lower to the upper end of its interval.
    """

    drawn: str
    look: Mapping[str, Any]


KINDS: dict[str, Kind] = {
    "trained": Kind("line", {"linestyle": "-", "marker": "o"}),
    "untrained": Kind("line", {"linestyle": DASHED, "marker": "o", "markerfacecolor": "w"}),
    "exact": Kind("line", {"linestyle": DOTTED, "linewidth": 1.4, "zorder": 1.6}),
    "theory": Kind("line", {"linestyle": "-", "linewidth": 1.2, "zorder": 1.6}),
    "other theory": Kind("line", {"linestyle": DASHED, "linewidth": 1.2, "zorder": 1.6}),
    "data": Kind("line", {"linestyle": "-", "marker": "s"}),
    "control": Kind("line", {"linestyle": DASHED, "marker": "s", "markerfacecolor": "w"}),
    "measured": Kind("points", {"marker": "o"}),
    "measured, trained": Kind("points", {"marker": "o"}),
    "measured, untrained": Kind("points", {"marker": "o", "markerfacecolor": "w"}),
    "measured, premise fails": Kind("points", {"marker": "o", "markerfacecolor": "w"}),
    "trained bars": Kind("bars", {}),
    "untrained bars": Kind("bars", {"facecolor": "white", "hatch": HATCH}),
    "exact flow, decimation": Kind("line", {"linestyle": DASHED, "linewidth": 1.2, "zorder": 1.6}),
    "exact flow, block sums": Kind("line", {"linestyle": DOTTED, "linewidth": 1.4, "zorder": 1.6}),
    "exact, decimation": Kind("levels", {"linestyle": DASHED, "linewidth": 1.3}),
    "exact, block sums": Kind("levels", {"linestyle": DOTTED, "linewidth": 1.5}),
    "noise floor": Kind("levels", {"linestyle": "none"}),
}
"""The look of what a series is; its group gives the colour. One place for all rooms: a new look is a row here."""


def columns(intervals: Sequence[Interval]) -> Float[np.ndarray, "3 places"]:
    """Returns means, lower and upper ends."""
    return np.array([interval[:3] for interval in intervals], np.float64).reshape(-1, 3).T


def bar_lengths(intervals: Float[np.ndarray, "3 places"]) -> Float[np.ndarray, "2 places"]:
    """Returns how far error bars reach below and above the mean; 0 where there is no interval."""
    mean, low, high = intervals
    return np.nan_to_num(np.abs(np.stack([mean - low, high - mean])))


def draw_line(axes: Axes, x: np.ndarray, intervals: Sequence[Interval], colour: Any, look: Mapping[str, Any]) -> None:
    """Draws means as a line with the band of their intervals."""
    mean, low, high = columns(intervals)
    axes.fill_between(x, low, high, color=colour, alpha=0.14, linewidth=0)
    axes.plot(x, mean, color=colour, **look)


def draw_points(axes: Axes, x: np.ndarray, intervals: Sequence[Interval], colour: Any, look: Mapping[str, Any]) -> None:
    """Draws means as points with error bars."""
    found = columns(intervals)
    axes.errorbar(x, found[0], bar_lengths(found), fmt="none", ecolor=colour, elinewidth=1, capsize=2)
    axes.plot(x, found[0], linestyle="none", color=colour, **look)


def draw_bars(
    axes: Axes, x: np.ndarray, intervals: Sequence[Interval], colour: Any, look: Mapping[str, Any], width: float
) -> None:
    """Draws means as bars with error bars."""
    found = columns(intervals)
    axes.bar(x, found[0], width, linewidth=0.8, **{"facecolor": colour, "edgecolor": colour, **look})
    axes.errorbar(x, found[0], bar_lengths(found), fmt="none", ecolor=style.INK, elinewidth=1, capsize=2)


def draw_levels(axes: Axes, x: np.ndarray, intervals: Sequence[Interval], colour: Any, look: Mapping[str, Any]) -> None:
    """Draws a line across every place, in the grey band of its interval."""
    for place, (mean, low, high, _) in zip(x, intervals, strict=True):
        ends = [place - LEVEL_WIDTH / 2, place + LEVEL_WIDTH / 2]
        axes.fill_between(ends, [low] * 2, [high] * 2, color=style.BAND, linewidth=0, zorder=0)
        axes.plot(ends, [mean] * 2, color=colour, zorder=1.5, **look)


def draw_runs(axes: Axes, x: np.ndarray, values: Float[np.ndarray, "runs places"], colour: Any) -> None:
    """Draws every run as a faint line."""
    for run in values:
        axes.plot(x, run, color=colour, linewidth=0.6, alpha=0.35)


def handle(kind: str, colour: Any = style.INK) -> Line2D | Patch:
    """Returns the legend entry of a kind."""
    drawn, look = KINDS[kind]
    label = kind.removeprefix("measured, ").removesuffix(" bars")
    if look.get("linestyle") == "none":
        return Patch(facecolor=style.BAND, label=label)
    if drawn == "bars":
        return Patch(label=label, **{"facecolor": colour, "edgecolor": colour, **look})
    return Line2D([], [], color=colour, label=label, **{**({"linestyle": "none"} if drawn == "points" else {}), **look})
