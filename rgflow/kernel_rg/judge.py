"""What the claims of this room share beside the tools: when numbers contradict, and whether chains converged."""

from collections.abc import Sequence

import numpy as np

from rgflow.judging.decisions import Control, control
from rgflow.kernel_rg.summary import LEAST_ESS, WORST_R_HAT, Summary

FALSE_ALARM_SIGMA = 4.0
"""Standard errors between a sampled mean and an exact value that count as a contradiction."""


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
