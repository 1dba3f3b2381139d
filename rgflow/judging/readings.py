"""Many readings of one claim on the same runs, judged at one error rate.

Ref: Holm1979 = Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Stat. 6 (1979) 65.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from rgflow.judging.decisions import Control, Status, information
from rgflow.judging.intervals import Values

ERROR_RATE = 0.05
"""Chance of any wrong decision among all readings of a claim."""


def holm(p_values: Values) -> Float[np.ndarray, " _"]:
    r"""Returns p-values adjusted so that the chance of any false rejection among all of them stays below the level.

    $\tilde p_{(i)} = \max_{j \le i} \min(1, (m - j + 1)\, p_{(j)})$ over the m values in increasing order

    Valid under any dependence between the tests. NaN (no test) stays NaN and does not count.
    Shapes: [tests] -> [tests]. Raises ValueError for a value outside [0, 1]. Ref: Holm1979.

    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p_values, np.float64)
    tested = np.flatnonzero(~np.isnan(values))
    if ((values[tested] < 0) | (values[tested] > 1)).any():
        raise ValueError(f"p_values: {values.tolist()} are no probabilities; allowed: 0 to 1")
    order = tested[np.argsort(values[tested], kind="stable")]
    adjusted = np.full(values.shape, np.nan)
    remaining = np.arange(order.size, 0, -1)
    adjusted[order] = np.maximum.accumulate(np.minimum(1.0, remaining * values[order]))
    return adjusted


def two_sided(support: Values, against: Values) -> Float[np.ndarray, " _"]:
    """Returns the two-sided p-values that belong to one-sided ones for and against a claim, NaN where one is NaN.

    >>> two_sided([0.01, 0.8], [0.99, 0.2]).tolist()
    [0.02, 0.4]
    """
    return np.minimum(1.0, 2 * np.minimum(np.asarray(support, np.float64), np.asarray(against, np.float64)))


def overall(statuses: Sequence[str]) -> Status:
    """Returns the status of a whole table of readings; one that is ``undefined`` does not count.

    Supported where every defined reading is; contradicted where one is and none is supported; else undecided.

    >>> overall(["supported", "contradicted"]), overall(["contradicted", "undecided", "undefined"])
    ('undecided', 'contradicted')
    """
    defined = [status for status in statuses if status != "undefined"]
    if defined and all(status == "supported" for status in defined):
        return "supported"
    return "contradicted" if "contradicted" in defined and "supported" not in defined else "undecided"


def tally(statuses: Sequence[str], names: Sequence[str], what: str = "readings") -> dict[str, Control]:
    """Returns how many readings have each of the named statuses, as numbers for information."""
    found = Counter(statuses)
    return {name: information(found[name], what) for name in names}
