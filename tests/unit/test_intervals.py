"""Intervals, trends and decisions; statistical tests have fixed seeds and state their false-alarm rate."""

import doctest
import itertools
import math
import warnings

import numpy as np
import pytest
from scipy import stats as scipy_stats

from rgflow.judging import intervals
from rgflow.judging.decisions import decide
from rgflow.judging.intervals import (
    Interval,
    bootstrap_interval,
    kendall_tau,
    strictly_decreasing,
)

NAN = float("nan")


def test_doctests_run():
    outcome = doctest.testmod(intervals)
    assert outcome.attempted >= 6 and outcome.failed == 0


def coverage(size, repeats, resamples):
    """Share of intervals that hold the true mean 0."""
    samples = np.random.default_rng(size).normal(size=(repeats, size))
    found = [bootstrap_interval(sample, resamples=resamples, seed=i) for i, sample in enumerate(samples)]
    return np.mean([interval.low <= 0 <= interval.high for interval in found])


@pytest.mark.parametrize(("size", "expected", "bias"), [(8, 0.95, 0.025), (32, 0.95, 0.01)])
def test_coverage_is_near_nominal(size, expected, bias):
    # Tolerance: the known small-sample bias plus 4 standard errors (false alarm 6e-5 for a correct interval).
    repeats = 1000
    noise = 4 * math.sqrt(0.95 * 0.05 / repeats)
    assert coverage(size, repeats, resamples=799) == pytest.approx(expected, abs=bias + noise)


def test_coverage_of_four_runs_is_seven_eighths():
    # The interval of 4 values is their range, which misses the median iff all lie on one side: 2 * (1/2)^4.
    repeats = 1000
    noise = 4 * math.sqrt(0.875 * 0.125 / repeats)
    assert coverage(4, repeats, resamples=2999) == pytest.approx(1 - 2**-3, abs=noise)
    sample = np.random.default_rng(0).normal(size=4)
    interval = bootstrap_interval(sample)
    assert (interval.low, interval.high) == pytest.approx((sample.min(), sample.max()))


def test_expanded_percentile_against_its_formula():
    sample = np.random.default_rng(1).normal(size=12)
    tail = scipy_stats.norm.cdf(-math.sqrt(12 / 11) * scipy_stats.t.ppf(0.975, 11))
    means = np.random.default_rng(2).choice(sample, size=(40_000, 12)).mean(axis=1)
    interval = bootstrap_interval(sample, resamples=40_000, seed=3)
    # Two independent bootstraps: the 0.8 % quantiles of 40 000 means agree within about 0.02 standard errors.
    step = 0.1 * means.std()
    assert interval.low == pytest.approx(np.quantile(means, tail), abs=step)
    assert interval.high == pytest.approx(np.quantile(means, 1 - tail), abs=step)
    plain = np.quantile(means, [0.025, 0.975])
    assert interval.low < plain[0] - step and interval.high > plain[1] + step


def test_interval_is_wider_at_a_higher_level_and_repeatable():
    sample = np.random.default_rng(4).normal(size=10)
    narrow, wide = bootstrap_interval(sample, level=0.5), bootstrap_interval(sample, level=0.95)
    assert wide.low < narrow.low < narrow.mean < narrow.high < wide.high
    assert wide == bootstrap_interval(sample, level=0.95)
    assert wide != bootstrap_interval(sample, level=0.95, seed=1)


def test_dead_runs_are_dropped():
    sample = np.random.default_rng(5).normal(size=6)
    mixed = np.concatenate([sample[:3], [NAN], sample[3:], [np.inf]])
    assert bootstrap_interval(mixed) == bootstrap_interval(sample)
    assert bootstrap_interval(mixed).n == 6


@pytest.mark.parametrize(("values", "n", "mean"), [([], 0, NAN), ([NAN, NAN], 0, NAN), ([2.0, NAN], 1, 2.0)])
def test_too_few_runs_give_nan_ends_quietly(values, n, mean):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        interval = bootstrap_interval(values)
    assert interval.n == n
    assert interval.mean == pytest.approx(mean, nan_ok=True)
    assert np.isnan([interval.low, interval.high]).all()


@pytest.mark.parametrize("size", [2, 3, 10])
def test_equal_values_give_zero_width_quietly(size):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert bootstrap_interval([0.1] * size) == Interval(0.1, 0.1, 0.1, size)


def test_kendall_tau():
    assert kendall_tau([5.0, 4.0, 3.0, 2.0]) == pytest.approx(-1)
    assert kendall_tau(np.array([1, 2, 3])) == pytest.approx(1)
    assert kendall_tau([1.0, 3.0, 2.0]) == pytest.approx(1 / 3)
    for undefined in ([], [1.0], [2.0, 2.0, 2.0], [1.0, NAN, 0.0]):
        assert math.isnan(kendall_tau(undefined))


def test_strictly_decreasing():
    assert strictly_decreasing([3.0, 2.0, 1.0])
    for rejected in ([3.0, 3.0, 1.0], [1.0, 2.0], [3.0, NAN, 1.0], [1.0], []):
        assert not strictly_decreasing(rejected)


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
        (lambda: bootstrap_interval([1.0, 2.0], level=1.5), ["level", "1.5", "between 0 and 1"]),
        (lambda: bootstrap_interval([1.0, 2.0], resamples=0), ["resamples", "0", "1 or more"]),
        (lambda: decide(Interval(0.0, 0.0, 0.0, 2), 0.0, "near", {}), ["side", "'near'", "below, above"]),
    ],
)
def test_errors_name_key_value_and_what_is_allowed(call, words):
    with pytest.raises(ValueError, match="allowed") as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words)


@pytest.mark.parametrize("alternative", ["less", "greater"])
def test_runs_at_the_bound_are_no_evidence(alternative):
    for values in ([0.0, 0.0, 0.0], [1e-9, -1e-9], [0.0, 2e-7, 1e-7]):
        assert intervals.mean_p_value(values, 0.0, alternative) == 1
    for bound in (0.1, 0.3, 1 / 3):
        # The mean of equal values is off by rounding.
        assert intervals.mean_p_value([bound] * 7, bound, alternative) == 1
    beyond = {"less": -0.1, "greater": 0.1}[alternative]
    assert intervals.mean_p_value([beyond] * 3, 0.0, alternative) == 0
    assert intervals.mean_p_value([-beyond] * 3, 0.0, alternative) == 1
