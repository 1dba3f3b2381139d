"""The picture and the table of all readings of all claims, from readings made by hand."""

import pytest
from rgflow.rank_flow.robustness import DRIFT_MEASURES, Reading
from rgflow.report.rank_flow_robustness import robustness_figure, robustness_rows

from rgflow.probes.spectrum import RANK_MEASURES
from rgflow.rank_flow import probe
from rgflow.report import figures

NAN = float("nan")
SHORT, LONG = 1.0, 7.0


def readings():
    """Two mixings, two lengths, every level, centring and measure; all supported but for one row of contradictions."""
    found = []
    for claim in ("S1-i", "S1-ii", "S1-iii"):
        measures = DRIFT_MEASURES if claim == "S1-iii" else RANK_MEASURES
        for m in ("tokenwise", "window"):
            for x in (NAN,) if claim == "S1-ii" else (SHORT, LONG):
                for level in probe.LEVELS:
                    for centring in probe.CENTRINGS:
                        for k, measure in enumerate(measures):
                            status = "contradicted" if m == "window" and x == LONG else "supported"
                            status = "undefined" if level == "masked" and m == "tokenwise" else status
                            mean = NAN if status == "undefined" else -0.1 * (k + 1)
                            numbers = (mean, mean - 0.05, mean + 0.05, 8, 0.001, 0.01)
                            found.append(Reading(claim, m, x, level, centring, measure, *numbers, status))
    return found


@pytest.fixture(scope="module")
def drawn():
    with figures.style():
        one = robustness_figure(readings())
        figures.settle(one.figure)
    return one


def test_nothing_is_drawn_of_nothing():
    assert robustness_figure([]) is None
    assert robustness_rows([]) == []


def test_robustness_counts_and_marks_every_reading(drawn):
    figure = drawn.figure
    titles = [axes.get_title("left") for axes in figure.axes]
    assert titles[0] == "S1-i: 80 supported, 32 contradicted, 0 undecided of 112 readings (16 more undefined)"
    assert titles[1] == "S1-ii: 56 supported, 0 contradicted, 0 undecided of 56 readings (8 more undefined)"
    marks = [text.get_text() for text in figure.axes[0].texts]
    assert (marks.count("+"), marks.count("\u2212"), marks.count("\u00b7")) == (80, 32, 16)
    assert titles[0] in drawn.alt


def test_rows_of_the_table_have_no_nan():
    rows = robustness_rows(readings())
    assert len(rows) == len(readings())
    assert rows[0] == {
        "claim": "S1-i", "mixing": "tokenwise", "correlation_length": 1.0, "level": "position", "centring": "uncentred",
        "measure": "effective_rank", "mean": -0.1, "low": pytest.approx(-0.15), "high": pytest.approx(-0.05),
        "runs": 8.0, "p_value": 0.001, "adjusted": 0.01, "status": "supported",
    }  # fmt: skip
    assert {row["correlation_length"] for row in rows if row["claim"] == "S1-ii"} == {""}
    assert not any(value != value for row in rows for value in row.values())


def test_caption_says_how_many_comparisons_are_handled(drawn):
    assert drawn.name == "robustness"
    for part in ("Holm", "5 %", "t-test", "not its friendliest"):
        assert part in drawn.caption, part
    assert "nan" not in drawn.alt.lower()


def test_equal_readings_give_equal_files(drawn):
    with figures.style():
        again = robustness_figure(readings())
        figures.settle(again.figure)
    assert again.svg == drawn.svg
