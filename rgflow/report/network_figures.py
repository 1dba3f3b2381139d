"""Figures of any network's layers, from what `rgflow.probes.measure` returned: ranks and kernel drift against depth."""

import dataclasses
from collections.abc import Sequence
from itertools import pairwise, takewhile

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from rgflow.probes.kernel import drift_concentration
from rgflow.probes.spectrum import RANK_MEASURES
from rgflow.report import figures as base
from rgflow.report.figures import Drawn
from rgflow.report.layer_figures import bar_handles, draw_depth, draw_drift, interval_text, line_handles

MEASURES = (*RANK_MEASURES, "numerical_rank")
MEASURE_COLUMNS = 3
LETTERS_PER_INCH = 11
"""Letters of tick labels that fit side by side; names that need more room are turned."""

MOST_NAMES = 24
"""Layer names on one axis; of more layers only every second, third, ... has its name."""


@dataclasses.dataclass(frozen=True)
class Shown:
    """The records (run, level, centring, ...) of the untrained and the trained network, and how they are called."""

    states: dict[str, xr.Dataset]
    control: str
    name: str

    @property
    def trained(self) -> xr.Dataset:
        """Returns the records of the trained network, or of the only one."""
        return self.states["trained"]

    @property
    def centrings(self) -> list[str]:
        """Returns the centrings, in order."""
        return self.trained["centring"].values.tolist()

    @property
    def layers(self) -> list[str]:
        """Returns the names of the layers without the path that all share."""
        return [n.removeprefix(self.path) for n in self.trained["layer_name"].values.tolist()]

    @property
    def path(self) -> str:
        """Returns the path that the names of all layers share, such as "hidden/", or nothing."""
        folders = [name.split("/")[:-1] for name in self.trained["layer_name"].values.tolist()]
        shared = takewhile(lambda parts: len(set(parts)) == 1, zip(*folders, strict=False))
        return "".join(f"{parts[0]}/" for parts in shared)

    def axis_label(self, what: str) -> str:
        """Returns the text below an axis whose ticks have names without the path."""
        return f"{what} ({self.path}\u2026)" if self.path else what

    def read(self, variable: str, centring: str) -> dict[str, xr.DataArray]:
        """Returns a variable of both states at position level."""
        reading = {"level": "position", "centring": centring}
        return {state: records[variable].sel(reading) for state, records in self.states.items()}

    def compare(self, texts: dict[str, str], separator: str = ", ") -> str:
        """Returns one text per state in a row, trained first, each with the state's name where there are two."""
        if len(texts) == 1:
            return texts["trained"]
        return f"{texts['trained']} trained{separator}{texts['untrained']} {self.control}"


def figures(dataset: xr.Dataset, name: str = "network", control: str = "untrained") -> list[Drawn]:
    """Returns effective rank, every rank measure and kernel drift against depth, named ``NAME_...``.

    The dataset is what `measure` returned, or several of these joined along "step" (0 is the untrained network, the
    last the trained one) and "run"; with one step there is nothing to compare. ``control`` is what to call step 0
    where it is another control. There is no drift of a single layer.
    Raises ValueError where there are several steps and the first is not 0.
    """
    shown = Shown(states_of(dataset), control, name)
    with base.style():
        drawn = [effective_rank(shown), rank_measures(shown)]
        if dataset.sizes["transition"]:
            drawn.append(kernel_drift(shown))
        for one in drawn:
            base.settle(one.figure)
    return drawn


def states_of(dataset: xr.Dataset) -> dict[str, xr.Dataset]:
    """Returns the records of the first and the last step, called "untrained" and "trained"; the latter if only one."""
    for dim in ("step", "run"):
        dataset = dataset if dim in dataset.dims else dataset.expand_dims(dim)
    if dataset.sizes["step"] == 1:
        return {"trained": dataset.isel(step=0)}
    first = dataset["step"].values[0]
    if first != 0:
        raise ValueError(f"step: {first} is the first; allowed: 0, the untrained network, and one or more after it")
    return {"untrained": dataset.isel(step=0), "trained": dataset.isel(step=-1)}


def _about(shown: Shown) -> str:
    runs = shown.trained.sizes["run"]
    # A run whose layers are all undefined has diverged; it is in no mean, and the caption has to say so.
    broken = [x["effective_rank"].isnull().all(("level", "centring", "layer")) for x in shown.states.values()]
    dead = int(np.any(broken, axis=0).sum())
    text = f"{runs} runs" if runs > 1 else "One run, so no interval"
    text += f" on {shown.trained.attrs['rows']} rows" if "rows" in shown.trained.attrs else ""
    text += "; lines are means over runs, bands and bars 95 % bootstrap intervals." if runs > 1 else "."
    return text + (f" Runs without any defined rank: {dead}." if dead else "")


