"""What the page lists: the controls of a verdict, the runs of a sweep, the dead and the unfinished ones."""

from collections.abc import Mapping, Sequence
from typing import Any

import xarray as xr

from rgflow.judging.decisions import is_information
from rgflow.judging.points import last_steps, planned_steps
from rgflow.protocol import Verdict


def failed_controls(verdict: Verdict) -> list[str]:
    """Returns the names of the controls that did not pass, in the order of the verdict."""
    return [name for name, control in verdict.controls.items() if not control["passed"]]


def true_controls(verdict: Verdict) -> dict[str, Mapping[str, Any]]:
    """Returns the controls of a verdict without its numbers for information, which ask for nothing."""
    return {name: one for name, one in verdict.controls.items() if not is_information(one)}


def run_summary(dataset: xr.Dataset) -> list[dict[str, Any]]:
    """Returns one row per point of the sweep: values that differ, numbers of runs, ended and dead runs, steps."""
    died, last, planned = dataset["died_at"].values, last_steps(dataset), planned_steps(dataset)
    swept = [name for name, c in dataset.coords.items() if c.dims == ("run",) and name not in ("run", "seed")]
    # A column of equal values says nothing that the config does not say.
    names = [name for name in swept if len(set(dataset[name].values.tolist())) > 1] or swept
    columns = [dataset[name].values.tolist() for name in names]
    points: dict[tuple[Any, ...], list[int]] = {}
    # Whole columns are read at once: a sweep may have 100 000 runs.
    for k, values in enumerate(zip(*columns, strict=True) if names else [()] * dataset.sizes["run"]):
        points.setdefault(values, []).append(k)
    rows, seeds = [], dataset["seed"].values.tolist()
    for values, runs in points.items():
        dead = {seeds[k]: int(died[k]) for k in runs if died[k] >= 0}
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


def dead_runs(points: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns one row per dead run of :func:`run_summary`: the values of its point, its seed, the step it died at."""
    return [
        {"where": ", ".join(f"{name} = {value}" for name, value in p["values"].items()), "seed": seed, "step": step}
        for p in points
        for seed, step in p["dead"].items()
    ]


def unfinished(run: Mapping[str, Any], dataset: xr.Dataset) -> str:
    """Returns one sentence about what a sweep still lacks, or '' when every run of run.json has ended."""
    planned = sum(one["seeds"] for group in run["groups"] for one in group["runs"])
    ended = sum(row["ended"] for row in run_summary(dataset))
    if ended >= planned:
        return ""
    return f"This sweep is not finished: {ended} of {planned} runs have reached their last step or died."
