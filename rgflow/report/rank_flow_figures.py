"""Figures of the rank-flow room, drawn from the results dataset alone.

Read at position level, uncentred, unless a panel says otherwise. Dead runs are left out; a run that is not
finished is shown at its latest record.
"""

import json
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from rgflow.judging.intervals import Interval, bootstrap_difference, bootstrap_interval
from rgflow.judging.points import last_steps, planned_steps
from rgflow.judging.text import number_text
from rgflow.rank_flow import robustness
from rgflow.rank_flow.claims import LONG_RATIO, SELECTIVITY_BOUND, collapse_ratio, concentration
from rgflow.rank_flow.select import by_mixing_and_length, claim_runs
from rgflow.report import figures as base
from rgflow.report.figures import Drawn
from rgflow.report.layer_figures import (
    LINES,
    TRAINED,
    bar_handles,
    draw_depth,
    draw_depth_means,
    draw_drift,
    interval_text,
    line_handles,
)
from rgflow.report.rank_flow_cells import (
    ABOUT_FLOOR,
    FLOOR,
    MOST_PANELS,
    RATIO_LABEL,
    Cell,
    Cells,
    about_lengths,
    about_runs,
    cells_of,
    ends,
    floor_handle,
    floor_ratio,
    length_handles,
    lengths_of,
    mixing_panels,
    mixings_of,
    ratio_of,
    spread_lengths,
)
from rgflow.report.rank_flow_controls import control_figures
from rgflow.report.rank_flow_phases import phase_figures
from rgflow.report.rank_flow_relevance import relevance_figures
from rgflow.report.rank_flow_robustness import robustness_figure
from rgflow.report.rank_flow_training import loss, rank_training

MIXING_COLOURS = (base.BLUE, base.VERMILION, base.GREEN, base.ORANGE, base.PURPLE)
DEPTH_LABEL = "depth (layer; 0 = embedding)"


def _rank_alt(cell: Cell) -> str:
    rank = cell.latest["effective_rank"].sel(cell.reading)
    first = float(rank.isel(layer=0).mean())
    trained, untrained = interval_text(ratio_of(cell.latest)), interval_text(ratio_of(cell.untrained))
    floor = f"exact predictor {cell.floor(cell.reading['centring']):.3g}"
    return f"{cell.name}: from {first:.3g} at the embedding, R = {trained} trained, {untrained} untrained, {floor}"


def effective_rank_depth(cells: Cells, about: str) -> Drawn:
    """Draws effective rank against depth, one panel per mixing, trained and untrained."""
    mixings, lengths = mixings_of(cells), lengths_of(cells)
    figure, axes = mixing_panels(mixings, 3.6, sharex=True, sharey=True)
    colours, faint = base.ordered_colours(lengths), len(lengths) <= MOST_PANELS
    for mixing, panel in axes.items():
        here = [c for c in cells.values() if c.mixing == mixing]
        for cell in here:
            draw_depth(panel, cell.states("effective_rank", **cell.reading), colours[cell.length], faint)
            panel.axhline(cell.floor(cell.reading["centring"]), color=colours[cell.length], **FLOOR)
        panel.set(title=f"mixing: {mixing}", xlabel=DEPTH_LABEL)
        base.log_axis(panel, "y", (1, 1.5, 2, 3, 5, 7))
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        if not any(c.count for c in here):
            base.say_empty(panel)
    axes[mixings[0]].set_ylabel("effective rank")
    base.legend(figure, [*length_handles(lengths, colours), *line_handles(), floor_handle()])
    caption = (
        "Effective rank of the residual stream against depth (position level, uncentred; logarithmic "
        "axis, so equal drops are equal ratios). "
        f"{about}{' Faint lines are single runs.' if faint else ''} {ABOUT_FLOOR}"
    ).strip()
    falsified_by = (
        "S1-i: solid lines that fall no more than the dashed ones of the same colour, or rise somewhere on their way; "
        "S1-ii: solid lines that fall alike at all correlation lengths."
    )
    claims = ("S1-i", "S1-ii")
    if "attention" in mixings:
        claims = (*claims, "S1b-rank")
        falsified_by += " S1b-rank: at the longest length, attention at layer 1 below the number of symbols."
    alt = "Effective rank against depth. " + "; ".join(_rank_alt(c) for c in ends(cells)) + "."
    return Drawn("effective_rank_depth", figure, caption, alt, (), claims, falsified_by)


