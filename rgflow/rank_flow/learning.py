"""How far training came: the controls that every claim shares, and the finding that rests on them."""

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float

from rgflow.judging.claim import Finding
from rgflow.judging.decisions import Control, Status, control, decide
from rgflow.judging.intervals import Interval
from rgflow.judging.points import average
from rgflow.rank_flow.mixing import names_where

CONVERGED_NATS = 0.05
"""Most a loss may exceed the optimum of its own architecture to count as trained, where that optimum is known."""

LEARNED_FRACTION = 0.5
"""Least fraction of the attainable information, (L_0 - loss) / (L_0 - L*), for a reading as an RG of the data."""

ATTAINABLE_NATS = 1e-3
"""Where less than this can be learned (independent tokens, random labels), a fraction of it has no meaning."""


def final(dataset: xr.Dataset) -> xr.Dataset:
    """Returns the dataset at each run's own last step."""
    return dataset.sel(step=dataset["steps"].astype(int))


def best_loss(at_end: xr.Dataset) -> xr.DataArray:
    """Returns the least loss of a predictor that sees the whole sequence: in closed form, else as sampled."""
    known = at_end["bayes_loss"]
    return known.where(known.notnull(), at_end["loss"] - at_end["excess_loss"])


def learned_fraction(at_end: xr.Dataset) -> xr.DataArray:
    """Returns the fraction of the attainable information that each run learned; NaN where there is nothing to learn.

    Information counts from the least loss of a network that sees only the scored position itself.
    """
    blind = at_end["blind_loss"]
    attainable = blind - best_loss(at_end)
    return ((blind - at_end["loss"]) / attainable).where(attainable > ATTAINABLE_NATS)


def excess(at_end: xr.Dataset) -> xr.DataArray:
    """Returns each run's loss above the optimum of its architecture (nats), NaN where that is not known.

    Where that optimum has no closed form (mode ``bert``), the optimum given the whole sequence, which is not larger,
    takes its place, unless the mixing cannot come close to it (``optimum_known`` is false).
    """
    known, without = at_end["loss"] - at_end["architecture_loss"], names_where(lambda m: not m.optimum_known)
    return known.where(known.notnull() | at_end["mixing"].isin(without), at_end["excess_loss"])


def gate(at_end: xr.Dataset) -> Bool[np.ndarray, " runs"]:
    """Returns which runs are trained and learned something; the others say nothing about selectivity."""
    untrained = abs(excess(at_end)) >= CONVERGED_NATS
    return np.asarray((learned_fraction(at_end) >= LEARNED_FRACTION) & ~untrained)


def training_controls(at_end: xr.Dataset) -> dict[str, Control]:
    """Returns the two controls every claim shares: training converged, and something was learned."""
    above, fraction = finite(excess(at_end)), finite(learned_fraction(at_end))
    close = (
        f"mean loss within {CONVERGED_NATS} nats of the architecture's optimum, every run within {2 * CONVERGED_NATS}"
    )
    enough = f"at least {LEARNED_FRACTION} of the attainable in the mean, half of that in every run"
    known = above.size and above.size == np.isfinite(at_end["loss"].values).sum()
    near = abs(average(above)) < CONVERGED_NATS and abs(above).max(initial=0) < 2 * CONVERGED_NATS
    learned = average(fraction) >= LEARNED_FRACTION and fraction.min(initial=1) >= LEARNED_FRACTION / 2
    return {
        "converged": control(average(above), close if known else f"{close} (not known)", near or not known),
        "information_learned": control(average(fraction), enough, learned),
    }


def finite(values: xr.DataArray) -> Float[np.ndarray, " _"]:
    """Returns the values that are numbers."""
    return values.values[np.isfinite(values.values)]


def finding(places: tuple[str, ...], runs: xr.Dataset, rule: tuple[Interval, float, str], controls: dict) -> Finding:
    """Returns what an interval says against a bound on one side; ``rule`` is (interval, bound, side).

    The ``places`` that are not empty name the place. Runs that are not trained neither support nor contradict a claim.
    """
    interval, bound, side = rule
    dead = int((runs["died_at"] >= 0).sum())
    passed = {name: c["passed"] for name, c in controls.items()}
    status: Status = decide(interval, bound, side, passed) if passed["converged"] else "undecided"
    return Finding(", ".join(filter(None, places)), interval, status, (interval.n, dead), controls)
