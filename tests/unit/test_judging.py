"""Points of a dataset, controls, and decisions that every room shares."""

import numpy as np
import pytest
import xarray as xr

from rgflow.judging.claim import Finding, judge, known, lacking
from rgflow.judging.convergence import Estimate
from rgflow.judging.decisions import INTERVAL_SIGMA, control, equivalent, information, interval_of, one_sided, passed
from rgflow.judging.intervals import Interval
from rgflow.judging.points import average, counts, split_points
from rgflow.protocol import Claim, Results

NAN = float("nan")
FAILED = {"gap": control(2.0, "below 1", False), "runs": information(3, "runs")}


def runs(**more):
    """Six runs of two systems and two widths, one of them dead; ``loss`` is 10 x run + step."""
    steps = np.array([0, 5, 10])
    return xr.Dataset(
        {
            "loss": (("run", "step"), 10.0 * np.arange(6)[:, None] + steps[None, :]),
            "entropy": ("run", np.arange(6.0)),
            "died_at": ("run", [-1, -1, 7, -1, -1, -1]),
            **more,
        },
        {
            "step": steps,
            "system": ("run", ["ring", "torus", "ring", "ring", "torus", "ring"]),
            "width": ("run", [8, 8, 4, 8, 8, 4]),
            "seed": ("run", [0, 0, 0, 1, 1, 1]),
        },
    )


def test_cells_are_the_points_in_their_order_without_the_dead():
    found = list(split_points(runs(), system="ring"))
    assert [cell.values for cell in found] == [{"system": "ring", "width": 8}, {"system": "ring", "width": 4}]
    assert [(cell.runs, cell.dead) for cell in found] == [(2, 0), (2, 1)]
    assert found[0].last("loss").tolist() == [10.0, 40.0] and found[0].first("loss").tolist() == [0.0, 30.0]
    assert found[1].last("loss").tolist() == [60.0]
    assert found[1].last("entropy").tolist() == [5.0]  # known before the run: no steps


def test_cells_by_several_values_by_none_and_by_a_missing_coordinate():
    assert [cell.runs for cell in split_points(runs(), system="ring", width=4)] == [2]
    assert [cell.runs for cell in split_points(runs())] == [2, 2, 2]
    assert not list(split_points(runs(), system="chain"))
    assert not list(split_points(runs(), lattice="ring"))


def test_cells_end_at_the_last_step_of_their_point():
    short = runs(steps=("run", [5, 10, 5, 5, 10, 5]))
    assert {cell.values["system"]: cell.live["step"].values.tolist() for cell in split_points(short)} == {
        "ring": [0, 5],
        "torus": [0, 5, 10],
    }


def test_a_point_without_live_runs_is_still_a_point():
    (cell,) = split_points(runs().isel(run=[2]), system="ring")
    assert (cell.runs, cell.dead, cell.last("loss").size) == (1, 1, 0)
    assert np.isnan(average(cell.last("loss")))


def test_average_leaves_out_what_is_no_number():
    assert average(np.array([[1.0, NAN], [np.inf, 4.0]])) == 2.5
    assert np.isnan(average(np.array([NAN])))


def test_controls_are_plain_data():
    assert control(np.int64(2), "below 1", np.bool_(False)) == {"value": 2.0, "requirement": "below 1", "passed": False}
    assert type(control(np.float32(2), "below 1", np.bool_(False))["passed"]) is bool
    assert information(NAN, "rate")["passed"]
    assert passed({}) and passed({"rate": information(1, "rate")}) and not passed(FAILED)


def test_interval_of_an_estimate():
    found = interval_of(Estimate(1.0, 0.5, 1.0, 100.0), 3)
    assert found == Interval(1.0, 1.0 - 0.5 * INTERVAL_SIGMA, 1.0 + 0.5 * INTERVAL_SIGMA, 3)
    assert pytest.approx(1.959964, abs=1e-6) == INTERVAL_SIGMA


