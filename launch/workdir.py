"""The folder of a sweep: which folders are accepted, who may write to one, and what run.json says."""

import contextlib
import os
import pathlib
import re
import shlex
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from launch import environment
from launch.command_line import UsageError
from rgflow import registry
from rgflow.engine import grid, hosts, lock, records
from rgflow.engine.plan import Plan
from rgflow.types import Config

OWN_FILES = {"config.json", "lock.json"}
"""What a start leaves behind when it ends before it writes run.json."""

LONGEST_NAME = 64
"""Most characters of an experiment and of a preset in the name of a folder that is made from them."""

LONGEST_INSIDE = 256
"""Bytes that the longest name of a file needs after the folder's own: a part of a checkpoint that is being written."""

SHARED_SECONDS = 30.0
"""How long a process waits until it sees what the first process wrote."""


def named(text: str | None, config: Config, config_file: str) -> pathlib.Path:
    """Returns the folder that --workdir names, checkpoints/<experiment>-<preset>-<digest> when it is not given."""
    if text and "://" in text:
        raise UsageError(f"--workdir = {text!r}: must be a folder of a mounted file system, not a bucket")
    preset = config_file.partition(":")[2] or "default"
    experiment = config.experiment.rpartition(".")[2]
    # Experiments and presets of users may have names of any length, with any characters.
    names = [re.sub(r"[^\w.-]", "_", name)[:LONGEST_NAME] for name in (experiment, preset)]
    default = pathlib.Path("checkpoints") / "-".join([*names, grid.config_digest(config)])
    workdir = pathlib.Path(text or default).absolute()
    check_length(workdir)
    return workdir


def check_length(workdir: pathlib.Path) -> None:
    """Raises UsageError for a folder whose name the file system cannot hold, or cannot with the files inside."""
    shown = ascii(str(workdir) if len(str(workdir)) < 100 else f"{str(workdir)[:40]}...{str(workdir)[-40:]}")
    try:
        sizes = [len(part.encode()) for part in workdir.parts]
        whole = len(str(workdir).encode())
    except UnicodeEncodeError as error:
        raise UsageError(f"--workdir = {shown}: must be text in UTF-8") from error
    there = next(p for p in (workdir, *workdir.parents) if os.path.isdir(p))
    name, path = os.pathconf(there, "PC_NAME_MAX"), os.pathconf(there, "PC_PATH_MAX")
    if max(sizes) > name:
        raise UsageError(f"--workdir = {shown}: a name in it has {max(sizes)} bytes, and {name} are allowed there")
    if whole + LONGEST_INSIDE > path:
        raise UsageError(
            f"--workdir = {shown}: has {whole} bytes, of {path} that are allowed there; the files inside need "
            f"{LONGEST_INSIDE} of them"
        )


def import_folder(config: Config, config_file: str) -> str:
    """Returns the folder in which an experiment outside the package is searched last; '' for a room.

    The experiment may so lie beside the config file: ``examples.signal_propagation`` is searched one folder above
    ``examples/signal_propagation.py``. ``config_file`` may end in a colon and a preset.
    """
    if config.experiment in registry.EXPERIMENTS:
        return ""
    parents = pathlib.Path(config_file.partition(":")[0]).absolute().parents
    return str(parents[min(config.experiment.count("."), len(parents) - 1)])


def read_run(workdir: pathlib.Path) -> dict[str, Any]:
    """Returns run.json; raises UsageError when it is damaged.

    After this call an experiment outside the package can be imported from the folder that the sweep used.
    """
    try:
        run = records.read_json(workdir / "run.json")
        [grid.Group.from_json(data) for data in run["groups"]]
        dict(run["science"])
        registry.search_in(run.get("import_from", ""))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"--workdir = {str(workdir)!r}: its run.json cannot be read ({type(error).__name__}: {error}); "
            "without it nobody knows whose the records are: restore it, or give another --workdir"
        ) from error
    return run


def check(workdir: pathlib.Path, resume: str, config: Config) -> dict[str, Any] | None:
    """Returns the content of run.json of a workdir that can be resumed, None for a fresh one. Writes nothing.

    Raises UsageError for every other folder.
    """
    run_file = workdir / "run.json"
    if workdir.is_symlink() and not workdir.exists():
        raise UsageError(f"--workdir = {str(workdir)!r}: a link to nowhere; make the folder or remove the link")
    parent = next(p for p in (workdir, *workdir.parents) if p.exists())
    try:
        tempfile.TemporaryFile(dir=parent).close()
    except OSError as error:
        raise UsageError(f"--workdir = {str(workdir)!r}: cannot write to {str(parent)!r} ({error.strerror})") from error
    if not run_file.exists():
        if resume == "must":
            raise UsageError(f"--resume = 'must': {str(workdir)!r} holds no run")
        foreign = {p.name for p in workdir.iterdir()} - OWN_FILES if workdir.exists() else set()
        if foreign & {"chunks", "checkpoints"}:
            raise UsageError(
                f"--workdir = {str(workdir)!r}: holds records but no run.json, which says whose they are; "
                "restore it, or give another folder"
            )
        if any(not name.startswith(".") for name in foreign):
            raise UsageError(
                f"--workdir = {str(workdir)!r}: holds other files ({sorted(foreign)[0]}); give an empty or a new folder"
            )
        return None
    if resume == "never":
        raise UsageError(f"--resume = 'never': {str(workdir)!r} holds a run; give another --workdir")
    run = read_run(workdir)
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
        if not hosts.gather([_sees_lock(workdir)]).all():
            raise UsageError(f"--workdir = {str(workdir)!r}: not the same folder in every process; give a shared one")
        yield


def _sees_lock(workdir: pathlib.Path) -> bool:
    """Returns whether the first process's lock can be seen from here; a network file system may take a while."""
    patience = time.monotonic() + SHARED_SECONDS
    while not (workdir / "lock.json").exists():
        if time.monotonic() > patience:
            return False
        time.sleep(0.2)
    return True


def describe(plan: Plan, config_file: str, command: list[str]) -> dict[str, Any]:
    """Returns the content of run.json; ``config_file`` is the text of --config."""
    config = plan.config
    return {
        "experiment": config.experiment,
        "command": shlex.join(["python", "-m", "launch.sweep", *command[1:]]),
        "import_from": import_folder(config, config_file),
        "digest": grid.config_digest(config),
        "science": grid.science_fields(config),
        "groups": [group.to_json() for group in plan.groups],
        "versions": environment.versions(),
        "device": environment.device_text(),
        "git_commit": environment.git_commit(),
    }
