"""Run a sweep: python -m launch.sweep --config=FILE[:PRESET] [--config.KEY=VALUE ...] [--workdir=DIR]

Every run of the sweep (points x seeds) goes through the experiment that the config names. Records, checkpoints,
results.nc, verdicts.json, figures and report.html go to the workdir. The same command started again resumes; with
more seeds or points it computes only the runs that are missing. Without --workdir the folder is
checkpoints/<experiment>-<preset>-<digest>, where the digest changes with every key that changes numbers.

Examples:

  python -m launch.sweep --config=configs/rank_flow.py:smoke
  python -m launch.sweep --config=configs/rank_flow.py --help
  python -m launch.sweep --config=configs/kernel_rg.py --workdir=/data/kernels
  python -m launch.sweep --config=examples/signal_propagation.py --config.seeds=128

Exit codes: 0 done, 2 bad usage or config, 75 stopped and resumable, 1 anything else (101 in one of several processes).
"""

import contextlib
import dataclasses
import functools
import pathlib
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
from absl import flags

from launch import cluster, command_line, environment, limits, overrides, tensorboard
from launch import workdir as folder
from launch.command_line import UsageError
from rgflow import registry
from rgflow.engine import ahead, grid, hosts, loop, mesh, progress, records
from rgflow.engine.plan import Plan
from rgflow.engine.prepare import Prepared, prepare
from rgflow.protocol import Point
from rgflow.types import Config


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags of this command, --config excepted."""
    flags.DEFINE_string(
        "workdir",
        None,
        "the folder of all files; one that holds a run of the same config is resumed or grown",
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
    flags.DEFINE_boolean(
        "tensorboard", False, "also write TensorBoard event files to the workdir's tensorboard/", flag_values=values
    )
    cluster.define_flags(values)


def say(text: str) -> None:
    """Prints one line, once for all processes of the sweep."""
    if hosts.is_first():
        print(text, flush=True)


def sweep_points(config: Config, config_file: str) -> list[Point]:
    """Returns the points that the config file's ``get_sweep`` makes of ``config``."""
    module = command_line.module_of(config_file)
    try:
        points = module.get_sweep(config)
    except (ValueError, TypeError) as error:
        raise UsageError(f"config.{error}") from error
    limits.check_points(points)
    return points


def checked_plan(config: Config, points: list[Point]) -> Plan:
    """Returns a plan without groups; raises UsageError for a config that makes no sense at some point."""
    plan = Plan(config, registry.make)
    limits.check_plan(plan, points)
    return plan


