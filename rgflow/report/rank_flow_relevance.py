"""Figures of relevance in the rank-flow room: which modes of the chain each layer keeps, and how fast pushes decay.

Mode k of a chain is the right eigenfunction of its transition matrix with eigenvalue lambda_k: correlations along it
decay as |lambda_k|^n over n tokens, so |lambda_k| is the chain's own measure of relevance.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rgflow.rank_flow.decay import decay_rates, dynamic_range, relative_perturbation
from rgflow.rank_flow.select import claim_runs
from rgflow.report import figures as base
from rgflow.report import heat_maps
from rgflow.report.figures import Drawn
from rgflow.report.heat_maps import Scale
from rgflow.report.interval_marks import interval_of, interval_points, text_of, two_decimals
from rgflow.report.layer_figures import TRAINED, UNTRAINED
from rgflow.report.rank_flow_cells import Cell, Cells, about_lengths, about_runs, cells_of, mixings_of, spread_lengths

MODULUS = r"$|\lambda_k|$"
LAYER_LABEL = "layer (0 = embedding)"
R2_LIMITS = (-0.2, 1.02)
LEAST_SPREAD = 0.02
"""Least range of |lambda| on a colour bar, for chains whose modes are all alike."""

THIN: dict[str, Any] = {"linewidth": 1.1, "marker": "o", "markersize": 2}
DASHED: dict[str, Any] = {"linestyle": (0, (4, 2)), "linewidth": 1.1}
RATE_MARKS: dict[str, dict[str, Any]] = {
    "trained": {**TRAINED, "color": base.BLUE, "linestyle": "none"},
    "untrained": {**UNTRAINED, "color": base.GREY, "linestyle": "none"},
}


def moduli(cell: Cell) -> Float[np.ndarray, " modes"]:
    """Returns |lambda_k| of the chain that the runs of a cell share."""
    return cell.runs["mode_modulus"].values[0].astype(np.float64)


def runs_by_layer(values: xr.DataArray) -> Float[np.ndarray, "runs layers"]:
    """Returns [run, layer] as numbers, without the layers that no run has."""
    found = values.transpose("run", "layer").values.astype(np.float64)
    seen = np.isfinite(found).any(axis=0)
    return found[:, : int(np.flatnonzero(seen).max(initial=-1)) + 1]


def of_mode(values: xr.DataArray, k: int) -> Float[np.ndarray, "runs layers"]:
    """Returns the values [run, layer] of the k-th mode."""
    return runs_by_layer(values.isel(mode=k))


def spread_cells(dataset: xr.Dataset, config: Any) -> Cells:
    """Returns the cells of the claims' runs at no more than three correlation lengths."""
    cells = cells_of(claim_runs(dataset, config))
    shown = spread_lengths(cells)
    return {name: cell for name, cell in cells.items() if cell.length in shown}


def with_some(cells: Cells, variable: str) -> Cells:
    """Returns the cells of the mixings that have some value of a variable."""
    having = {c.mixing for c in cells.values() if c.count and c.latest[variable].notnull().any()}
    return {name: cell for name, cell in cells.items() if cell.mixing in having}


def modulus_scale(cells: Sequence[Cell]) -> Scale:
    """Returns the colours of the modes of one chain: from its fastest to its slowest."""
    found = np.concatenate([moduli(c) for c in cells])
    middle, half = (found.max() + found.min()) / 2, max(np.ptp(found), LEAST_SPREAD) / 2
    # The palest part of the map is left out: it cannot be seen on white.
    label = f"{MODULUS} at length {cells[0].length:g}"
    return Scale(heat_maps.shades("viridis_r", 0.12, 1.0), middle - half, middle + half, label)


def mode_colours(cell: Cell, scale: Scale) -> list[tuple[float, float, float]]:
    """Returns the colour of every mode."""
    return [scale.colour(x) for x in moduli(cell)]


