"""Which runs of a dataset belong to which study: chosen by their coordinates, never by their order.

``config`` is the config of the sweep, as an ``ml_collections.ConfigDict`` or as the plain dict that results.nc holds.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Bool

from rgflow.judging.points import where
from rgflow.rank_flow.mixing import names_where
from rgflow.rank_flow.task import CONTROLS

PHASE_AXES = ("depth", "width", "window")
SIZES = (*PHASE_AXES, "cooldown")
SETTINGS = ("mask_mode", "norm", "residual", "activation", "tied", "hidden_multiple", "num_states", "length")
"""Keys that the study ``settings`` varies; elsewhere a run has the config's own."""


def _departures(dataset: xr.Dataset, config: Any) -> dict[str, Bool[np.ndarray, " runs"]]:
    """Tells, for every setting that the sweep varies, which runs have another one than the config."""
    return {name: dataset[name].values != config[name] for name in SETTINGS if name in dataset.coords}


def _as_set(dataset: xr.Dataset, config: Any) -> Bool[np.ndarray, " runs"]:
    """Tells which runs have the config's own settings."""
    return ~np.any([np.zeros(dataset.sizes["run"], bool), *_departures(dataset, config).values()], axis=0)


def _lacks(mixing: np.ndarray, size: str) -> Bool[np.ndarray, " runs"]:
    """Returns which runs do not have a size at all: a window, in a network without one."""
    return (size == "window") & ~np.isin(mixing, names_where(lambda m: m.has_window))


def _as_planned(dataset: xr.Dataset, config: Any, sizes: Any) -> Bool[np.ndarray, " runs"]:
    """Tells which runs have these sizes and the steps and learning rate that the config plans for their mixing."""
    mixing = dataset["mixing"].values
    keep = np.ones(mixing.size, bool)
    for name in SIZES:
        keep &= (dataset[name].values == sizes[name]) | _lacks(mixing, name)
    for name in ("steps", "learning_rate"):
        planned = np.array([config["training"][m][name] for m in mixing.tolist()])
        keep &= dataset[name].values == planned
    return keep


def _of_the_chain(dataset: xr.Dataset, config: Any) -> Bool[np.ndarray, " runs"]:
    """Tells which runs have the config's own family of chains."""
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
