"""Figures of the kernel-rg room, each from the studies of a sweep that it needs; first, do the chains sample at all?"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from rgflow.judging.text import number_text
from rgflow.kernel_rg.judge import FALSE_ALARM_SIGMA
from rgflow.kernel_rg.summary import LEAST_ESS, WORST_R_HAT, Summary
from rgflow.report import figures as base
from rgflow.report.figures import Drawn
from rgflow.report.kernel_rg_kernels import kernel_figures
from rgflow.report.kernel_rg_points import (
    MISSING,
    NO_ESTIMATE,
    Point,
    about_runs,
    head,
    of_study,
    plain,
    points_of,
)
from rgflow.report.kernel_rg_relu import relu_figures
from rgflow.report.kernel_rg_sweeps import data_figures, sweep_figures
from rgflow.report.kernel_rg_trained import trained_figures
from rgflow.report.sheets import sheet

FARTHEST = 8.0
"""Deviations beyond this many standard errors are arrows at the edge."""

OBSERVABLE_MARKS = {
    "scale": ("o", "scale $Q$"),
    "energy": ("s", "training energy"),
    "variance": ("^", "predictive variance"),
    "kernel_projection": ("D", r"kernel projection $Y^\top K_l Y / |Y|^4$"),
}
STUDY_NAMES = {"sigma2": r"$\sigma^2$", "size": "training points", "data": "data sets"}


def deviation(point: Summary, name: str) -> float:
    """Returns sampled minus exact in standard errors, NaN where either is missing."""
    found, expected = point.measured[name], point.theory["exact"][name]
    return (found.mean - expected) / found.error if found.error > 0 else float("nan")


def compared(point: Summary) -> list[str]:
    """Returns the observables that have an exact value: Q, energy, variance and the projection of every layer."""
    layers = range(1, int(point.values["depth"]) + 1)
    return ["scale", "energy", "variance", *(f"kernel_projection_{k}" for k in layers)]


def case_name(point: Summary) -> str:
    """Returns the values that make a case, as formulas."""
    values = point.values
    sizes = "$N$ {width:g}, $N_0$ {num_inputs:g}, $P$ {num_train:g}, $L$ {depth:g}".format(**values)
    return sizes + ",\n" + r"$\sigma^2$ {sigma2:g}, $T$ {temperature:g}".format(**values) + " " + _sampler(point)


def _sampler(point: Summary) -> str:
    return f"({'HMC' if point.values['sampler'] == 'hmc' else 'Gibbs'})"


def lines_of(points: Sequence[Point]) -> list[tuple[str, list[Summary]]]:
    """Returns the lines of the figure: every case by itself, all points of each other study in one."""
    cases = [(case_name(p), [p]) for p, _ in of_study(points, "cases", "hmc")]
    others: dict[str, list[Summary]] = {}
    for point, _ in points:
        if point.values["study"] not in ("cases", "hmc"):
            others.setdefault(str(point.values["study"]), []).append(point)
    named = [
        (f"all {len(found)} of study\n{STUDY_NAMES.get(study, study)} {_sampler(found[0])}", found)
        for study, found in others.items()
    ]
    return cases + named


def _heights(line: int, members: Sequence[Summary]) -> list[tuple[float, Summary, str]]:
    """Returns the height, point and observable of every mark in a line; lines count downwards."""
    marks = [(point, name) for point in members for name in compared(point)]
    offsets = np.linspace(0.36, -0.36, len(marks)) if len(marks) > 1 else [0.0]
    return [(-line + float(y), point, name) for y, (point, name) in zip(offsets, marks, strict=True)]


def _marks(axes: Axes, x: Sequence[float], heights: Sequence[tuple[float, Summary, str]], size: float) -> None:
    """Draws numbers at their heights, by kind of observable; crosses at the left edge where there is no number."""
    numbers = np.asarray(x, np.float64)
    y = np.array([height for height, _, _ in heights])
    kinds = np.array([name.rstrip("0123456789_") for *_, name in heights])
    seen = np.isfinite(numbers)
    for kind, (marker, _) in OBSERVABLE_MARKS.items():
        here = seen & (kinds == kind)
        look = {"marker": marker, "markersize": size, "color": base.INK, "linestyle": "", "clip_on": False}
        # The layout would make room for an empty line at the origin of the figure.
        if here.any():
            axes.plot(numbers[here], y[here], **look)
    lost = y[~seen]
    if lost.size:
        edge = np.full(lost.shape, 0.02)
        axes.plot(edge, lost, transform=axes.get_yaxis_transform(), **{**MISSING, "markersize": 4.5})


def _arrow(axes: Axes, far: float, y: float) -> None:
    """Draws a deviation that is off the axis as an arrow at its edge, with the number."""
    side = 1 if far > 0 else -1
    axes.plot([side * FARTHEST], [y], marker=">" if side > 0 else "<", color=base.INK, linestyle="", clip_on=False)
    axes.annotate(f"{far:.0f}", (side * FARTHEST, y), ha="right" if side > 0 else "left", va="center", fontsize=7,
                  xytext=(-5 * side, 0), textcoords="offset points")  # fmt: skip


def _draw_line(axes: Sequence[Axes], line: int, members: Sequence[Summary]) -> None:
    deviations, r_hats, sizes = axes
    heights, size = _heights(line, members), 3.0 if len(members) > 1 else 4.5
    far = np.array([deviation(point, name) for _, point, name in heights])
    off = np.abs(far) > FARTHEST
    _marks(deviations, far[~off].tolist(), [h for h, out in zip(heights, off, strict=True) if not out], size)
    for number, (y, _, _) in zip(far[off].tolist(), (heights[k] for k in np.flatnonzero(off)), strict=True):
        _arrow(deviations, number, y)
    found = [point.measured[name] for _, point, name in heights]
    _marks(r_hats, [e.r_hat for e in found], heights, size)
    _marks(sizes, [e.ess if e.ess > 0 else np.nan for e in found], heights, size)


def agreement_rows(points: Sequence[Point]) -> list[dict[str, Any]]:
    """Returns one row per point and compared observable: sampled, exact, deviation in standard errors, R-hat, ESS."""
    return [
        {
            **head(point), "observable": name, "sampled": plain(found.mean), "standard_error": plain(found.error),
            "exact": plain(point.theory["exact"][name]), "deviation": plain(deviation(point, name)),
            "r_hat": plain(found.r_hat), "effective_sample_size": plain(found.ess),
        }
        for point, _ in points
        for name in compared(point)
        for found in (point.measured[name],)
    ]  # fmt: skip


def _finish(axes: Sequence[Axes], lines: Sequence[tuple[str, list[Summary]]]) -> None:
    deviations, r_hats, sizes = axes
    deviations.axvspan(-FALSE_ALARM_SIGMA, FALSE_ALARM_SIGMA, color="#e8eef4", linewidth=0, zorder=0)
    deviations.axvline(0.0, color=base.BLUE, linewidth=1.2, zorder=1)
    deviations.set(xlim=(-FARTHEST, FARTHEST), xlabel="(sampled - exact) / standard error")
    deviations.set_yticks([-float(k) for k in range(len(lines))], [name for name, _ in lines])
    deviations.set_ylim(-len(lines) + 0.45, 0.55)
    r_hats.axvline(WORST_R_HAT, color=base.GREY, linestyle=":", linewidth=1.3)
    r_hats.set_xlabel(r"split $\hat{R}$")
    low, high = r_hats.get_xlim()
    r_hats.set_xlim(min(low, 0.995), max(high, WORST_R_HAT + 0.005))
    sizes.axvline(LEAST_ESS, color=base.GREY, linestyle=":", linewidth=1.3)
    base.log_axis(sizes, "x")
    sizes.set_xlabel("effective sample\nsize (batches)")
    for panel in axes:
        panel.tick_params(axis="y", length=0)
        panel.grid(False, axis="y")
        for line in range(1, len(lines)):
            panel.axhline(0.5 - line, color="#d0d0d0", linewidth=0.7, zorder=0)


def _handles(lacking: bool) -> list[Any]:
    marks = [
        Line2D([], [], color=base.INK, marker=marker, linestyle="", label=label)
        for marker, label in OBSERVABLE_MARKS.values()
    ]
    limits = [
        Patch(color="#e8eef4", label=f"within {FALSE_ALARM_SIGMA:g} standard errors"),
        Line2D([], [], color=base.GREY, linestyle=":", label="bound of convergence"),
    ]
    return [*marks, *limits, *([Line2D([], [], label=NO_ESTIMATE, **MISSING)] if lacking else [])]


def agreement(points: Sequence[Point]) -> Drawn:
    """Draws how far chains are from the exact law, in standard errors, beside their R-hat and effective sample size."""
    lines = lines_of(points)
    figure = sheet(0.5 * len(lines) + 1.5)
    axes = list(figure.subplots(1, 3, sharey=True, width_ratios=(2.2, 1, 1)))
    for line, (_, members) in enumerate(lines):
        _draw_line(axes, line, members)
    _finish(axes, lines)
    found = np.array([deviation(p, name) for p, _ in points for name in compared(p)])
    seen = found[np.isfinite(found)]
    outside = int((np.abs(seen) > FALSE_ALARM_SIGMA).sum())
    lost = found.size - seen.size
    figure.legend(handles=_handles(lost > 0), loc="outside upper center", ncols=4 if lost else 3, columnspacing=1.5)
    lacking = f" {lost} of {found.size} numbers are missing (crosses)." if lost else ""
    caption = (
        "Chains of linear networks against the exact finite-width law: every compared number, in standard errors of "
        f"the chains. Beyond {FALSE_ALARM_SIGMA:g}: {outside} of {seen.size}; of a sampler that is exact "
        f"{seen.size * 6.3e-5:.1g} are expected there. Layers of a network follow from top to bottom. Right: split "
        f"R-hat and effective sample size of the same numbers, bounds dotted.{lacking}{about_runs(points)}"
    )
    falsified_by = (
        "S4-sampler: marks outside the shaded band. Marks right of the bound of R-hat or left of that of the sample "
        "size decide nothing."
    )
    facts = [f"{name_in_words(p)}: {_worst(p)}" for p, _ in of_study(points, "cases", "hmc")]
    alt = f"Sampled against exact, {outside} of {seen.size} beyond {FALSE_ALARM_SIGMA:g} standard errors. "
    alt += "; ".join(facts)
    return Drawn("agreement", figure, caption, alt, agreement_rows(points), ("S4-sampler",), falsified_by)


def name_in_words(point: Summary) -> str:
    """Returns which case it is, in plain text."""
    return "{sampler}, width {width:g}, depth {depth:g}, {num_train:g} training points".format(**point.values)


def _worst(point: Summary) -> str:
    found = [abs(deviation(point, name)) for name in compared(point)]
    return f"largest deviation {number_text(max(found, default=None))}" if np.isfinite(found).all() else "no estimate"


def is_comparable(point: Summary) -> bool:
    """Tells whether a point has chains and an exact law."""
    return point.values["sampler"] != "trained" and point.values["activation"] == "linear"


def figures(dataset: xr.Dataset) -> list[Drawn]:
    """Returns every figure that the studies of a sweep allow; none of an empty one."""
    points = points_of(dataset)
    linear = [p for p in points if is_comparable(p[0])]
    return [
        *([agreement(linear)] if linear else []),
        *sweep_figures(points),
        *data_figures(points),
        *kernel_figures(points),
        *relu_figures(points),
        *trained_figures(points),
    ]