def slowest_and_fastest(cell: Cell) -> tuple[int, int]:
    """Returns the places of the modes with the largest and the smallest |lambda|."""
    return int(np.argmax(moduli(cell))), int(np.argmin(moduli(cell)))


def panels_of(cells: Cells, height: float, kinds: int = 1) -> tuple[Figure, np.ndarray, dict[float, Scale]]:
    """Returns a figure with axes [mixing, kind, length] and below each column the colours of its chain's modes."""
    mixings, lengths = mixings_of(cells), spread_lengths(cells)
    rows = len(mixings) * kinds
    figure, axes = base.panels(rows, len(lengths), height, sharey="row")
    figure.set_size_inches(figure.get_size_inches()[0], rows * height + 1.2)
    scales = {}
    for k, x in enumerate(lengths):
        live = [c for c in cells.values() if c.length == x and c.count]
        if live:
            scales[x] = modulus_scale(live)
            bar = figure.colorbar(scales[x].mappable, ax=axes[:, k], location="bottom", aspect=40, shrink=0.8, pad=0.02)
            bar.set_label(scales[x].label)
            bar.outline.set_visible(False)  # type: ignore[operator]
            bar.ax.grid(False)
    return figure, axes.reshape(len(mixings), kinds, len(lengths)), scales


def each(cells: Cells, axes: np.ndarray, draw: Callable[[np.ndarray, Cell], None]) -> None:
    """Draws every cell into its panels [kind]; those without live runs say so, those of no cell are hidden."""
    for line, mixing in zip(axes, mixings_of(cells), strict=True):
        for column, x in zip(line.T, spread_lengths(cells), strict=True):
            cell = cells.get((mixing, x))
            for panel in column:
                panel.set_visible(cell is not None)
                if cell is not None and not cell.count:
                    base.say_empty(panel)
            if cell is not None:
                column[0].set_title(cell.name)
            if cell is not None and cell.count:
                draw(column, cell)


def _draw_readout(panel: Axes, cell: Cell, scale: Scale) -> None:
    colours, ends = mode_colours(cell, scale), slowest_and_fastest(cell)
    for k, colour in enumerate(colours):
        values = of_mode(cell.latest["mode_r2"], k)
        base.mean_line(panel, np.arange(values.shape[1]), values, colour, **THIN)
    for k in dict.fromkeys(ends):
        values = of_mode(cell.untrained["mode_r2"], k)
        base.mean_line(panel, np.arange(values.shape[1]), values, colours[k], **DASHED)
    trained, untrained = (runs_by_layer(x["bayes_r2"]) for x in (cell.latest, cell.untrained))
    base.band_line(panel, np.arange(trained.shape[1]), trained, base.INK, False, linewidth=2.6)
    base.mean_line(panel, np.arange(untrained.shape[1]), untrained, base.INK, linestyle=(0, (4, 2)))


def _at_the_end(values: Float[np.ndarray, "runs layers"]) -> str:
    return text_of(interval_of(values[:, -1])) if values.shape[1] else "-"


def _readout_alt(cell: Cell) -> str:
    if not cell.count:
        return f"{cell.name}: no live run"
    texts = []
    for name, k in zip(("slowest", "fastest"), slowest_and_fastest(cell), strict=True):
        trained, untrained = (_at_the_end(of_mode(x["mode_r2"], k)) for x in (cell.latest, cell.untrained))
        texts.append(f"{name} mode (modulus {moduli(cell)[k]:.3g}) {trained} trained, {untrained} untrained")
    trained, untrained = (_at_the_end(runs_by_layer(x["bayes_r2"])) for x in (cell.latest, cell.untrained))
    return f"{cell.name}: {'; '.join(texts)}; Bayes logits {trained} trained, {untrained} untrained"


