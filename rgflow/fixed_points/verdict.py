r"""Claims of this room, from the labelled dataset alone.

* S2 [data, task, gauge, scheme]: at the optimum the characteristic parameters of the feature layer are those of the
  fixed point of a renormalization scheme. One verdict per reading, and over all readings of a scheme.
* S2-flow: training is renormalization: after l layers the ring coupling is that of the data after l exact steps.
* S2-gauge: the optimum determines the couplings of the features. Linear features $f B$, with $B^{-1}$ in the weights
  behind them, have the same loss: whatever differs between them is a choice of the one who reads. That it fails is
  algebra; what is measured is by how much.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr

from rgflow.exact.block_moments import SCHEMES
from rgflow.fixed_points.controls import COUPLING_MARGIN, KURTOSIS_MARGIN, at_optimum, premises
from rgflow.fixed_points.readings import ERROR_RATE, Reading, overall, readings, within
from rgflow.fixed_points.select import Network, Points, coarse_data, networks, of_features
from rgflow.judging.claim import make_verdict, not_run
from rgflow.judging.decisions import Status, control, information, one_sided
from rgflow.judging.intervals import Interval, t_interval
from rgflow.protocol import Verdict

STATEMENT = "At the optimum the features have the parameters of the RG fixed point of their data."
FLOW_STATEMENT = "After l layers the coupling is that of the data after l exact RG steps."
GAUGE_STATEMENT = "The optimum determines the couplings of the features."
FLOW_SHARE = 0.2
"""Share of the exact coupling by which a layer's may differ, if that is more than ``COUPLING_MARGIN``."""

SAME_LOSS = 1e-3
"""Relative change of the loss along an orbit that counts as rounding."""


def reading_name(reading: Reading) -> str:
    """Returns the name of a reading's claim."""
    network = reading.network
    return f"S2 [{network.data}, {network.task}, {network.setting}; {reading.gauge}, {reading.scheme}]"


def of_reading(reading: Reading) -> Verdict:
    """Returns the verdict on one reading; measured is what is farthest beyond its margin."""
    expected = (
        f"ring coupling within {COUPLING_MARGIN} of 0 and kurtosis within {KURTOSIS_MARGIN} of the fixed point at "
        "every coupling of the data (Holm over all readings)"
    )
    counts = (reading.runs, reading.dead)
    measured = {"coupling": "ring coupling", "kurtosis": "excess kurtosis less that of the fixed point"}[
        reading.farthest
    ]
    texts = (f"{STATEMENT} Measured: {measured} at data coupling {reading.data_coupling:g}.", expected)
    return make_verdict(reading_name(reading), texts, reading.interval, reading.status, counts, reading.controls)


def summary(found: Sequence[Reading], scheme: str) -> Verdict:
    """Returns the verdict over all readings of a scheme; ``measured`` is the share of them that support the claim."""
    mine = [reading for reading in found if reading.scheme == scheme]
    statuses = [reading.status for reading in mine]
    share = statuses.count("supported") / len(mine)
    tally = {s: information(statuses.count(s), "readings") for s in ("supported", "contradicted", "undecided")}
    expected = f"supported in every one of {len(mine)} readings, with {ERROR_RATE:.0%} for any error among all (Holm)"
    each = {reading.network: (reading.runs, reading.dead) for reading in mine}.values()
    counts = (sum(runs for runs, _ in each), sum(dead for _, dead in each))
    interval = Interval(share, np.nan, np.nan, len(mine))
    return make_verdict(
        f"S2 [all readings, {scheme}]", (STATEMENT, expected), interval, overall(statuses), counts, tally
    )


FlowPart = tuple[int, float, np.ndarray, np.ndarray, float]
"""Layer, coupling of the data, the ring coupling of the data there and the layer's distance from it per run, margin."""


def flow_parts(points: Points, others: Points, network: Network, scheme: str) -> Iterator[FlowPart]:
    """Yields what S2-flow compares.

    The data after as many exact steps are measured as the layers are, by their signs, on as many samples and in runs of
    their own; run by run the two are independent.
    """
    features = {"gauge": "standardised", "estimator": "pseudo_likelihood"}
    data = {"scheme": scheme, "estimator": "pseudo_likelihood"}
    for coupling in (c for c in points if c in others):
        for layer in range(1, network.halvings + 1):
            mine = points[coupling].live["ring_coupling"].sel({**features, "layer": layer}).isel(step=-1)
            exact = (
                others[coupling].live["flow_coupling"].reindex(layer=[layer]).sel({**data, "layer": layer}).isel(step=0)
            )
            runs = min(mine.sizes["run"], exact.sizes["run"])
            if runs and not np.isnan(exact.values).all():
                after_steps = np.asarray(exact.values, np.float64)[:runs]
                distance = np.asarray(mine.values, np.float64)[:runs] - after_steps
                margin = max(COUPLING_MARGIN, FLOW_SHARE * abs(float(after_steps.mean())))
                yield layer, coupling, after_steps, distance, margin


