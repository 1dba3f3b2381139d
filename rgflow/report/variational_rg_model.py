"""The first machine left to itself: its energy, its distance from the data's law, its correlations."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from rgflow.exact.ising import kaufman_energy
from rgflow.judging.points import Point, average
from rgflow.report import figures as base
from rgflow.report.figures import Drawn
from rgflow.report.interval_marks import interval_of, interval_points, text_of
from rgflow.report.sheets import sheet
from rgflow.report.variational_rg_points import (
    THIN,
    Stacks,
    about_runs,
    at,
    head,
    line,
    live,
    plain,
    reference_coupling,
    strength_colours,
    strength_text,
    strengths,
)
from rgflow.variational_rg.stack_verdict import relative_entropy_per_site

GRID = 60
FEWEST_CHAINS = 5.0
"""Effective chains of the annealing below which ln Z rests on a few of them."""


def energy(cell: Point) -> Float[np.ndarray, " runs"]:
    """Returns the energy per site of free-running chains, mean over hot starts and starts from data, per run."""
    return cell.last("model_energy").mean(axis=1)


def _coupling_of(cell: Point) -> float:
    return float(cell.values["coupling"])


def _exact(axes: Axes, found: Sequence[Point]) -> None:
    """Draws Kaufman's energy of the torus and the energy of the data."""
    size, couplings = int(found[0].values["size"]), [_coupling_of(cell) for cell in found]
    low, high = min(couplings), max(couplings)
    margin = 0.04 * (high - low) or 0.05
    grid = np.linspace(low - margin, high + margin, GRID)
    axes.plot(grid, [kaufman_energy(float(k), size, size) for k in grid], color="#bbbbbb", linewidth=4, zorder=1)
    data = {_coupling_of(cell): average(cell.last("data_energy")) for cell in found}
    axes.plot(list(data), list(data.values()), color=base.INK, marker="_", markersize=11, markeredgewidth=1.6,
              linestyle="", zorder=3)  # fmt: skip


def _trusted(cell: Point) -> bool:
    return average(cell.last("effective_chains")) >= FEWEST_CHAINS


def _entropies(axes: Axes, found: Sequence[Point], against: str, colours: dict[float, Any]) -> None:
    """Draws relative entropies per site against the coupling (a line per penalty) or the penalty (one line)."""
    ticks = strengths(found)
    lines = [at(found, l1=s) for s in ticks] if against == "coupling" else [found]
    for cells in lines:
        here = colours[float(cells[0].values["l1"])] if against == "coupling" else base.INK
        where = _coupling_of if against == "coupling" else (lambda cell: ticks.index(cell.values["l1"]))
        line(axes, cells, where, relative_entropy_per_site, color=here, marker="")
        for cell in cells:
            look = {"color": colours[float(cell.values["l1"])], "marker": "o", "markersize": 5, "linestyle": ""}
            line(axes, [cell], where, relative_entropy_per_site,
                 **look, markerfacecolor=look["color"] if _trusted(cell) else "white")  # fmt: skip
    axes.axhline(0.0, **THIN)
    axes.set_ylabel("relative entropy per site (nats)")


def _correlations(axes: Axes, found: Sequence[Point], colours: dict[float, Any]) -> None:
    """Draws the pair correlation of the data and of the model of every penalty over the distance."""
    reach = int(found[0].values["size"]) // 2
    distance = np.arange(1, reach + 1)
    data = np.array([average(found[0].last("data_correlation")[:, k]) for k in range(reach)])
    axes.plot(distance, data, color="#bbbbbb", linewidth=4, zorder=1)
    for number, cell in enumerate(found):
        # Bands of several strengths would cover each other: bars, each strength a little aside.
        aside = 0.12 * (number - (len(found) - 1) / 2)
        intervals = [interval_of(column) for column in cell.last("model_correlation")[:, :reach].T]
        colour = colours[float(cell.values["l1"])]
        interval_points(axes, (distance + aside).tolist(), intervals, color=colour, marker="o", markersize=3.5)
    axes.set(xlabel="distance $r$ in sites", ylabel=r"pair correlation $C(r)$")


