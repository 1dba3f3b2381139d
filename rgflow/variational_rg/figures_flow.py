"""Figures of hidden layers read as lattices, beside blocked and decimated data, and of the first machine left alone."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float

from rgflow.exact.torus import kaufman_energy
from rgflow.judging.intervals import Interval, t_interval
from rgflow.judging.points import Point, average
from rgflow.plots import style
from rgflow.plots.figure import Figure, about_runs
from rgflow.plots.panel import Guide, Panel, Series
from rgflow.protocol import Results
from rgflow.variational_rg.claims_stack import relative_entropy_per_site
from rgflow.variational_rg.select import alike, at, commonest, layer_names, real, runs_of, strength

Measure = Callable[[Point], Float[np.ndarray, " runs"]]
RULES = {"hidden": "trained", "placed": "third control", "majority": "control", "decimation": "second control"}
"""What is read as a lattice, and the kind of its series."""

CALLED = {
    "trained": "hidden units",
    "third control": "majority at the units' places",
    "control": "majority rule",
    "second control": "decimation",
}

DATA = "the data"
HIGHEST = 2.0
"""A panel of couplings ends at this multiple of the largest coupling of the data."""

GRID = 60
FEWEST_CHAINS = 5.0
"""Effective chains of the annealing below which ln Z rests on a few of them."""


def along(points: Sequence[Point], axis: str, group: Any, kind: str, measure: Measure) -> Series:
    """Returns a measure with its interval over runs, against the coupling or the penalty of the points."""
    x = [strength(p.values["l1"]) if axis == "l1" else float(p.values[axis]) for p in points]
    return Series(group, kind, x, intervals=[t_interval(measure(point)) for point in points])


def penalty(point: Point) -> str:
    """Returns the group of a point in figures that colour by penalty."""
    return f"$L_1$ = {strength(point.values['l1'])}"


def colours(results: Results, points: Sequence[Point]) -> dict[str, Any]:
    """Returns a colour per layer and a shade per penalty, from dark to light."""
    names = list(dict.fromkeys(map(penalty, sorted(points, key=lambda point: point.values["l1"]))))
    shades = matplotlib.colormaps["plasma"](np.linspace(0.0, 0.85, max(len(names), 2)))
    layers = dict(zip(layer_names(results), style.PALETTE, strict=False))
    return {DATA: style.INK, **layers, **dict(zip(names, map(tuple, shades), strict=False))}


def _read(rule: str, name: str, layer: int) -> Measure:
    """Returns what reads one number of one layer (from 0) of a point; a length that is not positive is NaN."""

    def read(point: Point) -> Float[np.ndarray, " runs"]:
        values = point.last(f"data_{name}") if rule == "data" else point.last(f"{rule}_{name}")[:, layer]
        return np.where(values > 0, values, np.nan) if name == "correlation_length" else values

    return read


def _against_coupling(results: Results, points: Sequence[Point], name: str) -> list[Series]:
    """Returns one number of the data and of every layer, by every rule, against the data's coupling."""
    series = [along(points, "coupling", DATA, "data", _read("data", name, 0))]
    for layer, group in enumerate(layer_names(results)):
        series += [along(points, "coupling", group, kind, _read(r, name, layer)) for r, kind in RULES.items()]
    return series


def _by_layer(points: Sequence[Point], layers: int) -> list[Series]:
    """Returns the coupling against the layer: of hidden units for every penalty, and by two rules of the same data."""
    names = ["0 (data)", *(str(layer + 1) for layer in range(layers))]

    def series(point: Point, rule: str, group: str) -> Series:
        measures = [_read("data", "coupling", 0), *(_read(rule, "coupling", layer) for layer in range(layers))]
        return Series(group, RULES[rule], names, intervals=[t_interval(read(point)) for read in measures])

    found = [series(point, "hidden", penalty(point)) for point in points]
    return found + [series(points[0], rule, DATA) for rule in ("majority", "decimation")]


def _limits(series: Sequence[Series], largest: float) -> tuple[tuple[float, float], bool]:
    """Returns ends that no huge coupling can flatten, and whether some coupling lies outside."""
    means = [interval.mean for one in series for _, _, interval in one.found]
    top = 1.1 * min(max(means), HIGHEST * largest)
    return (min(0.0, *means) - 0.05 * top, top), max(means) > top


