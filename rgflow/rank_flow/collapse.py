r"""Fall of the rank with depth (S1-i), its selectivity in correlation length (S1-ii), data without order (S1-data).

With $R = \mathrm{ER}_L / \mathrm{ER}_0$ and $c = \ln R_{trained} - \ln R_{untrained}$ of the same run, and
$m = -\ln 0.9$, the smallest fall that counts as one:

* S1-i: E c < -m and E ln R_trained < -m.
* S1-ii: E c(short) < -m, E c(long) > -m, and E c(short) - E c(long) < -1/2. The second asks for no fall at the long
  length: a rank that rises there is no collapse.
* S1-data (ours): E c - E c(control) < -m. A network that coarse-grains its data has something to integrate out only
  where the data have scales. A rank that falls as far without them has another cause.

Where the first layer holds no more than a table of tokens (mixer, attention), R counts from the first layer that
mixes positions, $h_1$: before it the rows of all equal tokens are equal, and a ratio to their rank has no meaning.
"""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from jaxtyping import Float

from rgflow.judging.claim import Finding, ruled
from rgflow.judging.components import MARGIN, Component
from rgflow.judging.decisions import Control, information
from rgflow.judging.intervals import kendall_tau
from rgflow.judging.points import alive, average
from rgflow.rank_flow.learning import (
    EARLY,
    FRACTIONS,
    at_fraction,
    by_unit,
    converged,
    dead,
    final,
    learned,
    learned_fraction,
    progress,
)
from rgflow.rank_flow.mixing import names_where

READING = {"level": "position", "centring": "uncentred"}
Reading = Mapping[str, str]
SELECTIVITY_BOUND = -0.5
"""A selective collapse differs between the lengths by a factor of more than $e^{1/2}$."""

ORDERLESS = ("random_labels", "time_shuffled", "iid")
"""Controls whose data have no order that a network could learn."""

CHANGE, RATIO = "ln R(trained) - ln R(untrained)", "ln R(trained)"


def first_layer(ranks: xr.DataArray) -> xr.DataArray | int:
    """Returns the layer that R counts from: 1 where layer 0 is a table of tokens or, for updates, does not exist."""
    mixes: xr.DataArray | bool = False
    if "mixing" in ranks.coords:
        mixes = ranks["mixing"].isin(names_where(lambda m: m.sublayer is not None))
    of_update: xr.DataArray | bool = ranks["level"] == "update" if "level" in ranks.coords else False
    found = mixes | of_update
    return found.astype(int) if isinstance(found, xr.DataArray) else 0


def collapse_ratio(ranks: xr.DataArray, skipped: int = 0) -> xr.DataArray:
    r"""Returns $R = \mathrm{ER}_L / \mathrm{ER}_0$ along the layer dimension, from :func:`first_layer` on.

    Each run is read at the layer that its coordinate ``depth`` names, if it has one. Where the rank is undefined there,
    so is R: a missing rank does not mean that the stack ends earlier. ``skipped`` layers more are left out in front.
    """
    depth = ranks.coords.get("depth")
    last = ranks.isel(layer=-1 if depth is None else depth.astype(int))
    return last / ranks.isel(layer=first_layer(ranks) + skipped)


def reading_of(runs: xr.Dataset) -> Reading:
    """Returns the main reading of some runs of one mixing: position level, or pooled without a stream per position."""
    pooled = runs["mixing"].isin(names_where(lambda m: not m.per_position)).all()
    return {**READING, "level": "pooled"} if pooled else READING


def log_ratio(
    records: xr.Dataset, reading: Reading, measure: str = "effective_rank", skipped: int = 0
) -> Float[np.ndarray, "runs *rest"]:
    """Returns ln R of every run, in one reading (or, for an empty one, in all of them), at the records there are."""
    return np.log(np.asarray(collapse_ratio(records[measure].sel(reading), skipped)))


def falling(ranks: Float[np.ndarray, "runs layers"]) -> Float[np.ndarray, " runs"]:
    """Returns Kendall's tau of the rank with depth for every run, NaN where there is no trend."""
    return np.array([kendall_tau(values[np.isfinite(values)]) for values in ranks])


def ratio_change(
    runs: xr.Dataset, reading: Reading, measure: str = "effective_rank", skipped: int = 0
) -> Float[np.ndarray, "runs *readings"]:
    """Returns c of every run, in one reading or, for an empty one, in all of them."""
    trained, untrained = (log_ratio(x, reading, measure, skipped) for x in (final(runs), runs.isel(step=0)))
    return trained - untrained


