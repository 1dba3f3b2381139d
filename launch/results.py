"""The files of a report: reads a workdir, judges its runs, writes the files, and reads them back."""

import dataclasses
import importlib
import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections
import numpy as np
import xarray as xr

from launch import outcome
from launch import workdir as folder
from launch.command_line import UsageError
from rgflow import registry
from rgflow.engine import grid, loop, records
from rgflow.engine.plan import Plan
from rgflow.judging import claim
from rgflow.protocol import Results, Verdict
from rgflow.report import compare, html, tables


def attributes(plan: Plan, run: Mapping[str, Any]) -> dict[str, str]:
    """Returns the attributes of results.nc; ``run`` is the content of run.json."""
    return {
        "experiment": run["experiment"],
        "config": json.dumps(plan.config.to_dict()),
        "versions": json.dumps(run["versions"]),
        "device": run["device"],
        "git_commit": run["git_commit"],
    }


def room_doc(name: str) -> str:
    """Returns the docstring of a room: papers, claims, equations, what is not reproduced."""
    return importlib.import_module(registry.package(name)).__doc__ or name


def read_plan(workdir: pathlib.Path) -> tuple[dict[str, Any], Plan]:
    """Returns the content of run.json and the plan of a workdir.

    Raises UsageError when the folder holds no run, or when this version of the code cannot read its config.
    """
    if not (workdir / "run.json").is_file() or not (workdir / "config.json").is_file():
        raise UsageError(f"{str(workdir)!r}: holds no run; give the folder of a sweep")
    run = folder.read_run(workdir)
    config = ml_collections.ConfigDict(records.read_json(workdir / "config.json"))
    plan = Plan(config, registry.make, tuple(grid.Group.from_json(data) for data in run["groups"]))
    try:
        for group in plan.groups:
            plan.experiment(group.runs[0])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(
            f"{str(workdir)!r}: this version of the code cannot read its config ({why}); run it anew"
        ) from error
    return run, plan


def finished_groups(workdir: pathlib.Path, plan: Plan) -> list[grid.Group]:
    """Returns the groups whose every scheduled record is on disk."""
    return [group for group in plan.groups if loop.finished(group, workdir, plan.schedule(group))]


def judge(workdir: pathlib.Path, plan: Plan, dataset: xr.Dataset) -> list[Verdict]:
    """Returns the verdicts on the finished runs; none when no run is finished.

    ``dataset`` holds every record; it is merged again only where some runs must be left out.
    """
    finished = finished_groups(workdir, plan)
    if not finished:
        return []
    if len(finished) < len(plan.groups):
        dataset = records.merge(workdir, plan.of(finished), dataset.attrs)
    return claim.judge(registry.claims(dataset.attrs["experiment"]), Results(dataset, plan.config))


def strict(data: Any) -> Any:
    """Returns plain data that strict JSON can hold: numpy scalars unpacked, NaN and infinities as null."""
    if isinstance(data, Mapping):
        return {str(name): strict(value) for name, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [strict(value) for value in data]
    if isinstance(data, np.generic):
        data = data.item()
    return None if isinstance(data, float) and not math.isfinite(data) else data


def verdicts_to_json(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """Returns one object per verdict with the fields of ``Verdict``; NaN and infinities are null."""
    names = [field.name for field in dataclasses.fields(Verdict)]
    return [{name: strict(getattr(verdict, name)) for name in names} for verdict in verdicts]


def write_files(workdir: pathlib.Path) -> tuple[list[Verdict], str]:
    """Writes all files of a report; returns the verdicts, and a sentence on what is unfinished ('' for nothing).

    Raises UsageError when the folder holds no run or no record yet.
    """
    run, plan = read_plan(workdir)
    try:
        dataset = records.merge(workdir, plan, attributes(plan, run))
    except FileNotFoundError as error:
        raise UsageError(f"{str(workdir)!r}: holds no record yet; run the sweep first") from error
    verdicts = judge(workdir, plan, dataset)
    drawn = registry.figures(run["experiment"])(Results(dataset, plan.config), verdicts)
    doc = room_doc(run["experiment"])
    table = registry.claims(run["experiment"])
    commands = outcome.commands(run, plan.config, workdir)
    page = html.render(doc.strip().splitlines()[0], doc, verdicts, drawn, run, dataset, workdir, table, commands)

    records.write_results(workdir / "results.nc", dataset)
    for one in drawn:
        one.save(workdir / "figures")
    (workdir / "figures").mkdir(exist_ok=True)
    records.write_json(workdir / "figures" / "figures.json", [one.texts for one in drawn])
    for one in (d for d in drawn if d.csv):
        records.write_atomically(workdir / "tables" / f"{one.name}.csv", lambda p, text=one.csv: p.write_text(text))
    records.write_atomically(workdir / "report.html", lambda p: p.write_text(page, encoding="utf-8"))
    # Last: with it everything else is there.
    records.write_json(workdir / "verdicts.json", verdicts_to_json(verdicts))
    return verdicts, tables.unfinished(run, dataset)


def is_current(workdir: pathlib.Path) -> bool:
    """Returns whether the report of a workdir is there and no older than its records."""
    made = [workdir / name for name in ("verdicts.json", "results.nc", "figures/figures.json")]
    if not all(path.is_file() for path in made):
        return False
    newest = max((path.stat().st_mtime for path in (workdir / "chunks").glob("*")), default=0.0)
    return made[0].stat().st_mtime >= newest


def read_sweep(text: str) -> compare.Sweep:
    """Returns a sweep as its report shows it, which is written first where it is missing or old."""
    workdir = pathlib.Path(text).absolute()
    run, plan = read_plan(workdir)
    if not is_current(workdir):
        print(f"{text}: its report is missing or older than its records, writing it", flush=True)
        write_files(workdir)
    verdicts = [Verdict(**fields) for fields in records.read_json(workdir / "verdicts.json")]
    texts = records.read_json(workdir / "figures" / "figures.json")
    drawn = [(t, (workdir / "figures" / f"{t['name']}.svg").read_text(encoding="utf-8")) for t in texts]
    with xr.open_dataset(workdir / "results.nc", engine="h5netcdf") as dataset:
        unfinished = tables.unfinished(run, dataset)
    title = room_doc(run["experiment"]).strip().splitlines()[0]
    return compare.Sweep(text, run, plan.config.to_dict(), verdicts, drawn, title, unfinished)
