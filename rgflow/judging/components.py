r"""Claims as components: each is the mean over runs of one number per run, on one side of one bound.

A claim holds if all of its components hold, and is false if one of them is. Every component has two one-sided p-values,
and the claim has the larger of those for it and, Bonferroni, the least of those against it.

A p-value is the larger one of Student's (Welch's for several groups) and of Hall's monotone cubic of it. Student's
alone decides too often where noise is skewed, Hall's alone where a single run is far off; the larger one in neither
case.

Ref: Berger1982 = Berger, "Multiparameter hypothesis testing and acceptance sampling", Technometrics 24 (1982) 295.
Ref: Hall1992 = Hall, "On the removal of skewness by transformation", J. R. Stat. Soc. B 54 (1992) 221.
Ref: Schuirmann1987 (see :mod:`rgflow.judging.decisions`).
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from scipy import stats

from rgflow.judging.decisions import Status
from rgflow.judging.intervals import Interval, Values

Side = Literal["below", "above", "within"]

ALPHA = 0.025
"""Error rate of a decision in either direction, at one planned look at the runs."""

NO_NOISE = 1e-4
"""Runs that agree to this have shown no noise, and nothing can be said of their mean in general."""

LEAST_RUNS = 3
"""Of a group: with fewer there is no skewness."""


class Contrast(NamedTuple):
    r"""A weighted sum of means over groups of runs, $\sum_i w_i \bar x_i$, with what its law needs."""

    mean: float
    error: float
    freedom: float
    skew: float
    n: int


UNDEFINED = Contrast(np.nan, np.nan, np.nan, np.nan, 0)


def contrast(*groups: Values, weights: Sequence[float | int] = (1,)) -> Contrast:
    r"""Returns $\sum_i w_i \bar x_i$ with its standard error, Welch's degrees of freedom and its skewness.

    $V = \sum_i w_i^2 s_i^2/n_i,\quad \nu = V^2 / \sum_i \frac{(w_i^2 s_i^2/n_i)^2}{n_i - 1},\quad
    \gamma = V^{-3/2} \sum_i w_i^3 k_{3,i}/n_i^2,\quad k_3 = \frac{n \sum (x - \bar x)^3}{(n-1)(n-2)}$

    Runs that are not finite are dropped; n is that of the smallest group. Error, freedom and skewness are NaN where a
    group has fewer than three runs, or where no group has any noise. Shapes: [runs] for each group. Raises ValueError
    unless there is a weight for each group.

    >>> found = contrast([1.0, 2.0, 3.0], [1.0, 1.5, 5.0], weights=(1, -1))
    >>> [round(x, 4) for x in found]
    [-0.5, 1.3844, 2.8064, -0.7066, 3]
    """
    if len(groups) != len(weights):
        raise ValueError(f"weights = {tuple(weights)}: must be one for each of {len(groups)} groups")
    live = [values[np.isfinite(values)] for values in (np.asarray(group, np.float64) for group in groups)]
    n = np.array([x.size for x in live])
    if not n.all():
        return UNDEFINED
    w = np.asarray(weights, np.float64)
    mean = float(w @ [x.mean() for x in live])
    if n.min() < LEAST_RUNS or max(np.ptp(x) for x in live) < NO_NOISE:
        return UNDEFINED._replace(mean=mean, n=int(n.min()))
    shares = w**2 * [x.var(ddof=1) for x in live] / n
    variance = shares.sum()
    third = n * [np.sum((x - x.mean()) ** 3) for x in live] / ((n - 1) * (n - 2))
    skew = float(np.sum(w**3 * third / n**2) / variance**1.5)
    freedom = float(variance**2 / np.sum(shares**2 / (n - 1)))
    return Contrast(mean, float(np.sqrt(variance)), freedom, skew, int(n.min()))


def hall(t: float, skew: float) -> float:
    r"""Returns $T + \gamma T^2/3 + \gamma^2 T^3/27 + \gamma/6$, Hall's cubic: it takes the skewness out of T.

    >>> round(hall(2.64575131, 0.80095987), 4), hall(1.5, 0.0)
    (5.0882, 1.5)
    """
    return t + skew * t**2 / 3 + skew**2 * t**3 / 27 + skew / 6


def hall_inverse(h: float, skew: float) -> float:
    r"""Returns the T of which :func:`hall` is h, $\frac{3}{\gamma}(\sqrt[3]{1 + \gamma(h - \gamma/6)} - 1)$.

    >>> round(hall_inverse(hall(-1.2, 0.7), 0.7), 12), hall_inverse(1.5, 0.0)
    (-1.2, 1.5)
    """
    # Below this the cube root has fewer digits than its expansion, whose next term is of second order.
    if abs(skew) < 1e-7:
        return h - skew * (h**2 / 3 + 1 / 6)
    return float(3 / skew * (np.cbrt(1 + skew * (h - skew / 6)) - 1))


def p_value(found: Contrast, bound: float | int, side: Literal["below", "above"]) -> float:
    r"""Returns the p-value for "the mean is on this side of the bound", the larger one of Student's and Hall's.

    $\max(F_\nu(T), F_\nu(H))$ with $T = (\bar x - b)/\sqrt V$ for "below", of $-T$ and $-H$ for "above". NaN where the
    contrast has no error. Ref: Hall1992.

    >>> round(p_value(contrast([0.1, 0.3, 0.2, 1.4, 0.5, 0.1, 0.4, 0.2]), 0.0, "above"), 7)
    0.0165728
    """
    t = (found.mean - bound) / found.error
    sign = 1 if side == "below" else -1
    return float(np.max(stats.t.cdf([sign * t, sign * hall(t, found.skew)], found.freedom)))


def guarded_interval(found: Contrast, level: float = 0.95) -> Interval:
    r"""Returns the hull of Student's interval and of Hall's: every bound of which neither end is excluded by
    :func:`p_value` at (1 - level) / 2.

    NaN ends where the contrast has no error. Ref: Hall1992.

    >>> [round(x, 6) for x in guarded_interval(contrast([-0.52, -0.51, -0.50, -0.41]))]
    [-0.485, -0.565615, -0.297556, 4]
    """
    quantile = float(stats.t.ppf((1 + level) / 2, found.freedom))
    above = max(quantile, hall_inverse(quantile, found.skew))
    below = min(-quantile, hall_inverse(-quantile, found.skew))
    return Interval(found.mean, found.mean - above * found.error, found.mean - below * found.error, found.n)


@dataclasses.dataclass(frozen=True)
class Component:
    """One part of a claim: a mean below or above a bound, or within a bound on either side of zero."""

    name: str
    found: Contrast
    side: Side
    bound: float

    @property
    def p_for(self) -> float:
        """For the component; within a bound, the larger one of both sides (Ref: Schuirmann1987)."""
        if self.side != "within":
            return p_value(self.found, self.bound, self.side)
        return max(p_value(self.found, self.bound, "below"), p_value(self.found, -self.bound, "above"))

    @property
    def p_against(self) -> float:
        """Against the component; within a bound, that of the mean being outside on the side on which it is found."""
        if self.side == "within":
            return min(p_value(self.found, self.bound, "above"), p_value(self.found, -self.bound, "below"))
        return p_value(self.found, self.bound, "below" if self.side == "above" else "above")


class Decision(NamedTuple):
    """A claim's two p-values and what follows from them."""

    status: Status
    p_support: float
    p_contradict: float


