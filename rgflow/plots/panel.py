"""The commonest part of a figure: series against x, each one number per run and place."""

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from rgflow.judging.intervals import Interval, t_interval
from rgflow.judging.text import number_text
from rgflow.plots import marks, style

Row = dict[str, Any]
Handle = Line2D | Patch


@dataclasses.dataclass(frozen=True)
class Series:
    """One number per run and place: ``group`` is coloured, ``kind`` (a key of ``marks.KINDS``) is the look.

    ``x`` are numbers or names. ``values`` [run, place] get the interval that verdicts use, Student's; ``intervals``
    stand in their place where a number is no mean over runs. A ``silent`` series is left out of the panel in words.
    """

    group: Any
    kind: str
    x: Any
    values: Any = None
    intervals: Sequence[Interval] = ()
    silent: bool = False

    @functools.cached_property
    def runs(self) -> np.ndarray:
        """The values [run, place]; without any run where the series holds intervals."""
        return np.zeros((0, len(self.x))) if self.values is None else np.asarray(self.values, np.float64)

    @functools.cached_property
    def found(self) -> list[tuple[int, Any, Interval]]:
        """(place, x, interval) wherever there is a number."""
        known = list(self.intervals) if self.values is None else [t_interval(column) for column in self.runs.T]
        places = enumerate(zip(self.x, known, strict=True))
        return [(place, x, interval) for place, (x, interval) in places if np.isfinite(interval.mean)]


