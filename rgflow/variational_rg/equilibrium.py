r"""How much of a chain's records is equilibrium, and how far a mean over the rest lies from an exact value.

Each run has two chains of records, of its hot and of its cold walkers, and every record is a mean over equally many
sweeps. How much is discarded is decided by the records themselves: the least number of them such that hot and cold
agree within 3 standard errors in energy and squared magnetization over the rest, and that both what is discarded and
the rest last 20 autocorrelation times. A time follows from the standard error of a mean over M values of which one
alone has variance var(x), $\tau = \frac{M}2 \sigma_{\bar x}^2 / \mathrm{var}(x)$, the error from the records and the
spread between chains. Key: Sokal1997 = Sokal, Monte Carlo Methods in Statistical Mechanics, in Functional Integration
(1997) 131.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from rgflow.judging.convergence import Estimate, estimate
from rgflow.samplers.equilibration import AGREEMENT, TIMES_WATCHED
from rgflow.variational_rg.select import Chains


class Equilibrium(NamedTuple):
    """Records discarded, whether that met the conditions, hot against cold in standard errors, and tau in sweeps."""

    discarded: int
    reached: bool
    deviation: float
    time: float


def draws(chains: Chains, name: str, start: str | None = None) -> Float[np.ndarray, "chains records"]:
    """Returns the records of all chains, or of those with one ``start``, in float64."""
    values = chains.live[name] if start is None else chains.live[name].sel(start=[start])
    return np.asarray(values.transpose("run", "start", "step").values, np.float64).reshape(-1, values.sizes["step"])


def autocorrelation_time(error: float, single_variance: float, values: int) -> float:
    r"""Returns $\tau = \frac{M}2 \sigma_{\bar x}^2 / \mathrm{var}(x)$ in sweeps, at least 1/2.

    ``error`` is the standard error of the mean of M = ``values`` values (records x sweeps x walkers), of which one
    alone has variance ``single_variance``. Inf where single values do not vary and their mean does. Ref: Sokal1997.

    >>> round(autocorrelation_time(0.1, 1.0, 1000), 9)
    5.0
    """
    if error == 0:
        return 0.5
    return max(0.5, values / 2 * error**2 / single_variance) if single_variance > 0 else np.inf


def equilibrium(chains: Chains) -> Equilibrium:
    """Returns how many records are discarded: the least that meet the module's conditions, else half."""
    count = chains.live.sizes["step"]
    for discarded in range(1, count // 2 + 1):
        found = _look(chains, discarded)
        if found.reached:
            return found
    return _look(chains, count // 2)


def kept_records(chains: Chains, discarded: int) -> Chains:
    """Returns the chains without their first records."""
    return chains._replace(live=chains.live.isel(step=slice(discarded, None)))


def sigmas(found: Estimate, exact: float, other_error: float = 0.0) -> float:
    """Returns how many standard errors an estimate lies above a value, which may have an error too."""
    difference, error = found.mean - exact, float(np.hypot(found.error, other_error))
    if difference == 0 or error > 0:
        return float(difference / error) if difference else 0.0
    return float(np.copysign(np.inf, difference))


def _look(chains: Chains, discarded: int) -> Equilibrium:
    kept = kept_records(chains, discarded)
    lasts = chains.interval * min(discarded, kept.live.sizes["step"])
    deviations, times = [], []
    for name, square, centre in (
        ("chain_energy", "chain_energy_square", float(chains.live["kaufman_energy"].values[0])),
        ("chain_squared_magnetization", "chain_fourth_magnetization", 0.0),
    ):
        hot, cold = (estimate(draws(kept, name, start)) for start in ("hot", "cold"))
        deviations.append(sigmas(hot, cold.mean, cold.error))
        records = draws(kept, name)
        single = float(draws(kept, square).mean() - (records.mean() - centre) ** 2)
        values = records.size * chains.interval * chains.walkers
        times.append(autocorrelation_time(estimate(records).error, single, values))
    deviation, time = max(deviations, key=abs), max(times)
    return Equilibrium(discarded, bool(abs(deviation) < AGREEMENT and lasts >= TIMES_WATCHED * time), deviation, time)
