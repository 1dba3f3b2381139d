"""How large and how full receptive fields are against the penalty, and what reconstructions look like."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from rgflow.judging.points import Point, average
from rgflow.report import figures as base
from rgflow.report.figures import Drawn
from rgflow.report.interval_marks import interval_of, text_of
from rgflow.report.sheets import MARGIN_INCHES, sheet
from rgflow.report.variational_rg_points import (
    SHUFFLES,
    THIN,
    Stacks,
    about_runs,
    at,
    head,
    layer_colour,
    line,
    live,
    plain,
    reference_cell,
    reference_coupling,
    strength_text,
    strengths,
)
from rgflow.variational_rg.stack_verdict import LEAST_PARTICIPATION, LOCAL, MOST_SHUFFLED_PARTICIPATION, unit_medians

Measure = Callable[[Point], Float[np.ndarray, "runs layer"]]
APART = 0.12
"""Between the marks of one penalty, in steps of the axis."""


def relative_radius(cell: Point) -> Float[np.ndarray, "runs layer"]:
    """Returns the median radius of every run and layer over that of fields without a place."""
    return unit_medians(cell.last("radius")) / cell.last("random_radius")[:, None]


def participation(cell: Point) -> Float[np.ndarray, "runs layer"]:
    """Returns the median number of sites in a field, of every run and layer."""
    return unit_medians(cell.last("participation"))


def relative_component_radius(cell: Point) -> Float[np.ndarray, "runs layer"]:
    """Returns the median radius of as many principal components as each layer has units, on the same scale."""
    return cell.last("component_radius") / cell.last("random_radius")[:, None]


def component_participation(cell: Point) -> Float[np.ndarray, "runs layer"]:
    """Returns the median number of sites in as many principal components as each layer has units."""
    return cell.last("component_participation")


PANELS: tuple[tuple[str, str, Measure, Measure], ...] = (
    ("radius", "median radius / radius without a place", relative_radius, relative_component_radius),
    ("participation", "median sites in a field", participation, component_participation),
)


def _draw(axes: Axes, found: Sequence[Point], number: int, measures: tuple[Measure, Measure]) -> None:
    """Draws the lines of one measure by layer and kind of data, and the principal components right of them."""
    ticks = strengths(found)
    for layer in range(number):
        for k, (kind, (_, style)) in enumerate(SHUFFLES.items()):
            shift = APART * (k - 1)
            line(
                axes, at(found, shuffle=kind), lambda c, s=shift: ticks.index(c.values["l1"]) + s,
                lambda c, j=layer: measures[0](c)[:, j], band=kind == "none",
                **{**style, "color": layer_colour(layer + 1)},
            )  # fmt: skip
        real = at(found, shuffle="none")
        if real:
            height = average(measures[1](real[0])[:, layer])
            look = {"color": layer_colour(layer + 1), "linewidth": 2.5, "solid_capstyle": "butt"}
            start = len(ticks) - 0.35 + 0.7 * layer / number
            axes.plot([start, start + 0.6 / number], [height, height], **look)
    names = [*map(strength_text, ticks), *(["PCA"] if at(found, shuffle="none") else [])]
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.4, len(names) - 0.55)
    axes.axvline(len(ticks) - 0.5, color="#d0d0d0", linewidth=0.8)
    axes.set_xlabel("strength of the $L_1$ penalty")


def _bound(axes: Axes, height: float, text: str, x: float = 0.01) -> None:
    axes.axhline(height, **THIN)
    axes.annotate(text, (x, height), xycoords=("axes fraction", "data"), xytext=(0, 2),
                  textcoords="offset points", fontsize=7.5, color="#555555")  # fmt: skip


def _handles(stacks: Stacks, kinds: set[str]) -> list[Line2D]:
    layers = [
        Line2D([], [], color=layer_colour(k + 1), linewidth=2.5, label=f"layer {k + 1} ({units} units)")
        for k, units in enumerate(stacks.layers)
    ]
    data = [
        Line2D([], [], color=base.INK, label=name, **style) for kind, (name, style) in SHUFFLES.items() if kind in kinds
    ]
    return [*layers, *data]


def size_rows(found: Sequence[Point], number: int) -> list[dict[str, Any]]:
    """Returns one row per point and layer: relative radius and participation with their intervals, and components'."""
    rows = []
    for cell in found:
        for layer in range(number):
            row = {**head(cell), "layer": layer + 1}
            for name, _, measure, components in PANELS:
                ends = interval_of(measure(cell)[:, layer])
                row |= {name: plain(ends.mean), f"{name}_low": plain(ends.low), f"{name}_high": plain(ends.high),
                        f"components_{name}": plain(average(components(cell)[:, layer]))}  # fmt: skip
            rows.append(row)
    return rows


