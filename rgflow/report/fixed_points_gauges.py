"""The same features in every gauge and by both estimators, and the gauge orbit of linear networks."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from rgflow.fixed_points.controls import COUPLING_MARGIN
from rgflow.fixed_points.probe import ESTIMATORS
from rgflow.fixed_points.select import Network
from rgflow.fixed_points.verdict import SAME_LOSS
from rgflow.judging.points import Point
from rgflow.probes.gauges import GAUGES
from rgflow.report import figures as base
from rgflow.report.figures import Drawn
from rgflow.report.fixed_points_axes import coupling_scale, leave_room
from rgflow.report.fixed_points_points import (
    BAND,
    ESTIMATOR,
    PREMISE,
    Board,
    about_runs,
    data_name,
    ends_of,
    in_order,
    live,
    of_layer,
    ordered,
    plain,
    record,
    setting_name,
    setting_of,
    task_look,
)
from rgflow.report.interval_marks import interval_of, interval_points, text_of
from rgflow.report.sheets import sheet

LOOKS: Mapping[str, tuple[str, str]] = {
    "raw": (base.INK, "o"),
    "standardised": (base.BLUE, "s"),
    "whitened": (base.VERMILION, "^"),
    "principal": (base.GREEN, "D"),
}
LARGEST = 200.0
"""Couplings beyond it stand at the edge."""

ABREAST = 2
"""Tasks whose names fit beside each other under the orbits."""

SHARE = 0.8
"""Of the distance between two tasks that the marks of one take."""

Shown = dict[Network, tuple[float, Point]]
"""A point per network, with its coupling of the data."""


def at_reference(board: Board, linear: bool) -> Shown:
    """Returns the main networks, or the linear ones without penalty (one a task), at one coupling of their data."""
    found: Shown = {}
    tasks = set()
    for network in ordered(board.networks):
        wanted = network.activation == "identity" if linear else setting_of(network) == board.setting
        points = live(board.networks[network])
        if wanted and points and (network.data, network.task) not in tasks:
            coupling = board.reference(network.data)
            coupling = coupling if coupling in points else max(points)
            tasks.add((network.data, network.task))
            found[network] = (coupling, points[coupling])
    return found


def loss_change(cell: Point) -> float:
    """Returns the largest relative change of the loss along the orbits of all runs; NaN where none is known."""
    with np.errstate(divide="ignore", invalid="ignore"):
        change = abs(cell.last("orbit_loss") / cell.last("loss")[:, None] - 1)
    return float(change[np.isfinite(change)].max(initial=0.0)) if np.isfinite(change).any() else float("nan")


def _draw_gauges(axes: Axes, shown: Shown, places: int) -> None:
    number = len(GAUGES) * len(ESTIMATORS)
    for place, (network, (_, cell)) in enumerate(shown.items()):
        for k, gauge in enumerate(GAUGES):
            colour, marker = LOOKS[gauge]
            for j, estimator in enumerate(ESTIMATORS):
                values = of_layer(cell, network, "ring_coupling", gauge=gauge, estimator=estimator)
                x = place + SHARE * ((len(ESTIMATORS) * k + j + 0.5) / number - 0.5)
                face = colour if estimator == network.estimator else "white"
                look = {"color": colour, "marker": marker, "markersize": 5, "linestyle": "", "markerfacecolor": face}
                interval_points(axes, [x], [interval_of(np.clip(values, -LARGEST, LARGEST))], **look)
    axes.set_xticks(range(len(shown)), [task_look(n.task)[0].replace(" ", "\n") for n in shown])
    axes.set_xlim(-0.6, places - 0.4)
    if len(shown) > 1:
        for place in range(1, len(shown)):
            axes.axvline(place - 0.5, color="#d0d0d0", linewidth=0.8)
    if not axes.lines:
        base.say_empty(axes)


def _draw_orbits(axes: Axes, shown: Shown, places: int) -> None:
    labels = []
    for place, (network, (_, cell)) in enumerate(shown.items()):
        orbits = cell.last("orbit_coupling")[..., ESTIMATORS.index(network.estimator)]
        runs, size = orbits.shape
        shifts = (np.arange(runs) + 0.5) / max(runs, 1) - 0.5
        x = np.repeat(place + 0.7 * shifts[:, None], size, axis=1)
        axes.plot(x.ravel(), orbits.ravel(), linestyle="", marker="o", markersize=3, color=base.PURPLE, alpha=0.6)
        trained = of_layer(cell, network, "ring_coupling")
        axes.plot(place + 0.7 * shifts, trained, linestyle="", marker="_", markersize=9, markeredgewidth=2,
                  color=base.INK)  # fmt: skip
        change = loss_change(cell)
        number = f"loss \u00b1 {change:.0e}" if np.isfinite(change) else "no loss"
        labels.append(f"{task_look(network.task)[0]}\n{number}")
    # Names stand aslant only where they would not fit beside each other.
    aslant: dict[str, Any] = {"rotation": 25, "ha": "right"} if places > ABREAST else {}
    axes.set_xticks(range(len(shown)), labels, **aslant)
    axes.set_xlim(-0.6, max(places, 1) - 0.4)
    if not shown:
        base.say_empty(axes, "no linear network")


def _finish(axes: Axes) -> None:
    axes.grid(False, axis="x")
    axes.tick_params(axis="x", labelsize=7.5, length=0)
    if axes.lines:
        axes.axhspan(-COUPLING_MARGIN, COUPLING_MARGIN, **BAND)
        coupling_scale(axes)
        leave_room([axes])
    else:
        axes.set_yticks([])


def gauge_rows(main: Shown, linear: Shown) -> list[dict[str, Any]]:
    """Returns one row per network, gauge and estimator, and one per member of an orbit, averaged over runs."""
    rows = []
    for network, (coupling, cell) in main.items():
        head = {**network._asdict(), "coupling": coupling}
        for gauge in GAUGES:
            for estimator in ESTIMATORS:
                values = of_layer(cell, network, "ring_coupling", gauge=gauge, estimator=estimator)
                rows.append({**head, "gauge": gauge, "estimator": estimator, **ends_of(values, "ring_coupling"),
                             "loss_change": ""})  # fmt: skip
    for network, (coupling, cell) in linear.items():
        head = {**network._asdict(), "coupling": coupling}
        for member in cell.live["orbit"].values.tolist():
            values = record(cell, "orbit_coupling", orbit=member, estimator=network.estimator)
            rows.append({**head, "gauge": f"orbit {member}", "estimator": network.estimator,
                         **ends_of(values, "ring_coupling"), "loss_change": plain(loss_change(cell))})  # fmt: skip
    return rows


def _facts(main: Shown, linear: Shown) -> str:
    texts = []
    for network, (coupling, cell) in main.items():
        by_gauge = ", ".join(
            f"{g} {text_of(interval_of(of_layer(cell, network, 'ring_coupling', gauge=g)))}" for g in GAUGES
        )
        texts.append(f"{network.data}, {network.task}, K {coupling:g}: {by_gauge}")
    for network, (coupling, cell) in linear.items():
        orbits = cell.last("orbit_coupling")[..., ESTIMATORS.index(network.estimator)]
        finite = orbits[np.isfinite(orbits)]
        if len(finite):
            texts.append(
                f"orbit of {network.data}, {network.task}, K {coupling:g}: from {finite.min():.3g} to "
                f"{finite.max():.3g}, loss changed by {loss_change(cell):.0e}"
            )
    return "; ".join(texts)


def _handles(orbit: bool) -> list[Any]:
    marks = [
        Line2D([], [], color=c, marker=m, markersize=5, linestyle="", label=gauge) for gauge, (c, m) in LOOKS.items()
    ]
    hollow = {"color": base.GREY, "marker": "o", "linestyle": "", "markersize": 5}
    estimators = [
        Line2D([], [], label="estimator that is judged", **hollow),
        Line2D([], [], label="the other one", markerfacecolor="white", **hollow),
    ]
    orbits = [
        Line2D([], [], color=base.PURPLE, marker="o", markersize=3, linestyle="", label="$f B$ of one run, random $B$"),
        Line2D([], [], color=base.INK, marker="_", markersize=9, markeredgewidth=2, linestyle="", label="as trained"),
    ]
    band = Patch(facecolor=BAND["color"], label=f"fixed point \u00b1 {COUPLING_MARGIN:g}")
    return [*marks, *estimators, *(orbits if orbit else []), band]


def gauges(board: Board) -> list[Drawn]:
    """Returns the features in every gauge, and the orbits of linear ones; none without a live network."""
    main, linear = at_reference(board, False), at_reference(board, True)
    kinds = in_order({n.data for n in [*main, *linear]}, board.data)
    if not kinds:
        return []
    columns = 2 if linear else 1
    places = [max(sum(n.data == d for n in one) for d in kinds) for one in (main, linear)]
    widths = [max(2, count) for count in places]
    figure = sheet((1.75 if places[1] <= ABREAST else 2.2) * len(kinds) + 0.9)
    axes = figure.subplots(len(kinds), columns, squeeze=False, width_ratios=[widths[0], 0.8 * widths[1]][:columns])
    for row, data in zip(axes, kinds, strict=True):
        for panel, one, draw, most in zip(row, (main, linear), (_draw_gauges, _draw_orbits), places, strict=False):
            draw(panel, {n: point for n, point in one.items() if n.data == data}, most)
            _finish(panel)
        row[0].set_ylabel("ring coupling")
        row[0].set_title(f"{data_name(data)}, $K$ = {board.reference(data):g}: gauges", fontsize=8.5)
        if linear:
            row[1].set_title("orbits of linear networks", fontsize=8.5)
    figure.legend(handles=_handles(bool(linear)), loc="outside upper center", ncols=5, columnspacing=1.5)
    cells = [cell for _, cell in [*main.values(), *linear.values()]]
    spread = (
        " Right: ring coupling of linear features f B (standardised) for random invertible B with the inverse of B in "
        "the weights behind them, so that the network is the same function; every dot is one B of one run, columns of "
        f"dots are runs; the largest relative change of the loss stands below (rounding: below {SAME_LOSS:g})."
        if linear
        else ""
    )
    caption = (
        f"Left: ring coupling of the same trained features ({setting_name(board.setting)}) in four gauges and by two "
        f"estimators ({ESTIMATOR}; the judged one is filled).{spread} Grey: within {COUPLING_MARGIN:g} of the "
        f"coupling of every fixed point. Couplings beyond {LARGEST:g} stand at the edge. {about_runs(cells)} "
        "Whitened and principal features have no linear correlation by construction, so that being in the band there "
        "is no success of training."
    )
    falsified_by = (
        f"S2-gauge: dots that spread by more than {COUPLING_MARGIN:g} at the same loss; S2: gauges that disagree on "
        f"which side of the grey band the same features lie. {PREMISE}"
    )
    alt, rows_behind = f"Gauges. {_facts(main, linear)}.", gauge_rows(main, linear)
    return [Drawn("fixed_points_gauges", figure, caption, alt, rows_behind, ("S2-gauge", "S2"), falsified_by)]
