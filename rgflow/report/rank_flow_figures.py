"""Figures of the rank-flow room, drawn from the results dataset alone.

Read at position level, uncentred, unless a panel says otherwise. Dead runs are left out; a run that is not
finished is shown at its latest record.
"""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from rgflow.probes.stats import Interval, bootstrap_difference, bootstrap_interval
from rgflow.rank_flow.verdict import LONG_RATIO, READING, SELECTIVITY_BOUND, collapse_ratio, concentration
from rgflow.report import figures as base
from rgflow.report.figures import Drawn
from rgflow.report.rank_flow_cells import (
    MOST_PANELS,
    RATIO_LABEL,
    TRAINED,
    UNTRAINED,
    Cell,
    Cells,
    about_lengths,
    about_runs,
    cells_of,
    ends,
    interval_text,
    length_handles,
    lengths_of,
    mixings_of,
    ratio_of,
    spread_lengths,
    trained_handles,
)
from rgflow.report.rank_flow_training import loss, rank_training
from rgflow.report.tables import number_text

MIXING_COLOURS = (base.BLUE, base.VERMILION)
DEPTH_LABEL = "depth (layer; 0 = embedding)"


def _by_depth(values: xr.DataArray) -> list[np.ndarray]:
    """Splits [run, layer] into runs of equal depth: a mean over several depths would bend."""
    depth = values.notnull().sum("layer").values
    return [values.values[depth == d].astype(np.float64) for d in sorted(set(depth.tolist()) - {0})]


def _draw_depth(axes: Axes, cell: Cell, colour: Any, faint: bool) -> None:
    for records, look in ((cell.untrained, UNTRAINED), (cell.latest, TRAINED)):
        for values in _by_depth(records["effective_rank"].sel(READING).transpose("run", "layer")):
            base.band_line(axes, np.arange(values.shape[1]), values, colour, faint, **look)


def _draw_level(axes: Axes, cell: Cell, reading: dict[str, str], colour: Any) -> None:
    for records, look in ((cell.untrained, UNTRAINED), (cell.latest, TRAINED)):
        for values in _by_depth(records["effective_rank"].sel(reading).transpose("run", "layer")):
            small = {**look, "markersize": 2.5, "linewidth": 1.3}
            base.mean_line(axes, np.arange(values.shape[1]), values, colour, **small)


def _rank_alt(cell: Cell) -> str:
    rank = cell.latest["effective_rank"].sel(READING)
    first = float(rank.isel(layer=0).mean())
    trained, untrained = interval_text(ratio_of(cell.latest)), interval_text(ratio_of(cell.untrained))
    return f"{cell.name}: from {first:.3g} at the embedding, R = {trained} trained, {untrained} untrained"


def effective_rank_depth(cells: Cells, about: str) -> Drawn:
    """Draws effective rank against depth, one panel per mixing, trained and untrained."""
    mixings, lengths = mixings_of(cells), lengths_of(cells)
    figure, axes = base.panels(1, len(mixings), 3.6, sharex=True, sharey=True)
    colours, faint = base.ordered_colours(lengths), len(lengths) <= MOST_PANELS
    for panel, mixing in zip(axes[0], mixings, strict=True):
        here = [c for c in cells.values() if c.mixing == mixing]
        for cell in here:
            _draw_depth(panel, cell, colours[cell.length], faint)
        panel.set(title=f"mixing: {mixing}", xlabel=DEPTH_LABEL)
        base.log_axis(panel, "y", (1, 1.5, 2, 3, 5, 7))
        panel.xaxis.get_major_locator().set_params(integer=True)
        if not any(c.count for c in here):
            base.say_empty(panel)
    axes[0, 0].set_ylabel("effective rank")
    base.legend(figure, [*length_handles(lengths, colours), *trained_handles()])
    caption = (
        "Effective rank of the residual stream against depth (position level, uncentred; logarithmic "
        "axis, so equal drops are equal ratios). "
        f"{about}{' Faint lines are single runs.' if faint else ''} Claim S1-i would be falsified by "
        "solid lines that fall no more than the dashed ones of the same colour; S1-ii by solid lines "
        "that fall alike at all correlation lengths."
    )
    alt = "Effective rank against depth. " + "; ".join(_rank_alt(c) for c in ends(cells)) + "."
    return Drawn("effective_rank_depth", figure, caption, alt)


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
                _draw_level(panel, cell, {"level": level, "centring": centring}, colours[cell.length])
            if not panel.has_data():
                some_live = any(cells[mixing, x].count for x in lengths if (mixing, x) in cells)
                base.say_empty(panel, "undefined:\nall rows are equal" if some_live else "no live run")
            base.log_axis(panel, "y")
            panel.xaxis.get_major_locator().set_params(integer=True)
        line[0].set_ylabel(f"{mixing}, {centring}\neffective rank")
    for panel, level in zip(axes[0], levels, strict=True):
        panel.set_title(f"level: {level}")
    figure.supxlabel(DEPTH_LABEL, fontsize=9)
    base.legend(figure, [*length_handles(lengths, colours), *trained_handles()])
    caption = (
        "The same effective rank read from other rows (columns: all positions, the scored ones, the "
        "others, the mean over each sequence) and with or without the column mean subtracted (rows). "
        f"{about} Means only here. A collapse that shows in one reading only, such as uncentred only, is "
        "a shift of the mean and not a loss of directions."
    )
    drops = []
    for cell in ends(cells):
        rank = {c: collapse_ratio(cell.latest["effective_rank"].sel(level="position", centring=c)) for c in centrings}
        drops.append(f"{cell.name}: " + ", ".join(f"{float(r.mean()):.3g} {c}" for c, r in rank.items()))
    alt = "Effective rank against depth by level and centring. Trained rank ratio at position level, " + "; ".join(
        drops
    )
    return Drawn("effective_rank_levels", figure, caption, alt + ".")


