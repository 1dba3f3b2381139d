"""The flow of couplings of the variational-rg room: hidden layers as lattices beside blocked and decimated data."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from rgflow.judging.points import Point, average
from rgflow.report import figures as base
from rgflow.report.figures import Drawn
from rgflow.report.interval_marks import interval_of, text_of
from rgflow.report.sheets import sheet
from rgflow.report.variational_rg_points import (
    Stacks,
    about_runs,
    at,
    commonest,
    head,
    layer_colour,
    line,
    live,
    plain,
    reference_coupling,
    strength_colours,
    strength_text,
)

SERIES = {
    "hidden": ("hidden units", {"linestyle": "-", "marker": "o", "markersize": 4.5}),
    "placed": (
        "majority at the units' places",
        {"linestyle": (0, (5, 1, 1, 1)), "marker": "D", "markersize": 4, "markerfacecolor": "white"},
    ),
    "majority": ("majority rule", {"linestyle": "--", "marker": "s", "markersize": 4.5, "markerfacecolor": "white"}),
    "decimation": ("decimation", {"linestyle": ":", "marker": "^", "markersize": 5, "markerfacecolor": "white"}),
}
HIGHEST = 2.0
"""The panels of couplings end at this multiple of the largest coupling of the data, or of the hidden units."""


def measure(series: str, name: str, layer: int) -> Callable[[Point], Float[np.ndarray, " runs"]]:
    """Returns what reads one number of one layer (from 0) of a point; lengths that are no lengths are NaN."""

    def read(cell: Point) -> Float[np.ndarray, " runs"]:
        values = cell.last(f"{series}_{name}")[:, layer]
        return np.where(values > 0, values, np.nan) if name == "correlation_length" else values

    return read


def _data(name: str) -> Callable[[Point], Float[np.ndarray, " runs"]]:
    return lambda cell: cell.last(f"data_{name}")


def _coupling_of(cell: Point) -> float:
    return float(cell.values["coupling"])


def _against_coupling(axes: Axes, found: Sequence[Point], name: str, layers: int) -> None:
    """Draws one number of the data and of every series and layer against the data's coupling."""
    line(axes, found, _coupling_of, _data(name), color=base.INK, marker="D", markersize=4)
    for layer in range(layers):
        for series, (_, style) in SERIES.items():
            line(axes, found, _coupling_of, measure(series, name, layer),
                 **{**style, "color": layer_colour(layer + 1)})  # fmt: skip
    axes.set_xlabel("coupling $K$ of the data")


def _by_layer(axes: Axes, found: Sequence[Point], layers: int) -> None:
    """Draws the coupling against the layer: a line per penalty, and what the two rules make of the same data."""
    origin = average(np.concatenate([_data("coupling")(cell) for cell in found]))
    where = np.arange(layers + 1)
    for cell, colour in zip(found, strength_colours(found).values(), strict=True):
        means = [origin] + [interval_of(measure("hidden", "coupling", k)(cell)).mean for k in range(layers)]
        axes.plot(where, means, color=colour, **SERIES["hidden"][1])
        for k in range(layers):
            line(axes, [cell], lambda _, x=k + 1: x, measure("hidden", "coupling", k), color=colour, marker="")
            placed = average(measure("placed", "coupling", k)(cell))
            axes.plot([k + 1], [placed], color=colour, **{**SERIES["placed"][1], "linestyle": ""})
    for series in ("majority", "decimation"):
        means = [origin] + [average(measure(series, "coupling", k)(found[0])) for k in range(layers)]
        axes.plot(where, means, color=base.INK, linewidth=1.2, zorder=1.5, **SERIES[series][1])
    axes.set_xticks(where, ["0 (data)", *map(str, where[1:])])
    axes.set_xlim(-0.25, layers + 0.25)
    axes.set_xlabel("layer")


