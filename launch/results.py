"""The files of a report: reads a workdir, judges its runs, writes the files, and reads them back.

The code of an experiment outside the package runs only where the user has named it (``own``): a workdir may be somebody
else's. Without it the page shows the verdicts and the figures that the workdir holds.
"""

import contextlib
import dataclasses
import importlib
import json
import math
import os
import pathlib
import traceback
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import ml_collections
import numpy as np
import xarray as xr

from launch import outcome
from launch import workdir as folder
from launch.command_line import UsageError
from rgflow import registry
from rgflow.engine import grid, loop, recorded, records
from rgflow.engine.plan import Plan
from rgflow.judging import claim
from rgflow.protocol import Results, Verdict
from rgflow.report import compare, html, plain, tables
from rgflow.schema import files, kinds
from rgflow.schema.results import read_results

NOT_IMPORTED = (
    "The code of {!r} is not part of rgflow and was not named: verdicts and figures are those that the workdir holds. "
    "To judge and draw anew, add --config=FILE with the config file of the experiment."
)


class Found(NamedTuple):
    """A workdir as it was read: run.json, the config, and the plan; no plan without the code of its experiment."""

    run: dict[str, Any]
    config: ml_collections.ConfigDict
    plan: Plan | None

    @property
    def name(self) -> str:
        """The name of the experiment."""
        return self.run["experiment"]

    @property
    def doc(self) -> str:
        """The docstring of the room, or what takes its place."""
        return room_doc(self.name) if self.plan else f"{self.name}\n\n{NOT_IMPORTED.format(self.name)}"

    @property
    def title(self) -> str:
        """The first line of the docstring."""
        title = self.doc.strip().splitlines()[0]
        return title if self.plan else f"{title}, as its workdir shows it"

    @property
    def attributes(self) -> dict[str, str]:
        """The attributes of results.nc."""
        names = ("experiment", "device", "git_commit")
        plain = {"config": json.dumps(self.config.to_dict()), "versions": json.dumps(self.run["versions"])}
        return plain | {name: self.run[name] for name in names}


def room_doc(name: str) -> str:
    """Returns the docstring of a room: papers, claims, equations, what is not reproduced."""
    return importlib.import_module(registry.package(name)).__doc__ or name


def read(workdir: pathlib.Path, own: Collection[str] = ()) -> Found:
    """Returns a workdir; ``own`` are the experiments outside the package whose code may be imported.

    Raises UsageError when the folder holds no run, and Unreadable when it holds something that no sweep would write, or
    a config that this version of the code cannot read.
    """
    path = workdir / "config.json"
    if not os.path.lexists(workdir / "run.json") or not os.path.lexists(path):
        raise UsageError(f"{str(workdir)!r}: holds no run; give the folder of a sweep")
    run = folder.read_run(workdir)
    try:
        config = ml_collections.ConfigDict(files.read_json(path, kinds.CONFIG)).lock()
        changed = grid.changed_fields(run["science"], grid.science_fields(config))
    except (AttributeError, TypeError, ValueError) as error:
        raise files.Unreadable(path, f"no config ({error})") from error
    if changed or config.experiment != run["experiment"]:
        raise files.Unreadable(path, f"not the config of run.json ({'; '.join(changed) or 'another experiment'})")
    if run["experiment"] not in registry.EXPERIMENTS and run["experiment"] not in own:
        return Found(run, config, None)
    plan = Plan(config, registry.make, folder.groups_of(run, workdir / "run.json"))
    return Found(run, config, folder.check_groups(plan, workdir))


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


FIELDS = [field.name for field in dataclasses.fields(Verdict)]