def falls(
    change: Float[np.ndarray, " units"], ratio: Float[np.ndarray, " units"], lost: int, margin: float = MARGIN
) -> tuple[Component, ...]:
    """Returns the parts of S1-i; ``lost`` runs died."""
    return (
        Component(CHANGE, (change,), "below", -margin, dead=(lost,)),
        Component(RATIO, (ratio,), "below", -margin, dead=(lost,)),
    )


def selective(
    short: Float[np.ndarray, " units"],
    long: Float[np.ndarray, " others"],
    lost: tuple[int, int],
    margin: float = MARGIN,
    difference: float = SELECTIVITY_BOUND,
) -> tuple[Component, ...]:
    """Returns the parts of S1-ii from the changes at the short and at the long length."""
    return (
        Component("S = c(short) - c(long)", (short, long), "below", difference, (1.0, -1.0), lost),
        Component("c(short)", (short,), "below", -margin, dead=lost[:1]),
        Component("c(long)", (long,), "above", -margin, dead=lost[1:]),
    )


def _change_along(runs: xr.Dataset, reading: Reading) -> tuple[np.ndarray, np.ndarray]:
    """Returns the learned fraction and c of every run at every record, [runs, steps]."""
    recorded = runs.transpose("run", "step", ...)
    ratios = np.asarray(collapse_ratio(recorded["effective_rank"].sel(reading)).transpose("run", "step"), np.float64)
    fractions = np.asarray(learned_fraction(recorded).transpose("run", "step"), np.float64)
    return fractions, np.log(ratios) - np.log(ratios[:, :1])


def _one(name: str, values: np.ndarray, side: str = "below", bound: float = -MARGIN) -> tuple[Component, ...]:
    return (Component(name, (values[np.isfinite(values)],), side, bound),)  # type: ignore[arg-type]


def rows_along_training(runs: xr.Dataset, reading: Reading) -> dict[str, tuple[Component, ...]]:
    """Returns c where the runs have learned some fraction of what there is, and what of it was there before."""
    fractions, change = _change_along(runs, reading)
    found = {}
    for level in FRACTIONS:
        there = at_fraction(fractions, change, level)
        count = int(np.isfinite(there).sum())
        found[f"at a learned fraction of {level:g}, reached by {count} of {len(there)} runs"] = _one(CHANGE, there)
    early, end = at_fraction(fractions, change, EARLY), ratio_change(runs, reading)
    found[f"since a learned fraction of {EARLY:g}"] = _one("change since", end - early)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = early / end
    found[f"share of the change present at a learned fraction of {EARLY:g}"] = _one("share", share, "above", 0.5)
    return {name: parts for name, parts in found.items() if parts[0].groups[0].size}


def rows_of_fall(runs: xr.Dataset) -> dict[str, tuple[Component, ...]]:
    """Returns S1-i of live runs with one choice of its rule changed."""
    reading, at_end = reading_of(runs), final(runs)
    change, ratio = ratio_change(runs, reading), log_ratio(at_end, reading)
    of_change, of_ratio = (by_unit(x, runs) for x in (change, ratio))
    found = {
        "any fall (bound 0)": falls(of_change, of_ratio, 0, 0.0),
        "a fall of twice the size (bound 2m)": falls(of_change, of_ratio, 0, 2 * MARGIN),
        "trained alone": falls(of_change, of_ratio, 0)[1:],
        "Kendall tau with depth": _one("tau", falling(np.asarray(at_end["effective_rank"].sel(reading))), "below", 0.0),
    }
    if runs["effective_rank"].sizes["layer"] > 3:
        later, there = ratio_change(runs, reading, skipped=1), log_ratio(at_end, reading, skipped=1)
        found["without the first block"] = falls(by_unit(later, runs), by_unit(there, runs), 0)
    for name, keep in (("converged runs only", converged(at_end)), ("runs that learned half only", learned(at_end))):
        if keep.any() and not keep.all():
            found[f"{name}: {keep.sum()} of {keep.size}"] = falls(change[keep], ratio[keep], 0)
    return found | rows_along_training(runs, reading)


