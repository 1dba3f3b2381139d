"""S1-blocks: does the rank follow the number of slow modes? On runs made by hand."""

import numpy as np
import pytest
import xarray as xr
from test_rank_flow_verdict import LAYERS, dataset, kill, verdicts

from rgflow.rank_flow import blocks

SPREAD = np.exp(np.linspace(-0.02, 0.02, 8))


def chains(slope, untrained_slope=0.0, groups=(2, 4, 8), factor=3.0):
    """Runs over block chains whose rank at the last layer is a power of the number of slow modes."""
    parts = []
    for k, g in enumerate(groups):
        data = dataset(0.5).assign_coords({
            "chain.kind": ("run", ["block"] * 8), "chain.groups": ("run", np.full(8, g)),
        })  # fmt: skip
        # Each seed has its own slope; the level matters to nobody.
        power = slope * SPREAD if k else slope * np.ones(8)
        data["effective_rank"][:, 1:, 1, 1, -1] = factor * (g - 1) ** power[:, None]
        data["effective_rank"][:, 0, 1, 1, -1] = factor * (g - 1) ** untrained_slope
        parts.append(data)
    return xr.concat(parts, "run")


def judged(*parts):
    found = verdicts(xr.concat([dataset(0.3), *parts], "run"), only="S1-blocks")
    return {v.claim: v for v in found if v.claim.startswith("S1-blocks [")}


@pytest.mark.parametrize(
    ("slope", "untrained", "status"), [(1.0, 0.0, "supported"), (0.5, 0.5, "undecided"), (0.1, 0.6, "contradicted")]
)
def test_slopes_are_compared_with_those_before_training(slope, untrained, status):
    one = judged(chains(slope, untrained))["S1-blocks [window, length 1, effective_rank]"]
    assert one.status == status
    assert one.measured == pytest.approx(slope - untrained, abs=1e-3)
    assert one.controls["trained"]["value"] == pytest.approx(slope, abs=1e-3)
    assert one.controls["over_1"]["value"] == pytest.approx(3.0)


def test_every_measure_is_judged_and_needs_two_numbers_of_groups():
    assert {name.split(", ")[-1] for name in judged(chains(1.0))} == {
        "effective_rank]", "energy_rank]", "participation_ratio]", "stable_rank]",
    }  # fmt: skip
    assert judged(chains(1.0, groups=(4,))) == {}


def test_a_stream_that_is_constant_at_scored_positions_is_not_judged():
    constant = chains(1.0)
    for name in ("effective_rank", "energy_rank", "participation_ratio", "stable_rank"):
        constant[name][:, :, 1, 1] = np.nan
    assert judged(constant) == {}


def test_a_dead_run_leaves_its_seed_the_other_chains():
    data = kill(chains(1.0), 0)
    one = judged(data)["S1-blocks [window, length 1, effective_rank]"]
    # Of 24 runs one died; its seed has a slope from the other two chains.
    assert (one.n_runs, one.n_dead, one.status) == (23, 1, "supported")
    alone = blocks.slopes(data.isel(step=-1, run=slice(0, 8)), "effective_rank")
    assert alone.shape == (8,) and np.isnan(alone).all()
    assert data.sizes["layer"] == LAYERS
