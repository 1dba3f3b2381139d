"""What tells an exact step of the variational RG: the trace condition does, the free-energy gap does not."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from rgflow.judging.points import Point, split_points
from rgflow.judging.text import number_text
from rgflow.report import figures as base
from rgflow.report.figures import Drawn
from rgflow.report.sheets import sheet
from rgflow.report.variational_rg_points import about_runs, config_of, plain
from rgflow.variational_rg.mapping_verdict import Mapped, mapped

COLOURS = (base.BLUE, base.VERMILION, base.ORANGE, base.GREEN, base.PURPLE, base.SKY)
MARKERS = ("o", "s", "^", "D", "v", "P")
MACHINE = ("machine_weights", "machine_visible_bias", "machine_hidden_bias")


class Path(NamedTuple):
    """The machines of one run, from the untrained one to the trained one."""

    algorithm: str
    hidden: int
    machines: list[Mapped]


def algorithm_name(cell: Point) -> str:
    """Returns how a point was trained: exact, CD-k or PCD."""
    algorithm, sweeps = str(cell.values["algorithm"]), int(cell.values["sweeps"])
    if algorithm == "exact":
        return "exact gradient"
    return f"CD-{sweeps}" if algorithm == "cd" else "PCD" + (f"-{sweeps}" if sweeps > 1 else "")


def paths_of(found: Sequence[Point], units: str) -> list[Path]:
    """Returns the machines of every live run."""
    paths = []
    for cell in found:
        # Other systems' records are many and would be read from the file for every machine.
        machines = mapped(cell._replace(live=cell.live[list(MACHINE)].load()), units)
        name, hidden = algorithm_name(cell), int(cell.values["small.hidden"])
        starts = [k for k, one in enumerate(machines) if k == 0 or one.step <= machines[k - 1].step]
        paths += [Path(name, hidden, machines[a:b]) for a, b in zip(starts, [*starts[1:], None], strict=True)]
    return paths


def _draw(axes: Axes, paths: Sequence[Path], what: str, looks: dict[str, dict[Any, Any]]) -> None:
    """Draws one number of every machine against its relative entropy: lines of training, marks where it ends."""
    for path in paths:
        points = np.array([(m.relative_entropy, getattr(m, what)) for m in path.machines], np.float64)
        points = points[np.isfinite(points).all(axis=1) & (points[:, 0] > 0)]
        if not len(points):
            continue
        look = {"color": looks["colour"][path.algorithm], "marker": looks["marker"][path.hidden]}
        axes.plot(*points.T, color=look["color"], linewidth=0.7, alpha=0.35)
        axes.plot(*points[:-1].T, **look, linestyle="", markersize=3, alpha=0.45, markeredgewidth=0)
        axes.plot(*points[-1:].T, **look, linestyle="", markersize=5.5, markeredgecolor="white", markeredgewidth=0.5)


def _shifted(axes: Axes, paths: Sequence[Path], looks: dict[str, dict[Any, Any]]) -> None:
    """Marks where every trained machine goes when its energy is shifted by a constant."""
    axes.axhline(0.0, color=base.INK, linewidth=1.0, zorder=1)
    for path in paths:
        last = path.machines[-1]
        if last.relative_entropy > 0:
            axes.plot([last.relative_entropy], [0.0], marker=looks["marker"][path.hidden], markersize=5.5,
                      markerfacecolor="none", markeredgecolor=looks["colour"][path.algorithm])  # fmt: skip


def _handles(looks: dict[str, dict[Any, Any]]) -> list[Line2D]:
    blank: dict[str, Any] = {"linestyle": "", "markersize": 5.5}
    return [
        *(Line2D([], [], color=c, linewidth=2.5, label=name) for name, c in looks["colour"].items()),
        *(Line2D([], [], color=base.INK, marker=m, label=f"{n} hidden", **blank) for n, m in looks["marker"].items()),
        Line2D([], [], color=base.INK, marker="o", markerfacecolor="none", label="energy shifted", **blank),
    ]


def _looks(paths: Sequence[Path]) -> dict[str, dict[Any, Any]]:
    names, hidden = list(dict.fromkeys(p.algorithm for p in paths)), sorted({p.hidden for p in paths})
    return {
        "colour": {name: COLOURS[k % len(COLOURS)] for k, name in enumerate(names)},
        "marker": {number: MARKERS[k % len(MARKERS)] for k, number in enumerate(hidden)},
    }


def mapping_rows(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Returns one row per machine: how it was trained, step, relative entropy, free-energy gap, spread of the trace."""
    return [
        {"algorithm": path.algorithm, "hidden": path.hidden, "run": number, "step": m.step,
         "relative_entropy": plain(m.relative_entropy), "free_energy_gap": plain(m.free_energy_gap),
         "trace_deviation": plain(m.trace_deviation)}
        for number, path in enumerate(paths)
        for m in path.machines
    ]  # fmt: skip


