r"""Verdicts on the lattice chains: Kaufman's energy, and the yardstick of the Monte Carlo RG.

Only records that :mod:`rgflow.variational_rg.lattice_series` finds in equilibrium count. Keys: Sokal1997 = Sokal, Monte
Carlo Methods in Statistical Mechanics, in Functional Integration (1997) 131; Swendsen1979 = Phys. Rev. Lett. 42 (1979)
859; Hesterberg2015 = Am. Stat. 69 (2015) 371.
"""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from jaxtyping import Float

from rgflow.exact.ising import CRITICAL_COUPLING
from rgflow.judging.claim import make_verdict
from rgflow.judging.convergence import LEAST_DRAWS, Estimate, estimate
from rgflow.judging.decisions import (
    INTERVAL_SIGMA,
    Control,
    Status,
    control,
    information,
    interval_of,
    one_sided,
    passed,
)
from rgflow.judging.intervals import Interval
from rgflow.judging.points import counts
from rgflow.protocol import Verdict
from rgflow.samplers.equilibration import AGREEMENT, TIMES_WATCHED
from rgflow.variational_rg.lattice_series import (
    Equilibrium,
    Point,
    draws,
    equilibrium,
    kept_records,
    points,
    sigmas,
)

SIGMAS = 4.0
"""Standard errors that count as a difference from an exact value."""

PRECISION = 0.005
"""Half width of the 95 % interval of the relative deviation that an agreement needs."""

YARDSTICK_LEVEL, YARDSTICK_OPERATORS = 1, 3
"""The step judged: the finest one still feels how far the nearest-neighbour model is from the fixed point."""

YARDSTICK_BOUND = 0.05
LEAST_BLOCKS = 20
"""Records, over all runs, that a bootstrap of the exponent needs."""

NEAR_CRITICAL = 1e-5
FAMILIES = {"even": 1.0, "odd": 15 / 8}
"""The exact exponents of the square lattice: y_t of even operators, y_h of odd ones."""


def energy_agrees(point: Point) -> Verdict:
    r"""Judge S3-lattice on one point: $u/u_{Kaufman} - 1$ and its 95 % interval, the specific heat as a control.

    Supported if the deviation is less than 4 standard errors and the interval's half width at most 0.5 %, contradicted
    from 4 standard errors on; undecided without equilibrium. Raises nothing. Ref: Sokal1997.
    """
    claim = f"S3-lattice [L = {point.size}, K = {point.coupling:.6g}]"
    text = "The sampled lattices have the exact energy of the periodic square lattice."
    expected = "the mean energy within 4 standard errors of Kaufman's, known to 0.5 %; shown is u/u_exact - 1"
    if not point.runs or point.live.sizes["step"] < 2 * LEAST_DRAWS:
        return Verdict(claim, text, "not_run", None, None, None, expected, point.runs, point.dead, {})
    settled = equilibrium(point)
    kept = kept_records(point, settled.discarded)
    exact = float(point.live["kaufman_energy"].values[0])
    energy = estimate(draws(kept, "chain_energy"))
    relative = Estimate(energy.mean / exact - 1, energy.error / abs(exact), energy.r_hat, energy.ess)
    deviation = sigmas(energy, exact)
    half_width = INTERVAL_SIGMA * relative.error
    controls = {
        **_equilibrium_controls(point, settled),
        "precision": control(half_width, f"at most {PRECISION}", half_width <= PRECISION),
        **_specific_heat(kept),
        "sigmas": information(deviation, "deviation of the energy in standard errors"),
    }
    status: Status = "undecided"
    if settled.reached and np.isfinite(deviation):
        status = "contradicted" if abs(deviation) >= SIGMAS else "supported" if passed(controls) else "undecided"
    ends = interval_of(relative, point.runs)
    return make_verdict(claim, (text, expected), ends, status, counts([point]), controls)


def exponents(
    moments: Mapping[str, Float[np.ndarray, "..."]], family: str, level: int
) -> Float[np.ndarray, "*resamples n"]:
    r"""Return $y = \log_2 \max|\lambda(T)|$ of one step for the first 1, 2, ... n operators.

    $T = 2 \langle xx^T\rangle_c^{-1}\langle xx^T\rangle_c$ from means ``family``, ``family_within`` and
    ``family_between`` as recorded, with leading axes of resamples. Raises numpy's LinAlgError for operators that do not
    vary independently. Ref: Swendsen1979.
    """
    means = moments[family]
    before, after = means[..., level, :], means[..., level + 1, :]
    within = moments[f"{family}_within"][..., level, :, :] - after[..., :, None] * after[..., None, :]
    between = moments[f"{family}_between"][..., level, :, :] - after[..., :, None] * before[..., None, :]
    found = []
    for count in range(1, means.shape[-1] + 1):
        flow = 2 * np.linalg.solve(within[..., :count, :count], between[..., :count, :count])
        found.append(np.log2(np.abs(np.linalg.eigvals(flow)).max(axis=-1)))
    return np.stack(found, axis=-1)