def couplings(results: Results) -> Iterator[Figure]:
    """Yields couplings and lengths of hidden layers, blocked and decimated data."""
    found = real(results.once(alike))
    if not found:
        return
    row = at(found, l1=commonest(found, "l1"))
    here = at(found, coupling=commonest(found, "coupling"))
    against = {name: _against_coupling(results, row, name) for name in ("coupling", "correlation_length")}
    by_layer = _by_layer(here, len(layer_names(results)))
    limits, outside = _limits(against["coupling"], max(float(point.values["coupling"]) for point in row))
    axis = "coupling $K$ of the data"
    yield Figure(
        name="couplings", share_x=False, share_y=False, colours=colours(results, here), called=CALLED, group={DATA: ""},
        panels=[
            Panel("nearest-neighbour coupling", against["coupling"], x=axis, y="coupling of the layer",
                  limits=limits, height=3.4),
            Panel("correlation length", against["correlation_length"], x=axis, y="sites of the lattice",
                  scale="log"),
            Panel(f"coupling by layer, $K$ = {here[0].values['coupling']:.4g}", by_layer, x="layer",
                  y="coupling of the layer"),
        ],
        caption="Hidden layers read as lattices, beside the same data blocked by the majority rule, on a lattice and "
        "at the units' own places, and decimated, to as many spins. Left and middle: against the coupling of the data, "
        f"at L1 = {strength(row[0].values['l1'])}; right: by layer, for every penalty. Couplings are nearest-neighbour "
        "pseudo-likelihood fits, lengths second-moment lengths (left out where they are no number). "
        f"{about_runs(runs_of(results, [*row, *here]))}"
        + (" Couplings above the panel are in the table." if outside else ""),
        falsified_by={
            "S3-d coupling": "hidden units of layer 1 more than 10 % off the diamonds of the same colour (their places "
            "are no lattice), or not below the data on the disordered side and above them on the ordered one",
            "S3-d length": "the same of lengths",
        },
    )  # fmt: skip


def energy(point: Point) -> Float[np.ndarray, " runs"]:
    """Returns the energy per site of free-running chains, mean over hot starts and starts from data, per run."""
    return point.last("model_energy").mean(axis=1)


def _exact(points: Sequence[Point]) -> list[Series]:
    """Returns Kaufman's energy of the torus and the energy of the data."""
    size, known = int(points[0].values["size"]), sorted({float(point.values["coupling"]) for point in points})
    margin = 0.04 * (known[-1] - known[0]) or 0.05
    grid = np.linspace(known[0] - margin, known[-1] + margin, GRID).tolist()
    curve = [Interval(kaufman_energy(value, size, size), np.nan, np.nan, 0) for value in grid]
    data = [Interval(average(at(points, coupling=k)[0].last("data_energy")), np.nan, np.nan, 0) for k in known]
    return [Series(DATA, "exact", grid, intervals=curve), Series(DATA, "level", known, intervals=data)]


def _entropies(points: Sequence[Point], axis: str) -> list[Series]:
    """Returns relative entropies per site, with open marks where few chains carry the annealing."""
    found = []
    for group in dict.fromkeys(map(penalty, points)):
        mine = [point for point in points if penalty(point) == group]
        doubted = [point for point in mine if not average(point.last("effective_chains")) >= FEWEST_CHAINS]
        found.append(along(mine, axis, group, "trained", relative_entropy_per_site))
        found.append(along(doubted, axis, group, "doubtful", relative_entropy_per_site))
    return found


def _correlations(points: Sequence[Point]) -> list[Series]:
    """Returns the pair correlation of the data and of the first machine of every penalty over the distance."""
    reach = int(points[0].values["size"]) // 2
    distance = list(range(1, reach + 1))
    data = [Interval(average(x), np.nan, np.nan, 0) for x in points[0].last("data_correlation")[:, :reach].T]
    found = [Series(DATA, "level", distance, intervals=data)]
    return found + [Series(penalty(p), "trained", distance, p.last("model_correlation")[:, :reach]) for p in points]


def model(results: Results) -> Iterator[Figure]:
    """Yields energy, distance from the data's law and correlations of the first machines alone, on real data."""
    found = real(results.once(alike))
    if not found:
        return
    found.sort(key=lambda point: (point.values["l1"], point.values["coupling"]))
    coupling = commonest(found, "coupling")
    here = at(found, coupling=coupling)
    chains = [along([p for p in found if penalty(p) == group], "coupling", group, "trained", energy)
              for group in dict.fromkeys(map(penalty, found))]  # fmt: skip
    axis, law = "coupling $K$ of the data", "distance from the data's law"
    entropy, zero = "relative entropy per site (nats)", [Guide("the data's law", y=0.0)]
    yield Figure(
        name="model", columns=2, group={DATA: ""}, share_x=False, share_y=False, colours=colours(results, found),
        called={"trained": "first machine", "exact": "exact", "level": "data",
                "doubtful": f"below {FEWEST_CHAINS:g} effective chains"},
        panels=[
            Panel("energy of free-running chains", [*_exact(found), *chains], x=axis,
                  y="energy per site $u$ ($J$)"),
            Panel(law, _entropies(found, "coupling"), zero, x=axis, y=entropy),
            Panel(f"correlations, $K$ = {coupling:.4g}", _correlations(here), x="distance $r$ in sites",
                  y="pair correlation $C(r)$"),
            Panel(f"{law}, $K$ = {coupling:.4g}", _entropies(here, "l1"), zero,
                  x="strength of the $L_1$ penalty", y=entropy),
        ],
        caption="The first machine left to itself. Top left: energy per site of its Gibbs chains, mean over hot starts "
        "and starts from data, beside Kaufman's exact energy of the periodic lattice and that of the data. Right: "
        "relative entropy of the data to the machine per site, with ln Z by annealed importance sampling, whose errors "
        "make ln Z too small and the machine look better than it is. Bottom left: correlation along the axes. "
        f"{about_runs(runs_of(results, found))}",
        falsified_by={
            "S3-model": "energies more than 2 % off the exact line; correlations off those of the data, or a relative "
            "entropy above 0, say the same of the whole law"
        },
    )  # fmt: skip
