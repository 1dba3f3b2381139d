"""What a finished sweep says last: how long it took, how many runs died; the commands that resume it or let it grow."""

import pathlib
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from launch import tensorboard
from rgflow.engine import health, progress, records
from rgflow.engine.plan import Plan
from rgflow.report import html


def _without(words: Sequence[str], name: str) -> list[str]:
    """Returns a command without one of its flags, written as --NAME=VALUE or --NAME VALUE."""
    kept, skip = [], False
    for word in words:
        if skip:
            skip = False
        elif word in (f"--{name}", f"-{name}"):
            skip = True
        elif not word.startswith((f"--{name}=", f"-{name}=")):
            kept.append(word)
    return kept


def resume_command(run: Mapping[str, Any], workdir: pathlib.Path) -> str:
    """Returns the command that goes on with a workdir; what it was started with may have refused an old one."""
    words = _without(_without(shlex.split(run["command"]), "resume"), "workdir")
    return shlex.join([*words, f"--workdir={workdir}"])


def seed_keys(run: Mapping[str, Any], config: Mapping[str, str]) -> dict[str, int]:
    """Returns the config keys that hold numbers of seeds, of the kinds of runs that the sweep has.

    ``config`` is flat. A key such as ``runs.window.seeds`` counts where a run has the value ``window``, and
    ``phases.seeds`` where a study has that name.
    """
    swept = {str(value) for group in run["groups"] for one in group["runs"] for value in one["values"].values()}
    found = {key: value for key, value in config.items() if key.split(".")[-1] == "seeds" and value.isdigit()}
    swept |= set(re.findall(r"\w+", config.get("sweep.study", "")))
    used = {key: int(value) for key, value in found.items() if "." not in key or key.split(".")[-2] in swept}
    return used or {key: int(value) for key, value in found.items()}


def grow_command(run: Mapping[str, Any], config: Mapping[str, str], workdir: pathlib.Path) -> str:
    """Returns the command that doubles the seeds of a sweep; '' for a config without such a key."""
    keys = seed_keys(run, config)
    if not keys:
        return ""
    words = shlex.split(resume_command(run, workdir))
    for key in keys:
        words = _without(words, f"config.{key}")
    return shlex.join([*words, *(f"--config.{key}={2 * value}" for key, value in keys.items())])


def commands(run: Mapping[str, Any], config: Any, workdir: pathlib.Path) -> dict[str, str]:
    """Returns the commands that resume a sweep and that let it grow, '' where there is none; for its report."""
    return {
        "resume": resume_command(run, workdir),
        "grow": grow_command(run, html.flat(config.to_dict()), workdir),
    }


def dead_runs(workdir: pathlib.Path, plan: Plan) -> int:
    """Returns how many runs of the plan are dead in the newest records of the workdir."""
    steps = {name: max(found) for name, found in records.steps_on_disk(workdir).items()}
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
    if grow := commands(run, plan.config, workdir)["grow"]:
        lines.append(f"twice the seeds, keeping these runs:\n  {grow}")
    return "\n".join(lines)
