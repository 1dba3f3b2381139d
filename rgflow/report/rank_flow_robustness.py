"""Every claim in every reading as one picture and as rows of a table."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch, Rectangle

from rgflow.judging.text import number_text
from rgflow.rank_flow.robustness import ERROR_RATE, STATEMENTS, Reading
from rgflow.report import figures as base
from rgflow.report.figures import Drawn
from rgflow.report.heat_maps import ink_on
from rgflow.report.sheets import sheet

LOOKS = {
    "supported": ("#3fb68f", "+"),
    "contradicted": ("#ee8a4a", "\u2212"),
    "undecided": ("#e6e6e6", "?"),
    "undefined": ("#ffffff", "\u00b7"),
}
"""Colour and sign of each status; green and vermilion are lightened so that black signs stand out."""

SHORT = {
    "effective_rank": "effective",
    "energy_rank": "energy",
    "participation_ratio": "participation",
    "stable_rank": "stable",
    "kernel_drift": "kernel",
    "frobenius_drift": "Frobenius",
}
"""Names of the measures that fit a column; the claim says whether a rank or a drift is meant."""

TEXT = 7.0
ROW_INCHES, FEW_ROWS = 0.21, 20
LEAST_ROW_INCHES = 0.15

Column = tuple[str, str, str]


def columns_of(readings: Sequence[Reading]) -> list[Column]:
    """Returns the (level, centring, measure) that occur: grouped by level, then centring, in order of appearance."""
    levels, centrings, measures = (
        list(dict.fromkeys(getattr(r, name) for r in readings)) for name in ("level", "centring", "measure")
    )
    present = {(r.level, r.centring, r.measure) for r in readings}
    every = [(level, centring, measure) for level in levels for centring in centrings for measure in measures]
    return [column for column in every if column in present]


def row_name(reading: Reading) -> str:
    """Returns where a reading was taken: its mixing, and its correlation length if it has one."""
    return reading.mixing + ("" if math.isnan(reading.correlation_length) else f", {reading.correlation_length:g}")


def counts(readings: Sequence[Reading]) -> dict[str, int]:
    """Returns how many readings have each status."""
    statuses = [reading.status for reading in readings]
    return {status: statuses.count(status) for status in LOOKS}


def counts_text(readings: Sequence[Reading]) -> str:
    """Returns the numbers of readings by status in words; undefined ones are counted apart."""
    found = counts(readings)
    undefined = found.pop("undefined")
    decided = ", ".join(f"{n} {status}" for status, n in found.items())
    more = f" ({undefined} more undefined)" if undefined else ""
    return f"{decided} of {len(readings) - undefined} readings{more}"


def _groups(columns: list[Column], depth: int) -> list[tuple[str, int, int]]:
    """Returns (name, first, last) of the groups of columns that share their first ``depth`` names."""
    found: list[tuple[str, int, int]] = []
    for k, column in enumerate(columns):
        if k and columns[k - 1][:depth] == column[:depth]:
            found[-1] = (*found[-1][:2], k)
        else:
            found.append((column[depth - 1], k, k))
    return found


def _draw_groups(axes: Axes, columns: list[Column]) -> None:
    for depth, height, width in ((1, 13, 1.6), (2, 3, 0.7)):
        for name, first, last in _groups(columns, depth):
            where = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
            style = {"ha": "center", "va": "bottom", "fontsize": TEXT + 0.5}
            weight = "bold" if depth == 1 else "normal"
            axes.annotate(name, ((first + last) / 2, 1), (0, height), fontweight=weight, **where, **style)
            if first:
                axes.axvline(first - 0.5, color=base.INK, linewidth=width)


def _draw_claim(axes: Axes, readings: Sequence[Reading]) -> None:
    columns, rows = columns_of(readings), list(dict.fromkeys(map(row_name, readings)))
    for reading in readings:
        x = columns.index((reading.level, reading.centring, reading.measure))
        y = rows.index(row_name(reading))
        colour, sign = LOOKS[reading.status]
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=colour, edgecolor="white", linewidth=0.8))
        axes.text(x, y, sign, ha="center", va="center_baseline", fontsize=8, color=ink_on(colour))
    axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5))
    measures = [SHORT.get(measure, measure) for *_, measure in columns]
    # Names stand upright only where they would not fit their column.
    axes.set_xticks(range(len(columns)), measures, rotation=90 if len(columns) > 16 else 0, fontsize=TEXT)
    axes.set_yticks(range(len(rows)), rows, fontsize=TEXT)
    axes.tick_params(length=0, pad=2)
    axes.grid(False)
    mixings = [name.split(",")[0] for name in rows]
    for y in (y for y in range(1, len(rows)) if mixings[y] != mixings[y - 1]):
        axes.axhline(y - 0.5, color=base.INK, linewidth=0.7)
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color("#bdbdbd")
    _draw_groups(axes, columns)


def _extremes(readings: Sequence[Reading]) -> str:
    """Returns the readings with the smallest and the largest mean, in words."""
    defined = [r for r in readings if r.status != "undefined"]
    if not defined:
        return "no reading is defined"
    ends = (min(defined, key=lambda r: r.mean), max(defined, key=lambda r: r.mean))
    texts = [
        f"{number_text(r.mean, r.low, r.high)} ({row_name(r)}, {r.level}, {r.centring}, {r.measure}: {r.status})"
        for r in ends
    ]
    return f"statistic from {texts[0]} to {texts[1]}"


def robustness_figure(readings: Sequence[Reading]) -> Drawn | None:
    """Returns the picture of all readings, one panel per claim; None without any reading."""
    by_claim = {claim: [r for r in readings if r.claim == claim] for claim in STATEMENTS}
    by_claim = {claim: found for claim, found in by_claim.items() if found}
    if not by_claim:
        return None
    rows = [len({row_name(r) for r in found}) for found in by_claim.values()]
    each = ROW_INCHES if sum(rows) <= FEW_ROWS else LEAST_ROW_INCHES
    height = each * sum(rows) + 1.15 * len(rows) + 0.4
    figure = sheet(height)
    axes = figure.subplots(len(rows), 1, squeeze=False, height_ratios=rows)[:, 0]
    for panel, (claim, found) in zip(axes, by_claim.items(), strict=True):
        _draw_claim(panel, found)
        panel.set_title(f"{claim}: {counts_text(found)}", loc="left", pad=27)
    base.legend(figure, [
        Patch(facecolor=colour, edgecolor="#bdbdbd", linewidth=0.6, label=f"{sign}  {status}")
        for status, (colour, sign) in LOOKS.items()
    ])  # fmt: skip
    caption = (
        "Every reading of every claim: rows are mixing and correlation length, columns the rows of the measured "
        "matrix (all positions, the scored ones, the others, the mean over each sequence), its centring, and the "
        "measure. Each square is a t-test over runs of the claim's own statistic against its bound (S1-ii on the "
        "runs that learned something; its rows are the shortest against the longest correlation length). Within a "
        "claim the p-values are adjusted by Holm's method over all readings, so that the chance of any wrong "
        f"decision among them is below {100 * ERROR_RATE:g} %; a failed control leaves a square undecided; undefined "
        "is a reading without a statistic (constant rows, no run that learned enough). The verdict on a claim is "
        "the table and not its friendliest square."
    )
    falsified_by = (
        f"{', '.join(by_claim)}: one contradicted square is enough to falsify that claim as a statement about every "
        "reading; a claim about one reading, by a contradicted square of that reading."
    )
    facts = [f"{claim}: {counts_text(found)}, {_extremes(found)}" for claim, found in by_claim.items()]
    alt = f"Verdict of every reading. {'; '.join(facts)}."
    return Drawn("robustness", figure, caption, alt, robustness_rows(readings), tuple(by_claim), falsified_by)


def robustness_rows(readings: Sequence[Reading]) -> list[dict[str, str | float]]:
    """Returns one row per reading with the fields of ``Reading``; what is not a finite number is left empty."""
    return [{name: _plain(value) for name, value in dataclasses.asdict(reading).items()} for reading in readings]


def _plain(value: str | float | int) -> str | float:
    if isinstance(value, str):
        return value
    return float(value) if np.isfinite(value) else ""
