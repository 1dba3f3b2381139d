"""The figure of trained networks beside the equilibrium: with and without weight decay, and where decay ends."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from rgflow.judging.intervals import Interval
from rgflow.judging.text import number_text
from rgflow.kernel_rg.agreement import root_interval
from rgflow.kernel_rg.summary import mean_distance
from rgflow.report.figures import Drawn
from rgflow.report.interval_marks import interval_points
from rgflow.report.kernel_rg_points import (
    COLOURS,
    LABELS,
    MARKS,
    SHIFT,
    THEORY_NAMES,
    Point,
    about,
    differing,
    draw_below,
    draw_marks,
    drawn_values,
    head,
    mark_handles,
    missing,
    of_study,
    plain,
    rows_of,
    sampled_handles,
    text,
)
from rgflow.report.kernel_rg_sweeps import set_value_scale
from rgflow.report.sheets import sheet

THEORIES = ("exact", "saddle", "wide", "map")
NAMES = {**THEORY_NAMES, "exact": "equilibrium, exact", "saddle": "equilibrium, saddle point"}
SHOWN = ("bias", "variance", "scale", "energy")
DISTANCE = "distance of mean output\nfrom theory (rel.)"
DISTANT_FROM = ("exact", "wide", "map")
AXES = {"width": "width $N$", "label_scale": "scale of the labels (x)", "depth": "depth $L$", "sigma2": r"$\sigma^2$"}
FLOOR = 1e-3
"""Share of the largest number of a panel below which a number counts as zero on a logarithmic axis."""


def mean_off(point: Point, theory: str) -> Interval:
    """Returns the relative distance of the trained mean output from a theory's; NaN where that has none or is zero."""
    expected = point[1]["theory_mean"].sel(theory=theory).values[0]
    if not np.isfinite(expected).all() or not np.any(expected):
        return Interval(np.nan, np.nan, np.nan, 0)
    return root_interval(mean_distance(point[0].values, point[1], theory), point[0].runs)


def columns_of(points: Sequence[Point]) -> dict[str, list[Point]]:
    """Returns the points without weight decay first, then those of every other temperature."""
    found: dict[str, list[Point]] = {}
    for point in sorted(points, key=lambda p: p[0].values["temperature"]):
        warm = point[0].values["temperature"]
        title = f"weight decay, $T = {warm:g}$" if warm > 0 else "no weight decay, $T = 0$"
        found.setdefault(title, []).append(point)
    return found


def _name(point: Point, names: Sequence[str]) -> str:
    """Returns the values of a point, one below the other."""
    values = point[0].values
    return "\n".join({"label_scale": "x {:g}"}.get(name, "{}").format(values[name]) for name in names)


def _draw_distance(axes: Axes, members: Sequence[Point]) -> None:
    for place, theory in enumerate(DISTANT_FROM):
        found = [mean_off(point, theory) for point in members]
        where = [k + SHIFT * (place - 1) for k in range(len(members))]
        look = {"marker": MARKS[theory], "markersize": 5, "color": COLOURS[theory], "linestyle": ""}
        interval_points(axes, where, found, **look)
        for at, point in zip(where, members, strict=True):
            if not np.isfinite(point[0].measured["bias"].mean) and np.isfinite(point[0].theory[theory]["bias"]):
                missing(axes, at)


def _draw_zeros(axes: Axes, members: Sequence[Point], name: str, floor: float) -> None:
    """Marks theories that a logarithmic axis cannot show by arrows at its lower edge."""
    for k, (point, _) in enumerate(members):
        for place, theory in enumerate(THEORIES):
            if point.theory[theory][name] <= floor:
                at = [k + SHIFT * place]
                axes.plot(at, [0.04], marker="v", markersize=5, fillstyle="none", color=COLOURS[theory],
                          transform=axes.get_xaxis_transform(), clip_on=False)  # fmt: skip


def _draw_row(row: Sequence[Axes], found: Mapping[str, list[Point]], name: str) -> None:
    values = [x for members in found.values() for x in drawn_values(members, name, THEORIES)]
    floor = FLOOR * max(values, default=0.0)
    for panel, members in zip(row, found.values(), strict=True):
        draw_marks(panel, members, name, THEORIES)
        set_value_scale(panel, [x if x > floor else 0.0 for x in values])
        if panel.get_yscale() == "log":
            _draw_zeros(panel, members, name, floor)
            draw_below(panel, [k - SHIFT for k in range(len(members))], members, name)