def rank_falls(runs: xr.Dataset, *places: str) -> Finding:
    """Judges S1-i on the runs of one mixing and one correlation length."""
    live, reading = alive(runs), reading_of(runs)
    at_end = final(live)
    change, ratio = ratio_change(live, reading), log_ratio(at_end, reading)
    controls = {
        **progress(runs),
        "ratio": information(average(np.exp(ratio)), "R of the trained runs"),
        "untrained": information(average(np.exp(ratio - change)), "R of the untrained runs"),
    }
    parts = falls(by_unit(change, live), by_unit(ratio, live), dead(runs))
    rows = rows_of_fall(live) if live.sizes["run"] else {}
    return ruled(_place(places), parts, _counts(runs), controls, rows)


def _place(places: tuple[str, ...]) -> str:
    return ", ".join(filter(None, places))


def _counts(*groups: xr.Dataset) -> tuple[int, int]:
    """Returns the live runs of the smallest group, and all dead ones."""
    return min(x.sizes["run"] - dead(x) for x in groups), sum(map(dead, groups))


def rows_of_selectivity(short: xr.Dataset, long: xr.Dataset) -> dict[str, tuple[Component, ...]]:
    """Returns S1-ii of live runs with one choice of its rule changed."""
    reading, none = reading_of(short), (0, 0)
    changes = [ratio_change(x, reading) for x in (short, long)]
    trained = [by_unit(log_ratio(final(x), reading), x) for x in (short, long)]
    at_short, at_long = (by_unit(x, runs) for x, runs in zip(changes, (short, long), strict=True))
    within = Component("c(long)", (at_long,), "within", MARGIN)
    found = {
        "trained alone": selective(trained[0], trained[1], none),
        "no rise at the long length either": (*selective(at_short, at_long, none)[:2], within),
        "a difference of m suffices": selective(at_short, at_long, none, difference=-MARGIN),
        "any fall (bound 0)": selective(at_short, at_long, none, margin=0.0),
        "a fall of twice the size (bound 2m)": selective(at_short, at_long, none, margin=2 * MARGIN),
    }
    for name, which in (("converged runs only", converged), ("runs that learned half only", learned)):
        keep = [which(final(x)) for x in (short, long)]
        if all(k.any() for k in keep) and not all(k.all() for k in keep):
            left = [x[k] for x, k in zip(changes, keep, strict=True)]
            found[f"{name}: {keep[0].sum()} and {keep[1].sum()}"] = selective(left[0], left[1], none)
    return found


def collapse_is_selective(short: xr.Dataset, long: xr.Dataset, *places: str) -> Finding:
    """Judges S1-ii on the runs of one mixing at the shortest and the longest correlation length."""
    pair, reading = [alive(short), alive(long)], reading_of(short)
    changes = [by_unit(ratio_change(x, reading), x) for x in pair]
    ratios = [average(np.exp(log_ratio(final(x), reading))) for x in pair]
    controls: dict[str, Control] = {
        "ratio_short": information(ratios[0], "R of the trained runs at the short length"),
        "ratio_long": information(ratios[1], "R of the trained runs at the long length"),
    }
    for name, runs in (("short", short), ("long", long)):
        controls |= {f"{key}_{name}": value for key, value in progress(runs).items()}
    parts = selective(changes[0], changes[1], (dead(short), dead(long)))
    rows = rows_of_selectivity(*pair) if all(x.sizes["run"] for x in pair) else {}
    return ruled(_place(places), parts, _counts(short, long), controls, rows)


def owed_to_order(runs: xr.Dataset, without: xr.Dataset, name: str, *places: str) -> Finding:
    """Judges S1-data on the runs of one mixing and length beside those under one control."""
    pair, reading = [alive(runs), alive(without)], reading_of(runs)
    changes = [by_unit(ratio_change(x, reading), x) for x in pair]
    controls = {
        "change": information(average(changes[0]), "c on the chain"),
        name: information(average(changes[1]), "c under the control"),
        **progress(runs),
    }

    def parts(margin: float, lost: tuple[int, ...] = (0, 0)) -> tuple[Component, ...]:
        return (Component("c - c(control)", (changes[0], changes[1]), "below", -margin, (1.0, -1.0), lost),)

    rows = {"any difference (bound 0)": parts(0.0), "twice the size (bound 2m)": parts(2 * MARGIN)}
    lost = (dead(runs), dead(without))
    return ruled(_place((*places, name)), parts(MARGIN, lost), _counts(runs, without), controls, rows)
