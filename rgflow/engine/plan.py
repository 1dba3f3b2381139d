"""The plan of a sweep: its config, how the experiment of a run is made from it, and its groups of runs."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from rgflow.engine.grid import Group, Run, point_config
from rgflow.protocol import Experiment
from rgflow.types import Config


def distinct(experiments: Sequence[Experiment]) -> tuple[list[Experiment], np.ndarray]:
    """Returns the experiments of the points, each once, and for every run the place of its own among them.

    What is made of an experiment is so made once per point, however many seeds there are.
    """
    places: dict[int, int] = {}
    index = np.array([places.setdefault(id(one), len(places)) for one in experiments])
    first = np.unique(index, return_index=True)[1]
    return [experiments[k] for k in first], index


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a sweep computes. It knows no folder and no device: the same plan may be read by a sweep and by a report.

    ``make(config)`` makes an experiment from the config of one point; the plan calls it once per point. Where the
    experiment is one of each seed, that of a run is asked for once as well.
    """

    config: Config
    make: Callable[[Config], Experiment]
    groups: tuple[Group, ...] = ()
    # By the id of the point, or by (point, seed). Copies of a plan with other groups share it: the config and ``make``
    # are the same.
    _made: dict[Any, Experiment] = dataclasses.field(default_factory=dict, repr=False, compare=False)

    def experiment(self, run: Run) -> Experiment:
        """Returns the experiment of a run; raises ValueError or TypeError for an impossible config."""
        point = run.identity[0]
        if point not in self._made:
            self._made[point] = self.make(point_config(self.config, run.values))
        of_seed = self._made[point].of_seed
        if of_seed is None:
            return self._made[point]
        if run.identity not in self._made:
            self._made[run.identity] = of_seed(run.seed)
        return self._made[run.identity]

    def experiments(self, group: Group) -> list[Experiment]:
        """Returns the experiment of every run of a group, in their order."""
        return [self.experiment(run) for run in group.runs]

    def schedule(self, group: Group) -> tuple[int, ...]:
        """Returns the steps at which the runs of a group are recorded."""
        return self.experiment(group.runs[0]).schedule

    def of(self, groups: Iterable[Group]) -> "Plan":
        """Returns the plan of these groups alone."""
        return dataclasses.replace(self, groups=tuple(groups))

    def grown(self, wanted: Sequence[Run], run_batch_of: Callable[[Sequence[Run]], int]) -> "Plan":
        """Returns the plan with new groups for the wanted runs that no group holds yet.

        Runs with the same (static, schedule) share a group; new groups are numbered in the order of appearance.
        """
        held = {run.identity for group in self.groups for run in group.runs}
        members: dict[Any, list[Run]] = {}
        of_point: dict[int, list[Run]] = {}
        for run in (run for run in wanted if run.identity not in held):
            # Every experiment is made here, so that an impossible one is refused before anything compiles.
            point, experiment = run.identity[0], self.experiment(run)
            if point not in of_point:
                of_point[point] = members.setdefault((experiment.static, experiment.schedule), [])
            of_point[point].append(run)
        first = len(self.groups)
        new = (
            Group(f"group_{first + k:03d}", tuple(runs), run_batch_of(runs)) for k, runs in enumerate(members.values())
        )
        return self.of((*self.groups, *new))
