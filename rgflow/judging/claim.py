"""Judges a table of claims: every row is asked for its findings, and every finding becomes a verdict."""

import math
from collections.abc import Iterable, Mapping
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


def known(verdicts: Iterable[Verdict], claim: str, place: str = "") -> Interval:
    """Returns the number of a verdict with its interval, for a figure to show; NaN where the claim was not judged.

    >>> known([], "A", "N = 4")
    Interval(mean=nan, low=nan, high=nan, n=0)
    """
    name = f"{claim} [{place}]" if place else claim
    found = next((v for v in verdicts if v.claim == name), None)
    if found is None:
        return NOTHING
    mean, low, high = (math.nan if x is None else x for x in (found.measured, found.low, found.high))
    return Interval(mean, low, high, found.n_runs)