def with_groups(plan: Plan, run: dict[str, Any] | None, runs: list[grid.Run], workdir: pathlib.Path) -> Plan:
    """Returns the plan with the groups of the workdir and, after them, new groups for the runs that none of them holds.

    ``run`` is the content of run.json, None for a fresh workdir. Groups keep the batch they were started with, unless
    they are not finished and the config now asks for another one, or it would leave devices idle that the sweep has
    now.
    """
    requested, devices = plan.config.engine.run_batch, jax.device_count()

    def batch_of(runs: Sequence[grid.Run]) -> int:
        on_cpu = plan.experiment(runs[0]).cpu_run_batch
        return mesh.choose_run_batch(mesh.platform(), len(runs), devices, requested, on_cpu)

    def continued(group: grid.Group) -> grid.Group:
        wanted = batch_of(group.runs)
        idle = wanted < group.run_batch and -(-len(group.runs) // group.run_batch) < devices
        if wanted == group.run_batch or not (requested or idle):
            return group
        if not loop.pending(group, workdir, plan.schedule(group)):
            return group
        say(f"{group.name}: goes on with {wanted} runs at a time instead of {group.run_batch}")
        return dataclasses.replace(group, run_batch=wanted)

    held = folder.groups_of(run, workdir / "run.json") if run else ()
    return plan.of(map(continued, folder.check_groups(plan.of(held), workdir).groups)).grown(runs, batch_of)


def warn_of_memory(prepared: Prepared) -> None:
    """Says when a compiled group should need more memory than a device has; raises UsageError at twice that."""
    if text := limits.check_memory(prepared.group, prepared.program.memory_bytes):
        say(f"warning: {text}")


def unfinished(workdir: pathlib.Path, plan: Plan) -> Plan:
    """Returns the plan of the groups that are not finished, and says what there is."""
    say(f"{sum(len(g.runs) for g in plan.groups)} runs on {environment.device_text()}, workdir {workdir}")
    found = []
    for group in plan.groups:
        if loop.pending(group, workdir, plan.schedule(group)):
            found.append(group)
        else:
            say(f"{group.name}: {len(group.runs)} runs are finished")
    return plan.of(found)


def check_stop(stop: loop.StopRequest, first: bool = False) -> None:
    """Raises loop.Stopped when a signal asked some process to stop; SIGTERM waits for a start's ``first`` chunk."""
    if hosts.gather([stop.at_once if first else bool(stop.name)]).any():
        raise loop.Stopped(stop.name or "a signal to another process")
    if stop.name:
        say(f"{stop.name} came before the first chunk of this start, which is computed and saved first")


def compile_only(workdir: pathlib.Path, plan: Plan, stop: loop.StopRequest) -> None:
    """Compiles what is not finished, prints its memory and the time of its compilation, and runs nothing.

    Raises loop.Stopped when a signal asked to stop.
    """
    for group in unfinished(workdir, plan).groups:
        check_stop(stop)
        prepared = prepare(group, plan.experiments(group), plan.config.root_seed, allow=limits.check_memory)
        say(prepared.summary)
        warn_of_memory(prepared)
    check_stop(stop)


def run_groups(
    workdir: pathlib.Path,
    plan: Plan,
    meta: dict[str, Any],
    stop: loop.StopRequest,
    board: tensorboard.Board | None = None,
) -> float:
    """Runs the groups of a plan one after the other; returns the seconds spent waiting for their compilation.

    Raises loop.Stopped when a signal asked to stop, between two groups or within one.
    """
    log = progress.EventLog(workdir / "events.jsonl" if hosts.is_first() else None)
    facts = {"device": environment.device_text(), "processes": hosts.count(), **cluster.start_name()}
    log("started", groups=[group.name for group in plan.groups], **facts)

    def ready(prepared: Prepared) -> None:
        say(prepared.summary)
        log("compiled", group=prepared.group.name, seconds=round(prepared.program.compile_seconds, 2))
        bar.expect(queue.cost)

    queue = ahead.Ahead(plan, ready, limits.check_memory)
    bar = progress.Progress(queue.cost, quiet=not hosts.is_first(), groups=len(plan.groups))
    waited, asked = 0.0, time.monotonic()
    with bar.shown(), contextlib.closing(iter(queue)) as compiled:
        for prepared in compiled:
            waited += time.monotonic() - asked
            warn_of_memory(prepared)
            check_stop(stop, first=prepared.group is plan.groups[0])
            log("running", group=prepared.group.name)
            loop.run_group(prepared, workdir, plan.config.engine, meta, bar, log, stop, board.add if board else None)
            del prepared  # its program goes while the next one is waited for
            asked = time.monotonic()
    log("finished")
    return waited


def execute(
    workdir: pathlib.Path,
    plan: Plan,
    description: dict[str, Any],
    stop: loop.StopRequest,
    board: tensorboard.Board | None = None,
) -> int:
    """Runs and reports a workdir that this sweep owns; returns the exit code. ``description`` becomes run.json."""
    began = time.monotonic()
    rest, first = unfinished(workdir, plan), hosts.is_first()
    if first:
        records.write_json(workdir / "config.json", plan.config.to_dict())
        records.write_json(workdir / "run.json", description)
    meta = {name: description[name] for name in ("digest", "versions")}
    try:
        waited = run_groups(workdir, rest, meta, stop, board)
    except loop.Stopped as stopped:
        say(f"stopped by {stopped}; resume with:\n  {description['command']}")
        return command_line.RESUMABLE
    except UsageError:  # a group is too large; where nothing was run, nothing stays behind
        if first and not (workdir / "chunks").exists():
            for name in ("run.json", "config.json", "events.jsonl"):
                (workdir / name).unlink(missing_ok=True)
        raise
    cluster.leave()
    if board is not None:
        board.close()
    if first:
        # Imported here: plots and tables take a second to load, which no sweep should start with.
        from launch import outcome, report

        ran = time.monotonic()
        report.write_report(workdir, [plan.config.experiment])
        times = {"compiling": waited, "running": ran - began - waited, "report": time.monotonic() - ran}
        print(outcome.text(workdir, plan, description, times, board is not None))
    return command_line.DONE


@contextlib.contextmanager
def failures_explained() -> Iterator[None]:
    """Turns a device without memory and a disk that refuses into one line that says what to do."""
    try:
        with command_line.disk_explained():
            yield
    except OverflowError as error:
        raise UsageError(f"config: its sizes make arrays of more numbers than 32 bits can count ({error})") from error
    except loop.OutOfMemory as error:
        raise command_line.Failed(str(error)) from error


def main(argv: list[str]) -> int:
    """Runs the command and returns its exit code."""
    values = command_line.parse(argv, define_flags, config=True)
    config, config_file = values.config, command_line.config_file(values)
    if bad := environment.bad_version():
        print(f"error: {bad}", file=sys.stderr)
        return command_line.FAILED
    if values.tensorboard:
        tensorboard.check()
    registry.search_in(folder.import_folder(config, config_file))
    get_sweep = functools.partial(sweep_points, config_file=config_file.partition(":")[0])
    points = get_sweep(config)
    limits.check_engine(config.engine)
    plan, runs = checked_plan(config, points), grid.expand(points)
    workdir = folder.named(values.workdir, config, config_file)
    fresh = folder.check(workdir, values.resume, config) is None
    idle = overrides.idle(config, command_line.preset_config(config_file), get_sweep, fresh)
    environment.configure(len(runs), config.engine.cpu_devices)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # processes wait for each other where no handler is called
    cluster.join(values)
    stop = loop.StopRequest()
    with cluster.failing_together(), failures_explained():
        if not hosts.agree([config.to_json(), values.resume, values.dry_run, environment.versions()]):
            raise UsageError("the processes of the sweep were started with different flags, configs or versions")
        if idle:
            say(idle)
        if values.dry_run:
            run = folder.check(workdir, values.resume, config)
            try:
                compile_only(workdir, with_groups(plan, run, runs, workdir), stop)
            except loop.Stopped as stopped:
                say(f"stopped by {stopped}; nothing was run, nothing is on disk")
                return command_line.RESUMABLE
            return command_line.DONE
        with folder.owned(workdir):
            # Read again: until now another sweep may have owned the folder.
            plan = with_groups(plan, folder.check(workdir, values.resume, config), runs, workdir)
            description = folder.describe(plan, argv)
            board = tensorboard.open_board(workdir, plan) if values.tensorboard else None
            code = execute(workdir, plan, description, stop, board)
    if code == command_line.RESUMABLE and hosts.count() == 1:
        command_line.end_now(code)  # a program may still be compiling in its thread
    return code


if __name__ == "__main__":
    command_line.run(main, __doc__, define_flags, config=True)
