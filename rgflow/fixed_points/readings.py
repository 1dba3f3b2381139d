"""Every reading of the claim: data x task x network x gauge x renormalization scheme, with one error rate.

The theorem says that at the optimum the features have the parameters of a fixed point, whatever the coupling of the
data. A reading is at the fixed point of a scheme if, at every coupling, the ring coupling of its features is 0 within
``COUPLING_MARGIN`` and their excess kurtosis that of the fixed point within ``KURTOSIS_MARGIN``. Each of these numbers
is a component (:mod:`rgflow.judging.components`): all must be shown to lie within their margins for support, one that
is shown to lie beyond contradicts (Bonferroni over the components). Components are taken at the couplings where the
network is at its optimum, and nothing is supported unless that is all of them. Where runs show no noise, or are fewer
than three, nothing is decided. The two-sided p-values of all readings are adjusted together by Holm's method, so that
the chance of any wrong decision in the table stays below 5 %; of fewer than eight runs a reading may spend a sixteenth
of that. A failed control keeps a reading from being supported; it does not excuse a contradiction.

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
from rgflow.judging.components import Component, decide_all, weight_of
from rgflow.judging.decisions import Control, Status, information, passed
from rgflow.judging.intervals import Interval
from rgflow.judging.points import counts
from rgflow.judging.readings import ERROR_RATE, holm, two_sided
from rgflow.probes.gauges import GAUGES
from rgflow.protocol import Results

JUDGED_GAUGES = GAUGES[1:]


class Reading(NamedTuple):
    """One point of the table.

    ``interval`` is that of the ring coupling, or of the excess kurtosis less that of the fixed point, where it is
    largest in units of its margin: ``farthest`` says which of the two, ``data_coupling`` where. It holds for all
    ``components`` together.
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
    components: tuple[Component, ...]


class Part(NamedTuple):
    """What is measured, the coupling of the data, and the distance from the fixed point beside its margin."""

    what: str
    coupling: float
    component: Component


def distances(points: Points, network: Network, gauge: str, scheme: str) -> Iterator[Part]:
    """Yields the parts that decide a reading: couplings and, where they are judged, kurtoses, at each data coupling."""
    for coupling, point in points.items():
        moved = of_features(point, "ring_coupling", network, gauge)
        name = f"ring coupling at data coupling {coupling:g}"
        yield Part("coupling", coupling, within(name, moved, COUPLING_MARGIN, point.dead))
        if network.data == "ising" and scheme == "decimation":
            continue
        apart = of_features(point, "excess_kurtosis", network, gauge)
        apart = apart - point.last("fixed_kurtosis")[:, SCHEMES.index(scheme)]
        name = f"kurtosis less that of the fixed point at data coupling {coupling:g}"
        yield Part("kurtosis", coupling, within(name, apart, KURTOSIS_MARGIN, point.dead))


def numbers(values: Float[np.ndarray, " _"], dead: int) -> tuple[Float[np.ndarray, " _"], int]:
    """Returns the numbers of live runs that have one, and how many runs have none: live ones without it and dead ones.

    Where no run has a number there is none to set the lost ones beside, and none is counted.

    >>> numbers(np.array([0.1, np.nan, 0.2]), 1)
    (array([0.1, 0.2]), 2)
    """
    known = values[np.isfinite(values)]
    return known, dead + values.size - known.size if known.size else 0


def within(name: str, values: Float[np.ndarray, " _"], margin: float, dead: int = 0) -> Component:
    """Returns the component "the mean over runs lies within the margin"."""
    known, lost = numbers(values, dead)
    return Component(name, (known,), "within", margin, dead=(lost,))


def mean_of(values: Float[np.ndarray, " _"]) -> float:
    """Returns the mean over runs, NaN for none."""
    return float(np.mean(values)) if len(values) else float("nan")


def farthest(parts: Iterable[Part]) -> Part:
    """Returns the part whose mean is largest in units of its margin, or any of them where no mean is a number."""
    parts = list(parts)
    known = [part for part in parts if np.isfinite(part.component.found.mean)]
    return max(known or parts, key=lambda part: abs(part.component.found.mean) / part.component.bound)


class Tested(NamedTuple):
    """A reading before it is compared with the others: p-values for support and against, and the runs behind them."""

    support: float
    contradiction: float
    runs: int
    reading: Reading


def tests_of(points: Points, others: Points, shuffled: Points, network: Network, gauge: str, scheme: str) -> Tested:
    """Returns the tests of one reading.

    ``others`` are compressions of the same data, ``shuffled`` the same network on data whose sites are shuffled apart.
    """
    parts = list(distances(points, network, gauge, scheme))
    decisive = {coupling for coupling, point in points.items() if at_optimum(point)}
    deciding = [part for part in parts if part.coupling in decisive]
    what, at, shown = farthest(deciding or parts)
    controls = {
        **premises(points),
        **trivial(points, others, network, gauge),
        **_companions(points, parts, network, gauge),
        **_beside(points, others, shuffled, network, gauge),
        "at_optimum": information(len(decisive), f"of {len(points)} couplings at which the premises hold"),
    }
    reading = Reading(
        network, gauge, scheme, what, at, shown.interval(1 - ERROR_RATE / len(parts)), np.nan, np.nan, "undecided",
        controls, *counts(points.values()), tuple(part.component for part in parts),
    )  # fmt: skip
    found = decide_all([part.component for part in deciding])
    # Elsewhere than at the optimum a claim about every coupling cannot be supported; it can be false at the others.
    support = found.p_support if len(deciding) == len(parts) or found.undefined else 1.0
    runs = min((part.component.planned for part in deciding), default=0)
    return Tested(support, found.p_contradict, runs, reading)


def _companions(points: Points, parts: Sequence[Part], network: Network, gauge: str) -> dict[str, Control]:
    """Returns other numbers on the same features."""
    moved = [part for part in parts if part.what == "coupling"]
    kurtosis = [mean_of(of_features(c, "excess_kurtosis", network, gauge)) for c in points.values()]
    other = "score_matching" if network.estimator == "pseudo_likelihood" else "pseudo_likelihood"
    place = {"layer": network.halvings, "estimator": network.estimator}
    second = [mean_of(of_features(c, "ring_coupling", network, gauge, estimator=other)) for c in points.values()]
    floor = [float(c.live["floor_ring_coupling"].sel(place).isel(step=-1).mean()) for c in points.values()]
    return {
        "coupling": information(farthest(moved).component.found.mean, "ring coupling where it is farthest from 0"),
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
    p_values = two_sided([t.support for t in tested], [t.contradiction for t in tested])
    found = []
    for t, p, q in zip(tested, p_values, holm(p_values), strict=True):
        found.append(t.reading._replace(p_value=float(p), adjusted=float(q), status=_status(t, float(q))))
    return found


def _status(tested: Tested, adjusted: float) -> Status:
    # A reading without a p-value has NaN here, which is never small.
    if not adjusted <= ERROR_RATE * weight_of(tested.runs):
        return "undecided"
    if tested.support < tested.contradiction:
        return "supported" if passed(tested.reading.controls) else "undecided"
    return "contradicted"
