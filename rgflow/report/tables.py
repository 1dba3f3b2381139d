"""Verdicts and runs as text: strict JSON, tables for the terminal."""

import dataclasses
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from rich import box
from rich.table import Table
from rich.text import Text

from rgflow.judging.decisions import is_information
from rgflow.judging.points import last_steps, planned_steps
from rgflow.judging.text import ABSENT, number_text
from rgflow.protocol import Verdict
from rgflow.report import summary
from rgflow.report.summary import status_text

STATUS_STYLE = {
    "supported": "bold green",
    "contradicted": "bold red",
    "undecided": "yellow",
    "not_run": "dim",
}


def failed_controls(verdict: Verdict) -> list[str]:
    """Returns the names of the controls that did not pass, in the order of the verdict."""
    return [name for name, control in verdict.controls.items() if not control["passed"]]


def true_controls(verdict: Verdict) -> dict[str, Mapping[str, Any]]:
    """Returns the controls of a verdict without its numbers for information, which ask for nothing."""
    return {name: one for name, one in verdict.controls.items() if not is_information(one)}


def controls_text(verdict: Verdict) -> str:
    """Returns the first failed control with its value, or that all passed; ``-`` where there is none."""
    if not true_controls(verdict):
        return ABSENT
    failed = failed_controls(verdict)
    if not failed:
        return "all passed"
    more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
    return f"{failed[0]} = {number_text(verdict.controls[failed[0]]['value'])}{more}"


def runs_text(verdict: Verdict) -> str:
    """Returns how many live runs a verdict rests on and how many died, such as ``8 (0)``."""
    return f"{verdict.n_runs} ({verdict.n_dead})"


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


def verdict_table(verdicts: Sequence[Verdict]) -> Table:
    """Returns the verdicts as a table for the terminal, one row per claim."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("claim")
    table.add_column("status", no_wrap=True)
    table.add_column(Text("measured\n[95 % interval]"), justify="right", no_wrap=True)
    table.add_column("runs\n(dead)", justify="right", no_wrap=True)
    table.add_column("controls", overflow="fold")
    for v in verdicts:
        # Text, not str: rich would read "[window]" in a claim as markup.
        status = Text(status_text(v.status), style=STATUS_STYLE[v.status])
        measured = Text(summary.effect_text(v))
        table.add_row(Text(v.claim), status, measured, runs_text(v), Text(controls_text(v)))
    return table


def claim_table(claims: Sequence[summary.Judged]) -> Table:
    """Returns one row per claim for the terminal: how many places have which status, least and largest effect."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("claim", no_wrap=True)
    for status in summary.STATUSES:
        table.add_column(status_text(status), justify="right", no_wrap=True, style=STATUS_STYLE[status])
    table.add_column("least effect", justify="right", no_wrap=True)
    table.add_column("largest effect", justify="right", no_wrap=True)
    table.add_column("controls that failed, in places", overflow="fold")
    for claim in claims:
        ends = [summary.effect_text(v) for v in claim.extremes] if claim.extremes else [ABSENT] * 2
        failed = [f"{name} {count}" for name, count in claim.failed.items()]
        more = f" and {len(failed) - 2} more" if len(failed) > 2 else ""
        counts = [str(claim.counts.get(status, 0) or ABSENT) for status in summary.STATUSES]
        table.add_row(*map(Text, (claim.name, *counts, *ends, (", ".join(failed[:2]) + more) or "none")))
    return table


def run_summary(dataset: xr.Dataset) -> list[dict[str, Any]]:
    """Returns one row per point of the sweep: values that differ, numbers of runs, ended and dead runs, steps."""
    died, last, planned = dataset["died_at"].values, last_steps(dataset), planned_steps(dataset)
    swept = [name for name, c in dataset.coords.items() if c.dims == ("run",) and name not in ("run", "seed")]
    # A column of equal values says nothing that the config does not say.
    names = [name for name in swept if len(set(dataset[name].values.tolist())) > 1] or swept
    points: dict[tuple[Any, ...], list[int]] = {}
    for k in range(dataset.sizes["run"]):
        points.setdefault(tuple(dataset[name].values[k].item() for name in names), []).append(k)
    rows = []
    for values, runs in points.items():
        dead = {int(dataset["seed"].values[k]): int(died[k]) for k in runs if died[k] >= 0}
        live = [k for k in runs if died[k] < 0]
        rows.append({
            "values": dict(zip(map(str, names), values, strict=True)),
            "runs": len(runs),
            "dead": dead,
            "ended": len(dead) + sum(bool(last[k] >= planned[k]) for k in live),
            "reached": int(min((last[k] for k in live), default=-1)),
            "steps": int(max(planned[k] for k in runs)),
        })  # fmt: skip
    return rows


def files_text(workdir: pathlib.Path) -> str:
    """Returns where the files of a report are, a line each; those that were not made are left out."""
    names = {
        "report": "report.html",
        "figures": "figures",
        "tables": "tables",
        "verdicts": "verdicts.json",
        "results": "results.nc",
    }
    return "\n".join(f"{what + ':':9} {workdir / name}" for what, name in names.items() if (workdir / name).exists())


def dead_runs(points: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns one row per dead run of :func:`run_summary`: the values of its point, its seed, the step it died at."""
    return [
        {"where": ", ".join(f"{name} = {value}" for name, value in p["values"].items()), "seed": seed, "step": step}
        for p in points
        for seed, step in p["dead"].items()
    ]


def unfinished(run: Mapping[str, Any], dataset: xr.Dataset) -> str:
    """Returns one sentence about what a sweep still lacks, or '' when every run of run.json has ended."""
    planned = sum(len(group["runs"]) for group in run["groups"])
    ended = sum(row["ended"] for row in run_summary(dataset))
    if ended >= planned:
        return ""
    return f"This sweep is not finished: {ended} of {planned} runs have reached their last step or died."
