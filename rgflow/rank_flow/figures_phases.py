"""Phase diagrams of the rank-flow room: rank ratio and selectivity against depth, width, window and training step.

Only runs that pass the gate of claim S1-ii enter a square, that is, converged and learned something; a square with
fewer than two of them is hatched and says how many there were.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float

from rgflow.judging.intervals import t_difference, t_interval
from rgflow.judging.points import where
from rgflow.judging.text import two_decimals
from rgflow.plots.figure import Figure, about_runs
from rgflow.plots.matrix import Matrix, Square, diverging, sequential
from rgflow.protocol import Results
from rgflow.rank_flow.collapse import LONG_RATIO, SELECTIVITY_BOUND, log_ratio, reading_of
from rgflow.rank_flow.learning import CONVERGED_NATS, LEARNED_FRACTION, gate, learned_fraction
from rgflow.rank_flow.select import PHASE_AXES, Cell, by_mixing_and_length, live_cells, phase_runs

AXES = {"depth": "depth (blocks)", "width": "width of the stream", "window": "window (positions)"}
LENGTH, STEP = "correlation length (tokens)", "training step (0 = untrained)"
SIDE_BY_SIDE = 5
"""Most columns of a map beside another; with more of them the text in the squares would be too small."""

LEAST_RUNS = 2


class Sample(NamedTuple):
    """ln R and ln R trained - untrained of the runs of one square that pass the gate, beside what lacks.

    ``exact`` is the rank of the exact predictor over that of the embedding; ``lacking`` is said where too few pass.
    """

    ln_ratio: Float[np.ndarray, " _"]
    change: Float[np.ndarray, " _"]
    exact: float
    lacking: str

    @property
    def enough(self) -> bool:
        """Whether a mean with an interval can be given."""
        return int(np.isfinite(self.change).sum()) >= LEAST_RUNS


def sample(cell: Cell, at_step: xr.Dataset, total: int) -> Sample:
    """Returns what the runs of a cell that pass the gate at their latest record say at some step."""
    passed, reading = gate(cell.latest), reading_of(cell.runs)
    learned = bool(cell.count and (learned_fraction(cell.latest).values >= LEARNED_FRACTION).all())
    why = f"{int(passed.sum())} of {total}\n{'converged' if learned else 'learned'}"
    ln_ratio = log_ratio(at_step, reading).astype(np.float64)[passed]
    embedding = cell.latest["effective_rank"].sel(reading).isel(layer=0).values
    exact = cell.latest["predictor_effective_rank"].sel(centring=reading["centring"]).values
    floor = float(exact.mean() / embedding.mean()) if exact.size else np.nan
    change = ln_ratio - log_ratio(cell.untrained, reading)[passed]
    return Sample(ln_ratio, change, floor, why if passed.sum() < LEAST_RUNS else "no\nrecord")


def ratio_square(one: Sample) -> Square:
    """Returns the square of R, outlined where its interval lies above the bound for long lengths."""
    if not one.enough:
        return Square(one.lacking)
    mean, low, high, runs = t_interval(np.exp(one.ln_ratio))
    numbers = {"low": low, "high": high, "runs": runs, "exact": one.exact}
    text = f"{two_decimals(mean, low, high, chr(10))}\nexact {one.exact:.2f}"
    return Square(text, mean, outlined=low > LONG_RATIO, numbers=numbers)


def selectivity_square(one: Sample, longest: Sample) -> Square:
    """Returns the square of S, outlined where its interval lies below the bound of claim S1-ii."""
    if not one.enough:
        return Square(one.lacking)
    if one is longest:
        return Square("0 by\ndefinition", 0.0)
    if not longest.enough:
        return Square("longest\nlacking")
    mean, low, high, runs = t_difference(one.change, longest.change)
    outlined, numbers = high < SELECTIVITY_BOUND, {"low": low, "high": high, "runs": runs}
    return Square(two_decimals(mean, low, high, "\n"), mean, outlined=outlined, numbers=numbers)


class Map(NamedTuple):
    """The samples of one mixing by (row, column), and the sample at the longest length that each belongs to."""

    down: Sequence[str]
    across: Sequence[str]
    longest: str
    samples: Mapping[tuple[str, str], tuple[Sample, Sample]]


def counted(runs: xr.Dataset) -> list[tuple[Cell, int]]:
    """Returns the cells of some runs of one mixing, each with the number of its runs, dead ones included."""
    totals = [members.sizes["run"] for at in by_mixing_and_length(runs).values() for members in at.values()]
    return list(zip(live_cells(runs), totals, strict=True))


def axis_map(runs: xr.Dataset, axis: str) -> Map:
    """Returns the map axis value x correlation length of the trained networks of one mixing."""
    samples: dict[tuple[str, str], tuple[Sample, Sample]] = {}
    values = sorted(set(runs[axis].values.tolist()))
    lengths = sorted(set(runs["correlation_length"].values.tolist()))
    for value in values:
        line = {c.length: sample(c, c.latest, total) for c, total in counted(where(runs, **{axis: value}))}
        samples |= {(str(value), f"{x:g}"): (one, line[max(line)]) for x, one in line.items()}
    across = [f"{x:g}" for x in lengths]
    return Map([str(value) for value in values], across, across[-1], samples)


def step_map(runs: xr.Dataset) -> Map:
    """Returns the map correlation length x training step of the networks of one mixing."""
    cells = counted(runs)
    recorded = runs.dropna("step", how="all", subset=["effective_rank"])["step"].values.tolist()
    names = {step: f"{step:,}".replace(",", " ") for step in recorded}
    found = {
        (cell.length, step): sample(cell, cell.runs.sel(step=step), total) for cell, total in cells for step in recorded
    }
    lengths = [cell.length for cell, _ in cells]
    samples = {(f"{x:g}", names[step]): (one, found[lengths[-1], step]) for (x, step), one in found.items()}
    return Map([f"{x:g}" for x in lengths], list(names.values()), f"{lengths[-1]:g}", samples)


def panels(maps: Mapping[str, Map]) -> list[Matrix]:
    """Returns two panels per mixing, R and S, with the same colours in all mixings."""
    drawn = []
    for mixing, one in maps.items():
        of_ratio = {place: ratio_square(s) for place, (s, _) in one.samples.items()}
        of_selectivity = {place: selectivity_square(*pair) for place, pair in one.samples.items()}
        drawn += [(f"{mixing}: rank ratio R", one, of_ratio)]
        drawn += [(f"{mixing}: selectivity S against length {one.longest}", one, of_selectivity)]
    values = [[square.value for _, _, squares in drawn[k::2] for square in squares.values()] for k in (0, 1)]
    scales = (
        sequential("R", values[0], 1.0, LONG_RATIO),
        diverging("S", values[1], 1.2 * abs(SELECTIVITY_BOUND), SELECTIVITY_BOUND),
    )
    lacking = any(np.isnan(square.value) for _, _, squares in drawn for square in squares.values())
    return [
        Matrix(title, one.down, one.across, squares, scales[k % 2], said=said(squares), row_inches=0.45,
               outlined=f"beyond the bound of S1-ii: R above {LONG_RATIO}, S below {SELECTIVITY_BOUND}",
               lacking=f"fewer than {LEAST_RUNS} runs converged and learned" * lacking)
        for k, (title, one, squares) in enumerate(drawn)
    ]  # fmt: skip


def said(squares: Mapping[tuple[str, str], Square]) -> str:
    """Returns every square of a map in words."""
    return "; ".join(f"{row}, {column}: {s.text.replace(chr(10), ' ')}" for (row, column), s in squares.items())


ABOUT = (
    "R is the rank of the last layer over that of the embedding; S is the mean of ln R trained less untrained, less "
    "the same at the longest length. Each square gives mean and 95 % t-interval over runs within "
    f"{CONVERGED_NATS} nats of the optimum of their architecture that learned {LEARNED_FRACTION:.0%} of the attainable "
    'information; hatched squares say how many did, and what the others lack. "exact" is the rank of the exact '
    "predictor's logits over that of the embedding. Marks on the colour bars are the bounds of S1-ii."
)


def figure(name: str, maps: Mapping[str, Map], labels: tuple[str, str], words: tuple[str, str], runs: Any) -> Figure:
    """Returns the figure of some maps: R and S side by side, or R above S where there are many columns."""
    beside = max(len(one.across) for one in maps.values()) <= SIDE_BY_SIDE
    return Figure(
        name=name, x=labels[0], y=labels[1], columns=2 if beside else 1, share_x=False, share_y=False, wide=True,
        caption=f"{words[0]} {ABOUT} {about_runs(runs)}", falsified_by={"S1-ii": words[1]}, panels=panels(maps),
    )  # fmt: skip


def several_lengths(runs: xr.Dataset) -> dict[str, xr.Dataset]:
    """Returns the runs of every mixing that was run at two correlation lengths."""
    found = {mixing: where(runs, mixing=mixing) for mixing in dict.fromkeys(runs["mixing"].values.tolist())}
    return {mixing: mine for mixing, mine in found.items() if len(set(mine["correlation_length"].values.tolist())) > 1}


def along(results: Results, axis: str) -> list[Figure]:
    """Returns the phase diagram along one axis; none with fewer than two values of it or two lengths."""
    runs = phase_runs(results.dataset, results.config, axis)
    mixings = several_lengths(runs)
    maps = {m: axis_map(mine, axis) for m, mine in mixings.items() if len(set(mine[axis].values.tolist())) > 1}
    if not maps:
        return []
    words = (
        f"Phase diagram of the trained network: {axis} and correlation length.",
        f"an S at the shortest length above {SELECTIVITY_BOUND} with its whole interval, or an R at the longest below "
        f"{LONG_RATIO}, in any row",
    )
    shown = runs.isel(run=np.isin(runs["mixing"].values, list(maps)))
    return [figure(f"phase_{axis}", maps, (LENGTH, AXES[axis]), words, shown)]


def during_training(results: Results) -> list[Figure]:
    """Returns R and S against training step at the centre of the diagrams; none without two steps and two lengths."""
    runs = where(phase_runs(results.dataset, results.config, "depth"), depth=results.config["phases"]["depth"])
    maps = {mixing: step_map(mine) for mixing, mine in several_lengths(runs).items()}
    maps = {mixing: one for mixing, one in maps.items() if len(one.across) > 1}
    if not maps:
        return []
    words = (
        "The same during training, at the centre of the phase diagrams. Runs are chosen at their last step, and none "
        "is left out for what it had not learned yet.",
        "an R that falls alike in all rows, or an S that is above the bound in the last column",
    )
    return [figure("phase_step", maps, (STEP, "correlation\nlength (tokens)"), words, runs)]


def figures(results: Results) -> list[Figure]:
    """Returns the phase diagrams that the dataset has runs for: against depth, width, window and training step."""
    return [*(one for axis in PHASE_AXES for one in along(results, axis)), *during_training(results)]
