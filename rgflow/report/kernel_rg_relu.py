"""Figures of the ReLU heuristic of the kernel-rg room: mean and variance apart, test point by test point."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from rgflow.judging.convergence import Estimate
from rgflow.judging.decisions import interval_of
from rgflow.judging.intervals import Interval
from rgflow.judging.text import number_text
from rgflow.kernel_rg.agreement import RELU_BOUND, root_interval
from rgflow.kernel_rg.summary import kept_steps, linearised, mean_and_error, mean_distance
from rgflow.report.figures import Drawn, say_empty
from rgflow.report.interval_marks import interval_points
from rgflow.report.kernel_rg_points import COLOURS, MARKS, Point, about, head, of_study, plain
from rgflow.report.sheets import sheet

COMPARED = {"saddle": "heuristic (saddle point, ReLU kernel)", "wide": "infinite width"}
COLUMNS = 3
BAND, EQUAL = "#ececec", "#555555"


def sampled(point: Point, quantity: str) -> list[Estimate]:
    """Returns the sampled "mean" or "variance" of the output at every test point."""
    values, runs = point[0].values, point[1].sel(step=kept_steps(point[0].values))
    prediction, square = (runs[n].values.astype(np.float64) for n in ("prediction", "prediction_square"))
    if quantity == "mean":
        return [mean_and_error(np.asarray(prediction[..., k]), False) for k in range(prediction.shape[-1])]
    truth = runs["test_targets"].values[0]
    parts = [slice(k, k + 1) for k in range(len(truth))]
    series = [linearised(prediction[..., k], square[..., k], truth[k])["variance"] for k in parts]
    return [mean_and_error(x, values["sampler"] == "trained") for x in series]


def in_theory(point: Point, quantity: str, theory: str) -> np.ndarray:
    """Returns what a theory says at every test point."""
    return point[1][f"theory_{quantity}"].sel(theory=theory).values[0]


def offness(point: Point, quantity: str, theory: str) -> Interval:
    """Returns how far a theory is off: relative distance of the mean, or theory over sampled variance less 1."""
    if quantity == "mean":
        if not np.any(in_theory(point, "mean", theory)):
            return Interval(np.nan, np.nan, np.nan, 0)
        return root_interval(mean_distance(point[0].values, point[1], theory), point[0].runs)
    found, expected = point[0].measured["variance"], point[0].theory[theory]["variance"]
    if not found.mean > 0:
        return Interval(np.nan, np.nan, np.nan, 0)
    return interval_of(Estimate(expected / found.mean - 1, expected * found.error / found.mean**2, 0, 0), point[0].runs)


class Panel(NamedTuple):
    """What one panel shows: a point, the sampled quantity at its test points, how far each theory is off."""

    point: Point
    sampled: Sequence[Estimate]
    off: Mapping[str, Interval]


def panel_of(point: Point, quantity: str) -> Panel:
    """Returns the content of a panel."""
    return Panel(point, sampled(point, quantity), {theory: offness(point, quantity, theory) for theory in COMPARED})


def _title(panel: Panel) -> str:
    case = "$N$ {width:g}, $L$ {depth:g}, $\\sigma^2$ {sigma2:g}, labels x {label_scale:g}"
    off = [number_text(*panel.off[theory][:3]) for theory in COMPARED]
    return case.format(**panel.point[0].values) + f"\nheuristic off by {off[0]}\ninf. width off by {off[1]}"


def _draw(axes: Axes, panel: Panel, quantity: str) -> None:
    found = [interval_of(one, 0) for one in panel.sampled]
    axes.set_title(_title(panel), fontsize=8)
    if not np.isfinite([one.mean for one in found]).any():
        say_empty(axes)
        return
    everything = [end for one in found for end in one[:3]]
    for theory in reversed(COMPARED):
        expected = in_theory(panel.point, quantity, theory)
        look = {"marker": MARKS[theory], "markersize": 4, "color": COLOURS[theory], "linestyle": ""}
        interval_points(axes, list(expected), found, **look)
        everything += list(expected)
    shown = [x for x in everything if np.isfinite(x)]
    margin = 0.06 * (max(shown) - min(shown) or 1.0)
    low, high = (0.0 if quantity == "variance" else min(shown) - margin), max(shown) + margin
    line = np.array([low, high])
    axes.plot(line, line, color=EQUAL, linewidth=1.0, zorder=1)
    if quantity == "variance":
        axes.fill_between(line, line / (1 + RELU_BOUND), line / (1 - RELU_BOUND), color=BAND, linewidth=0, zorder=0)
    axes.set(xlim=(low, high), ylim=(low, high), box_aspect=1)


def _handles(quantity: str) -> list[Any]:
    marks = [
        Line2D([], [], color=COLOURS[n], marker=MARKS[n], linestyle="", label=words) for n, words in COMPARED.items()
    ]
    equal = Line2D([], [], color=EQUAL, linewidth=1.0, label="equal")
    band = [Patch(color=BAND, label=f"within {RELU_BOUND:.0%} of the sampled")] if quantity == "variance" else []
    return [*marks, equal, *band]


def relu_rows(panels: Sequence[Panel], quantity: str) -> list[dict[str, Any]]:
    """Returns one row per point and test point: sampled, standard error, heuristic, infinite width."""
    return [
        {
            **head(panel.point[0]), "test": k, "quantity": quantity, "sampled": plain(one.mean),
            "standard_error": plain(one.error), "heuristic": plain(in_theory(panel.point, quantity, "saddle")[k]),
            "wide": plain(in_theory(panel.point, quantity, "wide")[k]),
        }
        for panel in panels
        for k, one in enumerate(panel.sampled)
    ]  # fmt: skip


ABOUT = {
    "mean": '"Off by" is the root mean square difference in units of the theory\'s own size',
    "variance": '"Off by" is theory over sampled variance less 1, both means over test points',
}


def relu_figure(points: Sequence[Point], quantity: str) -> Drawn:
    """Draws the sampled mean or variance at every test point against the heuristic and against infinite width."""
    rows = math.ceil(len(points) / COLUMNS)
    figure = sheet(2.85 * rows + 1.2)
    axes = figure.subplots(rows, COLUMNS, squeeze=False)
    panels = [panel_of(point, quantity) for point in points]
    for place, panel in zip(axes.flat, panels, strict=False):
        _draw(place, panel, quantity)
        place.set(xlabel=f"predicted {quantity} of the output", ylabel=f"sampled {quantity}")
    for place in axes.flat[len(points) :]:
        place.set_axis_off()
    title = f"ReLU networks, {quantity} of the output: a heuristic, not a theory"
    figure.legend(handles=_handles(quantity), loc="outside upper center", ncols=4, title=title, title_fontsize=10)
    caption = (
        f"ReLU networks, {quantity} of the output at the test points: sampled (Hamiltonian Monte Carlo) against the "
        "heuristic, which puts the kernel of the infinitely wide ReLU network into the theory of linear networks, and "
        f"against infinite width. {ABOUT[quantity]}. {about(points)}"
    )
    claim = f"S4-ReLU {quantity}"
    falsified_by = (
        f"{claim}: marks of the heuristic off the diagonal by more than {RELU_BOUND:.0%} over all test points of a "
        "panel, or no nearer to it than those of infinite width."
    )
    case = "width {width:g}, depth {depth:g}, sigma2 {sigma2:g}, label scale {label_scale:g}: heuristic off by "
    facts = [
        case.format(**p.point[0].values) + number_text(*p.off["saddle"][:3])
        + f", infinite width off by {number_text(*p.off['wide'][:3])}"
        for p in panels
    ]  # fmt: skip
    alt = f"Sampled {quantity} of ReLU networks against a heuristic. {'; '.join(facts)}."
    return Drawn(f"relu_{quantity}", figure, caption, alt, relu_rows(panels, quantity), (claim,), falsified_by)


def relu_figures(points: Sequence[Point]) -> list[Drawn]:
    """Returns the figures of mean and variance of sampled ReLU networks; none where none were run."""
    found = [p for p in of_study(points, "relu") if p[0].values["activation"] == "relu"]
    return [relu_figure(found, quantity) for quantity in ("mean", "variance")] if found else []
