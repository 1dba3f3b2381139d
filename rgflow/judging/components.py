r"""Claims as components: each is the mean over runs of one number per run, on one side of one bound.

A claim holds if all of its components hold, and is false if one of them is. Every component has two one-sided p-values,
and the claim has the larger of those for it and, Bonferroni, the least of those against it.

Runs that died have no number. A claim is then decided twice: without them, and with them set at the bound in question
(by Student's test alone, since what is set is an outlier itself); a status needs both.

A p-value is the larger one of Student's (Welch's for several groups) and of Hall's monotone cubic of it. Student's
alone decides too often where noise is skewed, Hall's alone where a single run is far off; the larger one in neither
case.

Ref: Berger1982 = Berger, "Multiparameter hypothesis testing and acceptance sampling", Technometrics 24 (1982) 295.
Ref: Hall1992 = Hall, "On the removal of skewness by transformation", J. R. Stat. Soc. B 54 (1992) 221.
Ref: Schuirmann1987 (see :mod:`rgflow.judging.decisions`).
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import special  # its functions of Student's law cost a fiftieth of those of scipy.stats

from rgflow.judging.decisions import Status
from rgflow.judging.intervals import Interval, Values

Side = Literal["below", "above", "within"]

ALPHA = 0.025
"""Error rate of a decision in either direction, at one planned look at the runs."""

NO_NOISE = 1e-4
"""Runs that agree to this have shown no noise, and nothing can be said of their mean in general."""

LEAST_RUNS = 3
"""Of a group: with fewer there is no skewness."""

ENOUGH_RUNS = 8
"""From this number of runs on a single look may spend the whole error rate; see :func:`weight_of`."""

FEW_RUNS_WEIGHT = 1 / 16
"""The share of the error rate that fewer runs may spend: that of the first 4 of 64 runs."""

MARGIN = -float(np.log(0.9))
"""The smallest fall of a logarithm that counts as one: a factor of 0.9."""


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
    return float(np.max(special.stdtr(found.freedom, [sign * t, sign * hall(t, found.skew)])))


def guarded_interval(found: Contrast, level: float = 0.95) -> Interval:
    r"""Returns the hull of Student's interval and of Hall's: every bound of which neither end is excluded by
    :func:`p_value` at (1 - level) / 2.

    NaN ends where the contrast has no error. Ref: Hall1992.

    >>> [round(x, 6) for x in guarded_interval(contrast([-0.52, -0.51, -0.50, -0.41]))]
    [-0.485, -0.565615, -0.297556, 4]
    """
    quantile = float(special.stdtrit(found.freedom, (1 + level) / 2))
    above = max(quantile, hall_inverse(quantile, found.skew))
    below = min(-quantile, hall_inverse(-quantile, found.skew))
    return Interval(found.mean, found.mean - above * found.error, found.mean - below * found.error, found.n)


def students_p_value(found: Contrast, bound: float | int, side: Literal["below", "above"]) -> float:
    """Returns Student's p-value alone, as :func:`p_value` without its guard."""
    t = (found.mean - bound) / found.error
    return float(special.stdtr(found.freedom, t if side == "below" else -t))


def weight_of(runs: int) -> float:
    """Returns the share of the error rate that a decision on so many planned runs may spend.

    Intervals over few runs are least exact where noise is skewed: below eight runs a decision must be the clearer.

    >>> weight_of(8), weight_of(4)
    (1.0, 0.0625)
    """
    return 1.0 if runs >= ENOUGH_RUNS else FEW_RUNS_WEIGHT


def unit_means(values: Float[np.ndarray, " runs"], units: Sequence | np.ndarray) -> Float[np.ndarray, " units"]:
    """Returns the mean of the runs of each unit, such as a chain that several seeds share.

    Unweighted means of units are what an interval over units rests on: runs of one unit are not independent.

    >>> unit_means(np.array([1.0, 1.4, 2.0]), ["a", "a", "b"]).tolist()
    [1.2, 2.0]
    """
    labels = np.asarray(units)
    return np.array([values[labels == unit].mean() for unit in dict.fromkeys(labels.tolist())])