def _limit(axes: Axes, highest: float) -> bool:
    """Keeps a panel from being flattened by one huge coupling; tells whether something lies outside."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, min(high, highest))
    return bool(high > highest)


def _highest(found: Sequence[Point], layers: int) -> float:
    hidden = [interval_of(measure("hidden", "coupling", k)(cell)).mean for cell in found for k in range(layers)]
    known = [_coupling_of(cell) for cell in found]
    return 1.15 * max([HIGHEST * max(known), *(x for x in hidden if np.isfinite(x) and x < 5 * max(known))])


def _handles(layers: Sequence[int]) -> list[Line2D]:
    data = Line2D([], [], color=base.INK, marker="D", markersize=4, label="the data")
    colours = [
        Line2D([], [], color=layer_colour(k + 1), linewidth=2.5, label=f"layer {k + 1} ({units} units)")
        for k, units in enumerate(layers)
    ]
    kinds = [Line2D([], [], color=base.GREY, label=name, **style) for name, style in SERIES.values()]
    guide = Line2D([], [], color="#bbbbbb", linewidth=1, label="same as the data")
    return [data, *colours, *kinds, guide]


def coupling_rows(found: Sequence[Point], layers: int) -> list[dict[str, Any]]:
    """Returns one row per point and layer: couplings and lengths of hidden units, blocked and decimated data."""
    rows = []
    for cell in found:
        for layer in range(layers):
            row = {**head(cell), "layer": layer + 1}
            for name in ("coupling", "correlation_length"):
                ends = interval_of(measure("hidden", name, layer)(cell))
                row |= {f"hidden_{name}": plain(ends.mean), f"hidden_{name}_low": plain(ends.low),
                        f"hidden_{name}_high": plain(ends.high)}  # fmt: skip
                for series in ("placed", "majority", "decimation"):
                    row[f"{series}_{name}"] = plain(average(measure(series, name, layer)(cell)))
                row[f"data_{name}"] = plain(average(_data(name)(cell)))
            rows.append(row)
    return rows


def _facts(found: Sequence[Point], layers: int) -> str:
    return "; ".join(
        f"K {_coupling_of(cell):.4g}, L1 {strength_text(cell.values['l1'])}, layer {k + 1}: hidden coupling "
        f"{text_of(interval_of(measure('hidden', 'coupling', k)(cell)))}"
        for cell in found
        for k in range(layers)
    )


def _finish(axes: Sequence[Axes], found: Sequence[Point], highest: float) -> bool:
    known = [_coupling_of(cell) for cell in found]
    ends = [min(known), max(known)]
    axes[0].plot(ends, ends, color="#bbbbbb", linewidth=1, zorder=1)
    axes[0].set_title("nearest-neighbour coupling")
    axes[0].set_ylabel("coupling of the layer")
    if axes[1].lines:
        low, high = axes[1].dataLim.y0, axes[1].dataLim.y1
        base.log_axis(axes[1], "y", (1, 2, 5) if high < 100 * low else (1,))
    axes[1].set_xlim(axes[0].get_xlim())
    axes[1].set_title("correlation length")
    axes[1].set_ylabel("length in sites of the lattice")
    axes[2].set_ylabel("coupling of the layer")
    # Both are evaluated: one of them alone would leave the other panel as it is.
    return any([_limit(axes[0], highest), _limit(axes[2], highest)])


def couplings(stacks: Stacks) -> list[Drawn]:
    """Returns the flow of couplings and lengths of real data; none without a live run."""
    found, layers = live(stacks.real), len(stacks.layers)
    if not found:
        return []
    strength = commonest(found, "l1")
    row, reference = at(found, l1=strength), at(found, coupling=reference_coupling(found))
    figure = sheet(4.1)
    axes = list(figure.subplots(1, 3))
    _against_coupling(axes[0], row, "coupling", layers)
    _against_coupling(axes[1], row, "correlation_length", layers)
    _by_layer(axes[2], reference, layers)
    cut = _finish(axes, row, _highest([*row, *reference], layers))
    axes[2].set_title(f"coupling by layer, $K$ = {reference[0].values['coupling']:.4g}")
    shades = strength_colours(reference)
    labels = [Line2D([], [], color=c, marker="o", label=f"$L_1$ {strength_text(s)}") for s, c in shades.items()]
    axes[2].legend(handles=labels, fontsize=7.5, loc="best")
    figure.legend(handles=_handles(stacks.layers), loc="outside upper center", ncols=4, columnspacing=1.5)
    outside = " Couplings above the panels are in the table; aligned spins have none." if cut else ""
    caption = (
        "Hidden layers read as lattices, beside the same data blocked by the majority rule, on a lattice and at the "
        "units' own places (diamonds), and decimated, to as many "
        f"spins. Left and middle: against the coupling of the data, at L1 = {strength_text(strength)}; right: by "
        "layer, for every penalty. Couplings are nearest-neighbour pseudo-likelihood fits, lengths second-moment "
        f"lengths (those that are no number are left out), means over runs with 95 % intervals. "
        f"{about_runs(_union(stacks.real, strength, reference[0]))}{outside}"
    )
    falsified_by = (
        "S3-d coupling: hidden units more than 10 % off the diamonds of the same colour (their places are no lattice), "
        "or not below the diagonal on the disordered side and above it on the ordered one; S3-d length: the same in "
        "the middle panel."
    )
    claims = ("S3-d coupling", "S3-d length")
    drawn = _union(found, strength, reference[0])
    alt = f"Couplings of hidden layers against those of blocked data. {_facts(drawn, layers)}."
    return [Drawn("couplings", figure, caption, alt, coupling_rows(drawn, layers), claims, falsified_by)]


def _union(found: Sequence[Point], strength: float, reference: Point) -> list[Point]:
    """Returns the points of which a panel shows something."""
    coupling = reference.values["coupling"]
    return [cell for cell in found if cell.values["l1"] == strength or cell.values["coupling"] == coupling]