def _name_ticks(axes: Axes, names: Sequence[str], columns: int) -> None:
    """Writes names below an axis, turned where they would run into each other."""
    every = -(-len(names) // MOST_NAMES)
    ticks, shown = np.arange(len(names))[::every], list(names)[::every]
    if sum(len(n) + 1 for n in shown) > base.WIDTH_INCHES / columns * LETTERS_PER_INCH:
        axes.set_xticks(ticks, shown, rotation=55, ha="right", rotation_mode="anchor")
    else:
        axes.set_xticks(ticks, shown)


def _ratio_texts(ranks: dict[str, xr.DataArray]) -> dict[str, str]:
    return {state: interval_text((x.isel(layer=-1) / x.isel(layer=0)).values) for state, x in ranks.items()}


def _share_texts(drifts: dict[str, xr.DataArray]) -> dict[str, str]:
    drifts = {state: x.transpose("run", "transition") for state, x in drifts.items()}
    return {state: interval_text(np.asarray(drift_concentration(x.values, 2))) for state, x in drifts.items()}


def effective_rank(shown: Shown) -> Drawn:
    """Draws effective rank against depth, one panel per centring, trained and untrained."""
    names, facts = shown.layers, []
    figure, axes = base.panels(1, len(shown.centrings), 3.6, sharex=True, sharey=True)
    for panel, centring in zip(axes[0], shown.centrings, strict=True):
        ranks = shown.read("effective_rank", centring)
        draw_depth(panel, ranks, base.BLUE, faint=True)
        ratios = _ratio_texts(ranks)
        facts.append(f"{centring}: {shown.compare(ratios)}")
        panel.set(title=f"{centring}\nR = {shown.compare(ratios, chr(10))}", xlabel=shown.axis_label("layer"))
        base.log_axis(panel, "y", (1, 1.5, 2, 3, 4, 5, 7))
        _name_ticks(panel, names, len(shown.centrings))
        if not panel.has_data():
            base.say_empty(panel, "undefined in every layer")
    axes[0, 0].set_ylabel("effective rank")
    if len(shown.states) > 1:
        base.legend(figure, line_handles(shown.control))
    caption = (
        f"Effective rank of every layer, with and without the column mean subtracted. {_about(shown)} Faint lines are "
        f"single runs. R is the rank of {names[-1]!r} over that of {names[0]!r}."
    )
    falsified_by = (
        "That training makes the rank fall with depth would be falsified by solid lines that fall no more than the "
        "dashed ones; a fall in the uncentred panel alone is a shift of the mean and not a loss of directions."
    )
    alt = f"Effective rank against depth, {len(names)} layers. Rank of the last layer over that of the first, "
    alt += "; ".join(facts) + "."
    return Drawn(f"{shown.name}_effective_rank", figure, caption, alt, falsified_by=falsified_by)


def rank_measures(shown: Shown) -> Drawn:
    """Draws every rank measure against depth, uncentred, trained and untrained."""
    figure, axes = base.panels(-(-len(MEASURES) // MEASURE_COLUMNS), MEASURE_COLUMNS, 2.5)
    panels, facts = list(axes.flat), []
    for panel, measure in zip(panels, MEASURES, strict=False):
        ranks = shown.read(measure, "uncentred")
        draw_depth(panel, ranks, base.BLUE, faint=False)
        facts.append(f"{measure}: {shown.compare(_ratio_texts(ranks))}")
        panel.set(title=measure.replace("_", " "), xlabel=shown.axis_label("layer"))
        base.log_axis(panel, "y")
        _name_ticks(panel, shown.layers, MEASURE_COLUMNS)
        if not panel.has_data():
            base.say_empty(panel, "undefined in every layer")
    for panel in panels[len(MEASURES) :]:
        panel.set_axis_off()
    if len(shown.states) > 1:
        base.legend(figure, line_handles(shown.control))
    caption = (
        f"Five measures of the rank of every layer, uncentred, each on a logarithmic axis of its own. {_about(shown)}"
    )
    falsified_by = (
        "That a fall of the effective rank is more than a matter of its definition would be falsified by measures that "
        "disagree; where only those that the largest singular value rules fall (stable rank, participation ratio), one "
        "direction has grown."
    )
    alt = "Five rank measures against depth. Value of the last layer over that of the first, " + "; ".join(facts) + "."
    return Drawn(f"{shown.name}_rank_measures", figure, caption, alt, falsified_by=falsified_by)


def kernel_drift(shown: Shown) -> Drawn:
    """Draws kernel drift per transition, one panel per centring, trained beside untrained."""
    names, facts = shown.layers, []
    # Without the mean the kernels differ far more, so that a common axis would hide the bars of the other panel.
    figure, axes = base.panels(1, len(shown.centrings), 3.2, sharex=True)
    for panel, centring in zip(axes[0], shown.centrings, strict=True):
        drifts = shown.read("kernel_drift", centring)
        draw_drift(panel, drifts, base.BLUE)
        title = centring
        if len(names) > 3:  # with one or two transitions the two largest are all there is
            shares = _share_texts(drifts)
            facts.append(f"{centring}: {shown.compare(shares)}")
            title += f"\n$C_2$ = {shown.compare(shares, chr(10))}"
        panel.set(title=title, xlabel=shown.axis_label("transition"))
        _name_ticks(panel, [f"{a}\u2192{b}" for a, b in pairwise(names)], len(shown.centrings))
        if not any(np.isfinite(drift).any() for drift in drifts.values()):
            base.say_empty(panel, "undefined in every layer")
    axes[0, 0].set_ylabel("kernel drift, 1 - CKA")
    if len(shown.states) > 1:
        base.legend(figure, bar_handles(shown.control))
    caption = (
        f"Change of the Gram matrix from one layer to the next. {_about(shown)} C2 is the share of the two largest in "
        "the total."
    )
    falsified_by = (
        "That training concentrates the change would be falsified by filled bars spread evenly over the transitions, "
        "or no more concentrated than the hatched ones."
    )
    alt = f"Kernel drift between successive layers of {len(names)}."
    alt += " Share of the two largest, " + "; ".join(facts) + "." if facts else ""
    return Drawn(f"{shown.name}_kernel_drift", figure, caption, alt, falsified_by=falsified_by)
