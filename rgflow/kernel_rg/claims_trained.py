r"""Claims on trained networks: where does the theory of the equilibrium describe what gradient descent finds?

* S4-trained mean, variance: at T = 0 (no weight decay) ensembles of trained networks have mean and variance of the
  equilibrium; with weight decay $T/\sigma^2$ those of the equilibrium at that T. Statistics as in S4-ReLU, within 15 %.
* S4-MAP: with weight decay training ends in the minimum of the energy. Statistic: the distance of its mean from that
  minimum's, within 15 %, with a variance below 1 % of the equilibrium's.
"""

import numpy as np
import xarray as xr

from rgflow.judging.claim import Finding
from rgflow.judging.convergence import Estimate
from rgflow.judging.decisions import Control, control, equivalent, information, interval_of, one_sided
from rgflow.judging.points import counts
from rgflow.kernel_rg.observables import CLOSE, FALSE_ALARM_SIGMA, Pooled, mean_distance

FITTED = 1e-3
"""Largest training energy, as a share of that of zero output, of a network without weight decay that is trained."""

SETTLED = 0.01
"""Largest relative change of the training energy over the last recorded stretch that counts as the end of training."""

NO_VARIANCE = 0.01


def last_change(runs: xr.Dataset, steps: int) -> float:
    """Returns the relative change of the mean training energy between the last record and the one before."""
    energy = runs["energy"].where(runs["step"] <= steps).mean("run").dropna("step").values
    return float(abs(energy[-1] / energy[-2] - 1)) if len(energy) > 1 else np.nan


def training_controls(point: Pooled) -> dict[str, Control]:
    """Returns whether training came to its end: nothing is left to fit, or nothing moves any more."""
    if point.values["temperature"] == 0:
        share = point.measured["energy"].mean / float(point.records["zero_energy"][0])
        return {"fitted": control(share, f"training energy at most {FITTED:g} of that of zero output", share <= FITTED)}
    change = last_change(point.records, int(point.values["steps"]))
    return {
        "settled": control(change, f"last relative change of the training energy at most {SETTLED}", change <= SETTLED)
    }


def _excess(point: Pooled, name: str) -> Estimate:
    expected, found = point.theory["exact"][name], point.measured[name]
    return Estimate(found.mean / expected - 1, found.error / expected, np.nan, np.nan)


def mean_is_equilibrium(place: str, point: Pooled) -> Finding:
    """Returns how far the mean output of trained networks is from that of the equilibrium."""
    interval, controls = mean_distance(point, "exact"), training_controls(point)
    return Finding(place, interval, one_sided(interval, CLOSE, "below", controls), counts([point]), controls)


def variance_is_equilibrium(place: str, point: Pooled) -> Finding:
    """Returns the relative excess of the variance of trained networks over that of the equilibrium.

    Without weight decay, and with the data fitted, the variance is Q times a number that does not depend on training:
    the excess is read from Q, whose mean is known better, and the direct one must agree.
    """
    direct, scale = _excess(point, "variance"), _excess(point, "scale")
    limit = point.measured["variance"].mean / point.theory["wide"]["variance"] - 1
    controls = training_controls(point) | {"infinite_width": information(limit, "relative excess over infinite width")}
    through_scale = point.values["temperature"] == 0 and point.values["num_train"] <= point.values["num_inputs"]
    if through_scale:
        sigmas = abs(direct.mean - scale.mean) / float(np.hypot(direct.error, scale.error))
        agree = f"excess read from the variance itself within {FALSE_ALARM_SIGMA:g} standard errors"
        controls["direct"] = control(sigmas, agree, sigmas <= FALSE_ALARM_SIGMA)
    interval = interval_of(scale if through_scale else direct, point.runs)
    return Finding(place, interval, equivalent(interval, CLOSE, controls), counts([point]), controls)


def ends_in_the_minimum(place: str, point: Pooled) -> Finding:
    """Returns how far the mean output of networks trained with weight decay is from that of the energy's minimum."""
    collapsed = not np.any(point.records["theory_mean"].sel(theory="map").values[0])
    share = point.measured["variance"].mean / point.theory["exact"]["variance"]
    controls = {
        **training_controls(point),
        "no_variance": control(share, f"variance at most {NO_VARIANCE:.0%} of the equilibrium's", share <= NO_VARIANCE),
        "collapsed": control(collapsed, "the minimum is not the zero output", not collapsed),
    }
    interval = mean_distance(point, "map")
    return Finding(place, interval, one_sided(interval, CLOSE, "below", controls), counts([point]), controls)
