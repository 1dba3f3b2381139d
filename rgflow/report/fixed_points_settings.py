"""The flow in networks of other depths, activations and penalties beside the main one."""

from typing import Any

from matplotlib.lines import Line2D

from rgflow.report import figures as base
from rgflow.report.figures import Drawn
from rgflow.report.fixed_points_axes import leave_room, panel_grid
from rgflow.report.fixed_points_flow import (
    CLAIMS,
    FALSIFIED,
    LABEL,
    PANEL_INCHES,
    SHARED_HANDLES,
    draw_exact,
    draw_floor,
    draw_network,
    facts_of_flow,
    finish,
    flow_rows,
    panel_title,
)
from rgflow.report.fixed_points_points import (
    ESTIMATOR,
    PREMISE,
    Board,
    Setting,
    about_runs,
    live,
    ordered,
    panel_rows,
    setting_name,
    setting_of,
)

SETTING_COLOURS = (base.BLUE, base.VERMILION, base.GREEN, base.ORANGE, base.PURPLE, base.SKY)
SETTING_MARKS = ("o", "s", "^", "D", "v", "P")
FLOW_COLOURS = {"pseudo_likelihood": base.INK, "score_matching": base.GREY}
"""Exact flows in the terms of each estimator."""


def setting_looks(board: Board) -> dict[Setting, dict[str, Any]]:
    """Returns colour and mark of every setting, the main one first."""
    others = sorted({setting_of(network) for network in board.networks} - {board.setting})
    looks = {}
    for place, setting in enumerate([board.setting, *others]):
        k = place % len(SETTING_COLOURS)
        looks[setting] = {"colour": SETTING_COLOURS[k], "marker": SETTING_MARKS[(place + place // 6) % 6]}
    return looks


def other_settings(board: Board) -> list[Drawn]:
    """Returns the flow in networks of other depths, activations and penalties beside the main one, at one coupling."""
    shown = [n for n in ordered(board.networks) if board.reference(n.data) in board.networks[n]]
    pairs = list(dict.fromkeys((n.data, n.task) for n in shown if setting_of(n) != board.setting))
    if not pairs:
        return []
    looks, rows = setting_looks(board), panel_rows(pairs)
    figure, grid = panel_grid(rows, PANEL_INCHES + 0.1, 1.0)
    nets = [n for n in shown if (n.data, n.task) in pairs]
    for panels, row in zip(grid, rows, strict=True):
        for panel, pair in zip(panels, row, strict=True):
            mine = [n for n in nets if (n.data, n.task) == pair]
            coupling = board.reference(pair[0])
            points = [(board.networks[n][coupling], n) for n in mine if coupling in live(board.networks[n])]
            depth = max(n.halvings for n in mine)
            draw_floor(panel, points)
            for _, network in points:
                draw_exact(panel, board, network, coupling, FLOW_COLOURS.get(network.estimator, base.INK))
            for cell, network in points:
                draw_network(panel, cell, network, **looks[setting_of(network)])
            finish(panel, panel_title(pair, coupling), depth)
        leave_room(panels)
        panels[0].set_ylabel(LABEL)
    named = [
        Line2D([], [], color=look["colour"], marker=look["marker"], label=setting_name(setting))
        for setting, look in looks.items()
    ]
    figure.legend(handles=[*named, *SHARED_HANDLES], loc="outside upper center", ncols=3, columnspacing=1.5)
    caption = (
        "As the flow of the main networks, for networks of other depths, activations and penalties beside them, at "
        f"one coupling of the data each: {ESTIMATOR}. Exact flows are black in terms of signs, grey in those of score "
        f"matching. {about_runs([board.networks[n][board.reference(n.data)] for n in nets])}"
    )
    alt = f"Ring coupling by layer in other settings. {facts_of_flow(board, nets)}."
    falsified_by = f"{FALSIFIED} A claim that holds for one colour alone is a claim about that setting. {PREMISE}"
    return [Drawn("fixed_points_flow_settings", figure, caption, alt, flow_rows(board, nets), CLAIMS, falsified_by)]
