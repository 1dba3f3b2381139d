r"""From intervals to decisions, and controls as plain data.

A control is a number that must meet a requirement before an interval decides anything. One that fails leaves a claim
undecided, also against it, since it says that the measurement itself is in doubt.

Ref: Schuirmann1987 = Schuirmann, "A comparison of the two one-sided tests procedure and the power approach",
J. Pharmacokinet. Biopharm. 15 (1987) 657.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from scipy import stats

from rgflow.judging.convergence import Estimate
from rgflow.judging.intervals import Interval

Control = dict[str, Any]
Number = float | int | np.floating | np.integer
Status = Literal["supported", "contradicted", "mixed", "undecided", "not_run"]
SIDES = ("below", "above")

INTERVAL_SIGMA = float(stats.norm.ppf(0.975))
"""Standard errors on either side of a mean in a 95 % interval of normal noise."""

FOR_INFORMATION = " (for information)"
"""How the requirement of a number ends that asks for nothing."""


def control(value: Number, requirement: str, passed: bool | np.bool_) -> Control:
    """Returns one control as plain data: a value, the requirement on it in words, and whether it is met.

    >>> control(np.float32(0.5), "at least 0.25", np.bool_(True))
    {'value': 0.5, 'requirement': 'at least 0.25', 'passed': True}
    """
    return {"value": float(value), "requirement": requirement, "passed": bool(passed)}


def information(value: Number, meaning: str) -> Control:
    """Returns a number that belongs beside the verdict and cannot fail.

    >>> information(3, "runs left out")
    {'value': 3.0, 'requirement': 'runs left out (for information)', 'passed': True}
    """
    return control(value, f"{meaning}{FOR_INFORMATION}", True)


def is_information(control: Mapping[str, Any]) -> bool:
    """Returns whether a control asks for nothing, so that it counts neither as passed nor as failed."""
    return control["requirement"].endswith(FOR_INFORMATION)


def passed(controls: Mapping[str, Control]) -> bool:
    """Returns whether every control passed; without any control that is so.

    >>> passed({}), passed({"gap": control(1, "below 1", False), "runs": information(3, "runs")})
    (True, False)
    """
    return all(c["passed"] for c in controls.values())


def interval_of(found: Estimate, runs: int, sigma: float | int = INTERVAL_SIGMA) -> Interval:
    r"""Returns a mean and its interval from a standard error, $\bar x \pm \sigma\,\mathrm{SE}$, 95 % by default.

    >>> interval_of(Estimate(1.0, 0.25, 1.0, 100.0), 4, sigma=2)
    Interval(mean=1.0, low=0.5, high=1.5, n=4)
    """
    return Interval(found.mean, found.mean - sigma * found.error, found.mean + sigma * found.error, runs)


def decide(interval: Interval, bound: float, side: str, controls: Mapping[str, bool | np.bool_]) -> Status:
    """Decides a claim "the quantity lies below (above) the bound" from its interval and its controls.

    below: supported if high < bound, contradicted if low > bound, else undecided; above: the mirror image

    A failed control makes a would-be "supported" undecided. An interval that touches the bound, or has a NaN
    end, decides nothing. ``controls`` maps a name to whether it passed. Raises ValueError for another side.

    >>> decide(Interval(1.0, 0.9, 1.1, 8), bound=2.0, side="below", controls={"untrained": True})
    'supported'
    """
    if side not in SIDES:
        raise ValueError(f"side: {side!r} is unknown; allowed: {', '.join(SIDES)}")
    below, above = interval.high < bound, interval.low > bound
    holds, fails = (below, above) if side == "below" else (above, below)
    # A NaN end compares false with everything, but the other end alone must not decide either.
    if np.isnan(interval.low) or np.isnan(interval.high):
        return "undecided"
    if fails:
        return "contradicted"
    return "supported" if holds and all(controls.values()) else "undecided"


def one_sided(interval: Interval, bound: float | int, side: str, controls: Mapping[str, Control]) -> Status:
    r"""Decides "the quantity lies below (above) the bound": supported where the whole interval does.

    below: supported if $\mathrm{high} < b$, contradicted if $\mathrm{low} > b$, else undecided; above: mirrored

    Undecided where a control fails or an end is NaN. Raises ValueError for another side.

    >>> ends = Interval(0.5, 0.4, 0.6, 5)
    >>> one_sided(ends, 0.7, "below", {}), one_sided(ends, 0.7, "above", {}), one_sided(ends, 0.55, "below", {})
    ('supported', 'contradicted', 'undecided')
    """
    decided = decide(interval, bound, side, {})
    return decided if passed(controls) else "undecided"


def equivalent(interval: Interval, margin: float | int, controls: Mapping[str, Control]) -> Status:
    r"""Decides "the quantity is 0 up to a margin": supported inside, contradicted outside, undecided across an edge.

    supported if $-m < \mathrm{low}$ and $\mathrm{high} < m$, contradicted if $\mathrm{low} > m$ or $\mathrm{high} < -m$

    Undecided where a control fails or an end is NaN. Ref: Schuirmann1987.

    >>> equivalent(Interval(0.01, -0.02, 0.04, 5), 0.1, {}), equivalent(Interval(0.5, 0.4, 0.6, 5), 0.1, {})
    ('supported', 'contradicted')
    """
    if not passed(controls) or np.isnan([interval.low, interval.high]).any():
        return "undecided"
    if -margin < interval.low and interval.high < margin:
        return "supported"
    return "contradicted" if interval.low > margin or interval.high < -margin else "undecided"
