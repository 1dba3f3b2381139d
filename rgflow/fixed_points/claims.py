r"""The claims of this room: what each says, what would support it, and how it is judged.

S2 has one verdict per reading and one over all readings of a scheme, S2-flow one per network and scheme, S2-gauge one
per linear network. All rest on components (:mod:`rgflow.judging.components`): means over runs within a margin.

* S2: :mod:`rgflow.fixed_points.readings`. Over all readings it is supported, or contradicted, where every one of them
  is, and mixed where some are supported and some contradicted.
* S2-flow: a component for every layer and coupling of the data, the coupling of the layer less that of the data after
  as many exact steps. A layer of a network that is not at its optimum says nothing against the claim, and keeps it from
  being supported.
* S2-gauge: one component over the runs at all couplings, the spread along the gauge orbit. A loss that is not the same
  along the orbit decides nothing, in either direction.

That S2-gauge fails is algebra: linear features $f B$, with $B^{-1}$ in the weights behind them,
have the same loss, so that a difference between them is a choice of the reader. The spread of the coupling is measured.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from rgflow.exact.block_moments import SCHEMES
from rgflow.fixed_points.controls import COUPLING_MARGIN, KURTOSIS_MARGIN, at_optimum, premises
from rgflow.fixed_points.readings import Reading, numbers, readings
from rgflow.fixed_points.select import Network, Points, after_steps, coarse_data, of_features, trained
from rgflow.judging.claim import NOTHING, Finding, lacking, part_of, ruled
from rgflow.judging.components import ALPHA, Component, decide_all
from rgflow.judging.decisions import Status, control, information
from rgflow.judging.points import average, counts
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
            statement=f"{FEATURES} Measured: {measured}.", components=_parts(reading.components, reading.status),
        )  # fmt: skip


def _parts(components: Sequence[Component], status: Status) -> tuple[dict[str, Any], ...]:
    """Returns what a verdict says of its components; one that contradicts quotes the interval of all together."""
    together = 1 - ERROR_RATE / len(components) if status == "contradicted" else 0.95
    return tuple(part_of(c, together if c.p_against() <= ALPHA else 0.95) for c in components)


def _of_all(found: Sequence[Reading], scheme: str) -> Finding:
    """Returns the finding over all readings of a scheme; how many have which status stands beside it."""
    statuses = [reading.status for reading in found]
    each = {reading.network: (reading.runs, reading.dead) for reading in found}.values()
    total = (sum(runs for runs, _ in each), sum(dead for _, dead in each))
    rule = f"supported in every one of {len(found)} readings, with {ERROR_RATE:.0%} for any error among all (Holm)"
    named = tally(statuses, ("supported", "contradicted", "undecided"))
    return Finding(f"all readings, {scheme}", NOTHING, overall(statuses), total, named, expected=rule)


class FlowPart(NamedTuple):
    """What S2-flow compares: a layer with the data after as many exact steps, at one coupling of the data.

    ``after_steps`` is the ring coupling of the data there, per run; ``distance`` that of the layer less it.
    """

    layer: int
    coupling: float
    after_steps: Float[np.ndarray, " _"]
    distance: Component


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
            found, lost = numbers(mine, points[coupling].dead)
            known, missing = numbers(exact, others[coupling].dead)
            if mine.size and known.size:
                name = f"layer {layer} at data coupling {coupling:g}, less the data after as many exact steps"
                margin = max(COUPLING_MARGIN, FLOW_SHARE * abs(float(known.mean())))
                groups, dead = (found, known), (lost, missing)
                yield FlowPart(layer, coupling, exact, Component(name, groups, "within", margin, (1.0, -1.0), dead))


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
    status = decide_all([part.distance for part in deciding]).status
    if status == "supported" and len(deciding) < len(points) * network.halvings:
        status = "undecided"
    worst = max(deciding or parts, key=lambda part: abs(part.distance.found.mean) / part.distance.bound)
    where = "where the distance is largest beside its margin"
    controls = {
        **premises(points),
        "layer": information(worst.layer, where),
        "data_coupling": information(worst.coupling, where),
        "exact": information(average(worst.after_steps), "coupling of the data after as many exact steps"),
        "margin": information(worst.distance.bound, "allowed distance there"),
    }
    interval = worst.distance.interval(1 - ERROR_RATE / len(parts))
    said = _parts([part.distance for part in parts], status)
    return Finding(place, interval, status, counts(points.values()), controls, components=said)


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
        runs = counts(points.values())
        known, lost = numbers(spreads, runs[1])
        name = "spread of the ring coupling along the orbit"
        part = Component(name, (known,), "below", COUPLING_MARGIN, dead=(lost,))
        yield ruled(place_of(network), (part,), runs, controls)


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
