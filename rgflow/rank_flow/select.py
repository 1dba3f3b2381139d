"""Which runs of a dataset belong to which study: chosen by their coordinates, never by their order.

``config`` is the config of the sweep, as an ``ml_collections.ConfigDict`` or as the plain dict that results.nc holds.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Bool

from rgflow.judging.points import alive, last_steps, planned_steps, where
from rgflow.rank_flow.mixing import names_where
from rgflow.rank_flow.task import CONTROLS

PHASE_AXES = ("depth", "width", "window")
SIZES = (*PHASE_AXES, "cooldown")
SETTINGS = (
    "mask_mode", "norm", "residual", "activation", "tied", "hidden_multiple", "num_states", "length", "batch",
    "initialisation", "positional", "dropout", "weight_decay",
)  # fmt: skip
"""Keys that the study ``settings`` varies; elsewhere a run has the config's own."""

MOST_LENGTHS = 3
"""Correlation lengths shown where each needs panels of its own."""


def _departures(dataset: xr.Dataset, config: Any) -> dict[str, Bool[np.ndarray, " runs"]]:
    """Returns, for every setting that the sweep varies, which runs differ from the config in it."""
    return {name: dataset[name].values != config[name] for name in SETTINGS if name in dataset.coords}


def _as_set(dataset: xr.Dataset, config: Any) -> Bool[np.ndarray, " runs"]:
    """Returns which runs have the config's own settings."""
    return ~np.any([np.zeros(dataset.sizes["run"], bool), *_departures(dataset, config).values()], axis=0)


def _lacks(mixing: np.ndarray, size: str) -> Bool[np.ndarray, " runs"]:
    """Returns which runs lack a size: the window, in networks without one."""
    return (size == "window") & ~np.isin(mixing, names_where(lambda m: m.has_window))


def _as_planned(dataset: xr.Dataset, config: Any, sizes: Any) -> Bool[np.ndarray, " runs"]:
    """Returns which runs have these sizes and the steps and learning rate that the config plans for their mixing."""
    mixing = dataset["mixing"].values
    keep = np.ones(mixing.size, bool)
    for name in SIZES:
        keep &= (dataset[name].values == sizes[name]) | _lacks(mixing, name)
    for name in ("steps", "learning_rate"):
        planned = np.array([config["runs"][m][name] for m in mixing.tolist()])
        keep &= dataset[name].values == planned
    return keep


def _of_the_chain(dataset: xr.Dataset, config: Any) -> Bool[np.ndarray, " runs"]:
    """Returns which runs have the config's own family of chains."""
    kind, groups = config["chain"]["kind"], config["chain"]["groups"]
    same = dataset["chain.kind"].values == kind
    return same & (dataset["chain.groups"].values == groups) if kind == "block" else same


def claim_runs(dataset: xr.Dataset, config: Any) -> xr.Dataset:
    """Returns the runs that the claims are judged on: the config's own sizes and chain, under no control."""
    keep = _as_planned(dataset, config, config) & _as_set(dataset, config) & _of_the_chain(dataset, config)
    return dataset.isel(run=keep & (dataset["control"].values == "none"))


def setting_runs(dataset: xr.Dataset, config: Any) -> dict[str, xr.Dataset]:
    """Returns the runs that differ from those of the claims in one setting, or in the family of chains, by its name."""
    planned = dataset.isel(run=_as_planned(dataset, config, config) & (dataset["control"].values == "none"))
    planned = planned.isel(run=planned["chain.kind"].values != "block")
    apart = _departures(planned, config) | {"chain.kind": ~_of_the_chain(planned, config)}
    count = np.sum([np.zeros(planned.sizes["run"], int), *apart.values()], axis=0)
    found: dict[str, xr.Dataset] = {}
    for name, differs in apart.items():
        alone = planned.isel(run=differs & (count == 1))
        for value in dict.fromkeys(alone[name].values.tolist()):
            found[f"{name} = {value}"] = where(alone, **{name: value})
    return found


