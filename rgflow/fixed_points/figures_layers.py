"""Features layer by layer and step by step: the flow of the coupling, and how it and the loss settle in training.

Every panel is one network; colours are couplings of the data, or settings of the network at one coupling.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from rgflow.exact.block_moments import SCHEMES
from rgflow.fixed_points.claims import FLOW_SHARE, flow_parts
from rgflow.fixed_points.controls import COUPLING_MARGIN
from rgflow.fixed_points.figures_features import AT_ZERO, NAMES, SCHEME_NAMES, data_name, ordered
from rgflow.fixed_points.select import Network, Overview, Points, coarse_data, of_features, overview
from rgflow.judging.intervals import Interval
from rgflow.judging.points import Point
from rgflow.plots import style
from rgflow.plots.figure import Figure, about_runs
from rgflow.plots.panel import Panel, Series, by_place
from rgflow.protocol import Results, Verdict

PREMISE = "A loss that still moves, or a network that learned nothing, decides nothing: the readings say which."
SMALL = 1.9
"""Height in inches of a panel that stands in a row of five."""


def _layers(point: Point, network: Network, coupling: float, group: Any) -> list[Series]:
    """Returns the ring coupling of every layer by its signs, trained and untrained, and of independent columns.

    Layer 0 is the data. Of spins the coupling is that of their signs; of fields it is not known exactly.
    """
    layers = list(range(1, network.halvings + 1))
    read = lambda name, layer, when: of_features(  # noqa: E731
        point, name, network, when=when, estimator="pseudo_likelihood", layer=layer
    )
    start = np.full(point.runs - point.dead, coupling if network.data == "ising" else np.nan)
    after = by_place([start, *(read("ring_coupling", layer, -1) for layer in layers)])
    before = by_place([read("ring_coupling", layer, 0) for layer in layers])
    floors = [np.abs(read("floor_ring_coupling", layer, -1)).max(initial=-np.inf) for layer in layers]
    floor = [Interval(0.0 if size >= 0 else np.nan, -size, size, point.runs - point.dead) for size in floors]
    return [
        Series(group, "noise floor", layers, intervals=floor),
        Series(group, "trained", [0, *layers], after),
        Series(group, "measured, untrained", layers, before),
    ]


def _exact_flow(results: Results, network: Network, points: Points, groups: Mapping[float, Any]) -> list[Series]:
    """Returns the coupling of the data after as many exact steps as a layer's number, for every scheme."""
    others, found = coarse_data(results.dataset, network), []
    for scheme in SCHEMES:
        parts = list(flow_parts(points, others, network, scheme))
        for coupling, group in groups.items():
            mine = [part for part in parts if part.coupling == coupling]
            values = by_place([part.after_steps for part in mine])
            found.append(Series(group, f"exact flow, {SCHEME_NAMES[scheme]}", [part.layer for part in mine], values))
    return found


FLOW_CAPTION = (
    "Ring coupling after every layer, against that of the data after as many exact steps, both by the signs about the "
    "median and on as many samples. Layer 0 is the data (spins only). Grey: what the estimator finds in independent "
    f"columns. Linear scale within {COUPLING_MARGIN:g} of 0, logarithmic beyond."
)
FLOW_FALSIFIED = {
    "S2-flow": f"a trained line that leaves the exact flow of its own colour by more than {FLOW_SHARE:.0%} (or "
    f"{COUPLING_MARGIN:g}) at any layer, where the loss has settled"
}


FLOW_AXES: dict[str, Any] = {
    "x": "layer", "y": "ring coupling", "scale": COUPLING_MARGIN, "x_scale": "whole", "falsified_by": FLOW_FALSIFIED,
}  # fmt: skip


def _by_rows(found: Iterable[Network]) -> list[Network]:
    """Returns networks so that data with several tasks have rows of their own and the others share theirs."""
    networks = ordered(found)
    tasks = Counter(network.data for network in networks)
    return sorted(networks, key=lambda network: tasks[network.data] == 1)


def _ranks(seen: Overview, network: Network) -> tuple[dict[float, int], str]:
    """Returns the ranks of the couplings of a network's data, by which they are coloured, and the title of a panel."""
    couplings = sorted({k for n, points in seen.trained.items() if n.data == network.data for k in points})
    listed = ", ".join(f"{k:g}" for k in couplings)
    title = f"{data_name(network.data)}\n{NAMES[network.task]}\n$K$ = {listed}"
    return {coupling: rank for rank, coupling in enumerate(couplings, 1)}, title


RANK = "K{}"
RANKS = "Colours are couplings K of the data, K1 the smallest of those above the panel."


def _any_number(panels: Sequence[Panel]) -> bool:
    """Returns whether anything is drawn: without a live run nothing is."""
    return any(series.found for panel in panels for series in panel.series)


