"""What the figures of the variational-rg room share: its stacks by point, which of them are shown, their looks.

One concept has one look over all figures: layers have colours, strengths of the penalty have shades, kinds of data have
line styles.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes

from rgflow.judging.points import Point, split_points
from rgflow.report import figures as base
from rgflow.report.interval_marks import columns, interval_of, interval_points

PREFERRED = {"coupling": 0.408, "l1": 2e-3}
"""The values shown where one must be chosen and several would do: the published coupling, a penalty between all."""

SHUFFLES = {
    "none": ("real data", {"linestyle": "-", "marker": "o", "markersize": 4.5}),
    "sites": ("sites shuffled", {"linestyle": "--", "marker": "s", "markersize": 4.5, "markerfacecolor": "white"}),
    "bonds": ("bonds shuffled", {"linestyle": ":", "marker": "^", "markersize": 5, "markerfacecolor": "white"}),
}
"""Kinds of data: their names and looks."""

LAYER_COLOURS = (base.BLUE, base.VERMILION, base.GREEN, base.PURPLE, base.ORANGE, base.SKY)
THIN: dict[str, Any] = {"color": base.GREY, "linewidth": 0.9, "linestyle": (0, (1, 1.5)), "zorder": 1}
"""The look of bounds."""


class Stacks(NamedTuple):
    """Every point of stacks that differ in coupling, penalty and shuffle alone, and the units of their layers."""

    cells: list[Point]
    layers: tuple[int, ...]

    @property
    def real(self) -> list[Point]:
        """Returns the points of real data."""
        return [cell for cell in self.cells if cell.values["shuffle"] == "none"]


def config_of(dataset: xr.Dataset) -> dict[str, Any]:
    """Returns the config that a dataset was made with."""
    return json.loads(dataset.attrs["config"])


def stacks_of(dataset: xr.Dataset) -> Stacks:
    """Returns the points of the stacks, by penalty and coupling; of several sizes or algorithms the commonest."""
    found = list(split_points(dataset, system="stack"))
    family = lambda cell: tuple(cell.values[name] for name in ("size", "algorithm", "sweeps"))  # noqa: E731
    common = Counter(map(family, found)).most_common(1)
    mine = [cell for cell in found if family(cell) == common[0][0]]
    mine.sort(key=lambda cell: (cell.values["coupling"], cell.values["l1"]))
    return Stacks(mine, tuple(config_of(dataset)["stack"]["layers"]) if mine else ())


def live(found: Sequence[Point]) -> list[Point]:
    """Returns the points with a live run."""
    return [cell for cell in found if cell.live.sizes["run"]]


def at(found: Sequence[Point], **values: Any) -> list[Point]:
    """Returns the points with these values."""
    return [cell for cell in found if all(cell.values[name] == value for name, value in values.items())]


def commonest(found: Sequence[Point], name: str) -> float:
    """Returns the value of an axis at which most points are, of several the one nearest to the preferred one."""
    counts = Counter(float(cell.values[name]) for cell in found)
    return max(counts, key=lambda value: (counts[value], -abs(value - PREFERRED[name])))


def reference_coupling(found: Sequence[Point]) -> float:
    """Returns the coupling with the most strengths of the penalty."""
    return commonest(found, "coupling")


def reference_cell(found: Sequence[Point]) -> Point:
    """Returns the point that is shown where only one can be: at the reference coupling, with the preferred penalty."""
    here = at(found, coupling=reference_coupling(found))
    return at(here, l1=commonest(here, "l1"))[0]


def strengths(found: Sequence[Point]) -> list[float]:
    """Returns the strengths of the penalty, in increasing order."""
    return sorted({float(cell.values["l1"]) for cell in found})


def strength_colours(found: Sequence[Point]) -> dict[float, Any]:
    """Returns a shade per strength of the penalty, from dark to light; layers have other colours."""
    values = strengths(found)
    shades = matplotlib.colormaps["plasma"](np.linspace(0.0, 0.85, max(len(values), 2)))
    return {value: tuple(map(float, shade)) for value, shade in zip(values, shades, strict=False)}


def layer_colour(layer: int) -> str:
    """Returns the colour of a layer, counted from 1; 0 are the data."""
    return LAYER_COLOURS[(layer - 1) % len(LAYER_COLOURS)] if layer else base.INK


def strength_text(value: float) -> str:
    """Returns a strength of the penalty as a tick.

    Example:
        >>> strength_text(0.0), strength_text(2e-4), strength_text(0.008)
        ('0', '2e-4', '8e-3')
    """
    return f"{value:.3g}" if value == 0 or value >= 0.01 else _short_power(value)


def _short_power(value: float) -> str:
    digits, _, power = f"{value:.2e}".partition("e")
    return f"{float(digits):g}e{int(power)}"


def line(
    axes: Axes,
    found: Sequence[Point],
    where: Callable[[Point], float],
    measure: Callable[[Point], Float[np.ndarray, " runs"]],
    band: bool = False,
    **look: Any,
) -> None:
    """Draws the mean over runs of a measure at every point, with its 95 % interval as a bar and, if asked, a band."""
    here = sorted(live(found), key=where)
    x, intervals = [where(cell) for cell in here], [interval_of(measure(cell)) for cell in here]
    if band and here:
        _, low, high = columns(intervals)
        axes.fill_between(x, low, high, color=look["color"], alpha=0.16, linewidth=0)
    interval_points(axes, x, intervals, **look)


def plain(value: float | int | np.number) -> float | str:
    """Returns a number for a table: what is not finite is left empty.

    Example:
        >>> plain(1.5), plain(float("nan"))
        (1.5, '')
    """
    return float(value) if np.isfinite(value) else ""


def head(cell: Point) -> dict[str, Any]:
    """Returns the columns of a table that say which point a row is about."""
    names = ("size", "coupling", "l1", "shuffle")
    return {**{name: cell.values[name] for name in names}, "runs": cell.live.sizes["run"], "dead": cell.dead}


def about_runs(found: Sequence[Point]) -> str:
    """Returns how many runs stand behind a figure and how many of them died."""
    counts = sorted({cell.runs for cell in found})
    each = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    dead = sum(cell.dead for cell in found)
    return f"{each} run{'' if each == '1' else 's'} a point." + (f" Dead runs, left out: {dead}." if dead else "")