def of_flow(points: Points, others: Points, network: Network, scheme: str) -> Verdict:
    """Returns the verdict on S2-flow; measured is the distance where it is largest beside its margin."""
    name = f"S2-flow [{network.data}, {network.task}, {network.setting}; {scheme}]"
    parts = list(flow_parts(points, others, network, scheme))
    if not parts:
        return not_run(name, FLOW_STATEMENT, "needs the study compressions")
    # The optimum is the premise: a layer elsewhere says nothing against the claim.
    deciding = [part for part in parts if at_optimum(points[part[1]])]
    inside = bool(np.max([within(part[3], part[4])[0] for part in parts]) < ERROR_RATE)
    against = [p for part in deciding if np.isfinite(p := within(part[3], part[4])[1])]
    status: Status = "undecided"
    if inside and len(deciding) == len(points) * network.halvings:
        status = "supported"
    elif against and min(against) * len(against) < ERROR_RATE:
        status = "contradicted"
    layer, coupling, after_steps, distance, margin = max(
        deciding or parts, key=lambda part: abs(np.mean(part[3])) / part[4]
    )
    controls = {
        **premises(points),
        "layer": information(layer, "where the distance is largest beside its margin"),
        "data_coupling": information(coupling, "where the distance is largest beside its margin"),
        "exact": information(float(np.mean(after_steps)), "coupling of the data after as many exact steps"),
        "margin": information(margin, "allowed distance there"),
    }
    expected = f"every layer within {FLOW_SHARE:.0%} (or {COUPLING_MARGIN}) of the exact flow at every coupling"
    interval = t_interval(distance, 1 - ERROR_RATE / len(parts))
    counts = (sum(c.runs for c in points.values()), sum(c.dead for c in points.values()))
    return make_verdict(name, (FLOW_STATEMENT, expected), interval, status, counts, controls)


def of_gauge(points: Points, network: Network) -> Verdict:
    """Returns the verdict on S2-gauge from linear networks; measured is the spread of the coupling along the orbit."""
    spreads, changes = [], []
    for cell in points.values():
        others = np.asarray(
            cell.live["orbit_coupling"].sel(estimator=network.estimator).isel(step=-1).values, np.float64
        )
        # As they were trained (B = 1) the features are on the orbit too.
        mine = of_features(cell, "ring_coupling", network, "standardised")
        orbit = np.concatenate([others, mine[:, None]], axis=1)
        losses, loss = cell.live["orbit_loss"].isel(step=-1), cell.live["loss"].isel(step=-1)
        spreads += np.ptp(orbit, axis=1).tolist()
        changes += np.asarray(abs(losses - loss).max("orbit") / loss, np.float64).tolist()
    change = float(np.max(changes, initial=0.0)) if changes else float("nan")
    controls = {"same_loss": control(change, f"loss along the orbit the same to {SAME_LOSS:g}", change < SAME_LOSS)}
    interval = t_interval(spreads)
    status = one_sided(interval, COUPLING_MARGIN, "below", controls)
    counts = (sum(c.runs for c in points.values()), sum(c.dead for c in points.values()))
    expected = f"ring coupling the same to {COUPLING_MARGIN} for all of f B with the same loss"
    name = f"S2-gauge [{network.data}, {network.task}, {network.setting}]"
    return make_verdict(name, (GAUGE_STATEMENT, expected), interval, status, counts, controls)


def verdict(dataset: xr.Dataset, config: Any) -> list[Verdict]:
    """Returns the verdicts: over all readings first, then the flow, the gauge, and every reading by itself."""
    del config
    found = readings(dataset)
    if not found:
        return [
            not_run("S2", STATEMENT, "needs trained networks: the study tasks"),
            not_run("S2-flow", FLOW_STATEMENT, "needs trained networks: the study tasks"),
            not_run("S2-gauge", GAUGE_STATEMENT, "needs networks with activation identity: the study activations"),
        ]
    trained = networks(dataset)
    flows = [
        of_flow(points, coarse_data(dataset, network), network, scheme)
        for network, points in trained.items()
        for scheme in SCHEMES
    ]
    linear = [(network, points) for network, points in trained.items() if network.activation == "identity"]
    gauges = [of_gauge(points, network) for network, points in linear]
    if not gauges:
        why = "needs networks with activation identity: the study activations"
        gauges = [not_run("S2-gauge", GAUGE_STATEMENT, why)]
    summaries = [summary(found, scheme) for scheme in SCHEMES]
    return [*summaries, *gauges, *flows, *map(of_reading, found)]