def _drift(records: xr.Dataset) -> xr.DataArray:
    return records["kernel_drift"].sel(READING).transpose("run", "transition").astype(np.float64)


def _draw_drift(panel: Axes, cell: Cell, colour: Any) -> None:
    looks = ((cell.untrained, -0.2, {"facecolor": "white", "edgecolor": colour, "hatch": "////"}),
             (cell.latest, 0.2, {"facecolor": colour, "edgecolor": colour}))  # fmt: skip
    for records, shift, look in looks:
        drift = _drift(records)
        mean, low, high = base.mean_and_band(drift.values)
        x = np.arange(mean.size) + shift
        panel.bar(x, mean, 0.38, linewidth=0.8, **look)
        seen = np.isfinite(low)
        error = np.abs(np.stack([mean - low, high - mean])[:, seen])
        panel.errorbar(x[seen], mean[seen], error, fmt="none", ecolor=base.INK, elinewidth=1, capsize=2)
    panel.set_xticks(np.arange(mean.size), [f"{k}\u2192{k + 1}" for k in drift["transition"].values])


def kernel_drift(cells: Cells, about: str) -> Drawn:
    """Draws kernel drift per transition, trained beside untrained, panels mixing x correlation length."""
    mixings, lengths = mixings_of(cells), spread_lengths(cells)
    figure, axes = base.panels(len(mixings), len(lengths), 2.4, sharex=True, sharey=True)
    colours, facts = base.ordered_colours(lengths), []
    for line, mixing in zip(axes, mixings, strict=True):
        line[0].set_ylabel("kernel drift, 1 - CKA")
        for panel, cell in ((p, cells[mixing, x]) for p, x in zip(line, lengths, strict=True) if (mixing, x) in cells):
            _draw_drift(panel, cell, colours[cell.length])
            share = [interval_text(concentration(_drift(d), 2).values) for d in (cell.latest, cell.untrained)]
            shares = f"$C_2$ = {share[0]} trained\n{share[1]} untrained"
            panel.set_title(f"{cell.name}\n{shares}" if cell.count else cell.name)
            facts += [f"{cell.name}: {share[0]} trained, {share[1]} untrained"] if cell.count else []
            if not cell.count:
                base.say_empty(panel)
    for panel in axes[-1]:
        panel.set_xlabel("transition (layer \u2192 layer)")
    hatched = Patch(facecolor="white", edgecolor=base.INK, hatch="////", label="untrained")
    base.legend(figure, [Patch(facecolor=base.INK, label="trained"), hatched])
    caption = (
        "Change of the Gram matrix from one layer to the next; C2 is the share of the two largest in the "
        f"total. {about}{about_lengths(cells)} Claim S1-iii would be falsified by filled bars spread "
        "evenly over the transitions, or no more concentrated than the hatched ones."
    )
    alt = "Kernel drift per transition. Share of the two largest, " + "; ".join(facts) + "."
    return Drawn("kernel_drift", figure, caption, alt)


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
    # The mixings are shifted by 2 % either way, so that their bars can be told apart.
    for mixing, colour, shift in zip(mixings, MIXING_COLOURS, (0.98, 1.02), strict=False):
        here = [c for c in cells.values() if c.mixing == mixing and c.count]
        lengths = [c.length * shift for c in here]
        for which, look in (("untrained", UNTRAINED), ("latest", TRAINED)):
            found = [bootstrap_interval(ratio_of(getattr(c, which)), resamples=base.RESAMPLES) for c in here]
            _points(ratio_panel, lengths, found, color=colour, **look)
        selectivity = [_selectivity(c, here[-1]) for c in here[:-1]]
        _points(selectivity_panel, lengths[:-1], selectivity, color=colour, **TRAINED)
        facts += [f"{mixing}: {number_text(*selectivity[0][:3])} at length {here[0].length:g}"] if selectivity else []
    bound = {"color": base.GREY, "linestyle": ":", "linewidth": 1.5}
    ratio_panel.axhline(LONG_RATIO, **bound)
    selectivity_panel.axhline(SELECTIVITY_BOUND, **bound)
    for panel in axes[0]:
        panel.set_xlabel("correlation length (tokens)")
        base.log_axis(panel, "x")
    ratio_panel.set(ylabel=RATIO_LABEL, ylim=(0, None))
    selectivity_panel.set_ylabel("selectivity S against the longest length")
    names = [Line2D([], [], color=c, label=m) for m, c in zip(mixings, MIXING_COLOURS, strict=False)]
    base.legend(figure, [*names, *trained_handles(), Line2D([], [], label="bound of claim S1-ii", **bound)])
    caption = (
        "Left: rank ratio against correlation length. Right: selectivity S = mean ln R(length) - mean ln "
        f"R(longest), trained minus untrained. {about} Claim S1-ii needs S below {SELECTIVITY_BOUND} at "
        f"the shortest length and R above {LONG_RATIO} at the longest; points outside these dotted bounds "
        "falsify it."
    )
    alt = "Rank ratio and selectivity against correlation length. Selectivity, " + "; ".join(facts) + "."
    return Drawn("rank_ratio_correlation_length", figure, caption, alt)


FIGURES = (effective_rank_depth, rank_training, kernel_drift, loss, effective_rank_levels)


def figures(dataset: xr.Dataset) -> list[Drawn]:
    """Returns every figure of the room; that against correlation length only with more than two lengths."""
    cells, about = cells_of(dataset), about_runs(dataset)
    drawn = [f(cells, about) for f in FIGURES]
    if len(lengths_of(cells)) > 2:
        drawn.insert(1, rank_ratio_correlation_length(cells, about))
    return drawn
