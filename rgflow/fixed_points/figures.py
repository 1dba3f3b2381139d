"""Figures of this room, each from the studies of a sweep that it needs.

The order of kinds of data and of tasks, their names and colours are the same in all of them. Where one coupling of the
data must be chosen it is the one at which most networks were trained.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from rgflow.exact.block_moments import SCHEMES
from rgflow.fixed_points import figures_features
from rgflow.fixed_points.claims import FLOW_SHARE, SAME_LOSS, flow_parts, orbits, place_of
from rgflow.fixed_points.controls import COUPLING_MARGIN, KURTOSIS_MARGIN
from rgflow.fixed_points.figures_features import COLOURS, MARKERS, NAMES, SCHEME_NAMES, data_name, ordered
from rgflow.fixed_points.probe import ESTIMATORS
from rgflow.fixed_points.readings import JUDGED_GAUGES, readings
from rgflow.fixed_points.select import Network, Overview, Points, coarse_data, of_features, overview
from rgflow.judging.intervals import Interval
from rgflow.judging.points import Point
from rgflow.judging.readings import ERROR_RATE
from rgflow.judging.text import number_text
from rgflow.plots import matrix, style
from rgflow.plots.figure import Figure, about_runs
from rgflow.plots.panel import Guide, Panel, Series, by_place
from rgflow.probes.gauges import GAUGES
from rgflow.protocol import Results, Verdict

PREMISE = "A loss that still moves, or a network that learned nothing, decides nothing: the readings say which."
SYMBOLS = {"coupling": "J", "kurtosis": "\u03ba"}
MOST_ROWS = 60
"""Networks on one page of readings; beyond it every kind of data has a page of its own."""

AT_ZERO = Guide(f"fixed point \u00b1 {COUPLING_MARGIN:g}", y=0.0, within=COUPLING_MARGIN)
SMALL = 1.9
"""Height in inches of a panel that stands in a row of five."""


def figures(results: Results, verdicts: Sequence[Verdict]) -> list[Figure]:
    """Returns every figure that the studies of a sweep allow; none of an empty one."""
    if not results.dataset.sizes["run"]:
        return []
    makers = (all_readings, flow, other_settings, figures_features.figures, gauges, gauge_orbits, training)
    return [figure for make in makers for figure in make(results, verdicts)]


def effect_text(value: float) -> str:
    """Returns an effect in the few letters that a square has room for.

    >>> effect_text(0.314), effect_text(-141.2), effect_text(2e6)
    ('+0.31', '-141', '+2e6')
    """
    if abs(value) < 10:
        return f"{value:+.2g}"
    if abs(value) < 1e4:
        return f"{value:+.0f}"
    digits, _, power = f"{value:+.0e}".partition("e")
    return f"{digits}e{int(power)}"


def _square(verdict: Verdict, symbol: str = "", **numbers: Any) -> matrix.Square:
    """Returns the square of a verdict: its sign and its effect, and all its numbers for the table."""
    said = [
        matrix.STATUSES[verdict.status][1],
        symbol,
        "" if verdict.measured is None else effect_text(verdict.measured),
    ]
    ends = {"claim": verdict.claim, "mean": verdict.measured, "low": verdict.low, "high": verdict.high}
    failed = " ".join(name for name, control in verdict.controls.items() if not control["passed"])
    runs = {"failed_controls": failed, "runs": verdict.n_runs, "dead": verdict.n_dead}
    return matrix.Square(" ".join(filter(None, said)), status=verdict.status, numbers={**ends, **numbers, **runs})


def _squares(results: Results, verdicts: Sequence[Verdict], networks: Iterable[Network]) -> dict[Any, matrix.Square]:
    """Returns the squares of every verdict on some networks, by network and column."""
    judged = {verdict.claim: verdict for verdict in verdicts if verdict.status != "not_run"}
    found = {}
    for reading in results.once(readings):
        network, column = reading.network, (f"S2: fixed point of {SCHEME_NAMES[reading.scheme]}", reading.gauge)
        verdict = judged[f"S2 [{place_of(network, reading.gauge, reading.scheme)}]"]
        numbers = {"coupling": reading.data_coupling, "p_value": reading.p_value, "adjusted": reading.adjusted}
        found[network, column] = _square(verdict, SYMBOLS[reading.farthest], **numbers)
    for network in networks:
        names = {("S2-flow", SCHEME_NAMES[s]): f"S2-flow [{place_of(network, s)}]" for s in SCHEMES}
        names["S2-gauge", "orbit"] = f"S2-gauge [{place_of(network)}]"
        found |= {(network, column): _square(judged[name]) for column, name in names.items() if name in judged}
    return found


def all_readings(results: Results, verdicts: Sequence[Verdict]) -> list[Figure]:
    """Returns every verdict on every network as one square; every kind of data has a page where one is too long."""
    seen = results.once(overview)
    networks = ordered(seen.trained)
    squares = _squares(results, verdicts, networks)
    if len(networks) <= MOST_ROWS:
        return [_page("fixed_points_readings", networks, squares, seen)] if networks else []
    pages: dict[str, list[Network]] = {}
    for network in networks:
        pages.setdefault(network.data, []).append(network)
    return [_page(f"fixed_points_readings_{data}", mine, squares, seen) for data, mine in pages.items()]


def _page(name: str, networks: Sequence[Network], squares: dict[Any, matrix.Square], seen: Overview) -> Figure:
    main = next(iter(seen.main)).setting
    names = {network: _row_name(network, main) for network in networks}
    mine = {(names[n], column): square for (n, column), square in squares.items() if n in names}
    columns = [(f"S2: fixed point of {SCHEME_NAMES[s]}", gauge) for s in SCHEMES for gauge in JUDGED_GAUGES]
    more = [*(("S2-flow", SCHEME_NAMES[s]) for s in SCHEMES), ("S2-gauge", "orbit")]
    across = [*columns, *(column for column in more if any(column == known for _, known in mine))]
    statuses = [square.status for square in mine.values()]
    counts = ", ".join(f"{statuses.count(s)} {s}" for s in matrix.STATUSES if s != "undefined")
    return Figure(
        name=name, wide=True,
        caption=(
            "Every verdict of the sweep. Rows are networks, columns what they are compared with: the fixed point of a "
            "scheme, in a gauge of the features (S2); the data after as many exact steps as a layer's number "
            "(S2-flow); the other members of the gauge orbit (S2-gauge). The number is the verdict's effect, where it "
            f"is largest beside its margin. J: ring coupling, margin {COUPLING_MARGIN:g}; \u03ba: excess kurtosis less "
            f"that of the fixed point, margin {KURTOSIS_MARGIN:g}. The readings of S2 share one error rate of "
            f"{ERROR_RATE:.0%} (Holm). Which control failed stands in the table."
        ),
        falsified_by={
            "S2": "one contradicted square, as a statement about every network, gauge and scheme",
            "S2-flow": "a contradicted square in the column of that scheme",
            "S2-gauge": "a contradicted square in the last column",
        },
        panels=[matrix.Matrix(
            f"{counts}; {main} unless another stands in the row", list(names.values()), across, mine,
            said=f"{counts} of {len(statuses)} verdicts",
        )],
    )  # fmt: skip


def _row_name(network: Network, main: str) -> tuple[str, str]:
    """Returns the data and the rest of a row's name; the main setting is not repeated."""
    more = [] if network.setting == main else [network.setting]
    return f"{network.data}:", ", ".join([NAMES[network.task], *more])


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
    floors = [np.abs(read("floor_ring_coupling", layer, -1)).max(initial=0.0) for layer in layers]
    floor = [Interval(0.0, -size, size, point.runs - point.dead) for size in floors]
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


