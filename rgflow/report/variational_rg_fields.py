"""Galleries of receptive fields of the variational-rg room: by penalty, and beside those of shuffled data."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from rgflow.judging.points import Point
from rgflow.report import figures as base
from rgflow.report.figures import Drawn
from rgflow.report.heat_maps import shades
from rgflow.report.sheets import MARGIN_INCHES
from rgflow.report.variational_rg_points import (
    SHUFFLES,
    Stacks,
    about_runs,
    at,
    commonest,
    head,
    live,
    plain,
    reference_coupling,
    strength_text,
)
from rgflow.variational_rg.stack_verdict import unit_medians

MOST_UNITS, MOST_COLUMNS = 25, 5
PANEL_INCHES = 1.9
LABELS_INCHES, BAR_INCHES = 0.75, 0.9


def mosaic(fields: Float[np.ndarray, "shown site"]) -> tuple[Float[np.ndarray, "_ _"], list[tuple[float, float]]]:
    """Returns fields as one picture, each over its own largest |weight|, NaN between them, and centres of empty ones.

    Rows of ``fields`` that are not numbers belong to no unit; a field of zeros is left empty. Shapes: [shown, site] ->
    [rows, columns], places as (x, y).

    Example:
        >>> picture, empty = mosaic(np.array([[1.0, -2.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]))
        >>> picture.shape, picture[0, :2].tolist(), empty
        ((2, 5), [0.5, -1.0], [(3.5, 0.5)])
    """
    known = fields[np.isfinite(fields).all(axis=1)][:MOST_UNITS]
    size, columns = round(fields.shape[1] ** 0.5), max(math.ceil(len(known) ** 0.5), 1)
    step = size + max(1, round(size / 10))
    picture = np.full(
        (max(math.ceil(len(known) / columns), 1) * step - step + size, columns * step - step + size), np.nan
    )
    empty = []
    for number, field in enumerate(known):
        row, column = (step * k for k in divmod(number, columns))
        largest = np.abs(field).max()
        if largest > 0:
            picture[row : row + size, column : column + size] = field.reshape(size, size) / largest
        else:
            empty.append((column + (size - 1) / 2, row + (size - 1) / 2))
    return picture, empty


def medians(cell: Point, layer: int) -> tuple[float, float]:
    """Returns median radius and participation over the units of a layer (from 0) of a point's first live run."""
    radius, participation = (unit_medians(cell.last(name)[:1])[0, layer] for name in ("radius", "participation"))
    return float(radius), float(participation)


def _say(cell: Point, layer: int) -> str:
    radius, participation = medians(cell, layer)
    if not np.isfinite(radius):
        return "no unit has a field"
    return f"radius {radius:.2f}, {participation:.1f} sites"


def _draw(axes: Axes, cell: Point, layer: int) -> None:
    sites = int(cell.values["size"]) ** 2
    picture, empty = mosaic(cell.last("receptive_field")[0, layer, :, :sites])
    # Without resampling a vector file holds every weight once, however large it is drawn.
    axes.imshow(picture, cmap=shades("RdBu_r"), vmin=-1, vmax=1, interpolation="none")
    for x, y in empty:
        axes.plot([x], [y], marker="x", markersize=5, color=base.GREY)
    axes.set_xlabel(_say(cell, layer), fontsize=7.5)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.grid(False)


def gallery(
    columns: Sequence[tuple[str, Point]], layers: Sequence[int], units: Sequence[int]
) -> tuple[Figure, list[dict[str, Any]]]:
    """Returns a figure of fields, a row per layer (from 0) and a column per named point, and its numbers as rows."""
    width = min(base.WIDTH_INCHES, LABELS_INCHES + BAR_INCHES + 2.15 * len(columns))
    panel = min(PANEL_INCHES, (width - LABELS_INCHES - BAR_INCHES) / len(columns))
    height = len(layers) * (panel + 0.25) + 0.35
    figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=MARGIN_INCHES / 2))
    axes = figure.subplots(len(layers), len(columns), squeeze=False)
    for i, layer in enumerate(layers):
        for place, (name, cell) in zip(axes[i], columns, strict=True):
            _draw(place, cell, layer)
            place.set_title(name if i == 0 else "")
        axes[i, 0].set_ylabel(f"layer {layer + 1}\n({units[layer]} units)")
    colours = ScalarMappable(Normalize(-1, 1), shades("RdBu_r"))
    bar = figure.colorbar(colours, ax=axes, pad=0.015, shrink=0.7, aspect=12 * len(layers), ticks=(-1, 0, 1))
    bar.set_label("weight / largest |weight|")
    bar.outline.set_visible(False)  # type: ignore[operator]
    bar.ax.grid(False)
    return figure, [_row(cell, layer) for layer in layers for _, cell in columns]


