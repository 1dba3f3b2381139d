"""What a finished sweep says last: how long it took, how many runs died, and the command that makes it larger."""

import pathlib
from collections.abc import Mapping
from typing import Any

from launch import tensorboard
from rgflow.engine import health, progress, records
from rgflow.engine.plan import Plan
from rgflow.report import html, timing


def dead_runs(workdir: pathlib.Path, plan: Plan) -> int:
    """Returns how many runs of the plan are dead in the newest records of the workdir."""
    # NAME-STEP.npz, or NAME-STEP.FIRST-LAST.npz where several processes wrote; steps are padded with zeros.
    newest = {path.name.split("-")[0]: path.name for path in sorted((workdir / "chunks").glob("*.npz"))}
    steps = {name: int(file.split("-")[1].split(".")[0]) for name, file in newest.items()}
    begun = [group for group in plan.groups if group.name in steps]
    found = [records.read_record(workdir, group.name, steps[group.name], len(group.runs)) for group in begun]
    return sum(int((record[records.DIED_AT] != health.NEVER).sum()) for record in found if record is not None)


def text(workdir: pathlib.Path, plan: Plan, run: Mapping[str, Any], times: Mapping[str, float], board: bool) -> str:
    """Returns the lines that are printed.

    ``run`` is the content of run.json, ``times`` the seconds of each part; ``board`` says whether TensorBoard events
    were written.
    """
    runs, dead = sum(len(group.runs) for group in plan.groups), dead_runs(workdir, plan)
    took = ", ".join(f"{name} {progress.clock(seconds)}" for name, seconds in times.items())
    lines = [f"done in {progress.clock(sum(times.values()))} ({took}); {dead} of {runs} runs dead"]
    if board:
        lines.append(f"events: tensorboard --logdir={workdir / tensorboard.FOLDER}")
    if grow := timing.grow_command(run, html.flat(plan.config.to_dict()), workdir):
        lines.append(f"twice the seeds, keeping these runs:\n  {grow}")
    return "\n".join(lines)
