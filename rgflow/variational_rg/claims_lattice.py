r"""Claims on the lattice chains: Kaufman's energy (S3-lattice), and the yardstick of the Monte Carlo RG (S3-yardstick).

Only records in equilibrium count (:mod:`rgflow.variational_rg.equilibrium`). Keys: Sokal1997 = Sokal, Monte Carlo
Methods in Statistical Mechanics, in Functional Integration (1997) 131; Swendsen1979 = Phys. Rev. Lett. 42 (1979) 859;
Hesterberg2015 = Am. Stat. 69 (2015) 371.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from rgflow.exact.ising import CRITICAL_COUPLING
from rgflow.judging.claim import NOTHING, Finding
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
from rgflow.protocol import Results
from rgflow.samplers.equilibration import AGREEMENT, TIMES_WATCHED
from rgflow.variational_rg.equilibrium import Equilibrium, draws, equilibrium, kept_records, sigmas
from rgflow.variational_rg.select import Chains, chains

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


class Exponents(NamedTuple):
    """Exponents of one step of blocking for 1, 2, ... operators: of all records first, then of their resamples."""

    family: str
    level: int
    values: Float[np.ndarray, "resamples n"]

    @property
    def intervals(self) -> list[Interval]:
        """The exponents with their 95 % percentile bootstrap intervals."""
        low, high = np.quantile(self.values[1:], (0.025, 0.975), axis=0)
        return [Interval(float(y), float(a), float(b), 0) for y, a, b in zip(self.values[0], low, high, strict=True)]


def place(one: Chains) -> str:
    """Returns what tells the chains of one lattice from the others."""
    return f"L = {one.size}, K = {one.coupling:.6g}"


def equilibria(results: Results) -> dict[str, Equilibrium]:
    """Returns the equilibrium of every lattice that has live runs with enough records for an error."""
    enough = (one for one in results.once(chains) if one.runs and one.live.sizes["step"] >= 2 * LEAST_DRAWS)
    return {place(one): equilibrium(one) for one in enough}


def energies(results: Results) -> Iterator[Finding]:
    r"""Yields for every lattice $u/u_{Kaufman} - 1$ and its 95 % interval, with the specific heat as a control.

    Supported if the deviation is less than 4 standard errors and the interval's half width at most 0.5 %, contradicted
    from 4 standard errors on; undecided without equilibrium. Ref: Sokal1997.
    """
    known = results.once(equilibria)
    for one in results.once(chains):
        settled, counts = known.get(place(one)), (one.runs, one.dead)
        yield _energy(one, settled) if settled else Finding(place(one), NOTHING, "not_run", counts, {})


def _energy(one: Chains, settled: Equilibrium) -> Finding:
    kept = kept_records(one, settled.discarded)
    exact = float(one.live["kaufman_energy"].values[0])
    energy = estimate(draws(kept, "chain_energy"))
    relative = Estimate(energy.mean / exact - 1, energy.error / abs(exact), energy.r_hat, energy.ess)
    deviation = sigmas(energy, exact)
    half_width = INTERVAL_SIGMA * relative.error
    controls = {
        **_equilibrium_controls(one, settled),
        "precision": control(half_width, f"at most {PRECISION}", half_width <= PRECISION),
        **_specific_heat(kept),
        "sigmas": information(deviation, "deviation of the energy in standard errors"),
    }
    status: Status = "undecided"
    if settled.reached and np.isfinite(deviation):
        status = "contradicted" if abs(deviation) >= SIGMAS else "supported" if passed(controls) else "undecided"
    return Finding(place(one), interval_of(relative, one.runs), status, (one.runs, one.dead), controls)


def exponents(
    moments: Mapping[str, Float[np.ndarray, "..."]], family: str, level: int
) -> Float[np.ndarray, "*resamples n"]:
    r"""Returns $y = \log_2 \max|\lambda(T)|$ of one step for the first 1, 2, ... n operators.

    $T = 2 \langle xx^T\rangle_c^{-1}\langle xx^T\rangle_c$ from means ``family``, ``family_within`` and
    ``family_between`` as recorded, with leading axes of resamples. NaN for operators that do not vary independently.
    Ref: Swendsen1979.
    """
    means = moments[family]
    before, after = means[..., level, :], means[..., level + 1, :]
    within = moments[f"{family}_within"][..., level, :, :] - after[..., :, None] * after[..., None, :]
    between = moments[f"{family}_between"][..., level, :, :] - after[..., :, None] * before[..., None, :]
    found = []
    for count in range(1, means.shape[-1] + 1):
        own, mixed = within[..., :count, :count], between[..., :count, :count]
        usable = np.asarray(np.isfinite(own).all((-1, -2)) & np.isfinite(mixed).all((-1, -2)))
        usable &= np.linalg.matrix_rank(np.where(usable[..., None, None], own, 0), hermitian=True) == count
        own, mixed = (np.where(usable[..., None, None], matrix, np.eye(count)) for matrix in (own, mixed))
        largest = np.abs(np.linalg.eigvals(2 * np.linalg.solve(own, mixed))).max(axis=-1)
        found.append(np.log2(np.where(usable, largest, np.nan)))
    return np.stack(found, axis=-1)


def resampled_moments(one: Chains, family: str) -> dict[str, Float[np.ndarray, "..."]]:
    """Returns mean moments of the records: first those of all, then 1000 bootstrap resamples of them.

    A record is a block: it must last a few autocorrelation times. Ref: Hesterberg2015.
    """
    names = (family, f"{family}_within", f"{family}_between")
    blocks = {name: np.asarray(one.live[f"chain_{name}"].values, np.float64) for name in names}
    blocks = {name: value.reshape(-1, *value.shape[2:]) for name, value in blocks.items()}
    count = len(blocks[family])
    weights = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), 1000) / count
    weights = np.concatenate([np.full((1, count), 1 / count), weights])
    return {name: np.tensordot(weights, value, axes=1) for name, value in blocks.items()}


def critical(results: Results) -> Chains | None:
    """Returns the chains of the largest critical lattice with recorded blocks, None where there are none."""
    found = [one for one in results.once(chains) if abs(one.coupling - CRITICAL_COUPLING) < NEAR_CRITICAL]
    return next((one for one in reversed(found) if levels(one)), None)


def critical_exponents(results: Results) -> list[Exponents]:
    """Returns the exponents of every family and step of blocking of the critical lattice, from equilibrium alone."""
    one = critical(results)
    settled = results.once(equilibria).get(place(one)) if one else None
    if one is None or settled is None:
        return []
    moments = {family: resampled_moments(kept_records(one, settled.discarded), family) for family in FAMILIES}
    steps = [(family, level) for family in FAMILIES for level in range(levels(one))]
    return [Exponents(family, level, exponents(moments[family], family, level)) for family, level in steps]


def yardstick(results: Results) -> Iterator[Finding]:
    r"""Yields $|y_t - 1|$ of the critical lattice, after level 1 with all three even operators.

    The interval is the percentile bootstrap's over records of all runs. Other levels, fewer operators and y_h of the
    odd ones stand beside it. Ref: Swendsen1979; Hesterberg2015.
    """
    one = critical(results)
    if one is None:
        return
    counts, settled, here = (one.runs, one.dead), results.once(equilibria).get(place(one)), f"L = {one.size}"
    if settled is None or levels(one) <= YARDSTICK_LEVEL:
        yield Finding(here, NOTHING, "not_run", counts, {})
        return
    blocks = (one.live.sizes["step"] - settled.discarded) * one.runs
    controls = {
        **_equilibrium_controls(one, settled),
        "blocks": control(blocks, f"records of all runs at least {LEAST_BLOCKS}", blocks >= LEAST_BLOCKS),
        "block_length": control(
            one.interval / settled.time, "autocorrelation times a record lasts, at least 4",
            one.interval >= 4 * settled.time,
        ),
    }  # fmt: skip
    found = {(each.family, each.level): each for each in results.once(critical_exponents)}
    for each in found.values():
        controls |= _exponent_controls(each)
    judged = np.abs(found["even", YARDSTICK_LEVEL].values[:, YARDSTICK_OPERATORS - 1] - 1)
    low, high = (float(end) for end in np.quantile(judged[1:], (0.025, 0.975)))
    ends = Interval(float(judged[0]), low, high, one.runs)
    yield Finding(here, ends, one_sided(ends, YARDSTICK_BOUND, "below", controls), counts, controls)


def levels(one: Chains) -> int:
    """Returns how many block-spin steps were recorded: in one dataset, smaller lattices have NaN for some."""
    if "chain_even_within" not in one.live or not one.runs:
        return 0
    within = one.live["chain_even_within"].transpose("level", ...).values
    return int(np.isfinite(within).reshape(len(within), -1).all(axis=1).sum())


def _specific_heat(kept: Chains) -> dict[str, Control]:
    r"""Returns $C = K^2 N (\langle u^2\rangle - \langle u\rangle^2)$ against Kaufman's, its error linearised."""
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


def _equilibrium_controls(one: Chains, settled: Equilibrium) -> dict[str, Control]:
    need = f"hot and cold within {AGREEMENT:g} standard errors, both stretches at least {TIMES_WATCHED:g} tau long"
    return {
        "equilibrium": control(settled.deviation, need, settled.reached),
        "time": information(settled.time, "autocorrelation time in sweeps"),
        "discarded": information(settled.discarded * one.interval, "sweeps discarded"),
    }


def _exponent_controls(each: Exponents) -> dict[str, Control]:
    symbol, exact = ("y_t", "1") if each.family == "even" else ("y_h", "15/8")
    return {
        f"{symbol}_level_{each.level}_operators_{count + 1}": information(
            each.values[0, count], f"exact value {exact}, standard error {each.values[1:, count].std(ddof=1):.2g}"
        )
        for count in range(each.values.shape[1])
    }
