"""Which runs belong together: the points of a sweep, and the places at which a claim is judged.

* Studies ``cases``, ``hmc`` and ``data``: points that are unlike each other, each a place of its own; every other study
  of chains on linear networks is one place.
* ``width`` and ``depth``: one place for each sigma2, its points differing in the swept quantity alone.
* ``relu`` and ``trained``: each point is a place.
"""

from collections.abc import Iterator

import xarray as xr

from rgflow.judging.points import grouped
from rgflow.kernel_rg.observables import Pooled, kept_steps, pool
from rgflow.protocol import Results

EACH_POINT = ("cases", "hmc", "data")
"""Studies whose points are unlike each other, each judged by itself."""

NOT_LINEAR_CHAINS = ("relu", "trained")


def complete(dataset: xr.Dataset) -> xr.Dataset:
    """Returns the results with every step at which a run was to record; what a sweep has not reached is NaN."""
    names = ("sampler", "steps", "burn_in", "records")
    schedules = {tuple(row) for row in zip(*(dataset[name].values.tolist() for name in names), strict=True)}
    needed = {step for row in schedules for step in kept_steps(dict(zip(names, row, strict=True)))}
    present = set(dataset["step"].values.tolist())
    return dataset if needed <= present else dataset.reindex(step=sorted(needed | present))


def points(results: Results) -> list[Pooled]:
    """Returns every point, its runs pooled, in the order of the dataset; ask for it by ``results.once(points)``."""
    return [pool(values, runs) for values, runs in grouped(complete(results.dataset))]


def of_study(results: Results, *names: str) -> list[Pooled]:
    """Returns the points of some studies."""
    return [p for p in results.once(points) if p.values["study"] in names]


def place(point: Pooled) -> str:
    """Returns what tells a point from the others of its study."""
    v = point.values
    parts = [f"N = {v['width']:g}", f"L = {v['depth']:g}", f"P = {v['num_train']:g}", f"sigma2 = {v['sigma2']:g}"]
    parts += [f"T = {v['temperature']:g}"]
    parts += [f"labels x {v['label_scale']:g}"] if v["study"] in ("relu", "trained") else []
    parts += [str(v["data"])] if v["study"] == "data" else []
    parts += [f"data set {v['data_seed']:g}"] if v["data_seed"] else []
    return f"{v['study']}: {', '.join(parts)}"


def by_study(results: Results) -> dict[str, list[Pooled]]:
    """Returns the points of every study, studies in the order of the dataset."""
    found: dict[str, list[Pooled]] = {}
    for point in results.once(points):
        found.setdefault(str(point.values["study"]), []).append(point)
    return found


def chains(results: Results) -> Iterator[tuple[str, list[Pooled]]]:
    """Yields the places where chains of linear networks are compared with theory, and their points."""
    for study, found in by_study(results).items():
        if study in EACH_POINT:
            yield from ((place(point), [point]) for point in found)
        elif study not in NOT_LINEAR_CHAINS:
            yield study, found


def swept(results: Results, study: str) -> Iterator[tuple[str, list[Pooled]]]:
    """Yields the places of a study whose points differ in one quantity for each sigma2, points along that quantity."""
    found = sorted(of_study(results, study), key=lambda p: p.values[study])
    for value in sorted({float(p.values["sigma2"]) for p in found}):
        members = [p for p in found if p.values["sigma2"] == value]
        if len(members) > 1:
            yield f"sigma2 = {value:g}", members


def single(results: Results, study: str) -> Iterator[tuple[str, Pooled]]:
    """Yields every point of a study as a place."""
    yield from ((place(point), point) for point in of_study(results, study))


def decayed(results: Results) -> Iterator[tuple[str, Pooled]]:
    """Yields every point that was trained with weight decay as a place."""
    yield from ((name, p) for name, p in single(results, "trained") if p.values["temperature"] > 0)


def whole(results: Results, study: str) -> Iterator[tuple[str, list[Pooled]]]:
    """Yields all points of a study as one place, where there are any."""
    if found := of_study(results, study):
        yield study, found
