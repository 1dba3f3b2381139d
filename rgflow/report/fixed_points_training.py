"""Couplings of every layer and the loss over training, at one coupling of the data."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from rgflow.exact.block_moments import SCHEMES
from rgflow.fixed_points.select import Network
from rgflow.judging.points import Point
from rgflow.report import figures as base
from rgflow.report.figures import Drawn
from rgflow.report.fixed_points_axes import coupling_scale, leave_room, panel_grid
from rgflow.report.fixed_points_flow import floor_of, panel_title
from rgflow.report.fixed_points_points import (
    BAND,
    PREMISE,
    SCHEME_LINES,
    SCHEME_NAMES,
    Board,
    about_runs,
    ends_of,
    flow_of,
    live,
    of_layer,
    panel_rows,
    setting_name,
)
from rgflow.report.interval_marks import interval_of, text_of

LAYER_COLOURS = (base.BLUE, base.VERMILION, base.GREEN, base.PURPLE, base.ORANGE, base.SKY)
LEAST_LOSS = 1e-5
"""Relative losses below it are drawn there."""

LINEAR_DOWN_TO = 0.1
"""Least relative loss that a linear scale can show."""


def over_training(
    cell: Point, name: str, network: Network, layer: int | None = None
) -> tuple[Float[np.ndarray, " step"], Float[np.ndarray, "runs step"]]:
    """Returns the recorded steps of a point and one number per run and step."""
    steps = np.asarray(cell.live["step"].values, np.float64)
    read = [of_layer(cell, network, name, layer, when=k) for k in range(len(steps))]
    return steps, np.stack(read, axis=1)


def _draw_couplings(axes: Axes, board: Board, network: Network, coupling: float, cell: Point) -> None:
    low, high = np.inf, -np.inf
    for layer in range(1, network.halvings + 1):
        colour = LAYER_COLOURS[(layer - 1) % len(LAYER_COLOURS)]
        for scheme in SCHEMES:
            exact = flow_of(board, network, coupling, scheme)[layer]
            if np.isfinite(exact):
                axes.axhline(exact, color=colour, linestyle=SCHEME_LINES[scheme], linewidth=1.1)
        steps, values = over_training(cell, "ring_coupling", network, layer)
        base.band_line(axes, steps, values, colour, faint=False, marker="o", markersize=3)
        low, high = min(low, steps[0]), max(high, steps[-1])
    coupling_scale(axes)
    base.step_axis(axes, high)


def _draw_loss(axes: Axes, cell: Point, network: Network) -> None:
    steps, values = over_training(cell, "relative_loss", network)
    base.band_line(axes, steps, np.maximum(values, LEAST_LOSS), base.INK, faint=True, marker="o", markersize=3)
    optimum = cell.last("relative_optimum")
    if np.isfinite(optimum).any():
        axes.axhline(max(float(np.nanmean(optimum)), LEAST_LOSS), color=base.GREY, linestyle="--", linewidth=1.2)
    window = float(cell.last("plateau_steps")[0])
    axes.axvspan(max(steps[-1] - window, 0), steps[-1], color="#ececec", linewidth=0, zorder=0)
    base.step_axis(axes, steps[-1])


def training_rows(cells: Sequence[tuple[Network, float, Point]]) -> list[dict[str, Any]]:
    """Returns one row per network, layer and step."""
    rows = []
    for network, coupling, cell in cells:
        steps, losses = over_training(cell, "relative_loss", network)
        for layer in range(1, network.halvings + 1):
            _, values = over_training(cell, "ring_coupling", network, layer)
            rows += [
                {"data": network.data, "task": network.task, "coupling": coupling, "layer": layer, "step": int(step),
                 **ends_of(values[:, k], "ring_coupling"), **ends_of(losses[:, k], "relative_loss")}
                for k, step in enumerate(steps)
            ]  # fmt: skip
    return rows


def _facts(cells: Sequence[tuple[Network, float, Point]]) -> str:
    texts = []
    for network, coupling, cell in cells:
        _, values = over_training(cell, "ring_coupling", network)
        _, losses = over_training(cell, "relative_loss", network)
        ends = [text_of(interval_of(values[:, k])) for k in (0, -1)]
        texts.append(
            f"{network.data}, {network.task}, K {coupling:g}: coupling of the features from {ends[0]} to {ends[1]}, "
            f"relative loss {text_of(interval_of(losses[:, -1]))}"
        )
    return "; ".join(texts)


def _handles(depth: int) -> list[Any]:
    layers = [
        Line2D([], [], color=LAYER_COLOURS[k % len(LAYER_COLOURS)], marker="o", label=f"layer {k + 1}")
        for k in range(depth)
    ]
    lines = [
        Line2D([], [], color=base.INK, linestyle=SCHEME_LINES[s], linewidth=1.1, label=f"exact, {SCHEME_NAMES[s]}")
        for s in SCHEMES
    ]
    loss = Line2D([], [], color=base.INK, marker="o", markersize=3, label="relative loss")
    return [*layers, *lines, loss, Line2D([], [], color=base.GREY, linestyle="--", label="least possible loss")]


def _loss_axis(panels: Sequence[Axes]) -> None:
    lows = [line.get_ydata() for panel in panels for line in panel.lines]
    finite = [float(y) for ys in lows for y in np.ravel(ys) if np.isfinite(y) and y > 0]
    low, high = min(finite, default=1.0), max([1.1, *finite])
    for place, panel in enumerate(panels):
        if low < LINEAR_DOWN_TO:
            base.log_axis(panel, "y", (1,))
            panel.set_ylim(0.7 * low, 1.4 * high)
        else:
            panel.set_ylim(0, 1.05 * high)
        panel.tick_params(labelleft=place == 0)
        panel.grid(False, axis="x")


def training(board: Board) -> list[Drawn]:
    """Returns couplings of every layer and relative loss against training step; none without a live network."""
    found = {}
    for network in board.main:
        points = live(board.networks[network])
        if points:
            reference = board.reference(network.data)
            coupling = reference if reference in points else max(points)
            found[network.data, network.task] = (network, coupling, points[coupling])
    if not found:
        return []
    rows = [row for row in panel_rows(list(found)) for _ in range(2)]
    figure, grid = panel_grid(rows, 1.65, 0.7)
    for place, (panels, row) in enumerate(zip(grid, rows, strict=True)):
        for panel, pair in zip(panels, row, strict=True):
            network, coupling, cell = found[pair]
            if place % 2 == 0:
                draw_floor_band(panel, cell, network)
                _draw_couplings(panel, board, network, coupling, cell)
                panel.set_title(panel_title(pair, coupling), fontsize=8)
                panel.grid(False, axis="x")
            else:
                _draw_loss(panel, cell, network)
                panel.set_xlabel("training step")
            panel.tick_params(axis="x", labelsize=7, labelbottom=place % 2 == 1)
        (_loss_axis if place % 2 else leave_room)(panels)
        panels[0].set_ylabel("relative loss" if place % 2 else "ring coupling")
    depth = max(network.halvings for network, _, _ in found.values())
    figure.legend(handles=_handles(depth), loc="outside upper center", ncols=6, columnspacing=1.5)
    shown = list(found.values())
    caption = (
        "Ring coupling of every layer over training (top of each pair of rows) and the loss on fresh samples over "
        f"that of the best constant answer (bottom), {setting_name(board.setting)}; bands: 95 % intervals over runs. "
        "Lines across: the coupling of the data after as many exact steps as the layer of that colour. Step 0: "
        "untrained. Grey below: the last steps, over which the loss must have settled; grey above: what the estimator "
        f"finds in nothing. Least possible losses below {LEAST_LOSS:g} are drawn there. "
        f"{about_runs([cell for _, _, cell in shown])}"
    )
    falsified_by = (
        "S2: couplings of the last layer that settle outside the grey band, or leave it, while the loss settles; "
        f"S2-flow: colours that end off their own lines. {PREMISE}"
    )
    alt = f"Training. {_facts(shown)}."
    return [Drawn("fixed_points_training", figure, caption, alt, training_rows(shown), ("S2", "S2-flow"), falsified_by)]


def draw_floor_band(axes: Axes, cell: Point, network: Network) -> None:
    """Draws what the estimator finds in independent columns with the laws of the features."""
    floor = floor_of([(cell, network)], network.halvings)
    if np.isfinite(floor):
        axes.axhspan(-floor, floor, **BAND)
