"""The ring coupling after every layer over the exact flow of the data: the main networks, and the other settings."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from rgflow.exact.block_moments import SCHEMES
from rgflow.fixed_points.controls import COUPLING_MARGIN
from rgflow.fixed_points.select import Network, Points
from rgflow.fixed_points.verdict import FLOW_SHARE
from rgflow.judging.points import Point, average
from rgflow.report import figures as base
from rgflow.report.figures import Drawn
from rgflow.report.fixed_points_axes import coupling_scale, leave_room, panel_grid
from rgflow.report.fixed_points_points import (
    BAND,
    ESTIMATOR,
    PREMISE,
    SCHEME_LINES,
    SCHEME_NAMES,
    Board,
    about_runs,
    coupling_colours,
    data_name,
    ends_of,
    exact_of,
    flow_of,
    has_exact_flow,
    live,
    of_layer,
    panel_rows,
    plain,
    setting_name,
    setting_of,
    task_look,
)
from rgflow.report.interval_marks import interval_of, interval_points, text_of

PANEL_INCHES = 2.05
LABEL = "ring coupling"
MOST_FACTS = 30
"""Networks whose numbers are said in words."""


def floor_of(found: Sequence[tuple[Point, Network]], layer: int) -> float:
    """Returns the largest coupling, without its sign, that the estimator finds in nothing; NaN if unknown."""
    values = [
        of_layer(cell, network, "floor_ring_coupling", layer) for cell, network in found if layer <= network.halvings
    ]
    sizes = [abs(x) for x in np.concatenate([*values, np.empty(0)]) if np.isfinite(x)]
    return max(sizes, default=float("nan"))


def draw_floor(axes: Axes, found: Sequence[tuple[Point, Network]]) -> None:
    """Draws the couplings that an estimator finds in independent columns as a grey band."""
    depth = max((network.halvings for _, network in found), default=0)
    for layer in range(1, depth + 1):
        floor = floor_of(found, layer)
        if np.isfinite(floor):
            axes.fill_between([layer - 0.5, layer + 0.5], -floor, floor, **BAND)


def draw_exact(axes: Axes, board: Board, network: Network, coupling: float, colour: Any) -> None:
    """Draws the exact flow of some data under each scheme, as far as it is known."""
    for scheme in SCHEMES:
        flow = flow_of(board, network, coupling, scheme)
        if np.isfinite(flow[1:]).any():
            axes.plot(np.arange(len(flow)), flow, color=colour, linestyle=SCHEME_LINES[scheme], linewidth=1.2)


def draw_network(axes: Axes, cell: Point, network: Network, colour: Any, marker: str = "o") -> None:
    """Draws trained features over layers from the data on, and the untrained ones as faint hollow marks."""
    start = exact_of(cell, "exact_coupling", SCHEMES[0])[0]
    layers = list(range(1, network.halvings + 1))
    found = [interval_of(of_layer(cell, network, "ring_coupling", layer)) for layer in layers]
    if np.isfinite(start):
        face = base.INK if has_exact_flow(network) else "white"
        axes.plot(
            [0], [start], color=base.INK, marker="D", markersize=3.5, markerfacecolor=face, linestyle="", zorder=3
        )
    if np.isfinite(start) and has_exact_flow(network):
        axes.plot([0, 1], [start, found[0].mean], color=colour, linewidth=1.5)
    interval_points(axes, layers, found, color=colour, marker=marker, markersize=4, linewidth=1.5)
    before = [average(of_layer(cell, network, "ring_coupling", layer, when=0)) for layer in layers]
    hollow = {"linestyle": "", "markerfacecolor": "none", "alpha": 0.55, "markersize": 5.5, "zorder": 1.5}
    axes.plot(layers, before, color=colour, marker=marker, **hollow)


def panel_title(pair: tuple[str, str], coupling: float | None = None) -> str:
    """Returns data, coupling if it is one alone, and task, in two lines: panels are narrow."""
    known = "" if coupling is None else f", $K$ = {coupling:g}"
    return f"{data_name(pair[0])}{known}\n{task_look(pair[1])[0]}"


def finish(axes: Axes, title: str, depth: int) -> None:
    """Writes what a panel shows."""
    axes.set_title(title, fontsize=8)
    axes.set_xticks(range(depth + 1), ["data", *map(str, range(1, depth + 1))])
    axes.set_xlim(-0.3, depth + 0.35)
    axes.set_xlabel("layer")
    axes.grid(False, axis="x")
    coupling_scale(axes)
    if not axes.lines:
        base.say_empty(axes)


def flow_rows(board: Board, found: Sequence[Network]) -> list[dict[str, Any]]:
    """Returns one row per network, coupling and layer: found, before training, exact, and what is found in nothing."""
    rows = []
    for network in found:
        for coupling, cell in board.networks[network].items():
            for layer in range(1, network.halvings + 1):
                read = lambda when, layer=layer, c=cell, n=network: of_layer(c, n, "ring_coupling", layer, when)  # noqa: E731
                rows.append({
                    **network._asdict(), "coupling": coupling, "layer": layer, "estimator": network.estimator,
                    **ends_of(read(-1), "ring_coupling"), "untrained": plain(average(read(0))),
                    **{s: plain(flow_of(board, network, coupling, s)[layer]) for s in SCHEMES},
                    "floor": plain(floor_of([(cell, network)], layer)), "runs": cell.runs, "dead": cell.dead,
                })  # fmt: skip
    return rows


def facts_of_flow(board: Board, found: Sequence[Network]) -> str:
    """Returns the coupling of the features of every network beside the exact one, at one coupling, in words."""
    texts = []
    for network in found:
        points = live(board.networks[network])
        reference = board.reference(network.data)
        for coupling in [reference] if reference in points else list(points)[-1:]:
            cell = points[coupling]
            exact = flow_of(board, network, coupling, "decimation")[-1]
            known = f", decimation {exact:.3g}" if np.isfinite(exact) else ""
            features = text_of(interval_of(of_layer(cell, network, "ring_coupling")))
            texts.append(
                f"{network.data}, {network.task}, {setting_name(setting_of(network))}, K {coupling:g}: features "
                f"{features}{known}"
            )
    more = [f"{len(texts) - MOST_FACTS} more in the table"] if len(texts) > MOST_FACTS else []
    return "; ".join([*texts[:MOST_FACTS], *more]) or "no live run"


SHARED_HANDLES = (
    Line2D([], [], color=base.INK, marker="D", markersize=3.5, linestyle="", label="the data (exact)"),
    *(
        Line2D([], [], color=base.INK, linestyle=SCHEME_LINES[s], linewidth=1.2, label=f"exact flow, {SCHEME_NAMES[s]}")
        for s in SCHEMES
    ),
    Line2D([], [], color=base.INK, marker="o", markersize=5.5, linestyle="", markerfacecolor="none", alpha=0.55,
           label="untrained"),
    Patch(facecolor=BAND["color"], label="noise floor"),
)  # fmt: skip

CLAIMS = ("S2-flow", "S2")
FALSIFIED = (
    f"S2-flow: a trained line that leaves the exact flow of its own colour by more than {FLOW_SHARE:.0%} (or "
    f"{COUPLING_MARGIN:g}) at any layer; S2: a last mark outside the grey band around 0."
)


def main_flow(board: Board) -> list[Drawn]:
    """Returns the flow in the networks of the main setting; none without any."""
    nets = {(network.data, network.task): network for network in board.main}
    if not nets:
        return []
    rows = panel_rows(list(nets))
    figure, grid = panel_grid(rows, PANEL_INCHES, 0.55)
    for panels, row in zip(grid, rows, strict=True):
        for panel, pair in zip(panels, row, strict=True):
            points, colours = live(board.networks[nets[pair]]), coupling_colours(board.couplings(pair[0]))
            draw_floor(panel, [(cell, nets[pair]) for cell in points.values()])
            for coupling, cell in points.items():
                draw_exact(panel, board, nets[pair], coupling, colours[coupling])
                draw_network(panel, cell, nets[pair], colours[coupling])
            finish(panel, panel_title(pair), nets[pair].halvings)
            _name_couplings(panel, points, colours)
        leave_room(panels)
        panels[0].set_ylabel(LABEL)
    trained = Line2D([], [], color=base.INK, marker="o", label="trained, 95 % interval")
    figure.legend(handles=[trained, *SHARED_HANDLES], loc="outside upper center", ncols=3, columnspacing=1.5)
    cells = [cell for network in nets.values() for cell in board.networks[network].values()]
    caption = (
        "Ring coupling of the data (diamonds) and of every layer of trained networks, against the exact flow of the "
        "data at equal compression; colours are couplings K of the data, which stand left of them. Networks: "
        f"{setting_name(board.setting)}; gauge: standardised; {ESTIMATOR}. Exact lines for signs of fields are what "
        "that estimator finds in the coarse data; their starting point has no sign coupling, and the hollow diamond "
        f"stands for that of score matching. Linear scale within {COUPLING_MARGIN:g} of 0, logarithmic beyond. "
        f"{about_runs(cells)}"
    )
    alt = f"Ring coupling by layer. {facts_of_flow(board, list(nets.values()))}."
    rows_behind = flow_rows(board, list(nets.values()))
    return [Drawn("fixed_points_flow", figure, caption, alt, rows_behind, CLAIMS, f"{FALSIFIED} {PREMISE}")]


def _name_couplings(axes: Axes, points: Points, colours: Mapping[float, Any]) -> None:
    """Writes the coupling of the data left of where its flow starts."""
    for coupling, cell in points.items():
        start = exact_of(cell, "exact_coupling", SCHEMES[0])[0]
        if np.isfinite(start):
            look = {"fontsize": 6.5, "ha": "right", "va": "center", "color": colours[coupling]}
            axes.annotate(f"{coupling:g}", (0, start), (-4, 0), textcoords="offset points", **look)
    axes.set_xlim(left=-0.75)
