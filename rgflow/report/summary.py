"""Verdicts by claim: in how many places a claim holds, and from which effect to which; no place speaks for all."""

import dataclasses
import functools
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from rgflow.judging.decisions import FOR_INFORMATION, is_information
from rgflow.judging.text import number_text
from rgflow.protocol import Verdict

STATUSES = ("supported", "contradicted", "mixed", "undecided", "not_run")
WORDS = {"not_run": "not run"}
"""How a status reads where it differs from its name."""

ALL_READINGS, ALL_SETTINGS = "all readings", "all settings"
"""How the place of a verdict begins that speaks for all readings of a place (by the typical one), or all settings."""

MANY_VERDICTS = 30
"""Beyond this a list of verdicts is not read; a row for each claim is."""

Counts = Mapping[str, int]


def claim_name(verdict: Verdict) -> str:
    """Returns the claim without its place: ``S1-i`` of ``S1-i [window, length 7]``."""
    return verdict.claim.partition(" [")[0]


def place(verdict: Verdict) -> str:
    """Returns where in the sweep a verdict was read: the bracketed part of its claim, or 'all runs'."""
    match = re.search(r" \[(.*)\]$", verdict.claim)
    return match.group(1) if match else "all runs"


def sums_up(verdict: Verdict) -> bool:
    """Tells whether a verdict is the sum of many others: readings, or settings."""
    return place(verdict).startswith((ALL_READINGS, ALL_SETTINGS))


def status_text(status: str) -> str:
    """Returns a status in words."""
    return WORDS.get(status, status)


def readings(verdict: Verdict) -> dict[str, int]:
    """Returns how many readings (or settings) a verdict on all of them found in every status."""
    found = {status: verdict.controls.get(status, {}).get("value") for status in STATUSES}
    return {status: int(value) for status, value in found.items() if value is not None}


def effect_text(verdict: Verdict) -> str:
    """Returns the effect of a verdict with its interval; of a sum that has no effect, nothing.

    >>> effect_text(Verdict("A", "It falls.", "supported", -0.5, -0.6, -0.4, "below 0", 8, 0, {}))
    '-0.50 [-0.60, -0.40]'
    """
    return number_text(verdict.measured, verdict.low, verdict.high)


def counts_text(counts: Counts, of: str = "") -> str:
    """Returns counts in words, statuses without any left out.

    Example:
        >>> counts_text({"supported": 2, "contradicted": 0, "undecided": 3}, "places")
        '2 supported, 3 undecided of 5 places'
    """
    said = ", ".join(f"{counts[s]} {status_text(s)}" for s in STATUSES if counts.get(s))
    return f"{said or 'none'} of {sum(counts.values())} {of}" if of else said or "none"


def answer(counts: Counts, of: str = "places") -> str:
    """Returns what a distribution of verdicts amounts to, in words; the friendliest place never speaks for the rest.

    ``of`` is what is counted, in the plural.

    Example:
        >>> answer({"supported": 2, "undecided": 3}), answer({"contradicted": 4}), answer({"not_run": 1})
        ('holds in some places, open in the others', 'contradicted everywhere', 'not run')
    """
    yes, no, unclear, mixed = (counts.get(s, 0) for s in ("supported", "contradicted", "undecided", "mixed"))
    if not yes + no + unclear + mixed:
        return "not run"
    if mixed:
        return f"depends on the reading in {mixed} of {yes + no + unclear + mixed} {of}"
    if yes and no:
        return f"holds in some {of}, fails in others" + (", open in the rest" if unclear else "")
    if yes:
        return f"holds in some {of}, open in the others" if unclear else f"holds in all {of} that were judged"
    if no:
        return "holds nowhere: contradicted or open" if unclear else "contradicted everywhere"
    return "open everywhere"


