"""Drawing a network layer by layer: ranks against depth, kernel drift between layers, trained beside untrained.

Knows runs and layers only: neither which room they come from nor what was swept.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from rgflow.judging.intervals import bootstrap_interval
from rgflow.judging.text import number_text
from rgflow.report import figures as base

TRAINED: dict[str, Any] = {"linestyle": "-", "marker": "o"}
UNTRAINED: dict[str, Any] = {"linestyle": (0, (4, 2)), "marker": "o", "markerfacecolor": "w"}
LINES = {"untrained": UNTRAINED, "trained": TRAINED}
"""How the mean line of each state of the network looks."""

HATCH = "////"
BAR_WIDTH = 0.38


def by_depth(values: xr.DataArray) -> list[np.ndarray]:
    """Splits [run, layer] into runs of equal depth: a mean over several depths would bend."""
    values = values.transpose("run", "layer")
    depth = values.notnull().sum("layer").values
    return [values.values[depth == d].astype(np.float64) for d in sorted(set(depth.tolist()) - {0})]


def draw_depth(axes: Axes, states: Mapping[str, xr.DataArray], colour: Any, faint: bool) -> None:
    """Draws a rank [run, layer] against depth with its band, for each of the states "untrained" and "trained"."""
    for state, rank in states.items():
        for values in by_depth(rank):
            base.band_line(axes, np.arange(values.shape[1]), values, colour, faint, **LINES[state])


def draw_depth_means(axes: Axes, states: Mapping[str, xr.DataArray], colour: Any) -> None:
    """Draws only the means, small, for panels of which there are many."""
    for state, rank in states.items():
        for values in by_depth(rank):
            small = {**LINES[state], "markersize": 2.5, "linewidth": 1.3}
            base.mean_line(axes, np.arange(values.shape[1]), values, colour, **small)


def draw_drift(axes: Axes, states: Mapping[str, xr.DataArray], colour: Any) -> None:
    """Draws a drift [run, transition] as bars with error bars, the states "untrained" and "trained" side by side."""
    looks = {
        "untrained": {"facecolor": "white", "edgecolor": colour, "hatch": HATCH},
        "trained": {"facecolor": colour, "edgecolor": colour},
    }
    shifts = (np.arange(len(states)) - (len(states) - 1) / 2) * 0.4
    for shift, (state, drift) in zip(shifts, states.items(), strict=True):
        mean, low, high = base.mean_and_band(drift.transpose("run", "transition").values.astype(np.float64))
        x = np.arange(mean.size) + shift
        axes.bar(x, mean, BAR_WIDTH, linewidth=0.8, **looks[state])
        seen = np.isfinite(low)
        error = np.abs(np.stack([mean - low, high - mean])[:, seen])
        axes.errorbar(x[seen], mean[seen], error, fmt="none", ecolor=base.INK, elinewidth=1, capsize=2)
        axes.set_xticks(np.arange(mean.size), [f"{k}\u2192{k + 1}" for k in drift["transition"].values])


def line_handles(untrained: str = "untrained") -> list[Line2D]:
    """Returns the legend entries of trained and untrained lines, or of what stands for the untrained network."""
    return [Line2D([], [], color=base.INK, label="trained", **TRAINED),
            Line2D([], [], color=base.INK, label=untrained, **UNTRAINED)]  # fmt: skip


def bar_handles(untrained: str = "untrained") -> list[Patch]:
    """Returns the legend entries of trained and untrained bars."""
    hatched = Patch(facecolor="white", edgecolor=base.INK, hatch=HATCH, label=untrained)
    return [Patch(facecolor=base.INK, label="trained"), hatched]


def interval_text(values: np.ndarray) -> str:
    """Returns the mean over runs with its interval."""
    return number_text(*bootstrap_interval(np.asarray(values, np.float64), resamples=base.RESAMPLES)[:3])
