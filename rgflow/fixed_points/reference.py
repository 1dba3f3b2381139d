r"""What is known of a run before it starts: the data, and where their exact renormalization leads.

| variable           | dims          | meaning                                                                        |
|--------------------|---------------|--------------------------------------------------------------------------------|
| exact_coupling     | scheme, level | ring coupling of the standardised data after ``level`` exact steps (score      |
|                    |               | matching of the population; spins: K' of decimation, NaN for block sums)       |
| exact_kurtosis     | scheme, level | excess kurtosis of one variable after ``level`` steps                          |
| fixed_kurtosis     | scheme        | the same at the fixed point: of the data's own law (decimation), 0 (block sums)|
| fixed_onsite       | scheme, power | $\theta_2, \theta_4, \theta_6$ at the fixed point, standardised; NaN: spins     |
| correlation_length |               | $-1 / \ln(\lambda_1/\lambda_0)$ in sites                                       |
| plateau            |               | how much the relative loss may have moved over the last ``plateau_steps``      |
| plateau_steps      |               |                                                                                |

Every fixed point has coupling 0. Decimation leaves the law of a site as it is, so that its fixed point depends on the
data; block sums tend to the Gaussian, $\theta = (\frac12, 0, 0)$.
"""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from rgflow.exact.block_moments import SCHEMES
from rgflow.exact.potential import Potential, check_normalisable, support
from rgflow.exact.transfer import Operator, correlation_length, ising_operator, transfer_operator
from rgflow.fixed_points import theory
from rgflow.probes.pair_moments import POWERS
from rgflow.types import Config

DIMS = {
    "exact_coupling": ("scheme", "level"),
    "exact_kurtosis": ("scheme", "level"),
    "fixed_kurtosis": ("scheme",),
    "fixed_onsite": ("scheme", "power"),
}
GRID_ERROR = 1e-4
"""How much of a correlation length the grid of the samples may change."""


def coords(halvings: int) -> dict[str, Sequence[Any]]:
    """Returns the labels of the dimensions of this module."""
    return {"scheme": SCHEMES, "level": range(halvings + 1)}


def potential_of(config: Config) -> Potential:
    """Returns the potential of the data; zeros for spins, which have none."""
    return Potential(0.0) if config.data == "ising" else Potential(*config.potentials[config.data])


def half_width(config: Config) -> float:
    """Returns where a grid ends that holds the fields at both couplings of a classification; 1 for spins."""
    if config.data == "ising":
        return 1.0
    return max(support(k, potential_of(config)) for k in (config.coupling, config.contrast * config.coupling))


def check_data(config: Config) -> None:
    """Raises ValueError for fields that cannot be normalised, or whose grid is too coarse to sample them."""
    if config.data == "ising":
        return
    if len(config.potentials[config.data]) != 3:
        raise ValueError(f"potentials.{config.data} = {tuple(config.potentials[config.data])}: must be r, u, v")
    potential = potential_of(config)
    try:
        check_normalisable(config.coupling, potential)
    except ValueError as error:
        raise ValueError(f"potentials.{config.data}: {error}") from None
    if config.points % 8:
        raise ValueError(f"points = {config.points}: must be a multiple of 8")
    found = _length(config.coupling, potential, config.points, half_width(config))
    finer = _length(config.coupling, potential, 4 * config.points, half_width(config))
    if abs(found - finer) > GRID_ERROR * max(finer, 1.0):
        raise ValueError(
            f"points = {config.points}: too few for data = {config.data!r} at coupling = {config.coupling}"
        )


@functools.lru_cache(maxsize=256)
def _length(coupling: float, potential: Potential, points: int, width: float) -> float:
    return correlation_length(transfer_operator(coupling, potential, points, width))


def log_partition_gap(config: Config) -> float:
    r"""Returns $\ln Z(K) - \ln Z(K')$ of the two couplings of a classification."""
    potential = None if config.data == "ising" else potential_of(config)
    one, other = (
        theory.log_partition(coupling, potential, config.num_sites, half_width(config))
        for coupling in (config.coupling, config.contrast * config.coupling)
    )
    return one - other


def operator_of(coupling: float, potential: Potential | None) -> Operator:
    """Returns the transfer operator of the data."""
    if potential is None:
        return ising_operator(coupling)
    return transfer_operator(coupling, potential, theory.FIELD_POINTS)


def references(config: Config) -> dict[str, Any]:
    """Returns the variables of this module for one point."""
    potential = None if config.data == "ising" else potential_of(config)
    exact = _exact(float(config.coupling), potential, config.num_sites, config.halvings)
    return {**exact, "plateau": float(config.plateau), "plateau_steps": float(config.plateau_steps)}


@functools.lru_cache(maxsize=256)
def _exact(coupling: float, potential: Potential | None, num_sites: int, levels: int) -> dict[str, Any]:
    operator = operator_of(coupling, potential)
    couplings, kurtoses = np.full((2, len(SCHEMES), levels + 1), np.nan)
    for place, scheme in enumerate(SCHEMES):
        for level, block in enumerate(theory.flow(operator, scheme, levels)):
            blocks = num_sites // 2**level
            kurtoses[place, level] = theory.kurtosis(block, blocks)
            if potential is None:
                couplings[place, level] = theory.spin_coupling(coupling, scheme, level)
            else:
                couplings[place, level] = theory.population_coupling(block, blocks)
    onsite = np.full((len(SCHEMES), len(POWERS)), np.nan)
    if potential is not None:
        single = theory.flow(operator, "decimation", 0)[0]
        onsite[SCHEMES.index("decimation")] = theory.independent_parameters(single, num_sites)
        onsite[SCHEMES.index("block_sum")] = (0.5, 0.0, 0.0)
    return {
        "exact_coupling": couplings,
        "exact_kurtosis": kurtoses,
        "fixed_kurtosis": np.array([kurtoses[SCHEMES.index("decimation"), 0], 0.0]),
        "fixed_onsite": onsite,
        "correlation_length": correlation_length(operator),
    }