def effective_rank_levels(cells: Cells, about: str) -> Drawn:
    """Draws effective rank against depth for every level (columns) and every mixing and centring (rows)."""
    some = next(iter(cells.values())).runs
    levels, centrings = some["level"].values.tolist(), some["centring"].values.tolist()
    rows = [(m, c) for m in mixings_of(cells) for c in centrings]
    lengths = spread_lengths(cells)
    colours = base.ordered_colours(lengths)
    figure, axes = base.panels(len(rows), len(levels), 1.75, sharex=True, sharey=True)
    for line, (mixing, centring) in zip(axes, rows, strict=True):
        for panel, level in zip(line, levels, strict=True):
            for cell in (cells[mixing, x] for x in lengths if (mixing, x) in cells):
                draw_depth_means(
                    panel, cell.states("effective_rank", level=level, centring=centring), colours[cell.length]
                )
                if panel.has_data():
                    panel.axhline(cell.floor(centring), color=colours[cell.length], **FLOOR)
            if not panel.has_data():
                some_live = any(cells[mixing, x].count for x in lengths if (mixing, x) in cells)
                base.say_empty(panel, "undefined:\nall rows are equal" if some_live else "no live run")
            base.log_axis(panel, "y")
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        line[0].set_ylabel(f"{mixing}, {centring}\neffective rank")
    for panel, level in zip(axes[0], levels, strict=True):
        panel.set_title(f"level: {level}")
    figure.supxlabel(DEPTH_LABEL, fontsize=9)
    base.legend(figure, [*length_handles(lengths, colours), *line_handles(), floor_handle()])
    caption = (
        "The same effective rank read from other rows (columns: all positions, the scored ones, the "
        "others, the mean over each sequence) and with or without the column mean subtracted (rows). "
        f"{about} Means only here. {ABOUT_FLOOR}"
    ).strip()
    falsified_by = (
        "S1-i and S1-ii as statements about the stream: a collapse, or a difference between the lengths, that shows in "
        "some panels only. One that is there uncentred and gone when centred is a shift of the mean and no loss of "
        "directions."
    )
    drops = []
    for cell in ends(cells):
        rank = {c: collapse_ratio(cell.latest["effective_rank"].sel(level="position", centring=c)) for c in centrings}
        drops.append(f"{cell.name}: " + ", ".join(f"{float(r.mean()):.3g} {c}" for c, r in rank.items()))
    alt = "Effective rank against depth by level and centring. Trained rank ratio at position level, " + "; ".join(
        drops
    )
    return Drawn("effective_rank_levels", figure, caption, alt + ".", (), ("S1-i", "S1-ii"), falsified_by)


def _defined(drift: xr.DataArray) -> xr.DataArray:
    """Returns a drift without the transitions that other networks of the sweep have and these do not."""
    found = drift.dropna("transition", how="all")
    return found if found.size else drift


def kernel_drift(cells: Cells, about: str) -> Drawn:
    """Draws kernel drift per transition, trained beside untrained, panels mixing x correlation length."""
    mixings, lengths = mixings_of(cells), spread_lengths(cells)
    figure, axes = base.panels(len(mixings), len(lengths), 2.4, sharex=True, sharey=True)
    colours, facts = base.ordered_colours(lengths), []
    for line, mixing in zip(axes, mixings, strict=True):
        line[0].set_ylabel("kernel drift, 1 - CKA")
        for panel, cell in ((p, cells[mixing, x]) for p, x in zip(line, lengths, strict=True) if (mixing, x) in cells):
            drift = {
                state: _defined(x.astype(np.float64))
                for state, x in cell.states("kernel_drift", **cell.reading).items()
            }
            draw_drift(panel, drift, colours[cell.length])
            share = {state: interval_text(concentration(x, 2).values) for state, x in drift.items()}
            shares = f"$C_2$ = {share['trained']} trained\n{share['untrained']} untrained"
            panel.set_title(f"{cell.name}\n{shares}" if cell.count else cell.name)
            facts += [f"{cell.name}: {share['trained']} trained, {share['untrained']} untrained"] if cell.count else []
            if not cell.count:
                base.say_empty(panel)
    for panel in axes[-1]:
        panel.set_xlabel("transition (layer \u2192 layer)")
    base.legend(figure, bar_handles())
    caption = (
        "Change of the Gram matrix from one layer to the next; C2 is the share of the two largest in the "
        f"total. {about}{about_lengths(cells)}"
    )
    falsified_by = (
        "S1-iii: filled bars spread evenly over the transitions, or no more concentrated than the hatched ones."
    )
    alt = "Kernel drift per transition. Share of the two largest, " + "; ".join(facts) + "."
    return Drawn("kernel_drift", figure, caption, alt, (), ("S1-iii",), falsified_by)


def _points(panel: Axes, lengths: list[float], found: list[Interval], **look: Any) -> None:
    mean, low, high = (np.array([x[k] for x in found], float) for k in range(3))
    panel.plot(lengths, mean, **look)
    seen = np.isfinite(low)
    error = np.abs(np.stack([mean - low, high - mean])[:, seen])
    x = np.asarray(lengths)[seen]
    panel.errorbar(x, mean[seen], error, fmt="none", ecolor=look["color"], elinewidth=1, capsize=2)