@dataclasses.dataclass(frozen=True, eq=False)
class Component:
    """One part of a claim: a weighted sum of means over groups of live runs, beside a bound.

    ``dead`` counts the runs of each group that died. The side ``within`` asks for a mean within the bound on either
    side of zero.
    """

    name: str
    groups: tuple[Float[np.ndarray, " _"], ...]
    side: Side
    bound: float
    weights: tuple[float, ...] = (1.0,)
    dead: tuple[int, ...] = ()

    @functools.cached_property
    def found(self) -> Contrast:
        """The contrast over live runs."""
        return contrast(*self.groups, weights=self.weights)

    @property
    def planned(self) -> int:
        """The runs of the smallest group, dead ones included."""
        dead = self.dead or (0,) * len(self.groups)
        return min(group.size + lost for group, lost in zip(self.groups, dead, strict=True))

    def with_dead_at(self, bound: float) -> Contrast:
        """Returns the contrast with every dead run set to the value that puts it at a bound."""
        if not all(np.isfinite(x).any() for x in self.groups):
            return UNDEFINED
        means = [float(np.mean(x[np.isfinite(x)])) for x in self.groups]
        rest = [self.found.mean - w * mean for w, mean in zip(self.weights, means, strict=True)]
        filled = [
            np.concatenate([x, np.full(dead, (bound - other) / w)])
            for x, dead, w, other in zip(self.groups, self.dead or [0] * len(rest), self.weights, rest, strict=True)
        ]
        return contrast(*filled, weights=self.weights)

    def _p(self, bound: float, side: Literal["below", "above"], fill: bool) -> float:
        return students_p_value(self.with_dead_at(bound), bound, side) if fill else p_value(self.found, bound, side)

    def p_for(self, fill: bool = False) -> float:
        """Returns the p-value for the component, with ``fill`` dead runs at the bound. Ref: Schuirmann1987."""
        if self.side != "within":
            return self._p(self.bound, self.side, fill)
        return max(self._p(self.bound, "below", fill), self._p(-self.bound, "above", fill))

    def p_against(self, fill: bool = False) -> float:
        """Returns the p-value against the component; of ``within``, on the side on which the mean is found."""
        if self.side == "within":
            return min(self._p(self.bound, "above", fill), self._p(-self.bound, "below", fill))
        return self._p(self.bound, "below" if self.side == "above" else "above", fill)

    def interval(self, level: float = 0.95) -> Interval:
        """Returns the guarded interval over live runs."""
        return guarded_interval(self.found, level)


class Decision(NamedTuple):
    """A claim's two p-values and what follows from them; ``undefined`` says that nothing can."""

    status: Status
    p_support: float
    p_contradict: float

    @property
    def undefined(self) -> bool:
        """Whether some component has no p-value: too few runs, or no noise between them."""
        return bool(np.isnan(self.p_support))


def decide_all(components: Sequence[Component], weight: float | None = None) -> Decision:
    r"""Decides a claim that holds if all of its components hold.

    $p_\mathrm{support} = \max_j p_{\mathrm{for},j},\quad
    p_\mathrm{contradict} = \min(1, J \min_j p_{\mathrm{against},j})$; a status needs $p \le 0.025\,w$

    ``weight`` w is the share of the error that this look at the runs may spend, by default that of
    :func:`weight_of`. A component without a p-value (fewer than three runs, no noise) leaves the claim undecided in
    both directions. Ref: Berger1982.

    >>> runs = (np.array([0.2, 0.25, 0.3, 0.22, 0.24, 0.26, 0.21, 0.28]),)
    >>> decide_all([Component("positive", runs, "above", 0.0), Component("small", runs, "below", 0.5)]).status
    'supported'
    """
    if not components:
        return Decision("undecided", np.nan, np.nan)
    fills = (False, True) if any(sum(component.dead) for component in components) else (False,)
    support, contradict = np.max([_p_values(components, fill) for fill in fills], axis=0)
    if np.isnan([support, contradict]).any():
        return Decision("undecided", np.nan, np.nan)
    spend = weight_of(min(component.planned for component in components)) if weight is None else weight
    status: Status = "undecided"
    if min(support, contradict) <= ALPHA * spend:
        status = "supported" if support < contradict else "contradicted"
    return Decision(status, float(support), float(contradict))


def _p_values(components: Sequence[Component], fill: bool) -> tuple[float, float]:
    # NumPy's extremes keep a NaN, which Python's pass over.
    p_for = np.max([component.p_for(fill) for component in components])
    p_against = np.min([component.p_against(fill) for component in components])
    return float(p_for), float(np.minimum(1.0, len(components) * p_against))
