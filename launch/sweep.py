"""Run a sweep: python -m launch.sweep --config=configs/ROOM.py[:smoke|:default|:paper] [--config.KEY=VALUE ...]

Records, checkpoints, results.nc, verdicts.json, figures and report.html go to the workdir. The same command started
again resumes; more seeds or points run only what is missing. Exit codes: 0 done, 2 bad usage or config, 75 stopped
and resumable, 1 anything else.
"""

import functools
import importlib.util
import pathlib
import shlex
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
from absl import flags

from launch import command_line, environment
from launch import report as report_command
from launch.command_line import UsageError
from rgflow import registry
from rgflow.engine import grid, loop, mesh, progress, records
from rgflow.protocol import Experiment, Point
from rgflow.types import Config

OWN_FILES = {"config.json", "events.jsonl", "chunks", "checkpoints"}


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags of this command, --config excepted."""
    flags.DEFINE_string(
        "workdir",
        None,
        "where everything goes; default checkpoints/<room>-<preset>-<digest>",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "resume",
        "auto",
        ["auto", "never", "must"],
        "what to do with a workdir that holds a run",
        flag_values=values,
    )
    flags.DEFINE_boolean(
        "dry_run", False, "compile, print memory and time of compilation, and stop", flag_values=values
    )


def sweep_points(config: Config, config_file: str) -> list[Point]:
    """Returns the points that the config file's ``get_sweep`` makes of ``config``."""
    spec = importlib.util.spec_from_file_location("sweep_config", config_file)
    if spec is None or spec.loader is None:
        raise UsageError(f"--config = {config_file!r}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        return module.get_sweep(config)
    except (ValueError, TypeError) as error:
        raise UsageError(f"config.{error}") from error


def make_experiments(config: Config, points: list[Point]) -> Callable[[grid.Run], Experiment]:
    """Returns a function from a run to its experiment; a config that makes no sense is refused here."""
    experiment_of = grid.experiments(registry.make, config)
    try:
        for point in points:
            experiment_of(grid.Run(point.values, 0))
    except (ValueError, TypeError) as error:
        raise UsageError(f"config.{str(error).splitlines()[0]}") from error
    return experiment_of


def check_engine(engine: Config) -> None:
    """Refuses settings of the engine that make no sense."""
    least = {"run_batch": 0, "chunk_steps": 1, "checkpoint_seconds": 0, "cpu_devices": 0}
    for name, value in least.items():
        if not engine[name] >= value:
            raise UsageError(f"config.engine.{name} = {engine[name]}: must be at least {value}")


def check_workdir(workdir: pathlib.Path, resume: str, config: Config) -> dict[str, Any] | None:
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
            f"--workdir = {str(workdir)!r}: of another config ({'; '.join(changed)}); give another --workdir"
        )
    return run


def plan(
    run: dict[str, Any] | None,
    points: list[Point],
    experiment_of: Callable[[grid.Run], Experiment],
    run_batch: int,
) -> list[grid.Group]:
    """Returns the groups of the workdir and, after them, new groups for the runs that no group holds yet."""
    groups = [grid.Group.from_json(data) for data in run["groups"]] if run else []
    missing = grid.missing_runs(grid.expand(points), groups)
    batch_of = functools.partial(
        mesh.choose_run_batch, mesh.platform(), devices=jax.device_count(), requested=run_batch
    )
    return groups + grid.group_runs(missing, experiment_of, lambda runs: batch_of(runs=runs), len(groups))


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


def prepare(
    workdir: pathlib.Path, groups: list[grid.Group], experiment_of: Callable[[grid.Run], Experiment], root_seed: int
) -> list[loop.Prepared]:
    """Compiles the groups that still have something to do, and says what each of them will cost."""
    print(f"{sum(len(g.runs) for g in groups)} runs on {environment.device_text()}, workdir {workdir}", flush=True)
    prepared = []
    for group in groups:
        if loop.finished(group, workdir, experiment_of(group.runs[0]).schedule):
            print(f"{group.name}: {len(group.runs)} runs are finished", flush=True)
            continue
        prepared.append(loop.prepare(group, experiment_of, root_seed))
        print(prepared[-1].summary, flush=True)
    return prepared


def run_groups(workdir: pathlib.Path, prepared: list[loop.Prepared], engine: Any, meta: dict[str, Any]) -> None:
    """Runs the prepared groups one after the other; raises loop.Stopped when a signal asked to stop."""
    log, stop = progress.EventLog(workdir / "events.jsonl"), loop.StopRequest()
    log("started", groups=[p.group.name for p in prepared], device=environment.device_text())
    with progress.Progress(sum(p.cost for p in prepared)).shown() as bar:
        for p in prepared:
            loop.run_group(p, workdir, engine, meta, bar, log, stop)
    log("finished")


def default_workdir(config: Config, config_file: str) -> pathlib.Path:
    """Returns checkpoints/<room>-<preset>-<digest>."""
    preset = config_file.partition(":")[2] or "default"
    return pathlib.Path("checkpoints") / f"{config.experiment}-{preset}-{grid.config_digest(config)}"


def main(argv: list[str]) -> int:
    """Runs the command and returns its exit code."""
    values = command_line.parse(argv, define_flags, config=True)
    config, config_file = values.config, command_line.config_file(values)
    if bad := environment.bad_version():
        print(f"error: {bad}", file=sys.stderr)
        return command_line.FAILED
    points = sweep_points(config, config_file.partition(":")[0])
    check_engine(config.engine)
    experiment_of = make_experiments(config, points)
    workdir = pathlib.Path(values.workdir or default_workdir(config, config_file)).absolute()
    run = check_workdir(workdir, values.resume, config)

    environment.configure(len(grid.expand(points)), config.engine.cpu_devices)
    groups = plan(run, points, experiment_of, config.engine.run_batch)
    prepared = prepare(workdir, groups, experiment_of, config.root_seed)
    if values.dry_run:
        return command_line.DONE

    began = time.monotonic()
    description = describe(config, groups, argv)
    records.write_json(workdir / "config.json", config.to_dict())
    records.write_json(workdir / "run.json", description)
    try:
        run_groups(workdir, prepared, config.engine, {name: description[name] for name in ("digest", "versions")})
    except loop.Stopped as stopped:
        print(f"stopped by {stopped}; resume with:\n  {description['command']}", flush=True)
        return command_line.RESUMABLE
    report_command.write_report(workdir)
    print(f"done in {progress.clock(time.monotonic() - began)} after compiling")
    return command_line.DONE


if __name__ == "__main__":
    command_line.run(main, __doc__, define_flags)
