"""Every reading of the claim: data x task x network x gauge x renormalization scheme, with one error rate.

The theorem says that at the optimum the features have the parameters of a fixed point, whatever the coupling of the
data. A reading is at the fixed point of a scheme if, at every coupling, the ring coupling of its features is 0 within
``COUPLING_MARGIN`` and their excess kurtosis that of the fixed point within ``KURTOSIS_MARGIN``. Support is a pair of
one-sided t-tests for each of these numbers, all of which must pass; one number beyond its margin, at a coupling where
the network is at its optimum, contradicts (Bonferroni over the numbers). The p-values of all readings are adjusted
together by Holm's method, so that the chance of any wrong decision in the table stays below 5 %. A failed control keeps
a reading from being supported; it does not excuse a contradiction.

For the Ising model the claim is about the coupling alone: its decimation is judged without the kurtosis, because the
features of a network are not spins and cannot have the kurtosis of spins. The gauge ``raw`` is recorded and not judged:
its couplings have the units of the features, so that no margin fits all, and the signs of its features are those of
``standardised``.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from rgflow.exact.block_moments import SCHEMES
from rgflow.fixed_points.controls import (
    COUPLING_MARGIN,
    KURTOSIS_MARGIN,
    at_equal_compression,
    at_optimum,
    premises,
    trivial,
)
from rgflow.fixed_points.select import Network, Points, compressions, networks, of_features, trained
from rgflow.judging.decisions import Control, Status, information, passed
from rgflow.judging.intervals import Interval, mean_p_value, t_interval
from rgflow.judging.points import counts
from rgflow.judging.readings import ERROR_RATE, holm, two_sided
from rgflow.probes.gauges import GAUGES
from rgflow.protocol import Results

JUDGED_GAUGES = GAUGES[1:]


class Reading(NamedTuple):
    """One point of the table.

    ``interval`` is that of the ring coupling, or of the excess kurtosis less that of the fixed point, where it is
    largest in units of its margin: ``farthest`` says which of the two, ``data_coupling`` where.
    """

    network: Network
    gauge: str
    scheme: str
    farthest: str
    data_coupling: float
    interval: Interval
    p_value: float
    adjusted: float
    status: Status
    controls: Mapping[str, Control]
    runs: int
    dead: int


Part = tuple[str, float, Float[np.ndarray, " _"], float]
"""What is measured, the coupling of the data, the distance from the fixed point per run, and the margin."""


def distances(points: Points, network: Network, gauge: str, scheme: str) -> Iterator[Part]:
    """Yields the parts that decide a reading: couplings and, where they are judged, kurtoses, at each data coupling."""
    for coupling, point in points.items():
        yield "coupling", coupling, of_features(point, "ring_coupling", network, gauge), COUPLING_MARGIN
        if network.data == "ising" and scheme == "decimation":
            continue
        fixed = point.last("fixed_kurtosis")[:, SCHEMES.index(scheme)]
        yield "kurtosis", coupling, of_features(point, "excess_kurtosis", network, gauge) - fixed, KURTOSIS_MARGIN


def within(values: Float[np.ndarray, " _"], margin: float) -> tuple[float, float]:
    """Returns the p-values for "the mean lies within the margin" (two one-sided tests) and for "it lies beyond".

    >>> [round(p, 3) for p in within(np.array([0.01, 0.02, 0.0]), 0.05)]
    [0.01, 0.99]
    """
    # Where a live run has no number the mean is not known, and an unknown mean does not support anything.
    known = np.nan if np.isnan(values).any() else 0.0
    inside = max(mean_p_value(values, margin, "less"), mean_p_value(values, -margin, "greater")) + known
    beyond = min(mean_p_value(values, margin, "greater"), mean_p_value(values, -margin, "less"))
    return inside, beyond


def mean_of(values: Float[np.ndarray, " _"]) -> float:
    """Returns the mean over runs, NaN for none."""
    return float(np.mean(values)) if len(values) else float("nan")


def farthest(parts: Iterable[Part]) -> Part:
    """Returns the part whose mean is largest in units of its margin, or any of them where no mean is a number."""
    parts = list(parts)
    known = [part for part in parts if np.isfinite(mean_of(part[2]))]
    return max(known or parts, key=lambda part: abs(mean_of(part[2])) / part[3])


class Tested(NamedTuple):
    """A reading before it is compared with the others: p-values for support and against, and what may decide."""

    support: float
    contradiction: float
    reading: Reading


def tests_of(points: Points, others: Points, shuffled: Points, network: Network, gauge: str, scheme: str) -> Tested:
    """Returns the tests of one reading.

    ``others`` are compressions of the same data, ``shuffled`` the same network on data whose sites are shuffled apart.
    """
    parts = list(distances(points, network, gauge, scheme))
    inside, outside = zip(*(within(values, margin) for *_, values, margin in parts), strict=True)
    decisive = {coupling for coupling, point in points.items() if at_optimum(point)}
    beyond = [p for (_, at, *_), p in zip(parts, outside, strict=True) if at in decisive and np.isfinite(p)]
    what, at, values, _ = farthest([part for part in parts if part[1] in decisive] or parts)
    interval = t_interval(values, 1 - ERROR_RATE / len(parts))
    controls = {
        **premises(points),
        **trivial(points, others, network, gauge),
        **_companions(points, parts, network, gauge),
        **_beside(points, others, shuffled, network, gauge),
        "at_optimum": information(len(decisive), f"of {len(points)} couplings at which the premises hold"),
    }
    reading = Reading(
        network, gauge, scheme, what, at, interval, np.nan, np.nan, "undecided", controls, *counts(points.values())
    )
    against = min(1.0, min(beyond) * len(beyond)) if beyond else float("nan")
    # Not max(): it would pass over a part without a number, without which nothing can be supported.
    return Tested(float(np.max(inside)), against, reading)


def _companions(points: Points, parts: Sequence[Part], network: Network, gauge: str) -> dict[str, Control]:
    """Returns other numbers on the same features."""
    moved = [part for part in parts if part[0] == "coupling"]
    kurtosis = [mean_of(of_features(c, "excess_kurtosis", network, gauge)) for c in points.values()]
    other = "score_matching" if network.estimator == "pseudo_likelihood" else "pseudo_likelihood"
    place = {"layer": network.halvings, "estimator": network.estimator}
    second = [mean_of(of_features(c, "ring_coupling", network, gauge, estimator=other)) for c in points.values()]
    floor = [float(c.live["floor_ring_coupling"].sel(place).isel(step=-1).mean()) for c in points.values()]
    return {
        "coupling": information(mean_of(farthest(moved)[2]), "ring coupling where it is farthest from 0"),
        "kurtosis": information(largest(kurtosis), "excess kurtosis where it is farthest from 0"),
        "noise_floor": information(largest(floor), "ring coupling of independent columns"),
        "other_estimator": information(largest(second), f"ring coupling by {other}"),
    }


def _beside(points: Points, others: Points, shuffled: Points, network: Network, gauge: str) -> dict[str, Control]:
    """Returns the largest ring couplings of the data at equal compression, and of features of shuffled data."""
    found = {
        name: information(largest(at_equal_compression(points, others, network, gauge, name)), text)
        for name, text in (
            ("principal_components", "ring coupling of the M longest waves, uncorrelated by construction"),
            ("decimation", "ring coupling of as many decimated sites"),
            ("block_sum", "ring coupling of as many block sums"),
        )
    }
    apart = [mean_of(of_features(point, "ring_coupling", network, gauge)) for point in shuffled.values()]
    return {**found, "shuffled": information(largest(apart), "ring coupling of features trained on shuffled sites")}


def largest(values: Sequence[float]) -> float:
    """Returns the number farthest from 0, NaN for none.

    >>> largest([0.1, -0.3, float("nan")])
    -0.3
    """
    return max((v for v in values if np.isfinite(v)), key=abs, default=float("nan"))


def readings(results: Results) -> list[Reading]:
    """Returns every reading, decided at one error rate."""
    tested, dataset = [], results.dataset
    for network, points in results.once(trained).items():
        others, apart = compressions(dataset, network), networks(dataset, shuffle="sites").get(network, {})
        tested += [tests_of(points, others, apart, network, g, s) for g in JUDGED_GAUGES for s in SCHEMES]
    sides = np.array([(t.support, t.contradiction) for t in tested]).reshape(-1, 2)
    # A side that could not be tested says nothing: the other one may still decide.
    sides[np.isnan(sides) & ~np.isnan(sides).all(axis=1, keepdims=True)] = 1.0
    p_values = two_sided(*sides.T)
    found = []
    for t, p, q in zip(tested, p_values, holm(p_values), strict=True):
        found.append(t.reading._replace(p_value=float(p), adjusted=float(q), status=_status(t, float(q))))
    return found


def _status(tested: Tested, adjusted: float) -> Status:
    if not adjusted < ERROR_RATE:
        return "undecided"
    # fmin puts a p-value that is not a number last: nothing follows from it.
    if np.fmin(tested.support, np.inf) < np.fmin(tested.contradiction, np.inf):
        return "supported" if passed(tested.reading.controls) else "undecided"
    return "contradicted"
