"""Points of the kernel-rg room as its figures show them: names, looks, intervals, and the numbers as table rows.

One concept has one look over all figures: theories are lines or open marks, samples are filled marks.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from rgflow.judging.convergence import Estimate
from rgflow.judging.decisions import interval_of
from rgflow.judging.intervals import Interval
from rgflow.judging.text import number_text
from rgflow.kernel_rg.summary import LEAST_ESS, WORST_R_HAT, Summary, kept_steps, split_points, summarise
from rgflow.report import figures as base
from rgflow.report.interval_marks import interval_points

Point = tuple[Summary, xr.Dataset]
"""A point of a sweep and its runs."""

THEORY_NAMES = {
    "exact": "exact at finite width",
    "saddle": "saddle point",
    "wide": "infinite width",
    "map": "minimum of the energy",
}
COLOURS = {"exact": base.BLUE, "saddle": base.VERMILION, "wide": base.GREEN, "map": base.PURPLE}
LINES: Mapping[str, Mapping[str, Any]] = {
    "exact": {"linewidth": 5.0, "alpha": 0.3, "solid_capstyle": "butt"},
    "saddle": {"linewidth": 1.4},
    "wide": {"linewidth": 1.4, "linestyle": "--"},
}
"""Theories as lines; the exact law lies as a broad band under the saddle point, which is often the same by eye."""

MARKS = {"exact": "o", "saddle": "s", "wide": "^", "map": "D"}
SAMPLED: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "gibbs": ("sampled (Gibbs)", {"color": base.INK, "marker": "o", "markersize": 4.5}),
    "hmc": ("sampled (Hamiltonian Monte Carlo)", {"color": base.INK, "marker": "D", "markersize": 4.5}),
    "trained": ("gradient descent", {"color": base.ORANGE, "marker": "s", "markersize": 5}),
}
MISSING = {"color": base.GREY, "marker": "x", "markersize": 6, "linestyle": ""}
NO_ESTIMATE = "no estimate (dead or too few runs)"
SHIFT = 0.13
"""Between the marks of one category."""

LABELS = {
    "bias": "squared bias\n" + r"$(\langle f \rangle - y)^2$",
    "variance": "variance of\nthe output $f$",
    "error": "generalization\n" + r"error $\epsilon_g$",
    "scale": "scale of the\nkernel $Q$",
    "order_parameter": "order parameter\n$u_0 = Q^{1/L}$",
    "energy": "training energy\n" + r"$|f - Y|^2 / 2$",
}
SYMBOLS = {
    "width": "N",
    "depth": "L",
    "num_train": "P",
    "num_inputs": "N_0",
    "sigma2": r"\sigma^2",
    "temperature": "T",
    "label_scale": r"\mathrm{label\ scale}",
    "label_noise": r"\mathrm{label\ noise}",
    "data_seed": r"\mathrm{data\ set}",
    "steps": r"\mathrm{steps}",
}
CONTROLLED = (
    "study", "sampler", "activation", "data", "data_seed", "width", "depth", "num_train", "num_inputs", "sigma2",
    "temperature", "label_noise", "label_scale", "steps", "burn_in",
)  # fmt: skip
"""Values of a point that its table row holds."""


def complete(dataset: xr.Dataset) -> xr.Dataset:
    """Returns the results with every step at which a run was to record; what a sweep has not reached is NaN."""
    names = ("sampler", "steps", "burn_in", "records")
    schedules = {tuple(row) for row in zip(*(dataset[name].values.tolist() for name in names), strict=True)}
    needed = {step for row in schedules for step in kept_steps(dict(zip(names, row, strict=True)))}
    present = set(dataset["step"].values.tolist())
    return dataset if needed <= present else dataset.reindex(step=sorted(needed | present))


def points_of(dataset: xr.Dataset) -> list[Point]:
    """Returns every point with its runs, in the order of the dataset."""
    if not dataset.sizes["run"]:
        return []
    return [(with_order_parameter(summarise(*one)), one[1]) for one in split_points(complete(dataset))]


def with_order_parameter(point: Summary) -> Summary:
    r"""Returns a point with the observable ``order_parameter``, $u_0 = Q^{1/L}$, beside its scale Q (if linear)."""
    if "scale" not in point.measured:
        return point
    depth, found = float(point.values["depth"]), point.measured["scale"]
    order = root(found.mean, depth)
    measured = Estimate(order, order * found.error / (depth * found.mean) if found.mean else np.nan, *found[2:])
    theory = {name: {**t, "order_parameter": root(t["scale"], depth)} for name, t in point.theory.items()}
    return point._replace(measured={**point.measured, "order_parameter": measured}, theory=theory)


def root(value: float, degree: float) -> float:
    """Returns a root; NaN of what has none.

    Example:
        >>> root(9.0, 2.0), root(-1.0, 2.0)
        (3.0, nan)
    """
    return float(value ** (1 / degree)) if value >= 0 else float("nan")


def of_study(points: Sequence[Point], *names: str) -> list[Point]:
    """Returns the points of some studies."""
    return [p for p in points if p[0].values["study"] in names]


def plain(value: Any) -> Any:
    """Returns a value for a table: what is not a finite number is left empty.

    Example:
        >>> plain(np.float64(1.5)), plain(float("nan")), plain("gibbs")
        (1.5, '', 'gibbs')
    """
    value = value.item() if isinstance(value, np.generic) else value
    return "" if isinstance(value, float) and not np.isfinite(value) else value


def head(point: Summary) -> dict[str, Any]:
    """Returns the columns of a table that say which point a row is about; trainings have nothing that converges."""
    values = {name: plain(point.values.get(name, "")) for name in CONTROLLED}
    converged = "" if point.values["sampler"] == "trained" else bool(point.converged)
    return {**values, "load": plain(point.load), "label_norm": plain(point.label_norm), "runs": point.runs,
            "dead": point.dead, "converged": converged}  # fmt: skip


def rows_of(points: Iterable[Point]) -> list[dict[str, Any]]:
    """Returns one row per point and observable: sampled mean, standard error, R-hat, ESS, and what theories say."""
    return [
        {
            **head(point), "observable": name, "sampled": plain(found.mean), "standard_error": plain(found.error),
            "r_hat": plain(found.r_hat), "effective_sample_size": plain(found.ess),
            **{theory: plain(point.theory[theory].get(name, np.nan)) for theory in THEORY_NAMES},
        }
        for point, _ in points
        for name, found in point.measured.items()
    ]  # fmt: skip


def interval(point: Summary, name: str) -> Interval:
    """Returns mean and 95 % interval of an observable of a point; NaN where the point has none."""
    return interval_of(point.measured.get(name, Estimate(np.nan, np.nan, np.nan, 0.0)), point.runs)


def text(point: Summary, name: str) -> str:
    """Returns an observable with its interval, and what the exact law or else the saddle point says, in words."""
    theory = "exact" if np.isfinite(point.theory["exact"].get(name, np.nan)) else "saddle"
    found = number_text(*interval(point, name)[:3])
    said = f", {THEORY_NAMES[theory]} {number_text(point.theory[theory].get(name))}"
    return (found if found != "-" else "no estimate") + said


def value_text(name: str, value: Any) -> str:
    """Returns a swept value as a formula, or as a word where it is one.

    Example:
        >>> value_text("sigma2", 0.5), value_text("data", "digits")
        ('$\\\\sigma^2 = 0.5$', 'digits')
    """
    return f"${SYMBOLS.get(name, name)} = {value:g}$" if isinstance(value, int | float) else str(value)


def differing(points: Sequence[Point], *but: str) -> list[str]:
    """Returns the names of the physical values in which some points differ, but for those named."""
    names = [name for name in CONTROLLED if name not in (*but, "study", "burn_in")]
    return [name for name in names if len({p.values.get(name) for p, _ in points}) > 1]


def about_bars(points: Sequence[Point]) -> str:
    """Returns what the error bars are, and over how many chains or trainings."""
    runs = sorted({p.runs + p.dead for p, _ in points})
    count = f"{runs[0]}" if len(runs) == 1 else f"{runs[0]} to {runs[-1]}"
    chains = any(p.values["sampler"] != "trained" for p, _ in points)
    kind = "chains, from their effective sample size" if chains else "trainings from independent starts"
    return f"Bars: 95 % intervals (1.96 standard errors) over {count} {kind}."


def about_runs(points: Sequence[Point]) -> str:
    """Returns how many runs died and how many points did not converge, from a blank on; '' for none of either."""
    dead = sum(p.dead for p, _ in points)
    chains = [p for p, _ in points if p.values["sampler"] != "trained"]
    short = sum(not p.converged for p in chains)
    told = f" Dead runs, left out: {dead}." if dead else ""
    if short:
        told += (
            f" {short} of {len(chains)} points are not converged (split R-hat above {WORST_R_HAT} or fewer than "
            f"{LEAST_ESS:g} effective batches) or lack live chains."
        )
    return told


def about(points: Sequence[Point]) -> str:
    """Returns what the error bars are, and what is to be said of the runs."""
    return about_bars(points) + about_runs(points)


def missing(axes: Axes, x: float) -> None:
    """Marks a point without a number at the lower edge of a panel."""
    axes.plot([x], [0.05], transform=axes.get_xaxis_transform(), clip_on=False, **MISSING)


def draw_sampled(axes: Axes, x: Sequence[float], points: Sequence[Point], name: str) -> None:
    """Draws sampled means with their intervals, by sampler, and a cross where there is none."""
    for sampler, (_, look) in SAMPLED.items():
        chosen = [(at, p) for at, (p, _) in zip(x, points, strict=True) if p.values["sampler"] == sampler]
        found = [interval(p, name) for _, p in chosen]
        interval_points(axes, [at for at, _ in chosen], found, linestyle="", zorder=5, **look)
        for (at, _), one in zip(chosen, found, strict=True):
            if not np.isfinite(one.mean):
                missing(axes, at)


def draw_below(axes: Axes, x: Sequence[float], points: Sequence[Point], name: str) -> None:
    """Marks sampled means that a logarithmic axis cannot show by arrows at its lower edge."""
    lowest = axes.get_ylim()[0]
    for at, (point, _) in zip(x, points, strict=True):
        if axes.get_yscale() == "log" and interval(point, name).mean < lowest:
            colour = SAMPLED[str(point.values["sampler"])][1]["color"]
            axes.plot([at], [0.04], marker="v", markersize=5, color=colour, transform=axes.get_xaxis_transform(),
                      clip_on=False)  # fmt: skip


def draw_curves(axes: Axes, x: Sequence[float], points: Sequence[Point], name: str) -> None:
    """Draws theories as lines through the swept values, or as open marks where there is only one."""
    for theory, look in LINES.items():
        values = [p.theory[theory].get(name, np.nan) for p, _ in points]
        alone = {"marker": MARKS[theory], "fillstyle": "none", "markersize": 8} if len(points) == 1 else {}
        axes.plot(x, values, color=COLOURS[theory], **{**look, **alone, **({"alpha": 1.0} if alone else {})})


def draw_marks(axes: Axes, points: Sequence[Point], name: str, theories: Sequence[str]) -> None:
    """Draws points as categories: sampled means, and beside each the theories as open marks."""
    draw_sampled(axes, [k - SHIFT for k in range(len(points))], points, name)
    for place, theory in enumerate(theories):
        values = [p.theory[theory].get(name, np.nan) for p, _ in points]
        where = np.arange(len(points)) + SHIFT * place
        axes.plot(where, values, linestyle="", marker=MARKS[theory], markersize=5.5, fillstyle="none",
                  markeredgewidth=1.3, color=COLOURS[theory])  # fmt: skip


def sampled_handles(points: Sequence[Point]) -> list[Line2D]:
    """Returns the entries of a legend for the samplers that occur, and for points without a number."""
    names = {p.values["sampler"] for p, _ in points}
    handles = [Line2D([], [], linestyle="", label=label, **look) for n, (label, look) in SAMPLED.items() if n in names]
    lacking = any(not np.isfinite(found.mean) for p, _ in points for found in p.measured.values())
    return handles + ([Line2D([], [], label=NO_ESTIMATE, **MISSING)] if lacking else [])


def curve_handles() -> list[Line2D]:
    """Returns the entries of a legend for theories as lines."""
    return [Line2D([], [], color=COLOURS[n], label=THEORY_NAMES[n], **look) for n, look in LINES.items()]


def mark_handles(theories: Sequence[str], names: Mapping[str, str] = THEORY_NAMES) -> list[Line2D]:
    """Returns the entries of a legend for theories as open marks."""
    look: dict[str, Any] = {"linestyle": "", "fillstyle": "none", "markersize": 5.5, "markeredgewidth": 1.3}
    return [Line2D([], [], color=COLOURS[n], marker=MARKS[n], label=names[n], **look) for n in theories]


def drawn_values(points: Sequence[Point], name: str, theories: Iterable[str]) -> list[float]:
    """Returns the finite numbers that a panel of these points shows: theories, sampled means and upper ends."""
    found = [p.theory[t].get(name, np.nan) for p, _ in points for t in theories]
    found += [x for p, _ in points for x in (interval(p, name).mean, interval(p, name).high)]
    return [x for x in found if np.isfinite(x)]
