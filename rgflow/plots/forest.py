"""A forest: one interval per row, rows in groups, so that many settings can be compared at a glance."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from rgflow.judging.intervals import Interval
from rgflow.judging.text import number_text
from rgflow.plots import marks, style
from rgflow.plots.panel import Guide, Handle, Row

GAP = 0.6
"""Room between two groups of rows, in rows."""


@dataclasses.dataclass(frozen=True)
class Branch:
    """One row: the name that it shares with its neighbours, the group that colours it, its interval.

    ``lacking`` is said in the place of a number that is not there.
    """

    name: str
    group: Any
    interval: Interval
    lacking: str = "undefined"

    @property
    def text(self) -> str:
        """The interval in words."""
        return number_text(*self.interval[:3]) if np.isfinite(self.interval.mean) else self.lacking


@dataclasses.dataclass(frozen=True)
class Forest:
    """Intervals one below the other; what lies outside the ``limits`` becomes an arrow at the end."""

    title: str
    branches: Sequence[Branch]
    guides: Sequence[Guide] = ()
    x: str = ""
    limits: tuple[float, float] | None = None
    names: bool = True

    @property
    def groups(self) -> list[Any]:
        """The groups that are coloured."""
        return [branch.group for branch in self.branches]

    @property
    def height(self) -> float:
        """The height in inches."""
        return 0.155 * (1.6 - self._heights[-1]) + 0.75

    @property
    def handles(self) -> list[Handle]:
        """The legend entries of the guides."""
        return [guide.handle for guide in self.guides]

    @property
    def _heights(self) -> list[float]:
        names = list(dict.fromkeys(branch.name for branch in self.branches))
        return [-place - GAP * names.index(branch.name) for place, branch in enumerate(self.branches)]

    def rows(self, figure: Any) -> list[Row]:
        """Returns a row for every interval."""
        return [
            {"panel": self.title, "name": b.name, "group": figure.name_of(b.group), "mean": b.interval.mean,
             "low": b.interval.low, "high": b.interval.high, "runs": b.interval.n}
            for b in self.branches
        ]  # fmt: skip

    def words(self, figure: Any) -> str:
        """Returns every interval in words."""
        return "; ".join(f"{b.name}, {figure.name_of(b.group)}: {b.text}" for b in self.branches)

    def draw(self, axes: Axes, figure: Any, colours: Mapping[Any, Any]) -> None:
        """Draws the intervals with their numbers, every second group of rows shaded."""
        heights = self._heights
        low, high = self.limits or (-np.inf, np.inf)
        for y, branch in zip(heights, self.branches, strict=True):
            look = {"color": colours[branch.group], "clip_on": False}
            mean = branch.interval.mean
            if low <= mean <= high:
                ends = np.clip(marks.columns([branch.interval]), low, high)
                bars = marks.bar_lengths(ends)
                axes.errorbar(ends[0], [y], xerr=bars, fmt="o", markersize=4.5, capsize=2.5, **look)
            elif np.isfinite(mean):
                axes.plot([low if mean < low else high], [y], marker="<" if mean < low else ">", markersize=5, **look)
            where = axes.get_yaxis_transform()
            axes.text(1.02, y, f"{branch.text}\u2003", transform=where, va="center", fontsize=7, color=style.INK)
        for guide in self.guides:
            guide.draw(axes)
        axes.axvline(0.0, color=style.INK, linewidth=0.9, zorder=1)
        by_name: dict[str, list[float]] = {}
        for y, branch in zip(heights, self.branches, strict=True):
            by_name.setdefault(branch.name, []).append(y)
        for ys in list(by_name.values())[::2]:
            axes.axhspan(min(ys) - 0.8, max(ys) + 0.8, color="#f4f4f4", linewidth=0, zorder=0)
        axes.set_yticks([float(np.mean(ys)) for ys in by_name.values()], list(by_name) if self.names else [])
        axes.set(title=self.title, xlabel=self.x or figure.x, ylim=(heights[-1] - 0.8, 0.8))
        if self.limits:
            axes.set_xlim(self.limits)
        axes.tick_params(axis="y", length=0)
        axes.grid(False, axis="y")
        axes.spines["left"].set_visible(False)
