"""The claims at settings that the source leaves open: masking, place of the norm, activation, tied embeddings, chains.

One setting at a time departs from the config, and every claim is judged there by the same rules, in the main reading.
The summary over all settings, the config's own among them, has one error rate (Holm), as that over all readings.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import xarray as xr

from rgflow.protocol import Verdict
from rgflow.rank_flow import claims, modes, robustness
from rgflow.rank_flow.select import Cells, by_mixing_and_length, claim_runs, setting_runs

OWN = "as configured"
MEASURES = ("effective_rank", "kernel_drift")


def cells_by_setting(dataset: xr.Dataset, config: Any) -> dict[str, Cells]:
    """Returns the runs of every setting by mixing and correlation length; nothing where no setting was varied.

    The config's own come first, for the mixings that were run at other settings.
    """
    departing = {name: by_mixing_and_length(runs) for name, runs in setting_runs(dataset, config).items()}
    mixings = {mixing for cells in departing.values() for mixing in cells}
    own = by_mixing_and_length(claim_runs(dataset, config))
    both: dict[str, Cells] = {OWN: {mixing: at for mixing, at in own.items() if mixing in mixings}, **departing}
    return both if departing else {}


def tests(by_setting: Mapping[str, Cells]) -> Iterator[robustness.Named]:
    """Yields the test of every claim in the main reading at every setting, which is named beside the mixing."""
    for setting, cells in by_setting.items():
        for (claim, mixing, length, *reading), test in robustness.tests(cells):
            level = "pooled" if mixing == "flat" else claims.READING["level"]
            level_is, centring, measure = reading
            if level_is == level and centring == claims.READING["centring"] and measure in MEASURES:
                yield (claim, f"{mixing}, {setting}", length, level_is, centring, measure), test


def verdicts(dataset: xr.Dataset, config: Any) -> list[Verdict]:
    """Judges every claim at every setting that departs from the config, and over all settings together."""
    by_setting = cells_by_setting(dataset, config)
    departing = [(name, cells) for name, cells in by_setting.items() if name != OWN]
    found = [v for name, cells in departing for v in (*claims.in_cells(cells, name), *modes.verdicts(cells, name))]
    return found + robustness.summaries(robustness.decided(tests(by_setting)), "settings")
