"""Block chains of the rank-flow room: does the rank follow the number of relevant modes, and are those the ones kept?

A chain of G blocks has exactly G - 1 relevant modes; what the context says about a token is G numbers, whatever V is.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from rgflow.judging.intervals import Interval
from rgflow.rank_flow.blocks import SCORED
from rgflow.rank_flow.select import block_runs, where
from rgflow.report import figures as base
from rgflow.report.figures import Drawn
from rgflow.report.interval_marks import interval_of, interval_points, two_decimals
from rgflow.report.layer_figures import TRAINED, UNTRAINED
from rgflow.report.rank_flow_cells import Cell, Cells, about_runs, cells_of, length_handles, mixings_of, spread_lengths

RELEVANT_MODULUS = 1e-6
"""Least |lambda| of a relevant mode of a block chain; the others have eigenvalue 0 up to rounding."""

PREDICTOR = "predictor_effective_rank"
LINES: list[tuple[str, str, str, dict[str, Any]]] = [
    ("effective rank", "effective_rank", "latest", {"color": base.BLUE, **TRAINED}),
    ("the same, untrained", "effective_rank", "untrained", {"color": base.BLUE, **UNTRAINED}),
    ("participation ratio", "participation_ratio", "latest", {"color": base.VERMILION, **TRAINED}),
    ("numerical rank", "numerical_rank", "latest", {"color": base.GREEN, **TRAINED}),
    ("exact optimal predictor", PREDICTOR, "latest", {"color": base.INK, "marker": "D", "linestyle": "-."}),
]
"""Ranks against the number of relevant modes: name, variable, state of the network, look."""

IDENTITY: dict[str, Any] = {"color": base.GREY, "linestyle": ":", "linewidth": 1.8}

Blocks = dict[int, Cells]
"""Cells by the number of relevant modes, G - 1."""


def blocks_of(dataset: xr.Dataset, config: Any) -> Blocks:
    """Returns the cells of the block chains by the number of their relevant modes, increasing."""
    runs = block_runs(dataset, config)
    groups = sorted(set(runs["chain.groups"].values.tolist()))
    return {g - 1: cells_of(where(runs, {"chain.groups": g})) for g in groups}


def last_layer(values: xr.DataArray) -> xr.DataArray:
    """Returns the values at the deepest layer."""
    return values.isel(layer=-1)


def cells_at(blocks: Blocks, mixing: str, length: float) -> dict[int, Cell]:
    """Returns the cells of one mixing and length that have live runs, by the number of relevant modes."""
    found = {modes: cells.get((mixing, length)) for modes, cells in blocks.items()}
    return {modes: cell for modes, cell in found.items() if cell is not None and cell.count}


def rank_interval(cell: Cell, measure: str, which: str) -> Interval:
    """Returns a rank at scored positions, centred, at the last layer; of the exact predictor, its own."""
    ranks = getattr(cell, which)[measure]
    if measure == PREDICTOR:
        return interval_of(ranks.sel(centring=SCORED["centring"]).values)
    return interval_of(last_layer(ranks.sel(SCORED)).values)


def kept(cell: Cell, relevant: bool) -> Interval:
    """Returns the mean held-out R^2, at the last layer of the trained stack, of the relevant or of the other modes."""
    is_relevant = cell.latest["mode_modulus"] > RELEVANT_MODULUS
    wanted = last_layer(cell.latest["mode_r2"]).where(is_relevant if relevant else ~is_relevant)
    return interval_of(wanted.mean("mode").values)


def with_ranks(blocks: Blocks) -> list[str]:
    """Returns the mixings whose stream has a rank at scored positions: not constant there, and one per position."""
    cells = [cell for found in blocks.values() for cell in found.values() if cell.count]
    having = [c.mixing for c in cells if np.isfinite(rank_interval(c, "effective_rank", "latest").mean)]
    return list(dict.fromkeys(having))


def _draw_ranks(axes: Axes, cells: Mapping[int, Cell], numbers: list[int]) -> None:
    axes.plot([numbers[0] / 1.3, numbers[-1] * 1.3], [numbers[0] / 1.3, numbers[-1] * 1.3], zorder=1, **IDENTITY)
    for _, measure, which, look in LINES:
        interval_points(axes, list(cells), [rank_interval(c, measure, which) for c in cells.values()], **look)
    if not cells:
        base.say_empty(axes)


def _draw_kept(axes: Axes, blocks: Blocks, mixing: str, colours: Mapping[float, Any]) -> None:
    # The lengths are shifted by 4 % either way, so that their bars can be told apart.
    shifts = 1.04 ** (2 * np.arange(len(colours)) - len(colours) + 1)
    for (x, colour), shift in zip(colours.items(), shifts, strict=True):
        cells = cells_at(blocks, mixing, x)
        for relevant, look in ((True, TRAINED), (False, UNTRAINED)):
            found = [kept(cell, relevant) for cell in cells.values()]
            interval_points(axes, [modes * shift for modes in cells], found, color=colour, **look)
    # A readout worse than the mean says no more by being much worse.
    axes.set_ylim(min(-0.2, max(-1.0, axes.get_ylim()[0])), 1.05)


def _modes_axis(axes: Axes, numbers: list[int]) -> None:
    axes.set_xscale("log")
    axes.set_xticks(numbers, [str(n) for n in numbers])
    axes.set_xticks([], minor=True)
    axes.set_xlim(numbers[0] / 1.3, numbers[-1] * 1.3)


def _cell_text(cell: Cell, modes: int) -> str:
    ranks = {name: two_decimals(rank_interval(cell, measure, which)) for name, measure, which, _ in LINES}
    text = ", ".join(f"{name} {value}" for name, value in ranks.items())
    r2 = f"R squared {two_decimals(kept(cell, True))} of relevant, {two_decimals(kept(cell, False))} of other modes"
    return f"{cell.name}, {modes} relevant: {text}, {r2}"


def block_figures(dataset: xr.Dataset, config: Any) -> list[Drawn]:
    """Returns the figure of the block chains; none where they were not run or no stream has a rank."""
    blocks = blocks_of(dataset, config)
    mixings = with_ranks(blocks)
    if not mixings:
        return []
    every = {name: cell for cells in blocks.values() for name, cell in cells.items()}
    lengths, numbers = spread_lengths(every), list(blocks)
    colours = base.ordered_colours(lengths)
    figure, axes = base.panels(len(mixings), len(lengths) + 1, 2.5)
    figure.set_size_inches(base.WIDTH_INCHES, 2.5 * len(mixings) + 1.1)
    for line, mixing in zip(axes, mixings, strict=True):
        for panel, x in zip(line, lengths, strict=False):
            _draw_ranks(panel, cells_at(blocks, mixing, x), numbers)
            base.log_axis(panel, "y")
            panel.set_title(f"{mixing}, length {x:g}")
            panel.sharey(line[0])
        _draw_kept(line[-1], blocks, mixing, colours)
        line[-1].set_title(f"{mixing}: modes kept")
        line[0].set_ylabel("rank, last layer")
        line[-1].set_ylabel("mean held-out $R^2$, last layer")
        for panel in line:
            _modes_axis(panel, numbers)
    figure.supxlabel("relevant modes of the chain, G - 1", fontsize=9)
    ranks = [Line2D([], [], label=name, **look) for name, *_, look in LINES]
    marks = [
        Line2D([], [], label="rank = G - 1", **IDENTITY),
        *length_handles(lengths, colours),
        Line2D([], [], color=base.INK, label="relevant modes", **TRAINED),
        Line2D([], [], color=base.INK, label="other modes", **UNTRAINED),
    ]
    figure.legend(handles=[*ranks, *marks], loc="outside upper center", ncols=5, columnspacing=1.5)
    missing = [m for m in mixings_of(every) if m not in mixings]
    why = " Not shown, for their stream has no rank at scored positions (equal rows, or no row per position): "
    absent = f"{why}{', '.join(missing)}." if missing else ""
    caption = (
        "Chains of G equal blocks, which have G - 1 relevant modes. Left: ranks of the centred stream at scored "
        "positions, last layer, and of the exact optimal predictor's centred logits, on logarithmic axes. Right: "
        "mean held-out R^2 of the relevant modes at the neighbours and of the others, whose eigenvalue is 0 "
        "(trained, last layer). "
        f"{about_runs(block_runs(dataset, config))}{absent}"
    )
    falsified_by = (
        "S1-blocks: trained ranks that do not grow along the axis, or no more than untrained ones. "
        "S1-i as a collapse onto the relevant degrees of freedom: trained ranks that stay above the dotted line or do "
        "not grow along it, and other modes read out as well as the relevant ones."
    )
    facts = [
        _cell_text(cell, modes)
        for mixing in mixings
        for x in lengths
        for modes, cell in cells_at(blocks, mixing, x).items()
    ]
    alt = f"Ranks against the number of relevant modes. {'; '.join(facts)}."
    return [Drawn("blocks", figure, caption, alt, (), ("S1-blocks", "S1-i"), falsified_by)]
