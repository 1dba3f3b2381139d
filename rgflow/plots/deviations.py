"""Many numbers at a glance, one mark each, in lines with a name: deviations in standard errors, or other numbers."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from rgflow.judging.text import number_text
from rgflow.plots import style
from rgflow.plots.panel import Guide, Handle, Row

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
MANY = 8
"""Marks of a line above which they are drawn small."""

SHADE = "#e8eef4"
NO_ESTIMATE = "no estimate (dead or too few runs)"
MISSING: dict[str, Any] = {"color": style.GREY, "marker": "x", "markersize": 4.5, "linestyle": ""}


@dataclasses.dataclass(frozen=True)
class Mark:
    """One number, NaN where there is none: its kind (a marker), its name, and the numbers behind it for the table."""

    kind: str
    name: str
    value: float
    numbers: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Deviations:
    """Marks in lines, from the top; within a line they follow each other downwards.

    Numbers beyond the ``limits`` are arrows at the edge, with the number; those without a value are crosses at the left
    one. ``within`` shades what lies nearer to zero than that, and ``shaded`` says what the shade means.
    """

    title: str
    lines: Mapping[str, Sequence[Mark]]
    x: str
    guides: Sequence[Guide] = ()
    limits: tuple[float, float] | None = None
    within: float = 0.0
    shaded: str = ""
    scale: str = "linear"

    @property
    def groups(self) -> list[Any]:
        """No group is coloured."""
        return []

    @property
    def height(self) -> float:
        """The height in inches."""
        return 0.5 * len(self.lines) + 0.9

    @property
    def _markers(self) -> dict[str, str]:
        kinds = dict.fromkeys(mark.kind for marks in self.lines.values() for mark in marks)
        return dict(zip(kinds, MARKERS, strict=False))

    @property
    def handles(self) -> list[Handle]:
        """The legend entries of kinds, of the shade, of guides and of what is missing."""
        look: dict[str, Any] = {"color": style.INK, "linestyle": ""}
        found: list[Handle] = [Line2D([], [], marker=m, label=kind, **look) for kind, m in self._markers.items()]
        found += [Patch(color=SHADE, label=self.shaded)] if self.shaded else []
        found += [guide.handle for guide in self.guides]
        lost = any(not np.isfinite(mark.value) for marks in self.lines.values() for mark in marks)
        return found + ([Line2D([], [], label=NO_ESTIMATE, **MISSING)] if lost else [])

    @property
    def beyond(self) -> str:
        """How many numbers lie outside of the shade, in words with a blank after them; '' without a shade."""
        seen = [m.value for marks in self.lines.values() for m in marks if np.isfinite(m.value)]
        outside = sum(abs(value) > self.within for value in seen)
        return f"{outside} of {len(seen)} beyond {self.within:g}. " if self.within else ""

    def rows(self, figure: Any) -> list[Row]:
        """Returns a row for every mark."""
        return [
            {"panel": self.title or self.x, "line": name.replace("\n", " "), "kind": mark.kind, "name": mark.name,
             "value": mark.value, **mark.numbers}
            for name, marks in self.lines.items()
            for mark in marks
        ]  # fmt: skip

    def words(self, figure: Any) -> str:
        """Returns the range of every line in words."""
        said = []
        for name, marks in self.lines.items():
            seen = [mark.value for mark in marks if np.isfinite(mark.value)]
            ends = f"{number_text(min(seen))} to {number_text(max(seen))}" if seen else "no estimate"
            said.append(f"{' '.join(name.split())}: {ends}")
        return f"{self.x}, {self.beyond}{'; '.join(said)}"

    def draw(self, axes: Axes, figure: Any, colours: Mapping[Any, Any]) -> None:
        """Draws every mark at its height, the shade, the guides and the names."""
        if self.within:
            axes.axvspan(-self.within, self.within, color=SHADE, linewidth=0, zorder=0)
            axes.axvline(0.0, color=style.BLUE, linewidth=1.2, zorder=1)
        for guide in self.guides:
            guide.draw(axes)
        for line, marks in enumerate(self.lines.values()):
            offsets = np.linspace(0.36, -0.36, len(marks)) if len(marks) > 1 else [0.0]
            for offset, mark in zip(offsets, marks, strict=True):
                self._draw_mark(axes, mark, float(offset) - line, 3.0 if len(marks) > MANY else 4.5)
            if line:
                axes.axhline(0.5 - line, color="#d0d0d0", linewidth=0.7, zorder=0)
        axes.set_yticks([-float(k) for k in range(len(self.lines))], list(self.lines))
        axes.set(title=self.title, xlabel=self.x, ylim=(0.45 - len(self.lines), 0.55))
        axes.tick_params(axis="y", length=0)
        axes.grid(False, axis="y")
        if self.limits:
            axes.set_xlim(self.limits)
        if self.scale == "log":
            style.log_axis(axes, "x")

    def _draw_mark(self, axes: Axes, mark: Mark, y: float, size: float) -> None:
        look: dict[str, Any] = {"color": style.INK, "linestyle": "", "clip_on": False, "zorder": 3}
        low, high = self.limits or (-np.inf, np.inf)
        if not np.isfinite(mark.value):
            axes.plot([0.02], [y], transform=axes.get_yaxis_transform(), **MISSING)
        elif low <= mark.value <= high:
            axes.plot([mark.value], [y], marker=self._markers[mark.kind], markersize=size, **look)
        else:
            above = mark.value > high
            axes.plot([high if above else low], [y], marker=">" if above else "<", **look)
            axes.annotate(f"{mark.value:.0f}", (high if above else low, y), (-5 if above else 5, 0), va="center",
                          ha="right" if above else "left", fontsize=7, textcoords="offset points")  # fmt: skip
