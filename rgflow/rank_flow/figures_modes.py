"""Figures of what happens to the modes of the chain on their way through the stack, and of the stream's spectrum.

Mode k of a chain is the right eigenfunction of its transition matrix with eigenvalue lambda_k. Correlations along it
decay as |lambda_k|^n over n tokens, so |lambda_k| is the chain's own measure of relevance.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from rgflow.judging.claim import known
from rgflow.judging.intervals import Interval
from rgflow.judging.text import number_text
from rgflow.plots import style
from rgflow.plots.figure import Figure
from rgflow.plots.panel import Guide, Panel, Series
from rgflow.protocol import Verdict
from rgflow.rank_flow.collapse import reading_of
from rgflow.rank_flow.decay import relative_perturbation
from rgflow.rank_flow.modes import damping
from rgflow.rank_flow.select import Cell, by_mixing, some_lengths

LAYER = "layer (0 = embedding)"
ROUNDING = 1e-6
"""Singular values below this share of the norm are rounding."""

LEAST_R2 = 0.01
"""A readout that explains less than this share in every layer has no panel."""

COLOURS = {"theory": style.INK, "untrained": style.GREY, "trained": style.BLUE}
PUSHED = "a small push of the embedding along a mode, relative to the stream, which grows with depth"


def states_of(cell: Cell) -> dict[str, xr.Dataset]:
    """Returns the records before and after training, by the kind of their series."""
    return {"untrained": cell.untrained, "trained": cell.latest}


def along_depth(group: Any, kind: str, values: xr.DataArray) -> Series:
    """Returns the series of a record [run, layer] against depth."""
    return Series(group, kind, values["layer"].values, values.transpose("run", "layer").values)


def moduli(cell: Cell) -> Float[np.ndarray, " modes"]:
    """Returns |lambda_k|, slowest first, the mean over the chains of a cell's runs; NaN where there is no mode."""
    return cell.runs["mode_modulus"].transpose("run", "mode").values.astype(np.float64).mean(axis=0)


def having(cells: Sequence[Cell], some: Callable[[Cell], bool]) -> list[Cell]:
    """Returns the cells, at no more than three lengths, of the mixings for which something holds at some length."""
    mixings = {cell.mixing for cell in cells if cell.count and some(cell)}
    return [cell for cell in some_lengths(cells) if cell.mixing in mixings]


def mode_flow(cells: list[Cell], verdicts: Sequence[Verdict], about: str) -> list[Figure]:
    """Returns the damping of every mode by the stack against |lambda|, beside what coarse-graining would do."""

    def panel(cell: Cell) -> Panel:
        gain = known(verdicts, "S1-modes", cell.place)
        said = f"\ngain in order by training: {number_text(*gain[:3])}" if gain.n else ""
        at = moduli(cell)
        order = np.argsort(at, kind="stable")[: np.isfinite(at).sum()]
        exact = [Interval(-float(np.log(x)), np.nan, np.nan, 0) for x in at[order] if x > 0]
        series = [Series("theory", "theory", at[order][-len(exact) :], intervals=exact)]
        for state, records in states_of(cell).items():
            values = damping(records, 0, records["depth"].astype(int)).values[:, order].astype(np.float64)
            series.append(Series(state, f"measured, {state}", at[order], np.where(np.isfinite(values), values, np.nan)))
        return Panel(f"{cell.place}{said}", series)

    claims = {
        "S1-modes": "filled points that do not fall to the right, or fall no more than open ones",
        **dict.fromkeys(("S1-i", "S1-ii"), "as a statement about renormalization, by the same"),
    }
    attention = {
        "S1b-decay": "at the longest length, points that spread no further for attention than for an MLP",
        "S1b-damping": "at the shortest length, a mode that attention damps less than an MLP",
        "S1b-trend": "at the longest length, points of attention that do not fall to the right",
    }
    return [Figure(
        name="mode_flow", x=r"$|\lambda_k|$ of the mode", y=r"damping, $-\ln\,|\delta h_L| / |h_L|$ (nats)",
        group=dict.fromkeys(COLOURS, ""), colours=COLOURS,
        columns=len({cell.length for cell in cells}), share_x="col", share_y=False,
        called={"theory": r"coarse-graining by one token, $-\ln|\lambda_k|$"},
        caption=f"Flow of the modes of the chain: by how much the stack damps {PUSHED}. Renormalization would damp in "
        "proportion to the line. Where runs have chains of their own, |lambda| is the mean over them. The gain in "
        "order is Kendall's tau of damping and mode, slowest first, trained less "
        f"untrained. {about}",
        falsified_by=claims | (attention if any(cell.mixing == "attention" for cell in cells) else {}),
        panels=[panel(cell) if cell.count else Panel(cell.place, []) for cell in cells],
    )] if cells else []  # fmt: skip


def slowest_and_fastest(cell: Cell) -> dict[str, int]:
    """Returns the places of the modes with the largest and the smallest |lambda|."""
    return {"slowest mode": int(np.nanargmax(moduli(cell))), "fastest mode": int(np.nanargmin(moduli(cell)))}