def resampled_moments(
    point: Point, family: str, resamples: int = 1000, seed: int = 0
) -> dict[str, Float[np.ndarray, "..."]]:
    """Return mean moments of a point's records: first those of all, then bootstrap resamples of records of all runs.

    A record is a block: it must last a few autocorrelation times. Raises nothing. Ref: Hesterberg2015.
    """
    names = (family, f"{family}_within", f"{family}_between")
    blocks = {name: np.asarray(point.live[f"chain_{name}"].values, np.float64) for name in names}
    blocks = {name: value.reshape(-1, *value.shape[2:]) for name, value in blocks.items()}
    count = len(blocks[family])
    weights = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), resamples) / count
    weights = np.concatenate([np.full((1, count), 1 / count), weights])
    return {name: np.tensordot(weights, value, axes=1) for name, value in blocks.items()}


def yardstick(point: Point) -> Verdict:
    r"""Judge S3-yardstick on one critical point: $|y_t - 1| < 0.05$ after level 1 with all three even operators.

    The interval is the percentile bootstrap's over records of all runs. Other levels, fewer operators and y_h of the
    odd ones stand beside it. Raises nothing. Ref: Swendsen1979; Hesterberg2015.
    """
    claim = f"S3-yardstick [L = {point.size}]"
    text = "The Monte Carlo RG of the majority rule recovers the thermal exponent y_t = 1 at the critical point."
    expected = (
        f"|y_t - 1| below {YARDSTICK_BOUND:g}, from level {YARDSTICK_LEVEL} (0 is the finest step) with "
        f"{YARDSTICK_OPERATORS} even operators"
    )
    levels = _levels(point)
    if not point.runs or levels <= YARDSTICK_LEVEL or point.live.sizes["step"] < 2 * LEAST_DRAWS:
        return Verdict(claim, text, "not_run", None, None, None, expected, point.runs, point.dead, {})
    settled = equilibrium(point)
    kept = kept_records(point, settled.discarded)
    blocks = kept.live.sizes["step"] * kept.runs
    controls = {
        **_equilibrium_controls(point, settled),
        "blocks": control(blocks, f"records of all runs at least {LEAST_BLOCKS}", blocks >= LEAST_BLOCKS),
        "block_length": control(
            point.interval / settled.time, "autocorrelation times a record lasts, at least 4",
            point.interval >= 4 * settled.time,
        ),
    }  # fmt: skip
    judged = np.array([])
    for family in FAMILIES:
        moments = resampled_moments(kept, family)
        for level in range(levels):
            found = exponents(moments, family, level)
            controls |= _exponent_controls(found, family, level)
            if (family, level) == ("even", YARDSTICK_LEVEL):
                judged = np.abs(found[:, YARDSTICK_OPERATORS - 1] - 1)
    low, high = (float(end) for end in np.quantile(judged[1:], (0.025, 0.975)))
    ends = Interval(float(judged[0]), low, high, point.runs)
    status = one_sided(ends, YARDSTICK_BOUND, "below", controls)
    return make_verdict(claim, (text, expected), ends, status, counts([point]), controls)


def verdicts(dataset: xr.Dataset) -> list[Verdict]:
    """Return S3-lattice of every point, and S3-yardstick of the largest critical lattice with recorded blocks.

    Raises nothing.
    """
    found = points(dataset)
    critical = [p for p in found if abs(p.coupling - CRITICAL_COUPLING) < NEAR_CRITICAL and _levels(p) > 0]
    return [energy_agrees(point) for point in found] + [yardstick(point) for point in critical[-1:]]


def _levels(point: Point) -> int:
    """Return how many block-spin steps this point has: in one dataset, smaller lattices have NaN for some."""
    if "chain_even_within" not in point.live or not point.runs:
        return 0
    within = point.live["chain_even_within"].transpose("level", ...).values
    return int(np.isfinite(within).reshape(len(within), -1).all(axis=1).sum())


def _specific_heat(kept: Point) -> dict[str, Control]:
    r"""Return $C = K^2 N (\langle u^2\rangle - \langle u\rangle^2)$ against Kaufman's, its error linearised."""
    exact_energy = float(kept.live["kaufman_energy"].values[0])
    exact = float(kept.live["kaufman_specific_heat"].values[0])
    shifted = draws(kept, "chain_energy") - exact_energy
    mean = shifted.mean()
    series = draws(kept, "chain_energy_square") - 2 * mean * shifted + mean**2
    found = estimate(kept.coupling**2 * kept.size**2 * series)
    deviation = sigmas(found, exact)
    need = f"within {SIGMAS:g} standard errors of Kaufman's {exact:.6g}, in standard errors"
    return {
        "specific_heat_sigmas": control(deviation, need, abs(deviation) < SIGMAS),
        "specific_heat": information(found.mean, f"specific heat, standard error {found.error:.2g}"),
    }


def _equilibrium_controls(point: Point, settled: Equilibrium) -> dict[str, Control]:
    need = f"hot and cold within {AGREEMENT:g} standard errors, both stretches at least {TIMES_WATCHED:g} tau long"
    return {
        "equilibrium": control(settled.deviation, need, settled.reached),
        "time": information(settled.time, "autocorrelation time in sweeps"),
        "discarded": information(settled.discarded * point.interval, "sweeps discarded"),
    }


def _exponent_controls(found: Float[np.ndarray, "resamples n"], family: str, level: int) -> dict[str, Control]:
    symbol, exact = ("y_t", "1") if family == "even" else ("y_h", "15/8")
    return {
        f"{symbol}_level_{level}_operators_{count + 1}": information(
            found[0, count], f"exact value {exact}, standard error {found[1:, count].std(ddof=1):.2g}"
        )
        for count in range(found.shape[1])
    }
