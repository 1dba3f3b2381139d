r"""Claims on trained networks: where does the theory of the equilibrium describe what gradient descent finds?

* S4-trained mean, variance: at T = 0 (no weight decay) ensembles of trained networks have mean and variance of the
  equilibrium; with weight decay $T/\sigma^2$ those of the equilibrium at that T. Statistics as in S4-ReLU, within 15 %.
* S4-MAP: with weight decay training ends in the minimum of the energy. Statistic: the distance of its mean from that
  minimum's, within 15 %, with a variance below 1 % of the equilibrium's.
"""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from rgflow.judging.claim import make_verdict
from rgflow.judging.convergence import Estimate
from rgflow.judging.decisions import Control, control, equivalent, information, interval_of, one_sided
from rgflow.judging.points import counts
from rgflow.kernel_rg.agreement import RELU_BOUND, root_interval
from rgflow.kernel_rg.judge import FALSE_ALARM_SIGMA
from rgflow.kernel_rg.summary import Summary, mean_distance
from rgflow.protocol import Verdict

BOUND = RELU_BOUND
FITTED = 1e-3
"""Largest training energy, as a share of that of zero output, of a network without weight decay that is trained."""

SETTLED = 0.01
"""Largest relative change of the training energy over the last recorded stretch that counts as the end of training."""

NO_VARIANCE = 0.01


def last_change(runs: xr.Dataset, steps: int) -> float:
    """Returns the relative change of the mean training energy between the last record and the one before."""
    energy = runs["energy"].where(runs["step"] <= steps).mean("run").dropna("step").values
    return float(abs(energy[-1] / energy[-2] - 1)) if len(energy) > 1 else np.nan


def training_controls(point: Summary, runs: xr.Dataset) -> dict[str, Control]:
    """Returns whether training came to its end: nothing is left to fit, or nothing moves any more."""
    if point.values["temperature"] == 0:
        share = point.measured["energy"].mean / float(runs["zero_energy"][0])
        return {"fitted": control(share, f"training energy at most {FITTED:g} of that of zero output", share <= FITTED)}
    change = last_change(runs, int(point.values["steps"]))
    return {
        "settled": control(change, f"last relative change of the training energy at most {SETTLED}", change <= SETTLED)
    }


def _ratio(point: Summary, name: str) -> Estimate:
    expected, found = point.theory["exact"][name], point.measured[name]
    return Estimate(found.mean / expected - 1, found.error / expected, np.nan, np.nan)


def variance_is_equilibrium(place: str, point: Summary, controls: Mapping[str, Control]) -> Verdict:
    """Judges S4-trained variance on one point: relative excess of the trained variance over the equilibrium's.

    Without weight decay, and with the data fitted, the variance is Q times a number that does not depend on training:
    the excess is read from Q, whose mean is known better, and the direct one must agree.
    """
    direct, scale = _ratio(point, "variance"), _ratio(point, "scale")
    limit = point.measured["variance"].mean / point.theory["wide"]["variance"] - 1
    found = {**controls, "infinite_width": information(limit, "relative excess over infinite width")}
    through_scale = point.values["temperature"] == 0 and point.values["num_train"] <= point.values["num_inputs"]
    if through_scale:
        sigmas = abs(direct.mean - scale.mean) / float(np.hypot(direct.error, scale.error))
        agree = f"excess read from the variance itself within {FALSE_ALARM_SIGMA:g} standard errors"
        found["direct"] = control(sigmas, agree, sigmas <= FALSE_ALARM_SIGMA)
    interval = interval_of(scale if through_scale else direct, point.runs)
    texts = (
        "Trained networks have the predictive variance of the equilibrium.",
        f"relative difference within {BOUND:.0%}",
    )
    status = equivalent(interval, BOUND, found)
    return make_verdict(f"S4-trained variance [{place}]", texts, interval, status, counts([point]), found)


def mean_is_equilibrium(place: str, point: Summary, runs: xr.Dataset, controls: Mapping[str, Control]) -> Verdict:
    """Judges S4-trained mean on one point."""
    interval = root_interval(mean_distance(point.values, runs, "exact"), point.runs)
    texts = (
        "Trained networks have the mean output of the equilibrium.",
        f"root mean square difference below {BOUND:.0%} of the mean's own size",
    )
    status = one_sided(interval, BOUND, "below", controls)
    return make_verdict(f"S4-trained mean [{place}]", texts, interval, status, counts([point]), controls)


def ends_in_the_minimum(place: str, point: Summary, runs: xr.Dataset, controls: Mapping[str, Control]) -> Verdict:
    """Judges S4-MAP on one point with weight decay."""
    collapsed = not np.any(runs["theory_mean"].sel(theory="map").values[0])
    share = point.measured["variance"].mean / point.theory["exact"]["variance"]
    # Where the minimum is the zero output its size is no unit.
    squared = Estimate(*(4 * [np.nan])) if collapsed else mean_distance(point.values, runs, "map")
    found = {
        **controls,
        "no_variance": control(share, f"variance at most {NO_VARIANCE:.0%} of the equilibrium's", share <= NO_VARIANCE),
        "collapsed": control(collapsed, "the minimum is not the zero output", not collapsed),
    }
    interval = root_interval(squared, point.runs)
    texts = (
        "Training with weight decay ends in the minimum of the regularised energy, whatever the start.",
        f"root mean square difference from the minimum's output below {BOUND:.0%} of its size, no variance over starts",
    )
    status = one_sided(interval, BOUND, "below", found)
    return make_verdict(f"S4-MAP [{place}]", texts, interval, status, counts([point]), found)


def judge(place: str, point: Summary, runs: xr.Dataset) -> list[Verdict]:
    """Returns every verdict on one point of trained networks."""
    controls = training_controls(point, runs)
    found = [mean_is_equilibrium(place, point, runs, controls), variance_is_equilibrium(place, point, controls)]
    if point.values["temperature"] > 0:
        found.append(ends_in_the_minimum(place, point, runs, controls))
    return found
