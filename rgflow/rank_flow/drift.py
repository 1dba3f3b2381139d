r"""Concentration of the kernel drift on one or two transitions (S1-iii).

With $C_m$ the share of the m largest drifts in the total: E[C_2(trained) - C_2(untrained)] > 0.05 over runs and
E C_2(trained) > 1/2. Any drifts have $C_m \ge m/L$.
"""

import numpy as np
import xarray as xr
from jaxtyping import Float

from rgflow.judging.claim import Finding, ruled
from rgflow.judging.components import Component
from rgflow.judging.decisions import information
from rgflow.judging.points import alive, average
from rgflow.probes.kernel import drift_concentration
from rgflow.rank_flow.collapse import Reading, reading_of
from rgflow.rank_flow.learning import by_unit, dead, final, progress

GAIN = 0.05
"""The smallest gain of a share that counts as one."""

MAJORITY = 0.5


def concentration(drift: xr.DataArray, top: int) -> xr.DataArray:
    """Returns the share of the ``top`` largest drifts in the total; NaN of fewer drifts than that."""
    if drift.sizes["transition"] < top:
        return drift.isel(transition=0, drop=True) * np.nan
    return xr.apply_ufunc(lambda x: np.asarray(drift_concentration(x, top)), drift, input_core_dims=[["transition"]])


def drift_shares(
    at_step: xr.Dataset, reading: Reading, measure: str = "kernel_drift"
) -> dict[int, Float[np.ndarray, "runs *readings"]]:
    """Returns C_1 and C_2 by their numbers of every run at one step, in one reading or, for an empty one, in all."""
    drift = at_step[measure].sel(reading)
    if drift.notnull().any():  # shallower stacks are padded with NaN; where every run is dead there is nothing else
        drift = drift.dropna("transition", how="all")
    return {top: np.asarray(concentration(drift, top), np.float64) for top in (1, 2)}


def concentrates(
    gain: Float[np.ndarray, " units"], share: Float[np.ndarray, " units"], lost: int, least: float = GAIN, top: int = 2
) -> tuple[Component, ...]:
    """Returns the parts of S1-iii; ``lost`` runs died."""
    return (
        Component(f"C_{top}(trained) - C_{top}(untrained)", (gain,), "above", least, dead=(lost,)),
        Component(f"C_{top}(trained)", (share,), "above", MAJORITY, dead=(lost,)),
    )


def drift_concentrates(runs: xr.Dataset, *places: str) -> Finding:
    """Judges S1-iii on the runs of one mixing and one correlation length."""
    live, reading = alive(runs), reading_of(runs)
    trained, untrained = drift_shares(final(live), reading), drift_shares(live.isel(step=0), reading)
    gain = {top: by_unit(trained[top] - untrained[top], live) for top in trained}
    share = {top: by_unit(x, live) for top, x in trained.items()}
    controls = {
        "share": information(average(trained[2]), "C_2 of the trained runs"),
        "untrained": information(average(untrained[2]), "C_2 of the untrained runs"),
        **progress(runs),
    }
    rows = {
        "any gain (bound 0)": concentrates(gain[2], share[2], 0, 0.0),
        "the largest drift alone (C_1)": concentrates(gain[1], share[1], 0, top=1),
    }
    counts = (live.sizes["run"], dead(runs))
    place = ", ".join(filter(None, places))
    return ruled(place, concentrates(gain[2], share[2], dead(runs)), counts, controls, rows)
