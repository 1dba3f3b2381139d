"""The chains that make the data: their energy against Kaufman's, and the Monte Carlo RG of the majority rule."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from rgflow.exact.ising import CRITICAL_COUPLING
from rgflow.judging.convergence import LEAST_DRAWS, estimate
from rgflow.judging.text import number_text
from rgflow.report import figures as base
from rgflow.report.figures import Drawn
from rgflow.report.sheets import sheet
from rgflow.report.variational_rg_points import plain
from rgflow.variational_rg.lattice_series import Point, draws, equilibrium, kept_records, points
from rgflow.variational_rg.lattice_verdict import (
    FAMILIES,
    NEAR_CRITICAL,
    SIGMAS,
    exponents,
    resampled_moments,
)

FARTHEST = 8.0
"""Deviations beyond this many standard errors are arrows at the edge."""

SYMBOLS = {"even": "$y_t$, even operators", "odd": "$y_h$, odd operators"}
WORDS = {"even": "y_t", "odd": "y_h"}
LEVEL_LOOKS = ((base.BLUE, "o"), (base.VERMILION, "s"), (base.GREEN, "^"), (base.PURPLE, "D"))


class Deviation(NamedTuple):
    """One point's energy against Kaufman's: mean, standard error, exact value, whether it was in equilibrium."""

    point: Point
    mean: float
    error: float
    exact: float
    settled: bool

    @property
    def sigmas(self) -> float:
        """Returns the deviation in standard errors."""
        return (self.mean - self.exact) / self.error if self.error > 0 else float("nan")


class Exponents(NamedTuple):
    """Exponents of one level of one family for 1, 2, ... operators, with the ends of their 95 % intervals."""

    family: str
    level: int
    values: Float[np.ndarray, " n"]
    low: Float[np.ndarray, " n"]
    high: Float[np.ndarray, " n"]


def can_be_judged(point: Point) -> bool:
    """Tells whether a point has live runs with enough records for an error."""
    return point.runs > 0 and point.live.sizes["step"] >= 2 * LEAST_DRAWS


def deviation(point: Point) -> Deviation:
    """Returns a point's mean energy after equilibration, its standard error and the exact energy."""
    settled = equilibrium(point)
    found = estimate(draws(kept_records(point, settled.discarded), "chain_energy"))
    exact = float(point.live["kaufman_energy"].values[0])
    return Deviation(point, found.mean, found.error, exact, settled.reached)


def levels_of(point: Point) -> int:
    """Returns how many block-spin steps a point recorded; smaller lattices have NaN for some."""
    if "chain_even_within" not in point.live:
        return 0
    within = point.live["chain_even_within"].transpose("level", ...).values
    return int(np.isfinite(within).reshape(len(within), -1).all(axis=1).sum()) if within.size else 0


def exponents_of(point: Point) -> list[Exponents]:
    """Returns the exponents of every family and level of a point, from the records after equilibration."""
    kept, found = kept_records(point, equilibrium(point).discarded), []
    for family in FAMILIES:
        moments = resampled_moments(kept, family)
        for level in range(levels_of(point)):
            values = exponents(moments, family, level)
            low, high = np.quantile(values[1:], (0.025, 0.975), axis=0)
            found.append(Exponents(family, level, values[0], low, high))
    return found


def _name(point: Point) -> str:
    critical = abs(point.coupling - CRITICAL_COUPLING) < NEAR_CRITICAL
    return f"$L$ {point.size}, $K$ {'critical' if critical else f'{point.coupling:.4g}'}"


def _draw_energies(axes: Axes, found: Sequence[Deviation]) -> None:
    axes.axvspan(-SIGMAS, SIGMAS, color="#e8eef4", linewidth=0, zorder=0)
    axes.axvline(0.0, color=base.BLUE, linewidth=1.2, zorder=1)
    for row, one in enumerate(found):
        far = one.sigmas
        if not np.isfinite(far):
            continue
        inside = abs(far) <= FARTHEST
        marker = "o" if inside else (">" if far > 0 else "<")
        axes.plot([np.clip(far, -FARTHEST, FARTHEST)], [-row], marker=marker, markersize=6, color=base.INK,
                  linestyle="", markerfacecolor=base.INK if one.settled else "white", clip_on=False)  # fmt: skip
        if not inside:
            axes.annotate(f"{far:.0f}", (np.sign(far) * FARTHEST, -row), ha="right" if far > 0 else "left",
                          va="center", xytext=(-7 * np.sign(far), 0), textcoords="offset points")  # fmt: skip
    axes.set_yticks([-k for k in range(len(found))], [_name(one.point) for one in found])
    axes.set_xticks([-FARTHEST, -SIGMAS, 0, SIGMAS, FARTHEST])
    axes.set(xlim=(-FARTHEST, FARTHEST), ylim=(-len(found) + 0.4, 0.6), xlabel="(u - exact) / standard error")
    axes.grid(False, axis="y")
    axes.set_title("energy against Kaufman's")


def _draw_exponents(axes: Axes, found: Sequence[Exponents], family: str) -> None:
    mine = [one for one in found if one.family == family]
    axes.axhline(FAMILIES[family], color=base.INK, linewidth=1.0, zorder=1)
    for one, shift in zip(mine, np.linspace(-0.08, 0.08, len(mine)), strict=True):
        colour, marker = LEVEL_LOOKS[one.level % len(LEVEL_LOOKS)]
        x = np.arange(1, len(one.values) + 1) + shift
        bars = np.nan_to_num(np.maximum(np.stack([one.values - one.low, one.high - one.values]), 0))
        axes.errorbar(x, one.values, bars, color=colour, marker=marker, markersize=5, capsize=2, linewidth=1.2)
    count = max(len(one.values) for one in mine)
    axes.set_xticks(range(1, count + 1))
    axes.set(xlim=(0.6, count + 0.4), xlabel="operators", title=SYMBOLS[family])
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, FAMILIES[family] - 0.05), max(high, FAMILIES[family] + 0.05))


