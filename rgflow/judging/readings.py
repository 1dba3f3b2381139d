r"""Many readings of one claim on the same runs: the typical one, the curve of all of them, and their error rate.

A reading is a choice of the analyst. Readings of the same runs are no independent evidence, and counting how many of
them decide measures the number of runs. The verdict on a claim is therefore that of the *typical* reading, in which
the effect of every run is the median of its effects over readings. All readings are shown beside it, sorted by their
effect, each with its interval (the specification curve).

Ref: Holm1979 = Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Stat. 6 (1979) 65.
Ref: Simonsohn2020 = Simonsohn, Simmons and Nelson, "Specification curve analysis", Nat. Hum. Behav. 4 (2020) 1208.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from rgflow.judging.components import Component, Decision, decide_all, weight_of
from rgflow.judging.decisions import Control, Status, information
from rgflow.judging.intervals import Interval, Values, t_difference, t_interval

ERROR_RATE = 0.05
"""Chance of any wrong decision among all readings of a claim at one place."""

RESOLUTION = 1e-4
"""Accuracy of a rank (relative) and of a share: differences below it are rounding, not effects."""


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
    """Returns the status over several places (or settings), which are different questions.

    Supported where all places are, contradicted where all are, mixed where some are supported and some contradicted,
    else undecided. A place that is ``undefined`` or not run does not count.

    >>> overall(["supported", "contradicted", "undecided"]), overall(["contradicted", "undecided", "undefined"])
    ('mixed', 'undecided')
    """
    defined = {status for status in statuses if status not in ("undefined", "not_run")}
    if len(defined) == 1:
        return next(iter(defined))  # type: ignore[return-value]
    return "mixed" if {"supported", "contradicted"} <= defined or "mixed" in defined else "undecided"


def overall_readings(typical: Status, readings: Sequence[str]) -> Status:
    """Returns the status over all readings of one place: that of the typical one, unless readings are shown against it.

    Mixed where readings are shown in both directions, or one of them against what the typical reading says.

    >>> overall_readings("supported", ["supported", "undecided"]), overall_readings("supported", ["contradicted"])
    ('supported', 'mixed')
    """
    shown = {typical, *readings}
    return "mixed" if {"supported", "contradicted"} <= shown else typical


def tally(statuses: Sequence[str], names: Sequence[str], what: str = "readings") -> dict[str, Control]:
    """Returns how many readings have each of the named statuses, as numbers for information."""
    found = Counter(statuses)
    return {name: information(found[name], what) for name in names}


class Specification(NamedTuple):
    """One reading of a claim at one place: the level of every factor, and the components that decide it."""

    factors: Mapping[str, str]
    components: tuple[Component, ...]

    @property
    def name(self) -> str:
        """The levels of all factors, for a sentence."""
        return ", ".join(self.factors.values())


class Shown(NamedTuple):
    """A reading with its effect, the interval that holds for all readings together, and what it shows among them."""

    factors: Mapping[str, str]
    interval: Interval
    p_value: float
    adjusted: float
    status: str


def _interval(component: Component, level: float) -> Interval:
    live = [group[np.isfinite(group)] for group in component.groups]
    if len(live) == 1:
        return t_interval(live[0], level)
    found = t_difference(live[0], live[1], level)
    return found if component.weights[1] < 0 else Interval(np.nan, np.nan, np.nan, found.n)


def judged(specifications: Sequence[Specification]) -> list[Shown]:
    """Returns every reading of one place with its simultaneous interval and its status by Holm's method.

    Intervals are Student's (Welch's) at level 1 - 0.05/m over the m readings that are defined. One without a statistic
    (a constant stream, too few runs, no noise) is ``undefined`` and does not count. Ref: Holm1979, Simonsohn2020.
    """
    found = [decide_all(each.components) for each in specifications]
    raw = two_sided([d.p_support for d in found], [d.p_contradict for d in found])
    count = max(1, int(np.isfinite(raw).sum()))
    rows = []
    for each, decision, p, adjusted in zip(specifications, found, raw, holm(raw), strict=True):
        interval = _interval(each.components[0], 1 - ERROR_RATE / count)
        rows.append(Shown(each.factors, interval, float(p), float(adjusted), _status(each, decision, float(adjusted))))
    return rows


def _status(each: Specification, decision: Decision, adjusted: float) -> str:
    if decision.undefined:
        return "undefined"
    runs = min(component.planned for component in each.components)
    if not adjusted <= ERROR_RATE * weight_of(runs):
        return "undecided"
    return "supported" if decision.p_support < decision.p_contradict else "contradicted"


def typical(specifications: Sequence[Specification]) -> tuple[Component, ...]:
    """Returns the components of the typical reading: of every run the median over readings of its numbers.

    Only readings count in which every run has a number. None where there is no such reading.
    """
    usable = [each.components for each in specifications if all(map(_is_complete, each.components))]
    if not usable:
        return ()
    return tuple(
        dataclasses.replace(first, groups=tuple(np.median(np.stack(runs), axis=0) for runs in _groups(same)))
        for first, same in ((same[0], same) for same in zip(*usable, strict=True))
    )


def _is_complete(component: Component) -> bool:
    return all(group.size and np.isfinite(group).all() for group in component.groups)


def _groups(same: Sequence[Component]) -> list[list[np.ndarray]]:
    return [list(runs) for runs in zip(*(component.groups for component in same), strict=True)]


def variance_shares(shown: Sequence[Shown]) -> dict[str, float]:
    r"""Returns which share of the variance of the readings' effects goes with each factor on its own.

    $\eta^2 = \sum_g n_g (\bar x_g - \bar x)^2 / \sum_i (x_i - \bar x)^2$ over the levels g of a factor; the shares of
    factors that act together need not sum to 1.

    >>> def reading(a, b, x): return Shown({"a": a, "b": b}, Interval(x, x, x, 3), 0.5, 0.5, "undecided")
    >>> found = variance_shares([reading("1", "1", 0.0), reading("1", "2", 0.0), reading("2", "1", 1.0)])
    >>> {name: round(share, 2) for name, share in found.items()}
    {'a': 1.0, 'b': 0.25}
    """
    defined = [one for one in shown if np.isfinite(one.interval.mean)]
    x = np.array([one.interval.mean for one in defined])
    total = float(np.sum((x - x.mean()) ** 2)) if x.size else 0.0
    found = {}
    for name in defined[0].factors if total > 0 else ():
        levels = np.array([one.factors[name] for one in defined])
        between = sum(x[levels == g].size * (x[levels == g].mean() - x.mean()) ** 2 for g in set(levels.tolist()))
        found[name] = float(between / total)
    return found


def spread(shown: Sequence[Shown], claimed: Callable[[float], bool]) -> dict[str, Control]:
    """Returns how the effect differs between readings, as numbers for information, and the names of what is shown.

    Least, quartiles and largest over readings, the share of readings on the claimed side, the share of the variance
    that goes with each factor, and how many readings have which status by Holm's method.
    """
    means = np.array([one.interval.mean for one in shown if one.status != "undefined"])
    if not means.size:
        return {}
    quantiles = {"least": 0.0, "lower_quartile": 0.25, "upper_quartile": 0.75, "largest": 1.0}
    meaning = f"of the effect over {means.size} readings"
    found = {
        name: information(float(np.quantile(means, share)), f"{name.replace('_', ' ')} {meaning}")
        for name, share in quantiles.items()
    }
    share = float(np.mean([claimed(x) for x in means]))
    found["claimed_side"] = information(share, "share of the readings with an effect on the claimed side")
    for name, part in variance_shares(shown).items():
        found[f"due_to_{name}"] = information(part, f"share of the variance over readings that goes with {name}")
    statuses = [one.status for one in shown]
    for status in ("supported", "contradicted"):
        names = "; ".join(", ".join(one.factors.values()) for one in shown if one.status == status)
        found[status] = information(statuses.count(status), f"readings, by Holm's method: {names or 'none'}")
    return found | tally(statuses, ("undecided", "undefined"))
