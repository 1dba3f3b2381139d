r"""Claims S4-sampler, S4-linear and S4-ReLU: chains against the exact law, and theory against chains.

* S4-sampler: sampled means of Q, predictive variance, training energy, error and kernel projections are those of the
  exact finite-width law. Contradicted by a difference above 4 standard errors, undecided where these exceed 10 %.
* S4-linear: the saddle point describes the network. Statistic: relative error in units of L/N, the largest over the
  same observables; supported where all 95 % intervals lie below 2, while infinite width is further off.
* S4-ReLU variance, S4-ReLU mean: the heuristic is within 15 %. Statistics: relative error of the predictive variance,
  and $\overline{(\langle f \rangle - \mu)^2}^{1/2} / \overline{\mu^2}^{1/2}$, $\mu$ the heuristic's mean.

Bounds were fixed before any run: 15 % is the room's criterion for the heuristic, 2 L/N several times the size of the
1/N corrections of the cases that the theory was derived for.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr

from rgflow.judging.claim import make_verdict
from rgflow.judging.convergence import Estimate
from rgflow.judging.decisions import (
    INTERVAL_SIGMA,
    Status,
    control,
    equivalent,
    information,
    interval_of,
    one_sided,
    passed,
)
from rgflow.judging.intervals import Interval
from rgflow.judging.points import counts
from rgflow.kernel_rg.judge import FALSE_ALARM_SIGMA, convergence
from rgflow.kernel_rg.summary import Summary, mean_distance
from rgflow.protocol import Verdict

SHARPNESS = 0.1
"""Four standard errors must be below this share of the exact value for agreement to mean something."""

SADDLE_BOUND = 2.0
"""Largest relative error of the saddle point, in units of L/N."""

RELU_BOUND = 0.15


class Difference(NamedTuple):
    """Relative difference of a sampled mean from a theory's value, its standard error, and what was compared."""

    name: str
    point: Summary
    value: float
    error: float

    @property
    def sigmas(self) -> float:
        """The difference in standard errors, NaN where there is none."""
        return abs(self.value) / self.error if self.error > 0 else np.nan

    @property
    def scaled(self) -> Estimate:
        """The size of the difference in units of L/N."""
        unit = self.point.values["width"] / self.point.values["depth"]
        return Estimate(abs(self.value) * unit, self.error * unit, np.nan, np.nan)


def compared(point: Summary) -> list[str]:
    """Returns the observables that theory and chains are compared in."""
    layers = [f"kernel_projection_{k + 1}" for k in range(int(point.values["depth"]))]
    return ["scale", "variance", "energy", "error", *layers]


def differences(points: Sequence[Summary], theory: str) -> list[Difference]:
    """Returns the relative difference of every compared observable of every point from a theory."""
    found = []
    for point in points:
        for name in compared(point):
            measured, expected = point.measured[name], point.theory[theory][name]
            found.append(Difference(name, point, measured.mean / expected - 1, measured.error / abs(expected)))
    return found


def _label(difference: Difference) -> str:
    values = difference.point.values
    return f"{difference.name} at N = {values['width']:g}, L = {values['depth']:g}, P = {values['num_train']:g}"


def sampler_is_exact(place: str, points: Sequence[Summary]) -> Verdict:
    """Judges S4-sampler on some points of linear networks."""
    found = differences(points, "exact")
    # argmax takes a NaN for the largest: a point without live chains is the worst one, and decides nothing.
    worst = found[int(np.argmax([d.sigmas for d in found]))]
    sharpness = float(np.max([FALSE_ALARM_SIGMA * d.error for d in found]))
    need = f"4 standard errors of every observable at most {SHARPNESS:.0%}"
    controls = {
        **convergence(points),
        "sharpness": control(sharpness, need, sharpness <= SHARPNESS),
        "sigmas": information(worst.sigmas, f"largest difference in standard errors, {_label(worst)}"),
        "comparisons": information(len(found), "numbers compared"),
    }
    far = worst.sigmas > FALSE_ALARM_SIGMA
    status: Status = "undecided"
    if not np.isnan(worst.sigmas) and all(c["passed"] for name, c in controls.items() if name != "sharpness"):
        status = "contradicted" if far else "supported" if passed(controls) else "undecided"
    interval = interval_of(Estimate(worst.value, worst.error, np.nan, np.nan), 0)
    texts = (
        "The chains sample the exact finite-width posterior.",
        "every observable within 4 standard errors of the exact law; shown is the relative difference of the worst",
    )
    return make_verdict(f"S4-sampler [{place}]", texts, interval, status, counts(points), controls)