def decide_all(components: Sequence[Component], weight: float = 1.0) -> Decision:
    r"""Decides a claim that holds if all of its components hold.

    $p_\mathrm{support} = \max_j p_{\mathrm{for},j},\quad
    p_\mathrm{contradict} = \min(1, J \min_j p_{\mathrm{against},j})$; a status needs $p \le 0.025\,w$

    ``weight`` w is the share of the error that this look at the runs may spend. A component without a p-value (fewer
    than three runs, no noise) leaves the claim undecided in both directions. Ref: Berger1982.

    >>> runs = contrast([0.2, 0.25, 0.3, 0.22, 0.24, 0.26, 0.21, 0.28])
    >>> decide_all([Component("positive", runs, "above", 0.0), Component("small", runs, "below", 0.5)]).status
    'supported'
    """
    p_for = np.array([component.p_for for component in components])
    p_against = np.array([component.p_against for component in components])
    if not len(components) or np.isnan([*p_for, *p_against]).any():
        return Decision("undecided", np.nan, np.nan)
    support, contradict = float(p_for.max()), min(1.0, len(components) * float(p_against.min()))
    status: Status = "undecided"
    if min(support, contradict) <= ALPHA * weight:
        status = "supported" if support < contradict else "contradicted"
    return Decision(status, support, contradict)
