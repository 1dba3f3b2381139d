r"""Records of the lattice chains by point, and how much of them is equilibrium.

Runs of one size and coupling are one point; each run has two chains of records, of its hot and of its cold walkers, and
every record is a mean over equally many sweeps. How much is discarded is decided by the records themselves: the least
number of them such that hot and cold agree within 3 standard errors in energy and squared magnetization over the rest,
and that both what is discarded and the rest last 20 autocorrelation times. A time follows from the standard error of a
mean over M values of which one alone has variance var(x), $\tau = \frac{M}2 \sigma_{\bar x}^2 / \mathrm{var}(x)$, the
error from the records and the spread between chains. Keys: Sokal1997 = Sokal, Monte Carlo Methods in Statistical
Mechanics, in Functional Integration (1997) 131.
"""

from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float

from rgflow.judging.convergence import Estimate, estimate
from rgflow.samplers.equilibration import AGREEMENT, TIMES_WATCHED


class Point(NamedTuple):
    """Runs of one size and coupling: live ones with their records, counts of live and dead, how the chain ran."""

    size: int
    coupling: float
    live: xr.Dataset
    runs: int
    dead: int
    interval: int
    walkers: int


class Equilibrium(NamedTuple):
    """Records discarded, whether that met the conditions, hot against cold in standard errors, and tau in sweeps."""

    discarded: int
    reached: bool
    deviation: float
    time: float


def points(dataset: xr.Dataset) -> list[Point]:
    """Return the points of a dataset by size and coupling, in increasing order; records before any sweep are left out.

    ``dataset`` has dims (run, step, start, ...), coordinates size and coupling along ``run``, ``died_at``, and the
    records and references of :mod:`rgflow.variational_rg.lattice`. Raises nothing.
    """
    sizes, couplings = (np.asarray(dataset[name].values) for name in ("size", "coupling"))
    found = []
    for size, coupling in sorted({(int(s), float(k)) for s, k in zip(sizes, couplings, strict=True)}):
        runs = dataset.isel(run=np.flatnonzero((sizes == size) & (couplings == coupling)))
        energy = np.asarray(runs["chain_energy"].transpose("run", "step", "start").values)
        finite = np.asarray(np.isfinite(energy).all(axis=2))
        recorded = finite.any(axis=0) & (np.asarray(runs["step"].values) > 0)
        alive = finite[:, recorded].all(axis=1) & (np.asarray(runs["died_at"].values) < 0)
        runs = runs.isel(step=np.flatnonzero(recorded))
        steps = np.asarray(runs["step"].values)
        interval = int(steps[0]) if len(steps) else 0
        walkers = int(runs["walkers_per_start"].values[0])
        live = runs.isel(run=np.flatnonzero(alive))
        found.append(Point(size, coupling, live, int(alive.sum()), int((~alive).sum()), interval, walkers))
    return found


def draws(point: Point, name: str, start: str | None = None) -> Float[np.ndarray, "chains records"]:
    """Return records of all chains of a point, or of those with one ``start``, in float64. Raises nothing."""
    values = point.live[name] if start is None else point.live[name].sel(start=[start])
    return np.asarray(values.transpose("run", "start", "step").values, np.float64).reshape(-1, values.sizes["step"])


def autocorrelation_time(error: float, single_variance: float, values: int) -> float:
    r"""Return $\tau = \frac{M}2 \sigma_{\bar x}^2 / \mathrm{var}(x)$ in sweeps, at least 1/2.

    ``error`` is the standard error of the mean of M = ``values`` values (records x sweeps x walkers), of which one
    alone has variance ``single_variance``. Inf where single values do not vary and their mean does. Raises nothing.

    >>> round(autocorrelation_time(0.1, 1.0, 1000), 9)
    5.0

    Ref: Sokal1997.
    """
    if error == 0:
        return 0.5
    return max(0.5, values / 2 * error**2 / single_variance) if single_variance > 0 else np.inf


def equilibrium(point: Point) -> Equilibrium:
    """Return how many records are discarded: the least that meet the module's conditions, else half. Raises nothing."""
    count = point.live.sizes["step"]
    for discarded in range(1, count // 2 + 1):
        found = _look(point, discarded)
        if found.reached:
            return found
    return _look(point, count // 2)


def kept_records(point: Point, discarded: int) -> Point:
    """Return a point without its first records. Raises nothing."""
    return point._replace(live=point.live.isel(step=slice(discarded, None)))


def sigmas(found: Estimate, exact: float, other_error: float = 0.0) -> float:
    """Return how many standard errors an estimate lies above a value, which may have an error too. Raises nothing."""
    difference, error = found.mean - exact, float(np.hypot(found.error, other_error))
    if difference == 0 or error > 0:
        return float(difference / error) if difference else 0.0
    return float(np.copysign(np.inf, difference))


def _look(point: Point, discarded: int) -> Equilibrium:
    kept = kept_records(point, discarded)
    lasts = point.interval * min(discarded, kept.live.sizes["step"])
    deviations, times = [], []
    for name, square, centre in (
        ("chain_energy", "chain_energy_square", float(point.live["kaufman_energy"].values[0])),
        ("chain_squared_magnetization", "chain_fourth_magnetization", 0.0),
    ):
        hot, cold = (estimate(draws(kept, name, start)) for start in ("hot", "cold"))
        deviations.append(sigmas(hot, cold.mean, cold.error))
        records = draws(kept, name)
        single = float(draws(kept, square).mean() - (records.mean() - centre) ** 2)
        values = records.size * point.interval * point.walkers
        times.append(autocorrelation_time(estimate(records).error, single, values))
    deviation, time = max(deviations, key=abs), max(times)
    return Equilibrium(discarded, bool(abs(deviation) < AGREEMENT and lasts >= TIMES_WATCHED * time), deviation, time)
