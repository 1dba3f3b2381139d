"""Figures of this room: what receptive fields look like and how large they are, what a stack keeps of its data.

The other figures stand in :mod:`~rgflow.variational_rg.figures_flow` (hidden layers as lattices, the first machine
alone) and :mod:`~rgflow.variational_rg.figures_exact` (small machines and chains).
"""

import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from rgflow.judging.claim import NOTHING, known
from rgflow.judging.intervals import Interval, t_interval
from rgflow.judging.points import Point, average
from rgflow.plots import style
from rgflow.plots.figure import Figure, about_runs
from rgflow.plots.forest import Branch, Forest
from rgflow.plots.mosaic import Mosaic
from rgflow.plots.panel import Guide, Panel, Series
from rgflow.protocol import Results, Verdict
from rgflow.variational_rg import figures_exact, figures_flow
from rgflow.variational_rg.claims_stack import (
    LEAST_PARTICIPATION,
    LOCAL,
    MOST_SHUFFLED_PARTICIPATION,
    SAME_ENERGY,
    SAME_LATTICE,
    unit_medians,
)
from rgflow.variational_rg.select import alike, at, commonest, layer_names, live, lost, place, real, runs_of, strength

SHUFFLES = {"none": "real data", "sites": "sites shuffled", "bonds": "bonds shuffled"}
KINDS = {"none": "trained", "sites": "control", "bonds": "second control"}
MOST_UNITS, MOST_COLUMNS = 25, 5
SIGNS = ("negative weight", "positive weight")


def figures(results: Results, verdicts: Sequence[Verdict]) -> list[Figure]:
    """Returns every figure that the studies of a sweep allow; none of an empty one."""
    if not results.dataset.sizes["run"]:
        return []
    makers = (fields, shuffled_fields, field_sizes, reconstructions, figures_flow.couplings, figures_flow.model)
    found = [one for make in makers for one in make(results)]
    found += stack_claims(results, verdicts)
    return [*found, *figures_exact.mapping(results), *figures_exact.lattice(results, verdicts)]


def _mosaic(results: Results, point: Point, layer: int, name: str, inches: float) -> Mosaic:
    """Returns the fields of one layer (from 0) of a point's first live run, with the medians over all its units."""
    images = point.last("receptive_field")[0, layer, :MOST_UNITS, : int(point.values["size"]) ** 2]
    radius, sites = (float(unit_medians(point.last(n)[:1])[0, layer]) for n in ("radius", "participation"))
    below = f"radius {radius:.2f}, {sites:.1f} sites" if np.isfinite(radius) else "no unit has a field"
    title = f"{name}\n{layer_names(results)[layer]}"
    return Mosaic(title, images, SIGNS, below, "unit without a field", own_scale=True, height=inches)


def _gallery(results: Results, columns: Sequence[tuple[str, Point]], layers: Sequence[int]) -> dict[str, Any]:
    """Returns the panels of a figure of fields, a row per layer (from 0) and a column per named point."""
    inches = min(style.WIDTH_INCHES / len(columns), 2.6) + 0.5
    panels = [_mosaic(results, point, layer, name, inches) for layer in layers for name, point in columns]
    return {"panels": panels, "columns": len(columns), "share_x": False, "share_y": False}


HOW = (
    f"Every small image is one unit's field on the lattice, over its own largest weight (at most {MOST_UNITS} units of "
    "the first live run). Below: medians over the units of the layer of the rms radius in sites and of the number of "
    "sites in a field."
)


def fields(results: Results) -> Iterator[Figure]:
    """Yields the gallery of real data, a column per penalty."""
    found = real(results.once(alike))
    if not found:
        return
    coupling = commonest(found, "coupling")
    here = at(found, coupling=coupling)
    shown = [here[k] for k in np.linspace(0, len(here) - 1, min(MOST_COLUMNS, len(here))).round().astype(int)]
    columns = [(f"$L_1$ = {strength(point.values['l1'])}", point) for point in shown]
    hidden = f" {len(here) - len(shown)} penalties between these are not shown." if len(here) > len(shown) else ""
    yield Figure(
        name="fields",
        caption=f"Receptive fields of stacks trained on the lattice at K = {coupling:.4g}: layers down, penalty on the "
        f"weights across. {HOW}{lost(here)}{hidden}",
        falsified_by={
            "S3-c": "fields that are not compact patches of one sign, of about equal size within a layer and "
            "larger in the next"
        },
        **_gallery(results, columns, range(len(layer_names(results)))),
    )


