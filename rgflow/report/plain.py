"""The figure of a sweep whose experiment is not at hand: every number per run and step, against the steps."""

import itertools
import re

import xarray as xr

from rgflow.judging.points import split_points
from rgflow.plots.figure import Figure
from rgflow.plots.panel import Panel, Series

MOST_PANELS, MOST_POINTS = 9, 24
"""More panels than this are not looked at, and more points cannot be told apart."""


def figures(dataset: xr.Dataset) -> list[Figure]:
    """Returns one figure with a panel for each record that is one number per run; none without such a record."""
    points = list(itertools.islice(split_points(dataset), MOST_POINTS))
    # A name may be anybody's: what is no word could be read as a formula.
    shown = [str(n) for n, v in dataset.data_vars.items() if v.dims == ("run", "step") and v.dtype.kind == "f"]
    panels = []
    for name in [name for name in shown if re.fullmatch(r"\w+", str(name), re.ASCII)][:MOST_PANELS]:
        series = [Series(k, "measured", p.live["step"].values, p.live[name].values) for k, p in enumerate(points, 1)]
        if any(one.found for one in series):
            panels.append(Panel(name, series))
    caption = f"Means over runs of every number that was recorded, for the first {len(points)} points in their order."
    purpose = "It is drawn from results.nc or the records, without the code of the experiment."
    figure = Figure("records", caption, panels, purpose=purpose, x="step", group="point {}", share_y=False)
    return [figure] if panels else []
