"""What the figures of the rank-flow room share: runs by mixing and correlation length, texts, legends."""

import dataclasses
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.lines import Line2D

from rgflow.probes.stats import bootstrap_interval
from rgflow.rank_flow.verdict import READING, collapse_ratio
from rgflow.report.figures import INK, RESAMPLES
from rgflow.report.tables import last_steps, number_text, planned_steps

MOST_PANELS = 3
"""Correlation lengths shown side by side, where each needs a panel of its own."""

TRAINED: dict[str, Any] = {"linestyle": "-", "marker": "o"}
UNTRAINED: dict[str, Any] = {"linestyle": (0, (4, 2)), "marker": "o", "markerfacecolor": "w"}
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
    return collapse_ratio(records["effective_rank"].sel(READING)).values.astype(np.float64)


def interval_text(values: np.ndarray) -> str:
    """Returns the mean over runs with its interval."""
    return number_text(*bootstrap_interval(np.asarray(values, np.float64), resamples=RESAMPLES)[:3])


def length_handles(lengths: list[float], colours: dict[float, Any]) -> list[Line2D]:
    """Returns the legend entries of the correlation lengths."""
    unit = " tokens" if len(lengths) <= MOST_PANELS else ""
    return [Line2D([], [], color=colours[x], label=f"length {x:g}{unit}") for x in lengths]


def trained_handles() -> list[Line2D]:
    """Returns the legend entries of trained and untrained."""
    return [Line2D([], [], color=INK, label="trained", **TRAINED),
            Line2D([], [], color=INK, label="untrained", **UNTRAINED)]  # fmt: skip
