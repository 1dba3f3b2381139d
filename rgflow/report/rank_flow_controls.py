"""What training does to the collapse on tasks with less to learn, and at settings that the source leaves open."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rgflow.judging.intervals import Interval
from rgflow.rank_flow.claims import LEARNED_FRACTION, best_loss, learned_fraction, log_ratio, reading_of
from rgflow.rank_flow.select import claim_runs, control_runs, setting_runs
from rgflow.rank_flow.settings import OWN
from rgflow.report import figures as base
from rgflow.report.figures import Drawn
from rgflow.report.interval_marks import bar_lengths, columns, interval_of, two_decimals
from rgflow.report.rank_flow_blocks import block_figures
from rgflow.report.rank_flow_cells import Cell, about_runs, cells_of, length_handles, spread_lengths
from rgflow.report.sheets import sheet

LEAST_ATTAINABLE = 1e-3
"""Information (nats) below which there is nothing to learn: a fraction of it would be a ratio of rounding errors."""

FRACTION_LIMITS = (-1.0, 1.1)
BOUND: dict[str, Any] = {"color": base.GREY, "linestyle": ":", "linewidth": 1.3}
CONTROL_NAMES = {"none": "none (claims)"}


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of a forest: ln R trained - untrained, fraction learned, and what to say where there is no number."""

    control: str
    length: float
    change: Interval
    fraction: Interval
    lacking: dict[str, str]

    def text(self, quantity: str) -> str:
        """Returns "change" or "fraction" as text."""
        interval: Interval = getattr(self, quantity)
        return two_decimals(interval) if np.isfinite(interval.mean) else self.lacking[quantity]


def row_of(control: str, cell: Cell) -> Row:
    """Returns the row of one control at one correlation length."""
    reading = reading_of(cell.runs)
    change = log_ratio(cell.latest, reading).astype(np.float64) - log_ratio(cell.untrained, reading)
    attainable = (cell.latest["blind_loss"] - best_loss(cell.latest)).values
    note, fraction = "undefined", np.full(cell.count, np.nan)
    if not cell.count:
        note = "no live run"
    elif np.isnan(attainable).all():
        note = "no closed form"
    elif np.nanmax(attainable) < LEAST_ATTAINABLE:
        note = "nothing to learn"
    else:
        fraction = learned_fraction(cell.latest).values
    lacking = {"change": "undefined" if cell.count else "no live run", "fraction": note}
    return Row(control, cell.length, interval_of(change), interval_of(fraction), lacking)


def forest(named: Mapping[str, xr.Dataset]) -> dict[str, list[Row]]:
    """Returns the rows by mixing: of named runs in their order, and of at most three lengths of each, increasing."""
    found: dict[str, list[Row]] = {}
    for name, runs in named.items():
        cells = cells_of(runs)
        for (mixing, x), cell in cells.items():
            if x in spread_lengths(cells):
                found.setdefault(mixing, []).append(row_of(name, cell))
    return found


def _places(rows: list[Row]) -> tuple[list[float], dict[str, float]]:
    """Returns the height of every row, from the top, with a gap between controls, and the middle of each control."""
    controls = list(dict.fromkeys(row.control for row in rows))
    heights = [-k - 0.6 * controls.index(row.control) for k, row in enumerate(rows)]
    by_control = {c: [y for y, row in zip(heights, rows, strict=True) if row.control == c] for c in controls}
    return heights, {c: float(np.mean(ys)) for c, ys in by_control.items()}


def _draw_forest(axes: Axes, rows: list[Row], quantity: str, colours: Mapping[float, Any]) -> None:
    heights, names = _places(rows)
    low, high = FRACTION_LIMITS if quantity == "fraction" else (-np.inf, np.inf)
    for y, row in zip(heights, rows, strict=True):
        interval: Interval = getattr(row, quantity)
        look = {"color": colours[row.length], "clip_on": False}
        if np.isfinite(interval.mean) and interval.mean >= low:
            bars = np.clip(columns([interval]), low, high)
            axes.errorbar(bars[0], [y], xerr=bar_lengths(bars), fmt="o", markersize=4.5, capsize=2.5, **look)
        elif np.isfinite(interval.mean):
            axes.plot([low], [y], marker="<", markersize=5, **look)
        axes.text(
            1.02, y, row.text(quantity), transform=axes.get_yaxis_transform(), va="center", fontsize=7, color=base.INK
        )
    axes.axvline(0.0, color=base.INK, linewidth=0.9, zorder=1)
    axes.set_yticks(list(names.values()), [CONTROL_NAMES.get(c, c.replace("_", " ")) for c in names])
    axes.set_ylim(heights[-1] - 0.8, 0.8)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    axes.spines["left"].set_visible(False)
    # Every second control is shaded, so that the eye stays in its row.
    for c in list(names)[::2]:
        ys = [y for y, row in zip(heights, rows, strict=True) if row.control == c]
        axes.axhspan(min(ys) - 0.8, max(ys) + 0.8, color="#f4f4f4", linewidth=0, zorder=0)