def verdicts_to_json(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """Returns one object per verdict with the fields of ``Verdict``; NaN and infinities are null."""
    return [{name: strict(getattr(verdict, name)) for name in FIELDS} for verdict in verdicts]


def read_verdicts(workdir: pathlib.Path) -> list[Verdict]:
    """Returns the verdicts that a workdir holds."""
    found = files.read_json(workdir / "verdicts.json", kinds.VERDICTS)
    return [Verdict(**{name: fields[name] for name in FIELDS}) for fields in found]


def read_pictures(workdir: pathlib.Path) -> list[html.Picture]:
    """Returns the figures that a workdir holds, with their texts."""
    texts = files.read_json(workdir / "figures" / "figures.json", kinds.FIGURES)
    return [(one, files.read_svg(workdir / "figures" / f"{one['name']}.svg")) for one in texts]


def page_of(workdir: pathlib.Path, found: Found, dataset: xr.Dataset, verdicts: Any, pictures: Any) -> str:
    """Returns report.html."""
    table = registry.claims(found.name) if found.plan else ()
    commands = outcome.commands(found.run, found.config, workdir)
    return html.render(found.title, found.doc, verdicts, pictures, found.run, dataset, workdir, table, commands)


@contextlib.contextmanager
def edited_records_explained(workdir: pathlib.Path, tested: bool = True) -> Iterator[None]:
    """Turns the failure of judges and figures on records that no sweep wrote into one line.

    Code outside the package, which is not ``tested``, shows its own failures.
    """
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        if not tested:
            raise
        last = traceback.extract_tb(error.__traceback__)[-1]
        what = f"{type(error).__name__}: {error} in {pathlib.Path(last.filename).name}, line {last.lineno}"
        remedy = "if no file in it was changed by hand, this is a fault of the code: please report the line"
        raise files.Unreadable(workdir / "chunks", f"its records cannot be judged or drawn ({what})", remedy) from error


def merged(workdir: pathlib.Path, plan: Plan, attributes: Mapping[str, str]) -> xr.Dataset:
    """Returns the records of a workdir; raises UsageError when it holds none."""
    try:
        return records.merge(workdir, plan, attributes)
    except FileNotFoundError as error:
        raise UsageError(f"{str(workdir)!r}: holds no record yet; run the sweep first") from error


def held(workdir: pathlib.Path, found: Found) -> tuple[xr.Dataset, list[Verdict], list[html.Picture]]:
    """Returns what a workdir holds whose experiment is not at hand: results, verdicts and figures.

    Results are merged from the records where results.nc is missing. One figure is drawn from the results.
    """
    if os.path.lexists(workdir / "results.nc"):
        dataset = read_results(workdir / "results.nc").assign_attrs(found.attributes)
    else:
        plan = recorded.plan(workdir, found.config, folder.groups_of(found.run, workdir / "run.json"))
        dataset = merged(workdir, plan, found.attributes)
    verdicts = read_verdicts(workdir) if os.path.lexists(workdir / "verdicts.json") else []
    pictures = read_pictures(workdir) if os.path.lexists(workdir / "figures" / "figures.json") else []
    with edited_records_explained(workdir):
        own = [(one.texts, one.svg) for one in plain.figures(dataset)]
    names = {texts["name"] for texts, _ in pictures}
    return dataset, verdicts, [*pictures, *(one for one in own if one[0]["name"] not in names)]


def write_page(path: pathlib.Path, page: str) -> None:
    """Writes a page, atomically; half a character, which a name in results.nc may hold, becomes a question mark."""
    records.write_atomically(path, lambda p: p.write_text(page, encoding="utf-8", errors="replace"))


def write_files(workdir: pathlib.Path, own: Collection[str] = ()) -> tuple[list[Verdict], str]:
    """Writes all files of a report; returns the verdicts, and a sentence on what is unfinished ('' for nothing).

    Without the code of the experiment only the page is written, from the files that are there. Raises UsageError when
    the folder holds no run or no record yet, Unreadable when something in it is damaged.
    """
    found = read(workdir, own)
    if found.plan is None:
        dataset, verdicts, pictures = held(workdir, found)
        write_page(workdir / "report.html", page_of(workdir, found, dataset, verdicts, pictures))
        return verdicts, NOT_IMPORTED.format(found.name)
    dataset = merged(workdir, found.plan, found.attributes)
    with edited_records_explained(workdir, found.name in registry.EXPERIMENTS):
        verdicts = judge(workdir, found.plan, dataset)
        drawn = registry.figures(found.name)(Results(dataset, found.config), verdicts)
        pictures = [(one.texts, one.svg) for one in drawn]
    page = page_of(workdir, found, dataset, verdicts, pictures)

    records.write_results(workdir / "results.nc", dataset)
    for one in drawn:
        one.save(workdir / "figures")
    (workdir / "figures").mkdir(exist_ok=True)
    records.write_json(workdir / "figures" / "figures.json", [one.texts for one in drawn])
    for one in (d for d in drawn if d.csv):
        records.write_atomically(workdir / "tables" / f"{one.name}.csv", lambda p, text=one.csv: p.write_text(text))
    write_page(workdir / "report.html", page)
    # Last: with it everything else is there.
    records.write_json(workdir / "verdicts.json", verdicts_to_json(verdicts))
    return verdicts, tables.unfinished(found.run, dataset)


def is_current(workdir: pathlib.Path) -> bool:
    """Returns whether the report of a workdir is there and no older than its records."""
    made = [workdir / name for name in ("verdicts.json", "results.nc", "figures/figures.json")]
    if not all(path.is_file() for path in made):
        return False
    newest = max((path.stat().st_mtime for path in (workdir / "chunks").glob("*")), default=0.0)
    return made[0].stat().st_mtime >= newest


def read_sweep(text: str, own: Collection[str] = ()) -> compare.Sweep:
    """Returns a sweep as its report shows it, which is written first where it is missing or old."""
    workdir = pathlib.Path(text).absolute()
    found = read(workdir, own)
    if found.plan and not is_current(workdir):
        print(f"{text}: its report is missing or older than its records, writing it", flush=True)
        write_files(workdir, own)
    if found.plan:
        dataset = read_results(workdir / "results.nc")
        verdicts, pictures = read_verdicts(workdir), read_pictures(workdir)
    else:
        dataset, verdicts, pictures = held(workdir, found)
    unfinished = tables.unfinished(found.run, dataset)
    return compare.Sweep(text, found.run, found.config.to_dict(), verdicts, pictures, found.title, unfinished)
