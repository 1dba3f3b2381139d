"""The last lines of a sweep: what it took, how many runs died, and the command that makes it larger."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from launch import tensorboard
from rgflow.engine import grid, health, progress, records
from rgflow.report import html, timing
from rgflow.types import Config


def dead_runs(workdir: pathlib.Path, groups: Sequence[grid.Group]) -> int:
    """Returns how many runs of the workdir are dead by its newest records."""
    # NAME-STEP.npz, or NAME-STEP.FIRST-LAST.npz where several processes wrote; steps are padded with zeros.
    newest = {path.name.split("-")[0]: path.name for path in sorted((workdir / "chunks").glob("*.npz"))}
    steps = {name: int(file.split("-")[1].split(".")[0]) for name, file in newest.items()}
    found = [records.read_record(workdir, g.name, steps[g.name], len(g.runs)) for g in groups if g.name in steps]
    return sum(int((record[records.DIED_AT] != health.NEVER).sum()) for record in found if record is not None)


def summary(
    workdir: pathlib.Path, run: Mapping[str, Any], config: Config, times: Mapping[str, float], board: bool
) -> str:
    """Returns the last lines; ``run`` is the content of run.json, ``times`` are the seconds of each part."""
    groups = [grid.Group.from_json(data) for data in run["groups"]]
    runs, dead = sum(len(group.runs) for group in groups), dead_runs(workdir, groups)
    took = ", ".join(f"{name} {progress.clock(seconds)}" for name, seconds in times.items())
    lines = [f"done in {progress.clock(sum(times.values()))} ({took}); {dead} of {runs} runs dead"]
    if board:
        lines.append(f"events: tensorboard --logdir={workdir / tensorboard.FOLDER}")
    if grow := timing.grow_command(run, html.flat(config.to_dict()), workdir):
        lines.append(f"twice the seeds, keeping these runs:\n  {grow}")
    return "\n".join(lines)
