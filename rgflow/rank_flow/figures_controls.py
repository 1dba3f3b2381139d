"""Figures of what training does to the rank on other tasks: controls, settings that the source leaves open, blocks."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from rgflow.judging.intervals import Interval, t_interval
from rgflow.judging.points import where
from rgflow.plots.figure import Figure, about_runs
from rgflow.plots.forest import Branch, Forest
from rgflow.plots.panel import Guide, Panel, Series
from rgflow.protocol import Results
from rgflow.rank_flow.blocks import SCORED, last_rank
from rgflow.rank_flow.collapse import log_ratio, reading_of
from rgflow.rank_flow.learning import ATTAINABLE_NATS, LEARNED_FRACTION, best_loss, learned_fraction
from rgflow.rank_flow.readings import OWN
from rgflow.rank_flow.select import (
    Cell,
    block_runs,
    claim_runs,
    control_runs,
    live_cells,
    setting_runs,
    some_lengths,
)

LIMITS = (-1.0, 1.1)
"""Fractions below are arrows: how much worse than nothing a network is says nothing."""

RELEVANT_MODULUS = 1e-6
"""Least |lambda| of a slow mode of a block chain; the others have eigenvalue 0 up to rounding."""

Named = Mapping[str, xr.Dataset]


def change(cell: Cell) -> Interval:
    """Returns ln R of the trained less that of the untrained network."""
    reading = reading_of(cell.runs)
    return t_interval(log_ratio(cell.latest, reading) - log_ratio(cell.untrained, reading))


def learned(cell: Cell) -> tuple[Interval, str]:
    """Returns the fraction of the attainable information that was learned, and what to say where there is none."""
    attainable = (cell.latest["blind_loss"] - best_loss(cell.latest)).values
    known = attainable[np.isfinite(attainable)]
    if not cell.count:
        return t_interval([]), "no live run"
    if not known.size:
        return t_interval([]), "no closed form"
    return t_interval(learned_fraction(cell.latest).values), (
        "nothing to learn" if known.max() < ATTAINABLE_NATS else "undefined"
    )


def forests(named: Named) -> list[Forest]:
    """Returns two panels per mixing: what training does to ln R, and how much of the attainable was learned."""
    cells = {name: some_lengths(live_cells(runs)) for name, runs in named.items()}
    panels = []
    for mixing in dict.fromkeys(cell.mixing for found in cells.values() for cell in found):
        mine = [(name, cell) for name, found in cells.items() for cell in found if cell.mixing == mixing]
        changes = [
            Branch(name, cell.length, change(cell), "undefined" if cell.count else "no live run") for name, cell in mine
        ]
        fractions = [Branch(name, cell.length, *learned(cell)) for name, cell in mine]
        least = Guide("least for a verdict on the data", x=LEARNED_FRACTION)
        panels += [
            Forest(f"{mixing}: change by training", changes, x="ln R trained - ln R untrained"),
            Forest(f"{mixing}: information learned", fractions, [least], names=False, limits=LIMITS,
                   x="share of the attainable information"),
        ]  # fmt: skip
    return panels


LEFT_RIGHT = (
    "Left: ln R of the trained less that of the untrained network, R being the rank of the last layer over that of the "
    "embedding. Right: (L_0 - loss) / (L_0 - L*), L_0 being the least loss without sight of other positions."
)


def of_mixings(runs: xr.Dataset, others: Named) -> xr.Dataset:
    """Returns the runs with the mixings that occur in others."""
    mixings = {mixing for other in others.values() for mixing in other["mixing"].values.tolist()}
    return runs.isel(run=np.isin(runs["mixing"].values, sorted(mixings)))


def forest_figure(name: str, named: Named, caption: str, falsified_by: Mapping[str, str]) -> Figure:
    """Returns the figure of some named runs."""
    about = about_runs(xr.concat(list(named.values()), "run"))
    return Figure(
        name=name, group="length {:g} tokens", columns=2, share_x=False, share_y=False, falsified_by=falsified_by,
        caption=f"{caption} {LEFT_RIGHT} Arrows lie outside the axis. {about}", panels=forests(named),
    )  # fmt: skip


def controls(results: Results) -> list[Figure]:
    """Returns the forest of all controls beside the claims' own runs; none where only the latter were run."""
    every = control_runs(results.dataset, results.config)
    others = {name.replace("_", " "): runs for name, runs in every.items() if name != "none"}
    if not others:
        return []
    own = of_mixings(every["none"], others) if "none" in every else None
    named = ({"none (claims)": own} if own is not None and own.sizes["run"] else {}) | others
    return [forest_figure(
        "controls", named,
        "What training does to the rank where there is less to learn. Random labels and iid tokens hold nothing beyond "
        "the marginals; lazy chains have one eigenvalue and uniform or Zipf marginals.",
        {"S1-data": "controls with nothing to learn whose rank falls as much as in the first row",
         "S1-i": "as a statement about the data, by the same",
         "S1-ii": "the two ends of correlation length falling alike in the first row"},
    )]  # fmt: skip


