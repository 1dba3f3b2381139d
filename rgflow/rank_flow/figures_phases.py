"""Phase diagrams of the rank-flow room: rank ratio and selectivity against depth, width, window and training step.

All live runs enter a square, which says how much of the attainable information they learned; one with fewer than two
runs is hatched.
"""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from jaxtyping import Float

from rgflow.judging.components import MARGIN
from rgflow.judging.intervals import t_difference, t_interval
from rgflow.judging.points import average, where
from rgflow.judging.text import two_decimals
from rgflow.plots.figure import Figure, about_runs
from rgflow.plots.matrix import Matrix, Square, diverging, sequential
from rgflow.protocol import Results
from rgflow.rank_flow.collapse import SELECTIVITY_BOUND, log_ratio, reading_of
from rgflow.rank_flow.learning import learned_fraction
from rgflow.rank_flow.select import PHASE_AXES, Cell, live_cells, phase_runs

AXES = {"depth": "depth (blocks)", "width": "width of the stream", "window": "window (positions)"}
SIDE_BY_SIDE = 5
"""Most columns of a map beside another; with more of them the text in the squares would be too small."""

LEAST_RUNS = 2

Read = tuple[Square, Float[np.ndarray, " _"]]
"""The square of R, without a value where too few runs live, and the change of ln R by training of each."""

Map = Mapping[tuple[float | int, float], Read]
"""What was read in one mixing by (depth, width, window or training step; correlation length)."""


def read(cell: Cell, at_step: xr.Dataset, planned: xr.Dataset) -> Read:
    """Returns what the live runs of a cell say at some step.

    ``planned`` are all runs of the cell, dead ones included. R is outlined where training did not lower it by a tenth.
    """
    reading = reading_of(cell.runs)
    ln_ratio = log_ratio(at_step, reading).astype(np.float64)
    change = ln_ratio - log_ratio(cell.untrained, reading)
    if np.isfinite(change).sum() < LEAST_RUNS:
        return Square("no\nrecord" if cell.count else f"0 of {planned.sizes['run']}\nlive"), change
    learned = average(learned_fraction(at_step).values)
    mean, low, high, runs = t_interval(np.exp(ln_ratio))
    text = f"{two_decimals(mean, low, high, chr(10))}\nlearned {learned:.2f}"
    numbers = {"low": low, "high": high, "runs": runs, "learned": learned}
    return Square(text, mean, outlined=t_interval(change).low > -MARGIN, numbers=numbers), change


def selectivity_square(one: Read, longest: Read) -> Square:
    """Returns the square of S, outlined where its interval lies below the bound of claim S1-ii."""
    if np.isnan(one[0].value):
        return one[0]
    if one is longest:
        return Square("0 by\ndefinition", 0.0)
    if np.isnan(longest[0].value):
        return Square("longest\nlacking")
    mean, low, high, runs = t_difference(one[1], longest[1])
    outlined, numbers = high < SELECTIVITY_BOUND, {"low": low, "high": high, "runs": runs}
    return Square(two_decimals(mean, low, high, "\n"), mean, outlined=outlined, numbers=numbers)


def map_of(runs: xr.Dataset, axis: str) -> Map:
    """Returns the map of one mixing: of trained networks along an axis, or of every training step that was recorded."""
    found = {}
    if axis == "step":
        recorded = runs.dropna("step", how="all", subset=["effective_rank"])["step"].values.tolist()
        for cell in live_cells(runs):
            planned = where(runs, correlation_length=cell.length)
            found |= {(step, cell.length): read(cell, cell.runs.sel(step=step), planned) for step in recorded}
        return found
    for value in sorted(set(runs[axis].values.tolist())):
        here = where(runs, **{axis: value})
        for cell in live_cells(here):
            found[value, cell.length] = read(cell, cell.latest, where(here, correlation_length=cell.length))
    return found


