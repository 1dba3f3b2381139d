"""S1-i, S1-ii and S1-iii in every reading: the typical one, and all of them beside it.

The source does not say which rows to take, whether to centre them or which rank to measure. Every combination of level,
centring and measure is a reading of the same runs. The verdict at a place is that of the typical reading, in which the
number of every run is its median over readings, unless Holm's method shows readings in both directions.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from rgflow.judging.claim import Finding, ruled
from rgflow.judging.components import Component
from rgflow.judging.decisions import information
from rgflow.judging.points import alive
from rgflow.judging.readings import RESOLUTION, Shown, Specification, judged, overall_readings, spread, typical
from rgflow.probes.spectrum import RANK_MEASURES
from rgflow.rank_flow.collapse import falls, log_ratio, ratio_change, selective
from rgflow.rank_flow.drift import concentrates, drift_shares
from rgflow.rank_flow.learning import by_unit, dead, final
from rgflow.rank_flow.select import Cells, by_mixing_and_length, claim_runs, setting_runs

DRIFT_MEASURES = ("kernel_drift", "frobenius_drift")
ALL_READINGS = "all readings"
"""How the place begins of the verdict over all readings: that of the typical one."""

OWN = "as configured"
"""The setting that departs from the config in nothing."""


class Place(NamedTuple):
    """All readings of one claim at one place of the sweep, with the runs that live and that died there."""

    claim: str
    place: str
    specifications: tuple[Specification, ...]
    counts: tuple[int, int]

    @property
    def shown(self) -> list[Shown]:
        """Every reading with its interval and status."""
        return judged(self.specifications)


def _each_reading(runs: xr.Dataset) -> Iterator[tuple[dict[str, str], tuple[int, int]]]:
    """Yields the factors of every reading of one measure, and where an array [.., level, centring] holds it."""
    for i, level in enumerate(runs["level"].values.tolist()):
        for j, centring in enumerate(runs["centring"].values.tolist()):
            yield {"level": level, "centring": centring}, (i, j)


def _specified(factors: dict[str, str], parts: tuple[Component, ...]) -> Specification:
    """Returns a reading, without any number where training changed nothing: a constant stream has no effect."""
    if all(np.abs(x[np.isfinite(x)]).max(initial=0.0) < RESOLUTION for x in parts[0].groups):
        parts = tuple(dataclasses.replace(p, groups=tuple(x * np.nan for x in p.groups)) for p in parts)
    return Specification(factors, parts)


def readings_of_fall(runs: xr.Dataset) -> tuple[Specification, ...]:
    """Returns S1-i in every reading."""
    live, found = alive(runs), []
    for measure in RANK_MEASURES:
        change = by_unit(ratio_change(live, {}, measure), live)
        ratio = by_unit(log_ratio(final(live), {}, measure), live)
        for factors, (i, j) in _each_reading(live):
            parts = falls(change[:, i, j], ratio[:, i, j], dead(runs))
            found.append(_specified({**factors, "measure": measure}, parts))
    return tuple(found)


def readings_of_drift(runs: xr.Dataset) -> tuple[Specification, ...]:
    """Returns S1-iii in every reading."""
    live, found = alive(runs), []
    for measure in DRIFT_MEASURES:
        trained, untrained = (drift_shares(x, {}, measure)[2] for x in (final(live), live.isel(step=0)))
        gain, share = by_unit(trained - untrained, live), by_unit(trained, live)
        for factors, (i, j) in _each_reading(live):
            parts = concentrates(gain[:, i, j], share[:, i, j], dead(runs))
            found.append(_specified({**factors, "measure": measure}, parts))
    return tuple(found)


def readings_of_selectivity(short: xr.Dataset, long: xr.Dataset) -> tuple[Specification, ...]:
    """Returns S1-ii in every reading."""
    pair, lost, found = [alive(short), alive(long)], (dead(short), dead(long)), []
    for measure in RANK_MEASURES:
        changes = [by_unit(ratio_change(x, {}, measure), x) for x in pair]
        for factors, (i, j) in _each_reading(pair[0]):
            parts = selective(changes[0][:, i, j], changes[1][:, i, j], lost)
            found.append(_specified({**factors, "measure": measure}, parts))
    return tuple(found)


def places(cells: Cells) -> list[Place]:
    """Returns every reading of every claim at every place, for runs by mixing and correlation length."""
    found = []
    for mixing, at in cells.items():
        for length, runs in at.items():
            place, counts = f"{mixing}, length {length:g}", (runs.sizes["run"] - dead(runs), dead(runs))
            if counts[0]:
                found.append(Place("S1-i", place, readings_of_fall(runs), counts))
                found.append(Place("S1-iii", place, readings_of_drift(runs), counts))
        if len(at) > 1:
            short, *_, long = at.values()
            live = [x.sizes["run"] - dead(x) for x in (short, long)]
            if min(live):
                counts = (min(live), dead(short) + dead(long))
                found.append(Place("S1-ii", mixing, readings_of_selectivity(short, long), counts))
    return found


def over_readings(place: Place) -> Finding:
    """Returns the verdict on all readings of a claim at a place: that of the typical one, with the others beside it."""
    parts, shown = typical(place.specifications), place.shown
    if not parts:
        nothing = {"undefined": information(len(shown), "readings, none of them defined")}
        return ruled(f"{ALL_READINGS}, {place.place}", place.specifications[0].components, place.counts, nothing)
    side, bound = parts[0].side, parts[0].bound
    claimed = lambda x: x < bound if side == "below" else x > bound  # noqa: E731
    found = ruled(f"{ALL_READINGS}, {place.place}", parts, place.counts, spread(shown, claimed))
    return found._replace(status=overall_readings(found.status, [one.status for one in shown]))


def cells_by_setting(dataset: xr.Dataset, config: Any) -> dict[str, Cells]:
    """Returns the runs of every setting by mixing and correlation length; nothing where no setting was varied.

    The config's own come first, for the mixings that were run at other settings.
    """
    departing = {name: by_mixing_and_length(runs) for name, runs in setting_runs(dataset, config).items()}
    mixings = {mixing for cells in departing.values() for mixing in cells}
    own = by_mixing_and_length(claim_runs(dataset, config))
    both: dict[str, Cells] = {OWN: {mixing: at for mixing, at in own.items() if mixing in mixings}, **departing}
    return both if departing else {}