def _in_a_row(panels: Sequence[Panel]) -> int:
    """Returns how many panels of networks stand in a row: one for each task, at least three."""
    return min(5, max(3, len(panels)))


def flow(results: Results, verdicts: Sequence[Verdict]) -> list[Figure]:
    """Returns the flow in the networks of the main setting; none without any."""
    seen, panels = results.once(overview), []
    for network in ordered(seen.main):
        points = seen.main[network]
        series = [one for coupling, point in points.items() for one in _layers(point, network, coupling, coupling)]
        series += _exact_flow(results, network, points, {coupling: coupling for coupling in points})
        panels.append(Panel(f"{data_name(network.data)}\n{NAMES[network.task]}", series, height=SMALL))
    if not panels:
        return []
    return [Figure(
        name="fixed_points_flow", columns=_in_a_row(panels), group="$K$ = {:g}", panels=panels, **FLOW_AXES,
        caption=(
            f"{FLOW_CAPTION} Colours are couplings K of the data. Networks: {next(iter(seen.main)).setting}. "
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
    if not panels:
        return []
    names = [Network("", "", *setting).setting for setting in settings]
    return [Figure(
        name="fixed_points_flow_settings", group="{}", colours={**style.colours_of(names), "": style.INK}, **FLOW_AXES,
        caption=f"{FLOW_CAPTION} Colours are settings of the network, at one coupling of the data each. "
        f"{about_runs(results.dataset)}",
        panels=panels,
    )]  # fmt: skip


def gauges(results: Results, verdicts: Sequence[Verdict]) -> list[Figure]:
    """Returns the features of the main networks in every gauge, by both estimators; none without a live network."""
    seen, panels = results.once(overview), []
    shown: dict[str, list[tuple[Network, float, Point]]] = {}
    for network in ordered(seen.main):
        if found := seen.at_reference(network):
            shown.setdefault(network.data, []).append((network, *found))
    for data, networks in shown.items():
        judge, coupling = networks[0][0].estimator, networks[0][1]
        for estimator in ESTIMATORS:
            series = [
                Series(network.task, "measured", GAUGES, by_place([
                    of_features(point, "ring_coupling", network, gauge, estimator=estimator) for gauge in GAUGES
                ]))
                for network, _, point in networks
            ]  # fmt: skip
            how = f"{estimator.replace('_', ' ')}{' (judged)' if estimator == judge else ''}"
            panels.append(Panel(f"{data_name(data)}, $K$ = {coupling:g}: {how}", series, [AT_ZERO], height=SMALL))
    if not panels:
        return []
    return [Figure(
        name="fixed_points_gauges", y="ring coupling", scale=COUPLING_MARGIN, columns=2, share_y="row", group=NAMES,
        colours=COLOURS, markers=MARKERS, called={"measured": "mean over runs"}, panels=panels,
        caption=(
            f"Ring coupling of the same trained features ({next(iter(seen.main)).setting}) in four gauges, by two "
            "estimators. Whitened and principal features have no linear correlation by construction: to be in the grey "
            f"band there is no success of training. {about_runs(results.dataset)}"
        ),
        falsified_by={"S2": "a gauge in which the same features lie outside the grey band"},
    )]  # fmt: skip


def gauge_orbits(results: Results, verdicts: Sequence[Verdict]) -> list[Figure]:
    """Returns the orbits of linear networks, run by run; none without a live linear network."""
    seen, panels = results.once(overview), []
    judged = {verdict.claim: verdict for verdict in verdicts}
    linear = [network for network in ordered(seen.trained) if f"S2-gauge [{place_of(network)}]" in judged]
    for network in linear:
        found, verdict = seen.at_reference(network), judged[f"S2-gauge [{place_of(network)}]"]
        if not found:
            continue
        coupling, members = found[0], orbits(network, seen.trained[network])[found[0]]
        runs = list(range(1, len(members) + 1))
        # Every member is a series of its own, in which each run stands alone.
        series = [Series("moved", "measured", runs, column[None]) for column in members.T[:-1]]
        series.append(Series("trained", "measured", runs, members.T[-1:]))
        spread = number_text(verdict.measured, verdict.low, verdict.high)
        title = f"{data_name(network.data)}, $K$ = {coupling:g}, {NAMES[network.task]}\nspread {spread}"
        panels.append(Panel(title, series, [AT_ZERO], height=2.3))
    if not panels:
        return []
    return [Figure(
        name="fixed_points_orbits", x="run", y="ring coupling", scale=COUPLING_MARGIN, x_scale="whole", panels=panels,
        group={"moved": "$f B$ of one run, random $B$", "trained": "as trained"},
        colours={"moved": style.PURPLE, "trained": style.INK}, markers={"moved": "o", "trained": "_"},
        caption=(
            "Ring coupling of linear features f B, standardised, for random invertible B with the inverse of B in the "
            f"weights behind them: the network is the same function, and its loss the same to {SAME_LOSS:g}. Above: "
            f"the spread along the orbit as the verdict has it, over all couplings of the data. "
            f"{about_runs(results.dataset)}"
        ),
        falsified_by={"S2-gauge": f"dots of one run that spread by more than {COUPLING_MARGIN:g} at the same loss"},
    )]  # fmt: skip


def training(results: Results, verdicts: Sequence[Verdict]) -> list[Figure]:
    """Returns the coupling of the features and the loss of the main networks over training."""
    seen, couplings, losses = results.once(overview), [], []
    for network in ordered(seen.main):
        moved, lost = [], []
        for coupling, point in seen.main[network].items():
            steps = point.live["step"].values
            read = lambda name: of_features(point, name, network, when=slice(None))  # noqa: B023, E731
            optimum = read("relative_optimum")
            moved.append(Series(coupling, "trained", steps, read("ring_coupling")))
            lost.append(Series(coupling, "trained", steps, read("relative_loss")))
            # A least loss of 0 has no place on a logarithmic axis.
            lost.append(Series(coupling, "exact", steps, np.where(optimum > 0, optimum, np.nan)))
        title = f"{data_name(network.data)}\n{NAMES[network.task]}"
        couplings.append(Panel(title, moved, [AT_ZERO], height=SMALL))
        losses.append(Panel(title, lost, height=SMALL))
    if not any(series.found for panel in couplings for series in panel.series):
        return []
    setting, about = next(iter(seen.main)).setting, about_runs(results.dataset)
    axes: dict[str, Any] = {"x": "training step", "x_scale": "step", "group": "$K$ = {:g}"}
    axes["columns"] = _in_a_row(couplings)
    return [
        Figure(
            name="fixed_points_training", y="ring coupling", scale=COUPLING_MARGIN, panels=couplings, **axes,
            caption=f"Ring coupling of the features over training; step 0 is untrained. Networks: {setting}. {about}",
            falsified_by={"S2": f"couplings that settle outside the grey band while the loss settles. {PREMISE}"},
        ),
        Figure(
            name="fixed_points_loss", y="relative loss", scale="log", panels=losses, **axes,
            called={"exact": "least possible loss"},
            caption=(
                "Loss on fresh samples over that of the best constant answer; dotted where the least possible loss is "
                f"known and not 0. Networks: {setting}. {about}"
            ),
            purpose="It shows where the networks are at their optimum, the premise of S2 and S2-flow.",
        ),
    ]  # fmt: skip
