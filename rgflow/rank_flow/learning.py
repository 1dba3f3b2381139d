"""How far training came. It never decides a claim: it stands beside the verdict, in rows and as a covariate.

How much a run learned is an outcome of the run. To leave out runs by an outcome changes the error rate of a verdict;
the verdict is therefore that of all live runs, and what converged or learned runs alone would say is a row beside it.
"""

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float

from rgflow.judging.components import unit_means
from rgflow.judging.decisions import Control, information
from rgflow.judging.points import alive, average
from rgflow.rank_flow.mixing import names_where

CONVERGED_NATS = 0.05
"""Most a loss may exceed the optimum of its own architecture to count as trained, where that optimum is known."""

LEARNED_FRACTION = 0.5
"""Fraction of the attainable information, (L_0 - loss) / (L_0 - L*), from which a run counts as one that learned."""

ATTAINABLE_NATS = 1e-3
"""Where less than this can be learned (independent tokens, random labels), a fraction of it has no meaning."""

FRACTIONS = (0.25, 0.5, 0.75, 0.9)
"""Fractions of the attainable information at which effects are read along training."""

EARLY = 0.1
"""Fraction up to which a run has learned nothing to speak of."""


def final(dataset: xr.Dataset) -> xr.Dataset:
    """Returns the dataset at each run's own last step."""
    return dataset.sel(step=dataset["steps"].astype(int))


def best_loss(at_end: xr.Dataset) -> xr.DataArray:
    """Returns the least loss of a predictor that sees the whole sequence: in closed form, else as sampled."""
    known = at_end["bayes_loss"]
    return known.where(known.notnull(), at_end["loss"] - at_end["excess_loss"])


def learned_fraction(records: xr.Dataset) -> xr.DataArray:
    """Returns the fraction of the attainable information that each run learned; NaN where there is nothing to learn.

    Information counts from the least loss of a network that sees only the scored position itself.
    """
    blind = records["blind_loss"]
    attainable = blind - best_loss(records)
    return ((blind - records["loss"]) / attainable).where(attainable > ATTAINABLE_NATS)


def excess(at_end: xr.Dataset) -> xr.DataArray:
    """Returns each run's loss above the optimum of its architecture (nats), NaN where that is not known.

    Where that optimum has no closed form (mode ``bert``), the optimum given the whole sequence, which is not larger,
    takes its place, unless the mixing cannot come close to it (``optimum_known`` is false).
    """
    known, without = at_end["loss"] - at_end["architecture_loss"], names_where(lambda m: not m.optimum_known)
    return known.where(known.notnull() | at_end["mixing"].isin(without), at_end["excess_loss"])


def converged(at_end: xr.Dataset) -> Bool[np.ndarray, " runs"]:
    """Returns which runs have come close to the optimum of their architecture."""
    return np.asarray(abs(excess(at_end)) < CONVERGED_NATS)


def learned(at_end: xr.Dataset) -> Bool[np.ndarray, " runs"]:
    """Returns which runs have learned half of what there is to learn."""
    return np.asarray(learned_fraction(at_end) >= LEARNED_FRACTION)


def dead(runs: xr.Dataset) -> int:
    """Returns how many runs died."""
    return int((runs["died_at"] >= 0).sum())


def chains_of(runs: xr.Dataset) -> list[float] | None:
    """Returns the number of the chain of every run; None where the records do not tell."""
    return runs["chain_seed"].values.tolist() if "chain_seed" in runs else None


def by_unit(values: Float[np.ndarray, "runs *rest"], runs: xr.Dataset) -> Float[np.ndarray, "units *rest"]:
    """Returns the numbers that are independent of each other: means over the seeds of a chain where they share one.

    Runs that all share one chain stay apart: their interval is for that chain.
    """
    chains = chains_of(runs)
    if chains is None or len(set(chains)) in (1, len(chains)):
        return values
    flat = values.reshape(len(values), -1)
    return np.stack([unit_means(column, chains) for column in flat.T], axis=-1).reshape(-1, *values.shape[1:])


def progress(runs: xr.Dataset) -> dict[str, Control]:
    """Returns how far some runs came, as numbers for information: they block no verdict."""
    at_end = final(alive(runs))
    fraction, chains = finite(learned_fraction(at_end)), chains_of(alive(runs))
    found = {
        "above_optimum": information(
            average(finite(excess(at_end))), "mean loss above the architecture's optimum, nats"
        ),
        "learned": information(average(fraction), "mean share of the attainable information that was learned"),
        "least_learned": information(
            float(fraction.min(initial=np.inf)) if fraction.size else np.nan, "the least of it"
        ),
    }
    if chains is not None:
        count = len(set(chains))
        meaning = "chains" if count > 1 else "chain: the interval is over seeds, for this chain alone"
        found["chains"] = information(count, meaning)
    return found


def at_fraction(
    fractions: Float[np.ndarray, "runs steps"], effects: Float[np.ndarray, "runs steps"], level: float
) -> Float[np.ndarray, " runs"]:
    """Returns the effect of every run where it first reaches a fraction, linear between records; NaN where none does.

    >>> at_fraction(np.array([[0.0, 0.5], [0.0, 0.1]]), np.array([[0.0, -1.0], [0.0, -1.0]]), 0.25).tolist()
    [-0.5, nan]
    """
    found = np.full(len(effects), np.nan)
    for k, (f, x) in enumerate(zip(fractions, effects, strict=True)):
        known = np.isfinite(f) & np.isfinite(x)
        f, x = f[known], x[known]
        above = np.flatnonzero(f >= level)
        if above.size and above[0] > 0:
            j = above[0]
            found[k] = x[j - 1] + (x[j] - x[j - 1]) * (level - f[j - 1]) / (f[j] - f[j - 1])
        elif above.size:
            found[k] = x[0]
    return found


def finite(values: xr.DataArray) -> Float[np.ndarray, " _"]:
    """Returns the values that are numbers."""
    return values.values[np.isfinite(values.values)]
