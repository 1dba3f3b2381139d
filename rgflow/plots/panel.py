"""The commonest part of a figure: series against x, each one number per run and place."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
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
    stand in their place where a number is no mean over runs.
    """

    group: Any
    kind: str
    x: Any
    values: Any = None
    intervals: Sequence[Interval] = ()

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


def constant(group: Any, kind: str, x: Sequence[Any] | np.ndarray, value: float) -> Series:
    """Returns the series of a number without an error, from the first to the last x."""
    return Series(group, kind, [x[0], x[-1]], intervals=[Interval(value, np.nan, np.nan, 0)] * 2)


@dataclasses.dataclass(frozen=True)
class Guide:
    """A straight line across a panel: a bound (at ``x`` or ``y``), or the diagonal, with its place in the legend.

    ``within`` is a margin on both sides of ``y``: a grey band in the place of a line.
    """

    label: str
    y: float | None = None
    x: float | None = None
    within: float = 0.0

    def draw(self, axes: Axes) -> None:
        """Draws the line or the band."""
        if self.y is not None and self.within:
            axes.axhspan(self.y - self.within, self.y + self.within, color=style.BAND, linewidth=0, zorder=0)
            return
        look: dict[str, Any] = {"color": style.GREY, "linewidth": 1.0, "zorder": 1, "linestyle": (0, (1, 1.5))}
        if self.y is not None:
            axes.axhline(self.y, **look)
        elif self.x is not None:
            axes.axvline(self.x, **look)
        else:
            axes.axline((0, 0), slope=1, **look)

    @property
    def handle(self) -> Handle:
        """The legend entry."""
        if self.within:
            return Patch(facecolor=style.BAND, label=self.label)
        return Line2D([], [], color=style.GREY, linewidth=1.0, linestyle=(0, (1, 1.5)), label=self.label)


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
    to that size and logarithmic beyond, for numbers of both signs.
    """

    title: str
    series: Sequence[Series]
    guides: Sequence[Guide] = ()
    x: str = ""
    y: str = ""
    scale: str | float = ""
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
        for s in self.series:
            for place, x, interval in s.found:
                row = {"panel": self.title, "group": figure.name_of(s.group), "kind": s.kind, "x": x}
                row |= dict(zip(("mean", "low", "high", "runs"), interval, strict=True))
                each = " ".join(f"{value:.9g}" for value in s.runs[:, place]) if figure.faint(s) else ""
                found.append(row | {"each run": each})
        for guide in self.guides:
            row = {"panel": self.title, "group": guide.label, "kind": "guide", "x": guide.x, "mean": guide.y}
            if guide.y is not None and guide.within:
                row |= {"low": guide.y - guide.within, "high": guide.y + guide.within}
            found.append(row)
        return found

    def words(self, figure: Any) -> str:
        """Returns the two ends of every series in words."""
        said = []
        for s in (s for s in self.series if s.found):
            ends = dict.fromkeys(number_text(*interval[:3]) for _, _, interval in (s.found[0], s.found[-1]))
            kind = s.kind.removesuffix(" bars")
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
        names = self._names
        for s in (s for s in self.series if s.found):
            self._draw_series(axes, s, names, figure, colours[s.group])
        for guide in self.guides:
            guide.draw(axes)
        if names:
            style.name_ticks(axes, names, figure.side_by_side)
            axes.set_xlim(-0.6, len(names) - 0.4)
        if not any(s.found for s in self.series):
            style.say_empty(axes, self.empty)
        self._set_axes(axes, figure, bool(names))

    def _draw_series(self, axes: Axes, s: Series, names: Sequence[str], figure: Any, colour: Any) -> None:
        x = np.array([names.index(x) if isinstance(x, str) else x for _, x, _ in s.found], np.float64)
        intervals, (drawn, look) = [found[2] for found in s.found], marks.KINDS[s.kind]
        if drawn == "bars":
            shift, width = self._beside(s, drawn)
            marks.draw_bars(axes, x + shift, intervals, colour, look, width)
            return
        if drawn == "levels":
            marks.draw_levels(axes, x, intervals, colour, look)
            return
        if figure.faint(s):
            marks.draw_runs(axes, x, s.runs[:, [place for place, _, _ in s.found]], colour)
        look = {**look, **({"marker": figure.markers[s.group]} if s.group in figure.markers else {})}
        if drawn == "points":
            marks.draw_points(axes, x + (self._beside(s, drawn)[0] if names else 0.0), intervals, colour, look)
        else:
            marks.draw_line(axes, x, intervals, colour, look)

    def _set_axes(self, axes: Axes, figure: Any, named: bool) -> None:
        axes.set(title=self.title, xlabel=self.x or figure.x)
        if self.y:
            axes.set_ylabel(self.y)
        scale = self.scale or figure.scale
        if scale == "log":
            style.log_axis(axes, "y")
        elif not isinstance(scale, str):
            style.signed_log_axis(axes, scale)
        if figure.x_scale == "log" and not named:
            style.log_axis(axes, "x")
        if figure.x_scale == "step":
            style.step_axis(axes, float(max((x for s in self.series for _, x, _ in s.found), default=1)))
        if figure.x_scale == "whole" and not named:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if self.limits:
            axes.set_ylim(self.limits)