def _row(cell: Point, layer: int) -> dict[str, Any]:
    radius, participation = medians(cell, layer)
    return {**head(cell), "layer": layer + 1, "median_radius": plain(radius), "participation": plain(participation)}


def _facts(columns: Sequence[tuple[str, Point]], layers: Sequence[int]) -> str:
    plain_name = lambda name: name.replace("\n", " ").replace("$", "").replace("_1", "1")  # noqa: E731
    return "; ".join(f"{plain_name(n)}, layer {k + 1}: {_say(c, k)}" for k in layers for n, c in columns) + "."


def _spread(values: Sequence[Any], most: int) -> list[Any]:
    """Returns at most so many of some values: the first, the last and evenly between.

    Example:
        >>> _spread([1, 2, 3, 4, 5, 6, 7], 3)
        [1, 4, 7]
    """
    places = np.linspace(0, len(values) - 1, min(most, len(values))).round().astype(int)
    return [values[k] for k in places]


HOW = (
    f"Every small image is one unit's field on the lattice, over its own largest weight (at most {MOST_UNITS} units of "
    "the first live run; a cross is a unit without a field). Below: median over all units of the layer of the rms "
    "radius in sites, and of the sites that a field holds. "
)


def by_strength(stacks: Stacks) -> list[Drawn]:
    """Returns the gallery of real data, a column per penalty; none without a live run."""
    found = live(stacks.real)
    if not found:
        return []
    coupling = reference_coupling(found)
    here = at(found, coupling=coupling)
    cells = _spread(here, MOST_COLUMNS)
    columns = [(f"$L_1$ = {strength_text(cell.values['l1'])}", cell) for cell in cells]
    layers = range(len(stacks.layers))
    figure, rows = gallery(columns, layers, stacks.layers)
    left_out = f" {len(here) - len(cells)} penalties between these are not shown." if len(here) > len(cells) else ""
    caption = (
        f"Receptive fields of stacks trained on the lattice at K = {coupling:.4g}: layers down, penalty on the weights "
        f"across. {HOW}{about_runs(here)}{left_out}"
    )
    falsified_by = (
        "S3-c: fields that are no compact patches of one sign, about as large as each other within a layer and larger "
        "in the next."
    )
    alt = f"Galleries of receptive fields. {_facts(columns, layers)}"
    return [Drawn("fields", figure, caption, alt, rows, ("S3-c",), falsified_by)]


def by_shuffle(stacks: Stacks) -> list[Drawn]:
    """Returns the gallery of real and shuffled data at one penalty; none without live runs on shuffled data."""
    controls = [cell for cell in live(stacks.cells) if cell.values["shuffle"] != "none"]
    if not controls:
        return []
    coupling = reference_coupling(controls)
    strength = commonest(at(controls, coupling=coupling), "l1")
    here = at(stacks.cells, coupling=coupling, l1=strength)
    columns = [(SHUFFLES[kind][0], cell) for kind in SHUFFLES for cell in live(at(here, shuffle=kind))]
    layers = sorted({0, len(stacks.layers) - 1})
    figure, rows = gallery(columns, layers, stacks.layers)
    caption = (
        "Receptive fields on real data and on data from which something was taken away, at K = "
        f"{coupling:.4g} and L1 = {strength_text(strength)}. Sites shuffled: every site has its values from other "
        "samples, nothing is correlated. Bonds shuffled: only correlations along one axis are left. "
        f"{HOW}{about_runs(here)}"
    )
    falsified_by = (
        "S3-c as a statement about the correlations of the data: fields of shuffled sites that hold more than single "
        "sites, or fields of shuffled bonds that are not stretched along one axis."
    )
    alt = f"Galleries of receptive fields on real and shuffled data. {_facts(columns, layers)}"
    return [Drawn("fields_controls", figure, caption, alt, rows, ("S3-c",), falsified_by)]


MAKERS: tuple[Callable[[Stacks], list[Drawn]], ...] = (by_strength, by_shuffle)
