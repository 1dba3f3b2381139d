"""The folder of a sweep: which folders are accepted, who may write to one, and what run.json says."""

import contextlib
import json
import os
import pathlib
import re
import shlex
import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import Any

from launch import command_line, environment
from launch.command_line import UsageError
from rgflow import registry
from rgflow.engine import grid, hosts, lock, records
from rgflow.engine.plan import Plan
from rgflow.schema import files, kinds
from rgflow.schema.files import Unreadable
from rgflow.types import Config

GROUP: kinds.Schema = {
    "name": kinds.NAME,
    "run_batch": kinds.Kind("a whole number, at least 1", lambda value: type(value) is int and value >= 1),
    "runs": [{str: kinds.SCALAR}],
}
"""What a group of run.json is, however its runs are written there; of the runs, the values."""

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


def experiment_of(config_file: str) -> str:
    """Returns the name of the experiment whose config file the user has named, and makes its module importable."""
    module, preset = command_line.module_of(config_file), config_file.partition(":")[2]
    try:
        config = module.get_config(preset) if preset else module.get_config()
    except (AttributeError, TypeError, ValueError) as error:
        raise UsageError(f"--config = {config_file!r}: {error}") from error
    registry.search_in(import_folder(config, config_file))
    return config.experiment


def read_run(workdir: pathlib.Path) -> dict[str, Any]:
    """Returns run.json; raises Unreadable when it is damaged, of another version, or was changed by hand.

    Raises Unreadable too where anything in the folder is a link.
    """
    files.refuse_links(workdir)
    path = workdir / "run.json"
    run = files.read_json(path, kinds.RUN)
    if run["digest"] != grid.fields_digest(run["science"]):
        raise Unreadable(path, "its digest is not that of its science: one of the two was changed")
    if run["checksum"] != checksum(run):
        raise Unreadable(path, "its checksum is not that of its content: something in it was changed by hand")
    groups_of(run, path)
    # As words of a shell that can do nothing but start a sweep, however it was written.
    return {**run, "command": shlex.join(shlex.split(run["command"]))}


def checksum(run: Mapping[str, Any]) -> str:
    """Returns eight hexadecimal digits that change when any other field of run.json changes."""
    plain = json.loads(json.dumps({name: value for name, value in run.items() if name != "checksum"}))
    return grid.fields_digest(plain)


def groups_of(run: Mapping[str, Any], path: pathlib.Path) -> tuple[grid.Group, ...]:
    """Returns the groups of run.json, whose file is ``path``; raises Unreadable for what no sweep would write."""
    try:
        groups = tuple(grid.Group.from_json(data) for data in run["groups"])
        held = [identity for k, group in enumerate(groups) for identity in _identities(group, f"groups[{k}]", path)]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise Unreadable(path, f"its groups cannot be read ({type(error).__name__}: {error})") from error
    for what, found in (("name", [group.name for group in groups]), ("run", held)):
        if len(set(found)) < len(found):
            raise Unreadable(path, f"two of its groups share a {what}")
    return groups


def _identities(group: grid.Group, where: str, path: pathlib.Path) -> list[tuple[int, int]]:
    """Returns the identity of every run of a group that is as a sweep would write it; raises Unreadable otherwise."""
    points = {id(run.values): run for run in group.runs}  # runs of a point may share their values
    plain = {"name": group.name, "run_batch": group.run_batch, "runs": [run.values for run in points.values()]}
    taken = {name for run in points.values() for name in run.values} & {*records.RUN_COORDINATES, records.DIED_AT}
    if why := kinds.wrong(plain, GROUP, where) or ", ".join(f"{where} sweeps {name}" for name in sorted(taken)):
        raise Unreadable(path, why)
    bad = next((run.seed for run in group.runs if not kinds.SEED.holds(run.seed)), None)
    if bad is not None or not group.runs:
        raise Unreadable(
            path, f"{where} has no runs" if bad is None else kinds.wrong(bad, kinds.SEED, f"{where}: seed")
        )
    ids = {key: run.identity[0] for key, run in points.items()}
    return [(ids[id(run.values)], run.seed) for run in group.runs]


def check_groups(plan: Plan, workdir: pathlib.Path) -> Plan:
    """Returns a plan whose groups run.json gave; raises Unreadable where the config has no such runs."""
    path = workdir / "run.json"
    for group in plan.groups:
        try:
            kinds = {(one.static, one.schedule) for one in plan.experiments(group)}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            why = (
                f"its config makes no run of {group.name} in this version of the code ({error or type(error).__name__})"
            )
            raise Unreadable(path, why) from error
        if len(kinds) > 1:
            raise Unreadable(path, f"the runs of {group.name} differ in shapes or steps: they are of no one group")
    return plan


def check(workdir: pathlib.Path, resume: str, config: Config) -> dict[str, Any] | None:
    """Returns the content of run.json of a workdir that can be resumed, None for a fresh one. Writes nothing.

    Raises UsageError or Unreadable for every other folder.
    """
    run_file = workdir / "run.json"
    if workdir.is_symlink() and not workdir.exists():
        raise UsageError(f"--workdir = {str(workdir)!r}: a link to nowhere; make the folder or remove the link")
    parent = next(p for p in (workdir, *workdir.parents) if p.exists())
    try:
        tempfile.TemporaryFile(dir=parent).close()
    except OSError as error:
        raise UsageError(f"--workdir = {str(workdir)!r}: cannot write to {str(parent)!r} ({error.strerror})") from error
    if workdir.exists():
        files.refuse_links(workdir)
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
    files.read_lines(workdir / "events.jsonl", kinds.EVENT)
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


def describe(plan: Plan, command: list[str]) -> dict[str, Any]:
    """Returns the content of run.json."""
    config = plan.config
    found = {
        "format": kinds.FORMAT,
        "experiment": config.experiment,
        "command": shlex.join([*kinds.WRITES, *command[1:]]),
        "digest": grid.config_digest(config),
        "science": grid.science_fields(config),
        "groups": [group.to_json() for group in plan.groups],
        "versions": environment.versions(),
        "device": environment.device_text(),
        "git_commit": environment.git_commit(),
    }
    return {**found, "checksum": checksum(found)}