def _selectivity(cell: Cell, longest: Cell) -> Interval:
    change = [np.log(ratio_of(c.latest)) - np.log(ratio_of(c.untrained)) for c in (cell, longest)]
    return bootstrap_difference(change[0], change[1], resamples=base.RESAMPLES)


def rank_ratio_correlation_length(cells: Cells, about: str) -> Drawn:
    """Draws rank ratio and selectivity against correlation length, for sweeps of more than two lengths."""
    figure, axes = base.panels(1, 2, 3.4, sharex=True)
    ratio_panel, selectivity_panel = axes[0]
    facts, mixings = [], mixings_of(cells)
    # The mixings are shifted by 2 % from each other, so that their bars can be told apart.
    for mixing, colour, shift in zip(mixings, MIXING_COLOURS, (0.98, 1.02, 1.0, 0.96, 1.04), strict=False):
        here = [c for c in cells.values() if c.mixing == mixing and c.count]
        lengths = [c.length * shift for c in here]
        for state, which in (("untrained", "untrained"), ("trained", "latest")):
            found = [bootstrap_interval(ratio_of(getattr(c, which)), resamples=base.RESAMPLES) for c in here]
            _points(ratio_panel, lengths, found, color=colour, **LINES[state])
        ratio_panel.plot(lengths, [floor_ratio(c) for c in here], color=colour, **FLOOR)
        selectivity = [_selectivity(c, here[-1]) for c in here[:-1]]
        _points(selectivity_panel, lengths[:-1], selectivity, color=colour, **TRAINED)
        facts += [f"{mixing}: {number_text(*selectivity[0][:3])} at length {here[0].length:g}"] if selectivity else []
    bound = {"color": base.GREY, "linestyle": (0, (1, 3)), "linewidth": 2}
    ratio_panel.axhline(LONG_RATIO, **bound)
    selectivity_panel.axhline(SELECTIVITY_BOUND, **bound)
    for panel in axes[0]:
        panel.set_xlabel("correlation length (tokens)")
        base.log_axis(panel, "x")
    ratio_panel.set(ylabel=RATIO_LABEL, ylim=(0, None))
    selectivity_panel.set_ylabel("selectivity S against the longest length")
    names = [Line2D([], [], color=c, label=m) for m, c in zip(mixings, MIXING_COLOURS, strict=False)]
    bound_handle = Line2D([], [], label="bound of claim S1-ii", **bound)
    base.legend(figure, [*names, *line_handles(), floor_handle(), bound_handle])
    caption = (
        "Left: rank ratio against correlation length. Right: selectivity S = mean ln R(length) - mean ln "
        f"R(longest), trained minus untrained. {about} {ABOUT_FLOOR}"
    ).strip()
    falsified_by = (
        f"S1-ii: S above {SELECTIVITY_BOUND} at the shortest length, or R below {LONG_RATIO} at the longest (grey "
        "bounds); S1-i: R of the trained no lower than that of the untrained network."
    )
    alt = "Rank ratio and selectivity against correlation length. Selectivity, " + "; ".join(facts) + "."
    return Drawn("rank_ratio_correlation_length", figure, caption, alt, (), ("S1-ii", "S1-i"), falsified_by)


FIGURES = (effective_rank_depth, rank_training, kernel_drift, loss, effective_rank_levels)


def claim_figures(dataset: xr.Dataset) -> list[Drawn]:
    """Returns the figures of the claims' own runs; that against correlation length with more than two lengths."""
    if not dataset.sizes["run"]:
        return []
    cells, about = cells_of(dataset), about_runs(dataset)
    drawn = [f(cells, about) for f in FIGURES]
    if len(lengths_of(cells)) > 2:
        drawn.insert(1, rank_ratio_correlation_length(cells, about))
    return drawn


def robustness_readings(dataset: xr.Dataset) -> list[robustness.Reading]:
    """Returns every reading of every claim, on the claims' runs that have reached their last step."""
    claims = claim_runs(dataset, json.loads(dataset.attrs["config"]))
    ended = (last_steps(claims) >= planned_steps(claims)) | (claims["died_at"].values >= 0)
    ended &= np.isin(planned_steps(claims), claims["step"].values)
    return robustness.readings(by_mixing_and_length(claims.isel(run=ended)))


def figures(dataset: xr.Dataset) -> list[Drawn]:
    """Returns every figure that the studies of a sweep allow: claims, readings, relevance, controls, blocks, phases."""
    config = json.loads(dataset.attrs["config"])
    claims = claim_runs(dataset, config)
    table = robustness_figure(robustness_readings(dataset))
    return [
        *claim_figures(claims),
        *([table] if table else []),
        *relevance_figures(dataset, config),
        *control_figures(dataset, config),
        *phase_figures(dataset, config),
    ]
