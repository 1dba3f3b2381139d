r"""The claims of this room: what each says, what would support it, and how it is judged.

S2 has one verdict per reading and one over all readings of a scheme, S2-flow one per network and scheme, S2-gauge one
per linear network. That S2-gauge fails is algebra: linear features $f B$, with $B^{-1}$ in the weights behind them,
have the same loss, so that a difference between them is a choice of the reader. The spread of the coupling is measured.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from rgflow.exact.block_moments import SCHEMES
from rgflow.fixed_points.controls import COUPLING_MARGIN, KURTOSIS_MARGIN, at_optimum, premises
from rgflow.fixed_points.readings import Reading, readings, within
from rgflow.fixed_points.select import Network, Points, after_steps, coarse_data, of_features, trained
from rgflow.judging.claim import Finding, lacking
from rgflow.judging.decisions import Status, control, information, one_sided
from rgflow.judging.intervals import Interval, t_interval
from rgflow.judging.points import counts
from rgflow.judging.readings import ERROR_RATE, overall, tally
from rgflow.protocol import Claim, Results

FLOW_SHARE = 0.2
"""Share of the exact coupling by which a layer's may differ, if that is more than ``COUPLING_MARGIN``."""

SAME_LOSS = 1e-3
"""Relative change of the loss along an orbit that counts as rounding."""

FEATURES = "At the optimum the features have the parameters of the RG fixed point of their data."
MEASURED = {"coupling": "ring coupling", "kurtosis": "excess kurtosis less that of the fixed point"}


def place_of(network: Network, *more: str) -> str:
    """Returns the name of a network, or of a reading of it, in a verdict."""
    return "; ".join([f"{network.data}, {network.task}, {network.setting}", *([", ".join(more)] if more else [])])


def features(results: Results) -> Iterator[Finding]:
    """Yields the sum over all readings of each scheme, then every reading."""
    found = results.once(readings)
    for scheme in SCHEMES if found else ():
        yield _of_all([reading for reading in found if reading.scheme == scheme], scheme)
    for reading in found:
        measured = f"{MEASURED[reading.farthest]} at data coupling {reading.data_coupling:g}"
        place = place_of(reading.network, reading.gauge, reading.scheme)
        yield Finding(
            place, reading.interval, reading.status, (reading.runs, reading.dead), reading.controls,
            statement=f"{FEATURES} Measured: {measured}.",
        )  # fmt: skip


def _of_all(found: Sequence[Reading], scheme: str) -> Finding:
    """Returns the finding over all readings of a scheme; measured is the share of them that support the claim."""
    statuses = [reading.status for reading in found]
    share = Interval(statuses.count("supported") / len(found), np.nan, np.nan, len(found))
    each = {reading.network: (reading.runs, reading.dead) for reading in found}.values()
    total = (sum(runs for runs, _ in each), sum(dead for _, dead in each))
    rule = f"supported in every one of {len(found)} readings, with {ERROR_RATE:.0%} for any error among all (Holm)"
    named = tally(statuses, ("supported", "contradicted", "undecided"))
    return Finding(f"all readings, {scheme}", share, overall(statuses), total, named, expected=rule)


class FlowPart(NamedTuple):
    """What S2-flow compares: a layer with the data after as many exact steps, at one coupling of the data.

    ``after_steps`` is the ring coupling of the data there and ``distance`` that of the layer less it, both per run.
    """

    layer: int
    coupling: float
    after_steps: Float[np.ndarray, " _"]
    distance: Float[np.ndarray, " _"]
    margin: float


def flow_parts(points: Points, others: Points, network: Network, scheme: str) -> Iterator[FlowPart]:
    """Yields what S2-flow compares.

    The data after as many exact steps are measured as the layers are, by their signs and on as many samples, but in
    other runs, so that the two are independent.
    """
    for coupling in (c for c in points if c in others):
        for layer in range(1, network.halvings + 1):
            signs = "pseudo_likelihood"
            mine = of_features(points[coupling], "ring_coupling", network, layer=layer, estimator=signs)
            exact = after_steps(others[coupling], layer, scheme)
            runs = min(len(mine), len(exact))
            if runs and not np.isnan(exact).all():
                margin = max(COUPLING_MARGIN, FLOW_SHARE * abs(float(exact[:runs].mean())))
                yield FlowPart(layer, coupling, exact[:runs], mine[:runs] - exact[:runs], margin)


