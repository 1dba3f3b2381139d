r"""Concentration of the kernel drift on one or two transitions (S1-iii).

Statistic: $C_2 - \max(2/L, C_2^{untrained})$ of the same run, supported above 0. Since $C_m \ge m/L$ for any drifts,
the untrained share is the larger of the two.
"""

import numpy as np
import xarray as xr
from jaxtyping import Float

from rgflow.judging.claim import Finding
from rgflow.judging.decisions import control, information
from rgflow.judging.intervals import t_interval
from rgflow.judging.points import average
from rgflow.probes.kernel import drift_concentration
from rgflow.rank_flow.collapse import Reading, reading_of
from rgflow.rank_flow.learning import final, finding, training_controls


def concentration(drift: xr.DataArray, top: int) -> xr.DataArray:
    """Returns the share of the ``top`` largest drifts in the total; NaN of fewer drifts than that."""
    if drift.sizes["transition"] < top:
        return drift.isel(transition=0, drop=True) * np.nan
    return xr.apply_ufunc(lambda x: np.asarray(drift_concentration(x, top)), drift, input_core_dims=[["transition"]])


def drift_shares(
    at_step: xr.Dataset, reading: Reading, measure: str = "kernel_drift"
) -> dict[int, Float[np.ndarray, "runs *readings"]]:
    """Returns C_1 and C_2 by their numbers, and by 0 the share 1/L of one transition, of every run at one step.

    In one reading or, for an empty one, in all of them.
    """
    drift = at_step[measure].sel(reading)
    if drift.notnull().any():  # shallower stacks are padded with NaN; where every run is dead there is nothing else
        drift = drift.dropna("transition", how="all")
    shape = [size for name, size in drift.sizes.items() if name != "transition"]
    return {
        0: np.full(shape, 1 / drift.sizes["transition"]),
        **{top: np.asarray(concentration(drift, top)) for top in (1, 2)},
    }


def share_above(
    trained: dict[int, np.ndarray], untrained: dict[int, np.ndarray], top: int
) -> Float[np.ndarray, "runs *readings"]:
    """Returns by how much C_top of every trained run exceeds both top/L and its untrained value."""
    return trained[top] - np.maximum(top * trained[0], untrained[top])


def drift_concentrates(runs: xr.Dataset, *places: str) -> Finding:
    """Judges S1-iii on the runs of one mixing and one correlation length."""
    reading = reading_of(runs)
    trained, untrained = drift_shares(final(runs), reading), drift_shares(runs.isel(step=0), reading)
    above = {top: share_above(trained, untrained, top) for top in (1, 2)}
    first = t_interval(above[1])
    controls = {
        **training_controls(final(runs)),
        "largest_transition": control(first.mean, "C_1 above 1/L and above the untrained C_1 as well", first.low > 0),
        "share": information(average(trained[2]), "C_2 of the trained runs"),
        "untrained": information(average(untrained[2]), "C_2 of the untrained runs"),
    }
    return finding(places, runs, (t_interval(above[2]), 0.0, "above"), controls)