def draw_forest(found: Mapping[str, list[Row]]) -> Figure:
    """Returns the figure of some rows by mixing: the change of the collapse, and the information learned."""
    lengths = sorted({row.length for rows in found.values() for row in rows})
    colours = base.ordered_colours(lengths)
    heights = [-_places(rows)[0][-1] + 1.6 for rows in found.values()]
    figure = sheet(0.155 * sum(heights) + 0.75 * len(found) + 0.5)
    axes = figure.subplots(len(found), 2, squeeze=False, sharex="col", sharey="row", height_ratios=heights)
    for (left, right), (mixing, rows) in zip(axes, found.items(), strict=True):
        _draw_forest(left, rows, "change", colours)
        _draw_forest(right, rows, "fraction", colours)
        left.set_title(f"{mixing}: change of the collapse by training")
        right.set_title(f"{mixing}: information learned")
        right.axvline(LEARNED_FRACTION, zorder=1, **BOUND)
        right.set_xlim(FRACTION_LIMITS)
    axes[-1, 0].set_xlabel("ln R trained - ln R untrained")
    axes[-1, 1].set_xlabel("fraction of the attainable information")
    bound = Line2D([], [], label="least fraction for a claim on the data", **BOUND)
    base.legend(figure, [*length_handles(lengths, colours), bound])
    return figure


def _about(named: Mapping[str, xr.Dataset]) -> str:
    return f"{about_runs(xr.concat(list(named.values()), 'run'))} Fractions below {FRACTION_LIMITS[0]:g} are arrows."


def _facts(found: Mapping[str, list[Row]]) -> str:
    return "; ".join(
        f"{mixing}, {row.control}, length {row.length:g}: change {row.text('change')}, learned {row.text('fraction')}"
        for mixing, rows in found.items()
        for row in rows
    )


def controls(dataset: xr.Dataset, config: Any) -> list[Drawn]:
    """Returns the forest of all controls beside the claims' own runs; none where only the latter were run."""
    every = control_runs(dataset, config)
    mixings = {m for name, runs in every.items() if name != "none" for m in runs["mixing"].values.tolist()}
    if not mixings:
        return []
    named = {name: runs.isel(run=np.isin(runs["mixing"].values, sorted(mixings))) for name, runs in every.items()}
    found = forest(named)
    caption = (
        "What training does to the collapse where there is less to learn. Left: ln R trained - ln R untrained of "
        "the same run. Right: (L_0 - loss) / (L_0 - L*), L_0 the optimum of one who sees no other position. "
        "Random labels and iid tokens hold nothing to learn "
        "beyond the marginals, for time-shuffled sequences the attainable is not known in closed form, and the "
        "untrained control has learning rate 0; lazy chains have one eigenvalue, uniform or Zipf marginals. "
        f"{_about(named)}"
    )
    falsified_by = (
        "S1-data, and S1-i as a statement on the data: controls with nothing to learn whose rank falls as much as in "
        'the row "none"; S1-ii: the two ends of correlation length falling alike in the row "none".'
    )
    alt = f"Change of ln R by training under controls. {_facts(found)}."
    return [Drawn("controls", draw_forest(found), caption, alt, (), ("S1-data", "S1-i", "S1-ii"), falsified_by)]


def settings(dataset: xr.Dataset, config: Any) -> list[Drawn]:
    """Returns the forest of the settings that were varied, the config's own first; none where there is none."""
    departing = setting_runs(dataset, config)
    if not departing:
        return []
    mixings = {mixing for runs in departing.values() for mixing in runs["mixing"].values.tolist()}
    claims = claim_runs(dataset, config)
    own = claims.isel(run=np.isin(claims["mixing"].values, sorted(mixings)))
    named = ({OWN: own} if own.sizes["run"] else {}) | departing
    found = forest(named)
    caption = (
        "What training does to the collapse at settings that the source leaves open, each departing alone from the "
        "config. Left: ln R trained - ln R untrained of the same run. Right: (L_0 - loss) / (L_0 - L*), L_0 the "
        "optimum of one who sees no other position. "
        f"{_about(named)}"
    )
    falsified_by = (
        "S1-i: a setting whose rank does not fall by training; S1-ii: a setting at which the two ends of correlation "
        f'length fall alike. A claim that holds in the row "{OWN}" alone is a claim about that setting.'
    )
    alt = f"Change of ln R by training at other settings. {_facts(found)}."
    return [Drawn("settings", draw_forest(found), caption, alt, (), ("S1-i", "S1-ii"), falsified_by)]


def control_figures(dataset: xr.Dataset, config: Any) -> list[Drawn]:
    """Returns the figures of the controls, the settings and the block chains; none of a study that was not run."""
    return [*controls(dataset, config), *settings(dataset, config), *block_figures(dataset, config)]
