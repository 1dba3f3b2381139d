"""What is printed of a report: verdicts or claims as a table, and where the files are."""

import pathlib
from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from rgflow.judging.text import ABSENT, number_text
from rgflow.protocol import Verdict
from rgflow.report import summary
from rgflow.report.summary import status_text
from rgflow.report.tables import failed_controls, true_controls

STATUS_STYLE = {
    "supported": "bold green",
    "contradicted": "bold red",
    "mixed": "bold magenta",
    "undecided": "yellow",
    "not_run": "dim",
}


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
