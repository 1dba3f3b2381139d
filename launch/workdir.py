"""The folder of a sweep: which folders are accepted, who may write to one, and what run.json says."""

import contextlib
import pathlib
import shlex
import tempfile
from collections.abc import Iterator
from typing import Any

from launch import environment
from launch.command_line import UsageError
from rgflow.engine import grid, hosts, lock, records
from rgflow.types import Config

OWN_FILES = {"config.json", "events.jsonl", "chunks", "checkpoints", "lock.json"}


def named(text: str | None, config: Config, config_file: str) -> pathlib.Path:
    """Returns the folder that --workdir names, checkpoints/<room>-<preset>-<digest> when it is not given."""
    if text and "://" in text:
        raise UsageError(f"--workdir = {text!r}: must be a folder of a mounted file system, not a bucket")
    preset = config_file.partition(":")[2] or "default"
    default = pathlib.Path("checkpoints") / f"{config.experiment}-{preset}-{grid.config_digest(config)}"
    return pathlib.Path(text or default).absolute()


def check(workdir: pathlib.Path, resume: str, config: Config) -> dict[str, Any] | None:
    """Returns run.json of a workdir to go on with, None for a fresh one; refuses every other folder. Writes nothing."""
    run_file = workdir / "run.json"
    parent = next(p for p in (workdir, *workdir.parents) if p.exists())
    try:
        tempfile.TemporaryFile(dir=parent).close()
    except OSError as error:
        raise UsageError(f"--workdir = {str(workdir)!r}: cannot write to {str(parent)!r} ({error.strerror})") from error
    if not run_file.exists():
        if resume == "must":
            raise UsageError(f"--resume = 'must': {str(workdir)!r} holds no run")
        foreign = {p.name for p in workdir.iterdir()} - OWN_FILES if workdir.exists() else set()
        if any(not name.startswith(".") for name in foreign):
            raise UsageError(
                f"--workdir = {str(workdir)!r}: holds other files ({sorted(foreign)[0]}); give an empty or a new folder"
            )
        return None
    if resume == "never":
        raise UsageError(f"--resume = 'never': {str(workdir)!r} holds a run; give another --workdir")
    run = records.read_json(run_file)
    changed = grid.changed_fields(run["science"], grid.science_fields(config))
    if changed:
        raise UsageError(
            f"--workdir = {str(workdir)!r}: of another config ({'; '.join(changed)}); "
            f"a new run needs its own folder, such as --workdir={workdir}-{grid.config_digest(config)}"
        )
    return run


@contextlib.contextmanager
def owned(workdir: pathlib.Path) -> Iterator[None]:
    """Holds the workdir for this sweep, in its first process; every process raises UsageError when it is taken."""
    with contextlib.ExitStack() as stack:
        refused = ""
        if hosts.is_first():
            try:
                stack.enter_context(lock.held(workdir / "lock.json"))
                records.remove_leftovers(workdir)
            except lock.Locked as error:
                refused = str(error)
        if hosts.from_first([bool(refused)])[0]:
            raise UsageError(f"--workdir = {str(workdir)!r}: in use by {refused or 'another sweep'}; wait, or stop it")
        yield


def describe(config: Config, groups: list[grid.Group], command: list[str]) -> dict[str, Any]:
    """Returns the content of run.json."""
    return {
        "experiment": config.experiment,
        "command": shlex.join(["python", "-m", "launch.sweep", *command[1:]]),
        "digest": grid.config_digest(config),
        "science": grid.science_fields(config),
        "groups": [group.to_json() for group in groups],
        "versions": environment.versions(),
        "device": environment.device_text(),
        "git_commit": environment.git_commit(),
    }