def _facts(paths: Sequence[Path]) -> list[str]:
    facts = []
    for algorithm, hidden in dict.fromkeys((p.algorithm, p.hidden) for p in paths):
        ends = [p.machines[-1] for p in paths if (p.algorithm, p.hidden) == (algorithm, hidden)]
        entropy, gap = (float(np.mean([getattr(m, n) for m in ends])) for n in ("relative_entropy", "free_energy_gap"))
        facts.append(
            f"{algorithm}, {hidden} hidden units: {number_text(entropy)} nats, free-energy gap {number_text(gap)}"
        )
    return facts


def trace_condition(paths: Sequence[Path], found: Sequence[Point]) -> Drawn:
    """Draws spread of the trace and free-energy gap of every machine against its relative entropy."""
    looks, figure = _looks(paths), sheet(4.4)
    trace, gap = figure.subplots(1, 2)
    _draw(trace, paths, "trace_deviation", looks)
    _draw(gap, paths, "free_energy_gap", looks)
    _shifted(gap, paths, looks)
    for axes in (trace, gap):
        base.log_axis(axes, "x")
        axes.set_xlabel(r"relative entropy $D(P \| p_\lambda)$ (nats)")
    trace.set_yscale("log")
    trace.set_ylabel(r"standard deviation of $\mathrm{Tr}_h\, e^{T(v,h)}$ over states")
    trace.set_title("the trace condition is violated as long as the fit is imperfect")
    gap.set_ylabel(r"free-energy gap $\Delta F$ (nats)")
    gap.set_title(r"$\Delta F$ can have any value at any fit")
    handles = _handles(looks)
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 7), columnspacing=1.5)
    sizes = sorted({int(cell.values["size"]) for cell in found})
    caption = (
        f"Machines small enough to enumerate, on the periodic {' and '.join(f'{n} x {n}' for n in sizes)} lattice: "
        f"{sum(len(p.machines) for p in paths)} machines of {len(paths)} runs, small marks while in training, large "
        "ones at the end, lines from the untrained machine to the trained one. Left: how much the trace over hidden "
        "units varies from state to state, once a constant in the energy has made its mean under the data 1; an exact "
        "RG step has 0, and is the lower left. Right: the free-energy gap as trained; open marks on the line are the "
        "same machines with that constant added, which makes the gap 0 and leaves the relative entropy as it was. "
        f"{about_runs(found)}"
    )
    falsified_by = (
        "S3-b: any mark on the line of no gap with a relative entropy above 0, for a vanishing gap would mean an exact "
        "step; S3-a: nothing here, it is an identity of every mark, which the verdict checks to 1e-12."
    )
    alt = "Trace condition and free-energy gap against relative entropy. Trained machines: " + "; ".join(_facts(paths))
    return Drawn("trace_condition", figure, caption, alt + ".", mapping_rows(paths), ("S3-b", "S3-a"), falsified_by)


def mapping_figures(dataset: xr.Dataset) -> list[Drawn]:
    """Returns the figure of the enumerated machines; none where no live run recorded one."""
    found = list(split_points(dataset, system="small"))
    alive = [cell for cell in found if cell.live.sizes["run"]]
    paths = paths_of(alive, str(config_of(dataset)["units"])) if alive else []
    return [trace_condition(paths, found)] if paths else []
