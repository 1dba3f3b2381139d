"""Names of experiments and the functions that make them; add a room here and nowhere else."""

from collections.abc import Callable
from typing import Any

from rgflow import fixed_points, kernel_rg, rank_flow, variational_rg
from rgflow.protocol import Experiment

EXPERIMENTS: dict[str, Callable[[Any], Experiment]] = {
    "fixed_points": fixed_points.make,
    "kernel_rg": kernel_rg.make,
    "rank_flow": rank_flow.make,
    "variational_rg": variational_rg.make,
}


def make(config: Any) -> Experiment:
    """Returns the experiment that ``config.experiment`` names; raises ValueError when there is none."""
    if config.experiment not in EXPERIMENTS:
        raise ValueError(f"experiment = {config.experiment!r}: must be one of {', '.join(sorted(EXPERIMENTS))}")
    return EXPERIMENTS[config.experiment](config)
