"""What must hold before a reading decides anything: the network is at its optimum, and the answer is not trivial."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from rgflow.fixed_points.select import QUARTIC, Network, Points, of_features
from rgflow.judging.decisions import Control, control
from rgflow.judging.points import Point

COUPLING_MARGIN = 0.05
"""A ring coupling below it counts as none: neighbours would agree by 5 % more often than by chance, at the most."""

KURTOSIS_MARGIN = 0.1
"""A twentieth of the way from independent spins (-2) to a Gaussian (0)."""

LEARNED = 0.5
"""Share of the way from the best constant to the optimum that a network must have come, where the optimum is known."""

LEARNED_SOMETHING = 0.95
"""Relative loss that counts as learned where the optimum is not known."""


def drift(point: Point) -> float:
    """Returns by how much the relative loss moved over the last ``plateau_steps``, the mean over runs."""
    losses, steps = np.asarray(point.live["relative_loss"].values, np.float64), np.asarray(point.live["step"].values)
    if not len(losses):
        return float("nan")
    before = int(np.searchsorted(steps, steps[-1] - point.last("plateau_steps")[0]))
    return float(abs(np.mean(losses[:, before] - losses[:, -1])))


def excess(point: Point) -> float:
    """Returns the last relative loss less what counts as learned, the mean over runs."""
    optimum, losses = point.last("relative_optimum"), point.last("relative_loss")
    needed = np.where(np.isfinite(optimum), 1 - LEARNED * (1 - optimum), LEARNED_SOMETHING)
    return float(np.mean(losses - needed)) if len(losses) else float("nan")


def at_optimum(point: Point) -> bool:
    """Returns whether the premises of the theorem hold at a point: the loss has settled, and something was learned."""
    return bool(point.runs > point.dead and drift(point) <= point.last("plateau")[0] and excess(point) < 0)


def premises(points: Points) -> dict[str, Control]:
    """Returns the two premises, each at the coupling of the data where it comes closest to failing."""
    # A NaN (no live run) must fail, so it may not be passed over.
    moved, above = (float(np.max([of(point) for point in points.values()])) for of in (drift, excess))
    bound = max((float(point.last("plateau").max(initial=0.0)) for point in points.values()), default=0.0)
    return {
        "plateau": control(moved, f"relative loss moved by at most {bound:g} over the last steps", moved <= bound),
        "learned": control(above, "relative loss less what counts as learned, below 0", above < 0),
    }


def trivial(points: Points, others: Points, network: Network, gauge: str) -> dict[str, Control]:
    """Returns controls that fail where being at the fixed point says nothing about training.

    At least two couplings are needed: a claim about every coupling cannot be tested at one.
    """
    live = [point for point in points.values() if point.runs > point.dead]
    untrained = [float(np.mean(of_features(point, "ring_coupling", network, gauge, when=0))) for point in live]
    projected = at_equal_compression(points, others, network, gauge, "projection")
    return {
        "couplings": control(len(live), "at least 2 couplings of the data", len(live) >= 2),
        "untrained": _above(untrained, "untrained features"),
        "projection": _above(projected, "a random projection of the data"),
    }


def at_equal_compression(points: Points, others: Points, network: Network, gauge: str, name: str) -> list[float]:
    """Returns the mean ring coupling of a compression of the data at every coupling where it was measured."""
    return [
        float(np.mean(compressed(other, "ring_coupling", name, gauge, network.estimator)))
        for coupling, other in others.items()
        if coupling in points and other.runs > other.dead
    ]


def compressed(point: Point, name: str, compression: str, gauge: str, estimator: str) -> Float[np.ndarray, " runs"]:
    """Returns one number per run on a compression of the data."""
    place = {"compression": compression, "gauge": gauge, "estimator": estimator, "power": QUARTIC}
    runs = point.live[f"compressed_{name}"]
    runs = runs.sel({dim: value for dim, value in place.items() if dim in runs.dims})
    return np.asarray(runs.isel(step=0).values, np.float64)


def _above(values: Sequence[float], what: str) -> Control:
    largest = float(np.max(values)) if values else float("nan")
    return control(largest, f"coupling of {what} above {COUPLING_MARGIN} somewhere", largest > COUPLING_MARGIN)