def flow(results: Results) -> Iterator[Finding]:
    """Yields one finding for every network and scheme."""
    for network, points in results.once(trained).items():
        others = coarse_data(results.dataset, network)
        for scheme in SCHEMES:
            yield _of_flow(network, points, list(flow_parts(points, others, network, scheme)), scheme)


def _of_flow(network: Network, points: Points, parts: Sequence[FlowPart], scheme: str) -> Finding:
    """Returns the finding on one flow; measured is the distance where it is largest in units of its margin."""
    place = place_of(network, scheme)
    if not parts:
        return lacking(place, "needs the study compressions")
    # The optimum is the premise: a layer elsewhere says nothing against the claim.
    deciding = [part for part in parts if at_optimum(points[part.coupling])]
    inside = bool(np.max([within(part.distance, part.margin)[0] for part in parts]) < ERROR_RATE)
    against = [p for part in deciding if np.isfinite(p := within(part.distance, part.margin)[1])]
    status: Status = "undecided"
    if inside and len(deciding) == len(points) * network.halvings:
        status = "supported"
    elif against and min(against) * len(against) < ERROR_RATE:
        status = "contradicted"
    worst = max(deciding or parts, key=lambda part: abs(np.mean(part.distance)) / part.margin)
    where = "where the distance is largest beside its margin"
    controls = {
        **premises(points),
        "layer": information(worst.layer, where),
        "data_coupling": information(worst.coupling, where),
        "exact": information(float(np.mean(worst.after_steps)), "coupling of the data after as many exact steps"),
        "margin": information(worst.margin, "allowed distance there"),
    }
    interval = t_interval(worst.distance, 1 - ERROR_RATE / len(parts))
    return Finding(place, interval, status, counts(points.values()), controls)


def orbits(network: Network, points: Points) -> dict[float, Float[np.ndarray, "runs members"]]:
    """Returns, by coupling of the data, the ring couplings along an orbit; last those of the features as trained."""
    found = {}
    for coupling, point in points.items():
        moved = point.live["orbit_coupling"].sel(estimator=network.estimator).isel(step=-1)
        # As they were trained (B = 1) the features are on the orbit too.
        mine = of_features(point, "ring_coupling", network)
        found[coupling] = np.concatenate([np.asarray(moved.values, np.float64), mine[:, None]], axis=1)
    return found


def gauge(results: Results) -> Iterator[Finding]:
    """Yields one finding for every linear network: the spread of the coupling along its gauge orbit."""
    for network, points in results.once(trained).items():
        if network.activation != "identity":
            continue
        spreads = np.concatenate([np.ptp(orbit, axis=1) for orbit in orbits(network, points).values()])
        changes = []
        for point in points.values():
            losses, loss = point.live["orbit_loss"].isel(step=-1), point.live["loss"].isel(step=-1)
            changes += np.asarray(abs(losses - loss).max("orbit") / loss, np.float64).tolist()
        change = float(np.max(changes, initial=0.0)) if changes else float("nan")
        controls = {"same_loss": control(change, f"loss along the orbit the same to {SAME_LOSS:g}", change < SAME_LOSS)}
        interval = t_interval(spreads)
        status = one_sided(interval, COUPLING_MARGIN, "below", controls)
        yield Finding(place_of(network), interval, status, counts(points.values()), controls)


CLAIMS = (
    Claim(
        "S2", "ising2022, fields2026", FEATURES,
        f"ring coupling within {COUPLING_MARGIN} of 0 and kurtosis within {KURTOSIS_MARGIN} of the fixed point at "
        "every coupling of the data (Holm over all readings)",
        "trained networks: the study tasks", features,
    ),
    Claim(
        "S2-flow", "our reading of ising2022, fields2026",
        "After l layers the coupling is that of the data after l exact RG steps.",
        f"every layer within {FLOW_SHARE:.0%} (or {COUPLING_MARGIN}) of the exact flow at every coupling",
        "trained networks: the study tasks", flow,
    ),
    Claim(
        "S2-gauge", "our question to ising2022, fields2026",
        "The optimum determines the couplings of the features.",
        f"ring coupling the same to {COUPLING_MARGIN} for all of f B with the same loss",
        "networks with activation identity: the study activations", gauge,
    ),
)  # fmt: skip