def common_sentences(texts: Sequence[str]) -> str:
    """Returns the sentences that all texts begin with; where there is none, the different texts one after the other.

    Example:
        >>> common_sentences(["It falls. Measured: a.", "It falls. Measured: b."])
        'It falls.'
    """
    split = [re.split(r"(?<=\.) (?=[A-Z])", text) for text in texts]
    shared = []
    for sentences in zip(*split, strict=False):
        if len(set(sentences)) > 1:
            break
        shared.append(sentences[0])
    return " ".join(shared) or " ".join(dict.fromkeys(texts))


@dataclasses.dataclass(frozen=True)
class Judged:
    """A claim with its verdicts: those on places in the main reading, and those on all readings or all settings."""

    name: str
    places: tuple[Verdict, ...]
    summed: tuple[Verdict, ...] = ()

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Every verdict, sums first."""
        return self.summed + self.places

    @property
    def anchor(self) -> str:
        """The id of the claim in a page."""
        return "claim-" + re.sub(r"\W+", "-", self.name)

    @functools.cached_property
    def _asked(self) -> list[Verdict]:
        return [v for v in self.verdicts if v.status != "not_run"] or list(self.verdicts)

    @property
    def statement(self) -> str:
        """What is claimed; a sentence about single places is left to them."""
        return common_sentences([v.statement for v in self._asked])

    @property
    def expected(self) -> str:
        """What would support the claim at a place."""
        return next(iter(v.expected for v in self._asked if not sums_up(v)), self._asked[0].expected)

    @functools.cached_property
    def counts(self) -> dict[str, int]:
        """How many places have which status; of a claim that has sums alone, the sums."""
        found = Counter(v.status for v in self.places or self.summed)
        return {status: found[status] for status in STATUSES if found[status]}

    @property
    def status(self) -> str:
        """The status of all places, ``mixed`` where they differ."""
        return next(iter(self.counts)) if len(self.counts) == 1 else "mixed"

    @property
    def extremes(self) -> tuple[Verdict, Verdict] | None:
        """The places with the smallest and the largest effect; None where no place has a number."""
        found = [v for v in self.places or self.summed if v.measured is not None and v.measured == v.measured]
        if not found:
            return None
        return min(found, key=lambda v: v.measured or 0.0), max(found, key=lambda v: v.measured or 0.0)

    @property
    def distribution(self) -> Counts:
        """The counts of places that answer the claim: by the typical reading where there is one, else as judged."""
        found = Counter(v.status for v in self._typical)
        return {status: found[status] for status in STATUSES if found[status]} or self.counts

    @property
    def _typical(self) -> list[Verdict]:
        return [v for v in self.summed if place(v).startswith(ALL_READINGS) and v.measured is not None]

    @property
    def of(self) -> str:
        """What :attr:`distribution` counts."""
        return "places, by the typical reading" if self._typical else "places"

    @property
    def failed(self) -> dict[str, int]:
        """How many places each control failed in, the most frequent first."""
        found = Counter(n for v in self.places for n, control in v.controls.items() if not control["passed"])
        return dict(found.most_common())

    @property
    def has_controls(self) -> bool:
        """Whether any place has a control; numbers for information are none."""
        return any(not is_information(control) for v in self.places for control in v.controls.values())

    def beside(self, name: str) -> str:
        """Returns a number for information at every place that has it, in words; '' where none has."""
        found = [(place(v), v.controls[name]) for v in self.places if name in v.controls]
        if not found:
            return ""
        values = "; ".join(f"{number_text(control['value'])} ({where})" for where, control in found)
        return f"{found[0][1]['requirement'].removesuffix(FOR_INFORMATION)}: {values}"


def by_claim(verdicts: Sequence[Verdict]) -> list[Judged]:
    """Groups verdicts by claim, in their order."""
    grouped: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        grouped.setdefault(claim_name(verdict), []).append(verdict)
    return [
        Judged(name, tuple(v for v in found if not sums_up(v)), tuple(filter(sums_up, found)))
        for name, found in grouped.items()
    ]
