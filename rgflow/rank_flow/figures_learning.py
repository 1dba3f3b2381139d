"""The rank against what was learned: when, in the course of training, does the rank fall, and when does it recover?"""

import numpy as np
import xarray as xr

from rgflow.plots.figure import Figure
from rgflow.plots.panel import Guide, Panel, Series
from rgflow.protocol import Results
from rgflow.rank_flow.collapse import collapse_ratio, reading_of
from rgflow.rank_flow.learning import learned_fraction
from rgflow.rank_flow.select import Cell, by_mixing, control_runs, live_cells, some_lengths

FRACTION = "learned fraction of the attainable information"
CENTRINGS = {"uncentred": "trained", "centred": "untrained"}
"""The look of each centring: solid lines and filled points, dashed lines and open points."""


def along_training(cell: Cell, against: str) -> list[Series]:
    """Returns R of one cell at every record, uncentred and centred, against step or mean learned fraction."""
    recorded = cell.runs.dropna("step", how="all", subset=["effective_rank"]).transpose("run", "step", ...)
    if not cell.count:
        return []
    x = recorded["step"].values.astype(float)
    if against == "fraction":
        x = learned_fraction(recorded).mean("run").values
        if np.isnan(x).any():
            return []
    reading, found = reading_of(cell.runs), []
    for centring, kind in CENTRINGS.items():
        ratio: xr.DataArray = collapse_ratio(recorded["effective_rank"].sel({**reading, "centring": centring}))
        found.append(Series(cell.length, kind, x, ratio.transpose("run", "step").values))
    return found


def rank_learned(results: Results, cells: list[Cell], about: str) -> list[Figure]:
    """Returns R against the learned fraction and against the step, for every mixing, and for controls against the step.

    A control without anything to learn has no learned fraction.
    """
    panels = []
    for mixing, mine in by_mixing(some_lengths(cells)).items():
        by_fraction = [series for cell in mine for series in along_training(cell, "fraction")]
        by_step = [series for cell in mine for series in along_training(cell, "step")]
        level = [Guide("no collapse", y=1.0)]
        panels.append(Panel(f"mixing: {mixing}", by_fraction, level, x=FRACTION))
        panels.append(Panel(f"mixing: {mixing}", by_step, level, x="training step (0 = untrained)", x_scale="step"))
    for name, runs in control_runs(results.dataset, results.config).items():
        if name == "none":
            continue
        for mixing, mine in by_mixing(some_lengths(live_cells(runs))).items():
            series = [one for cell in mine for one in along_training(cell, "step")]
            title = f"mixing: {mixing}, {name.replace('_', ' ')}"
            panels.append(Panel(title, series, [Guide("no collapse", y=1.0)], x="training step", x_scale="step"))
    return [Figure(
        name="rank_learned", y="rank ratio R", group="length {:g} tokens", columns=2, share_x=False, share_y=False,
        called={"trained": "uncentred", "untrained": "centred"}, panels=panels,
        caption="Rank of the last layer over that of the first along training, uncentred and centred. Left: against "
        "the share of the attainable information that was learned (mean over runs at each record); right, and for "
        "controls: against the training step. A fall while nothing is learned that is gone after centring is a common "
        f"shift of all rows. {about}",
        falsified_by={
            "S1-i": "curves that stay level",
            "S1-ii": "curves of both lengths that lie together at one learned fraction, and apart at one step only",
        },
    )]  # fmt: skip
