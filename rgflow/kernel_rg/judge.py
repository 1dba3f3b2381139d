"""What all claims of this room share: controls as plain data, convergence, verdicts from intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from rgflow.kernel_rg.problem import Number
from rgflow.kernel_rg.summary import LEAST_ESS, WORST_R_HAT, Summary
from rgflow.probes.convergence import Estimate
from rgflow.probes.stats import Interval, Status, decide
from rgflow.protocol import Verdict

Control = dict[str, Any]

FALSE_ALARM_SIGMA = 4.0
"""Standard errors between a sampled mean and an exact value that count as a contradiction."""

INTERVAL_SIGMA = float(stats.norm.ppf(0.975))


def control(value: Number, requirement: str, passed: bool | np.bool_) -> Control:
    """Returns one control as plain data."""
    return {"value": float(value), "requirement": requirement, "passed": bool(passed)}


def information(value: Number, meaning: str) -> Control:
    """Returns a number that belongs beside the verdict and cannot fail."""
    return control(value, f"{meaning} (for information)", True)


def convergence(points: Sequence[Summary]) -> dict[str, Control]:
    """Returns the controls that every claim on chains shares: the worst split R-hat and effective sample size."""
    chains = [p for p in points if p.values["sampler"] != "trained"]
    if not chains:
        return {}
    # A NaN (no live chain) must fail, so it may not be passed over.
    r_hat = float(np.max([p.worst[0] for p in chains]))
    size = float(np.min([p.worst[1] for p in chains]))
    return {
        "r_hat": control(r_hat, f"split R-hat of every observable at most {WORST_R_HAT}", r_hat <= WORST_R_HAT),
        "ess": control(size, f"effective batches of every observable at least {LEAST_ESS:g}", size >= LEAST_ESS),
    }


def interval_of(found: Estimate, runs: int, sigma: float = INTERVAL_SIGMA) -> Interval:
    """Returns mean and mean minus and plus ``sigma`` standard errors."""
    return Interval(found.mean, found.mean - sigma * found.error, found.mean + sigma * found.error, runs)


def passed(controls: Mapping[str, Control]) -> bool:
    """Tells whether every control passed."""
    return all(c["passed"] for c in controls.values())


def one_sided(interval: Interval, bound: float, side: str, controls: Mapping[str, Control]) -> Status:
    """Decides from an interval and a bound; a control that fails leaves a claim undecided, also against it."""
    if not passed(controls):
        return "undecided"
    return decide(interval, bound, side, {})


def make_verdict(
    claim: str,
    texts: tuple[str, str],
    interval: Interval,
    status: Status,
    points: Sequence[Summary],
    controls: Mapping[str, Control],
) -> Verdict:
    """Returns a verdict on some points; ``texts`` are its statement and what would support it."""
    mean, low, high = (None if np.isnan(x) else float(x) for x in interval[:3])
    runs, dead = sum(p.runs for p in points), sum(p.dead for p in points)
    return Verdict(claim, texts[0], status, mean, low, high, texts[1], runs, dead, dict(controls))


def not_run(claim: str, statement: str, why: str) -> Verdict:
    """Returns the verdict on a claim whose runs the sweep lacks."""
    return Verdict(claim, statement, "not_run", None, None, None, why, 0, 0, {})
