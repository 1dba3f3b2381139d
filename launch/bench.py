"""Time rgflow beside what a user would write instead: python -m launch.bench --suite=NAME[,NAME...] [--peers]

Each contender runs in a process of its own, and the contenders take turns. Only ratios within a round count; the table
shows their median with the spread over the rounds. Peers come with pip install -e '.[bench]'; without --peers rgflow
is timed alone. Exit codes: 0 measured, 1 a contender broke, two of them disagree or a count is wrong (compilations,
communication, memory, growth), 2 bad usage. Slowness is never a failure.
"""

import importlib
import pathlib
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from absl import flags
from rich.console import Console

from launch import command_line
from launch.benchmarks import counts, rounds, tables
from launch.benchmarks.cases import Case, Row
from launch.command_line import UsageError

SUITES = (
    "rank_flow_tokenwise",
    "rank_flow_window",
    "rank_flow_mixer",
    "runs_scaling",
    "spectrum",
    "markov",
    "ising",
    "rbm",
    "kernel_rg",
    "start",
    "matmul_share",
)
COUNTS = "counts"


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags of this command."""
    names = ", ".join((*SUITES, COUNTS))
    flags.DEFINE_list("suite", ["all"], f"what to time: all, or some of {names}", flag_values=values)
    flags.DEFINE_boolean("peers", False, "time the peers too", flag_values=values)
    flags.DEFINE_integer("rounds", 5, "repetitions of each contender, at least 1", flag_values=values)
    flags.DEFINE_boolean("tiny", False, "the smallest sizes: a test of the plumbing", flag_values=values)
    flags.DEFINE_string(
        "out", None, "FILE.json for all that was measured, with FILE.md for the tables", flag_values=values
    )


def chosen_suites(names: Sequence[str]) -> list[str]:
    """Returns the suites that --suite names, in the order of the table."""
    known = (*SUITES, COUNTS)
    for name in names:
        if name not in (*known, "all"):
            raise UsageError(f"--suite = {name!r}: must be all or among {', '.join(known)}")
    return [name for name in known if name in names or "all" in names]


def cases_of(suite: str, tiny: bool, peers: bool) -> list[Case]:
    """Returns the cases of a suite; without ``peers`` only rgflow is timed."""
    cases: list[Case] = importlib.import_module(f"launch.benchmarks.{suite}").cases(tiny)
    return cases if peers else [case.alone() for case in cases]


def check_packages(cases: Sequence[Case]) -> None:
    """Raises UsageError when a peer is not installed."""
    wanted = {name for case in cases for peer in case.peers for name in peer.contender.packages}
    installed = {distribution.metadata["Name"].lower() for distribution in metadata.distributions()}
    if missing := sorted(wanted - installed):
        raise UsageError(f"--peers: {', '.join(missing)} not installed; pip install -e '.[bench]' brings every peer")


def checked_out(text: str | None) -> pathlib.Path | None:
    """Returns the file of --out; raises UsageError when it cannot be written, before hours of timing are lost."""
    if text is None:
        return None
    path = pathlib.Path(text)
    if path.suffix != ".json" or not path.resolve().parent.is_dir():
        raise UsageError(f"--out = {text!r}: must be a file NAME.json in a folder that exists")
    return path


def time_case(case: Case, number: int, console: Console) -> tuple[list[Row], dict[str, Any]]:
    """Returns the rows of one case and its samples for the JSON file; a contender that fails is a row that says so."""
    contenders = [case.ours, *(peer.contender for peer in case.peers)]
    name = f"{case.suite}, {case.name}"
    console.print(name, highlight=False)
    kept: dict[str, Any] = {"suite": case.suite, "case": case.name}
    try:
        with console.status(name) as shown:
            samples = rounds.measure(contenders, number, lambda text: shown.update(f"{name}: {text}"))
    except rounds.ContenderFailed as error:
        console.print(f"  FAILED: {error}", highlight=False, markup=False)
        return [rounds.failed(case, str(error))], {**kept, "error": str(error)}
    found = rounds.rows(case, samples)
    for row in found:
        console.print("  " + "  ".join(cell for cell in tables.cells(row)[2:] if cell), highlight=False)
    return found, {
        **kept,
        "samples": {c.name: [s._asdict() for s in own] for c, own in zip(contenders, samples, strict=True)},
    }


def main(argv: list[str]) -> int:
    """Runs the command and returns its exit code."""
    values = command_line.parse(argv, define_flags)
    suites = chosen_suites(values.suite)
    if values.rounds < 1:
        raise UsageError(f"--rounds = {values.rounds}: must be at least 1")
    out = checked_out(values.out)
    cases = [case for suite in suites if suite != COUNTS for case in cases_of(suite, values.tiny, values.peers)]
    check_packages(cases)
    # A log file has no width; there, rich's 80 columns would break every line of the table.
    console = Console(width=None if sys.stdout.isatty() else 200)
    results = tables.Results(tables.hardware(cases), " ".join(["python -m launch.bench", *argv[1:]]))
    for case in cases:
        found, kept = time_case(case, values.rounds, console)
        results.rows.extend(found)
        results.samples.append(kept)
        results.save(out)
    if COUNTS in suites:
        results.counts.extend(counts.checks(values.tiny))
        results.save(out)
    console.print(f"{results.machine['processor']}, {results.machine['cores']} cores", highlight=False)
    if results.rows:
        console.print(tables.table(results.rows))
    if results.counts:
        console.print(tables.count_table(results.counts))
    if out:
        console.print(f"written: {out}, {out.with_suffix('.md')}", highlight=False)
    return command_line.DONE if results.sound else command_line.FAILED


if __name__ == "__main__":
    command_line.run(main, __doc__, define_flags)