def model_rows(found: Sequence[Point]) -> list[dict[str, Any]]:
    """Returns one row per point: energies of model, data and torus, relative entropy per site, effective chains."""
    rows = []
    for cell in found:
        row = {**head(cell), "kaufman_energy": plain(average(cell.last("kaufman_energy"))),
               "data_energy": plain(average(cell.last("data_energy")))}  # fmt: skip
        for name, values in (("model_energy", energy(cell)), ("relative_entropy", relative_entropy_per_site(cell))):
            ends = interval_of(values)
            row |= {name: plain(ends.mean), f"{name}_low": plain(ends.low), f"{name}_high": plain(ends.high)}
        rows.append(row | {"effective_chains": plain(average(cell.last("effective_chains")))})
    return rows


def _handles(colours: dict[float, Any], doubted: bool) -> list[Line2D]:
    exact = Line2D([], [], color="#bbbbbb", linewidth=4, label="exact (energy), data ($C$)")
    data = Line2D([], [], color=base.INK, marker="_", markersize=11, markeredgewidth=1.6, linestyle="",
                  label="energy of the data")  # fmt: skip
    models = [
        Line2D([], [], color=colour, marker="o", markersize=4.5, label=f"$L_1$ {strength_text(strength)}")
        for strength, colour in colours.items()
    ]
    open_mark = Line2D([], [], color=base.GREY, marker="o", markerfacecolor="white", linestyle="",
                       label=f"below {FEWEST_CHAINS:g} effective chains")  # fmt: skip
    return [exact, data, *models, *([open_mark] if doubted else [])]


def _facts(found: Sequence[Point]) -> str:
    return "; ".join(
        f"K {_coupling_of(cell):.4g}, L1 {strength_text(cell.values['l1'])}: "
        f"model {text_of(interval_of(energy(cell)))}, exact {average(cell.last('kaufman_energy')):.4f}, "
        f"relative entropy per site {text_of(interval_of(relative_entropy_per_site(cell)))}"
        for cell in found
    )


def model(stacks: Stacks) -> list[Drawn]:
    """Returns the figure of the first machines alone, on real data; none without a live run."""
    found = live(stacks.real)
    if not found:
        return []
    colours = strength_colours(found)
    coupling = reference_coupling(found)
    reference = at(found, coupling=coupling)
    figure = sheet(6.6)
    (energies, entropies), (correlations, penalties) = figure.subplots(2, 2)
    _exact(energies, found)
    for strength, colour in colours.items():
        line(energies, at(found, l1=strength), _coupling_of, energy, color=colour, marker="o", markersize=4.5)
    energies.set(xlabel="coupling $K$ of the data", ylabel="energy per site $u$ (units of $J$)",
                 title="energy of free-running chains")  # fmt: skip
    _entropies(entropies, found, "coupling", colours)
    entropies.set(xlabel="coupling $K$ of the data", title="distance from the data's law")
    _correlations(correlations, reference, colours)
    correlations.set_title(f"correlations, $K$ = {coupling:.4g}")
    _entropies(penalties, reference, "l1", colours)
    ticks = strengths(reference)
    penalties.set_xticks(range(len(ticks)), [strength_text(s) for s in ticks])
    penalties.set(xlim=(-0.5, len(ticks) - 0.5), xlabel="strength of the $L_1$ penalty",
                  title=f"distance from the data's law, $K$ = {coupling:.4g}")  # fmt: skip
    handles = _handles(colours, not all(map(_trusted, found)))
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 4), columnspacing=1.5)
    caption = (
        "The first machine left to itself. Top left: energy per site of its Gibbs chains, mean over hot starts and "
        "starts from data, beside Kaufman's exact energy of the periodic lattice and that of the data. Right: "
        "relative entropy of the data to the machine per site, with ln Z by annealed importance sampling, whose "
        "errors make ln Z too small and the machine look better than it is, possibly better than 0. Bottom left: "
        "correlation along the axes over the distance. Means over runs with 95 % intervals. "
        f"{about_runs(stacks.real)}"
    )
    falsified_by = (
        "S3-model: energies more than 2 % off the grey line. Correlations off theirs, or a relative entropy above 0, "
        "say the same of the whole law."
    )
    alt = f"The first machine alone. {_facts(found)}."
    return [Drawn("model", figure, caption, alt, model_rows(found), ("S3-model",), falsified_by)]