def trained_rows(points: Sequence[Point]) -> list[dict[str, Any]]:
    """Returns one row per point and observable, and one per theory that the mean output is compared with."""
    rows = rows_of(points)
    empty = dict.fromkeys(rows[0], "")
    for point in points:
        for theory in DISTANT_FROM:
            off = mean_off(point, theory)
            rows.append({
                **empty, **head(point[0]), "observable": f"mean_distance_{theory}", "sampled": plain(off.mean),
                "low": plain(off.low), "high": plain(off.high),
            })  # fmt: skip
    return [{**row, "low": row.get("low", ""), "high": row.get("high", "")} for row in rows]


def trained_figure(points: Sequence[Point]) -> Drawn:
    """Draws the quantities of ensembles of trained networks beside those of the equilibrium and the minimum."""
    found = columns_of(points)
    figure = sheet(1.55 * (len(SHOWN) + 1) + 1.4)
    axes = figure.subplots(len(SHOWN) + 1, len(found), squeeze=False, sharex="col", sharey="row")
    for panel, members in zip(axes[0], found.values(), strict=True):
        _draw_distance(panel, members)
        panel.set_ylim(bottom=-0.008)
    for row, name in zip(axes[1:], SHOWN, strict=True):
        _draw_row(list(row), found, name)
    for row, label in zip(axes, (DISTANCE, *(LABELS[name] for name in SHOWN)), strict=True):
        row[0].set_ylabel(label)
    names = [n for n in differing(points, "temperature", "sampler") if n != "steps"] or ["width"]
    for column, (title, members) in zip(axes.T, found.items(), strict=True):
        column[0].set_title(title)
        column[-1].set_xticks(range(len(members)), [_name(p, names) for p in members])
        column[-1].set_xlim(-0.5, len(members) - 0.5)
        column[-1].set_xlabel(", ".join(AXES.get(n, n.replace("_", " ")) for n in names))
        for panel in column:
            panel.grid(False, axis="x")
    distant = [
        Line2D([], [], color=COLOURS[n], marker=MARKS[n], linestyle="", label=f"distance from {NAMES[n]}")
        for n in DISTANT_FROM
    ]
    handles = [*sampled_handles(points), *mark_handles(THEORIES, NAMES), *distant]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, columnspacing=1.5)
    caption = (
        "Linear networks trained by gradient descent from weights of the prior, with and without weight decay "
        "T/sigma^2, beside the equilibrium of the same data at temperature T and beside the minimum of the regularised "
        "energy, where training with weight decay ends. First row: root mean square distance of the mean output from "
        "that of each theory, in units of the theory's own size (none where the minimum is the zero output). Arrows at "
        f"the lower edge: below a thousandth of the largest number. {about(points)}"
    )
    falsified_by = (
        "S4-trained mean: distances from the equilibrium above 15 %; S4-trained variance: filled marks of the variance "
        "off the open circles of the equilibrium by more than that; S4-MAP: with weight decay, distances from the "
        "minimum above 15 %, or a variance that is left."
    )
    claims = ("S4-trained mean", "S4-trained variance", "S4-MAP")
    facts = [
        f"{title.replace('$', '')}, width {p.values['width']:g}, label scale {p.values['label_scale']:g}: "
        f"variance {text(p, 'variance')}, Q {text(p, 'scale')}, distance of the mean from the equilibrium "
        f"{number_text(*mean_off((p, runs), 'exact')[:3])}"
        for title, members in found.items()
        for p, runs in members
    ]
    alt = f"Trained networks beside the equilibrium. {'; '.join(facts)}."
    return Drawn("trained", figure, caption, alt, trained_rows(points), claims, falsified_by)


def trained_figures(points: Sequence[Point]) -> list[Drawn]:
    """Returns the figure of trained networks; none where none were trained."""
    found = [p for p in of_study(points, "trained") if p[0].values["activation"] == "linear"]
    return [trained_figure(found)] if found else []
