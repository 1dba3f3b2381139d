"""What every figure shares: style, colours, axes, layout.

Figures are made through matplotlib's object API; nothing touches pyplot or leaves a global setting changed.
"""

import contextlib
from collections.abc import Sequence
from typing import Any

import matplotlib
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

BLUE, VERMILION, GREEN, ORANGE, SKY, PURPLE = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7"
"""Okabe and Ito's palette, which colour-blind readers can tell apart."""

PALETTE = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, "#7a5230", "#000000")
INK, GREY, BAND = "#222222", "#8a8a8a", "#d9d9d9"
STATUS_COLOURS = {
    "supported": BLUE, "contradicted": VERMILION, "mixed": PURPLE, "undecided": GREY, "not_run": GREY,
}  # fmt: skip
"""Colours of marks that are coloured by the status of a verdict."""

STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "Helvetica", "sans-serif"],
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "legend.fontsize": 8.5,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.7,
    "lines.markersize": 4,
    "hatch.linewidth": 0.7,
    # Hinted text is up to a tenth wider in the PNG than where the places of panels are worked out.
    "text.hinting": "none",
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.fonttype": "none",
    "svg.hashsalt": "rgflow",
}
NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))
PNG_DPI = 150
DISTINCT_COLOURS = 3
SHADES = 40
MOST_NAMES = 24
LETTERS_PER_INCH = 11
"""Letters of tick labels that fit side by side; names that need more room are turned."""

LEGEND_LETTERS_PER_INCH, LETTERS_OF_A_MARK = 12, 7
"""Letters of a legend that fit side by side, and the room that the mark of an entry takes, in letters."""

WIDTH_INCHES = 9.0
MOST_COLUMNS = 6
"""Columns of a legend."""


def style() -> contextlib.AbstractContextManager[None]:
    """Returns a context in which matplotlib has this module's settings, whatever matplotlibrc says."""
    return matplotlib.style.context(["default", STYLE])


def settle(figure: Figure) -> None:
    """Fixes the places of all panels, which every file of the figure would otherwise work out again."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
    figure.set_layout_engine("none")


def panels(
    rows: int, columns: int, panel_height: float, wide: bool = False, **options: Any
) -> tuple[Figure, np.ndarray]:
    """Returns a figure of one page's width and its axes [rows, columns]; a lone panel only fills it if ``wide``."""
    width = WIDTH_INCHES if columns > 1 or wide else 0.62 * WIDTH_INCHES
    # Text is as wide as its hinted glyphs, so places are worked out at the size at which they are written.
    # A title below a panel whose axis has a label needs more room than the default, 0.04 inches.
    layout = ConstrainedLayoutEngine(h_pad=0.06)
    figure = Figure(figsize=(width, rows * panel_height + 0.6), layout=layout, dpi=PNG_DPI)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def colours_of(groups: Sequence[Any]) -> dict[Any, Any]:
    """Returns a colour per group: distinct ones for words and for up to three numbers, shades in order for more.

    Raises ValueError for more words than there are colours that can be told apart.
    """
    groups = list(dict.fromkeys(groups))
    numbers = all(isinstance(group, int | float | np.number) for group in groups)
    if numbers and len(groups) > DISTINCT_COLOURS:
        ordered = sorted(groups)
        # The palest fifth of the map is left out: it cannot be seen on white.
        shades = matplotlib.colormaps["viridis"](np.linspace(0.0, 0.88, len(ordered)))
        return {value: tuple(map(float, shade)) for value, shade in zip(ordered, shades, strict=True)}
    if len(groups) > len(PALETTE):
        raise ValueError(f"groups = {groups}: must be at most {len(PALETTE)} words, for want of colours")
    return dict(zip(sorted(groups) if numbers else groups, PALETTE, strict=False))


def shades(name: str, first: float = 0.0, last: float = 1.0) -> ListedColormap:
    """Returns a part of one of matplotlib's colour maps in few steps: a bar of 50 or more becomes a bitmap."""
    return ListedColormap(matplotlib.colormaps[name](np.linspace(first, last, SHADES)))


