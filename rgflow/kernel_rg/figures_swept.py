"""Figures of linear networks against a swept quantity, and on other data: errors, scale and order parameter."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rgflow.judging.claim import known
from rgflow.judging.text import number_text
from rgflow.kernel_rg.figures_points import QUANTITIES, about, columns_of, series
from rgflow.kernel_rg.observables import Pooled
from rgflow.kernel_rg.select import of_study
from rgflow.kernel_rg.theory import infinite_depth_scale
from rgflow.plots.figure import Figure
from rgflow.plots.panel import Guide, Panel, fitting
from rgflow.protocol import Results, Verdict


class Sweep(NamedTuple):
    """A study against one quantity: its axis, what tells its columns apart, its claim, what would falsify that.

    With ``shared`` all columns have the same axes of values.
    """

    study: str
    axis: str
    label: str
    x_scale: str
    column: str
    title: str
    shared: bool
    falsified_by: Mapping[str, str]


SWEEPS = (
    Sweep("width", "width", "width $N$ (units per layer)", "log", "sigma2", r"$\sigma^2 = {:g}$", True, {
        "S4-width": "sampled variances that grow towards few units where the label norm r_0 is below sigma^(2L), or "
        "fall where it is above; the dotted level is the limit of few units, r_0^(1/L)"}),
    Sweep("depth", "depth", "depth $L$ (hidden layers)", "linear", "sigma2", r"$\sigma^2 = {:g}$", False, {
        "S4-depth": "sampled Q that move away from the dotted level with depth where sigma^2 (1 - alpha) is below 1, "
        "or stop growing where it is above"}),
    Sweep("size", "num_train", "training points $P$", "linear", "data_seed", "data set {:g}", True, {
        "S4-size": "a sampled bias without a maximum at P = N0 (dotted line)"}),
    Sweep("sigma2", "sigma2", r"prior variance of a weight $\sigma^2$", "linear", "study", "", True, {
        "S4-linear": "sampled points off the curve of the saddle point by more than 2 L/N, which would mean that the "
        "scale of the weights does not enter through Q alone"}),
    Sweep("data", "data", "kind of data", "linear", "study", "", True, {
        "S4-sampler": "sampled points off the marks of the exact law by more than their bars allow",
        "S4-linear": "sampled points farther than 2 L/N from the marks of the saddle point"}),
)  # fmt: skip


def guides_of(sweep: Sweep, point: Pooled, name: str) -> list[Guide]:
    r"""Returns the levels that quantities tend to at T = 0: $r_0^{1/L}$ for few units, Q of infinite depth; P = N0."""
    values = point.values
    if sweep.study == "width" and name == "order_parameter":
        return [Guide("limit of few units", y=point.label_norm ** (1 / float(values["depth"])))]
    if sweep.study == "depth" and name == "scale" and point.load > 0 and point.label_norm > 0:
        level = infinite_depth_scale(point.load, point.label_norm, values["sigma2"])
        return [Guide("limit of many layers", y=level)] if np.isfinite(level) else []
    return [Guide("$P = N_0$", x=float(values["num_inputs"]))] if sweep.study == "size" else []


def title_of(sweep: Sweep, value: Any, members: Sequence[Pooled], verdicts: Sequence[Verdict]) -> str:
    """Returns the title of a column: its value, and what is decided there."""
    title = sweep.title.format(value)
    if sweep.study == "depth":
        title += rf",  $\sigma^2 (1 - \alpha) = {value * (1 - members[0].load):.3g}$"
    for claim in sweep.falsified_by:
        found = known(verdicts, claim, f"{sweep.column} = {value:g}")
        title += f"\n{claim}: {number_text(*found[:3])}" if np.isfinite(found.mean) else ""
    return title


def sweep_figure(sweep: Sweep, results: Results, verdicts: Sequence[Verdict]) -> list[Figure]:
    """Returns errors and order parameter against the swept quantity: samples on the curves of theory."""
    points = [p for p in of_study(results, sweep.study) if p.values["activation"] == "linear"]
    if not points:
        return []
    every = columns_of(sorted(points, key=lambda p: p.values[sweep.axis]), sweep.column)
    alone, deep = len(every) == 1, any(p.values["depth"] > 1 for p in points)
    names = [n for n in QUANTITIES if (n != "scale" or alone or deep) and (n != "energy" or alone)]
    panels = []
    for name in names:
        row = {value: series(found, [p.values[sweep.axis] for p in found], name) for value, found in every.items()}
        for value, found in every.items():
            fitted = fitting([s for of in (row if sweep.shared else [value]) for s in row[of]])
            title = title_of(sweep, value, found, verdicts) if name == names[0] and not alone else ""
            words, label = QUANTITIES[name]
            panels.append(Panel(
                title, row[value], guides_of(sweep, found[0], name),
                ", ".join([words] if alone else [words, f"{sweep.column} {value:g}", *title.splitlines()[1:]]),
                y=label if alone or value == min(every) else "", height=1.9 if alone else 1.5, **fitted,
            ))  # fmt: skip
    words = sweep.label.split(" $")[0]
    effect = " A title ends with the effect that decides the claim." if any("S4" in p.title for p in panels) else ""
    ticks = sorted({float(p.values[sweep.axis]) for p in points}) if sweep.study != "data" else []
    return [Figure(
        name=sweep.study, x=sweep.label, x_scale=sweep.x_scale, x_ticks=ticks, columns=3 if alone else len(every),
        group="", colours={}, share_y="row" if sweep.shared and not alone else False, panels=panels,
        falsified_by=sweep.falsified_by,
        caption=f"Linear networks by {words}: squared bias, variance and their sum at the test points, the scale Q of "
        f"the kernel and the order parameter u_0. Theory is that of the same data.{effect} {about(points)}",
    )]  # fmt: skip
