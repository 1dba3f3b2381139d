r"""Does the rank follow the number of slow modes? Chains of G blocks have exactly G - 1 of them (ours).

S1-blocks: after training the rank of the stream grows with the number of slow modes of its chain. Statistic: slope of
$\ln \mathrm{rank}$ against $\ln(G - 1)$ over the chains of a seed, trained less untrained; supported above 0. A slope
of 1 is a rank in proportion to G - 1. The rank is that of scored positions, centred, at the last layer: what the stream
knows there comes from the context alone, which is G - 1 numbers.
"""

from collections.abc import Iterator

import numpy as np
import xarray as xr
from jaxtyping import Float

from rgflow.judging.claim import Finding, ruled
from rgflow.judging.components import Component
from rgflow.judging.decisions import information
from rgflow.judging.points import alive, average, where
from rgflow.probes.spectrum import RANK_MEASURES
from rgflow.protocol import Results
from rgflow.rank_flow.learning import dead, final, progress
from rgflow.rank_flow.select import block_runs, by_mixing_and_length

CHANGE = "slope(trained) - slope(untrained)"
SCORED = {"level": "masked", "centring": "centred"}
"""The rows of masked positions: what they hold comes from the context, not from a visible token of their own."""


def last_rank(at_step: xr.Dataset, measure: str) -> xr.DataArray:
    """Returns a rank of every run at scored positions, centred, at its last layer."""
    return at_step[measure].sel(SCORED).isel(layer=at_step["depth"].astype(int))


def slopes(at_step: xr.Dataset, measure: str) -> Float[np.ndarray, " seeds"]:
    """Returns for every seed the slope of ln rank against ln(G - 1); NaN with ranks at fewer than two values of G."""
    modes = np.log(np.asarray(at_step["chain.groups"], np.float64) - 1)
    ranks, seeds = np.log(np.asarray(last_rank(at_step, measure), np.float64)), np.asarray(at_step["seed"])
    found = []
    for seed in np.unique(seeds):
        mine = (seeds == seed) & np.isfinite(ranks)
        several = np.unique(modes[mine]).size > 1
        found.append(np.polyfit(modes[mine], ranks[mine], 1)[0] if several else np.nan)
    return np.array(found)


def rank_follows(runs: xr.Dataset, measure: str, *places: str) -> Finding:
    """Judges S1-blocks on the block chains of one mixing and one correlation length, by one measure of the rank."""
    live = alive(runs)
    at_end = final(live)
    trained, untrained = slopes(at_end, measure), slopes(live.isel(step=0), measure)
    groups = sorted(set(np.asarray(runs["chain.groups"], int).tolist()))
    over = {g: average(np.asarray(last_rank(where(at_end, **{"chain.groups": g}), measure))) / (g - 1) for g in groups}
    controls = {
        "trained": information(average(trained), "slope of the trained runs; 1 is proportional"),
        "untrained": information(average(untrained), "slope of the untrained runs"),
        **{f"over_{g - 1}": information(x, f"rank / (G - 1) at G = {g}") for g, x in over.items()},
        **progress(runs),
    }
    # A seed that lost a run has a slope from the others, or none.
    lost = len(set(runs["seed"].values.tolist())) - int(np.isfinite(trained).sum())

    def part(values: Float[np.ndarray, " seeds"], lost: int = 0, bound: float = 0.0) -> tuple[Component, ...]:
        return (Component(CHANGE, (values[np.isfinite(values)],), "above", bound, dead=(lost,)),)

    rows = {"trained alone": part(trained), "half of proportional (bound 1/2)": part(trained - untrained, 0, 0.5)}
    counts = (live.sizes["run"], dead(runs))
    return ruled(", ".join((*places, measure)), part(trained - untrained, lost), counts, controls, rows)


def on_block_chains(results: Results) -> Iterator[Finding]:
    """Judges S1-blocks for each mixing, length and measure, where chains of several numbers of blocks were run."""
    for mixing, at in by_mixing_and_length(block_runs(results.dataset, results.config)).items():
        for length, runs in at.items():
            several = len(set(runs["chain.groups"].values.tolist())) > 1
            for measure in RANK_MEASURES if several else ():
                if last_rank(final(runs), measure).notnull().any():
                    yield rank_follows(runs, measure, mixing, f"length {length:g}")
