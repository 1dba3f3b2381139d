"""A specification curve: every reading of a claim, sorted by its effect, and below it the choices that make it."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from rgflow.judging.intervals import Interval
from rgflow.judging.readings import Shown
from rgflow.judging.text import number_text
from rgflow.plots import style
from rgflow.plots.panel import Guide, Handle, Row

ROW_INCHES, CURVE_INCHES = 0.15, 1.5
COLOURS = {**style.STATUS_COLOURS, "undefined": style.GREY}


@dataclasses.dataclass(frozen=True)
class Curve:
    """Every reading with its simultaneous interval, in the order of the effect, beside the typical one.

    ``shown`` are the readings, of which those that are undefined are left out; ``typical`` is the number of the
    verdict. Each level of a factor has a row of its own below, with a dot where a reading has it.
    """

    title: str
    shown: Sequence[Shown]
    typical: Interval
    guides: Sequence[Guide] = ()
    y: str = ""

    @property
    def groups(self) -> list[Any]:
        """No group is coloured."""
        return []

    @property
    def _sorted(self) -> list[Shown]:
        defined = [one for one in self.shown if one.status != "undefined"]
        return sorted(defined, key=lambda one: one.interval.mean)

    @property
    def _levels(self) -> list[tuple[str, str]]:
        """Every level of every factor that a defined reading has, in the order of the readings."""
        drawn = [one for one in self.shown if one.status != "undefined"] or self.shown
        factors = dict.fromkeys(name for one in drawn for name in one.factors)
        return [(name, level) for name in factors for level in dict.fromkeys(one.factors[name] for one in drawn)]

    @property
    def height(self) -> float:
        """The height in inches."""
        return CURVE_INCHES + ROW_INCHES * len(self._levels) + 0.6

    @property
    def handles(self) -> list[Handle]:
        """The legend entries of statuses and guides."""
        used = dict.fromkeys(one.status for one in self._sorted)
        look: dict[str, Any] = {"marker": "o", "linestyle": "none", "markersize": 4}
        found: list[Handle] = [Line2D([], [], color=COLOURS[status], label=status, **look) for status in used]
        found.append(Line2D([], [], color=style.INK, linewidth=1.0, label="typical reading"))
        return found + [guide.handle for guide in self.guides]

    def rows(self, figure: Any) -> list[Row]:
        """Returns a row for every reading, undefined ones included."""
        return [
            {"panel": self.title, **one.factors, "mean": one.interval.mean, "low": one.interval.low,
             "high": one.interval.high, "runs": one.interval.n, "p_value": one.p_value, "adjusted": one.adjusted,
             "status": one.status}
            for one in (*self._sorted, *(one for one in self.shown if one.status == "undefined"))
        ]  # fmt: skip

    def words(self, figure: Any) -> str:
        """Returns the typical reading and the ends of the curve in words."""
        found = self._sorted
        if not found:
            return "no reading is defined"
        ends = [
            f"{number_text(*one.interval[:3])} ({', '.join(one.factors.values())})" for one in (found[0], found[-1])
        ]
        return f"typical {number_text(*self.typical[:3])}; {len(found)} readings from {' to '.join(ends)}"

    def draw(self, axes: Axes, figure: Any, colours: Mapping[Any, Any]) -> None:
        """Draws the curve in the upper part of the panel and the choices in the lower one."""
        found, levels = self._sorted, self._levels
        axes.set_title(self.title, loc="left")
        axes.set_xticks([])
        axes.grid(False)
        if not found:
            axes.set_yticks([])
            axes.text(0.5, 0.5, "no reading is defined", transform=axes.transAxes, ha="center", color=style.GREY)
            return
        ends = np.array([[one.interval.mean, one.interval.low, one.interval.high] for one in found])
        # A few readings with endless intervals must not hide the others.
        span = max(float(np.ptp(ends[:, 0])), 0.2)
        lowest, highest = ends[:, 0].min() - 0.4 * span, ends[:, 0].max() + 0.4 * span
        below = ROW_INCHES * len(levels) / (CURVE_INCHES + ROW_INCHES * len(levels))
        floor = lowest - (highest - lowest) * below / (1 - below)
        for place, (one, (mean, low, high)) in enumerate(zip(found, ends, strict=True)):
            colour = COLOURS[one.status]
            axes.plot([place, place], [max(low, lowest), min(high, highest)], color=colour, linewidth=0.8, alpha=0.6)
            axes.plot([place], [mean], "o", color=colour, markersize=3)
        axes.hlines(self.typical.mean, -0.5, len(found) - 0.5, color=style.INK, linewidth=1.0)
        for guide in self.guides:
            guide.draw(axes)
        axes.set(xlim=(-0.7, len(found) - 0.3), ylim=(floor, highest))
        self._draw_levels(axes, found, levels, below)
        ticks = [tick for tick in axes.get_yticks() if lowest <= tick <= highest]
        axes.set_yticks(ticks)
        axes.set_ylim(floor, highest)
        axes.axhline(lowest, color=style.BAND, linewidth=0.8)
        axes.set_ylabel(self.y or figure.y, y=1 - (1 - below) / 2)

    def _draw_levels(self, axes: Axes, found: Sequence[Shown], levels: Sequence[tuple[str, str]], below: float) -> None:
        heights = below * (1 - (np.arange(len(levels)) + 0.7) / len(levels))
        where = axes.get_xaxis_transform()
        for y, (name, level) in zip(heights, levels, strict=True):
            places = [place for place, one in enumerate(found) if one.factors[name] == level]
            axes.plot(places, [y] * len(places), "o", color=style.INK, markersize=2.2, transform=where)
            axes.text(1.01, y, level, transform=axes.transAxes, va="center", fontsize=6.5, color=style.INK)
        changes = [k for k in range(1, len(levels)) if levels[k][0] != levels[k - 1][0]]
        for k in changes:
            middle = (heights[k] + heights[k - 1]) / 2
            axes.plot([0, 1], [middle, middle], color=style.BAND, linewidth=0.6, transform=axes.transAxes)
