"""A matrix of squares, each with a word or a number in it: a heat map where they have values, else a table of statuses.

Squares are drawn as vectors, so that a report stays sharp.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize, to_rgb
from matplotlib.patches import Patch, Rectangle

from rgflow.plots import style
from rgflow.plots.panel import Handle, Row

SMALL = 6.8
"""Size of the text in a square (points)."""

LACKING: dict[str, Any] = {"facecolor": "#f0f0f0", "edgecolor": "#cfcfcf", "hatch": "////"}
STATUSES: dict[str, tuple[str, str]] = {
    "supported": (style.BLUE, "+"),
    "contradicted": (style.VERMILION, "\u2212"),
    "mixed": (style.PURPLE, "\u00b1"),
    "undecided": ("#e8e8e8", "?"),
    "undefined": ("white", "\u00b7"),
}
"""Colour and sign of every status, the same in all figures."""


@dataclasses.dataclass(frozen=True)
class Scale:
    """Colours from ``low`` to ``high``, what they mean, and a value that is marked on the colour bar."""

    colours: Colormap
    low: float
    high: float
    label: str
    mark: float | None = None


def sequential(label: str, values: Sequence[float], least_high: float, mark: float | None = None) -> Scale:
    """Returns a scale from 0 to the largest value, or to ``least_high`` if that is more."""
    finite = [v for v in values if np.isfinite(v)]
    return Scale(style.shades("viridis"), 0.0, max([least_high, *finite]), label, mark)


def diverging(label: str, values: Sequence[float], least_high: float, mark: float | None = None) -> Scale:
    """Returns a scale centred at 0 that holds every value and ``least_high``; blue is below 0."""
    high = max([least_high, *(abs(v) for v in values if np.isfinite(v))])
    # The darkest ends are left out: neither black nor white text is easy to read there.
    return Scale(style.shades("RdBu_r", 0.1, 0.9), -high, high, label, mark)


@dataclasses.dataclass(frozen=True)
class Square:
    """One square: what it says, the value or the status that colours it, and the numbers behind it for the table."""

    text: str
    value: float = np.nan
    status: str = ""
    outlined: bool = False
    numbers: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Matrix:
    """Squares by (row, column); ``down`` and ``across`` name rows and columns, the first row stands at the top.

    A name of several parts, ("short", "scored", "uncentred"), puts the columns or rows with a common first part into
    one group, which is named above (or separated by a line). ``scale`` colours by value; without one statuses colour.
    ``said`` is the panel in words.
    """

    title: str
    down: Sequence[tuple[str, ...] | str]
    across: Sequence[tuple[str, ...] | str]
    squares: Mapping[tuple[Any, Any], Square]
    scale: Scale | None = None
    said: str = ""
    outlined: str = ""
    lacking: str = ""
    row_inches: float = 0.24

    @property
    def groups(self) -> list[Any]:
        """No group is coloured."""
        return []

    @property
    def height(self) -> float:
        """The height in inches."""
        return self.row_inches * len(self.down) + 0.9

    @property
    def handles(self) -> list[Handle]:
        """The legend entries of statuses, and of outlined and hatched squares."""
        used = {square.status for square in self.squares.values()}
        edge: dict[str, Any] = {"edgecolor": "#bdbdbd", "linewidth": 0.6}
        found: list[Handle] = [
            Patch(facecolor=colour, label=f"{sign}  {status}", **edge)
            for status, (colour, sign) in STATUSES.items() if status in used
        ]  # fmt: skip
        found += [Patch(facecolor="white", edgecolor="black", label=self.outlined)] if self.outlined else []
        return found + ([Patch(linewidth=0, label=self.lacking, **LACKING)] if self.lacking else [])

    def rows(self, figure: Any) -> list[Row]:
        """Returns a row for every square."""
        names = lambda name: " / ".join(name) if isinstance(name, tuple) else name  # noqa: E731
        return [
            {"panel": self.title, "row": names(row), "column": names(column), "text": square.text.replace("\n", " "),
             "value": square.value, "status": square.status, **square.numbers}
            for (row, column), square in self.squares.items()
        ]  # fmt: skip

    def words(self, figure: Any) -> str:
        """Returns the panel in words."""
        return self.said

    def draw(self, axes: Axes, figure: Any, colours: Mapping[Any, Any]) -> None:
        """Draws every square, the names of rows and columns, their groups, and a colour bar where there is a scale."""
        for (row, column), square in self.squares.items():
            self._draw_square(axes, self.across.index(column), self.down.index(row), square)
        axes.set(xlim=(-0.5, len(self.across) - 0.5), ylim=(len(self.down) - 0.5, -0.5))
        last = lambda name: name[-1] if isinstance(name, tuple) else name  # noqa: E731
        many = len(self.across) > 16
        axes.set_xticks(range(len(self.across)), list(map(last, self.across)), rotation=90 if many else 0)
        axes.set_yticks(range(len(self.down)), [" ".join(n) if isinstance(n, tuple) else n for n in self.down])
        axes.tick_params(length=0, pad=2, labelsize=7.5)
        axes.grid(False)
        axes.spines[:].set_visible(False)
        depth = self._draw_groups(axes)
        axes.set_title(self.title, loc="left", pad=5 + 11 * depth)
        axes.set(xlabel=figure.x, ylabel=figure.y)
        if self.scale is not None and axes.figure is not None:
            shades = ScalarMappable(Normalize(self.scale.low, self.scale.high), self.scale.colours)
            bar = axes.figure.colorbar(shades, ax=axes, pad=0.015, aspect=16, label=self.scale.label)
            bar.outline.set_visible(False)  # type: ignore[operator]
            if self.scale.mark is not None:
                bar.ax.axhline(self.scale.mark, color="black", linewidth=1.5)

    def _draw_square(self, axes: Axes, x: int, y: int, square: Square) -> None:
        look: dict[str, Any] = dict(LACKING)
        ink = "#4a4a4a"
        if square.status:
            look = {"facecolor": STATUSES[square.status][0], "edgecolor": "white"}
        elif self.scale is not None and np.isfinite(square.value):
            share = Normalize(self.scale.low, self.scale.high)(square.value)
            look = {"facecolor": to_rgb(self.scale.colours(share)), "edgecolor": "white"}
        if "hatch" not in look:
            ink = style.ink_on(look["facecolor"])
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, linewidth=0.8 if "hatch" not in look else 0, **look))
        if square.outlined:
            axes.add_patch(Rectangle((x - 0.47, y - 0.44), 0.94, 0.88, fill=False, edgecolor=ink, linewidth=1.8))
        axes.text(x, y, square.text, ha="center", va="center", fontsize=SMALL, color=ink, linespacing=1.25)

    def _draw_groups(self, axes: Axes) -> int:
        """Draws lines between groups and the names of those of columns; returns how many lines of names that takes."""
        first = self.across[0] if self.across else ""
        levels = len(first) - 1 if isinstance(first, tuple) else 0
        for level in range(levels):
            for name, start, end in _runs_of([column[: level + 1] for column in self.across]):
                place: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
                weight = "bold" if level == 0 else "normal"
                axes.annotate(name[-1], ((start + end) / 2, 1), (0, 3 + 11 * (levels - 1 - level)), ha="center",
                              va="bottom", fontsize=7.5, fontweight=weight, **place)  # fmt: skip
                if start:
                    axes.axvline(start - 0.5, color=style.INK, linewidth=1.6 if level == 0 else 0.7)
        heads = [row[0] if isinstance(row, tuple) else "" for row in self.down]
        for _, start, _ in _runs_of(heads):
            if start:
                axes.axhline(start - 0.5, color=style.INK, linewidth=0.7)
        return levels


def _runs_of(names: Sequence[Any]) -> list[tuple[Any, int, int]]:
    """Returns (name, first place, last place) of every run of equal names."""
    found: list[tuple[Any, int, int]] = []
    for place, name in enumerate(names):
        if found and found[-1][0] == name:
            found[-1] = (name, found[-1][1], place)
        else:
            found.append((name, place, place))
    return found
