"""Axes of the fixed-points room: scales on which both margins and large values can be read, and grids of panels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from rgflow.fixed_points.controls import COUPLING_MARGIN
from rgflow.report.fixed_points_points import COLUMNS
from rgflow.report.sheets import sheet

SIZES = (0.1, 0.3, 1, 3, 10, 30, 100, 1000)


def signed_log_scale(axes: Axes, linear: float, share: float) -> None:
    """Makes y linear up to a size, which takes ``share`` of a decade, and logarithmic beyond, with plain numbers."""
    axes.set_yscale("symlog", linthresh=linear, linscale=share)
    # What lies nearer than a factor of two has no room for a number of its own.
    sizes = [*([linear] if linear >= SIZES[0] else []), *(size for size in SIZES if size >= 2 * linear)]
    axes.yaxis.set_major_locator(FixedLocator([*(-x for x in reversed(sizes)), 0, *sizes]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def coupling_scale(axes: Axes) -> None:
    """Makes y an axis of couplings: linear as far as the margin reaches, logarithmic beyond."""
    signed_log_scale(axes, COUPLING_MARGIN, share=0.5)


def leave_room(panels: Sequence[Axes]) -> None:
    """Gives panels of couplings one y axis with room around all that is drawn, and numbers at the first alone."""
    ends = np.array([(panel.dataLim.y0, panel.dataLim.y1) for panel in panels if panel.has_data()]).reshape(-1, 2)
    ends = ends[np.isfinite(ends).all(axis=1)]
    low, high = ends[:, 0].min(initial=-COUPLING_MARGIN), ends[:, 1].max(initial=COUPLING_MARGIN)
    for place, panel in enumerate(panels):
        # Both ends lie where the scale is logarithmic, on which a factor is a distance.
        panel.set_ylim(1.4 * float(low), 1.4 * float(high))
        panel.tick_params(labelleft=place == 0)


def panel_grid(rows: Sequence[Sequence[Any]], inches: float, extra: float) -> tuple[Any, list[list[Axes]]]:
    """Returns a sheet with one panel per entry; places right of a short row stay empty."""
    width = max(map(len, rows))
    figure = sheet(inches * len(rows) + extra)
    # At least three columns, or a lone panel would be as wide as the page.
    grid = figure.subplots(len(rows), max(width, min(3, COLUMNS)), squeeze=False)
    for panels, row in zip(grid, rows, strict=True):
        for panel in panels[len(row) :]:
            panel.set_axis_off()
    return figure, [list(panels[: len(row)]) for panels, row in zip(grid, rows, strict=True)]