def by_place(values: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the values [run, place] of a series from those of every place, filled up with NaN.

    >>> by_place([np.array([1.0, 2.0]), np.array([3.0])]).tolist()
    [[1.0, 3.0], [2.0, nan]]
    """
    found = np.full((max(map(len, values), default=0), len(values)), np.nan)
    for place, column in enumerate(values):
        found[: len(column), place] = column
    return found


def constant(group: Any, kind: str, x: Any, value: float) -> Series:
    """Returns the series of a number without an error, from the first to the last x, if there are any."""
    ends = [x[0], x[-1]] if len(x) else []
    return Series(group, kind, ends, intervals=[Interval(value, np.nan, np.nan, 0)] * len(ends))


@dataclasses.dataclass(frozen=True)
class Guide:
    """A straight line across a panel: a bound (at ``x`` or ``y``), or y = ``slope`` x, with its place in the legend.

    ``within`` is a margin on both sides of ``y``: a grey band in the place of a line.
    """

    label: str
    y: float | None = None
    x: float | None = None
    within: float = 0.0
    slope: float = 1.0

    @property
    def is_slanted(self) -> bool:
        """Whether the line is y = slope x."""
        return self.x is None and self.y is None

    @property
    def _look(self) -> dict[str, Any]:
        solid = self.is_slanted and self.slope == 1
        return {"color": style.GREY, "linewidth": 1.0, "linestyle": "-" if solid else (0, (1, 1.5))}

    def draw(self, axes: Axes) -> None:
        """Draws the line or the band."""
        if self.y is not None and self.within:
            axes.axhspan(self.y - self.within, self.y + self.within, color=style.BAND, linewidth=0, zorder=0)
            return
        look = {"zorder": 1, **self._look}
        if self.y is not None:
            axes.axhline(self.y, **look)
        elif self.x is not None:
            axes.axvline(self.x, **look)
        else:
            axes.axline((0, 0), slope=self.slope, **look)

    @property
    def handle(self) -> Handle:
        """The legend entry."""
        if self.within:
            return Patch(facecolor=style.BAND, label=self.label)
        return Line2D([], [], label=self.label, **self._look)


FAR, ZERO = 8.0, 1e-3
"""Ratio of the largest to the smallest number above which an axis is logarithmic; share of the largest that is zero."""


def fitting(series: Iterable[Series]) -> dict[str, Any]:
    """Returns scale and limits of a value axis for some series: from the numbers, not from bars that cross zero.

    >>> fitting([Series("", "measured", [1, 2], [[1.0, 2.0]])])
    {'scale': 'linear', 'limits': (0.0, 2.3)}
    """
    found = [interval for s in series for *_, interval in s.found]
    values = [x for interval in found for x in (interval.mean, interval.high) if np.isfinite(x)]
    positive = [x for x in values if x > ZERO * max(values)]
    if not positive:
        return {}
    low, high = min(positive), max(positive)
    if high > FAR * low:
        return {"scale": "log", "limits": (low * (low / high) ** 0.12, high * (high / low) ** 0.1)}
    # Marks at zero are drawn in full.
    lowest = min(-0.05 * high, 1.15 * min(values)) if min(values) <= 0 else 0.0
    return {"scale": "linear", "limits": (lowest, round(1.15 * high, 12))}


@runtime_checkable
class Part(Protocol):
    """What a figure (handed over where it is asked for) wants of a panel, whatever its kind."""

    @property
    def title(self) -> str: ...  # noqa: D102
    @property
    def groups(self) -> list[Any]: ...  # noqa: D102
    @property
    def height(self) -> float: ...  # noqa: D102
    @property
    def handles(self) -> list[Handle]: ...  # noqa: D102
    def rows(self, figure: Any) -> list[Row]: ...  # noqa: D102
    def words(self, figure: Any) -> str: ...  # noqa: D102
    def draw(self, axes: Axes, figure: Any, colours: Mapping[Any, Any]) -> None: ...  # noqa: D102


@dataclasses.dataclass(frozen=True)
class Panel:
    """Series against x. What differs from the axes of the figure is said here; ``empty`` stands where no number is.

    Where x are names, points of several groups stand beside each other. A ``scale`` that is a number makes y linear up
    to that size and logarithmic beyond, for numbers of both signs. ``name`` is what table and words call the panel
    where its title does not tell.
    """

    title: str
    series: Sequence[Series]
    guides: Sequence[Guide] = ()
    name: str = ""
    x: str = ""
    y: str = ""
    scale: str | float = ""
    x_scale: str = ""
    limits: tuple[float, float] | None = None
    empty: str = "no live run"
    height: float = 2.6

    @property
    def groups(self) -> list[Any]:
        """The groups that are coloured."""
        return [s.group for s in self.series if s.found]

    @property
    def handles(self) -> list[Handle]:
        """The legend entries of kinds and guides."""
        kinds = dict.fromkeys(s.kind for s in self.series if s.found)
        return [*(marks.handle(kind) for kind in kinds), *(guide.handle for guide in self.guides)]

    def rows(self, figure: Any) -> list[Row]:
        """Returns every drawn number with its interval."""
        found: list[Row] = []
        panel = self.name or self.title
        for s in self.series:
            for place, x, interval in s.found:
                name, x = marks.name_of(s.kind), x.replace("\n", " ") if isinstance(x, str) else x
                kind = figure.called.get(name) or marks.KINDS[s.kind].label or s.kind
                row = {"panel": panel, "group": figure.name_of(s.group), "kind": kind, "x": x}
                row |= dict(zip(("mean", "low", "high", "runs"), interval, strict=True))
                each = " ".join(f"{value:.9g}" for value in s.runs[:, place]) if figure.faint(s) else ""
                found.append(row | {"each run": each})
        for guide in self.guides:
            row = {"panel": panel, "group": guide.label, "kind": "guide", "x": guide.x, "mean": guide.y}
            row |= {"slope": guide.slope} if guide.is_slanted else {}
            if guide.y is not None and guide.within:
                row |= {"low": guide.y - guide.within, "high": guide.y + guide.within}
            found.append(row)
        return found

    def words(self, figure: Any) -> str:
        """Returns the two ends of every series in words."""
        said = []
        for s in (s for s in self.series if s.found and not s.silent):
            ends = dict.fromkeys(number_text(*interval[:3]) for _, _, interval in (s.found[0], s.found[-1]))
            kind = marks.name_of(s.kind)
            name = ", ".join(part for part in (figure.name_of(s.group), figure.called.get(kind, kind)) if part)
            said.append(f"{name}: {' to '.join(ends)}")
        return "; ".join(said) or self.empty

    @property
    def _names(self) -> list[str]:
        """The x that are names and have a number, in the order in which the series declare them."""
        known = {x for s in self.series for _, x, _ in s.found}
        return list(dict.fromkeys(x for s in self.series for x in s.x if isinstance(x, str) and x in known))

    def _beside(self, s: Series, drawn: str) -> tuple[float, float]:
        """Returns how far a series stands from its place, and its width: bars one by one, points by group."""
        key = (lambda one: one.group) if drawn == "points" else id
        others = [key(o) for o in self.series if o.found and marks.KINDS[o.kind].drawn == drawn]
        places = list(dict.fromkeys(others))
        width = marks.BAR_WIDTH / len(places)
        return (places.index(key(s)) - (len(places) - 1) / 2) * width, width

    def draw(self, axes: Axes, figure: Any, colours: Mapping[Any, Any]) -> None:
        """Draws the series, the guides and the axes."""
        names, below = self._names, []
        for s in (s for s in self.series if s.found):
            colour = marks.KINDS[s.kind].colour or colours[s.group]
            x, intervals = self._places(s, names), [interval for *_, interval in s.found]
            self._draw_series(axes, s, x, intervals, figure, colour)
            below.append((x, intervals, colour))
        for guide in self.guides:
            guide.draw(axes)
        if names:
            style.name_ticks(axes, names, figure.side_by_side)
            axes.set_xlim(-0.6, len(names) - 0.4)
        if not any(s.found for s in self.series):
            style.say_empty(axes, self.empty)
        self._set_axes(axes, figure, bool(names))
        if axes.get_yscale() == "log":
            for one in below:
                marks.draw_below(axes, *one)

    def _places(self, s: Series, names: Sequence[str]) -> np.ndarray:
        """Returns where the numbers of a series stand."""
        drawn = marks.KINDS[s.kind].drawn
        x = np.array([names.index(x) if isinstance(x, str) else x for _, x, _ in s.found], np.float64)
        return x + self._beside(s, drawn)[0] if drawn == "bars" or (names and drawn == "points") else x

    def _draw_series(
        self, axes: Axes, s: Series, x: np.ndarray, intervals: Sequence[Interval], figure: Any, colour: Any
    ) -> None:
        drawn, look = marks.KINDS[s.kind][:2]
        if drawn == "bars":
            marks.draw_bars(axes, x, intervals, colour, look, self._beside(s, drawn)[1])
            return
        if drawn == "levels":
            marks.draw_levels(axes, x, intervals, colour, look)
            return
        if figure.faint(s):
            marks.draw_runs(axes, x, s.runs[:, [place for place, _, _ in s.found]], colour)
        look = {**look, **({"marker": figure.markers[s.group]} if s.group in figure.markers else {})}
        (marks.draw_points if drawn == "points" else marks.draw_line)(axes, x, intervals, colour, look)

    def _set_axes(self, axes: Axes, figure: Any, named: bool) -> None:
        axes.set(title=self.title, xlabel=self.x or figure.x)
        if self.y:
            axes.set_ylabel(self.y)
        if self.limits:
            axes.set_ylim(self.limits)
        scale = self.scale or figure.scale
        if scale == "log":
            style.log_axis(axes, "y")
        elif not isinstance(scale, str):
            style.signed_log_axis(axes, scale)
        x_scale = self.x_scale or figure.x_scale
        if x_scale == "log" and not named:
            style.log_axis(axes, "x")
        if x_scale == "step":
            style.step_axis(axes, float(max((x for s in self.series for _, x, _ in s.found), default=1)))
        if x_scale == "whole" and not named:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if figure.x_ticks:
            axes.set_xticks(figure.x_ticks, [f"{x:g}" for x in figure.x_ticks])
            axes.set_xticks([], minor=True)
