"""Runs of a dataset by what was trained on what."""

from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float

from rgflow.judging.points import Point, split_points

NETWORK = ("data", "task", "activation", "halvings", "weight_decay")


class Network(NamedTuple):
    """What was trained on what; couplings of the data are not part of it."""

    data: str
    task: str
    activation: str
    halvings: int
    weight_decay: float

    @property
    def estimator(self) -> str:
        """The estimator that its couplings are judged by.

        Score matching asks for a density on the whole line. Spins have none, rectified features have atoms, and a
        density that ends at the bounds of tanh without falling to 0 makes its couplings meaningless (they came out in
        the hundreds): only linear features of fields are judged by it, all others by their signs.
        """
        smooth = self.activation == "identity" and self.data != "ising"
        return "score_matching" if smooth else "pseudo_likelihood"

    @property
    def setting(self) -> str:
        """What differs from the main setting, in words; empty where nothing does."""
        decay = f"weight decay {self.weight_decay:g}" if self.weight_decay else ""
        return ", ".join(filter(None, [self.activation, f"{self.halvings} halvings", decay]))


Points = dict[float, Point]
"""The points of a network by the coupling of their data."""


def networks(dataset: xr.Dataset, shuffle: str = "none") -> dict[Network, Points]:
    """Returns the points of every network by the coupling of their data, the smallest first."""
    found: dict[Network, Points] = {}
    for cell in split_points(dataset, shuffle=shuffle):
        if cell.values["task"] != "compression":
            network = Network(*(cell.values[name] for name in NETWORK))
            found.setdefault(network._replace(halvings=int(network.halvings)), {})[cell.values["coupling"]] = cell
    return {network: dict(sorted(points.items())) for network, points in found.items()}


def compressions(dataset: xr.Dataset, network: Network) -> Points:
    """Returns the points without a network on the same data at the same compression."""
    same = {"data": network.data, "halvings": network.halvings, "task": "compression", "shuffle": "none"}
    return {cell.values["coupling"]: cell for cell in split_points(dataset, **same)}


def coarse_data(dataset: xr.Dataset, network: Network) -> Points:
    """Returns, by coupling, the points that hold the same data after the most exact steps."""
    found: Points = {}
    same = {"data": network.data, "task": "compression", "shuffle": "none"}
    for cell in sorted(split_points(dataset, **same), key=lambda cell: cell.values["halvings"]):
        found[cell.values["coupling"]] = cell
    return found


def of_features(
    cell: Point, name: str, network: Network, gauge: str, when: str = "last", estimator: str | None = None
) -> Float[np.ndarray, " runs"]:
    """Returns one number per run on the features, at the last step or before training (``first``)."""
    place = {"layer": network.halvings, "gauge": gauge}
    if "estimator" in cell.live[name].dims:
        place["estimator"] = estimator or network.estimator
    runs = cell.live[name].sel(place)
    return np.asarray(runs.isel(step=-1 if when == "last" else 0).values, np.float64)
