r"""The claims of this room; those on sampled networks without a swept quantity are judged here.

* S4-sampler: sampled means of Q, predictive variance, training energy, error and kernel projections are those of the
  exact finite-width law. Contradicted by a difference above 4 standard errors, undecided where these exceed 10 %.
* S4-linear: the saddle point describes the network. Statistic: relative error in units of L/N, the largest over the
  same observables; supported where all 95 % intervals lie below 2, while infinite width is further off. Contradicted
  where the interval of any of m observables at level 1 - 0.05/m (Bonferroni) lies above 2.
* S4-ReLU variance, S4-ReLU mean: the heuristic is within 15 %. Statistics: relative error of the predictive variance,
  and $\overline{(\langle f \rangle - \mu)^2}^{1/2} / \overline{\mu^2}^{1/2}$, $\mu$ the heuristic's mean.

Bounds were fixed before any run: 15 % is the room's criterion for the heuristic, 2 L/N several times the size of the
1/N corrections of the cases that the theory was derived for. Chains that have not converged leave a claim undecided,
also one against it.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from rgflow.judging.claim import Finding
from rgflow.judging.components import ALPHA
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
from rgflow.judging.points import counts
from rgflow.kernel_rg import claims_swept, claims_trained, select
from rgflow.kernel_rg.observables import (
    CLOSE,
    FALSE_ALARM_SIGMA,
    Pooled,
    convergence,
    mean_distance,
    relative_error,
)
from rgflow.protocol import Claim

SHARPNESS = 0.1
"""Four standard errors must be below this share of the exact value for agreement to mean something."""

SADDLE_BOUND = 2.0
"""Largest relative error of the saddle point, in units of L/N."""


class Difference(NamedTuple):
    """Relative difference of a sampled mean from a theory's value, its standard error, and what was compared."""

    name: str
    point: Pooled
    value: float
    error: float

    @property
    def deviation(self) -> float:
        """The difference in standard errors, NaN where there is none."""
        return self.value / self.error if self.error > 0 else np.nan

    @property
    def scaled(self) -> Estimate:
        """The size of the difference in units of L/N."""
        unit = self.point.values["width"] / self.point.values["depth"]
        return Estimate(abs(self.value) * unit, self.error * unit, np.nan, np.nan)


def compared(point: Pooled) -> list[str]:
    """Returns the observables that theory and chains are compared in."""
    layers = [f"kernel_projection_{k + 1}" for k in range(int(point.values["depth"]))]
    return ["scale", "variance", "energy", "error", *layers]


def differences(points: Sequence[Pooled], theory: str) -> list[Difference]:
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


def sampler_is_exact(place: str, points: Sequence[Pooled]) -> Finding:
    """Returns what chains say of the exact law at a place: the relative difference that is worst in standard errors."""
    found = differences(points, "exact")
    # argmax takes a NaN for the largest: a point without live chains is the worst one, and decides nothing.
    worst = found[int(np.argmax([abs(d.deviation) for d in found]))]
    sigmas = abs(worst.deviation)
    sharpness = float(np.max([FALSE_ALARM_SIGMA * d.error for d in found]))
    need = f"4 standard errors of every observable at most {SHARPNESS:.0%}"
    controls = {
        **convergence(points),
        "sharpness": control(sharpness, need, sharpness <= SHARPNESS),
        "sigmas": information(sigmas, f"largest difference in standard errors, {_label(worst)}"),
        "comparisons": information(len(found), "numbers compared"),
    }
    status: Status = "undecided"
    if not np.isnan(sigmas) and all(c["passed"] for name, c in controls.items() if name != "sharpness"):
        status = "contradicted" if sigmas > FALSE_ALARM_SIGMA else "supported" if passed(controls) else "undecided"
    interval = interval_of(Estimate(worst.value, worst.error, np.nan, np.nan), 0)
    return Finding(place, interval, status, counts(points), controls)


def saddle_describes(place: str, points: Sequence[Pooled]) -> Finding:
    """Returns what chains say of the saddle point at a place: its largest relative error, in units of L/N."""
    found, wide = (differences(points, theory) for theory in ("saddle", "wide"))
    ends = [interval_of(d.scaled, 0) for d in found]
    worst = int(np.argmax([e.mean for e in ends]))
    # One of many observables may contradict: its interval must be that of all of them together.
    sigma = float(stats.norm.isf(ALPHA / len(found)))
    lowest = float(np.max([d.scaled.mean - sigma * d.scaled.error for d in found]))
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
        "lower_end": information(lowest, f"largest lower end of {len(found)} intervals that hold together"),
        "coexistence": information(sum(p.coexistence for p in points), "points with two minima of the action"),
    }  # fmt: skip
    status: Status = "undecided"
    if passed(controls) and all(np.isfinite(e.high) for e in ends):
        below = all(e.high < SADDLE_BOUND for e in ends)
        status = "supported" if below else "contradicted" if lowest > SADDLE_BOUND else "undecided"
    return Finding(place, ends[worst], status, counts(points), controls)