def shuffled_fields(results: Results) -> Iterator[Figure]:
    """Yields the gallery of real and shuffled data at one penalty."""
    every = live(results.once(alike))
    controls = [point for point in every if point.values["shuffle"] != "none"]
    if not controls:
        return
    coupling = commonest(controls, "coupling")
    penalty = commonest(at(controls, coupling=coupling), "l1")
    here = at(every, coupling=coupling, l1=penalty)
    columns = [(name, point) for kind, name in SHUFFLES.items() for point in at(here, shuffle=kind)]
    yield Figure(
        name="fields_controls",
        caption="Receptive fields on real data and on data from which something was taken away, at K = "
        f"{coupling:.4g} and L1 = {strength(penalty)}. Sites shuffled: every site has its values from other samples, "
        f"nothing is correlated. Bonds shuffled: only correlations along one axis are left. {HOW}{lost(here)}",
        falsified_by={
            "S3-c": "fields of shuffled sites that hold more than single sites, or fields of shuffled bonds that are "
            "not stretched along one axis: then blocks would say nothing about correlations"
        },
        **_gallery(results, columns, sorted({0, len(layer_names(results)) - 1})),
    )


Measure = Callable[[Point], Float[np.ndarray, "runs layer"]]
SIZES: dict[str, tuple[Measure, Measure]] = {
    "radius": (
        lambda point: unit_medians(point.last("radius")) / point.last("random_radius")[:, None],
        lambda point: point.last("component_radius") / point.last("random_radius")[:, None],
    ),
    "sites": (
        lambda point: unit_medians(point.last("participation")),
        lambda point: point.last("component_participation"),
    ),
}
"""Medians over the units of a layer, and over as many principal components of the same data."""


def _size_series(results: Results, found: Sequence[Point], size: str) -> list[Series]:
    """Returns one measure of size by layer and kind of data, and that of principal components."""
    measure, of_components = SIZES[size]
    values = sorted({point.values["l1"] for point in found})
    x, series = [*map(strength, values), "PCA"], []
    for layer, name in enumerate(layer_names(results)):
        for shuffle, kind in KINDS.items():
            points = [at(found, shuffle=shuffle, l1=value) for value in values]
            intervals = [t_interval(measure(one[0])[:, layer]) if one else NOTHING for one in points]
            series.append(Series(name, kind, x, intervals=[*intervals, NOTHING]))
        for point in at(found, shuffle="none")[:1]:
            height = Interval(average(of_components(point)[:, layer]), np.nan, np.nan, point.live.sizes["run"])
            series.append(Series(name, "level", ["PCA"], intervals=[height]))
    return series


def field_sizes(results: Results) -> Iterator[Figure]:
    """Yields radius and participation against the penalty, at the coupling with the most penalties."""
    every = results.once(alike)
    if not live(every):
        return
    coupling = commonest(real(every) or live(every), "coupling")
    here = at(every, coupling=coupling)
    local = Guide(f"local: radius below {LOCAL:g}", y=LOCAL)
    middle, half = (f(LEAST_PARTICIPATION, MOST_SHUFFLED_PARTICIPATION) / 2 for f in (operator.add, operator.sub))
    blocks = Guide("above: blocks; below: single sites", y=middle, within=half)
    panels = [
        Panel("", _size_series(results, live(here), "radius"), [local], "radius", height=3.2,
              y="median radius / radius without a place"),
        Panel("", _size_series(results, live(here), "sites"), [blocks], "sites", height=3.2,
              y="median number of sites in a field", scale="log"),
    ]  # fmt: skip
    yield Figure(
        name="field_sizes", x="strength of the $L_1$ penalty", share_y=False, panels=panels,
        called={**{KINDS[shuffle]: name for shuffle, name in SHUFFLES.items()}, "level": "principal components"},
        caption=f"Size of receptive fields at K = {coupling:.4g} against the penalty. Left: rms radius, median over "
        "the units of a layer that have a field, relative to that of weights without any place. Right: number of sites "
        "in a field. Short lines (PCA): as many principal components of the same data as the layer has units. "
        f"{about_runs(runs_of(results, here))}",
        falsified_by={
            "S3-c": "at every penalty a layer above the line on the left, fewer than two sites in a field on the "
            "right, a second layer no wider than the first, or shuffled sites with more than 1.5 sites in the first "
            "layer"
        },
    )  # fmt: skip