def luminance(colour: tuple[float, float, float]) -> float:
    """Returns the relative luminance of an sRGB colour, 0 for black and 1 for white.

    >>> round(luminance((1.0, 1.0, 1.0)), 6), luminance((0.0, 0.0, 0.0))
    (1.0, 0.0)
    """
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in colour]
    return float(np.dot((0.2126, 0.7152, 0.0722), linear))


def ink_on(colour: Any) -> str:
    """Returns black or white, whichever stands out more from a background.

    >>> ink_on("#ffff00"), ink_on("#000080")
    ('black', 'white')
    """
    light = luminance(to_rgb(colour))
    return "black" if (light + 0.05) ** 2 > 0.05 * 1.05 else "white"


def step_axis(axes: Axes, last_step: float) -> None:
    """Makes x a logarithmic axis of training steps with the untrained network, step 0, at its left end."""
    axes.set_xscale("symlog", linthresh=1, linscale=0.5)
    powers = [10.0**k for k in range(int(np.log10(max(last_step, 1))) + 1)]
    every = 1 if len(powers) <= 5 else 2
    axes.set_xticks([0, *powers[::every]])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{int(value):,}".replace(",", " ")))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(-0.15, max(last_step, 1) * 1.25)


def log_axis(axes: Axes, which: str) -> None:
    """Makes an axis ("x" or "y") logarithmic with plain numbers, more of them where it spans less than a decade."""
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
    axis = axes.xaxis if which == "x" else axes.yaxis
    subs = (1, 1.5, 2, 3, 5, 7) if high < 10 * low else (1, 2, 5) if high < 1e3 * low else (1,)
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def name_ticks(axes: Axes, names: Sequence[str], columns: int) -> None:
    """Writes names below an axis, of many only some, turned where they would run into each other."""
    every = -(-len(names) // MOST_NAMES)
    ticks, shown = np.arange(len(names))[::every], list(names)[::every]
    turned = sum(len(name) + 1 for name in shown) > WIDTH_INCHES / columns * LETTERS_PER_INCH
    axes.set_xticks(ticks, shown)
    if turned:
        for label in axes.get_xticklabels():
            label.set(rotation=55, ha="right", rotation_mode="anchor")


def signed_log_axis(axes: Axes, linear: float) -> None:
    """Makes y linear up to a size, on both sides of 0, and logarithmic beyond, with plain numbers that fit."""
    if max(map(abs, axes.get_ylim())) < 2 * linear:
        return
    axes.set_yscale("symlog", linthresh=linear, linscale=0.7)
    axes.autoscale_view()
    largest = max(map(abs, axes.get_ylim()))
    decades = np.log10(largest / linear)
    sizes = [a * 10.0**k for k in range(-8, 13) for a in ((1, 3) if decades < 3 else (1,))]
    sizes = [size for size in sizes if 2 * linear <= size <= largest][:: max(1, int(decades // 4))]
    # The number at the end of the linear part has no room beside one of twice its size.
    sizes = [linear, *sizes] if not sizes or sizes[0] > 2.5 * linear else sizes
    axes.yaxis.set_major_locator(FixedLocator([*(-size for size in reversed(sizes)), 0, *sizes]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def legend(figure: Figure, handles: Sequence[Any]) -> None:
    """Puts one legend above all panels, if it has an entry, in as many columns as fit."""
    if not handles:
        return
    lengths = [len(str(handle.get_label())) + LETTERS_OF_A_MARK for handle in handles]
    room, columns = figure.get_figwidth() * LEGEND_LETTERS_PER_INCH, min(len(handles), MOST_COLUMNS)
    # matplotlib fills its columns one after the other, and each is as wide as its longest entry.
    while columns > 1 and sum(max(column) for column in np.array_split(lengths, columns)) > room:
        columns -= 1
    figure.legend(handles=list(handles), loc="outside upper center", ncols=columns, columnspacing=1.5)


def say_empty(axes: Axes, why: str = "no live run") -> None:
    """Writes into a panel why there is nothing to show."""
    axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center", va="center", color=GREY)
