"""The runs of a dataset, by network and by what it was trained on."""

from collections import Counter
from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float

from rgflow.judging.points import Point, split_points
from rgflow.protocol import Results

NETWORK = ("data", "task", "activation", "halvings", "weight_decay")
QUARTIC = 4
"""The power whose parameter stands for all on-site parameters."""

Setting = tuple[str, int, float]
"""Activation, halvings, weight decay."""


class Network(NamedTuple):
    """A network and what it was trained on, apart from the coupling of the data."""

    data: str
    task: str
    activation: str
    halvings: int
    weight_decay: float

    @property
    def estimator(self) -> str:
        """The estimator that its couplings are judged by: for linear features of fields score matching, else signs.

        Score matching needs a smooth density on the whole line. Spins have none, rectified features have atoms, and for
        a density that ends at the bounds of tanh without falling to 0 couplings came out in the hundreds.
        """
        smooth = self.activation == "identity" and self.data != "ising"
        return "score_matching" if smooth else "pseudo_likelihood"

    @property
    def setting(self) -> str:
        """Activation, depth and penalty in words."""
        decay = f"weight decay {self.weight_decay:g}" if self.weight_decay else ""
        return ", ".join(filter(None, [self.activation, f"{self.halvings} halvings", decay]))


Points = dict[float, Point]
"""The points of a network by the coupling of their data."""


def networks(dataset: xr.Dataset, shuffle: str = "none") -> dict[Network, Points]:
    """Returns the points of every network by the coupling of their data, the smallest first."""
    found: dict[Network, Points] = {}
    for point in split_points(dataset, shuffle=shuffle):
        if point.values["task"] != "compression":
            network = Network(*(point.values[name] for name in NETWORK))
            found.setdefault(network._replace(halvings=int(network.halvings)), {})[point.values["coupling"]] = point
    return {network: dict(sorted(points.items())) for network, points in found.items()}


def trained(results: Results) -> dict[Network, Points]:
    """Returns the networks that were trained on the data as they are."""
    return networks(results.dataset)


def compressions(dataset: xr.Dataset, network: Network) -> Points:
    """Returns the points that measure linear maps of the same data to as many numbers, by coupling."""
    same = {"data": network.data, "halvings": network.halvings, "task": "compression", "shuffle": "none"}
    return {point.values["coupling"]: point for point in split_points(dataset, **same)}


def coarse_data(dataset: xr.Dataset, network: Network) -> Points:
    """Returns, by coupling, the points that hold the same data after the most exact steps."""
    found: Points = {}
    same = {"data": network.data, "task": "compression", "shuffle": "none"}
    for point in sorted(split_points(dataset, **same), key=lambda point: point.values["halvings"]):
        found[point.values["coupling"]] = point
    return found


def of_features(
    point: Point,
    name: str,
    network: Network,
    gauge: str = "standardised",
    when: int | slice = -1,
    estimator: str | None = None,
    layer: int | None = None,
) -> Float[np.ndarray, "runs ..."]:
    """Returns one number per run (and step, where ``when`` is a slice) on the features, or on another layer."""
    place = {"layer": layer or network.halvings, "gauge": gauge, "power": QUARTIC}
    place["estimator"] = estimator or network.estimator
    runs = point.live[name]
    runs = runs.sel({dim: value for dim, value in place.items() if dim in runs.dims})
    return np.asarray(runs.isel(step=when).values, np.float64)


def after_steps(point: Point, layer: int, scheme: str) -> Float[np.ndarray, " runs"]:
    """Returns the ring coupling of the signs of data after as many exact steps, as measured; NaN where it was not."""
    found = point.live["flow_coupling"].reindex(layer=[layer]).isel(step=0)
    return np.asarray(found.sel(layer=layer, scheme=scheme, estimator="pseudo_likelihood").values, np.float64)


class Overview(NamedTuple):
    """All networks of a sweep, those trained on shuffled sites, linear maps of each kind of data, the main setting.

    The main setting is the one with the most points; ``maps`` are those at its compression.
    """

    trained: dict[Network, Points]
    shuffled: dict[Network, Points]
    maps: dict[str, Points]
    setting: Setting

    @property
    def main(self) -> dict[Network, Points]:
        """The networks of the main setting."""
        return {network: points for network, points in self.trained.items() if network[2:] == self.setting}

    def reference(self, data: str) -> float:
        """Returns the coupling of some data at which most networks were trained, of several the last but one."""
        counts = Counter(k for network, points in self.trained.items() if network.data == data for k in points)
        most = sorted(k for k, count in counts.items() if count == max(counts.values()))
        return most[-2] if len(most) > 1 else most[0]

    def at_reference(self, network: Network) -> tuple[float, Point] | None:
        """Returns one coupling and the point there: the reference, else the largest with a live run, else None."""
        live = {k: point for k, point in self.trained[network].items() if point.runs > point.dead}
        coupling = self.reference(network.data)
        coupling = coupling if coupling in live else max(live, default=coupling)
        return (coupling, live[coupling]) if live else None


def overview(results: Results) -> Overview:
    """Returns what the figures choose from."""
    found, counts = results.once(trained), Counter[Setting]()
    for network, points in found.items():
        counts[network[2:]] += len(points)
    bare = list(split_points(results.dataset, task="compression", shuffle="none"))
    depths = Counter(int(point.values["halvings"]) for point in bare)
    # Of equally common settings the first counts; without any network only the number of halvings matters.
    setting = counts.most_common(1)[0][0] if counts else ("", (depths.most_common(1) or [(0, 0)])[0][0], 0.0)
    maps: dict[str, Points] = {}
    for point in bare:
        if point.values["halvings"] == setting[1]:
            maps.setdefault(point.values["data"], {})[point.values["coupling"]] = point
    return Overview(found, networks(results.dataset, "sites"), maps, setting)