def _in_a_row(panels: Sequence[Panel]) -> int:
    """Returns how many panels of networks stand in a row: one for each task, at least three."""
    return min(5, max(3, len(panels)))


def flow(results: Results, verdicts: Sequence[Verdict]) -> list[Figure]:
    """Returns the flow in the networks of the main setting; none without any."""
    seen, panels = results.once(overview), []
    for network in _by_rows(seen.main):
        points, (ranks, title) = seen.main[network], _ranks(seen, network)
        series = [
            one for coupling, point in points.items() for one in _layers(point, network, coupling, ranks[coupling])
        ]
        series += _exact_flow(results, network, points, {coupling: ranks[coupling] for coupling in points})
        panels.append(Panel(title, series, height=SMALL))
    if not _any_number(panels):
        return []
    return [Figure(
        name="fixed_points_flow", columns=_in_a_row(panels), group=RANK, panels=panels, **FLOW_AXES,
        caption=(
            f"{FLOW_CAPTION} {RANKS} Networks: {next(iter(seen.main)).setting}. "
            f"{about_runs(results.dataset)}"
        ),
    )]  # fmt: skip


def other_settings(results: Results, verdicts: Sequence[Verdict]) -> list[Figure]:
    """Returns the flow in networks of other depths, activations and penalties beside the main one."""
    seen, panels = results.once(overview), []
    shown: dict[tuple[str, str], list[Network]] = {}
    for network in ordered(seen.trained):
        shown.setdefault((network.data, network.task), []).append(network)
    settings = [seen.setting, *sorted({network[2:] for network in seen.trained} - {seen.setting})]
    for (data, task), networks in shown.items():
        if {network[2:] for network in networks} <= {seen.setting}:
            continue
        coupling, series = seen.reference(data), []
        for network in (n for n in networks if coupling in seen.trained[n]):
            series += _layers(seen.trained[network][coupling], network, coupling, network.setting)
        deepest = max(networks, key=lambda network: network.halvings)
        series += _exact_flow(results, deepest, seen.trained[deepest], {coupling: ""})
        panels.append(Panel(f"{data_name(data)}, $K$ = {coupling:g}\n{NAMES[task]}", series))
    if not _any_number(panels):
        return []
    names = [Network("", "", *setting).setting for setting in settings]
    return [Figure(
        name="fixed_points_flow_settings", group="{}", colours={**style.colours_of(names), "": style.INK}, **FLOW_AXES,
        caption=f"{FLOW_CAPTION} Colours are settings of the network, at one coupling of the data each. "
        f"{about_runs(results.dataset)}",
        panels=panels,
    )]  # fmt: skip


def training(results: Results, verdicts: Sequence[Verdict]) -> list[Figure]:
    """Returns the coupling of the features and the loss of the main networks over training."""
    seen, couplings, losses = results.once(overview), [], []
    for network in _by_rows(seen.main):
        moved, lost, (ranks, title) = [], [], _ranks(seen, network)
        for coupling, point in seen.main[network].items():
            steps = point.live["step"].values
            read = lambda name: of_features(point, name, network, when=slice(None))  # noqa: B023, E731
            optimum = read("relative_optimum")
            moved.append(Series(ranks[coupling], "trained", steps, read("ring_coupling")))
            lost.append(Series(ranks[coupling], "trained", steps, read("relative_loss")))
            # A least loss of 0 has no place on a logarithmic axis.
            lost.append(Series(ranks[coupling], "exact", steps, np.where(optimum > 0, optimum, np.nan)))
        couplings.append(Panel(title, moved, [AT_ZERO], height=SMALL))
        losses.append(Panel(title, lost, height=SMALL))
    if not _any_number(couplings):
        return []
    setting, about = next(iter(seen.main)).setting, about_runs(results.dataset)
    axes: dict[str, Any] = {"x": "training step", "x_scale": "step", "group": RANK}
    axes["columns"] = _in_a_row(couplings)
    return [
        Figure(
            name="fixed_points_training", y="ring coupling", scale=COUPLING_MARGIN, panels=couplings, **axes,
            caption=f"Ring coupling of the features over training; step 0 is untrained. {RANKS} Networks: {setting}. "
            f"{about}",
            falsified_by={"S2": f"couplings that settle outside the grey band while the loss settles. {PREMISE}"},
        ),
        Figure(
            name="fixed_points_loss", y="relative loss", scale="log", panels=losses, **axes,
            called={"exact": "least possible loss"},
            caption=(
                "Loss on fresh samples over that of the best constant answer; dotted where the least possible loss is "
                f"known and not 0. {RANKS} Networks: {setting}. {about}"
            ),
            purpose="It shows where the networks are at their optimum, the premise of S2 and S2-flow.",
        ),
    ]  # fmt: skip
