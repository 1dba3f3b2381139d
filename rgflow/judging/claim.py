"""Judges a table of claims: every row is asked for its findings, and every finding becomes a verdict."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from rgflow.judging.components import ALPHA, Component, decide_all
from rgflow.judging.decisions import Control, Status, passed
from rgflow.judging.intervals import Interval, median_interval
from rgflow.protocol import Claim, Results, Verdict

NOTHING = Interval(math.nan, math.nan, math.nan, 0)
"""The interval of what was not measured."""


class Finding(NamedTuple):
    """What a claim's judge found at one place of the sweep.

    ``place`` names the place, '' where the claim was judged on all runs; ``counts`` are live (or all) and dead runs.
    ``statement`` and ``expected`` say what is peculiar to the place; where they are empty, the claim's own words hold.
    ``components`` and ``rows`` are those of :class:`rgflow.protocol.Verdict`.
    """

    place: str
    interval: Interval
    status: Status
    counts: tuple[int, int]
    controls: Mapping[str, Control]
    statement: str = ""
    expected: str = ""
    components: Sequence[Mapping[str, Any]] = ()
    rows: Sequence[Mapping[str, Any]] = ()


def lacking(place: str, why: str) -> Finding:
    """Returns the finding that a place lacks the runs it needs."""
    return Finding(place, NOTHING, "not_run", (0, 0), {}, expected=why)


def part_of(component: Component, level: float = 0.95) -> dict[str, Any]:
    """Returns what a verdict says of one of its components; a contradiction quotes a wider interval than 95 %."""
    mean, low, high, runs = component.interval(level)
    sign = {"below": "<", "above": ">", "within": "within"}[component.side]
    return {
        "name": f"{component.name} {sign} {component.bound:.3g}",
        "measured": mean, "low": low, "high": high, "level": level, "runs": runs,
        "p_for": component.p_for(), "p_against": component.p_against(),
    }  # fmt: skip


def row_of(name: str, components: Sequence[Component]) -> dict[str, Any]:
    """Returns a row of a verdict: the claim with another choice in its rule, and what it would decide."""
    mean, low, high, runs = components[0].interval()
    status = decide_all(components).status
    return {"name": name, "status": status, "measured": mean, "low": low, "high": high, "runs": runs}


def median_row(component: Component) -> list[dict[str, Any]]:
    """Returns the row of the median over runs, which says so where a few runs carry the mean beyond its bound."""
    if len(component.groups) != 1 or component.side == "within":
        return []
    mean, low, high, runs = median_interval(component.groups[0])
    carried = (mean - component.bound) * (component.found.mean - component.bound) < 0
    name = "median over runs" + (": a few runs carry the mean beyond the bound" if carried else "")
    return [{"name": name, "status": "", "measured": mean, "low": low, "high": high, "runs": runs}]


def ruled(
    place: str,
    components: Sequence[Component],
    counts: tuple[int, int],
    controls: Mapping[str, Control],
    rows: Mapping[str, Sequence[Component]] | None = None,
    **words: str,
) -> Finding:
    """Returns the finding on a claim that is made of components; the first one is the effect that it shows.

    ``rows`` are the same claim under other choices. A control decides nothing here but for one that failed: what is no
    measurement blocks both directions alike.
    """
    decision = decide_all(components)
    status = decision.status if passed(controls) else "undecided"
    level = 1 - 0.05 / len(components) if status == "contradicted" else 0.95
    parts = tuple(part_of(component, level if component.p_against() <= ALPHA else 0.95) for component in components)
    others = [*median_row(components[0]), *(row_of(name, given) for name, given in (rows or {}).items() if given)]
    interval = components[0].interval()
    return Finding(place, interval, status, counts, controls, components=parts, rows=tuple(others), **words)


def verdict_of(claim: Claim, finding: Finding) -> Verdict:
    """Returns the verdict on a claim at the place of a finding; what is not finite becomes None."""
    mean, low, high = (float(x) if math.isfinite(x) else None for x in finding.interval[:3])
    return Verdict(
        f"{claim.name} [{finding.place}]" if finding.place else claim.name,
        finding.statement or claim.statement,
        finding.status, mean, low, high,
        finding.expected or claim.expected,
        *finding.counts, dict(finding.controls), finding.components, finding.rows,
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
