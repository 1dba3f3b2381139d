"""The clock of the benchmarks: contenders in turn, ratios within a round, what makes a row unclear or void."""

import json
import math
import os
import pathlib

import pytest

from launch import bench
from launch.benchmarks import counts, rounds, tables
from launch.benchmarks.cases import Case, Contender, Outcome, Peer, Sample
from launch.command_line import UsageError

HERE = __name__
# Where a worker finds this file.
PATHS = {"PYTHONPATH": os.pathsep.join([str(pathlib.Path(__file__).parent), os.environ.get("PYTHONPATH", "")])}


def make_counter(start=0.0, fails_at=None):
    """A contender that answers with the number of its repetitions so far."""
    seen = {"calls": start}

    def repeat():
        seen["calls"] += 1
        if seen["calls"] == fails_at:
            raise RuntimeError("out of steam")
        return Outcome(2.0, seen["calls"])

    return repeat


def make_quitter():
    raise SystemExit(3)


def case(tolerance=None, limit=None, peers=1, target=2.0):
    found = tuple(Peer(Contender(f"peer {k}", "a:b", packages=("numpy",)), target) for k in range(peers))
    return Case("suite", "name", "step", Contender("rgflow", "a:b"), found, tolerance, limit)


def samples(*costs, answer=1.0, work=4.0):
    return [Sample(cost * work, 0.0, work, answer) for cost in costs]


def test_ratios_are_taken_within_a_round():
    """A machine that turns ten times slower in two rounds changes no ratio."""
    ours, theirs = samples(1, 1, 10, 10, 1), samples(3, 3, 30, 30, 3)
    (row,) = rounds.rows(case(), [ours, theirs])
    assert (row.measured, row.low, row.high) == pytest.approx((3, 3, 3)) and row.status == "met"
    assert row.seconds == 1 and row.rounds == 5


@pytest.mark.parametrize(("peer_costs", "status"), [((1, 1, 1, 1, 1.5), "missed"), ((1, 2, 3, 3, 3), "unclear")])
def test_an_interval_around_the_target_decides_nothing(peer_costs, status):
    assert rounds.rows(case(), [samples(1, 1, 1, 1, 1), samples(*peer_costs)])[0].status == status


def test_too_few_rounds_decide_nothing():
    (row,) = rounds.rows(case(), [samples(1, 1), samples(9, 9)])
    assert row.status == "few rounds" and math.isnan(row.low)


def test_a_peer_with_another_answer_makes_the_row_void():
    ours, theirs = samples(1, 1, 1, 1, 1, answer=0.5), samples(9, 9, 9, 9, 9, answer=0.8)
    assert rounds.rows(case(tolerance=0.2), [ours, theirs])[0].status == "DISAGREE"
    assert rounds.rows(case(tolerance=0.4), [ours, theirs])[0].status == "met"
    wrong = samples(9, 9, 9, 9, 9, answer=math.nan)
    assert rounds.rows(case(tolerance=0.4), [ours, wrong])[0].status == "DISAGREE"


def test_without_a_peer_seconds_are_held_against_the_limit():
    for limit, status in ((2.0, "met"), (0.5, "missed"), (None, "")):
        (row,) = rounds.rows(case(limit=limit, peers=0), [samples(1, 1, 1, 1, 1)])
        assert row.status == status and row.measured == 1 and row.peer == ""


def test_intervals_hold_the_median_often_enough():
    """An order statistic of n values lies beyond the median with the binomial tail: 6.25 % for the extremes of five."""
    for n in range(5, 30):
        _, low, high = rounds.median_interval(range(n))
        assert sum(math.comb(n, j) for j in range(int(low) + 1)) * 2 / 2**n <= 0.1
        assert low + high == n - 1
    assert math.isnan(rounds.median_interval(range(4))[1])


def test_workers_take_turns_and_end():
    told = []
    counters = [
        Contender(name, f"{HERE}:make_counter", {"start": start}, (), PATHS) for name, start in (("a", 0), ("b", 100))
    ]
    first, second = rounds.measure(counters, 3, told.append)
    # The first call of each is part of its preparation.
    assert [s.answer for s in first] == [2, 3, 4] and [s.answer for s in second] == [102, 103, 104]
    assert all(s.seconds >= 0 and s.work == 2 for s in first)
    assert told == ["preparing", "round 1 of 3", "round 2 of 3", "round 3 of 3"]


