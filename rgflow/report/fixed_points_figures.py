"""Figures of the fixed-points room, each from the studies of a sweep that it needs."""

import xarray as xr

from rgflow.report import fixed_points_measures
from rgflow.report.figures import Drawn
from rgflow.report.fixed_points_flow import main_flow
from rgflow.report.fixed_points_gauges import gauges
from rgflow.report.fixed_points_points import board_of
from rgflow.report.fixed_points_readings import readings_figures
from rgflow.report.fixed_points_settings import other_settings
from rgflow.report.fixed_points_training import training

MAKERS = (main_flow, other_settings, *fixed_points_measures.MAKERS, gauges, training)


def figures(dataset: xr.Dataset) -> list[Drawn]:
    """Returns every figure that the studies of a sweep allow; none of an empty one."""
    if not dataset.sizes["run"]:
        return []
    board = board_of(dataset)
    return [*readings_figures(dataset, board.setting), *(one for make in MAKERS for one in make(board))]
