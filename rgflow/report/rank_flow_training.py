"""Figures of the rank-flow room against training step: loss beside its exact optima, and rank ratio."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from rgflow.report import figures as base
from rgflow.report.figures import Drawn
from rgflow.report.layer_figures import interval_text
from rgflow.report.rank_flow_cells import (
    ABOUT_FLOOR,
    FLOOR,
    MOST_PANELS,
    RATIO_LABEL,
    STEP_LABEL,
    Cell,
    Cells,
    about_lengths,
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


def _excess(cell: Cell) -> np.ndarray:
    return (cell.latest["loss"] - cell.latest["architecture_loss"]).values.astype(np.float64)


LOSS_LINES: dict[str, tuple[str, dict[str, Any]]] = {
    "blind_loss": ("sees no other position", {"color": base.GREY, "linewidth": 3.5, "alpha": 0.45}),
    "architecture_loss": (
        "optimum of this architecture",
        {"color": base.INK, "linewidth": 1.1, "linestyle": "--"},
    ),
    "bayes_loss": (
        "optimum with the whole sequence: $L^*$",
        {"color": base.GREEN, "linewidth": 1.3, "linestyle": ":"},
    ),
}
"""Exact losses drawn as levels: the variable, what it is, and how it is drawn."""


def _draw_loss(panel: Axes, cell: Cell) -> None:
    for name, (_, look) in LOSS_LINES.items():
        for level in sorted({float(x) for x in cell.runs[name].values if np.isfinite(x)}):
            panel.axhline(level, zorder=1.5, **look)
    recorded = cell.runs.dropna("step", how="all", subset=["loss"])
    values = recorded["loss"].transpose("run", "step").values.astype(np.float64)
    base.band_line(panel, recorded["step"].values, values, base.BLUE, True, marker="o")
    excess = f"excess {interval_text(_excess(cell))} nats" if cell.count else ""
    panel.set_title(f"{cell.name}\n{excess}")


def loss(cells: Cells, about: str) -> Drawn:
    """Draws the held-out loss against training step beside exact optima, by mixing and length."""
    mixings, lengths = mixings_of(cells), spread_lengths(cells)
    figure, axes = base.panels(len(mixings), len(lengths), 2.4, sharex="row", sharey=True)
    for line, mixing in zip(axes, mixings, strict=True):
        line[0].set_ylabel("held-out loss (nats)")
        for panel, cell in ((p, cells[mixing, x]) for p, x in zip(line, lengths, strict=True) if (mixing, x) in cells):
            _draw_loss(panel, cell)
            if not cell.count:
                base.say_empty(panel)
        last = max(
            (float(c.runs["steps"].max()) for c in cells.values() if c.mixing == mixing and c.count),
            default=1.0,
        )
        base.step_axis(line[0], last)
    for panel in axes[-1]:
        panel.set_xlabel(STEP_LABEL)
    levels = [Line2D([], [], label=text, **look) for text, look in LOSS_LINES.values()]
    base.legend(figure, [Line2D([], [], color=base.BLUE, marker="o", label="held-out loss"), *levels])
    caption = (
        "Loss on held-out masked tokens against training step, with the exact optima as levels. "
        f"{about}{about_lengths(cells)} The excess is the latest loss above the optimum of what the "
        "architecture can see."
    )
    falsified_by = (
        f"{base.NO_CLAIM}It shows whether one can be judged: a loss that stays at the highest level has "
        "learned no correlation, and whatever the ranks of such a network do is no renormalization of the data."
    )
    claims: tuple[str, ...] = ()
    if "attention" in mixings:
        claims = ("S1b-loss",)
        falsified_by = (
            "S1b-loss: attention and an MLP that end apart at the shortest correlation length, or together at the "
            "longest. A loss that stays at the highest level has learned no correlation, and the ranks of such a "
            "network speak of no renormalization of the data."
        )
    facts = [
        f"{c.name}: latest loss {interval_text(c.latest['loss'].values)} nats, excess {interval_text(_excess(c))}"
        for c in ends(cells)
    ]
    alt = "Held-out loss against training step. " + "; ".join(facts) + "."
    return Drawn("loss", figure, caption, alt, claims=claims, falsified_by=falsified_by)


def rank_training(cells: Cells, about: str) -> Drawn:
    """Draws the rank ratio against training step, one panel per mixing."""
    mixings, lengths = mixings_of(cells), lengths_of(cells)
    figure, axes = mixing_panels(mixings, 3.4, sharey=True)
    colours, faint = base.ordered_colours(lengths), len(lengths) <= MOST_PANELS
    for mixing, panel in axes.items():
        here = [c for c in cells.values() if c.mixing == mixing]
        for cell in (c for c in here if c.count):
            recorded = cell.runs.dropna("step", how="all", subset=["effective_rank"]).transpose("run", "step", ...)
            base.band_line(panel, recorded["step"].values, ratio_of(recorded), colours[cell.length], faint, marker="o")
            panel.axhline(floor_ratio(cell), color=colours[cell.length], **FLOOR)
        panel.set(title=f"mixing: {mixing}", xlabel=STEP_LABEL)
        base.step_axis(panel, max((float(c.runs["steps"].max()) for c in here if c.count), default=1.0))
        panel.axhline(1.0, color=base.GREY, linewidth=0.8)
        if not any(c.count for c in here):
            base.say_empty(panel)
    axes[mixings[0]].set_ylabel(RATIO_LABEL)
    axes[mixings[0]].set_ylim(bottom=0)
    base.legend(figure, [*length_handles(lengths, colours), floor_handle()])
    caption = (
        "Rank ratio of the last layer to the embedding against training step; 1 (grey) is no collapse "
        f"and the leftmost point the untrained network. {about} {ABOUT_FLOOR}"
    ).strip()
    falsified_by = "S1-i: curves that do not go down; S1-ii: curves of all correlation lengths that go down together."
    facts = [f"{c.name}: R from {interval_text(ratio_of(c.untrained))} to {interval_text(ratio_of(c.latest))}"
             for c in ends(cells)]  # fmt: skip
    alt = "Rank ratio against training step. " + "; ".join(facts) + "."
    return Drawn("rank_training", figure, caption, alt, (), ("S1-i", "S1-ii"), falsified_by)
