"""Figures of the kernel-rg room by layer: how much of the labels every layer's kernel carries, and its distance."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from rgflow.judging.convergence import Estimate
from rgflow.judging.decisions import interval_of
from rgflow.judging.intervals import Interval
from rgflow.judging.text import number_text
from rgflow.kernel_rg.summary import Summary
from rgflow.report.figures import Drawn
from rgflow.report.interval_marks import interval_points
from rgflow.report.kernel_rg_points import (
    COLOURS,
    LINES,
    MARKS,
    SAMPLED,
    SHIFT,
    THEORY_NAMES,
    Point,
    about,
    head,
    interval,
    mark_handles,
    missing,
    of_study,
    plain,
    sampled_handles,
)
from rgflow.report.kernel_rg_sweeps import groups, set_value_scale, shown_groups
from rgflow.report.sheets import sheet

PROJECTION = r"projection  $Y^\top K_l Y / |Y|^4$"
RELATIVE = "projection / that of\ninfinite width"
DISTANCE = "distance of kernel\n" + r"$|\bar{K}_l - K_l^\mathrm{theory}| / |K_l^\mathrm{theory}|$"
LAYER = "hidden layer $l$ (1 = next to the input)"
GAP = 0.6
"""Between the layers of two networks."""

Layer = tuple[Point, int]
"""A point and the number of one of its layers, from 1."""


def distance(layer: Layer, theory: str) -> Estimate:
    """Returns the relative distance of a chain's mean kernel from a theory's, over live chains; NaN without any."""
    (point, runs), number = layer
    values = runs["kernel_distance"].sel(step=int(point.values["steps"]), theory=theory, layer=number).values
    live = np.asarray(values[np.isfinite(values)], np.float64)
    if not live.size:
        return Estimate(np.nan, np.nan, np.nan, 0.0)
    error = live.std(ddof=1) / np.sqrt(live.size) if live.size > 1 else np.nan
    return Estimate(float(live.mean()), float(error), np.nan, float(live.size))


def name_of(number: int) -> str:
    """Returns the name of a layer's projection among the observables of a point."""
    return f"kernel_projection_{number}"


def kernel_rows(layers: Sequence[Layer]) -> list[dict[str, Any]]:
    """Returns one row per layer: its projection, sampled and in theory, and its kernel's distances from theories."""
    rows = []
    for layer in layers:
        (point, _), number = layer
        found = point.measured[name_of(number)]
        theory = {f"projection_{n}": plain(point.theory[n][name_of(number)]) for n in LINES}
        distances = {n: distance(layer, n) for n in LINES}
        rows.append({
            **head(point), "layer": number, "projection_sampled": plain(found.mean),
            "projection_standard_error": plain(found.error), **theory,
            **{f"distance_{n}": plain(d.mean) for n, d in distances.items()},
            **{f"distance_{n}_standard_error": plain(d.error) for n, d in distances.items()},
        })  # fmt: skip
    return rows


def _draw_projection(axes: Axes, x: Sequence[float], layers: Sequence[Layer], relative: bool) -> list[float]:
    """Draws samples and theories of some layers, if asked in units of infinite width, and returns the numbers drawn."""
    seen = []
    for at, ((point, _), number) in zip(x, layers, strict=True):
        unit = point.theory["wide"][name_of(number)] if relative else 1.0
        mean, low, high, _ = interval(point, name_of(number))
        found = Interval(mean / unit, low / unit, high / unit, point.runs)
        interval_points(axes, [at - SHIFT], [found], linestyle="", zorder=5, **SAMPLED[str(point.values["sampler"])][1])
        if not np.isfinite(found.mean):
            missing(axes, at - SHIFT)
        values = [point.theory[theory][name_of(number)] / unit for theory in LINES]
        for place, (theory, value) in enumerate(zip(LINES, values, strict=True)):
            axes.plot([at + SHIFT * place], [value], linestyle="", marker=MARKS[theory], fillstyle="none",
                      markersize=5.5, markeredgewidth=1.3, color=COLOURS[theory])  # fmt: skip
        seen += [*values, found.mean, found.high]
    return [x for x in seen if np.isfinite(x)]


def _draw_distance(axes: Axes, x: Sequence[float], layers: Sequence[Layer]) -> list[float]:
    seen = []
    for place, theory in enumerate(LINES):
        found: list[Interval] = [interval_of(distance(layer, theory), 0) for layer in layers]
        where = [at + SHIFT * (place - 1) for at in x]
        look = {"marker": MARKS[theory], "markersize": 4.5, "color": COLOURS[theory], "linestyle": ""}
        interval_points(axes, where, found, **look)
        for at, one, ((point, _), number) in zip(where, found, layers, strict=True):
            if not np.isfinite(one.mean) and np.isfinite(point.theory[theory][name_of(number)]):
                missing(axes, at)
        seen += [x for one in found for x in (one.mean, one.high)]
    return [x for x in seen if np.isfinite(x)]


def _handles(points: Sequence[Point]) -> list[Line2D]:
    filled = [
        Line2D([], [], color=COLOURS[n], marker=MARKS[n], linestyle="", label=f"distance from {THEORY_NAMES[n]}")
        for n in LINES
    ]
    return [*sampled_handles(points), *mark_handles(tuple(LINES)), *filled]


