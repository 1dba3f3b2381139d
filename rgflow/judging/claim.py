"""Judges a table of claims: every row is asked for its findings, and every finding becomes a verdict."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from rgflow.judging.decisions import Control, Status
from rgflow.judging.intervals import Interval
from rgflow.protocol import Claim, Results, Verdict

NOTHING = Interval(math.nan, math.nan, math.nan, 0)
"""The interval of what was not measured."""


class Finding(NamedTuple):
    """What a claim's judge found at one place of the sweep.

    ``place`` names the place, '' where the claim was judged on all runs; ``counts`` are live (or all) and dead runs.
    ``statement`` and ``expected`` say what is peculiar to the place; where they are empty, the claim's own words hold.
    """

    place: str
    interval: Interval
    status: Status
    counts: tuple[int, int]
    controls: Mapping[str, Control]
    statement: str = ""
    expected: str = ""


def lacking(place: str, why: str) -> Finding:
    """Returns the finding that a place lacks the runs it needs."""
    return Finding(place, NOTHING, "not_run", (0, 0), {}, expected=why)


def verdict_of(claim: Claim, finding: Finding) -> Verdict:
    """Returns the verdict on a claim at the place of a finding; what is not finite becomes None."""
    mean, low, high = (float(x) if math.isfinite(x) else None for x in finding.interval[:3])
    return Verdict(
        f"{claim.name} [{finding.place}]" if finding.place else claim.name,
        finding.statement or claim.statement,
        finding.status, mean, low, high,
        finding.expected or claim.expected,
        *finding.counts, dict(finding.controls),
    )  # fmt: skip


def judge(claims: Iterable[Claim], results: Results) -> list[Verdict]:
    """Returns the verdicts on every claim, in the order of the table; a claim without a finding is "not run"."""
    found: list[Verdict] = []
    for claim in claims:
        findings = list(claim.judge(results)) or [lacking("", f"needs {claim.needs}")]
        found += [verdict_of(claim, finding) for finding in findings]
    return found


def verdict_at(verdicts: Iterable[Verdict], claim: str, place: str) -> Verdict | None:
    """Returns the verdict on a claim at a place, None where the claim was not judged there."""
    return next((v for v in verdicts if v.claim == f"{claim} [{place}]"), None)


def make_verdict(
    claim: str,
    texts: tuple[str, str],
    interval: Interval,
    status: Status,
    counts: tuple[int, int],
    controls: Mapping[str, Control],
) -> Verdict:
    """Return a verdict; ``texts`` are its statement and what would support it, ``counts`` its runs and dead runs.

    What is no finite number in the interval becomes None. Shapes: scalars. Raises: nothing. Ref: standard.

    >>> ends = Interval(0.5, 0.4, float("nan"), 5)
    >>> verdict = make_verdict("A", ("It falls.", "below 0"), ends, "undecided", (5, 1), {})
    >>> verdict.measured, verdict.high, verdict.n_runs, verdict.n_dead
    (0.5, None, 5, 1)
    """
    mean, low, high = (float(x) if math.isfinite(x) else None for x in interval[:3])
    return Verdict(claim, texts[0], status, mean, low, high, texts[1], *counts, dict(controls))


def not_run(claim: str, statement: str, why: str) -> Verdict:
    """Return the verdict on a claim whose runs the sweep lacks. Raises: nothing.

    Ref: standard.

    >>> not_run("A", "It falls.", "needs the runs of the study 'depth'").status
    'not_run'
    """
    return Verdict(claim, statement, "not_run", None, None, None, why, 0, 0, {})


def complete(found: Sequence[Verdict], claims: Mapping[str, tuple[str, str]]) -> list[Verdict]:
    """Return verdicts in the order of ``claims``, with one that says "not run" for every claim that has none.

    ``claims`` maps the name of a claim to its statement and the study that decides it; the claim of a verdict is that
    name, or the name and a place, ``name [place]``. Raises: ValueError for a verdict on another claim.

    Ref: standard.

    >>> claims = {"A": ("It falls.", "depth"), "B": ("It grows.", "width")}
    >>> [(v.claim, v.status) for v in complete([not_run("B [N = 4]", "It grows.", "-")], claims)]
    [('A', 'not_run'), ('B [N = 4]', 'not_run')]
    """
    order, names = list(claims), [verdict.claim.partition(" [")[0] for verdict in found]
    unknown = sorted(set(names) - set(order))
    if unknown:
        raise ValueError(f"claim = {unknown[0]!r}: must be one of {', '.join(order)}")
    absent = [(claim, *words) for claim, words in claims.items() if claim not in names]
    added = [not_run(claim, text, f"needs the runs of the study {study!r}") for claim, text, study in absent]
    return sorted([*found, *added], key=lambda verdict: order.index(verdict.claim.partition(" [")[0]))
