"""The decision rules on datasets made by hand, where the right answer is known."""

import numpy as np
import pytest
import xarray as xr

from rgflow.rank_flow import probe, verdict

LAYERS, STEPS = 7, (0, 50, 100)


def dataset(trained_ratio, untrained_ratio=0.9, runs=8, loss=1.0, drift=(0.5, 0.1, 0.02, 0.02, 0.02, 0.02), length=1.0):
    """Runs whose rank falls geometrically to the given ratio, with 1 % of spread over runs."""
    spread = 1 + 0.01 * np.linspace(-1, 1, runs)
    shape = (runs, len(STEPS), len(probe.LEVELS), len(probe.CENTRINGS))
    rank, moved = np.empty((*shape, LAYERS)), np.empty((*shape, LAYERS - 1))
    rank[:, 0] = 20 * (untrained_ratio * spread)[:, None, None, None] ** np.linspace(0, 1, LAYERS)
    rank[:, 1:] = 20 * (trained_ratio * spread)[:, None, None, None, None] ** np.linspace(0, 1, LAYERS)
    moved[:, 0], moved[:, 1:] = np.linspace(0.2, 0.1, LAYERS - 1), drift
    dims = ("run", "step", "level", "centring")
    one = np.ones(runs)
    return xr.Dataset(
        {
            "effective_rank": ((*dims, "layer"), rank),
            "kernel_drift": ((*dims, "transition"), moved),
            "loss": (("run", "step"), np.broadcast_to(loss, (runs, len(STEPS))).astype(float)),
            "stationary_entropy": ("run", 2.7 * one),
            "bayes_loss": ("run", 0.98 * one),
            "architecture_loss": ("run", 0.99 * one),
            "steps": ("run", 100.0 * one),
            "died_at": ("run", np.full(runs, -1)),
        },
        {
            "step": list(STEPS), "level": list(probe.LEVELS), "centring": list(probe.CENTRINGS),
            "layer": np.arange(LAYERS), "transition": np.arange(LAYERS - 1), "seed": ("run", np.arange(runs)),
            "mixing": ("run", ["window"] * runs), "correlation_length": ("run", length * one),
        },
    )  # fmt: skip


def kill(data, run):
    dead = data.copy(deep=True)
    for name in ("effective_rank", "kernel_drift", "loss"):
        dead[name][run, 1:] = np.nan
    dead["died_at"][run] = 70
    return dead


@pytest.mark.parametrize(("ratio", "status"), [(0.3, "supported"), (1.5, "contradicted"), (0.9, "undecided")])
def test_rank_falls(ratio, status):
    judged = verdict.rank_falls(dataset(ratio))
    assert judged.status == status
    assert judged.n_runs == 8
    assert judged.measured == pytest.approx(np.log(ratio / 0.9), abs=1e-6)
    assert judged.low <= judged.measured <= judged.high


def test_network_that_learned_nothing_supports_nothing():
    blind = dataset(0.3, loss=2.7)
    blind["architecture_loss"][:] = 2.7
    judged = verdict.rank_falls(blind)
    assert judged.status == "undecided"
    assert judged.controls["converged"]["passed"]
    assert not judged.controls["information_learned"]["passed"]
    assert judged.high < 0


def test_untrained_network_contradicts_nothing_either():
    assert verdict.rank_falls(dataset(1.5, loss=2.0)).status == "undecided"


def test_rank_that_rises_and_falls_is_not_monotone():
    humped = dataset(0.3)
    humped["effective_rank"][:, 1:, ..., 1:-1] = np.linspace(30, 60, LAYERS - 2)
    judged = verdict.rank_falls(humped)
    assert not judged.controls["monotone"]["passed"]
    assert judged.status == "undecided"


@pytest.mark.parametrize(
    ("drift", "status"),
    [((0.9, 0.05, 0.01, 0.01, 0.01, 0.01), "supported"), ((0.1,) * 6, "contradicted")],
)
def test_drift_concentrates(drift, status):
    assert verdict.drift_concentrates(dataset(0.3, drift=drift)).status == status


def test_drift_as_concentrated_as_before_training_is_no_effect_of_training():
    judged = verdict.drift_concentrates(dataset(0.3, drift=tuple(np.linspace(0.2, 0.1, LAYERS - 1))))
    assert judged.status == "undecided"
    assert judged.measured == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("short", "long", "status"),
    [(0.3, 0.97, "supported"), (0.3, 0.31, "contradicted"), (0.3, 0.8, "undecided"), (0.9, 0.3, "contradicted")],
)
def test_collapse_is_selective(short, long, status):
    judged = verdict.collapse_is_selective(dataset(short), dataset(long, length=7.0))
    assert judged.status == status
    assert judged.measured == pytest.approx(np.log(short / long), abs=1e-6)


def test_dead_runs_are_counted_and_left_out():
    healthy, wounded = dataset(0.3, runs=6), kill(kill(dataset(0.3, runs=8), 0), 7)
    judged = verdict.rank_falls(wounded)
    assert (judged.n_runs, judged.n_dead, judged.status) == (6, 2, "supported")
    assert judged.measured == pytest.approx(verdict.rank_falls(healthy).measured, abs=0.01)


def test_sweep_of_dead_runs_decides_nothing():
    data = dataset(0.3, runs=2)
    judged = verdict.verdict(kill(kill(data, 0), 1), None)
    assert {v.status for v in judged} == {"undecided", "not_run"}
    assert all(v.measured is None for v in judged)


def test_verdicts_cover_every_mixing_and_length():
    both = xr.concat([dataset(0.3), dataset(0.97, length=7.0)], "run")
    claims = {v.claim: v.status for v in verdict.verdict(both, None)}
    assert claims == {
        "S1-i [window, length 1]": "supported",
        "S1-i [window, length 7]": "contradicted",
        "S1-ii [window]": "supported",
        "S1-iii [window, length 1]": "supported",
        "S1-iii [window, length 7]": "supported",
    }


def test_one_length_alone_does_not_run_the_selectivity_claim():
    judged = {v.claim: v for v in verdict.verdict(dataset(0.3), None)}
    assert judged["S1-ii [window]"].status == "not_run"


def test_each_run_is_read_at_its_own_last_step():
    short_run = dataset(0.3, runs=4)
    short_run["steps"][:] = 50
    short_run["effective_rank"][:, 2] = np.nan
    assert verdict.rank_falls(xr.concat([short_run, dataset(0.3)], "run")).n_runs == 12


def test_stacks_of_unlike_depth_are_read_to_their_own_last_layer():
    shallow = dataset(0.3)
    shallow["effective_rank"][..., 4:] = np.nan
    ratio = verdict.collapse_ratio(shallow["effective_rank"].isel(step=2).sel(verdict.READING))
    np.testing.assert_allclose(ratio, shallow["effective_rank"].isel(step=2, layer=3, level=0, centring=0) / 20)
