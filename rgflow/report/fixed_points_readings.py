"""Every reading of the claim as one picture and as rows of a table."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.patches import Patch, Rectangle

from rgflow.exact.block_moments import SCHEMES
from rgflow.fixed_points.controls import COUPLING_MARGIN, KURTOSIS_MARGIN
from rgflow.fixed_points.readings import ERROR_RATE, JUDGED_GAUGES, Reading, readings
from rgflow.fixed_points.select import Network
from rgflow.report import figures as base
from rgflow.report.figures import Drawn
from rgflow.report.fixed_points_points import (
    SCHEME_NAMES,
    Setting,
    in_order,
    ordered,
    plain,
    setting_name,
    task_look,
)
from rgflow.report.heat_maps import ink_on
from rgflow.report.sheets import sheet

LOOKS = {"supported": ("#3fb68f", "+"), "contradicted": ("#ee8a4a", "\u2212"), "undecided": ("#e6e6e6", "?")}
"""Colour and sign of each status, as in the other rooms."""

SYMBOLS = {"coupling": "J", "kurtosis": "\u03ba"}
TEXT = 7.0
ROW_INCHES = 0.21
MOST_ROWS = 60
"""Networks on one page; beyond it every kind of data has a page of its own."""


def failed_premises(reading: Reading) -> list[str]:
    """Returns the controls of a reading that are not met."""
    return [name for name, one in reading.controls.items() if not one["passed"]]


def square_text(reading: Reading) -> str:
    """Returns sign, effect and what it is an effect on; nothing but the sign where there is no number."""
    sign = LOOKS[reading.status][1]
    if not np.isfinite(reading.interval.mean):
        return sign
    return f"{sign} {SYMBOLS[reading.farthest]} {effect_text(reading.interval.mean)}"


def effect_text(value: float) -> str:
    """Returns an effect in the few letters that a square has room for.

    Example:
        >>> effect_text(0.314), effect_text(-141.2), effect_text(2e6)
        ('+0.31', '-141', '+2e6')
    """
    if abs(value) < 10:
        return f"{value:+.2g}"
    if abs(value) < 1e4:
        return f"{value:+.0f}"
    digits, _, power = f"{value:+.0e}".partition("e")
    return f"{digits}e{int(power)}"


def row_name(network: Network, main: Setting) -> str:
    """Returns data, task and whatever of the setting is not the main one; data under their plain names."""
    words = [network.activation] if network.activation != main[0] else []
    if network.halvings != main[1]:
        words.append(f"{network.halvings} halving{'' if network.halvings == 1 else 's'}")
    if network.weight_decay != main[2]:
        words.append(f"decay {network.weight_decay:.0e}".replace("e-0", "e-"))
    return ", ".join([network.data, task_look(network.task)[0], *words])


def counts_text(found: Sequence[Reading]) -> str:
    """Returns how many readings have each status, in words."""
    statuses = [reading.status for reading in found]
    return ", ".join(f"{statuses.count(status)} {status}" for status in LOOKS) + f" of {len(found)} readings"


def reading_rows(found: Sequence[Reading]) -> list[dict[str, Any]]:
    """Returns one row per reading with all its fields as plain data."""
    return [
        {
            **reading.network._asdict(), "gauge": reading.gauge, "scheme": reading.scheme,
            "farthest": reading.farthest, "data_coupling": plain(reading.data_coupling),
            "mean": plain(reading.interval.mean), "low": plain(reading.interval.low),
            "high": plain(reading.interval.high), "p_value": plain(reading.p_value),
            "adjusted": plain(reading.adjusted), "status": reading.status,
            "failed_controls": " ".join(failed_premises(reading)), "runs": reading.runs, "dead": reading.dead,
        }
        for reading in found
    ]  # fmt: skip


def _draw(axes: Axes, found: Sequence[Reading], names: Sequence[Network], main: Setting) -> None:
    columns = [(scheme, gauge) for scheme in SCHEMES for gauge in JUDGED_GAUGES]
    for reading in found:
        x, y = columns.index((reading.scheme, reading.gauge)), names.index(reading.network)
        colour = LOOKS[reading.status][0]
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=colour, edgecolor="white", linewidth=0.8))
        axes.text(x, y, square_text(reading), ha="center", va="center_baseline", fontsize=TEXT, color=ink_on(colour))
    axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(names) - 0.5, -0.5))
    axes.set_xticks(range(len(columns)), [gauge for _, gauge in columns], fontsize=TEXT + 0.5)
    axes.set_yticks(range(len(names)), [row_name(name, main) for name in names], fontsize=TEXT)
    axes.xaxis.tick_top()
    axes.tick_params(length=0, pad=2)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    _draw_groups(axes, names)


def _draw_groups(axes: Axes, names: Sequence[Network]) -> None:
    """Separates schemes and kinds of data by lines, and names the schemes."""
    for place, scheme in enumerate(SCHEMES):
        centre = (len(JUDGED_GAUGES) - 1) / 2 + place * len(JUDGED_GAUGES)
        where: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
        text = f"fixed point of {SCHEME_NAMES[scheme]}"
        axes.annotate(text, (centre, 1), (0, 15), ha="center", va="bottom", fontweight="bold", fontsize=8, **where)
        if place:
            axes.axvline(place * len(JUDGED_GAUGES) - 0.5, color=base.INK, linewidth=1.2)
    for y in range(1, len(names)):
        if names[y].data != names[y - 1].data:
            axes.axhline(y - 0.5, color=base.INK, linewidth=0.8)


def _extremes(found: Sequence[Reading], main: Setting) -> str:
    """Returns the readings that support the claim, or how far the nearest is from the fixed point, in words."""
    mine = [r for r in found if r.status == "supported"][:8]
    if mine:
        named = "; ".join(f"{row_name(r.network, main)}, {r.gauge}, {SCHEME_NAMES[r.scheme]}" for r in mine)
        return f"supported among others: {named}" if len(mine) == 8 else f"supported: {named}"
    margins = {"coupling": COUPLING_MARGIN, "kurtosis": KURTOSIS_MARGIN}
    known = [r for r in found if np.isfinite(r.interval.mean)]
    if not known:
        return "no reading has a number"
    nearest = min(known, key=lambda r: abs(r.interval.mean) / margins[r.farthest])
    return (
        f"nearest to a fixed point: {row_name(nearest.network, main)}, {nearest.gauge}, "
        f"{SCHEME_NAMES[nearest.scheme]}, {nearest.farthest} {nearest.interval.mean:+.2g}"
    )


def readings_figure(found: Sequence[Reading], name: str, main: Setting) -> Drawn:
    """Returns the picture of some readings; the main setting is not repeated in the names of rows."""
    networks = ordered({reading.network for reading in found})
    figure = sheet(ROW_INCHES * len(networks) + 1.25)
    axes = figure.subplots()
    _draw(axes, found, networks, main)
    axes.set_title(
        f"{counts_text(found)}; {setting_name(main)} unless another stands in the row", loc="left", pad=30, fontsize=8.5
    )
    handles = [
        Patch(facecolor=colour, edgecolor="#bdbdbd", linewidth=0.6, label=f"{sign}  {status}")
        for status, (colour, sign) in LOOKS.items()
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, columnspacing=1.5)
    caption = (
        "Every reading of the claim that trained features have the parameters of a fixed point: rows are networks, "
        "columns the gauge of the features and the scheme whose fixed point they are compared with. The number is the "
        "effect where it is farthest beyond its margin over all couplings of the data: J, ring coupling of the "
        f"features (margin {COUPLING_MARGIN:g} around 0), or \u03ba, their excess kurtosis less that of the fixed "
        f"point (margin {KURTOSIS_MARGIN:g}). Supported: every number at every coupling within its margin; "
        "contradicted: one of them beyond it; p-values adjusted by Holm's method over all readings of the sweep, so "
        f"that any error among them has a chance below {100 * ERROR_RATE:g} %. Couplings at which the loss still "
        "moved or little was learned contradict nothing, and nothing is supported where that is so or untrained or "
        "linear features would pass as well (the table says which)."
    )
    falsified_by = (
        "S2: one contradicted square, as a statement about every network, gauge and scheme; a claim about some of "
        "them, by a contradicted square among those."
    )
    alt = f"Verdict of every reading: {counts_text(found)}; {_extremes(found, main)}."
    return Drawn(name, figure, caption, alt, reading_rows(found), ("S2",), falsified_by)


def readings_figures(dataset: xr.Dataset, main: Setting) -> list[Drawn]:
    """Returns the pictures of all readings: one page, or one per kind of data where a page would be too long."""
    found = readings(dataset)
    if not found:
        return []
    if len({reading.network for reading in found}) <= MOST_ROWS:
        return [readings_figure(found, "fixed_points_readings", main)]
    kinds = in_order({reading.network.data for reading in found}, [])
    by_data = {data: [r for r in found if r.network.data == data] for data in kinds}
    return [readings_figure(mine, f"fixed_points_readings_{data}", main) for data, mine in by_data.items()]
