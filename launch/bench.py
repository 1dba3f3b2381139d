"""Time rgflow beside what a user would write instead: python -m launch.bench --suite=NAME[,NAME...] [--peers]

Each contender runs in a process of its own and they take turns; only ratios taken within a round count, and the table
shows their median with the spread over the rounds. Peers come with pip install -e '.[bench]'; without --peers rgflow
is timed alone. Exit codes: 0 measured, 1 a count failed (compilations, communication, memory), 2 bad usage. Slowness
is never a failure.
"""

import importlib
import pathlib
from collections.abc import Sequence
from importlib import metadata

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
    flags.DEFINE_string("out", None, "a JSON file for all that was measured", flag_values=values)


def chosen_suites(names: Sequence[str]) -> list[str]:
    """Returns the suites that --suite names, in the order of the table."""
    known = (*SUITES, COUNTS)
    for name in names:
        if name not in (*known, "all"):
            raise UsageError(f"--suite = {name!r}: must be all or among {', '.join(known)}")
    return [name for name in known if name in names or "all" in names]


def cases_of(suite: str, tiny: bool, peers: bool) -> list[Case]:
    """Returns the cases of a suite; without ``peers`` those of other packages are left out."""
    cases: list[Case] = importlib.import_module(f"launch.benchmarks.{suite}").cases(tiny)
    return cases if peers else [case.alone() for case in cases]


def check_packages(cases: Sequence[Case]) -> None:
    """Raises UsageError when a peer is not installed."""
    wanted = {name for case in cases for peer in case.peers for name in peer.contender.packages}
    installed = {distribution.metadata["Name"].lower() for distribution in metadata.distributions()}
    if missing := sorted(wanted - installed):
        raise UsageError(f"--peers: {', '.join(missing)} not installed; pip install -e '.[bench]' brings every peer")


def check_out(path: str | None) -> None:
    """Raises UsageError when the results could not be written; hours of timing must not end in that."""
    if path is not None and not pathlib.Path(path).resolve().parent.is_dir():
        raise UsageError(f"--out = {path!r}: no such folder")


def time_case(case: Case, number: int, console: Console) -> tuple[list[Row], dict]:
    """Returns the rows of one case and its samples for the JSON file."""
    contenders = [case.ours, *(peer.contender for peer in case.peers)]
    console.print(f"{case.suite}, {case.name}", highlight=False)
    with console.status("") as shown:
        samples = rounds.measure(contenders, number, lambda text: shown.update(f"{case.suite}, {case.name}: {text}"))
    found = rounds.rows(case, samples)
    for row in found:
        console.print("  ".join(cell for cell in tables.cells(row) if cell), highlight=False)
    kept = {c.name: [s._asdict() for s in own] for c, own in zip(contenders, samples, strict=True)}
    return found, {"suite": case.suite, "case": case.name, "samples": kept}


def main(argv: list[str]) -> int:
    """Runs the command and returns its exit code."""
    values = command_line.parse(argv, define_flags)
    suites = chosen_suites(values.suite)
    if values.rounds < 1:
        raise UsageError(f"--rounds = {values.rounds}: must be at least 1")
    check_out(values.out)
    cases = [case for suite in suites if suite != COUNTS for case in cases_of(suite, values.tiny, values.peers)]
    check_packages(cases)
    console = Console()
    rows: list[Row] = []
    samples = []
    for case in cases:
        try:
            found, kept = time_case(case, values.rounds, console)
        except rounds.ContenderFailed as error:
            raise command_line.Failed(f"{case.suite}, {case.name}: {error}") from error
        rows, samples = rows + found, [*samples, kept]
    counted = counts.checks(values.tiny) if COUNTS in suites else []
    machine = tables.hardware(cases)
    if values.out:
        pathlib.Path(values.out).write_text(tables.to_json(machine, rows, counted, samples))
    console.print(f"{machine['processor']}, {machine['cores']} cores", highlight=False)
    console.print(tables.table(rows))
    if counted:
        console.print(tables.count_table(counted))
    return command_line.FAILED if any(count.passed is False for count in counted) else command_line.DONE


if __name__ == "__main__":
    command_line.run(main, __doc__, define_flags)