def settings(results: Results) -> list[Figure]:
    """Returns the forest of the settings that were varied, the config's own first; none where there is none."""
    departing = setting_runs(results.dataset, results.config)
    if not departing:
        return []
    own = of_mixings(claim_runs(results.dataset, results.config), departing)
    return [forest_figure(
        "settings", ({OWN: own} if own.sizes["run"] else {}) | departing,
        "What training does to the rank at settings that the source leaves open; each row departs from the config in "
        "one of them.",
        {"S1-i": "a setting at which the rank does not fall by training",
         "S1-ii": "a setting at which the two ends of correlation length fall alike"},
    )]  # fmt: skip


RANKS = {
    ("effective rank", "untrained"): "effective_rank",
    ("effective rank", "trained"): "effective_rank",
    ("participation ratio", "trained"): "participation_ratio",
    ("numerical rank", "trained"): "numerical_rank",
}
"""The measure behind every group and kind of a series of ranks."""


def slow_modes(cell: Cell) -> int:
    """Returns the number of slow modes of a block chain, G - 1."""
    return int(cell.runs["chain.groups"].values[0]) - 1


def rank_at_end(cell: Cell, measure: str, state: str = "trained") -> Interval:
    """Returns a rank at scored positions, centred, at the last layer."""
    return t_interval(last_rank(cell.latest if state == "trained" else cell.untrained, measure).values)


def ranks_panel(cells: Sequence[Cell]) -> Panel:
    """Returns ranks at scored positions against the number of slow modes, beside that of the exact predictor."""
    numbers = [slow_modes(cell) for cell in cells]
    found = [
        Series(name, kind, numbers, intervals=[rank_at_end(cell, measure, kind) for cell in cells])
        for (name, kind), measure in RANKS.items()
    ]
    exact = [t_interval(c.latest["predictor_effective_rank"].sel(centring=SCORED["centring"]).values) for c in cells]
    same = [Interval(float(number), np.nan, np.nan, 0) for number in numbers]
    found += [Series("exact optimal predictor", "exact", numbers, intervals=exact)]
    found += [Series("rank = G - 1", "exact", numbers, intervals=same)]
    return Panel(cells[0].place, found, y="rank, last layer", scale="log")


def kept(cell: Cell, slow: bool) -> Interval:
    """Returns the mean held-out R^2 of the slow or of the other modes at the last layer of the trained stack."""
    r2 = cell.latest["mode_r2"].isel(layer=cell.latest["depth"].astype(int))
    return t_interval(r2.where((cell.latest["mode_modulus"] > RELEVANT_MODULUS) == slow).mean("mode").values)


def kept_panel(cells: Sequence[Cell]) -> Panel:
    """Returns what can be read out of the last layer against the number of slow modes."""
    numbers = [slow_modes(cell) for cell in cells]
    found = [
        Series(name, "trained", numbers, intervals=[kept(cell, slow) for cell in cells])
        for name, slow in (("slow modes", True), ("other modes", False))
    ]
    return Panel(f"{cells[0].place}: modes kept", found, y="mean held-out $R^2$", limits=(-0.25, 1.05))


def blocks(results: Results) -> list[Figure]:
    """Returns the figure of the block chains; none where they were not run or no stream has a rank."""
    runs = block_runs(results.dataset, results.config)
    by_groups = [where(runs, **{"chain.groups": g}) for g in sorted(set(runs["chain.groups"].values.tolist()))]
    chains: dict[str, list[Cell]] = {}
    for cell in (cell for at in by_groups for cell in live_cells(at) if cell.count):
        chains.setdefault(cell.place, []).append(cell)
    ranked = [c for c in chains.values() if any(np.isfinite(rank_at_end(x, "effective_rank").mean) for x in c)]
    shown = {cell.place for cell in some_lengths([cells[0] for cells in ranked])}
    ranked = sorted((c for c in ranked if c[0].place in shown), key=lambda c: (c[0].mixing, c[0].length))
    if not ranked:
        return []
    missing = dict.fromkeys(c[0].mixing for c in chains.values() if c[0].mixing not in {r[0].mixing for r in ranked})
    absent = f" The stream has no rank at scored positions for: {', '.join(missing)}." if missing else ""
    return [Figure(
        name="blocks", x="slow modes of the chain, G - 1", x_scale="log", columns=2, share_y=False, share_x=False,
        caption="Chains of G equal blocks have G - 1 slow modes; all other eigenvalues are 0. Left: ranks of the "
        "centred stream at scored positions. Right: what a linear readout recovers of the modes at the neighbours "
        f"(trained, last layer). {about_runs(runs)}{absent}",
        falsified_by={
            "S1-blocks": "trained ranks that do not grow along the axis, or grow no more than untrained ones",
            "S1-i": "as a fall onto the relevant degrees of freedom: trained ranks that stay above the line of G - 1, "
            "or other modes that are kept as well as the slow ones",
        },
        panels=[panel(cells) for cells in ranked for panel in (ranks_panel, kept_panel)],
    )]  # fmt: skip


def figures(results: Results) -> list[Figure]:
    """Returns the figures of the controls, the settings and the block chains; none of a study that was not run."""
    return [*controls(results), *settings(results), *blocks(results)]
