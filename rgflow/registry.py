"""Names of experiments and the functions that make them; add a room here and nowhere else."""

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any

from rgflow.protocol import Experiment


@dataclasses.dataclass(frozen=True)
class Room:
    """Makes the experiments of a package ``rgflow.NAME``, which is imported when the first of them is made.

    A sweep needs one room; importing the others as well would double the time until it starts.
    """

    package: str

    def __call__(self, config: Any) -> Experiment:
        """Returns the experiment of one run; raises ValueError for a config that makes no sense."""
        return importlib.import_module(self.package).make(config)


EXPERIMENTS: dict[str, Callable[[Any], Experiment]] = {
    "fixed_points": Room("rgflow.fixed_points"),
    "kernel_rg": Room("rgflow.kernel_rg"),
    "rank_flow": Room("rgflow.rank_flow"),
    "variational_rg": Room("rgflow.variational_rg"),
}


def make(config: Any) -> Experiment:
    """Returns the experiment that ``config.experiment`` names; raises ValueError when there is none."""
    if config.experiment not in EXPERIMENTS:
        raise ValueError(f"experiment = {config.experiment!r}: must be one of {', '.join(sorted(EXPERIMENTS))}")
    return EXPERIMENTS[config.experiment](config)


def package(name: str) -> str:
    """Returns the name of the package (or module) that the experiments called ``name`` are made in.

    Example:
        >>> package("rank_flow")
        'rgflow.rank_flow'
    """
    maker = EXPERIMENTS[name]
    if isinstance(maker, Room):
        return maker.package
    return maker.__module__.rpartition(".")[0] or maker.__module__