def _handles(energies: Sequence[Deviation], found: Sequence[Exponents]) -> list[Any]:
    handles = []
    if any(not one.settled for one in energies):
        handles.append(Line2D([], [], color=base.INK, marker="o", markerfacecolor="white", linestyle="",
                              label="not in equilibrium"))  # fmt: skip
    for level in sorted({one.level for one in found}):
        colour, marker = LEVEL_LOOKS[level % len(LEVEL_LOOKS)]
        handles.append(Line2D([], [], color=colour, marker=marker, label=f"step {level + 1} of blocking"))
    if found:
        handles.append(Line2D([], [], color=base.INK, linewidth=1.0, label="exact exponent"))
    return handles


def _rows(energies: Sequence[Deviation], point: Point | None, found: Sequence[Exponents]) -> list[dict[str, Any]]:
    def row(one: Point, what: str, **numbers: float) -> dict[str, Any]:
        named: Mapping[str, Any] = {name: plain(value) for name, value in numbers.items()}
        return {"size": one.size, "coupling": one.coupling, "runs": one.runs, "dead": one.dead, "what": what, **named}

    rows = [
        row(one.point, "energy", value=one.mean, low=one.mean - 1.96 * one.error, high=one.mean + 1.96 * one.error,
            exact=one.exact)
        for one in energies
    ]  # fmt: skip
    if point is None:
        return rows
    for one in found:
        for k, (value, low, high) in enumerate(zip(one.values, one.low, one.high, strict=True)):
            what = f"{WORDS[one.family]}, step {one.level + 1}, {k + 1} operators"
            rows.append(row(point, what, value=value, low=low, high=high, exact=FAMILIES[one.family]))
    return rows


def _facts(energies: Sequence[Deviation], found: Sequence[Exponents]) -> str:
    said = [
        f"L {one.point.size}, K {one.point.coupling:.4g}: {number_text(one.sigmas)} standard errors"
        for one in energies
    ]  # fmt: skip
    said += [
        f"{WORDS[e.family]} of step {e.level + 1}: {', '.join(map(number_text, e.values.tolist()))}" for e in found
    ]
    return "; ".join(said)


def _caption(every: Sequence[Point], energies: Sequence[Deviation], critical: Point | None) -> str:
    dead, lost = sum(p.dead for p in every), len(every) - len(energies)
    text = (
        "The chains that make the data. Energy per site against Kaufman's exact value for the periodic lattice, in "
        f"standard errors of the chains after equilibration; shaded: within {SIGMAS:g}. "
    )
    if critical is not None:
        text += (
            f"Right: exponents of the Monte Carlo RG (2 x 2 majority rule) of the critical lattice of {critical.size} "
            "sites a side, by number of operators and step of blocking, with 95 % bootstrap intervals over records; "
            "exact are 1 and 15/8. "
        )
    runs = sorted({p.runs + p.dead for p in every})
    text += f"{' to '.join(str(n) for n in dict.fromkeys((runs[0], runs[-1])))} runs a point."
    text += f" Dead runs, left out: {dead}." if dead else ""
    text += f" Points with too few records for an error, left out: {lost}." if lost else ""
    return text + (
        " The first step of blocking still feels how far the nearest-neighbour model is from the fixed point, later "
        "ones with more operators should meet the lines."
    )


FALSIFIED = {
    "S3-lattice": "a mark outside the shaded band",
    "S3-yardstick": "y_t of the second step with three operators off its line by more than 5 %",
}


def lattice(every: Sequence[Point]) -> list[Drawn]:
    """Returns the figure of the lattice chains; none where no point has enough records."""
    judged = [point for point in every if can_be_judged(point)]
    if not judged:
        return []
    energies = [deviation(point) for point in judged]
    blocked = [p for p in judged if abs(p.coupling - CRITICAL_COUPLING) < NEAR_CRITICAL and levels_of(p)]
    critical = blocked[-1] if blocked else None
    found = exponents_of(critical) if critical else []
    figure = sheet(max(3.4, 0.32 * len(energies) + 1.6))
    ratios = (1.5, 1.2, 1) if found else (1,)
    axes = list(figure.subplots(1, len(ratios), width_ratios=ratios, squeeze=False)[0])
    _draw_energies(axes[0], energies)
    for panel, family in zip(axes[1:], FAMILIES, strict=False):
        _draw_exponents(panel, found, family)
    handles = _handles(energies, found)
    if handles:
        base.legend(figure, handles)
    alt = f"Energies and exponents of the lattice chains. {_facts(energies, found)}."
    rows = _rows(energies, critical, found)
    falsified_by = "; ".join(f"{claim}: {what}" for claim, what in FALSIFIED.items()) + "."
    return [Drawn("lattice", figure, _caption(every, energies, critical), alt, rows, tuple(FALSIFIED), falsified_by)]


def lattice_figures(dataset: xr.Dataset) -> list[Drawn]:
    """Returns the figure of the lattice chains of a dataset; none without any."""
    chains = dataset.isel(run=np.flatnonzero(dataset["system"].values == "lattice"))
    return lattice(points(chains)) if chains.sizes["run"] else []
