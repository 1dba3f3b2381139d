"""Figures of the kernel-rg room against a swept quantity: errors and order parameter, sampled and in theory."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rgflow.kernel_rg.summary import Summary
from rgflow.kernel_rg.theory import infinite_depth_scale
from rgflow.report import figures as base
from rgflow.report.figures import Drawn
from rgflow.report.kernel_rg_points import (
    LABELS,
    LINES,
    SHIFT,
    Point,
    about,
    curve_handles,
    differing,
    draw_below,
    draw_curves,
    draw_marks,
    draw_sampled,
    drawn_values,
    mark_handles,
    of_study,
    rows_of,
    sampled_handles,
    text,
    value_text,
)
from rgflow.report.sheets import sheet

MOST_COLUMNS = 4
WIDE_RANGE = 8.0
"""Ratio of the largest to the smallest number of a row of panels above which its axis is logarithmic."""

LIMIT: Mapping[str, Any] = {"color": base.GREY, "linestyle": ":", "linewidth": 1.5}
ERRORS = ("bias", "variance", "error")


class Sweep(NamedTuple):
    """A study against one quantity: its axis, whether groups share value axes, its claim, what would falsify it."""

    study: str
    axis: str
    label: str
    scale: str
    shared: bool
    claim: str
    falsified_by: str


SWEEPS = (
    Sweep("width", "width", "width $N$ (units per layer)", "log", True,
          "S4-width", "sampled variances that grow towards few units where the label norm r_0 is below sigma^(2L), or "
          "fall where it is above; the grey level is the limit of few units, r_0^(1/L)"),
    Sweep("depth", "depth", "depth $L$ (hidden layers)", "linear", False,
          "S4-depth", "sampled Q that move away from the grey level with depth where sigma^2 (1 - alpha) is below 1, "
          "or stop growing where it is above"),
    Sweep("size", "num_train", "training points $P$", "linear", True,
          "S4-size", "a sampled bias without a maximum at P = N0 (grey line)"),
    Sweep("sigma2", "sigma2", r"prior variance of a weight $\sigma^2$", "linear", True,
          "S4-linear", "sampled points off the curve of the saddle point by more than 2 L/N, which would mean that "
          "the scale of the weights does not enter through Q alone"),
)  # fmt: skip


def groups(points: Sequence[Point], axis: str) -> dict[str, list[Point]]:
    """Returns the points of a study by whatever else than the axis differs, each group along the axis."""
    names = differing(points, axis)
    found: dict[str, list[Point]] = {}
    for point in points:
        title = ", ".join(value_text(name, point[0].values[name]) for name in names)
        found.setdefault(title, []).append(point)
    return {title: sorted(found[title], key=lambda p: p[0].values[axis]) for title in found}


def shown_groups(found: Mapping[str, list[Point]]) -> dict[str, list[Point]]:
    """Returns at most four groups, spread over all of them."""
    titles = list(found)
    places = sorted({round(k) for k in np.linspace(0, len(titles) - 1, min(len(titles), MOST_COLUMNS))})
    return {titles[k]: found[titles[k]] for k in places}


def quantities(found: Mapping[str, list[Point]]) -> list[str]:
    """Returns what the panels show; Q is the order parameter of networks of one layer."""
    if len(found) == 1:
        return [*ERRORS, "scale", "order_parameter", "energy"]
    deep = any(p.values["depth"] > 1 for members in found.values() for p, _ in members)
    return [*ERRORS, *(["scale"] if deep else []), "order_parameter"]


def limit(sweep: Sweep, point: Summary, name: str) -> float:
    r"""Returns the level a quantity tends to, at T = 0: $r_0^{1/L}$ for few units, Q of infinite depth; else NaN."""
    if sweep.study == "width" and name == "order_parameter":
        return point.label_norm ** (1 / float(point.values["depth"]))
    if sweep.study == "depth" and name == "scale" and point.load > 0 and point.label_norm > 0:
        level = infinite_depth_scale(point.load, point.label_norm, point.values["sigma2"])
        return level if math.isfinite(level) else math.nan
    return math.nan


def scale_of(values: Sequence[float]) -> str:
    """Returns which axis some numbers need.

    Example:
        >>> scale_of([0.1, 2.0]), scale_of([0.5, 2.0]), scale_of([])
        ('log', 'linear', 'linear')
    """
    positive = [x for x in values if x > 0]
    return "log" if positive and max(positive) > WIDE_RANGE * min(positive) else "linear"


def set_value_scale(axes: Axes, values: Sequence[float]) -> None:
    """Chooses the scale of a value axis; limits follow from the numbers, not from error bars that cross zero."""
    positive = [x for x in values if x > 0]
    if scale_of(values) == "log":
        margin = max(positive) / min(positive)
        # Limits come first: a panel may hold no positive number of its own.
        axes.set_ylim(min(positive) / margin**0.12, max(positive) * margin**0.1)
        base.log_axis(axes, "y", (1, 2, 5) if margin < 300 else (1,))
    elif positive:
        # Marks at zero are drawn in full.
        low = min(-0.05 * max(positive), 1.15 * min(values)) if min(values) <= 0 else 0.0
        axes.set_ylim(low, 1.15 * max(positive))


def _draw_panel(axes: Axes, sweep: Sweep, members: Sequence[Point], name: str) -> None:
    x = [float(p.values[sweep.axis]) for p, _ in members]
    draw_curves(axes, x, members, name)
    draw_sampled(axes, x, members, name)
    level = limit(sweep, members[0][0], name)
    if np.isfinite(level):
        axes.axhline(level, zorder=1, **LIMIT)
    if sweep.study == "size":
        axes.axvline(float(members[0][0].values["num_inputs"]), zorder=1, **LIMIT)


def _set_axis(axes: Axes, sweep: Sweep, members: Sequence[Point]) -> None:
    x = sorted({float(p.values[sweep.axis]) for p, _ in members})
    if sweep.scale == "log":
        base.log_axis(axes, "x")
    axes.set_xticks(x, [f"{value:g}" for value in x])
    axes.set_xticks([], minor=True)


def _layout(
    found: Mapping[str, list[Point]], names: Sequence[str], shared: bool = True
) -> tuple[Figure, dict[tuple[str, str], Axes]]:
    """Returns the figure and its panels by (group, quantity): a column per group, one group in three columns."""
    if len(found) > 1:
        figure = sheet(1.5 * len(names) + 1.1)
        axes = figure.subplots(len(names), len(found), squeeze=False, sharex=True, sharey="row" if shared else False)
        return figure, {(t, n): axes[i, j] for i, n in enumerate(names) for j, t in enumerate(found)}
    figure = sheet(1.9 * math.ceil(len(names) / 3) + 1.1)
    axes = figure.subplots(math.ceil(len(names) / 3), 3, squeeze=False)
    for panel in axes.flat[len(names) :]:
        panel.set_axis_off()
    return figure, {(t, n): panel for t in found for n, panel in zip(names, axes.flat, strict=False)}


def _label(panels: Mapping[tuple[str, str], Axes], sweep: Sweep, found: Mapping[str, list[Point]]) -> None:
    titles, names = list(found), list(dict.fromkeys(name for _, name in panels))
    for (title, name), panel in panels.items():
        _set_axis(panel, sweep, [p for t in titles for p in found[t]])
        if len(titles) == 1 or name == names[-1]:
            panel.set_xlabel(sweep.label)
        if len(titles) == 1 or title == titles[0]:
            panel.set_ylabel(LABELS[name])
        if name == names[0]:
            panel.set_title("   ".join(filter(None, (title, _criterion(sweep, found[title][0][0])))))


def _criterion(sweep: Sweep, point: Summary) -> str:
    """Returns what decides the limit of many layers, for the title of a column."""
    if sweep.study != "depth":
        return ""
    return rf"($\sigma^2 (1 - \alpha) = {point.values['sigma2'] * (1 - point.load):.3g}$)"


def _limit_handles(sweep: Sweep) -> list[Line2D]:
    words = {"width": "limit of few units", "depth": "limit of many layers", "size": "$P = N_0$"}
    return [Line2D([], [], label=words[sweep.study], **LIMIT)] if sweep.study in words else []


def sweep_figure(sweep: Sweep, points: Sequence[Point]) -> Drawn:
    """Draws bias, variance, error and order parameter against the swept quantity: samples on the curves of theory."""
    every = groups(points, sweep.axis)
    found = shown_groups(every)
    names = quantities(found)
    figure, panels = _layout(found, names, sweep.shared)
    for (title, name), panel in panels.items():
        _draw_panel(panel, sweep, found[title], name)
    for title, name in panels:
        columns = found if sweep.shared else {title: found[title]}
        set_value_scale(panels[title, name], [x for t in columns for x in drawn_values(found[t], name, LINES)])
        draw_below(panels[title, name], [float(p.values[sweep.axis]) for p, _ in found[title]], found[title], name)
    _label(panels, sweep, found)
    handles = [*sampled_handles(points), *curve_handles(), *_limit_handles(sweep)]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 5), columnspacing=1.5)
    left_out = (
        f" {len(every)} groups were run, {len(found)} are drawn; the table has all." if len(every) > len(found) else ""
    )
    words = {"num_train": "the number of training points"}.get(sweep.axis, sweep.axis)
    caption = (
        f"Linear networks against {words}: squared bias, variance and their sum at the test "
        "points, the scale Q of the kernel and the order parameter u_0. Theory is computed at the swept values on "
        f"the same data; straight lines join them. {about(points)}{left_out}"
    )
    ends = [members[k] for members in every.values() for k in sorted({0, len(members) - 1})]
    names = dict.fromkeys((sweep.axis, "sigma2", "data_seed"))
    facts = [
        f"{', '.join(f'{name} {p.values[name]:g}' for name in names)}: "
        f"bias {text(p, 'bias')}, variance {text(p, 'variance')}, Q {text(p, 'scale')}"
        for p, _ in ends
    ]
    alt = f"Errors and order parameter against {words}. {'; '.join(facts)}."
    falsified_by = f"{sweep.claim}: {sweep.falsified_by}."
    return Drawn(sweep.study, figure, caption, alt, rows_of(points), (sweep.claim,), falsified_by)


def sweep_figures(points: Sequence[Point]) -> list[Drawn]:
    """Returns the figure of every swept quantity whose study was run on linear networks."""
    linear = [p for p in points if p[0].values["activation"] == "linear"]
    return [sweep_figure(sweep, found) for sweep in SWEEPS if (found := of_study(linear, sweep.study))]


def data_figures(points: Sequence[Point]) -> list[Drawn]:
    """Returns the errors and the order parameter on other kinds of data; none without that study."""
    found = of_study(points, "data")
    if not found:
        return []
    figure, panels = _layout({"": found}, names := (*ERRORS, "scale", "order_parameter", "energy"))
    for (_, name), panel in panels.items():
        draw_marks(panel, found, name, tuple(LINES))
        set_value_scale(panel, drawn_values(found, name, LINES))
        draw_below(panel, [k - SHIFT for k in range(len(found))], found, name)
        panel.set_xticks(range(len(found)), [str(p.values["data"]) for p, _ in found])
        panel.set_xlim(-0.5, len(found) - 0.5)
        panel.set_ylabel(LABELS[name])
    base.legend(figure, [*sampled_handles(found), *mark_handles(tuple(LINES))])
    caption = (
        "Linear networks on data other than that of a teacher: templates (clusters of two classes), random labels, "
        f"and, where it was run, digits. {about(found)}"
    )
    falsified_by = (
        "S4-sampler: sampled points off the marks of the exact law by more than their bars allow; S4-linear: sampled "
        "points farther than 2 L/N from the marks of the saddle point."
    )
    facts = [f"{p.values['data']}: " + ", ".join(f"{n} {text(p, n)}" for n in names[:4]) for p, _ in found]
    alt = f"Errors by kind of data. {'; '.join(facts)}."
    return [Drawn("data", figure, caption, alt, rows_of(found), ("S4-sampler", "S4-linear"), falsified_by)]