def heuristic_variance(place: str, point: Pooled) -> Finding:
    """Returns the relative error of the heuristic's variance at a point."""
    measured = point.measured["variance"]
    interval, wide = (
        interval_of(relative_error(point.theory[theory]["variance"], measured), point.runs)
        for theory in ("saddle", "wide")
    )
    off = wide.low > CLOSE or wide.high < -CLOSE
    controls = {
        **convergence([point]),
        "infinite_width": control(wide.mean, f"relative error of infinite width beyond {CLOSE:.0%}", off),
    }
    status = equivalent(interval, CLOSE, controls)
    if status == "undecided" and passed(convergence([point])):
        # That infinite width is as good saves no heuristic that is off.
        status = "contradicted" if equivalent(interval, CLOSE, {}) == "contradicted" else "undecided"
    return Finding(place, interval, status, counts([point]), controls)


def heuristic_mean(place: str, point: Pooled) -> Finding:
    """Returns how far the heuristic's mean output is from the sampled one at a point."""
    interval, wide = (mean_distance(point, theory) for theory in ("saddle", "wide"))
    controls = {
        **convergence([point]),
        "infinite_width": information(wide.mean, "distance of the mean of infinite width"),
    }
    return Finding(place, interval, one_sided(interval, CLOSE, "below", controls), counts([point]), controls)


def everywhere(judge: Callable[..., Finding], places: Callable[..., Iterable[Any]], *of: str) -> Callable:
    """Returns the judge of a claim that is judged at each place that a function of ``select`` yields."""
    return lambda results: [judge(place, found) for place, found in places(results, *of)]


LI, QUESTION = "li2021", "our question to li2021"
CLAIMS = (
    Claim(
        "S4-sampler",
        "our check of the tools",
        "The chains sample the exact finite-width posterior.",
        "every observable within 4 standard errors of the exact law; shown is the relative difference of the worst",
        "the runs of the study 'cases'",
        everywhere(sampler_is_exact, select.chains),
    ),
    Claim(
        "S4-linear",
        LI,
        "The saddle-point theory describes the sampled network up to corrections of order L/N.",
        f"relative errors below {SADDLE_BOUND:g} L/N in every observable, infinite width further off; in units of L/N",
        "the runs of the study 'cases'",
        everywhere(saddle_describes, select.chains),
    ),
    Claim(
        "S4-width",
        LI,
        "Fewer units lower the predictive variance if and only if r_0 is below sigma^(2L).",
        "ln V(smallest N)/V(largest N), times the sign of r_0 - sigma^(2L), above 0 and monotone in N",
        "the runs of the study 'width'",
        everywhere(claims_swept.sign_rule, select.swept, "width"),
    ),
    Claim(
        "S4-depth",
        LI,
        "Q approaches a limit with depth or grows without bound.",
        "ln Q nearer to its limit at the greatest depth where sigma2 (1 - alpha) is below 1, growing where it is above",
        "the runs of the study 'depth'",
        everywhere(claims_swept.depth_limit, select.swept, "depth"),
    ),
    Claim(
        "S4-size",
        LI,
        "The bias peaks where there are as many training points as inputs.",
        "ln bias at P = N0 less the larger of those at N0/2 and at the largest P above 0, over data sets",
        "the runs of the study 'size'",
        everywhere(claims_swept.bias_peaks, select.whole, "size"),
    ),
    Claim(
        "S4-ReLU variance",
        LI,
        "The ReLU heuristic gives the predictive variance, averaged over test points.",
        f"within {CLOSE:.0%} of the sampled variance, infinite width further off",
        "the runs of the study 'relu'",
        everywhere(heuristic_variance, select.single, "relu"),
    ),
    Claim(
        "S4-ReLU mean",
        LI,
        "The ReLU heuristic gives the mean output.",
        f"root mean square difference below {CLOSE:.0%} of the mean's own size",
        "the runs of the study 'relu'",
        everywhere(heuristic_mean, select.single, "relu"),
    ),
    Claim(
        "S4-trained mean",
        QUESTION,
        "Trained networks have the mean output of the equilibrium.",
        f"root mean square difference below {CLOSE:.0%} of the mean's own size",
        "the runs of the study 'trained'",
        everywhere(claims_trained.mean_is_equilibrium, select.single, "trained"),
    ),
    Claim(
        "S4-trained variance",
        QUESTION,
        "Trained networks have the predictive variance of the equilibrium.",
        f"relative difference within {CLOSE:.0%}",
        "the runs of the study 'trained'",
        everywhere(claims_trained.variance_is_equilibrium, select.single, "trained"),
    ),
    Claim(
        "S4-MAP",
        QUESTION,
        "Training with weight decay ends in the minimum of the regularised energy, whatever the start.",
        f"root mean square difference from the minimum's output below {CLOSE:.0%} of its size, no variance over starts",
        "the runs of the study 'trained'",
        everywhere(claims_trained.ends_in_the_minimum, select.decayed),
    ),
)
