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


@dataclasses.dataclass(frozen=True)
class Guide:
    """A straight line across a panel: a bound (at ``x`` or ``y``), or the diagonal, with its place in the legend."""

    label: str
    y: float | None = None
    x: float | None = None

    def draw(self, axes: Axes) -> None:
        """Draws the line."""
        look: dict[str, Any] = {"color": style.GREY, "linewidth": 1.0, "zorder": 1, "linestyle": (0, (1, 1.5))}
        if self.y is not None:
            axes.axhline(self.y, **look)
        elif self.x is not None:
            axes.axvline(self.x, **look)
        else:
            axes.axline((0, 0), slope=1, **look)

    @property
    def handle(self) -> Line2D:
        """The legend entry."""
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
    """Series against x. What differs from the axes of the figure is said here; ``empty`` stands where no number is."""

    title: str
    series: Sequence[Series]
    guides: Sequence[Guide] = ()
    x: str = ""
    y: str = ""
    scale: str = ""
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
        guides = [(guide.label, guide.x, guide.y) for guide in self.guides]
        return found + [{"panel": self.title, "group": g, "kind": "guide", "x": x, "mean": y} for g, x, y in guides]

    def words(self, figure: Any) -> str:
        """Returns the two ends of every series in words."""
        said = []
        for s in (s for s in self.series if s.found):
            ends = dict.fromkeys(number_text(*interval[:3]) for _, _, interval in (s.found[0], s.found[-1]))
            kind = s.kind.removesuffix(" bars")
            name = ", ".join(part for part in (figure.name_of(s.group), figure.called.get(kind, kind)) if part)
            said.append(f"{name}: {' to '.join(ends)}")
        return "; ".join(said) or self.empty

    def draw(self, axes: Axes, figure: Any, colours: Mapping[Any, Any]) -> None:
        """Draws the series, the guides and the axes."""
        names = list(dict.fromkeys(x for s in self.series for _, x, _ in s.found if isinstance(x, str)))
        bars = [s for s in self.series if s.found and marks.KINDS[s.kind].drawn == "bars"]
        for s in (s for s in self.series if s.found):
            x = np.array([names.index(x) if isinstance(x, str) else x for _, x, _ in s.found], np.float64)
            intervals, colour, kind = [found[2] for found in s.found], colours[s.group], marks.KINDS[s.kind]
            if kind.drawn == "bars":
                width = marks.BAR_WIDTH / len(bars)
                shift = (bars.index(s) - (len(bars) - 1) / 2) * width
                marks.draw_bars(axes, x + shift, intervals, colour, kind.look, width)
                continue
            if figure.faint(s):
                marks.draw_runs(axes, x, s.runs[:, [place for place, _, _ in s.found]], colour)
            (marks.draw_line if kind.drawn == "line" else marks.draw_points)(axes, x, intervals, colour, kind.look)
        for guide in self.guides:
            guide.draw(axes)
        if names:
            style.name_ticks(axes, names, figure.side_by_side)
        if not any(s.found for s in self.series):
            style.say_empty(axes, self.empty)
        self._set_axes(axes, figure, bool(names))

    def _set_axes(self, axes: Axes, figure: Any, named: bool) -> None:
        axes.set(title=self.title, xlabel=self.x or figure.x)
        if self.y:
            axes.set_ylabel(self.y)
        if (self.scale or figure.scale) == "log":
            style.log_axis(axes, "y")
        if figure.x_scale == "log" and not named:
            style.log_axis(axes, "x")
        if figure.x_scale == "step":
            style.step_axis(axes, max((x for s in self.series for _, x, _ in s.found), default=1))
        if figure.x_scale == "whole" and not named:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if self.limits:
            axes.set_ylim(self.limits)
