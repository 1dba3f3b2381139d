"""The plan of a sweep whose experiment is not at hand: what its own records tell of it."""

import dataclasses
import pathlib
from typing import Any

from rgflow.engine import records
from rgflow.engine.grid import Group
from rgflow.engine.plan import Plan
from rgflow.protocol import Experiment


def _not_at_hand(*_: Any) -> Any:
    raise LookupError("the code of the experiment was not named")


@dataclasses.dataclass(frozen=True)
class RecordedPlan(Plan):
    """Reads the steps and the shapes of every group from its files; dims have no names of their own."""

    workdir: pathlib.Path = pathlib.Path()

    def schedule(self, group: Group) -> tuple[int, ...]:
        """Returns the steps of which there is a file."""
        return tuple(sorted(records.steps_on_disk(self.workdir).get(group.name, ())))

    def experiments(self, group: Group) -> list[Experiment]:
        """Returns what stands for the experiment of every run."""
        steps = self.schedule(group)
        absent = records.missing(self.workdir, group, steps)
        found = next((step for step in steps if step not in absent), -1)
        record = records.read_record(self.workdir, group.name, found, len(group.runs)) or {}
        dims = {name: tuple(f"{name}_{k}" for k in range(values.ndim - 1)) for name, values in record.items()}
        none = _not_at_hand
        stand_in = Experiment(group.name, {}, init=none, step=none, probe=none, schedule=steps, dims=dims)
        return [stand_in] * len(group.runs)


def plan(workdir: pathlib.Path, config: Any, groups: tuple[Group, ...]) -> RecordedPlan:
    """Returns the plan of a workdir without the code of its experiment."""
    return RecordedPlan(config, _not_at_hand, groups, workdir=workdir)
