"""Intervals, trends and decisions; statistical tests have fixed seeds and state their false-alarm rate."""

import doctest
import itertools
import math
import warnings

import numpy as np
import pytest

from rgflow.judging import intervals
from rgflow.judging.decisions import decide
from rgflow.judging.intervals import (
    Interval,
    kendall_tau,
    t_interval,
)

NAN = float("nan")


def test_doctests_run():
    outcome = doctest.testmod(intervals)
    assert outcome.attempted >= 3 and outcome.failed == 0


@pytest.mark.parametrize("size", [4, 8, 32])
def test_coverage_is_nominal(size):
    # Tolerance: 4 standard errors of 4000 samples.
    samples = np.random.default_rng(size).normal(size=(4000, size))
    found = [t_interval(sample) for sample in samples]
    covered = np.mean([interval.low <= 0 <= interval.high for interval in found])
    assert covered == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / 4000))


def test_an_interval_is_wider_at_a_higher_level():
    sample = np.random.default_rng(4).normal(size=10)
    narrow, wide = t_interval(sample, level=0.5), t_interval(sample, level=0.95)
    assert wide.low < narrow.low < narrow.mean < narrow.high < wide.high


def test_dead_runs_are_dropped():
    sample = np.random.default_rng(5).normal(size=6)
    mixed = np.concatenate([sample[:3], [NAN], sample[3:], [np.inf]])
    assert t_interval(mixed) == t_interval(sample)
    assert t_interval(mixed).n == 6


@pytest.mark.parametrize(("values", "n", "mean"), [([], 0, NAN), ([NAN, NAN], 0, NAN), ([2.0, NAN], 1, 2.0)])
def test_too_few_runs_give_nan_ends_quietly(values, n, mean):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        interval = t_interval(values)
    assert interval.n == n
    assert interval.mean == pytest.approx(mean, nan_ok=True)
    assert np.isnan([interval.low, interval.high]).all()


def test_kendall_tau():
    assert kendall_tau([5.0, 4.0, 3.0, 2.0]) == pytest.approx(-1)
    assert kendall_tau(np.array([1, 2, 3])) == pytest.approx(1)
    assert kendall_tau([1.0, 3.0, 2.0]) == pytest.approx(1 / 3)
    for undefined in ([], [1.0], [2.0, 2.0, 2.0], [1.0, NAN, 0.0]):
        assert math.isnan(kendall_tau(undefined))


BELOW, ACROSS, ABOVE = (0.1, 0.2), (0.4, 0.6), (0.8, 0.9)
TABLE = {
    ("below", BELOW): ("supported", "undecided"),
    ("below", ACROSS): ("undecided", "undecided"),
    ("below", ABOVE): ("contradicted", "contradicted"),
    ("above", BELOW): ("contradicted", "contradicted"),
    ("above", ACROSS): ("undecided", "undecided"),
    ("above", ABOVE): ("supported", "undecided"),
}


@pytest.mark.parametrize(("side", "ends"), TABLE)
def test_decision_truth_table(side, ends):
    interval = Interval(sum(ends) / 2, *ends, 8)
    passed, failed = TABLE[side, ends]
    assert decide(interval, 0.5, side, {}) == passed
    assert decide(interval, 0.5, side, {"untrained": True, "shuffled": np.bool_(True)}) == passed
    assert decide(interval, 0.5, side, {"untrained": True, "shuffled": False}) == failed
    assert decide(interval, NAN, side, {}) == "undecided"


@pytest.mark.parametrize("side", ["below", "above"])
def test_touching_or_undefined_intervals_decide_nothing(side):
    for low, high in ((0.5, 0.7), (0.3, 0.5), (0.5, 0.5)):
        assert decide(Interval(0.5, low, high, 8), 0.5, side, {}) == "undecided"
    for low, high in itertools.product((NAN, 0.1, 0.9), repeat=2):
        if math.isnan(low) or math.isnan(high):
            assert decide(Interval(0.5, low, high, 1), 0.5, side, {}) == "undecided"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: t_interval([1.0, 2.0], level=1.5), ["level", "1.5", "between 0 and 1"]),
        (lambda: decide(Interval(0.0, 0.0, 0.0, 2), 0.0, "near", {}), ["side", "'near'", "below, above"]),
    ],
)
def test_errors_name_key_value_and_what_is_allowed(call, words):
    with pytest.raises(ValueError, match="allowed") as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words)
