r"""Are the modes of the chain forgotten in the order of their relevance, as under a renormalization? (Our question.)

S1-modes: a push of the stream along a fast mode is damped more, or grows less, on its way through the stack than one
along a slow mode. Statistic: Kendall's $\tau_b$ of the damping $-\ln \|\delta h_L\| / \|h_L\|$ (from layer 0) with
$-|\lambda_k|$ over the modes k, trained less untrained of the same run; supported above 0. Under coarse-graining by b
tokens mode k shrinks by $|\lambda_k|^b$: slow modes are the relevant ones. Modes of equal $|\lambda|$, such as complex
pairs, have no order. The same number is given for the first block alone and for the blocks after it.

The question was asked after a first look at such rates in runs with the seeds 0 to 5 on one chain, that of seed 0. It
is judged on other runs only: on other chains, or with later seeds.
"""

import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy import stats

from rgflow.judging.claim import Finding, ruled
from rgflow.judging.components import Component
from rgflow.judging.decisions import information
from rgflow.judging.points import alive, average
from rgflow.rank_flow.decay import relative_perturbation
from rgflow.rank_flow.learning import by_unit, dead, final, progress

SEEDS_SEEN, CHAIN_SEEN = 6, 0
"""Runs with fewer seeds than that on this chain were looked at before the question was asked."""

CHANGE = "tau(trained) - tau(untrained) of the whole stack"


def damping(at_step: xr.Dataset, first: int, last: xr.DataArray | int) -> xr.DataArray:
    """Returns by how much each mode loses against the stream between two layers, in nats, [run, mode]."""
    relative = relative_perturbation(at_step).transpose("run", "mode", "layer")
    return relative.isel(layer=first) - relative.isel(layer=last)


def order_of_damping(at_step: xr.Dataset, first: int = 0, last: int | None = None) -> Float[np.ndarray, " runs"]:
    """Returns Kendall's tau of the damping with -|lambda| over the modes of every run; NaN without all of them.

    Between two layers; by default over the whole stack, to the layer that the coordinate ``depth`` of a run names.
    """
    end = at_step["depth"].astype(int) if last is None else last
    return order_of(damping(at_step, first, end), at_step)


def order_of(lost: xr.DataArray, at_step: xr.Dataset) -> Float[np.ndarray, " runs"]:
    """Returns Kendall's tau of a number [run, mode] with -|lambda| over the modes; NaN where one is not finite."""
    found, moduli = np.asarray(lost, np.float64), np.asarray(at_step["mode_modulus"], np.float64)
    # Moduli of a pair agree to rounding only.
    pairs = [(x[np.isfinite(m)], -np.round(m[np.isfinite(m)], 9)) for x, m in zip(found, moduli, strict=True)]
    return np.array([np.asarray(stats.kendalltau(m, x))[0] if np.isfinite(x).all() else np.nan for x, m in pairs])


def forgotten_in_order(runs: xr.Dataset, *places: str) -> Finding:
    """Judges S1-modes on the runs of one mixing and one correlation length, those that had not been looked at."""
    seen = runs["seed"].values < SEEDS_SEEN
    if "chain_seed" in runs:
        seen &= runs["chain_seed"].values == CHAIN_SEEN
    fresh = runs.isel(run=np.flatnonzero(~seen))
    live = alive(fresh)
    at_end, at_start = final(live), live.isel(step=0)
    trained, untrained = order_of_damping(at_end), order_of_damping(at_start)
    blocks = {"first": (0, 1), "later": (1, None)}
    parts = {name: order_of_damping(at_end, *ends) - order_of_damping(at_start, *ends) for name, ends in blocks.items()}
    moduli = live["mode_modulus"]
    controls = {
        "trained": information(average(trained), "tau of the trained runs"),
        "untrained": information(average(untrained), "tau of the untrained runs"),
        "first_block": information(average(parts["first"]), "gain in order of the first block alone"),
        "later_blocks": information(average(parts["later"]), "gain in order of all blocks but the first"),
        "slowest": information(float(moduli.max()) if live.sizes["run"] else np.nan, "|lambda| of the slowest mode"),
        "fastest": information(float(moduli.min()) if live.sizes["run"] else np.nan, "|lambda| of the fastest mode"),
        **progress(fresh),
    }

    def part(values: Float[np.ndarray, " runs"], lost: int = 0) -> tuple[Component, ...]:
        return (Component(CHANGE, (by_unit(values, live),), "above", 0.0, dead=(lost,)),)

    rows = {
        "trained alone": part(trained),
        "the first block alone": part(parts["first"]),
        "all blocks but the first": part(parts["later"]),
    }
    place, counts = ", ".join(filter(None, places)), (live.sizes["run"], dead(fresh))
    return ruled(place, part(trained - untrained, dead(fresh)), counts, controls, rows)
