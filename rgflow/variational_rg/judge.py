"""What the verdicts of this room share: points of a dataset, last records, controls as plain data, decisions."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float

from rgflow.probes.stats import Interval, Status
from rgflow.protocol import Verdict

Control = dict[str, Any]
Number = float | int | np.floating | np.integer


class Cell(NamedTuple):
    """The runs of one point: its coordinates, the live runs, how many ran and how many died."""

    values: Mapping[str, Any]
    live: xr.Dataset
    runs: int
    dead: int

    def last(self, name: str) -> Float[np.ndarray, "runs ..."]:
        """Return a record at each live run's last step, or what was known of it before it ran."""
        found = self.live[name]
        return np.asarray((found.isel(step=-1) if "step" in found.dims else found).values, np.float64)

    def first(self, name: str) -> Float[np.ndarray, "runs ..."]:
        """Return a record before training."""
        return np.asarray(self.live[name].isel(step=0).values, np.float64)


def cells(dataset: xr.Dataset, system: str) -> Iterator[Cell]:
    """Yield every point of a system in the order in which it first appears."""
    if "system" not in dataset.coords:
        return
    runs = dataset.isel(run=np.flatnonzero(dataset["system"].values == system))
    names = sorted(str(n) for n, c in dataset.coords.items() if c.dims == ("run",) and n not in ("seed", "run"))
    columns = [runs[name].values.tolist() for name in names]
    members: dict[tuple, list[int]] = {}
    for place, row in enumerate(zip(*columns, strict=True)):
        members.setdefault(row, []).append(place)
    for row, places in members.items():
        mine = runs.isel(run=places)
        live = mine.isel(run=np.flatnonzero(mine["died_at"].values < 0))
        # Other systems record at other steps: where nothing was recorded there is nothing to read.
        steps = int(live["steps"].values.max(initial=0)) if "steps" in live else int(live["step"].values[-1])
        yield Cell(dict(zip(names, row, strict=True)), live.sel(step=slice(0, steps)), len(places),
                   len(places) - live.sizes["run"])  # fmt: skip


def control(value: Number, requirement: str, passed: bool | np.bool_) -> Control:
    """Return one control as plain data."""
    return {"value": float(value), "requirement": requirement, "passed": bool(passed)}


def information(value: Number, meaning: str) -> Control:
    """Return a number that belongs beside the verdict and cannot fail."""
    return control(value, f"{meaning} (for information)", True)


def average(values: Float[np.ndarray, "..."]) -> float:
    """Return the mean of what is a number, NaN where nothing is."""
    numbers = values[np.isfinite(values)]
    return float(numbers.mean()) if numbers.size else float("nan")


def unit_medians(values: Float[np.ndarray, "runs layer unit"]) -> Float[np.ndarray, "runs layer"]:
    """Return the median over the units of every layer that have a field; NaN where none has."""
    rows = values.reshape(-1, values.shape[-1])
    middle = [np.median(row[np.isfinite(row)]) if np.isfinite(row).any() else np.nan for row in rows]
    return np.array(middle).reshape(values.shape[:-1])


def equivalent(interval: Interval, margin: float, controls: Mapping[str, Control]) -> Status:
    """Decide "the quantity is 0 up to a margin": supported inside, contradicted outside, undecided across an edge.

    A failed control leaves the claim undecided, also against it: it says that the measurement itself is in doubt.

    >>> equivalent(Interval(0.01, -0.02, 0.04, 5), 0.1, {}), equivalent(Interval(0.5, 0.4, 0.6, 5), 0.1, {})
    ('supported', 'contradicted')
    """
    if not all(c["passed"] for c in controls.values()) or np.isnan([interval.low, interval.high]).any():
        return "undecided"
    if -margin < interval.low and interval.high < margin:
        return "supported"
    return "contradicted" if interval.low > margin or interval.high < -margin else "undecided"


def make_verdict(
    claim: str,
    texts: tuple[str, str],
    interval: Interval,
    status: Status,
    counts: tuple[int, int],
    controls: Mapping[str, Control],
) -> Verdict:
    """Return a verdict; ``texts`` are its statement and what would support it, ``counts`` its runs and dead runs."""
    mean, low, high = (float(x) if np.isfinite(x) else None for x in interval[:3])
    return Verdict(claim, texts[0], status, mean, low, high, texts[1], *counts, dict(controls))


def not_run(claim: str, statement: str, why: str) -> Verdict:
    """Return the verdict on a claim whose runs the sweep lacks."""
    return Verdict(claim, statement, "not_run", None, None, None, why, 0, 0, {})