def _caption(what: str, points: Sequence[Point]) -> str:
    return (
        f"Kernels of the hidden layers of linear networks{what}. Projection on the labels, sampled (filled) beside "
        "theories (open); and the distance (Frobenius norm) of each chain's mean kernel from theories, mean over "
        "chains with 1.96 standard errors. A single chain is noisy: its distance from the exact law is that noise, and "
        f"no theory can be nearer. {about(points)}"
    )


CLAIMS = ("S4-linear", "S4-sampler")
FALSIFIED = (
    "S4-linear: layers as far from the saddle point as from infinite width; S4-sampler: sampled projections off those "
    "of the exact law by more than their bars allow."
)


def _facts(layers: Sequence[Layer]) -> str:
    told = []
    for (point, _), number in layers:
        found, theory = interval(point, name_of(number)), point.theory
        told.append(
            f"width {point.values['width']:g}, depth {point.values['depth']:g}, layer {number}: projection "
            f"{number_text(*found[:3])}, saddle point {number_text(theory['saddle'][name_of(number)])}, infinite width "
            f"{number_text(theory['wide'][name_of(number)])}"
        )
    return "; ".join(told) + "."


def layers_of(point: Point) -> list[Layer]:
    """Returns every hidden layer of a point."""
    return [(point, number) for number in range(1, int(point[0].values["depth"]) + 1)]


def network_name(point: Summary) -> str:
    """Returns the sizes of a network and its data, and sigma2, one below the other."""
    return "$N$ {width:g}, $L$ {depth:g}\n$P$ {num_train:g}, $N_0$ {num_inputs:g}\n$\\sigma^2$ {sigma2:g}".format(
        **point.values
    )


def _places(points: Sequence[Point]) -> list[Float[np.ndarray, " layers"]]:
    """Returns where the layers of every network stand."""
    found, start = [], 0.0
    for point, _ in points:
        depth = int(point.values["depth"])
        found.append(start + np.arange(depth))
        start += depth + GAP
    return found


def case_kernels(points: Sequence[Point]) -> Drawn:
    """Draws every layer of every case: projection above, distance below."""
    figure = sheet(6.0)
    top, bottom = figure.subplots(2, 1, sharex=True)
    places, layers = _places(points), [layer for point in points for layer in layers_of(point)]
    x = np.concatenate(places).tolist()
    set_value_scale(top, _draw_projection(top, x, layers, False))
    set_value_scale(bottom, _draw_distance(bottom, x, layers))
    top.set_ylabel(PROJECTION)
    bottom.set_ylabel(DISTANCE)
    bottom.set_xticks(x, [f"{number}" for _, number in layers])
    bottom.set_xlabel(LAYER)
    for where, (point, _) in zip(places, points, strict=True):
        top.text(where.mean(), 1.02, network_name(point), transform=top.get_xaxis_transform(), ha="center",
                 va="bottom", fontsize=8)  # fmt: skip
        for panel in (top, bottom) if where[0] > 0 else ():
            panel.axvline(where[0] - (1 + GAP) / 2, color="#c8c8c8", linewidth=0.8, zorder=0)
    for panel in (top, bottom):
        panel.grid(False, axis="x")
    figure.legend(handles=_handles(points), loc="outside upper center", ncols=4, columnspacing=1.5)
    alt = f"Layer kernels of the cases. {_facts(layers)}"
    rows = kernel_rows(layers)
    return Drawn("kernels_cases", figure, _caption(", all cases", points), alt, rows, CLAIMS, FALSIFIED)


def depth_kernels(points: Sequence[Point]) -> Drawn:
    """Draws the layers of the deepest network of every group of the depth study: projection above, distance below."""
    every = groups(points, "depth")
    deepest = {title: members[-1] for title, members in shown_groups(every).items()}
    figure = sheet(5.2)
    axes = figure.subplots(2, len(deepest), squeeze=False, sharex="col", sharey="row")
    seen: tuple[list[float], list[float]] = ([], [])
    for (top, bottom), (title, point) in zip(axes.T, deepest.items(), strict=True):
        layers = layers_of(point)
        x = [float(number) for _, number in layers]
        seen[0].extend(_draw_projection(top, x, layers, True))
        seen[1].extend(_draw_distance(bottom, x, layers))
        top.set_title(title or f"$L = {point[0].values['depth']:g}$")
        bottom.set_xlabel(LAYER)
        bottom.set_xticks(x)
        bottom.set_xlim(0.4, x[-1] + 0.6)
    for row, values, label in zip(axes, seen, (RELATIVE, DISTANCE), strict=True):
        row[0].set_ylabel(label)
        for panel in row:
            set_value_scale(panel, values)
    drawn = [*deepest.values()]
    figure.legend(handles=_handles(drawn), loc="outside upper center", ncols=4, columnspacing=1.5)
    layers = [layer for point in drawn for layer in layers_of(point)]
    what = " of the greatest depth that was run, projections in units of that of infinite width"
    alt = f"Layer kernels of the deepest networks. {_facts(layers)}"
    rows = kernel_rows([layer for members in every.values() for point in members for layer in layers_of(point)])
    return Drawn("kernels_depth", figure, _caption(what, points), alt, rows, CLAIMS, FALSIFIED)


def kernel_figures(points: Sequence[Point]) -> list[Drawn]:
    """Returns the layer kernels of the cases and of the deepest networks, as far as these studies were run."""
    cases = of_study(points, "cases")
    deep = [p for p in of_study(points, "depth") if p[0].values["activation"] == "linear"]
    return [*([case_kernels(cases)] if cases else []), *([depth_kernels(deep)] if deep else [])]
