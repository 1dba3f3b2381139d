"""Heat maps whose every square says its number: colours, contrast of the text, hatching where nothing can be said.

Knows rows and columns only, neither runs nor physics. Squares are drawn as vectors, so that a report stays sharp.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Colormap, ListedColormap, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

SHADES = 40
"""Steps of a colour map; matplotlib turns a colour bar of 50 or more into a bitmap."""

SMALL = 6.8
"""Size of the text in a square (points)."""

LACKING: dict[str, Any] = {"facecolor": "#f0f0f0", "edgecolor": "#cfcfcf", "hatch": "////"}
OUTLINE = 1.8


@dataclasses.dataclass(frozen=True)
class Square:
    """One square of a map: the value that colours it (NaN: hatched), what it says, whether it is outlined."""

    value: float
    text: str
    outlined: bool = False


@dataclasses.dataclass(frozen=True)
class Scale:
    """Colours of a map from ``low`` to ``high``, what they mean, and a value marked on the colour bar."""

    colours: Colormap
    low: float
    high: float
    label: str
    mark: float | None = None

    def colour(self, value: float) -> tuple[float, float, float]:
        """Returns the colour of a value, the nearest end's outside the scale."""
        return to_rgb(self.colours(Normalize(self.low, self.high)(value)))

    @property
    def mappable(self) -> ScalarMappable:
        """Returns what matplotlib needs for a colour bar."""
        return ScalarMappable(Normalize(self.low, self.high), self.colours)


def shades(name: str, first: float = 0.0, last: float = 1.0) -> ListedColormap:
    """Returns a part of one of matplotlib's colour maps in few enough steps."""
    return ListedColormap(matplotlib.colormaps[name](np.linspace(first, last, SHADES)))


def sequential(label: str, values: Sequence[float], least_high: float, mark: float | None = None) -> Scale:
    """Returns a scale from 0 to the largest value, or to ``least_high`` if that is more."""
    finite = [v for v in values if np.isfinite(v)]
    return Scale(shades("viridis"), 0.0, max([least_high, *finite]), label, mark)


def diverging(label: str, values: Sequence[float], least_high: float, mark: float | None = None) -> Scale:
    """Returns a scale centred at 0 that holds every value and ``least_high``; blue is below 0."""
    finite = [abs(v) for v in values if np.isfinite(v)]
    # The darkest ends are left out: neither black nor white text is easy to read there.
    high = max([least_high, *finite])
    return Scale(shades("RdBu_r", 0.1, 0.9), -high, high, label, mark)


def luminance(colour: tuple[float, float, float]) -> float:
    """Returns the relative luminance of an sRGB colour, 0 for black and 1 for white.

    Example:
        >>> round(luminance((1.0, 1.0, 1.0)), 6), luminance((0.0, 0.0, 0.0))
        (1.0, 0.0)
    """
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in colour]
    return float(np.dot((0.2126, 0.7152, 0.0722), linear))


def ink_on(colour: Any) -> str:
    """Returns black or white, whichever stands out more from a background.

    Example:
        >>> ink_on("#ffff00"), ink_on("#000080")
        ('black', 'white')
    """
    light = luminance(to_rgb(colour))
    return "black" if (light + 0.05) ** 2 > 0.05 * 1.05 else "white"


def draw_map(
    axes: Axes, squares: Sequence[Sequence[Square]], rows: Sequence[str], columns: Sequence[str], scale: Scale
) -> None:
    """Draws squares [row, column], the first row at the bottom, with the names of rows and columns as ticks."""
    for i, line in enumerate(squares):
        for j, square in enumerate(line):
            _draw_square(axes, j, i, square, scale)
    axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(-0.5, len(rows) - 0.5))
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.grid(False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _draw_square(axes: Axes, x: int, y: int, square: Square, scale: Scale) -> None:
    known = bool(np.isfinite(square.value))
    colour = scale.colour(square.value) if known else LACKING["facecolor"]
    if known:
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=colour, edgecolor="white", linewidth=1))
    else:
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, linewidth=0, **LACKING))
    ink = ink_on(colour) if known else "#4a4a4a"
    if square.outlined:
        axes.add_patch(Rectangle((x - 0.47, y - 0.44), 0.94, 0.88, fill=False, edgecolor=ink, linewidth=OUTLINE))
    axes.text(x, y, square.text, ha="center", va="center", fontsize=SMALL, color=ink, linespacing=1.25)


def colour_bar(figure: Figure, axes: Axes, scale: Scale) -> Colorbar:
    """Puts a colour bar to the right of a map, with the marked value as a line across it."""
    bar = figure.colorbar(scale.mappable, ax=axes, pad=0.015, aspect=16)
    bar.set_label(scale.label)
    bar.outline.set_visible(False)  # type: ignore[operator]
    bar.ax.grid(False)
    if scale.mark is not None:
        bar.ax.axhline(scale.mark, color="black", linewidth=1.5)
    return bar


def handles(outlined: str, lacking: str) -> list[Patch]:
    """Returns the legend entries of outlined and of hatched squares."""
    frame = Patch(facecolor="white", edgecolor="black", linewidth=OUTLINE, label=outlined)
    return [frame, Patch(linewidth=0, label=lacking, **LACKING)]
