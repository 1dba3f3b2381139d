"""Figures of any network's layers, from what ``rgflow.probes.measure`` returned: ranks and kernel drift by layer."""

from itertools import pairwise, takewhile

import numpy as np
import xarray as xr

from rgflow.plots.figure import Figure
from rgflow.plots.panel import Panel, Series
from rgflow.probes.kernel import drift_concentration
from rgflow.probes.spectrum import RANK_MEASURES

MEASURES = (*RANK_MEASURES, "numerical_rank")
EMPTY = "undefined in every layer"
States = dict[str, xr.Dataset]
"""The records (run, level, centring, ...) of the untrained and of the trained network, or of the latter alone."""


def figures(dataset: xr.Dataset, name: str = "network", control: str = "untrained") -> list[Figure]:
    """Returns effective rank, every rank measure and kernel drift by layer, named ``NAME_...``.

    The dataset is what ``measure`` returned, or several of these joined along "step" (0 is the untrained network, the
    last the trained one) and "run"; with one step there is nothing to compare. ``control`` is what to call step 0
    where it is another control. There is no drift of a single layer.
    Raises ValueError where there are several steps and the first is not 0.
    """
    states = states_of(dataset)
    names, path = short_names(states["trained"])
    transitions = [f"{a}\u2192{b}" for a, b in pairwise(names)]
    called, about, centrings = {"untrained": control}, about_networks(states), dataset["centring"].values.tolist()

    def panel(title: str, variable: str, centring: str, height: float) -> Panel:
        drift = variable.endswith("drift")
        dim, x, look = ("transition", transitions, " bars") if drift else ("layer", names, "")
        read = {state: records[variable].sel(level="position", centring=centring) for state, records in states.items()}
        series = [Series("", state + look, x, at.transpose("run", dim).values) for state, at in read.items()]
        # With one or two transitions the two largest are all there is.
        if drift and len(x) > 2:
            shares = {s: np.asarray(drift_concentration(at.transpose("run", dim).values, 2)) for s, at in read.items()}
            said = ", ".join(f"{np.nanmean(share):.2f} {called.get(s, s)}" for s, share in shares.items())
            title += f"\n$C_2$ = {said}"
        return Panel(title, series, empty=EMPTY, height=height)

    found = [Figure(
        name=f"{name}_effective_rank", x=f"layer{path}", y="effective rank", scale="log", group="", called=called,
        each_run=True,
        caption=f"Effective rank of every layer, with and without the column mean subtracted. {about}",
        purpose="That training makes the rank fall with depth would be falsified by solid lines that fall no more than "
        "the dashed ones; a fall in the uncentred panel alone is a shift of the mean and no loss of directions.",
        panels=[panel(centring, "effective_rank", centring, 3.4) for centring in centrings],
    ), Figure(
        name=f"{name}_rank_measures", x=f"layer{path}", y="rank", scale="log", group="", called=called, share_y=False,
        caption=f"Five measures of the rank of every layer, uncentred, each on an axis of its own. {about}",
        purpose="That a fall of the effective rank is more than a matter of its definition would be falsified by "
        "measures that disagree; where only stable rank and participation ratio fall, one direction has grown.",
        panels=[panel(measure.replace("_", " "), measure, "uncentred", 2.5) for measure in MEASURES],
    ), Figure(
        name=f"{name}_kernel_drift", x=f"transition{path}", y="kernel drift, 1 - CKA", group="", called=called,
        share_y=False,
        caption=f"Change of the Gram matrix from one layer to the next; C2 is the share of the two largest. {about}",
        purpose="That training concentrates the change would be falsified by filled bars spread evenly over the "
        "transitions, or no more concentrated than the hatched ones.",
        panels=[panel(centring, "kernel_drift", centring, 3.0) for centring in centrings],
    )]  # fmt: skip
    return found if transitions else found[:2]


def states_of(dataset: xr.Dataset) -> States:
    """Returns the records of the first and the last step, called "untrained" and "trained"; the latter if only one."""
    for dim in ("step", "run"):
        dataset = dataset if dim in dataset.dims else dataset.expand_dims(dim)
    if dataset.sizes["step"] == 1:
        return {"trained": dataset.isel(step=0)}
    first = dataset["step"].values[0]
    if first != 0:
        raise ValueError(f"step: {first} is the first; allowed: 0, the untrained network, and one or more after it")
    return {"untrained": dataset.isel(step=0), "trained": dataset.isel(step=-1)}


def about_networks(states: States) -> str:
    """Returns the sentence that says how many networks are behind a figure, and how many of them have diverged."""
    trained = states["trained"]
    runs = trained.sizes["run"]
    broken = [x["effective_rank"].isnull().all(("level", "centring", "layer")) for x in states.values()]
    dead = int(np.any(broken, axis=0).sum())
    text = f"{runs} runs" if runs > 1 else "One run, so no interval"
    text += f" on {trained.attrs['rows']} rows" if "rows" in trained.attrs else ""
    text += "; lines and bars are means over runs with Student's 95 % intervals." if runs > 1 else "."
    return text + (f" Runs without any defined rank: {dead}." if dead else "")


def short_names(records: xr.Dataset) -> tuple[list[str], str]:
    """Returns the names of the layers without the path that all share, and that path, such as " (hidden/\u2026)"."""
    names = records["layer_name"].values.tolist()
    folders = [name.split("/")[:-1] for name in names]
    shared = takewhile(lambda parts: len(set(parts)) == 1, zip(*folders, strict=False))
    path = "".join(f"{parts[0]}/" for parts in shared)
    return [name.removeprefix(path) for name in names], f" ({path}\u2026)" if path else ""
