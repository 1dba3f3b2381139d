"""Features against what else the same data can be compressed to, over the coupling of the data.

Four figures of one kind: couplings, excess kurtosis, the quartic parameter, and dependence without a model. Every row
is one kind of data, trained networks stand left, controls at equal compression right of them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from rgflow.exact.block_moments import SCHEMES
from rgflow.fixed_points.compression import COMPRESSIONS
from rgflow.fixed_points.controls import COUPLING_MARGIN, KURTOSIS_MARGIN, at_optimum
from rgflow.fixed_points.select import Network
from rgflow.judging.points import Point
from rgflow.report import figures as base
from rgflow.report.fixed_points_axes import coupling_scale, leave_room, signed_log_scale
from rgflow.report.fixed_points_points import (
    BAND,
    SCHEME_LINES,
    SCHEME_NAMES,
    TASKS,
    Board,
    data_name,
    ends_of,
    exact_at,
    flow_of,
    in_order,
    live,
    of_layer,
    plain,
    record,
    setting_of,
    task_look,
)
from rgflow.report.interval_marks import interval_of, interval_points, text_of
from rgflow.report.sheets import sheet

CONTROLS: Mapping[str, tuple[str, str, str]] = {
    "untrained": ("untrained", base.INK, "o"),
    "projection": ("random projection", base.SKY, "P"),
    "principal_components": ("principal components", base.VERMILION, "X"),
    "decimation": ("decimated", base.GREEN, "<"),
    "block_sum": ("block sums", base.ORANGE, ">"),
}
"""Name, colour and mark of every control."""

LARGE = 4
SHARE = 0.7
"""Of the distance between two couplings that the marks of one coupling take."""


class Measure(NamedTuple):
    """What is read of features, its label, the exact values beside it, and the margin around its fixed points.

    What has no exact values starts at 0 and reaches up to ``least_high`` or beyond. Where something is ``LARGE``
    times as large as ``linear`` the scale is logarithmic beyond that.
    """

    name: str
    label: str
    exact: str = ""
    margin: float = 0.0
    fields_only: bool = False
    least_high: float = 0.0
    linear: float = np.inf


RING = Measure("ring_coupling", "ring coupling", "exact_coupling", COUPLING_MARGIN)
KURTOSIS = Measure("excess_kurtosis", "excess kurtosis", "fixed_kurtosis", KURTOSIS_MARGIN, linear=2.0)
QUARTIC = Measure("onsite", r"$\theta_4$, standardised", "fixed_onsite", fields_only=True, linear=0.3)
INFORMATION = Measure("mutual_information", "mutual information\n(nats)", least_high=0.01)
CORRELATION = Measure("correlation", "rms correlation", least_high=0.1)


class Series(NamedTuple):
    """One kind of mark: its key and name, its look, and one number per run at every coupling of the data.

    Couplings are ``doubtful`` where the premise of the theorem does not hold; the marks there are hollow.
    """

    key: str
    name: str
    look: Mapping[str, Any]
    values: Mapping[float, Float[np.ndarray, " _"]]
    doubtful: frozenset[float] = frozenset()


def _look(colour: str, marker: str, hollow: bool = False) -> dict[str, Any]:
    face = {"markerfacecolor": "white"} if hollow else {}
    return {"color": colour, "marker": marker, "markersize": 4.5, "linestyle": "", **face}


def trained_series(board: Board, data: str, measure: Measure) -> list[Series]:
    """Returns the trained features of every task on some data."""
    found = []
    for network in board.tasks(data):
        name, colour, marker = task_look(network.task)
        points = live(board.networks[network])
        values = {k: of_layer(cell, network, measure.name) for k, cell in points.items()}
        doubtful = frozenset(k for k, cell in points.items() if not at_optimum(cell))
        found.append(Series(network.task, name, _look(colour, marker), values, doubtful))
    return found


def control_series(board: Board, data: str, measure: Measure) -> list[Series]:
    """Returns untrained networks of all tasks, compressions of the data, and networks trained on shuffled sites."""
    before: dict[float, list[np.ndarray]] = {}
    for network in board.tasks(data):
        for coupling, cell in live(board.networks[network]).items():
            before.setdefault(coupling, []).append(of_layer(cell, network, measure.name, when=0))
    name, *look = CONTROLS["untrained"]
    untrained = {coupling: np.concatenate(values) for coupling, values in sorted(before.items())}
    found = [Series("untrained", name, _look(look[0], look[1], hollow=True), untrained)]
    # As the features of the main networks are judged; without a network as those of smooth ones.
    judged = judge_of(board, data).estimator
    place = {"gauge": "standardised", "estimator": judged, "power": 4}
    for kind in COMPRESSIONS:
        name, colour, marker = CONTROLS[kind]
        points = live(board.compressions.get(data, {}))
        values = {
            k: record(cell, f"compressed_{measure.name}", 0, compression=kind, **place) for k, cell in points.items()
        }
        found.append(Series(kind, name, _look(colour, marker), values))
    return [*found, *shuffled_series(board, data, measure)]


def judge_of(board: Board, data: str) -> Network:
    """Returns a network as whose features everything about some data is judged."""
    return (board.tasks(data) or [Network(data, "", *board.setting)])[0]


def shuffled_series(board: Board, data: str, measure: Measure) -> list[Series]:
    """Returns the features of networks of the main setting that were trained on shuffled sites."""
    found = []
    for network, points in board.shuffled.items():
        if network.data == data and setting_of(network) == board.setting:
            name, *look = task_look(network.task)
            values = {k: of_layer(cell, network, measure.name) for k, cell in live(points).items()}
            key, label = f"{network.task}, sites shuffled", f"{name}, trained on shuffled sites"
            found.append(Series(key, label, _look(look[0], look[1], hollow=True), values))
    return found


def any_points(board: Board, data: str) -> dict[float, Point]:
    """Returns a live point of some data at every coupling, for what is known of the data alone."""
    found = {}
    for points in [*(board.networks[n] for n in board.tasks(data)), board.compressions.get(data, {})]:
        found |= live(points)
    return found


def references(board: Board, data: str, measure: Measure) -> dict[str, tuple[list[float], list[float]]]:
    """Returns couplings and exact values by scheme, as far as they are known."""
    if not measure.exact:
        return {}
    points = any_points(board, data)
    if measure is RING:
        judge = judge_of(board, data)
        flows = {s: {k: float(flow_of(board, judge, k, s)[-1]) for k in sorted(points)} for s in SCHEMES}
        known = {s: {k: v for k, v in flow.items() if np.isfinite(v)} for s, flow in flows.items()}
        return {s: (list(flow), list(flow.values())) for s, flow in known.items() if flow}
    place = {"power": 4} if measure is QUARTIC else {}
    found = {scheme: exact_at(points, measure.exact, scheme=scheme, **place) for scheme in SCHEMES}
    return {scheme: known for scheme, known in found.items() if known[0]}


def _draw_references(axes: Axes, ticks: Sequence[float], measure: Measure, known: Mapping[str, Any]) -> None:
    margin = measure.margin
    if measure is RING:
        axes.axhspan(-margin, margin, **BAND)
    for scheme, (couplings, values) in known.items():
        # Fixed points and flows are steps: what lies between two couplings was not computed.
        for coupling, value in zip(couplings, values, strict=True):
            x = np.array([-0.45, 0.45]) + ticks.index(coupling)
            if margin and measure is not RING:
                axes.fill_between(x, value - margin, value + margin, **BAND)
            axes.plot(x, [value, value], color=base.INK, linewidth=1.3, linestyle=SCHEME_LINES[scheme], zorder=1.5)


def _say(axes: Axes, why: str) -> None:
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85}
    axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center", va="center", color=base.GREY, bbox=box)


def _scale(pair: Sequence[Axes], measure: Measure) -> None:
    """Gives the panels of networks and of controls one y axis."""
    if measure is RING:
        for panel in pair:
            coupling_scale(panel)
        leave_room(pair)
        return
    ends = np.array([panel.get_ylim() for panel in pair])
    low, high = float(ends[:, 0].min()), float(ends[:, 1].max())
    large = max(-low, high) > LARGE * measure.linear
    for place, panel in enumerate(pair):
        if large:
            signed_log_scale(panel, measure.linear, share=1.0)
        panel.set_ylim(low if measure.exact else 0.0, high if measure.exact else max(high, measure.least_high))
        panel.tick_params(labelleft=place == 0)


def _draw_panel(axes: Axes, ticks: Sequence[float], series: Sequence[Series]) -> None:
    shown = [one for one in series if any(np.isfinite(v).any() for v in one.values.values())]
    for place, one in enumerate(shown):
        shift = SHARE * ((place + 0.5) / len(shown) - 0.5)
        for coupling, values in one.values.items():
            hollow = {"markerfacecolor": "white"} if coupling in one.doubtful else {}
            interval_points(axes, [ticks.index(coupling) + shift], [interval_of(values)], **{**one.look, **hollow})
    if not shown:
        _say(axes, "not in this sweep")
    axes.set_xticks(range(len(ticks)), [f"{k:g}" for k in ticks])
    axes.set_xlim(-0.6, len(ticks) - 0.4)
    axes.grid(False, axis="x")


def comparison_rows(board: Board, measures: Sequence[Measure]) -> list[dict[str, Any]]:
    """Returns one row per kind of data, measure, mark and coupling, and one per exact value."""
    rows = []
    for data in board.data:
        for measure in measures:
            head = {"data": data, "measure": measure.name}
            for one in [*trained_series(board, data, measure), *control_series(board, data, measure)]:
                rows += [
                    {**head, "what": one.key, "coupling": k, **ends_of(v, "mean"), "runs": int(np.isfinite(v).sum())}
                    for k, v in one.values.items()
                ]
            for scheme, (couplings, values) in references(board, data, measure).items():
                what = f"{'exact' if measure is RING else 'fixed point'}, {scheme}"
                rows += [{**head, "what": what, "coupling": k, "mean": plain(v), "mean_low": "", "mean_high": "",
                          "runs": ""} for k, v in zip(couplings, values, strict=True)]  # fmt: skip
    return rows


def _handles(board: Board, kinds: Sequence[str], measures: Sequence[Measure]) -> list[Any]:
    """Returns the legend: marks that occur, lines of the schemes, the margin."""
    every: dict[str, Series] = {}
    for data in kinds:
        for one in [*trained_series(board, data, measures[0]), *control_series(board, data, measures[0])]:
            if one.values:
                every.setdefault(one.key, one)
    order = in_order(every, [*TASKS, *CONTROLS])
    marks = [Line2D([], [], label=every[key].name, **every[key].look) for key in order]
    exact = [m for m in measures if m.exact]
    if not exact:
        return marks
    what = "after as many exact steps" if exact[0] is RING else "fixed point"
    lines = [
        Line2D([], [], color=base.INK, linewidth=1.3, linestyle=SCHEME_LINES[s], label=f"{what}, {SCHEME_NAMES[s]}")
        for s in SCHEMES
    ]
    band = [Patch(facecolor=BAND["color"], label=f"fixed point \u00b1 {m.margin:g}") for m in exact if m.margin]
    return [*marks, *lines, *band]


def comparison(board: Board, measures: Sequence[Measure], inches: float = 1.75) -> tuple[Any, list[str]] | None:
    """Returns a figure with one row per kind of data, and for every measure a panel of networks and one of controls."""
    kinds = [d for d in board.data if any_points(board, d) and not (measures[0].fields_only and d == "ising")]
    if not kinds:
        return None
    figure = sheet(inches * len(kinds) + 1.5)
    axes = figure.subplots(len(kinds), 2 * len(measures), squeeze=False)
    for row, data in zip(axes, kinds, strict=True):
        ticks = board.couplings(data)
        for place, measure in enumerate(measures):
            pair, known = list(row[2 * place : 2 * place + 2]), references(board, data, measure)
            for panel, make in zip(pair, (trained_series, control_series), strict=True):
                _draw_references(panel, ticks, measure, known)
                _draw_panel(panel, ticks, make(board, data, measure))
            _scale(pair, measure)
            pair[0].set_ylabel(f"{data_name(data)}\n{measure.label}" if place == 0 else measure.label)
    for place in range(len(measures)):
        axes[0, 2 * place].set_title("trained, by task")
        axes[0, 2 * place + 1].set_title("controls")
    for panel in axes[-1]:
        panel.set_xlabel("coupling $K$ of the data")
    figure.legend(handles=_handles(board, kinds, measures), loc="outside upper center", ncols=3, columnspacing=1.5)
    return figure, kinds


def facts_of(board: Board, kinds: Sequence[str], measure: Measure) -> str:
    """Returns the mean of every mark at the coupling of reference, or the largest, in words."""
    texts = []
    for data in kinds:
        coupling = board.reference(data) if board.tasks(data) else board.couplings(data)[-1]
        marks = [*trained_series(board, data, measure), *control_series(board, data, measure)]
        found = [f"{m.name} {text_of(interval_of(m.values[coupling]))}" for m in marks if coupling in m.values]
        texts.append(f"{data} at K {coupling:g}: {', '.join(found) or 'nothing live'}")
    return "; ".join(texts)
