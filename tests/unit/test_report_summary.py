"""Verdicts by claim: counts, extremes, answers; and what the terminal shows of many of them."""

import dataclasses
import io
import pathlib

import pytest
from rich.console import Console

from launch import report, terminal
from rgflow.protocol import Verdict
from rgflow.report import summary

INFORMATION = {"requirement": "readings (for information)", "passed": True}


def verdict(place, status="supported", measured=1.0, failed=(), **fields):
    claim = f"S9 [{place}]" if place else "S9"
    controls = {name: {"value": 0.0, "requirement": "none", "passed": False} for name in failed}
    base = Verdict(claim, "It falls.", status, measured, measured, measured, "below 0", 3, 0, controls)
    return dataclasses.replace(base, **fields)


def readings(place="all readings", **counts):
    controls = {status: {"value": float(count), **INFORMATION} for status, count in counts.items()}
    return verdict(place, "undecided", 0.2, controls=controls, expected="everywhere")


def one(*verdicts):
    claim, *rest = summary.by_claim(verdicts)
    assert not rest
    return claim


def test_a_claim_counts_its_places_and_not_its_sums():
    claim = one(readings(supported=19, contradicted=3), verdict("a"), verdict("b", "undecided"), verdict("c"))
    assert claim.counts == {"supported": 2, "undecided": 1}
    assert claim.status == "mixed" and one(verdict("a"), verdict("b")).status == "supported"
    assert [summary.place(v) for v in claim.summed] == ["all readings"]
    assert len(claim.verdicts) == 4 and claim.expected == "below 0"


def test_the_typical_reading_answers_a_claim_where_there_is_one():
    """Nineteen of 112 readings would measure the number of runs: a place counts once, by its typical reading."""
    claim = one(verdict("a"), readings("all readings, a", supported=19, contradicted=3, undecided=90, undefined=16))
    assert (claim.distribution, claim.of) == ({"undecided": 1}, "places, by the typical reading")
    settings = one(readings("all readings, a", supported=2), readings("all settings, a", contradicted=3))
    assert [summary.place(v) for v in settings.summed] == ["all readings, a", "all settings, a"]
    assert settings.distribution == {"undecided": 1}
    without = dataclasses.replace(readings("all readings, x", contradicted=4), measured=None)
    assert (one(verdict("a"), without).distribution, one(verdict("a"), without).of) == ({"supported": 1}, "places")
    assert (one(verdict("a")).distribution, one(verdict("a")).of) == ({"supported": 1}, "places")


def test_extremes_are_places_with_numbers():
    claim = one(verdict("a", measured=2.0), verdict("b", measured=-1.0), verdict("c", measured=None),
                verdict("d", measured=float("nan")), readings(supported=1))  # fmt: skip
    assert [summary.place(v) for v in claim.extremes] == ["b", "a"]
    assert one(verdict("c", "not_run", None)).extremes is None
    assert one(verdict("a", measured=0.0), verdict("b", measured=-2.0)).extremes[1].measured == 0.0


def test_failed_controls_are_counted_the_most_frequent_first():
    claim = one(verdict("a", failed=("x",)), verdict("b", failed=("y", "x")), verdict("c"))
    assert list(claim.failed.items()) == [("x", 2), ("y", 1)]


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ((3, 0, 0, 0, 1), "holds in all places that were judged"),
        ((99, 0, 0, 1, 0), "holds in some places, open in the others"),
        ((99, 1, 0, 0, 0), "holds in some places, fails in others"),
        ((1, 1, 0, 1, 0), "holds in some places, fails in others, open in the rest"),
        ((3, 0, 1, 0, 0), "depends on the reading in 1 of 4 places"),
        ((0, 2, 0, 0, 0), "contradicted everywhere"),
        ((0, 2, 0, 1, 0), "holds nowhere: contradicted or open"),
        ((0, 0, 0, 2, 0), "open everywhere"),
        ((0, 0, 0, 0, 2), "not run"),
        ((0, 0, 0, 0, 0), "not run"),
    ],
)
def test_no_answer_is_that_of_the_friendliest_place(counts, text):
    assert summary.answer(dict(zip(summary.STATUSES, counts, strict=True))) == text
    assert summary.answer({"supported": 1, "undecided": 1}, "readings").startswith("holds in some readings")


def test_statements_that_differ_keep_what_they_share():
    told = [verdict(k, statement=f"It falls. Measured: {k}.") for k in "ab"]
    assert one(*told).statement == "It falls."
    other = [verdict("a", statement="Q approaches a limit."), verdict("b", statement="Q grows.")]
    assert one(*other).statement == "Q approaches a limit. Q grows."
    absent = verdict("", "not_run", statement="Needs more.", expected="needs two lengths")
    assert one(absent, verdict("a")).statement == "It falls."
    assert one(absent).expected == "needs two lengths"


def test_claims_keep_their_order_and_have_anchors():
    found = summary.by_claim([verdict("a", claim="S4-ReLU mean [x]"), verdict("b"), verdict("c", claim="S4-ReLU mean")])
    assert [(c.name, len(c.places)) for c in found] == [("S4-ReLU mean", 2), ("S9", 1)]
    assert found[0].anchor == "claim-S4-ReLU-mean"


def test_terminal_table_has_a_row_for_each_claim():
    verdicts = [verdict(k, "contradicted" if k % 2 else "undecided", k / 10, ("x", "y", "z")) for k in range(40)]
    console = Console(width=120, file=io.StringIO())
    console.print(terminal.claim_table(summary.by_claim([*verdicts, verdict("[bold]", claim="S8 [bold]")])))
    text = console.file.getvalue()
    rows = [line for line in text.splitlines() if line.strip().startswith("S")]
    assert len(rows) == 2 and rows[0].split()[:6] == ["S9", "-", "20", "-", "20", "-"]
    for part in ("0 [0, 0]", "3.9 [3.9, 3.9]", "x 40, y 40", "and 1 more"):
        assert part in text


def test_many_verdicts_are_shown_by_claim_and_few_one_by_one(capsys):
    def shown(count):
        report.show([verdict(f"place {k}") for k in range(count)], "", pathlib.Path("/nowhere"))
        return capsys.readouterr().out

    assert "place 29" in shown(30)
    many = shown(31)
    assert "place 30" not in many and "31 verdicts on 1 claims" in many and "verdicts.json" in many
