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

    A level is a short line across one place, in a grey band from the lower to the upper end of its interval. A kind
    with a ``colour`` has it in every figure, whatever its group. ``label`` is its name in words, if not its key.
    """

    drawn: str
    look: Mapping[str, Any]
    colour: str = ""
    label: str = ""


KINDS: dict[str, Kind] = {
    "trained": Kind("line", {"linestyle": "-", "marker": "o"}),
    "untrained": Kind("line", {"linestyle": DASHED, "marker": "o", "markerfacecolor": "w"}),
    "exact": Kind("line", {"linestyle": DOTTED, "linewidth": 1.4, "zorder": 1.6}),
    "theory": Kind("line", {"linestyle": "-", "linewidth": 1.2, "zorder": 1.6}),
    "other theory": Kind("line", {"linestyle": DASHED, "linewidth": 1.2, "zorder": 1.6}),
    "data": Kind("line", {"linestyle": "-", "marker": "s"}),
    "control": Kind("line", {"linestyle": DASHED, "marker": "s", "markerfacecolor": "w"}),
    "second control": Kind("line", {"linestyle": DOTTED, "marker": "^", "markerfacecolor": "w"}),
    "third control": Kind("line", {"linestyle": (0, (5, 1, 1, 1)), "marker": "D", "markerfacecolor": "w"}),
    "path": Kind("line", {"linestyle": "-", "linewidth": 0.7, "alpha": 0.4, "marker": "o", "markersize": 2.5}),
    "spectrum": Kind("line", {"linestyle": "-", "linewidth": 1.3}),
    "measured": Kind("points", {"marker": "o"}),
    "measured, trained": Kind("points", {"marker": "o"}),
    "measured, untrained": Kind("points", {"marker": "o", "markerfacecolor": "w"}),
    "measured, premise fails": Kind("points", {"marker": "o", "markerfacecolor": "w"}),
    "doubtful": Kind("points", {"marker": "o", "markerfacecolor": "w", "zorder": 3}),
    "end": Kind("points", {"marker": "o", "markersize": 5.5, "markeredgecolor": "w", "markeredgewidth": 0.5}),
    "shifted": Kind("points", {"marker": "o", "markersize": 5.5, "markerfacecolor": "none"}),
    "level": Kind("points", {"marker": "_", "markersize": 14, "markeredgewidth": 2.2}),
    "trained bars": Kind("bars", {}),
    "untrained bars": Kind("bars", {"facecolor": "white", "hatch": HATCH}),
    "exact flow, decimation": Kind("line", {"linestyle": DASHED, "linewidth": 1.2, "zorder": 1.6}),
    "exact flow, block sums": Kind("line", {"linestyle": DOTTED, "linewidth": 1.4, "zorder": 1.6}),
    "exact, decimation": Kind("levels", {"linestyle": DASHED, "linewidth": 1.3}),
    "exact, block sums": Kind("levels", {"linestyle": DOTTED, "linewidth": 1.5}),
    "noise floor": Kind("levels", {"linestyle": "none"}),
    "sampled (Gibbs)": Kind("points", {"marker": "o", "zorder": 3}, style.INK),
    "sampled (Hamiltonian Monte Carlo)": Kind("points", {"marker": "D", "zorder": 3}, style.INK),
    "gradient descent": Kind("points", {"marker": "s", "zorder": 3}, style.ORANGE),
    # The exact law lies as a broad band under the saddle point, which is often the same by eye.
    "exact at finite width": Kind("line", {"linewidth": 5.0, "alpha": 0.3, "solid_capstyle": "butt"}, style.BLUE),
    "saddle point": Kind("line", {"linewidth": 1.4}, style.VERMILION),
    "infinite width": Kind("line", {"linewidth": 1.4, "linestyle": "--"}, style.GREEN),
    **{
        f"{name}{what}": Kind("points", {"marker": marker, "markersize": 5, **look}, colour, f"{words}{name}")
        for name, marker, colour in (
            ("exact at finite width", "o", style.BLUE),
            ("saddle point", "s", style.VERMILION),
            ("infinite width", "^", style.GREEN),
            ("minimum of the energy", "D", style.PURPLE),
        )
        for what, words, look in (
            (" at a place", "", {"fillstyle": "none", "markeredgewidth": 1.3}),
            (", distance", "distance from ", {}),
        )
    },
    "heuristic": Kind("points", {"marker": "s"}, style.VERMILION, "heuristic (saddle point, ReLU kernel)"),
    "infinite width, predicted": Kind("points", {"marker": "^"}, style.GREEN, "infinite width"),
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
    """Draws means as a line with the band of their intervals, which is a bar where there is one place alone."""
    if len(x) == 1:
        draw_points(axes, x, intervals, colour, look)
        return
    mean, low, high = columns(intervals)
    axes.fill_between(x, low, high, color=colour, alpha=0.14, linewidth=0)
    axes.plot(x, mean, color=colour, **look)


def draw_points(axes: Axes, x: np.ndarray, intervals: Sequence[Interval], colour: Any, look: Mapping[str, Any]) -> None:
    """Draws means as points with error bars."""
    found = columns(intervals)
    known = np.isfinite(found).all(axis=0)  # a bar of no length would be a dash through an open mark
    bars = bar_lengths(found[:, known])
    axes.errorbar(x[known], found[0, known], bars, fmt="none", ecolor=colour, elinewidth=1, capsize=2)
    axes.plot(x, found[0], color=colour, **{**look, "linestyle": "none"})


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


def draw_below(axes: Axes, x: np.ndarray, intervals: Sequence[Interval], colour: Any) -> None:
    """Draws what lies below an axis, such as zero below a logarithmic one, as arrows at its edge."""
    below = x[columns(intervals)[0] < axes.get_ylim()[0]]
    if below.size:
        look: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "clip_on": False, "linestyle": "none"}
        axes.plot(below, np.full(below.shape, 0.04), marker="v", markersize=5, color=colour, **look)


def name_of(kind: str) -> str:
    """Returns a kind in words, as tables have it."""
    return KINDS[kind].label or kind.removesuffix(" bars")


def handle(kind: str, colour: Any = style.INK) -> Line2D | Patch:
    """Returns the legend entry of a kind."""
    drawn, look, own = KINDS[kind][:3]
    colour, label = own or colour, name_of(kind).removeprefix("measured, ")
    if look.get("linestyle") == "none":
        return Patch(facecolor=style.BAND, label=label)
    if drawn == "bars":
        return Patch(label=label, **{"facecolor": colour, "edgecolor": colour, **look})
    return Line2D([], [], color=colour, label=label, **{**({"linestyle": "none"} if drawn == "points" else {}), **look})
