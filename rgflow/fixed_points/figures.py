"""Figures of this room, each from the studies of a sweep that it needs.

The order of kinds of data and of tasks, their names and colours are the same in all of them. Where one coupling of the
data must be chosen it is the one at which most networks were trained.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from rgflow.exact.block_moments import SCHEMES
from rgflow.fixed_points import figures_features, figures_layers
from rgflow.fixed_points.claims import SAME_LOSS, orbits, place_of
from rgflow.fixed_points.controls import COUPLING_MARGIN, KURTOSIS_MARGIN
from rgflow.fixed_points.figures_features import AT_ZERO, COLOURS, MARKERS, NAMES, SCHEME_NAMES, data_name, ordered
from rgflow.fixed_points.probe import ESTIMATORS
from rgflow.fixed_points.readings import JUDGED_GAUGES, readings
from rgflow.fixed_points.select import Network, Overview, Setting, of_features, overview
from rgflow.judging.points import Point
from rgflow.judging.readings import ERROR_RATE
from rgflow.judging.text import number_text
from rgflow.plots import matrix, style
from rgflow.plots.figure import Figure, about_runs
from rgflow.plots.panel import Panel, Series, by_place
from rgflow.probes.gauges import GAUGES
from rgflow.protocol import Results, Verdict

SYMBOLS, DIFFERENCE = {"coupling": "J", "kurtosis": "\u03ba"}, "\u0394J"
ESTIMATOR_NAMES = {"score_matching": "score matching", "pseudo_likelihood": "pseudo-likelihood of signs"}
MOST_ROWS = 60
"""Networks on one page of readings; beyond it every kind of data has a page of its own."""


def figures(results: Results, verdicts: Sequence[Verdict]) -> list[Figure]:
    """Returns every figure that the studies of a sweep allow; none of an empty one."""
    if not results.dataset.sizes["run"]:
        return []
    flows, compared = (figures_layers.flow, figures_layers.other_settings), figures_features.figures
    makers = (all_readings, *flows, compared, gauges, gauge_orbits, figures_layers.training)
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
        found |= {
            (network, column): _square(judged[name], DIFFERENCE) for column, name in names.items() if name in judged
        }
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
    names = {network: _row_name(network, seen.setting) for network in networks}
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
            f"that of the fixed point, margin {KURTOSIS_MARGIN:g}; \u0394J: ring coupling less that of the data, or "
            "its spread along the orbit. The readings of S2 share one error rate of "
            f"{ERROR_RATE:.0%} (Holm), of which fewer than eight runs may spend a sixteenth. Which control failed "
            "stands in the table."
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


def _row_name(network: Network, main: Setting) -> tuple[str, str]:
    """Returns the data, and task and what of the setting differs from the main one."""
    activation, halvings, decay = network[2:]
    more = [activation] if activation != main[0] else []
    more += [f"{halvings} halvings"] if halvings != main[1] else []
    more += [f"decay {decay:g}"] if decay != main[2] else []
    return f"{network.data}:", ", ".join([NAMES[network.task], *more])


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
            how = f"{ESTIMATOR_NAMES[estimator]}{' (judged)' if estimator == judge else ''}"
            panels.append(Panel(f"{data_name(data)}, $K$ = {coupling:g}: {how}", series, [AT_ZERO], height=1.9))
    if not panels:
        return []
    return [Figure(
        name="fixed_points_gauges", y="ring coupling", scale=COUPLING_MARGIN, columns=2, share_y="row", group=NAMES,
        colours=COLOURS, markers=MARKERS, called={"measured": ""}, panels=panels,
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
        colours={"moved": style.PURPLE, "trained": style.INK}, markers={"moved": "o", "trained": "D"},
        called={"measured": ""},
        caption=(
            "Ring coupling of linear features f B, standardised, for random invertible B with the inverse of B in the "
            f"weights behind them: the network is the same function, and its loss the same to {SAME_LOSS:g}. Above: "
            "the spread along the orbit as the verdict has it, over all couplings of the data. Dead runs are left out."
        ),
        falsified_by={"S2-gauge": f"dots of one run that spread by more than {COUPLING_MARGIN:g} at the same loss"},
    )]  # fmt: skip
