"""Phase diagrams of the rank-flow room: rank ratio and selectivity against depth, width, window and training step.

Read at the main reading of each mixing. Only runs that pass the gate of claim S1-ii enter a square, that is, converged
and learned something; a square with fewer than two of them is hatched and says how many there were.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.figure import Figure

from rgflow.judging.intervals import Interval, t_difference, t_interval
from rgflow.judging.points import last_steps, planned_steps
from rgflow.rank_flow.claims import (
    CONVERGED_NATS,
    LEARNED_FRACTION,
    LONG_RATIO,
    SELECTIVITY_BOUND,
    gate,
    learned_fraction,
    log_ratio,
    reading_of,
)
from rgflow.rank_flow.select import PHASE_AXES, phase_runs, where
from rgflow.report import figures as base
from rgflow.report import heat_maps
from rgflow.report.figures import Drawn
from rgflow.report.heat_maps import Scale, Square
from rgflow.report.interval_marks import text_of, two_decimals
from rgflow.report.rank_flow_cells import STEP_LABEL, Cell, cells_of, floor_ratio
from rgflow.report.sheets import sheet

AXIS_LABELS = {"depth": "depth (blocks)", "width": "width of the stream", "window": "window (positions)"}
LENGTH_LABEL = "correlation length (tokens)"
SIDE_BY_SIDE = 5
"""Most columns of a map beside another; more of them would make the text in the squares too small."""

LEAST_RUNS = 2
NEW_LINE = "\n"
UNITS = {"depth": "blocks", "width": "channels", "window": "positions per side"}


@dataclasses.dataclass(frozen=True)
class Sample:
    """What the runs of one square that pass the gate say: R and ln R trained - untrained.

    ``total`` counts all runs of the square, ``hurdle`` is what the others failed: "learned" or, if all learned enough,
    "converged".
    """

    ratio: Float[np.ndarray, " _"]
    change: Float[np.ndarray, " _"]
    total: int
    floor: float
    hurdle: str = "learned"

    @property
    def enough(self) -> bool:
        """Tells whether a mean with an interval can be given."""
        return int(np.isfinite(self.ratio + self.change).sum()) >= LEAST_RUNS


Table = dict[Any, dict[float, Sample]]
"""Samples by the value of an axis and by correlation length."""


def hurdle_of(cell: Cell) -> str:
    """Returns what the runs of a cell that fail the gate did not do."""
    fraction = learned_fraction(cell.latest).values
    return "converged" if cell.count and (fraction >= LEARNED_FRACTION).all() else "learned"


def sample_at(cell: Cell, at_step: xr.Dataset, total: int) -> Sample:
    """Returns what the runs of a cell that pass the gate at their latest record say at some step."""
    passed, reading = gate(cell.latest), reading_of(cell.runs)
    ln_ratio = log_ratio(at_step, reading).astype(np.float64)
    change = ln_ratio - log_ratio(cell.untrained, reading)
    return Sample(np.exp(ln_ratio)[passed], change[passed], total, floor_ratio(cell), hurdle_of(cell))


def count_at(runs: xr.Dataset, length: float) -> int:
    """Returns the number of runs at a correlation length, dead ones included."""
    return int((runs["correlation_length"].values == length).sum())


def table_of(runs: xr.Dataset, axis: str) -> Table:
    """Returns the samples of one mixing along a phase axis, values and lengths increasing."""
    found: Table = {}
    for value in sorted(set(runs[axis].values.tolist())):
        here = where(runs, {axis: value})
        cells = cells_of(here)
        found[value] = {x: sample_at(cell, cell.latest, count_at(here, x)) for (_, x), cell in cells.items()}
    return found


def selectivity(sample: Sample, longest: Sample) -> Interval:
    """Returns S = mean(ln R trained - untrained) of a sample minus the same at the longest length."""
    return t_difference(sample.change, longest.change)


def lacking(sample: Sample) -> Square:
    """Returns the square of a sample with too few runs that pass the gate."""
    if sample.ratio.size >= LEAST_RUNS:
        return Square(np.nan, "no\nrecord")
    return Square(np.nan, f"{sample.ratio.size} of {sample.total}\n{sample.hurdle}")


def ratio_square(sample: Sample) -> Square:
    """Returns the square of R, outlined where its interval lies above the bound for long lengths."""
    if not sample.enough:
        return lacking(sample)
    found = t_interval(sample.ratio)
    text = f"{two_decimals(found, NEW_LINE)}\nexact {sample.floor:.2f}"
    return Square(found.mean, text, found.low > LONG_RATIO)


def selectivity_square(sample: Sample, longest: Sample) -> Square:
    """Returns the square of S, outlined where its interval lies below the bound of claim S1-ii."""
    if not sample.enough:
        return lacking(sample)
    if sample is longest:
        return Square(0.0, "0 by\ndefinition")
    if not longest.enough:
        return Square(np.nan, "longest\nlacking")
    found = selectivity(sample, longest)
    return Square(found.mean, two_decimals(found, "\n"), found.high < SELECTIVITY_BOUND)


@dataclasses.dataclass(frozen=True)
class Maps:
    """The two maps of one mixing: squares [row, column] of R and of S, with the names of rows and columns."""

    mixing: str
    longest: float
    ratio: list[list[Square]]
    selectivity: list[list[Square]]
    rows: list[str]
    columns: list[str]


def axis_maps(mixing: str, table: Table) -> Maps:
    """Returns the maps axis value x correlation length."""
    lengths = sorted({x for line in table.values() for x in line})
    nothing = Sample(np.array([]), np.array([]), 0, np.nan)
    samples = [[line.get(x, nothing) for x in lengths] for line in table.values()]
    of_ratio = [[ratio_square(s) for s in line] for line in samples]
    of_selectivity = [[selectivity_square(s, line[-1]) for s in line] for line in samples]
    return Maps(mixing, lengths[-1], of_ratio, of_selectivity, [str(v) for v in table], [f"{x:g}" for x in lengths])


def step_maps(mixing: str, runs: xr.Dataset) -> Maps:
    """Returns the maps correlation length x training step at the centre of the star."""
    recorded = runs.dropna("step", how="all", subset=["effective_rank"])
    steps, cells = recorded["step"].values.tolist(), cells_of(runs)
    samples = [
        [sample_at(cell, cell.runs.sel(step=step), count_at(runs, x)) for step in steps]
        for (_, x), cell in cells.items()
    ]
    of_ratio = [[ratio_square(s) for s in line] for line in samples]
    of_selectivity = [[selectivity_square(*pair) for pair in zip(line, samples[-1], strict=True)] for line in samples]
    lengths = [x for _, x in cells]
    names = [f"{step:,}".replace(",", " ") for step in steps]
    return Maps(mixing, lengths[-1], of_ratio, of_selectivity, [f"{x:g}" for x in lengths], names)


def scales(maps: Sequence[Maps]) -> tuple[Scale, Scale]:
    """Returns the scales of R and S that hold every square of a figure."""
    ratios = [square.value for m in maps for line in m.ratio for square in line]
    selectivities = [square.value for m in maps for line in m.selectivity for square in line]
    return (
        heat_maps.sequential("R", ratios, 1.0, LONG_RATIO),
        heat_maps.diverging("S", selectivities, 1.2 * abs(SELECTIVITY_BOUND), SELECTIVITY_BOUND),
    )


def draw_maps(maps: Sequence[Maps], row_label: str, column_label: str) -> Figure:
    """Returns the figure of all mixings: R and S side by side, or R above S where there are many columns."""
    beside = max(len(m.columns) for m in maps) <= SIDE_BY_SIDE
    shape = (len(maps), 2) if beside else (2 * len(maps), 1)
    most = max(len(m.rows) for m in maps)
    figure = sheet(shape[0] * (0.45 * most + 0.75) + 0.4)
    axes = figure.subplots(*shape, squeeze=False).reshape(len(maps), 2)
    both = scales(maps)
    for m, line in zip(maps, axes, strict=True):
        titles = (f"{m.mixing}: rank ratio R", f"{m.mixing}: selectivity S against length {m.longest:g}")
        for panel, squares, scale, title in zip(line, (m.ratio, m.selectivity), both, titles, strict=True):
            heat_maps.draw_map(panel, squares, m.rows, m.columns, scale)
            heat_maps.colour_bar(figure, panel, scale)
            panel.set(title=title, xlabel=column_label)
            if panel is line[0] or not beside:
                panel.set_ylabel(row_label)
    outlined = f"interval beyond the bound of S1-ii: R above {LONG_RATIO}, S below {SELECTIVITY_BOUND}"
    base.legend(figure, heat_maps.handles(outlined, f"fewer than {LEAST_RUNS} runs converged and learned"))
    return figure


def about(runs: xr.Dataset) -> str:
    """Returns the sentences that say what a square holds and which runs are missing."""
    live = runs["died_at"].values < 0
    late = int(((last_steps(runs) < planned_steps(runs)) & live).sum())
    text = (
        f"{int(live.sum())} live runs; each square gives mean and 95 % t-interval over its runs. Left out, as "
        f"claim S1-ii demands, are runs that learned less than {LEARNED_FRACTION} of the attainable information or did "
        f"not converge to within {CONVERGED_NATS} nats of the optimum of their architecture; hatched squares say how "
        'many are left and which of the two the others failed. "exact" is the effective rank of the exact optimal '
        "predictor's logits over that of the embedding: for comparison, no bound."
    )
    text += f" Dead runs, counted among those left out: {int((~live).sum())}." if (~live).any() else ""
    return text + (f" Unfinished runs, shown at their latest record: {late}." if late else "")


BOUNDS = (
    f"Claim S1-ii asks for R well below 1 at short and above {LONG_RATIO} at the longest correlation length, and S "
    f"below {SELECTIVITY_BOUND} at the shortest; outlined squares meet these bounds with their whole interval "
    "(marked on the colour bars)."
)


def _sample_text(sample: Sample, longest: Sample) -> str:
    if not sample.enough:
        return lacking(sample).text.replace("\n", " ")
    text = f"R = {text_of(t_interval(sample.ratio))}"
    return text if sample is longest or not longest.enough else f"{text}, S = {text_of(selectivity(sample, longest))}"


def axis_figure(dataset: xr.Dataset, config: Any, axis: str) -> list[Drawn]:
    """Returns the phase diagram along one axis; none with fewer than two values of it or two lengths."""
    runs, tables = phase_runs(dataset, config, axis), {}
    for mixing in dict.fromkeys(runs["mixing"].values.tolist()):
        table = table_of(where(runs, {"mixing": mixing}), axis)
        if len(table) > 1 and len({x for line in table.values() for x in line}) > 1:
            tables[mixing] = table
    if not tables:
        return []
    figure = draw_maps([axis_maps(m, t) for m, t in tables.items()], AXIS_LABELS[axis], LENGTH_LABEL)
    shown = runs.isel(run=np.isin(runs["mixing"].values, list(tables)))
    caption = (
        f"Phase diagram {axis} x correlation length of the trained network: rank ratio R = ER_L / ER_0 and "
        "selectivity S = mean(ln R trained - ln R untrained) minus the same at the longest length of the row. "
        f"{about(shown)} {BOUNDS}"
    )
    falsified_by = (
        f"S1-ii: an S at the shortest length above {SELECTIVITY_BOUND} with its whole interval, or an R at the longest "
        f"below {LONG_RATIO}; at every {axis} by itself."
    )
    facts = []
    for mixing, table in tables.items():
        for value, line in table.items():
            ends = dict.fromkeys((min(line), max(line)))
            texts = [f"{_sample_text(line[x], line[max(line)])} at length {x:g}" for x in ends]
            facts.append(f"{mixing}, {axis} {value}: {', '.join(texts)}")
    alt = f"Rank ratio R and selectivity S against {axis} and correlation length. {'; '.join(facts)}."
    return [Drawn(f"phase_{axis}", figure, caption, alt, (), ("S1-ii",), falsified_by)]


def centre_runs(dataset: xr.Dataset, config: Any) -> xr.Dataset:
    """Returns the runs at the centre of the star of phase diagrams, at every correlation length."""
    return where(phase_runs(dataset, config, "depth"), {"depth": config["phases"]["depth"]})


def step_figure(dataset: xr.Dataset, config: Any) -> list[Drawn]:
    """Returns rank ratio and selectivity against training step; none with fewer than two steps or two lengths."""
    runs = centre_runs(dataset, config)
    by_mixing = {m: where(runs, {"mixing": m}) for m in dict.fromkeys(runs["mixing"].values.tolist())}
    maps = [step_maps(m, r) for m, r in by_mixing.items() if len(set(r["correlation_length"].values.tolist())) > 1]
    maps = [m for m in maps if len(m.columns) > 1]
    if not maps:
        return []
    centre = ", ".join(f"{name} {config['phases'][name]} {UNITS[name]}" for name in PHASE_AXES)
    caption = (
        "Rank ratio R and selectivity S (trained minus untrained, against the longest length) during training, at "
        f"the centre of the phase diagrams ({centre}). {about(runs)} They are chosen at their own last step; no run "
        f"is left out for what it had not learned yet at an earlier one. {BOUNDS}"
    )
    falsified_by = (
        "S1-ii: an R that falls alike in all rows, and an S that is still above the bound in the last column; a bound "
        "that is met for a while only shows a stage of training."
    )
    facts = []
    for m in maps:
        for name, ratio, s in zip(m.rows, m.ratio, m.selectivity, strict=True):
            ends = [line[k].text.replace("\n", " ") for line, k in ((ratio, 0), (ratio, -1), (s, -1))]
            facts.append(f"{m.mixing}, length {name}: R {ends[0]} untrained, {ends[1]} after training, S {ends[2]}")
    alt = f"Rank ratio R and selectivity S against training step and correlation length. {'; '.join(facts)}."
    figure = draw_maps(maps, "correlation\nlength (tokens)", STEP_LABEL)
    return [Drawn("phase_step", figure, caption, alt, (), ("S1-ii",), falsified_by)]


def phase_figures(dataset: xr.Dataset, config: Any) -> list[Drawn]:
    """Returns the phase diagrams that the dataset has runs for: against depth, width, window and training step."""
    makers: list[Callable[[], list[Drawn]]] = [
        lambda axis=axis: axis_figure(dataset, config, axis) for axis in PHASE_AXES
    ]
    return [drawn for make in (*makers, lambda: step_figure(dataset, config)) for drawn in make()]
