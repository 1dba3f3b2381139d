"""Write the report of a workdir: python -m launch.report --workdir=DIR

Merges the records into results.nc, judges the claims (verdicts.json), draws figures/, writes tables/ and report.html;
also for a sweep that is not finished, whose verdicts then rest on its finished runs. Exit codes: 0 done,
2 bad usage.
"""

import importlib
import json
import pathlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

import ml_collections
import xarray as xr
from absl import flags
from rich.console import Console

from launch import command_line
from launch import workdir as folder
from launch.command_line import UsageError
from rgflow import registry
from rgflow.engine import grid, loop, records
from rgflow.protocol import Experiment, Verdict
from rgflow.report import figures, html, tables

LOG_WIDTH = 120


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags of this command."""
    flags.DEFINE_string("workdir", None, "the folder of a sweep", flag_values=values)


def attributes(config: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, str]:
    """Returns the attributes of results.nc."""
    return {
        "experiment": run["experiment"],
        "config": json.dumps(config),
        "versions": json.dumps(run["versions"]),
        "device": run["device"],
        "git_commit": run["git_commit"],
    }


def room_doc(name: str) -> str:
    """Returns the docstring of a room: papers, claims, equations, what is not reproduced."""
    return importlib.import_module(registry.package(name)).__doc__ or name


def finished_groups(
    workdir: pathlib.Path, groups: list[grid.Group], experiment_of: Callable[[grid.Run], Experiment]
) -> list[grid.Group]:
    """Returns the groups whose every scheduled record is on disk."""
    return [g for g in groups if loop.finished(g, workdir, experiment_of(g.runs[0]).schedule)]


def judge(
    workdir: pathlib.Path,
    groups: list[grid.Group],
    experiment_of: Callable[[grid.Run], Experiment],
    config: ml_collections.ConfigDict,
    dataset: xr.Dataset,
) -> list[Verdict]:
    """Returns the verdicts on the finished runs; none when no run is finished.

    ``dataset`` holds every record; it is merged again only where some runs must be left out.
    """
    finished = finished_groups(workdir, groups, experiment_of)
    if not finished:
        return []
    if len(finished) < len(groups):
        dataset = records.merge(workdir, finished, experiment_of, dataset.attrs)
    return experiment_of(finished[0].runs[0]).verdict(dataset, config)


def write_report(workdir: pathlib.Path) -> None:
    """Writes results.nc, verdicts.json, figures/, tables/ and report.html of a workdir, and prints the verdicts.

    Raises UsageError when the folder holds no run or no record yet.
    """
    if not (workdir / "run.json").is_file() or not (workdir / "config.json").is_file():
        raise UsageError(f"--workdir = {str(workdir)!r}: holds no run")
    run, config = folder.read_run(workdir), records.read_json(workdir / "config.json")
    groups = [grid.Group.from_json(data) for data in run["groups"]]
    experiment_of = grid.experiments(registry.make, ml_collections.ConfigDict(config))
    try:
        dataset = records.merge(workdir, groups, experiment_of, attributes(config, run))
    except FileNotFoundError as error:
        raise UsageError(f"--workdir = {str(workdir)!r}: holds no record yet; run the sweep first") from error
    verdicts = judge(workdir, groups, experiment_of, ml_collections.ConfigDict(config), dataset)
    drawn = figures.draw(run["experiment"], dataset)
    doc = room_doc(run["experiment"])
    page = html.render(doc.strip().splitlines()[0], doc, verdicts, drawn, run, dataset, workdir)

    records.write_results(workdir / "results.nc", dataset)
    records.write_json(workdir / "verdicts.json", tables.verdicts_to_json(verdicts))
    for one in drawn:
        figures.save(one, workdir / "figures")
    for one in (d for d in drawn if d.rows):
        text = tables.csv_text(one.rows)
        records.write_atomically(workdir / "tables" / f"{one.name}.csv", lambda p, text=text: p.write_text(text))
    records.write_atomically(workdir / "report.html", lambda p: p.write_text(page, encoding="utf-8"))
    show(verdicts, tables.unfinished(run, dataset), workdir / "report.html")


def show(verdicts: list[Verdict], unfinished: str, page: pathlib.Path) -> None:
    """Prints what is unfinished, the verdict table and the path of the page."""
    if unfinished:
        print(unfinished)
    if verdicts:
        # A log file has no width; there, rich's 80 columns would break every line of the table.
        console = Console(width=None if sys.stdout.isatty() else LOG_WIDTH)
        console.print(tables.verdict_table(verdicts))
    else:
        print("No run is finished: there is nothing to judge yet.")
    print(f"report: {page}", flush=True)


def main(argv: list[str]) -> int:
    """Runs the command and returns its exit code."""
    values = command_line.parse(argv, define_flags)
    if not values.workdir:
        raise UsageError("--workdir is missing: give the folder of a sweep")
    write_report(pathlib.Path(values.workdir).absolute())
    return command_line.DONE


if __name__ == "__main__":
    command_line.run(main, __doc__, define_flags)
