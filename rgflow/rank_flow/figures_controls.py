"""Figures of what training does to the rank on other tasks: controls, settings that the source leaves open, blocks."""

from collections.abc import Sequence
from typing import Any

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
from rgflow.rank_flow.select import Cell, block_runs, claim_runs, control_runs, live_cells, setting_runs, some_lengths

LIMITS = (-1.0, 1.1)
"""Fractions below are arrows: how much worse than nothing a network is says nothing."""

RELEVANT_MODULUS = 1e-6
"""Least |lambda| of a slow mode of a block chain; the others have eigenvalue 0 up to rounding."""


def change(name: str, cell: Cell) -> Branch:
    """Returns ln R of the trained less that of the untrained network."""
    reading = reading_of(cell.runs)
    interval = t_interval(log_ratio(cell.latest, reading) - log_ratio(cell.untrained, reading))
    return Branch(name, cell.length, interval, "undefined" if cell.count else "no live run")


def learned(name: str, cell: Cell) -> Branch:
    """Returns the fraction of the attainable information that was learned, or why there is none."""
    attainable = (cell.latest["blind_loss"] - best_loss(cell.latest)).values
    known = attainable[np.isfinite(attainable)]
    if not known.size:
        return Branch(name, cell.length, t_interval([]), "no closed form" if cell.count else "no live run")
    lacking = "nothing to learn" if known.max() < ATTAINABLE_NATS else "undefined"
    return Branch(name, cell.length, t_interval(learned_fraction(cell.latest).values), lacking)


def forests(results: Results, first: str, others: dict[str, xr.Dataset], about: str, **words: Any) -> list[Figure]:
    """Returns what training does to ln R and what was learned, two panels per mixing; none where there are no others.

    Above the others stand the claims' own runs of the same mixings, called ``first``.
    """
    if not others:
        return []
    own = claim_runs(results.dataset, results.config)
    mixings = [mixing for runs in others.values() for mixing in runs["mixing"].values.tolist()]
    own = own.isel(run=own["mixing"].isin(mixings))
    named = ({first: own} if own.sizes["run"] else {}) | others
    cells = [(name, cell) for name, runs in named.items() for cell in some_lengths(live_cells(runs))]
    panels = []
    for mixing in dict.fromkeys(cell.mixing for _, cell in cells):
        mine = [(name, cell) for name, cell in cells if cell.mixing == mixing]
        panels += [
            Forest(f"{mixing}: change by training", [change(*one) for one in mine], x="ln R trained - ln R untrained"),
            Forest(f"{mixing}: information learned", [learned(*one) for one in mine],
                   [Guide("least for a verdict on the data", x=LEARNED_FRACTION)], names=False, limits=LIMITS,
                   x="share of the attainable information"),
        ]  # fmt: skip
    return [Figure(
        **words, group="length {:g} tokens", columns=2, share_x=False, share_y=False, panels=panels,
        caption=f"What training does to the rank {about} Left: ln R of the trained less that of the untrained network, "
        "R being the rank of the last layer over that of the embedding. Right: (L_0 - loss) / (L_0 - L*), L_0 being "
        "the optimum of one who sees no other position. Arrows lie outside the axis. "
        + about_runs(xr.concat(list(named.values()), "run")),
    )]  # fmt: skip


def block_panels(cells: Sequence[Cell]) -> list[Panel]:
    """Returns ranks, and what can be read out of the modes, against the number of slow modes of some block chains."""
    numbers = [int(cell.runs["chain.groups"].values[0]) - 1 for cell in cells]
    ranks = []
    for state, measure in (
        ("untrained", "effective_rank"),
        ("trained", "effective_rank"),
        ("trained", "participation_ratio"),
        ("trained", "numerical_rank"),
    ):
        states = [cell.untrained if state == "untrained" else cell.latest for cell in cells]
        found = [t_interval(last_rank(records, measure).values) for records in states]
        ranks.append(Series(measure.replace("_", " "), state, numbers, intervals=found))
    exact = [t_interval(c.latest["predictor_effective_rank"].sel(centring=SCORED["centring"]).values) for c in cells]
    ranks.append(Series("exact optimal predictor", "exact", numbers, intervals=exact))
    same = [Interval(float(number), np.nan, np.nan, 0) for number in numbers]
    ranks.append(Series("rank = G - 1", "exact", numbers, intervals=same))
    kept = []
    for name, slow in (("slow modes", True), ("other modes", False)):
        found = []
        for latest in (cell.latest for cell in cells):
            r2 = latest["mode_r2"].isel(layer=latest["depth"].astype(int))
            mean = r2.where((latest["mode_modulus"] > RELEVANT_MODULUS) == slow).mean("mode")
            found.append(t_interval(mean.values))
        kept.append(Series(name, "trained", numbers, intervals=found))
    place = cells[0].place
    return [
        Panel(place, ranks, y="rank, last layer", scale="log"),
        Panel(f"{place}: modes kept", kept, y="mean held-out $R^2$", limits=(-0.25, 1.05)),
    ]


def blocks(results: Results) -> list[Figure]:
    """Returns the figure of the block chains; none where they were not run or no stream has a rank."""
    runs = block_runs(results.dataset, results.config)
    chains: dict[str, list[Cell]] = {}
    for groups in sorted(set(runs["chain.groups"].values.tolist())):
        for cell in live_cells(where(runs, **{"chain.groups": groups})):
            if cell.count:
                chains.setdefault(cell.place, []).append(cell)
    ranked = [c for c in chains.values() if any(np.isfinite(last_rank(x.latest, "effective_rank")).any() for x in c)]
    shown = some_lengths([cells[0] for cells in ranked])
    places = [cell.place for cell in sorted(shown, key=lambda cell: (cell.mixing, cell.length))]
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
        panels=[panel for place in places for panel in block_panels(chains[place])],
    )] if ranked else []  # fmt: skip


def figures(results: Results) -> list[Figure]:
    """Returns the figures of the controls, the settings and the block chains; none of a study that was not run."""
    controls = control_runs(results.dataset, results.config)
    return [
        *forests(
            results, "none (claims)", {n.replace("_", " "): runs for n, runs in controls.items() if n != "none"},
            "where there is less to learn. Random labels and iid tokens hold nothing beyond the marginals; lazy chains "
            "have one eigenvalue and uniform or Zipf marginals.",
            name="controls", falsified_by={
                "S1-data": "controls with nothing to learn whose rank falls as much as in the first row",
                "S1-i": "as a statement about the data, by the same",
                "S1-ii": "the two ends of correlation length falling alike in the first row",
            },
        ),
        *forests(
            results, OWN, setting_runs(results.dataset, results.config),
            "at settings that the source leaves open; each row departs from the config in one of them.",
            name="settings", falsified_by={
                "S1-i": "a setting at which the rank does not fall by training",
                "S1-ii": "a setting at which the two ends of correlation length fall alike",
            },
        ),
        *blocks(results),
    ]  # fmt: skip
