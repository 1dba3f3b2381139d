r"""Are the modes of the chain forgotten in the order of their relevance, as under a renormalization? (Our question.)

S1-modes: a push of the stream along a fast mode is damped more, or grows less, on its way through the stack than one
along a slow mode. Statistic: Kendall's $\tau_b$ of the damping $-\ln \|\delta h_L\| / \|h_L\|$ (from layer 0) with
$-|\lambda_k|$ over the modes k, trained less untrained of the same run; supported above 0. Under coarse-graining by b
tokens mode k shrinks by $|\lambda_k|^b$: slow modes are the relevant ones. Modes of equal $|\lambda|$, such as complex
pairs, have no order. The same number is given for the first block alone and for the blocks after it.

The question was asked after a first look at such rates in runs with the seeds 0 to 5; its bound leaves nothing to tune.
"""

import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy import stats

from rgflow.judging.claim import Finding
from rgflow.judging.decisions import information
from rgflow.judging.intervals import t_interval
from rgflow.judging.points import average
from rgflow.rank_flow.decay import relative_perturbation
from rgflow.rank_flow.learning import final, finding, training_controls


def damping(at_step: xr.Dataset, first: int, last: xr.DataArray | int) -> xr.DataArray:
    """Returns by how much each mode loses against the stream between two layers, in nats, [run, mode]."""
    relative = relative_perturbation(at_step).transpose("run", "mode", "layer")
    return relative.isel(layer=first) - relative.isel(layer=last)


def order_of_damping(at_step: xr.Dataset, first: int = 0, last: int | None = None) -> Float[np.ndarray, " runs"]:
    """Returns Kendall's tau of the damping with -|lambda| over the modes of every run; NaN without all of them.

    Between two layers; by default over the whole stack, to the layer that the coordinate ``depth`` of a run names.
    """
    end = at_step["depth"].astype(int) if last is None else last
    lost, moduli = np.asarray(damping(at_step, first, end), np.float64), np.asarray(at_step["mode_modulus"], np.float64)
    # Moduli of a pair agree to rounding only.
    pairs = [(x[np.isfinite(m)], -np.round(m[np.isfinite(m)], 9)) for x, m in zip(lost, moduli, strict=True)]
    return np.array([np.asarray(stats.kendalltau(m, x))[0] if np.isfinite(x).all() else np.nan for x, m in pairs])


def forgotten_in_order(runs: xr.Dataset, *places: str) -> Finding:
    """Judges S1-modes on the runs of one mixing and one correlation length."""
    at_end, at_start = final(runs), runs.isel(step=0)
    trained, untrained = order_of_damping(at_end), order_of_damping(at_start)
    moduli = runs["mode_modulus"]
    controls = {
        **training_controls(at_end),
        "trained": information(average(trained), "tau of the trained runs"),
        "untrained": information(average(untrained), "tau of the untrained runs"),
        "first_block": information(average(order_of_damping(at_end, 0, 1)), "tau of the first block alone, trained"),
        "later_blocks": information(average(order_of_damping(at_end, 1)), "tau of all blocks but the first, trained"),
        "slowest": information(float(moduli.max()), "|lambda| of the slowest mode"),
        "fastest": information(float(moduli.min()), "|lambda| of the fastest mode"),
    }
    rule = (t_interval(trained - untrained), 0.0, "above")
    return finding(places, runs, rule, controls)
