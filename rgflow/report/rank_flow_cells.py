"""What the figures of the rank-flow room share: runs by mixing and correlation length, texts, legends."""

import dataclasses
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rgflow.judging.points import last_steps, planned_steps
from rgflow.rank_flow.claims import collapse_ratio, reading_of
from rgflow.report.figures import INK, panels

MOST_PANELS = 3
"""Correlation lengths shown side by side, where each needs a panel of its own."""

RATIO_LABEL = "rank ratio $R = ER_L / ER_0$"
STEP_LABEL = "training step (0 = untrained)"


@dataclasses.dataclass(frozen=True)
class Cell:
    """The live runs of one mixing and one correlation length: all records, the untrained, the latest one."""

    mixing: str
    length: float
    runs: xr.Dataset
    untrained: xr.Dataset
    latest: xr.Dataset

    @property
    def name(self) -> str:
        """Returns how the cell is called in captions."""
        return f"{self.mixing}, length {self.length:g}"

    def states(self, variable: str, **reading: str) -> dict[str, xr.DataArray]:
        """Returns a variable of the untrained and of the latest network, read at one level and centring."""
        return {"untrained": self.untrained[variable].sel(reading), "trained": self.latest[variable].sel(reading)}

    @property
    def reading(self) -> dict[str, str]:
        """Returns the main reading of this mixing."""
        return dict(reading_of(self.runs))

    def floor(self, centring: str) -> float:
        """Returns the mean effective rank of the exact optimal predictor's logits, NaN where it has none."""
        return float(self.latest["predictor_effective_rank"].sel(centring=centring).mean())

    @property
    def count(self) -> int:
        """Returns the number of live runs."""
        return self.runs.sizes["run"]


Cells = dict[tuple[str, float], Cell]


def cells_of(dataset: xr.Dataset) -> Cells:
    """Returns the live runs by (mixing, correlation length), mixings in given order, lengths increasing."""
    mixing, length = dataset["mixing"].values, dataset["correlation_length"].values.astype(np.float64)
    found: Cells = {}
    for m in dict.fromkeys(mixing.tolist()):
        for x in sorted(set(length[mixing == m].tolist())):
            runs = dataset.isel(run=(mixing == m) & (length == x) & (dataset["died_at"].values < 0))
            where = np.searchsorted(runs["step"].values, np.maximum(last_steps(runs), 0))
            latest = runs.isel(step=xr.DataArray(where, dims="run"))
            found[m, x] = Cell(m, x, runs, runs.isel(step=0), latest)
    return found


def mixings_of(cells: Cells) -> list[str]:
    """Returns the mixings, in order."""
    return list(dict.fromkeys(m for m, _ in cells))


def lengths_of(cells: Cells) -> list[float]:
    """Returns the correlation lengths (tokens), increasing."""
    return sorted({x for _, x in cells})


def spread_lengths(cells: Cells) -> list[float]:
    """Returns at most three lengths: the shortest, the middle and the longest."""
    lengths = lengths_of(cells)
    if len(lengths) <= MOST_PANELS:
        return lengths
    return [lengths[0], lengths[len(lengths) // 2], lengths[-1]]


def ends(cells: Cells) -> list[Cell]:
    """Returns, for each mixing, the cells of its shortest and longest length that have live runs."""
    by_mixing = [[c for c in cells.values() if c.mixing == m and c.count] for m in mixings_of(cells)]
    return [c for group in by_mixing for c in (group[:1] if len(group) == 1 else [*group[:1], *group[-1:]])]


def about_runs(dataset: xr.Dataset) -> str:
    """Returns the sentence that says how many runs are behind a figure and which are missing from it."""
    dead = int((dataset["died_at"] >= 0).sum())
    late = int(((last_steps(dataset) < planned_steps(dataset)) & (dataset["died_at"].values < 0)).sum())
    live = dataset.sizes["run"] - dead
    text = f"{live} live runs; lines are means over runs, bands and bars 95 % bootstrap intervals."
    text += f" Dead runs left out: {dead}." if dead else ""
    return text + (f" Unfinished runs, shown at their latest record: {late}." if late else "")


def about_lengths(cells: Cells) -> str:
    """Returns a sentence for figures that show three correlation lengths of more."""
    more = len(lengths_of(cells)) > MOST_PANELS
    return " Shown are the shortest, the middle and the longest correlation length." if more else ""


def ratio_of(records: xr.Dataset) -> np.ndarray:
    """Returns the rank ratio R of every run (and step, if there are several)."""
    return collapse_ratio(records["effective_rank"].sel(reading_of(records))).values.astype(np.float64)


def floor_ratio(cell: Cell) -> float:
    """Returns the exact optimal predictor's rank over the rank at the embedding: R of a stream that keeps no more."""
    embedding = cell.latest["effective_rank"].sel(cell.reading).isel(layer=0)
    return cell.floor(cell.reading["centring"]) / float(embedding.mean())


FLOOR: dict[str, Any] = {"linestyle": ":", "linewidth": 1.4, "zorder": 1.6}
"""How the rank of the exact optimal predictor is drawn: the floor of a stream whose directions all weigh as its logits.

It bounds the numerical rank; an effective rank may lie below it, as a readout can rescale directions.
"""

ABOUT_FLOOR = (
    "Dotted: the exact optimal predictor of what the architecture can see (effective rank of its logits at the scored "
    "positions, same colour), the floor of a stream that keeps what it needs, weighed as in the logits, and nothing "
    "else; one that weighs directions otherwise may lie below. "
)


def floor_handle() -> Line2D:
    """Returns the legend entry of the floor."""
    return Line2D([], [], color=INK, label="exact predictor", **FLOOR)


def mixing_panels(mixings: list[str], height: float, **options: Any) -> tuple[Figure, dict[str, Axes]]:
    """Returns a figure with one panel per mixing, at most three side by side."""
    columns = min(len(mixings), 3)
    figure, axes = panels(-(-len(mixings) // columns), columns, height, **options)
    for spare in axes.flat[len(mixings) :]:
        spare.set_visible(False)
    return figure, dict(zip(mixings, axes.flat, strict=False))


def length_handles(lengths: list[float], colours: dict[float, Any]) -> list[Line2D]:
    """Returns the legend entries of the correlation lengths."""
    unit = " tokens" if len(lengths) <= MOST_PANELS else ""
    return [Line2D([], [], color=colours[x], label=f"length {x:g}{unit}") for x in lengths]