def mode_relevance(cells: Cells, about: str) -> list[Drawn]:
    """Returns the figure of what can be read out of each layer; none where no mixing has a stream per position."""
    cells = with_some(cells, "mode_r2")
    if not cells:
        return []
    figure, axes, scales = panels_of(cells, 2.3)

    def draw(panels: np.ndarray, cell: Cell) -> None:
        _draw_readout(panels[0], cell, scales[cell.length])

    each(cells, axes, draw)
    for panel in axes.reshape(-1):
        panel.set_ylim(R2_LIMITS)
        panel.xaxis.get_major_locator().set_params(integer=True)
    for panel in axes[-1, 0]:
        panel.set_xlabel(LAYER_LABEL)
    for panel in axes[:, 0, 0]:
        panel.set_ylabel("held-out $R^2$")
    ink: dict[str, Any] = {"color": base.INK}
    base.legend(figure, [
        Line2D([], [], label="Bayes logits", linewidth=2.6, **ink),
        Line2D([], [], label="Bayes logits, untrained", linestyle=(0, (4, 2)), **ink),
        Line2D([], [], label="modes (colour: below)", color=base.GREEN, **THIN),
        Line2D([], [], label="slowest and fastest mode, untrained", color=base.GREEN, **DASHED),
    ])  # fmt: skip
    caption = (
        "What a linear readout of the stream recovers at scored positions whose two neighbours are shown: held-out "
        "R^2 of each mode of the chain at the neighbours, coloured by its |lambda|, and of the exact Bayes logits. "
        "With both neighbours in sight these logits are a linear function of the two tokens: their R^2 tells what a "
        "layer keeps, not what it computes. The two modes of a complex pair span a plane whose axes are a convention. "
        f"{about}{about_lengths(cells)} The band is for the Bayes logits only; values below {R2_LIMITS[0]} are cut "
        "off."
    )
    falsified_by = (
        "S1-i and S1-ii as statements about renormalization, which keeps the slow modes and loses the fast ones with "
        "depth: lines that fall together, or not at all, whatever their colour, and a trained stack that keeps no more "
        "of the Bayes logits than an untrained one."
    )
    alt = "Held-out R squared at the last layer. " + ". ".join(_readout_alt(c) for c in cells.values()) + "."
    return [Drawn("mode_relevance", figure, caption, alt, (), ("S1-i", "S1-ii"), falsified_by)]


def finite_rates(records: xr.Dataset) -> xr.DataArray:
    """Returns the decay rates [run, mode] relative to the stream; NaN where one is undefined or gone at once."""
    rates = decay_rates(relative_perturbation(records)).transpose("run", "mode")
    return rates.where(np.isfinite(rates))


def range_text(records: xr.Dataset) -> str:
    """Returns the dynamic range of the decay lengths where every mode of every run decays, else the range of rates."""
    rates = finite_rates(records)
    spread = dynamic_range(rates)
    if bool(spread.notnull().all()):
        return f"dynamic range {two_decimals(interval_of(spread.values))}"
    mean = np.array([interval_of(column).mean for column in rates.values.T])
    if not np.isfinite(mean).any():
        return "no rate defined"
    low, high = np.nanmin(mean), np.nanmax(mean)
    what = "every mode grows" if high < 0 else "some modes grow" if low < 0 else "not every mode decays in every run"
    return f"{what}, rates from {low:.3g} to {high:.3g} per layer"


def _draw_decay(panels: np.ndarray, cell: Cell, scale: Scale) -> None:
    colours = mode_colours(cell, scale)
    for k, colour in enumerate(colours):
        values = of_mode(relative_perturbation(cell.latest), k)
        base.mean_line(panels[0], np.arange(values.shape[1]), values, colour, **THIN)
    for name, records in (("untrained", cell.untrained), ("trained", cell.latest)):
        intervals = [interval_of(column) for column in finite_rates(records).values.T]
        interval_points(panels[1], moduli(cell).tolist(), intervals, **RATE_MARKS[name])


