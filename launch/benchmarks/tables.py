"""The results of a benchmark as a table on the terminal, as Markdown for a README, and as JSON with its hardware."""

import dataclasses
import json
import pathlib
import platform
import time
from collections.abc import Iterable, Sequence
from importlib import metadata
from typing import Any

from rich.table import Table

from launch import environment
from launch.benchmarks.cases import Case, Row
from launch.benchmarks.counts import Count

COLUMNS = ("suite", "case", "against", "measured", "spread", "target", "", "rgflow")


def _number(x: float) -> str:
    return "" if x != x else f"{x:.3g}"


def _seconds(x: float) -> str:
    if x != x:
        return ""
    for scale, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if x >= scale:
            return f"{x / scale:.3g} {name}"
    return f"{x * 1e9:.3g} ns"


def cells(row: Row) -> tuple[str, ...]:
    """Returns one row as text: a ratio with its spread and target, or seconds where there is no peer."""
    if row.status == "FAILED":
        return row.suite, row.case, row.peer, "", "", "", row.status, ""
    show, sign = (_number, " x") if row.peer else (_seconds, "")
    spread = f"{show(row.low)} - {show(row.high)}" if row.low <= row.high else "-"
    bound = "" if row.target != row.target else f"{'>= ' if row.peer else '<= '}{show(row.target)}"
    against = row.peer or ("a limit" if bound else "")
    ours = f"{_seconds(row.seconds)} per {row.unit}"
    return row.suite, row.case, against, show(row.measured) + sign, spread, bound, row.status, ours


def table(rows: Iterable[Row]) -> Table:
    """Returns the rows for a terminal."""
    grid = Table(*COLUMNS)
    colours = {"met": "green", "missed": "red", "unclear": "yellow", "DISAGREE": "bold red", "FAILED": "bold red"}
    for row in rows:
        *text, judged, ours = cells(row)
        grid.add_row(*text, f"[{colours.get(judged, 'default')}]{judged}[/]", ours)
    return grid


def count_table(counts: Iterable[Count]) -> Table:
    """Returns what was counted for a terminal."""
    grid = Table("count", "measured", "required", "")
    for count in counts:
        judged = "" if count.passed is None else "[green]ok[/]" if count.passed else "[bold red]FAILED[/]"
        grid.add_row(count.name, count.measured, count.required, judged)
    return grid


def markdown(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Returns a Markdown table.

    Example:
        >>> print(markdown(("a", "b"), [("1", "2")]))
        | a | b |
        |---|---|
        | 1 | 2 |
    """
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join("|" + "|".join(r) + "|" if r[0] == "---" else "| " + " | ".join(r) + " |" for r in rows)


def processor() -> str:
    """Returns the name of the processor where the system tells it, else the architecture."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def hardware(cases: Sequence[Case]) -> dict[str, Any]:
    """Returns the machine and the versions of everything that was timed."""
    packages = {name for case in cases for peer in case.peers for name in peer.contender.packages}
    versions = environment.versions() | {name: metadata.version(name) for name in sorted(packages)}
    machine = {"processor": processor(), "cores": environment.cores(), "system": platform.platform()}
    return {"date": time.strftime("%Y-%m-%d"), **machine, "versions": versions}


def _without_nan(x: Any) -> Any:
    """Returns plain data with null for NaN, which JSON does not know."""
    if isinstance(x, dict):
        return {name: _without_nan(value) for name, value in x.items()}
    if isinstance(x, list | tuple):
        return [_without_nan(value) for value in x]
    return None if isinstance(x, float) and x != x else x


@dataclasses.dataclass
class Results:
    """Everything that was measured so far, down to the single repetition, and on what."""

    machine: dict[str, Any]
    command: str
    rows: list[Row] = dataclasses.field(default_factory=list)
    counts: list[Count] = dataclasses.field(default_factory=list)
    samples: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether every contender ran, all of them agree and every count holds; how fast they were does not matter."""
        broken = any(row.status in ("FAILED", "DISAGREE") for row in self.rows)
        return not broken and all(count.passed is not False for count in self.counts)

    def markdown(self) -> str:
        """Returns both tables with the command and the hardware above them."""
        versions = ", ".join(f"{name} {version}" for name, version in self.machine["versions"].items())
        cores = f"{self.machine['cores']} cores"
        head = f"`{self.command}` on {self.machine['processor']}, {cores}, {self.machine['date']}; {versions}."
        timed = markdown(COLUMNS, (cells(row) for row in self.rows)) if self.rows else ""
        found = {None: "", True: "ok", False: "FAILED"}
        lines = ((c.name, c.measured, c.required, found[c.passed]) for c in self.counts)
        counted = markdown(("count", "measured", "required", ""), lines) if self.counts else ""
        return "\n\n".join(part for part in (head, timed, counted) if part) + "\n"

    def save(self, path: pathlib.Path | None) -> None:
        """Writes the JSON file and the Markdown file of the same name; after each case, so that none is ever lost."""
        if path is not None:
            path.write_text(json.dumps(_without_nan(dataclasses.asdict(self)), indent=1))
            path.with_suffix(".md").write_text(self.markdown())