def reconstructions(results: Results) -> Iterator[Figure]:
    """Yields test samples beside what comes back from each layer, for one run."""
    found = real(results.once(alike))
    if not found:
        return
    here = at(found, coupling=commonest(found, "coupling"))
    point = at(here, l1=commonest(here, "l1"))[0]
    sites, wrong = int(point.values["size"]) ** 2, point.last("reconstruction_error")
    titles, below = ["test samples"], [""]
    for layer, name in enumerate(layer_names(results)):
        titles.append(f"back from {name}")
        below.append(f"{100 * wrong[0, layer]:.1f} % of all test spins wrong")
    images = [point.last("sample")[0], *point.last("reconstruction")[0]]
    yield Figure(
        name="reconstructions", share_x=False, share_y=False, columns=len(titles),
        panels=[Mosaic(title, image[:, :sites], ("spin down", "spin up"), text, colours="gray",
                       height=min(style.WIDTH_INCHES / len(titles), 3.0) + 0.1)
                for title, image, text in zip(titles, images, below, strict=True)],
        caption=f"Test samples at K = {point.values['coupling']:.4g} and the means of the spins that come back from "
        "each layer, after the way up through the trained machines and down again, for the first live run with L1 = "
        f"{strength(point.values['l1'])}.{lost([point])}",
        purpose="It shows what the layers keep: had they kept what matters on large scales, domains would come back "
        "from the last one, without their details.",
    )  # fmt: skip


DECIDED = {
    "S3-c": ("S3-c: growth of the radius", "ln(radius of the last layer / of the first)", 0.0),
    "S3-d coupling": ("S3-d coupling", "coupling of layer 1 / of block majorities - 1", SAME_LATTICE),
    "S3-d length": ("S3-d length", "length of layer 1 / of block majorities - 1", SAME_LATTICE),
    "S3-model": ("S3-model", "energy of the machine / Kaufman's - 1", SAME_ENERGY),
}
"""Of each claim on stacks the title and the axis of its panel, and the bound of its effect."""


def stack_claims(results: Results, verdicts: Sequence[Verdict]) -> Iterator[Figure]:
    """Yields the effects of the claims on stacks, of every point, as the verdicts have them."""
    statuses = {verdict.claim: verdict.status for verdict in verdicts}
    points = sorted(real(results.once(alike)), key=lambda point: (point.values["coupling"], point.values["l1"]))
    judged = [(place(p.values), f"$K$ = {p.values['coupling']:.4g}, $L_1$ = {strength(p.values['l1'])}")
              for p in points if f"S3-c [{place(p.values)}]" in statuses]  # fmt: skip
    panels = []
    for claim, (title, x, bound) in DECIDED.items():
        branches = [Branch(name, statuses[f"{claim} [{here}]"], known(verdicts, claim, here)) for here, name in judged]
        guides = [Guide("bound", x=side * bound) for side in (-1, 1)] if bound else []
        panels.append(Forest(title, branches, guides, x, names=len(panels) % 2 == 0))
    beyond = "intervals well beyond the dotted lines"
    if judged:
        yield Figure(
            name="stack_claims", panels=panels, columns=2, share_x=False, share_y=False, colours=style.STATUS_COLOURS,
            caption="The effect that each claim on stacks is about, at every coupling of the data and penalty, with "
            "the 95 % interval and the answer of the verdict. S3-c and S3-model have further parts, which may decide "
            "where the effect does not. Grey where nothing is decided: of fewer than eight runs an interval must stay "
            "clear of its bound.",
            falsified_by={"S3-c": "intervals far below 0, where the participation shrinks as well",
                          "S3-d coupling": beyond, "S3-d length": beyond, "S3-model": beyond},
        )  # fmt: skip
