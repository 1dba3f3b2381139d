"""What the figures of the fixed-points room share: its networks by point, which of them are shown, their looks.

One concept has one look over all figures: tasks have colours and marks, couplings of the data have shades, decimation
is dashed and block sums are dotted. A board holds the points; the main setting (activation, halvings, weight decay) is
the one with the most points, and where one coupling of the data must be chosen it is the one at which most networks
were trained.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import xarray as xr
from jaxtyping import Float

from rgflow.fixed_points.select import Network, Points, networks
from rgflow.judging.intervals import Interval
from rgflow.judging.points import Point, average, split_points
from rgflow.report import figures as base
from rgflow.report.interval_marks import interval_of

COLUMNS = 5
"""Panels beside each other, at the most."""

DATA = {
    "ising": "Ising",
    "gaussian": "Gaussian",
    "phi4": r"$\phi^4$",
    "phi6": r"$\phi^6$",
    "independent": "independent",
}
"""Names of the kinds of data in a panel, in the order in which they are shown; others follow under their own names."""

TASKS: Mapping[str, tuple[str, str, str]] = {
    "autoencoder": ("autoencoder", base.BLUE, "o"),
    "magnetization": ("magnetization", base.VERMILION, "s"),
    "energy": ("energy", base.GREEN, "^"),
    "block_magnetizations": ("block magnetizations", base.ORANGE, "D"),
    "classification": ("classification", base.PURPLE, "v"),
}
"""Name, colour and mark of every task, in the order in which they are shown."""

SCHEME_LINES: Mapping[str, Any] = {"decimation": (0, (4, 2)), "block_sum": (0, (1, 1.4))}
SCHEME_NAMES = {"decimation": "decimation", "block_sum": "block sums"}
BAND: dict[str, Any] = {"color": "#d9d9d9", "linewidth": 0, "zorder": 0}
"""The look of noise floors and margins."""

ESTIMATOR = (
    "couplings of linear features of fields are by score matching, all others by pseudo-likelihood of the signs about "
    "the median"
)
"""By what couplings are judged, in words."""

PREMISE = "A loss that still moves, or a network that learned nothing, decides nothing: the readings say which."

Setting = tuple[str, int, float]
"""Activation, halvings, weight decay."""


class Board(NamedTuple):
    """The points of a sweep by network, those trained on shuffled sites, and the main setting.

    ``bare`` are those without a network, by halvings and data.
    """

    networks: dict[Network, Points]
    shuffled: dict[Network, Points]
    bare: dict[int, dict[str, Points]]
    setting: Setting

    @property
    def compressions(self) -> dict[str, Points]:
        """Returns the points without a network at the compression of the main setting, by data."""
        return self.bare.get(self.setting[1], {})

    @property
    def main(self) -> list[Network]:
        """Returns the networks of the main setting, by data and task."""
        return [network for network in ordered(self.networks) if setting_of(network) == self.setting]

    @property
    def data(self) -> list[str]:
        """Returns the kinds of data of which something of the main setting is known, in their order."""
        return in_order({network.data for network in self.main} | set(self.compressions), DATA)

    def tasks(self, data: str) -> list[Network]:
        """Returns the networks of the main setting on some data."""
        return [network for network in self.main if network.data == data]

    def couplings(self, data: str) -> list[float]:
        """Returns the couplings of some data, in increasing order."""
        points = [points for network, points in self.networks.items() if network.data == data]
        return sorted({coupling for one in [*points, self.compressions.get(data, {})] for coupling in one})

    def reference(self, data: str) -> float:
        """Returns the coupling with the most networks, of several the last but one."""
        counts = Counter(k for network, points in self.networks.items() if network.data == data for k in points)
        most = sorted(k for k, count in counts.items() if count == max(counts.values()))
        return most[-2] if len(most) > 1 else most[0]


def board_of(dataset: xr.Dataset) -> Board:
    """Returns the points of a sweep."""
    if "task" not in dataset.coords or not dataset.sizes["run"]:
        return Board({}, {}, {}, ("", 0, 0.0))
    trained, shuffled = networks(dataset), networks(dataset, "sites")
    bare = list(split_points(dataset, task="compression", shuffle="none"))
    counts = Counter(dict.fromkeys(map(setting_of, trained), 0))
    for network, points in trained.items():
        counts[setting_of(network)] += len(points)
    depths = Counter(int(cell.values["halvings"]) for cell in bare)
    # Of several equally common ones the first; without any network nothing but its depth matters.
    halvings = depths.most_common(1)[0][0] if depths else 0
    setting = counts.most_common(1)[0][0] if counts else ("", halvings, 0.0)
    found: dict[int, dict[str, Points]] = {depth: {} for depth in depths}
    for cell in bare:
        points = found[int(cell.values["halvings"])].setdefault(cell.values["data"], {})
        points[float(cell.values["coupling"])] = cell
    return Board(trained, shuffled, found, setting)


def setting_of(network: Network) -> Setting:
    """Returns what does not belong to the data or the task."""
    return network.activation, network.halvings, network.weight_decay


def setting_name(setting: Setting) -> str:
    """Returns a setting in words.

    Example:
        >>> setting_name(("tanh", 1, 1e-4)), setting_name(("relu", 2, 0.0))
        ('tanh, 1 halving, weight decay 0.0001', 'relu, 2 halvings')
    """
    activation, halvings, decay = setting
    depth = f"{halvings} halving{'' if halvings == 1 else 's'}"
    return ", ".join([activation, depth, *([f"weight decay {decay:g}"] if decay else [])])


def in_order(values: Iterable[str], order: Iterable[str]) -> list[str]:
    """Returns names in a given order, unknown ones behind them by the alphabet.

    Example:
        >>> in_order({"b", "x", "a"}, ["a", "b", "c"])
        ['a', 'b', 'x']
    """
    known = list(order)
    return sorted(values, key=lambda name: (known.index(name) if name in known else len(known), name))


def ordered(found: Iterable[Network]) -> list[Network]:
    """Returns networks by data, task and setting."""
    found = list(found)
    kinds, tasks = in_order({n.data for n in found}, DATA), in_order({n.task for n in found}, TASKS)
    return sorted(found, key=lambda n: (kinds.index(n.data), tasks.index(n.task), n[2:]))


def panel_rows(found: Sequence[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """Returns (data, task) row by row: data with several tasks have rows of their own, the others share them.

    Example:
        >>> panel_rows([("a", "x"), ("a", "y"), ("b", "x"), ("c", "x")])
        [[('a', 'x'), ('a', 'y')], [('b', 'x'), ('c', 'x')]]
    """
    counts = Counter(data for data, _ in found)
    groups: dict[str, list[tuple[str, str]]] = {}
    for pair in found:
        groups.setdefault(pair[0] if counts[pair[0]] > 1 else "", []).append(pair)
    alone = groups.pop("", [])
    rows = [*groups.values(), *([alone] if alone else [])]
    return [row[k : k + COLUMNS] for row in rows for k in range(0, len(row), COLUMNS)]


def data_name(data: str) -> str:
    """Returns the name of some data in a panel."""
    return DATA.get(data, data)


def task_look(task: str) -> tuple[str, str, str]:
    """Returns name, colour and mark of a task."""
    return TASKS.get(task, (task.replace("_", " "), base.SKY, "P"))


def coupling_colours(couplings: Sequence[float]) -> dict[float, Any]:
    """Returns a shade per coupling of the data, from dark to light; tasks and layers have other colours."""
    shades = matplotlib.colormaps["plasma"](np.linspace(0.0, 0.82, max(len(couplings), 2)))
    return {value: tuple(map(float, shade)) for value, shade in zip(sorted(couplings), shades, strict=False)}


def record(cell: Point, name: str, when: int = -1, **place: Any) -> Float[np.ndarray, " runs"]:
    """Returns one number per live run at a record (-1: the last one); coordinates it lacks are ignored."""
    found = cell.live[name]
    found = found.sel({dim: value for dim, value in place.items() if dim in found.dims})
    return np.asarray(found.isel(step=when).values, np.float64)


def of_layer(
    cell: Point, network: Network, name: str, layer: int | None = None, when: int = -1, **place: Any
) -> Float[np.ndarray, " runs"]:
    """Returns one number per live run of a layer (None: the features), as it is judged unless ``place`` differs."""
    usual = {"gauge": "standardised", "estimator": network.estimator, "power": 4}
    return record(cell, name, when, **{**usual, "layer": layer or network.halvings, **place})


def exact_of(cell: Point, name: str, scheme: str) -> Float[np.ndarray, " *level"]:
    """Returns what is known of some data, for a scheme; NaN where no run is live."""
    known = np.asarray(cell.live[name].sel(scheme=scheme).values, np.float64)
    return known[0] if len(known) else np.full(known.shape[1:], np.nan)


def has_exact_flow(network: Network) -> bool:
    """Tells whether the exact couplings of the data are those of the estimator by which a network is judged."""
    return network.data == "ising" or network.estimator == "score_matching"


def flow_of(board: Board, network: Network, coupling: float, scheme: str) -> Float[np.ndarray, " levels"]:
    """Returns the coupling of the data after 0, 1, ... exact steps, in terms of a network's estimator; NaN: unknown.

    Where it is not known exactly it is what the estimator finds in as many samples of the coarse data.
    """
    flow = np.full(network.halvings + 1, np.nan)
    cell = board.networks.get(network, {}).get(coupling) or board.compressions.get(network.data, {}).get(coupling)
    if cell is not None and has_exact_flow(network):
        exact = exact_of(cell, "exact_coupling", scheme)[: len(flow)]
        flow[: len(exact)] = exact
    depths = sorted(board.bare, key=lambda depth: (depth != network.halvings, -depth))
    for bare in (board.bare[depth].get(network.data, {}).get(coupling) for depth in depths):
        if bare is None or "flow_coupling" not in bare.live:
            continue
        for layer in np.flatnonzero(np.isnan(flow[1:])) + 1:
            if layer in bare.live["layer"].values:
                place = {"scheme": scheme, "layer": layer, "estimator": network.estimator}
                flow[layer] = average(record(bare, "flow_coupling", 0, **place))
    return flow


def exact_at(points: Points, name: str, **place: Any) -> tuple[list[float], list[float]]:
    """Returns the couplings of some data and what is exactly known there, where it is a number."""
    pairs = []
    for coupling, cell in sorted(points.items()):
        known = np.asarray(cell.live[name].sel(place).values, np.float64)
        if len(known) and np.isfinite(known[0]):
            pairs.append((coupling, float(known[0])))
    return [k for k, _ in pairs], [value for _, value in pairs]


def live(points: Points) -> Points:
    """Returns the points with a live run."""
    return {coupling: cell for coupling, cell in points.items() if cell.runs > cell.dead}


def plain(value: float | int | np.number) -> float | str:
    """Returns a number for a table: what is not finite is left empty."""
    return float(value) if np.isfinite(value) else ""


def ends_of(values: Float[np.ndarray, " runs"] | Interval, name: str) -> dict[str, float | str]:
    """Returns the mean over runs and the ends of its interval as columns of a table."""
    ends = values if isinstance(values, Interval) else interval_of(values)
    return {name: plain(ends.mean), f"{name}_low": plain(ends.low), f"{name}_high": plain(ends.high)}


def about_runs(found: Iterable[Point]) -> str:
    """Returns how many runs stand behind a figure and how many of them died."""
    found = list(found)
    counts = sorted({cell.runs for cell in found})
    if not counts:
        return "No runs."
    each = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    dead = sum(cell.dead for cell in found)
    return f"{each} run{'' if each == '1' else 's'} a point." + (f" Dead runs, left out: {dead}." if dead else "")
