"""Features against what else the same data can be compressed to: coupling, law of a single feature, dependence.

Every panel is one kind of data; trained networks stand beside what needs no training, at every coupling of the data.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rgflow.exact.block_moments import SCHEMES
from rgflow.fixed_points.controls import COUPLING_MARGIN, KURTOSIS_MARGIN, at_optimum, compressed
from rgflow.fixed_points.select import QUARTIC as QUARTIC_POWER
from rgflow.fixed_points.select import Network, Overview, Points, of_features, overview
from rgflow.fixed_points.task import COMPRESSIONS, TASKS
from rgflow.judging.intervals import Interval
from rgflow.judging.points import Point
from rgflow.plots import style
from rgflow.plots.figure import Figure, about_runs
from rgflow.plots.panel import Guide, Panel, Series, by_place
from rgflow.protocol import Results, Verdict

DATA = {
    "ising": "Ising",
    "gaussian": "Gaussian",
    "phi4": r"$\phi^4$",
    "phi6": r"$\phi^6$",
    "independent": "independent",
}
"""Names of the kinds of data, in the order in which they are shown; others follow under their own names."""

SCHEME_NAMES = {"decimation": "decimation", "block_sum": "block sums"}
SHUFFLED = ", sites shuffled"
LOOKS: Mapping[str, tuple[str, str, str]] = {
    "autoencoder": ("autoencoder", style.BLUE, "o"),
    "magnetization": ("magnetization", style.VERMILION, "s"),
    "energy": ("energy", style.GREEN, "^"),
    "block_magnetizations": ("block magnetizations", style.ORANGE, "D"),
    "classification": ("classification", style.PURPLE, "v"),
    "untrained": ("untrained", style.INK, "p"),
    "projection": ("random projection", style.SKY, "P"),
    "principal_components": ("principal components", "#7a5230", "X"),
    "decimation": ("decimated", style.GREY, "<"),
    "block_sum": ("block sums", style.GREY, ">"),
}
"""Name, colour and mark of every task, and of what needs no training."""

AT_ZERO = Guide(f"fixed point \u00b1 {COUPLING_MARGIN:g}", y=0.0, within=COUPLING_MARGIN)

NAMES = {key: name for key, (name, _, _) in LOOKS.items()}
COLOURS = {key: colour for key, (_, colour, _) in LOOKS.items()} | {"": style.INK}
COLOURS |= {f"{task}{SHUFFLED}": COLOURS[task] for task in TASKS if task in COLOURS}
MARKERS = {key: LOOKS[key][2] if key in LOOKS else "*" for key in COLOURS if key}


def data_name(data: str) -> str:
    """Returns the name of some data in a panel."""
    return DATA.get(data, data)


def ordered(found: Iterable[Network]) -> list[Network]:
    """Returns networks by data, task and setting; unknown kinds of data behind the others by the alphabet."""
    found = list(found)
    kinds = [*DATA, *sorted({network.data for network in found} - set(DATA))]
    return sorted(found, key=lambda n: (kinds.index(n.data), TASKS.index(n.task), n[2:]))


class Measure(NamedTuple):
    """What is read of features, its label, the name of its exact values, and the margin around a fixed point.

    ``linear`` is the size up to which its axis is linear, infinite for one that is linear throughout.
    """

    name: str
    label: str
    exact: str = ""
    margin: float = 0.0
    linear: float = np.inf


RING = Measure("ring_coupling", "ring coupling", "exact_coupling", linear=COUPLING_MARGIN)
KURTOSIS = Measure("excess_kurtosis", "excess kurtosis", "fixed_kurtosis", KURTOSIS_MARGIN, 2.0)
QUARTIC = Measure("onsite", r"$\theta_4$, standardised", "fixed_onsite", linear=0.3)
INFORMATION = Measure("mutual_information", "mutual information (nats)")
CORRELATION = Measure("correlation", "rms correlation")

Values = dict[float, np.ndarray]
"""One number per run at every coupling of the data."""


def _live(points: Points) -> Points:
    return {coupling: point for coupling, point in points.items() if point.runs > point.dead}


def _judge(seen: Overview, data: str) -> Network:
    """Returns a network as whose features everything about some data is read; without one, as those of smooth ones."""
    return next((n for n in ordered(seen.main) if n.data == data), Network(data, "", *seen.setting))


def _exact(point: Point, measure: Measure, judge: Network, scheme: str) -> Interval:
    """Returns what is known of some data under a scheme, with the margin around it; NaN where it is not known.

    Exact couplings are those of score matching, and of spins; in terms of the signs of fields they are not known.
    """
    place = {"scheme": scheme, "level": judge.halvings, "power": QUARTIC_POWER}
    values = point.live[measure.exact].isel(run=0)
    known = float(values.sel({dim: x for dim, x in place.items() if dim in values.dims}).values)
    if measure is RING and judge.data != "ising" and judge.estimator != "score_matching":
        known = np.nan
    return Interval(known, known - measure.margin, known + measure.margin, 0)


def _controls(seen: Overview, data: str, measure: Measure) -> dict[str, Values]:
    """Returns untrained networks of all tasks, linear maps of the data, and networks trained on shuffled sites."""
    found: dict[str, Values] = {"untrained": {}}
    for network, points in seen.main.items():
        for coupling, point in _live(points if network.data == data else {}).items():
            before = of_features(point, measure.name, network, when=0)
            known = found["untrained"].get(coupling, np.empty(0))
            found["untrained"][coupling] = np.concatenate([known, before])
    judge = _judge(seen, data)
    for kind in COMPRESSIONS:
        maps = _live(seen.maps.get(data, {}))
        found[kind] = {k: compressed(p, measure.name, kind, "standardised", judge.estimator) for k, p in maps.items()}
    for network, points in seen.shuffled.items():
        if (network.data, network[2:]) == (data, seen.setting):
            read = {k: of_features(p, measure.name, network) for k, p in _live(points).items()}
            found[f"{network.task}{SHUFFLED}"] = read
    return found


def _panel(seen: Overview, data: str, measure: Measure) -> Panel:
    """Returns the panel of a measure of some data: networks, controls, and what is exactly known."""
    mine = {network: points for network, points in seen.main.items() if network.data == data}
    known = {k: p for points in [*mine.values(), seen.maps.get(data, {})] for k, p in _live(points).items()}
    couplings = sorted(known)
    names, nothing, series = [f"{k:g}" for k in couplings], np.empty(0), []
    for network in ordered(mine):
        read = {k: of_features(p, measure.name, network) for k, p in _live(mine[network]).items()}
        for kind, wanted in (("measured", True), ("measured, premise fails", False)):
            shown = {k: values for k, values in read.items() if at_optimum(mine[network][k]) == wanted}
            series.append(Series(network.task, kind, names, by_place([shown.get(k, nothing) for k in couplings])))
    for control, read in _controls(seen, data, measure).items():
        series.append(Series(control, "measured", names, by_place([read.get(k, nothing) for k in couplings])))
    for scheme in SCHEMES if measure.exact else ():
        intervals = [_exact(known[k], measure, _judge(seen, data), scheme) for k in couplings]
        series.append(Series("", f"exact, {SCHEME_NAMES[scheme]}", names, intervals=intervals))
    scale = measure.linear if np.isfinite(measure.linear) else "linear"
    title = f"{data_name(data)}: {measure.label}"
    return Panel(title, series, [AT_ZERO] if measure is RING else [], scale=scale, height=2.3)


CONTROLS = (
    "Beside the trained networks stand the same networks untrained, linear maps of the data to as many numbers, and "
    "networks trained on samples whose sites were shuffled. "
)
FIGURES = {
    "couplings": (
        (RING,),
        "Ring coupling of standardised features against the coupling K of the data. {controls}Lines: the data "
        f"themselves after as many exact steps, where that is known in closed form. Linear scale within "
        f"{COUPLING_MARGIN:g} of 0, the coupling of every fixed point, and logarithmic beyond.",
        "a network at its optimum whose mark lies outside the grey band at any K, the more so if it moves with K; a "
        "mark inside says nothing of training if the untrained or a linear map is inside too",
    ),
    "on_site": (
        (KURTOSIS,),
        "Excess kurtosis of the features against the coupling K of the data. {controls}Lines: the fixed points, of "
        f"decimation the law of a single site (-2 for spins), of block sums the Gaussian (0), \u00b1 "
        f"{KURTOSIS_MARGIN:g} in grey.",
        "for the fixed point of one scheme, a network at its optimum outside the band of that scheme at any K",
    ),
    "quartic": (
        (QUARTIC,),
        "Mean quartic parameter of standardised features of fields, fitted by score matching with the couplings. "
        "{controls}Lines: the fixed points, of decimation the fit to independent sites, of block sums the Gaussian "
        "(0). Saturated units have nearly no density between their ends: there the fit is huge.",
        "for the fixed point of one scheme, a network at its optimum off the line of that scheme",
    ),
    "model_free": (
        (INFORMATION, CORRELATION),
        "Dependence between pairs of features without a model: mean mutual information, and root mean square of their "
        "correlations, against the coupling K of the data. {controls}Both are 0 up to sampling at a fixed point.",
        "trained features that stay as dependent as untrained ones or as the decimated data; features without "
        "correlation but with mutual information are at no fixed point either",
    ),
}
"""What is shown against the coupling of the data: the measures, the caption, and what would falsify S2."""


def figures(results: Results, verdicts: Sequence[Verdict]) -> list[Figure]:
    """Returns the figures that compare features with linear maps of the data; each has two panels in a row."""
    seen = results.once(overview)
    points = [*seen.main.items(), *((Network(data, "", *seen.setting), mine) for data, mine in seen.maps.items())]
    known = {network.data for network, mine in points if _live(mine)}
    kinds = [*(data for data in DATA if data in known), *sorted(known - set(DATA))]
    about, found = about_runs(results.dataset), []
    for name, (measures, caption, falsified) in FIGURES.items():
        # Spins have no parameters on site.
        shown = [data for data in kinds if data != "ising" or QUARTIC not in measures]
        panels = [_panel(seen, data, measure) for data in shown for measure in measures]
        if panels:
            found.append(Figure(
                name=f"fixed_points_{name}", caption=f"{caption.format(controls=CONTROLS)} {about}",
                falsified_by={"S2": falsified}, panels=panels, x="coupling $K$ of the data", columns=2, group=NAMES,
                colours=COLOURS, markers=MARKERS, share_x=False, share_y=False,
                called={"measured": "", "premise fails": "loss not settled, or little learned"},
            ))  # fmt: skip
    return found
