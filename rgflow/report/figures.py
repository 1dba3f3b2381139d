"""What every figure shares: style, colours, bands over runs, files; and which room has which figures.

Figures are made through matplotlib's object API; nothing touches pyplot or leaves a global setting changed.
"""

import contextlib
import dataclasses
import functools
import io
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import matplotlib.style
import numpy as np
import xarray as xr
from jaxtyping import Float, Real
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from rgflow.judging.intervals import bootstrap_interval

BLUE, VERMILION, GREEN, ORANGE, SKY, PURPLE = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7"
"""Okabe and Ito's palette, which colour-blind readers can tell apart."""

INK, GREY = "#222222", "#8a8a8a"
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
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.fonttype": "none",
    "svg.hashsalt": "rgflow",
}
NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))
PNG_DPI = 150
RESAMPLES = 1999
"""Fewer than for a verdict: a band is read by eye, and a figure needs hundreds of them."""

NO_CLAIM = "This figure tests no claim. "
"""How ``falsified_by`` begins where a figure of a room bears on no claim."""

DISTINCT_COLOURS = 3
WIDTH_INCHES = 9.0


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A figure with its file name, what it shows in words, and a short text for those who cannot see it.

    ``rows`` are the numbers behind a figure that cannot print them, as a table. ``claims`` are those that the figure
    bears on, without their places; ``falsified_by`` says what it would show if they were false, or, where it bears on
    none, what it is for.
    """

    name: str
    figure: Figure
    caption: str
    alt: str
    rows: Sequence[Mapping[str, Any]] = ()
    claims: tuple[str, ...] = ()
    falsified_by: str = ""

    @functools.cached_property
    def svg(self) -> bytes:
        """The figure as SVG with its text kept as text; equal figures give equal bytes."""
        buffer = io.BytesIO()
        with style():
            self.figure.savefig(buffer, format="svg", metadata=NO_METADATA)
        return buffer.getvalue()


class Shown:
    """A drawn figure as the report reads it."""

    def __init__(self, drawn: Drawn) -> None:
        """Wraps a figure that was drawn by its room."""
        from rgflow.report import tables

        self.drawn, self.name, self.svg = drawn, drawn.name, drawn.svg
        self.csv = tables.csv_text(drawn.rows) if drawn.rows else ""
        self.texts = {n: getattr(drawn, n) for n in ("name", "caption", "alt", "claims", "falsified_by")}

    def save(self, directory: pathlib.Path) -> None:
        """Writes the figure's files."""
        save(self.drawn, directory)


Figures = Callable[[xr.Dataset], list[Drawn]]


def style() -> contextlib.AbstractContextManager[None]:
    """Returns a context in which matplotlib has this module's settings, whatever matplotlibrc says."""
    return matplotlib.style.context(["default", STYLE])


def draw(experiment_name: str, dataset: xr.Dataset, outside: Figures | None = None) -> list[Drawn]:
    """Returns the figures of an experiment, drawn from its results alone.

    Those of an experiment that is no room are what ``outside`` returns, none without it.
    """
    with style():
        drawn = outside(dataset) if outside else []
        for one in drawn:
            settle(one.figure)
    return drawn


def settle(figure: Figure) -> None:
    """Fixes the places of all panels, which every file of the figure would otherwise work out again."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def save(drawn: Drawn, directory: pathlib.Path) -> None:
    """Writes ``NAME.svg`` and ``NAME.png`` (150 dpi) into a folder, which is made when absent."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{drawn.name}.svg").write_bytes(drawn.svg)
    with style():
        drawn.figure.savefig(directory / f"{drawn.name}.png", dpi=PNG_DPI, metadata={"Software": None})


def panels(rows: int, columns: int, panel_height: float, **options: Any) -> tuple[Figure, np.ndarray]:
    """Returns a figure of one page's width and its axes [rows, columns]; a lone panel is not stretched."""
    width = WIDTH_INCHES if columns > 1 else 0.62 * WIDTH_INCHES
    figure = Figure(figsize=(width, rows * panel_height + 0.6), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def ordered_colours(values: Sequence[float]) -> dict[float, Any]:
    """Returns a colour per value: distinct ones for up to three, else a sequential map in their order."""
    ordered = sorted(values)
    if len(ordered) <= DISTINCT_COLOURS:
        return dict(zip(ordered, (BLUE, VERMILION, GREEN), strict=False))
    # The palest fifth of the map is left out: it cannot be seen on white.
    shades = matplotlib.colormaps["viridis"](np.linspace(0.0, 0.88, len(ordered)))
    return {value: tuple(map(float, shade)) for value, shade in zip(ordered, shades, strict=True)}


def mean_and_band(
    values: Float[np.ndarray, "runs points"],
) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    """Returns the mean over runs and both ends of its 95 % interval at every point; NaN where none."""
    columns = np.asarray(values, np.float64).T
    intervals = np.array([bootstrap_interval(column, resamples=RESAMPLES)[:3] for column in columns]).reshape(-1, 3)
    return intervals[:, 0], intervals[:, 1], intervals[:, 2]


def mean_line(
    axes: Axes,
    x: Real[np.ndarray, " points"],
    values: Float[np.ndarray, "runs points"],
    colour: Any,
    **line: Any,
) -> None:
    """Draws the mean over runs at every point where some run has a value."""
    seen = np.isfinite(values).any(axis=0)
    axes.plot(x[seen], np.nanmean(values[:, seen], axis=0), color=colour, **line)


def band_line(
    axes: Axes,
    x: Real[np.ndarray, " points"],
    values: Float[np.ndarray, "runs points"],
    colour: Any,
    faint: bool,
    **line: Any,
) -> None:
    """Draws the mean over runs with its 95 % band and, if asked, every run as a faint line behind it."""
    if faint and len(values) > 1:
        alone = {**line, "linewidth": 0.6, "marker": "", "alpha": 0.35}
        for run in values:
            axes.plot(x, run, color=colour, **alone)
    mean, low, high = mean_and_band(values)
    seen = np.isfinite(mean)
    axes.fill_between(x[seen], low[seen], high[seen], color=colour, alpha=0.16 if faint else 0.1, linewidth=0)
    mean_line(axes, x, values, colour, **line)


def step_axis(axes: Axes, last_step: float) -> None:
    """Makes x a logarithmic axis of training steps with the untrained network, step 0, at its left end."""
    axes.set_xscale("symlog", linthresh=1, linscale=0.5)
    powers = [10.0**k for k in range(int(np.log10(max(last_step, 1))) + 1)]
    every = 1 if len(powers) <= 5 else 2
    axes.set_xticks([0, *powers[::every]])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{int(value):,}".replace(",", " ")))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(-0.15, max(last_step, 1) * 1.25)


def log_axis(axes: Axes, which: str, subs: Sequence[float | int] = (1, 2, 5)) -> None:
    """Makes an axis ("x" or "y") logarithmic with plain numbers at ``subs`` times the powers of ten."""
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def legend(figure: Figure, handles: Sequence[Any]) -> None:
    """Puts one legend above all panels."""
    figure.legend(handles=list(handles), loc="outside upper center", ncols=min(len(handles), 6), columnspacing=1.5)


def say_empty(axes: Axes, why: str = "no live run") -> None:
    """Writes into a panel why there is nothing to show."""
    axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center", va="center", color=GREY)