def field_sizes(stacks: Stacks) -> list[Drawn]:
    """Returns radius and participation against the penalty at the reference coupling; none without a live run."""
    if not live(stacks.cells):
        return []
    coupling = reference_coupling(live(stacks.real) or live(stacks.cells))
    every = at(stacks.cells, coupling=coupling)
    found, number = live(every), len(stacks.layers)
    figure = sheet(4.0)
    axes = figure.subplots(1, 2)
    for panel, (_, label, *measures) in zip(axes, PANELS, strict=True):
        _draw(panel, found, number, (measures[0], measures[1]))
        panel.set_ylabel(label)
    axes[0].set_title("local: below the dotted line; growing: next layer above")
    axes[0].set_ylim(0, max(1.15, axes[0].get_ylim()[1]))
    _bound(axes[0], LOCAL, f"local below {LOCAL:g}", x=0.42)
    base.log_axis(axes[1], "y")
    low, high = axes[1].get_ylim()
    axes[1].set_ylim(min(low, 0.8), max(high, 4))
    _bound(axes[1], LEAST_PARTICIPATION, f"blocks above {LEAST_PARTICIPATION:g}")
    _bound(axes[1], MOST_SHUFFLED_PARTICIPATION, "")
    axes[1].annotate(f"shuffled sites below {MOST_SHUFFLED_PARTICIPATION:g}", (0.01, MOST_SHUFFLED_PARTICIPATION),
                     xycoords=("axes fraction", "data"), xytext=(0, -2), textcoords="offset points", va="top",
                     fontsize=7.5, color="#555555")  # fmt: skip
    axes[1].set_title("blocks of real data, single sites where sites are shuffled")
    base.legend(figure, _handles(stacks, {cell.values["shuffle"] for cell in found}))
    caption = (
        f"Size of receptive fields at K = {coupling:.4g} against the penalty. Left: median rms radius over the units "
        "of a layer that have a field, relative to that of weights without any place. Right: median number of sites "
        "in a field. Marks are means over runs, bars and bands 95 % intervals; short lines on the right are as many "
        f"principal components of the same data as the layer has units. A layer without a mark has no unit with a "
        f"field. {about_runs(every)}"
    )
    falsified_by = (
        "S3-c: at every penalty a layer above the bound on the left, fewer than two sites in a field on the right, a "
        "second layer no wider than the first, or shuffled sites with more than 1.5 sites in the first layer. Block "
        "spins have none of these at one penalty."
    )
    alt, rows = _size_text(found, number), size_rows(every, number)
    return [Drawn("field_sizes", figure, caption, alt, rows, ("S3-c",), falsified_by)]


def _size_text(found: Sequence[Point], number: int) -> str:
    facts = [
        f"{SHUFFLES[cell.values['shuffle']][0]}, L1 {strength_text(cell.values['l1'])}, layer {k + 1}: radius "
        f"{text_of(interval_of(relative_radius(cell)[:, k]))}, {text_of(interval_of(participation(cell)[:, k]))} sites"
        for cell in found
        for k in range(number)
    ]
    return f"Relative radius and sites of receptive fields against the penalty. {'; '.join(facts)}."


def reconstructions(stacks: Stacks) -> list[Drawn]:
    """Returns test samples beside what comes back from each layer, for one run; none without a live run."""
    if not live(stacks.real):
        return []
    cell = reference_cell(live(stacks.real))
    sites = int(cell.values["size"]) ** 2
    samples, back = cell.last("sample")[0, :, :sites], cell.last("reconstruction")[0, :, :, :sites]
    wrong = cell.last("reconstruction_error")
    titles = ["test sample"] + [
        f"from layer {k + 1} ({units} units)\n{100 * wrong[0, k]:.1f} % of spins wrong"
        for k, units in enumerate(stacks.layers)
    ]
    figure = Figure(figsize=(1.85 * len(titles) + 0.7, 1.7 * len(samples) + 0.4),
                    layout=ConstrainedLayoutEngine(w_pad=MARGIN_INCHES / 2))  # fmt: skip
    axes = figure.subplots(len(samples), len(titles), squeeze=False)
    for column, (title, images) in enumerate(zip(titles, [samples, *back], strict=True)):
        for place, image in zip(axes[:, column], images, strict=True):
            shown = place.imshow(image.reshape(round(sites**0.5), -1), cmap="gray", vmin=-1, vmax=1,
                                 interpolation="none")  # fmt: skip
            place.set(xticks=[], yticks=[])
            place.grid(False)
            place.spines[:].set(visible=True, color=base.GREY, linewidth=0.8)
        axes[0, column].set_title(title)
    bar = figure.colorbar(shown, ax=axes, pad=0.02, shrink=0.5, aspect=20, ticks=(-1, 0, 1))
    bar.set_label("spin, or its mean")
    bar.ax.grid(False)
    errors = [text_of(interval_of(wrong[:, k])) for k in range(len(stacks.layers))]
    caption = (
        f"{len(samples)} test samples at K = {cell.values['coupling']:.4g} (one a row) and the means of the spins that "
        "come back from each layer, after the way up through the trained machines and down again, for the first live "
        f"run with L1 = {strength_text(cell.values['l1'])}. Spins of the wrong sign, mean over runs with 95 % "
        f"interval, by layer: {', '.join(errors)}. {about_runs([cell])}"
    )
    falsified_by = (
        f"{base.NO_CLAIM}It shows what the layers keep: had they kept what matters on large scales, domains would "
        "come back from the last one, without their details."
    )
    rows = [
        {**head(cell), "layer": k + 1, "wrong": plain(average(wrong[:, k])),
         "components_wrong": plain(average(cell.last("component_error")[:, k]))}
        for k in range(len(stacks.layers))
    ]  # fmt: skip
    alt = f"Test samples and their reconstructions. Share of wrong spins by layer: {', '.join(errors)}."
    return [Drawn("reconstructions", figure, caption, alt, rows, falsified_by=falsified_by)]


MAKERS: tuple[Callable[[Stacks], list[Drawn]], ...] = (field_sizes, reconstructions)