def control_runs(dataset: xr.Dataset, config: Any) -> dict[str, xr.Dataset]:
    """Returns the runs of every control by its name, those of the claims first, then other chains by their kind."""
    planned = dataset.isel(run=_as_planned(dataset, config, config) & _as_set(dataset, config))
    of_chain = planned.isel(run=_of_the_chain(planned, config))
    found = {name: where(of_chain, control=name) for name in dict.fromkeys(of_chain["control"].values.tolist())}
    others = planned.isel(run=~_of_the_chain(planned, config) & (planned["chain.kind"].values != "block"))
    kinds = dict.fromkeys(others["chain.kind"].values.tolist())
    found |= {kind: where(others, **{"chain.kind": kind}) for kind in kinds}
    order = {name: place for place, name in enumerate(CONTROLS)}
    return {name: found[name] for name in sorted(found, key=lambda name: (order.get(name, len(order)), name))}


def block_runs(dataset: xr.Dataset, config: Any) -> xr.Dataset:
    """Returns the runs over block chains, at the config's own sizes and under no control."""
    planned = dataset.isel(run=_as_planned(dataset, config, config) & _as_set(dataset, config))
    return where(planned, **{"chain.kind": "block", "control": "none"})


def phase_runs(dataset: xr.Dataset, config: Any, axis: str) -> xr.Dataset:
    """Returns the runs of the phase diagram along one axis: all else is at the centre that ``phases`` names."""
    centre = config["phases"]
    fixed = {name: centre[name] for name in (*SIZES, "steps", "learning_rate") if name != axis}
    mixing = dataset["mixing"].values
    keep = _of_the_chain(dataset, config) & _as_set(dataset, config) & (dataset["control"].values == "none")
    for name, value in fixed.items():
        keep &= (dataset[name].values == value) | _lacks(mixing, name)
    return dataset.isel(run=keep & ~_lacks(mixing, axis))


Cells = Mapping[str, Mapping[float, xr.Dataset]]
"""Runs by mixing and correlation length."""


def by_mixing_and_length(runs: xr.Dataset) -> dict[str, dict[float, xr.Dataset]]:
    """Splits runs by mixing, in order, and correlation length, increasing."""
    found: dict[str, dict[float, xr.Dataset]] = {}
    for mixing in dict.fromkeys(runs["mixing"].values.tolist()):
        here = where(runs, mixing=mixing)
        lengths = sorted(set(here["correlation_length"].values.tolist()))
        found[mixing] = {x: where(here, correlation_length=x) for x in lengths}
    return found


class Cell(NamedTuple):
    """The live runs of one mixing and one correlation length: all records, the untrained network, the latest record."""

    mixing: str
    length: float
    runs: xr.Dataset
    untrained: xr.Dataset
    latest: xr.Dataset

    @property
    def place(self) -> str:
        """How verdicts call the place."""
        return f"{self.mixing}, length {self.length:g}"

    @property
    def count(self) -> int:
        """The number of live runs."""
        return self.runs.sizes["run"]


def live_cells(runs: xr.Dataset) -> list[Cell]:
    """Returns the live runs by mixing, in order, and correlation length, increasing; a cell may be empty."""
    found = []
    for mixing, at in by_mixing_and_length(runs).items():
        for length, members in at.items():
            live = alive(members)
            places = np.searchsorted(live["step"].values, np.maximum(last_steps(live), 0))
            latest = live.isel(step=xr.DataArray(places, dims="run"))
            found.append(Cell(mixing, length, live, live.isel(step=0), latest))
    return found


def ended(runs: xr.Dataset) -> xr.Dataset:
    """Returns the runs that have reached their last step, and the dead ones."""
    planned = planned_steps(runs)
    there = (last_steps(runs) >= planned) | (runs["died_at"].values >= 0)
    return runs.isel(run=there & np.isin(planned, runs["step"].values))


def some_lengths(cells: Sequence[Cell]) -> list[Cell]:
    """Returns the cells at no more than three correlation lengths: the shortest, the middle and the longest."""
    lengths = sorted({cell.length for cell in cells})
    shown = {lengths[k] for k in (0, len(lengths) // 2, -1)} if len(lengths) > MOST_LENGTHS else set(lengths)
    return [cell for cell in cells if cell.length in shown]


def by_mixing(cells: Iterable[Cell]) -> dict[str, list[Cell]]:
    """Returns the cells of every mixing, mixings in the order in which they appear."""
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        found.setdefault(cell.mixing, []).append(cell)
    return found
