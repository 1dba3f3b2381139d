r"""When a Markov chain Monte Carlo run has forgotten its start, and how far apart its independent samples lie.

Two starts on either side of equilibrium are compared, and autocorrelation times are measured, on the host in float64.
Key: Sokal1997 = Sokal, Monte Carlo Methods in Statistical Mechanics, in Functional Integration (1997) 131.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Real

WINDOW = 5.0
"""Sokal's c: the sum over lags stops at the first lag of at least this many autocorrelation times."""

AGREEMENT = 3.0
"""The hot and the cold start must agree within this many standard errors."""

TIMES_WATCHED = 20.0
"""The sweeps watched, and as many discarded before them, must last at least this many autocorrelation times."""

TIMES_IN_ALL = 1000.0
"""All walkers together must watch this many autocorrelation times, so that the time itself is known to some 10 %."""


class Autocorrelation(NamedTuple):
    """Integrated time in sweeps (0.5 for independent values), its error, the window, and whether the window closed."""

    time: float
    error: float
    window: int
    closed: bool


class Agreement(NamedTuple):
    """The difference of the two starts in one observable, in standard errors, and its autocorrelation time."""

    deviation: float
    autocorrelation: Autocorrelation


def integrated_autocorrelation_time(
    series: Real[np.ndarray, "*walkers sweeps"], window: float = WINDOW
) -> Autocorrelation:
    r"""Returns $\tau = \frac12 + \sum_{t=1}^W \rho_t$ with W the smallest lag $\ge c\,[\frac12 + \sum_1^W |\rho_t|]$.

    c is ``window``. The sum of sizes is Sokal's $\tau(W)$ but for values that alternate, whose $\tau$ is below 1/2
    while their memory is long.

    The variance of the mean of n values is $2\tau/n$ times the variance of one. Rows are independent walkers with one
    common mean; their autocovariances are averaged. The error is $\tau\sqrt{2(2W+1)/n} + |\rho_W|$ over all n values.
    A series too short for its window is reported as not closed, and its time is a lower bound; so is one whose sum is
    not positive, which no variance is, and its time is 0. A constant series has time 0.5. Raises ValueError for fewer
    than 2 sweeps, values that are not finite, and a window that is not positive.

    >>> integrated_autocorrelation_time(np.array([1.0, -1.0, -1.0, 1.0] * 500)).time < 0.51
    True

    Ref: Sokal1997.
    """
    values = np.atleast_2d(np.asarray(series, np.float64)).reshape(-1, np.shape(series)[-1])
    sweeps = values.shape[1]
    if sweeps < 2 or not np.isfinite(values).all():
        raise ValueError(f"series = {sweeps} sweeps: must be at least 2 finite values per walker")
    if not window > 0:
        raise ValueError(f"window = {window}: must be positive")
    covariance = _autocovariance(values - values.mean())
    # The variance of a constant series is rounding or 0.
    if covariance[0] <= 1e-24 * np.square(values).max():
        return Autocorrelation(0.5, 0.0, 0, True)
    correlation = covariance / covariance[0]
    times = np.cumsum(correlation) - 0.5
    enough = np.arange(sweeps) >= window * (np.cumsum(np.abs(correlation)) - 0.5)
    closed = bool(enough[1:].any())
    lag = 1 + int(np.argmax(enough[1:])) if closed else sweeps - 1
    time = max(float(times[lag]), 0.0)
    error = time * float(np.sqrt(2 * (2 * lag + 1) / values.size)) + abs(float(correlation[lag]))
    return Autocorrelation(time, error, lag, closed and time > 0)


def compare_starts(hot: Real[np.ndarray, "walkers sweeps"], cold: Real[np.ndarray, "others sweeps"]) -> Agreement:
    r"""Returns how far apart one observable of two starts is, $(\bar x_h - \bar x_c)/\sqrt{s_h^2/n_h + s_c^2/n_c}$.

    Walkers are independent, so the spread of their time averages gives the standard error without any assumption on
    autocorrelation. The time is that of the slower start. Raises ValueError for fewer than 2 walkers of either start.
    """
    if min(len(hot), len(cold)) < 2:
        raise ValueError(f"hot, cold = {len(hot)}, {len(cold)} walkers: each start needs at least 2")
    averages = [np.asarray(start, np.float64).mean(axis=1) for start in (hot, cold)]
    difference = averages[0].mean() - averages[1].mean()
    error = np.sqrt(sum(average.var(ddof=1) / len(average) for average in averages))
    deviation = 0.0 if difference == 0 else difference / error if error > 0 else np.copysign(np.inf, difference)
    slower = max((integrated_autocorrelation_time(start) for start in (hot, cold)), key=lambda found: found.time)
    return Agreement(float(deviation), slower)


def in_equilibrium(agreements: list[Agreement], walkers: int, sweeps: int) -> bool:
    r"""Returns whether the walkers are in equilibrium.

    Every observable must agree within 3 errors; the sweeps must last at least $20\tau$ for each walker and $1000\tau$
    for all walkers together. ``agreements`` are over the last ``sweeps`` sweeps of ``walkers`` walkers, with as many
    sweeps before them discarded. Ref: Sokal1997 (both lengths).
    """
    return all(
        abs(deviation) < AGREEMENT
        and found.closed
        and sweeps >= TIMES_WATCHED * found.time
        and sweeps * walkers >= TIMES_IN_ALL * found.time
        for deviation, found in agreements
    )


def _autocovariance(centred: Float[np.ndarray, "walkers sweeps"]) -> Float[np.ndarray, " sweeps"]:
    """Returns the mean product of values t sweeps apart, over all walkers and times, for t = 0..sweeps-1."""
    sweeps = centred.shape[1]
    # Padding with zeros to twice the length keeps the transform from wrapping the end of a series onto its beginning.
    spectrum = np.fft.rfft(centred, 2 * sweeps, axis=1)
    products = np.fft.irfft((spectrum * spectrum.conj()).real, axis=1)[:, :sweeps].sum(axis=0)
    return products / (len(centred) * np.arange(sweeps, 0, -1))