def perturbation_decay(cells: list[Cell], about: str) -> list[Figure]:
    """Returns how a push along the slowest and the fastest mode grows or decays with depth."""

    def panel(cell: Cell) -> Panel:
        return Panel(cell.place, [
            along_depth(name, kind, relative_perturbation(records).isel(mode=k))
            for name, k in slowest_and_fastest(cell).items() for kind, records in states_of(cell).items()
        ], [Guide("no change", y=0.0)], height=2.0)  # fmt: skip

    return [Figure(
        name="perturbation_decay", x=LAYER, y=r"$\ln\,|\delta h_l| / |h_l|$, from layer 0", x_scale="whole",
        columns=len({cell.length for cell in cells}),
        caption=f"Linear response to {PUSHED}, layer by layer, for the slowest and the fastest mode of the chain. "
        f"{about}",
        falsified_by={"S1-modes": "a fast mode that is damped no more than the slow one, or no more than untrained"},
        panels=[panel(cell) if cell.count else Panel(cell.place, []) for cell in cells],
    )] if cells else []  # fmt: skip


def mode_relevance(cells: list[Cell], about: str) -> list[Figure]:
    """Returns what can be read out of each layer; mixings from which nothing can be read have no panel."""
    live = [cell for cell in cells if cell.count]
    cells = having(cells, lambda c: any((x["mode_r2"].mean("run") > LEAST_R2).any() for x in states_of(c).values()))
    missing = dict.fromkeys(cell.mixing for cell in live if cell.mixing not in {shown.mixing for shown in cells})

    def panel(cell: Cell) -> Panel:
        series = []
        for kind, records in states_of(cell).items():
            series.append(along_depth("Bayes logits", kind, records["bayes_r2"]))
            for name, k in slowest_and_fastest(cell).items():
                series.append(along_depth(name, kind, records["mode_r2"].isel(mode=k)))
        return Panel(cell.place, series, limits=(-0.2, 1.02), height=2.3)

    return [Figure(
        name="mode_relevance", x=LAYER, y="held-out $R^2$", x_scale="whole", columns=len({c.length for c in cells}),
        caption="What a linear readout of the stream recovers at scored positions whose two neighbours are shown: the "
        "slowest and the fastest mode of the chain at the neighbours, and the logits of the exact posterior. "
        + (f"Nothing can be read out of: {', '.join(missing)}. " if missing else "") + about,
        falsified_by=dict.fromkeys(("S1-i", "S1-ii"), "as a statement about renormalization, which keeps slow modes "
                                   "and loses fast ones: both modes fall together with depth, or neither does"),
        panels=[panel(cell) if cell.count else Panel(cell.place, []) for cell in cells],
    )] if cells else []  # fmt: skip


def singular_values(cells: list[Cell], about: str) -> list[Figure]:
    """Returns the singular values of the stream, layer by layer; none where they were not recorded."""
    names = {"untrained": "first_singular_values", "trained": "singular_values"}
    cells = having(cells, lambda c: all(n in c.runs and bool(c.runs[n].notnull().any()) for n in names.values()))

    def panel(cell: Cell, state: str) -> Panel:
        found = cell.runs[names[state]].sel(centring=reading_of(cell.runs)["centring"])
        values = found.transpose("layer", "run", "direction").values.astype(np.float64)
        shares = values / np.sqrt((values**2).sum(axis=-1, keepdims=True))
        by_layer = zip(found["layer"].values, np.where(shares > ROUNDING, shares, np.nan), strict=True)
        numbers = found["direction"].values
        series = [Series(int(layer), "spectrum", numbers, at) for layer, at in by_layer]
        return Panel(f"{cell.place}, {state}", series, height=2.0)

    return [Figure(
        name="singular_values", x="direction of the stream, largest first", y=r"singular value $s_n / \|h_l\|_F$",
        scale="log", x_scale="log", group="layer {:g}", called={"spectrum": ""}, columns=len({c.length for c in cells}),
        caption="Singular values of the residual stream in every layer, as shares of the norm of the layer: what every "
        f"rank is made of. A steeper curve is a smaller rank; what is rounding is left out. {about}",
        falsified_by={"S1-i": "trained curves that are no steeper at the last layer than at the embedding"},
        panels=[panel(cell, state) for mine in by_mixing(cells).values() for state in names for cell in mine],
    )] if cells else []  # fmt: skip


def figures(cells: list[Cell], verdicts: Sequence[Verdict], about: str) -> list[Figure]:
    """Returns the figures of modes and spectra that the records allow."""
    pushed = having(cells, lambda cell: bool(relative_perturbation(cell.latest).notnull().any()))
    return [
        *singular_values(cells, about), *mode_flow(pushed, verdicts, about), *mode_relevance(cells, about),
        *perturbation_decay(pushed, about),
    ]  # fmt: skip
