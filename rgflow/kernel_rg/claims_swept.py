r"""The qualitative statements of li2021 on sampled networks: width, depth, number of training points.

* S4-width: fewer units lower the variance iff $r_0 < \sigma^{2L}$. Statistic: $\pm \ln V(N_{min})/V(N_{max})$, the sign
  that of $r_0 - \sigma^{2L}$; supported above 0, with the variance monotone in N.
* S4-depth, bounded, $\sigma^2 (1 - \alpha) < 1$: Q approaches $r_0/[1 - \alpha^{-1}(1 - \sigma^{-2})]$. Statistic: the
  distance of ln Q from ln of it at the greatest depth, less that at the smallest; supported below 0.
* S4-depth, unbounded: Q grows exponentially. Statistic: $d \ln Q/dL$ between the two greatest depths; supported above
  0.
* S4-size: the bias peaks at P = N0. One component over data sets (:mod:`rgflow.judging.components`): the mean of
  $\ln$ bias at N0, less the larger of those at the nearest P to N0/2 and at the greatest, is above 0. Fewer than
  three data sets decide nothing, fewer than eight only what is very clear. A data set without a number (a bias that
  noise made negative) counts as a dead run.
"""

from collections.abc import Sequence

import numpy as np

from rgflow.judging.claim import Finding, ruled
from rgflow.judging.components import Component
from rgflow.judging.convergence import Estimate
from rgflow.judging.decisions import INTERVAL_SIGMA, control, information, one_sided
from rgflow.judging.intervals import Interval, kendall_tau
from rgflow.judging.points import counts
from rgflow.kernel_rg.observables import Pooled, convergence
from rgflow.kernel_rg.theory import infinite_depth_scale


def _log(found: Estimate) -> tuple[float, float]:
    """Returns ln of a mean and its standard error; NaN where noise made the mean negative."""
    if not found.mean > 0:
        return np.nan, np.nan
    return float(np.log(found.mean)), found.error / found.mean


def _difference(first: tuple[float, float], second: tuple[float, float]) -> Interval:
    mean, error = first[0] - second[0], float(np.hypot(first[1], second[1]))
    return Interval(mean, mean - INTERVAL_SIGMA * error, mean + INTERVAL_SIGMA * error, 0)


def sign_rule(place: str, points: Sequence[Pooled]) -> Finding:
    """Returns how the variance moves with the width; points differ in width alone, in increasing order."""
    first, last = points[0], points[-1]
    prior = first.values["sigma2"] ** first.values["depth"]
    side = float(np.sign(first.label_norm - prior))
    logs = [_log(p.measured["variance"]) for p in points]
    interval = _difference((side * logs[0][0], logs[0][1]), (side * logs[-1][0], logs[-1][1]))
    tau = -side * kendall_tau([x for x, _ in logs])
    biases = [p.measured["bias"].mean for p in points]
    controls = {
        **convergence(points),
        "monotone": control(tau, "Kendall tau of the variance with N is 1 in the predicted sense", tau == 1.0),
        "label_norm": information(first.label_norm / prior, "r_0 / sigma^(2L)"),
        "exact": information(
            side * float(np.log(first.theory["exact"]["variance"] / last.theory["exact"]["variance"])),
            "the same statistic by the exact law",
        ),
        "bias": information(float(np.ptp(biases) / np.mean(biases)), "spread of the bias over widths, relative"),
    }
    # A variance that moves the wrong way contradicts, monotone or not.
    needed = {name: c for name, c in controls.items() if name != "monotone" or interval.high > 0}
    status = one_sided(interval, 0.0, "above", needed)
    return Finding(place, interval, status, counts(points), controls)


def depth_limit(place: str, points: Sequence[Pooled]) -> Finding:
    """Returns how Q moves with the depth; points differ in depth alone, in increasing order."""
    first, last = points[0], points[-1]
    sigma2, load, norm = first.values["sigma2"], first.load, first.label_norm
    limit = infinite_depth_scale(load, norm, sigma2)
    logs = [_log(p.measured["scale"]) for p in points]
    size = last.values["depth"] / last.values["width"]
    controls = {
        **convergence(points),
        "corrections": information(size, "L/N at the greatest depth, the size of what the statement leaves out"),
        "exact": information(last.theory["exact"]["scale"], "Q at the greatest depth by the exact law"),
        "saddle": information(last.theory["saddle"]["scale"], "the same by the saddle point"),
    }
    if np.isfinite(limit):
        distances = [(abs(x - np.log(limit)), error) for x, error in logs]
        interval = _difference(distances[-1], distances[0])
        controls["limit"] = information(limit, "Q in the limit of infinite depth")
        expected = "|ln Q - ln of the limit| at the greatest depth below that at the smallest"
        status = one_sided(interval, 0.0, "below", controls)
    else:
        steps = last.values["depth"] - points[-2].values["depth"]
        whole = _difference(logs[-1], logs[-2])
        interval = Interval(whole.mean / steps, whole.low / steps, whole.high / steps, 0)
        rate = float(np.log(sigma2 * (1 - load))) if load < 1 else np.nan
        controls["rate"] = information(rate, "ln[sigma2 (1 - alpha)], the rate in the limit")
        expected = "d ln Q/dL between the two greatest depths above 0"
        status = one_sided(interval, 0.0, "above", controls)
    kind = "approaches a limit with depth" if np.isfinite(limit) else "grows without bound with depth"
    statement = f"Where sigma2 (1 - alpha) is {'below' if np.isfinite(limit) else 'above'} 1, Q {kind}."
    return Finding(place, interval, status, counts(points), controls, statement, expected)


def _peak(points: Sequence[Pooled]) -> float:
    """Returns ln bias at P = N0 less the larger of those on its two sides, for one data set."""
    inputs = float(points[0].values["num_inputs"])
    bias = {float(p.values["num_train"]): _log(p.measured["bias"])[0] for p in points}
    if inputs not in bias or len(bias) < 3:
        return np.nan
    below = min((p for p in bias if p < inputs), key=lambda p: abs(p - inputs / 2), default=np.nan)
    return bias[inputs] - max(bias.get(below, np.nan), bias[max(bias)])


def bias_peaks(place: str, points: Sequence[Pooled]) -> Finding:
    """Returns by how much the bias peaks at P = N0; points differ in number of training points and data set."""
    sets: dict[int, list[Pooled]] = {}
    for point in points:
        sets.setdefault(int(point.values["data_seed"]), []).append(point)
    peaks = np.array([_peak(members) for members in sets.values()])
    found = peaks[np.isfinite(peaks)]
    # Where there is no number at all there is none to set the lost ones beside.
    lost = peaks.size - found.size if found.size else 0
    part = Component("ln bias at P = N0 less that beside it", (found,), "above", 0.0, dead=(lost,))
    controls = {
        **convergence(points),
        "data_sets": information(found.size, "data sets with a number"),
        "label_norm": information(
            max(p.label_norm for p in points) / min(p.label_norm for p in points), "largest over smallest r_0"
        ),
    }
    return ruled(place, (part,), counts(points), controls)