def _decay_alt(cell: Cell) -> str:
    if not cell.count:
        return f"{cell.name}: no live run"
    rates, facts = finite_rates(cell.latest).values, []
    for name, k in zip(("slowest", "fastest"), slowest_and_fastest(cell), strict=True):
        facts.append(f"rate of the {name} mode {text_of(interval_of(rates[:, k]))}")
    texts = f"{range_text(cell.latest)} trained; {range_text(cell.untrained)} untrained"
    return f"{cell.name}: {texts}; {', '.join(facts)} trained"


def perturbation_decay(cells: Cells, about: str) -> list[Drawn]:
    """Returns the figure of how pushes along the modes grow or decay with depth, and at which rates."""
    cells = with_some(cells, "perturbation")
    if not cells:
        return []
    figure, axes, scales = panels_of(cells, 1.85, kinds=2)
    each(cells, axes, lambda panels, cell: _draw_decay(panels, cell, scales[cell.length]))
    for growth, rate in zip(axes[:, 0].reshape(-1), axes[:, 1].reshape(-1), strict=True):
        growth.xaxis.get_major_locator().set_params(integer=True)
        growth.set_xlabel(LAYER_LABEL)
        rate.set_xlabel(MODULUS)
        growth.axhline(0.0, color=base.GREY, linewidth=0.8, zorder=1)
        # No reason to squeeze the rates for the sake of a zero that is far away.
        limits = rate.get_ylim()
        rate.axhline(0.0, color=base.GREY, linewidth=0.8, zorder=1)
        rate.set_ylim(limits)
    for growth, rate in axes[:, :, 0]:
        growth.set_ylabel("$\\ln\\,|\\delta h_l| / |h_l|$, from layer 0")
        rate.set_ylabel("decay rate (1/layer)")
    growth = Line2D([], [], label="growth of each mode (colour: below), trained", color=base.GREEN, **THIN)
    base.legend(figure, [growth, *(Line2D([], [], label=f"rate, {name}", **look) for name, look in RATE_MARKS.items())])
    ranges = "; ".join(f"{c.name}: {range_text(c.latest)}" for c in cells.values() if c.count)
    caption = (
        "Linear response of the stream to a small push of the embedding along each mode of the chain, relative to "
        "the size of the stream, which grows with depth. Above: its logarithm against layer, trained, coloured by "
        "|lambda|. Below: decay rate (minus the "
        "least-squares slope through the origin; the inverse decay length; negative where it grows) against "
        f"|lambda|, with 95 % intervals over runs. {about}{about_lengths(cells)} Largest over smallest decay length "
        f"of the trained stacks, or the rates where not all decay: {ranges}. The "
        "authors' follow-up reports dynamic ranges of 5.4 for a transformer and 1.3 for an MLP at long correlation "
        "length."
    )
    falsified_by = (
        "S1-modes, and S1-i and S1-ii as statements about renormalization, which forgets fast modes sooner: rates that "
        "do not fall towards slow modes, or fall no more than in the untrained stack."
    )
    claims = ("S1-modes", "S1-i", "S1-ii")
    if "attention" in mixings_of(cells):
        claims = (*claims, "S1b-decay")
        falsified_by += " S1b-decay: at the longest length, rates that spread no further for attention than for an MLP."
    alt = "Decay of perturbations along the modes. " + ". ".join(_decay_alt(c) for c in cells.values()) + "."
    return [Drawn("perturbation_decay", figure, caption, alt, (), claims, falsified_by)]


def relevance_figures(dataset: xr.Dataset, config: Any) -> list[Drawn]:
    """Returns the figures of readouts and of perturbations, from the claims' runs; none without such runs."""
    runs = claim_runs(dataset, config)
    if not runs.sizes["run"]:
        return []
    cells, about = spread_cells(dataset, config), about_runs(runs)
    return [*mode_relevance(cells, about), *perturbation_decay(cells, about)]