ONE_SIDED = [
    ((0.4, 0.6), "below", "supported"),
    ((0.8, 0.9), "below", "contradicted"),
    ((0.6, 0.8), "below", "undecided"),
    ((0.8, 0.9), "above", "supported"),
    ((0.4, 0.6), "above", "contradicted"),
    ((NAN, 0.6), "below", "undecided"),
    ((0.4, NAN), "above", "undecided"),
    ((0.4, 0.7), "below", "undecided"),  # touches the bound
]


@pytest.mark.parametrize(("ends", "side", "status"), ONE_SIDED)
def test_one_sided(ends, side, status):
    assert one_sided(Interval(0.5, *ends, 5), 0.7, side, {}) == status
    assert one_sided(Interval(0.5, *ends, 5), 0.7, side, FAILED) == "undecided"


def test_one_sided_refuses_another_side():
    with pytest.raises(ValueError, match="side"):
        one_sided(Interval(0.5, 0.4, 0.6, 5), 0.7, "beside", FAILED)


@pytest.mark.parametrize(
    ("ends", "status"),
    [
        ((-0.05, 0.09), "supported"),
        ((0.11, 0.2), "contradicted"),
        ((-0.2, -0.11), "contradicted"),
        ((0.05, 0.2), "undecided"),
        ((-0.2, 0.2), "undecided"),
        ((0.1, 0.2), "undecided"),  # touches the margin
        ((0.2, NAN), "undecided"),
    ],
)
def test_equivalent(ends, status):
    assert equivalent(Interval(0.0, *ends, 5), 0.1, {}) == status
    assert equivalent(Interval(0.0, *ends, 5), 0.1, FAILED) == "undecided"


def claim(name, *findings):
    """A claim on which this is found, wherever it is asked."""
    return Claim(name, "ours", f"{name} falls.", "below 0", "the runs of the study 'depth'", lambda results: findings)


def test_verdicts_carry_numbers_counts_and_controls():
    found = Finding("N = 4", Interval(0.5, -np.inf, NAN, 5), "undecided", (5, 1), FAILED)
    (verdict,) = judge([claim("A", found)], Results(runs(), {}))
    assert (verdict.claim, verdict.statement, verdict.expected) == ("A [N = 4]", "A falls.", "below 0")
    assert (verdict.measured, verdict.low, verdict.high) == (0.5, None, None)
    assert (verdict.n_runs, verdict.n_dead, verdict.controls) == (5, 1, FAILED)
    assert counts(split_points(runs(), system="ring")) == (4, 1)
    peculiar = found._replace(statement="A falls at 4.", expected="below 1")
    (verdict,) = judge([claim("A", peculiar)], Results(runs(), {}))
    assert (verdict.statement, verdict.expected) == ("A falls at 4.", "below 1")


def test_verdicts_stand_in_the_order_of_the_table_and_say_what_was_not_run():
    ends = Interval(0.5, 0.4, 0.6, 5)
    both = [Finding(f"N = {n}", ends, "supported", (5, 0), {}) for n in (8, 4)]
    here = Finding("", ends, "supported", (5, 0), {})
    whole = judge(
        [claim("A"), claim("B", *both), claim("C", here), claim("D", lacking("N = 8", "needs luck"))],
        Results(runs(), {}),
    )
    assert [verdict.claim for verdict in whole] == ["A", "B [N = 8]", "B [N = 4]", "C", "D [N = 8]"]
    assert [v.status for v in whole] == ["not_run", *["supported"] * 3, "not_run"]
    assert (whole[0].statement, whole[0].expected) == ("A falls.", "needs the runs of the study 'depth'")
    assert (whole[0].measured, whole[0].n_runs, whole[4].expected) == (None, 0, "needs luck")
    assert known(whole, "B", "N = 4") == known(whole, "C") == ends
    assert np.isnan(known(whole, "B")).tolist() == [True, True, True, False]


def test_what_claims_and_figures_share_is_worked_out_once():
    asked = []

    def work(results):
        asked.append(results)
        return len(asked)

    results = Results(runs(), {"depth": 3})
    assert [results.once(work), results.once(work), Results(runs(), {}).once(work)] == [1, 1, 2]
    assert asked[0] is results and results.config["depth"] == 3