@pytest.mark.parametrize(
    ("make", "arguments", "words"),
    [
        pytest.param("make_counter", {"fails_at": 3}, ["out of steam", "RuntimeError"], marks=pytest.mark.slow),
        ("make_quitter", {}, ["ended with code 3"]),
        pytest.param("no_such_function", {}, ["no_such_function"], marks=pytest.mark.slow),
    ],
)
def test_a_contender_that_breaks_is_named(make, arguments, words):
    with pytest.raises(rounds.ContenderFailed) as caught:
        rounds.measure([Contender("poor", f"{HERE}:{make}", arguments, (), PATHS)], 3)
    assert all(word in str(caught.value) for word in ["poor", *words])


def test_results_are_kept_after_each_case(tmp_path):
    results = tables.Results(tables.hardware([case()]), "python -m launch.bench")
    assert results.sound and "numpy" in results.machine["versions"]
    results.rows += rounds.rows(case(), [samples(1, 1, 1, 1, 1), samples(9, 9, 9, 9, 9, answer=math.nan)])
    results.counts.append(counts.Count("something", "3", "3", True))
    results.save(tmp_path / "found.json")
    kept = json.loads((tmp_path / "found.json").read_text(), parse_constant=pytest.fail)
    assert kept["rows"][0]["measured"] == 9 and kept["counts"][0]["passed"] is True
    text = (tmp_path / "found.md").read_text()
    assert "| suite | name | peer 0 | 9 x | 9 - 9 | >= 2 | met | 1 s per step |" in text and "| something |" in text


def test_only_broken_contenders_and_wrong_counts_fail_a_benchmark():
    results = tables.Results({}, "")
    results.rows += rounds.rows(case(), [samples(1, 1, 1, 1, 1), samples(0.1, 0.1, 0.1, 0.1, 0.1)])
    assert results.rows[0].status == "missed" and results.sound
    broken = tables.Results({}, "", rows=[rounds.failed(case(), "no reason")])
    wrong = tables.Results({}, "", counts=[counts.Count("x", "1", "0", False)])
    assert not broken.sound and not wrong.sound


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--suite=isng"], ["--suite", "isng", "ising"]),
        (["--rounds=0"], ["--rounds", "at least 1"]),
        (["--out=/no/such/folder/x.json"], ["--out", "exists"]),
        (["--out=x.txt"], ["--out", ".json"]),
    ],
)
def test_bad_usage_is_one_line(flags, words):
    with pytest.raises(UsageError) as caught:
        bench.main(["bench", *flags])
    assert all(word in str(caught.value) for word in words) and "\n" not in str(caught.value)


def test_missing_peers_are_named_before_anything_is_timed():
    absent = Peer(Contender("nobody", "a:b", packages=("no-such-package",)), 1.0)
    with pytest.raises(UsageError, match=r"no-such-package.*bench"):
        bench.check_packages([Case("s", "n", "u", Contender("rgflow", "a:b"), (absent,))])


@pytest.mark.parametrize("suite", bench.SUITES)
def test_every_suite_describes_its_cases(suite):
    for tiny in (True, False):
        for one in bench.cases_of(suite, tiny, peers=True):
            assert one.suite == suite and (one.peers or one.limit is not None)
            for contender in (one.ours, *(peer.contender for peer in one.peers)):
                json.dumps(dict(contender.arguments))
            assert all(peer.target > 0 for peer in one.peers)
    assert all(not one.peers or one.internal for one in bench.cases_of(suite, True, peers=False))


def test_powers_are_fitted_and_communication_is_found():
    assert counts.power((8, 16, 32), [n**1.5 for n in (8, 16, 32)]) == pytest.approx(1.5)
    text = "%a = (f32[2,3]{1,0}, s8[5]{0}) all-gather-start(%b)\n  ROOT %c = u32[] collective-permute(%d)"
    assert counts.collective_bytes(text) == 24 + 5 + 4