def saddle_describes(place: str, points: Sequence[Summary]) -> Verdict:
    """Judges S4-linear on some points of linear networks."""
    found, wide = (differences(points, theory) for theory in ("saddle", "wide"))
    ends = [interval_of(d.scaled, 0) for d in found]
    worst = int(np.argmax([e.mean for e in ends]))
    outside = sum(
        max(d.scaled.mean - INTERVAL_SIGMA * d.scaled.error for d in wide if d.point is p) > SADDLE_BOUND
        for p in points
    )
    controls = {
        **convergence(points),
        "infinite_width": control(
            outside / len(points), f"share of points where infinite width is off by more than {SADDLE_BOUND:g} L/N; "
            "not zero", outside > 0,
        ),
        "where": information(found[worst].value, f"relative error of the worst, {_label(found[worst])}"),
        "coexistence": information(sum(p.coexistence for p in points), "points with two minima of the action"),
    }  # fmt: skip
    status: Status = "undecided"
    if passed(controls) and all(np.isfinite(e.high) for e in ends):
        below, above = all(e.high < SADDLE_BOUND for e in ends), any(e.low > SADDLE_BOUND for e in ends)
        status = "supported" if below else "contradicted" if above else "undecided"
    texts = (
        "The saddle-point theory describes the sampled network up to corrections of order L/N.",
        f"relative errors below {SADDLE_BOUND:g} L/N in every observable, infinite width further off; in units of L/N",
    )
    return make_verdict(f"S4-linear [{place}]", texts, ends[worst], status, counts(points), controls)


def _relative(measured: Estimate, expected: float) -> Estimate:
    return Estimate(expected / measured.mean - 1, expected * measured.error / measured.mean**2, np.nan, np.nan)


def heuristic_variance(place: str, point: Summary) -> Verdict:
    """Judges S4-ReLU variance on one point."""
    measured = point.measured["variance"]
    interval = interval_of(_relative(measured, point.theory["saddle"]["variance"]), point.runs)
    wide = interval_of(_relative(measured, point.theory["wide"]["variance"]), point.runs)
    off = wide.low > RELU_BOUND or wide.high < -RELU_BOUND
    controls = {
        **convergence([point]),
        "infinite_width": control(wide.mean, f"relative error of infinite width beyond {RELU_BOUND:.0%}", off),
    }
    texts = (
        "The ReLU heuristic gives the predictive variance, averaged over test points.",
        f"within {RELU_BOUND:.0%} of the sampled variance, infinite width further off",
    )
    status = equivalent(interval, RELU_BOUND, controls)
    if status == "undecided" and passed(convergence([point])):
        # That infinite width is as good saves no heuristic that is off.
        status = "contradicted" if equivalent(interval, RELU_BOUND, {}) == "contradicted" else "undecided"
    return make_verdict(f"S4-ReLU variance [{place}]", texts, interval, status, counts([point]), controls)


def root_interval(squared: Estimate, runs: int) -> Interval:
    """Returns the interval of a distance from the estimate of its square; what noise makes negative counts as zero."""
    square = interval_of(squared, runs)
    mean, low, high = (float(np.sqrt(max(x, 0.0))) if np.isfinite(x) else np.nan for x in square[:3])
    return Interval(mean, low, high, runs)


def heuristic_mean(place: str, point: Summary, runs: xr.Dataset) -> Verdict:
    """Judges S4-ReLU mean on one point."""
    interval = root_interval(mean_distance(point.values, runs, "saddle"), point.runs)
    wide = root_interval(mean_distance(point.values, runs, "wide"), point.runs)
    controls = {
        **convergence([point]),
        "infinite_width": information(wide.mean, "distance of the mean of infinite width"),
    }
    texts = (
        "The ReLU heuristic gives the mean output.",
        f"root mean square difference below {RELU_BOUND:.0%} of the mean's own size",
    )
    status = one_sided(interval, RELU_BOUND, "below", controls)
    return make_verdict(f"S4-ReLU mean [{place}]", texts, interval, status, counts([point]), controls)