def panels(maps: Mapping[str, Map], axis: str) -> list[Matrix]:
    """Returns two panels per mixing, R and S, with the same colours in all; training steps are columns, others rows."""

    def named(at: float | int, length: float) -> tuple[str, str]:
        return (f"{length:g}", f"{at:,}".replace(",", " ")) if axis == "step" else (f"{at:g}", f"{length:g}")

    drawn = []
    for mixing, found in maps.items():
        longest = {at: max(length for other, length in found if other == at) for at, _ in found}
        selectivity = {(at, x): selectivity_square(one, found[at, longest[at]]) for (at, x), one in found.items()}
        drawn.append((f"{mixing}: rank ratio R", {place: square for place, (square, _) in found.items()}))
        drawn.append((f"{mixing}: selectivity S against length {max(longest.values()):g}", selectivity))
    values = [[square.value for _, squares in drawn[k::2] for square in squares.values()] for k in (0, 1)]
    scales = (
        sequential("R", values[0], 1.0),
        diverging("S", values[1], 1.2 * abs(SELECTIVITY_BOUND), SELECTIVITY_BOUND),
    )
    lacking = np.isnan([*values[0], *values[1]]).any()
    made = []
    for k, (title, by_place) in enumerate(drawn):
        squares = {named(*place): square for place, square in by_place.items()}
        ats, lengths = (sorted(set(part)) for part in zip(*by_place, strict=True))
        down, across = zip(*(named(at, length) for at in ats for length in lengths), strict=True)
        made.append(Matrix(
            title, list(dict.fromkeys(down)), list(dict.fromkeys(across)), squares, scales[k % 2], row_inches=0.45,
            said="; ".join(f"{row}, {column}: {s.text.replace(chr(10), ' ')}" for (row, column), s in squares.items()),
            outlined=f"R that training did not lower by a tenth; S below {SELECTIVITY_BOUND}",
            lacking=f"fewer than {LEAST_RUNS} live runs" if lacking else "",
        ))  # fmt: skip
    return made


def figure(results: Results, axis: str) -> list[Figure]:
    """Returns R and S against correlation length and an axis, or training step; none without two values of both.

    They stand side by side, or R above S where there are many columns.
    """
    if axis == "step":
        runs = where(phase_runs(results.dataset, results.config, "depth"), depth=results.config["phases"]["depth"])
        labels = "training step (0 = untrained)", "correlation\nlength (tokens)"
        about = "The same during training, at the centre of the phase diagrams."
        falsified = "an R that falls alike in all rows, or an S that is above the bound in the last column"
    else:
        runs = phase_runs(results.dataset, results.config, axis)
        labels = "correlation length (tokens)", AXES[axis]
        about = f"Phase diagram of the trained network: {axis} and correlation length."
        falsified = (
            f"an S at the shortest length above {SELECTIVITY_BOUND} with its whole interval, or an R at the longest "
            "without an outline, in any row"
        )
    maps = {m: map_of(where(runs, mixing=m), axis) for m in dict.fromkeys(runs["mixing"].values.tolist())}
    maps = {m: found for m, found in maps.items() if all(len({place[k] for place in found}) > 1 for k in (0, 1))}
    if not maps:
        return []
    drawn = panels(maps, axis)
    beside = max(len(panel.across) for panel in drawn) <= SIDE_BY_SIDE
    return [Figure(
        name=f"phase_{axis}", x=labels[0], y=labels[1], columns=2 if beside else 1, share_x=False, share_y=False,
        wide=True, panels=drawn, falsified_by={"S1-ii": falsified},
        caption=f"{about} R is the rank of the last layer over that of the embedding; S is the mean of ln R trained "
        "less untrained, less the same at the longest length. Each square gives mean and 95 % t-interval over all live "
        'runs; "learned" is the share of the attainable information that they learned. The mark on the colour bar is '
        "the bound of S1-ii. "
        f"{about_runs(runs.isel(run=np.isin(runs['mixing'].values, list(maps))))}",
    )]  # fmt: skip


def figures(results: Results) -> list[Figure]:
    """Returns the phase diagrams that the dataset has runs for: against depth, width, window and training step."""
    return [one for axis in (*PHASE_AXES, "step") for one in figure(results, axis)]
