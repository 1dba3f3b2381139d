"""The decision rules on datasets made by hand, where the right answer is known."""

import datasets
import numpy as np
import pytest
import xarray as xr

from configs import rank_flow as rank_flow_config
from rgflow.judging.claim import judge, verdict_of
from rgflow.probes.spectrum import RANK_MEASURES
from rgflow.protocol import Point, Results
from rgflow.rank_flow import collapse, drift, learning, readings
from rgflow.rank_flow.claims import CLAIMS

LAYERS, STEPS = 7, (0, 50, 100)
CONFIG = rank_flow_config.get_config("default")
for name in ("window", "tokenwise", "attention"):
    CONFIG.runs[name].update({"steps": 100, "learning_rate": 1e-3})
MODULI = np.array([0.5, 0.3, 0.1])
SMALL = datasets.config_of("rank_flow", "default", num_states=len(MODULI) + 1, depth=LAYERS - 1)
"""What the runs of the dataset were made with: the claims' own settings on a chain of few modes."""


def point(length, runs):
    """The point of the claims at one correlation length."""
    sizes = {name: CONFIG[name] for name in ("depth", "width", "window", "cooldown")}
    chain = {"chain.kind": "dirichlet_lazy", "chain.groups": 0}
    training = {"steps": 100, "learning_rate": 1e-3, "control": "none"}
    return Point({"mixing": "window", "correlation_length": length, **training, **chain, **sizes}, runs)


def verdicts(runs, only=""):
    """The verdicts on all claims of the room, or on those whose names begin with ``only``."""
    return judge([claim for claim in CLAIMS if claim.name.startswith(only)], Results(runs, CONFIG))


def verdict_on(name, finding):
    """The verdict on a claim that follows from a finding."""
    return verdict_of(next(claim for claim in CLAIMS if claim.name == name), finding)


def rank_falls(runs):
    return verdict_on("S1-i", collapse.rank_falls(runs))


def collapse_is_selective(short, long):
    return verdict_on("S1-ii", collapse.collapse_is_selective(short, long))


def drift_concentrates(runs):
    return verdict_on("S1-iii", drift.drift_concentrates(runs))


def dataset(trained_ratio, untrained_ratio=0.9, runs=8, loss=1.0, drift=(0.5, 0.1, 0.02, 0.02, 0.02, 0.02), length=1.0):
    """Runs whose rank falls geometrically to the given ratio, with 1 % of spread over runs once they are trained."""
    spread = 1 + 0.01 * np.linspace(-1, 1, runs)
    layers, trained = np.arange(LAYERS), np.array(STEPS)[:, None] > 0
    ratio = np.where(trained, trained_ratio * spread[:, None, None], untrained_ratio)
    rank = 20 * ratio ** (layers / layers[-1])
    moved = np.where(trained, drift, np.linspace(0.2, 0.1, LAYERS - 1)) * np.ones((runs, 1, 1))
    moved[..., 0] *= np.where(trained[:, 0], spread[:, None], 1.0)
    # Fast modes decay faster after training; before it in no order. The stream grows, and the perturbations with it.
    rates = np.where(trained, [0.1, 0.2, 0.3], [0.2, 0.1, 0.3]) * spread[:, None, None]
    measured = {
        **dict.fromkeys(RANK_MEASURES, rank[:, :, None, None]),
        **dict.fromkeys(readings.DRIFT_MEASURES, moved[:, :, None, None]),
        "perturbation": (0.5 - rates[..., None]) * layers,
        "stream_growth": 0.5 * layers,
        "loss": loss,
        "excess_loss": loss - 0.98,
    }
    known = {"blind_loss": 2.7, "bayes_loss": 0.98, "architecture_loss": 0.99, "mode_modulus": MODULI}
    known["chain_seed"] = 1.0 + np.arange(runs)
    # Some tests compare numbers to more digits than a record has.
    return datasets.results(SMALL, [point(length, runs)], measured, known, schedule=STEPS, dtype=np.float64)


def kill(data, run):
    dead = data.copy(deep=True)
    for name in (*RANK_MEASURES, *readings.DRIFT_MEASURES, "loss", "excess_loss", "perturbation"):
        dead[name][run, 1:] = np.nan
    dead["died_at"][run] = 70
    return dead


def part(judged, name):
    """One component of a verdict, by how its name begins."""
    return next(one for one in judged.components if one["name"].startswith(name))


def row(judged, name):
    return next(one for one in judged.rows if one["name"].startswith(name))


@pytest.mark.parametrize(
    ("ratio", "untrained", "status"),
    [
        (0.3, 0.9, "supported"),
        (1.5, 0.9, "contradicted"),
        (0.9, 0.9, "contradicted"),
        (0.81, 0.9, "undecided"),
        (1.1, 1.5, "contradicted"),
    ],
    ids=["falls", "rises", "unchanged", "at the bound", "rises less than untrained"],
)
def test_rank_falls(ratio, untrained, status):
    judged = rank_falls(dataset(ratio, untrained))
    assert judged.status == status
    assert (judged.n_runs, judged.n_dead) == (8, 0)
    assert judged.measured == pytest.approx(np.log(ratio / untrained), abs=1e-4)
    assert judged.low <= judged.measured <= judged.high
    assert part(judged, "ln R(trained) <")["measured"] == pytest.approx(np.log(ratio), abs=1e-4)


def test_a_fall_that_was_there_before_training_is_no_effect_of_it():
    """R = 0.79 before and after: the rank falls with depth, and training has nothing to do with it."""
    judged = rank_falls(dataset(0.79, 0.79))
    assert judged.status == "contradicted"
    assert row(judged, "trained alone")["status"] == "supported"


def test_how_far_training_came_is_a_row_and_no_gate():
    blind = dataset(0.3, loss=2.7)
    blind["architecture_loss"][:] = 2.7
    judged = rank_falls(blind)
    assert judged.status == "supported", "the rank does fall"
    assert judged.controls["learned"]["value"] == 0 and judged.controls["above_optimum"]["value"] == 0
    half = gated(dataset(0.3), range(4))
    judged = rank_falls(half)
    assert row(judged, "runs that learned half only: 4 of 8")["runs"] == 4
    assert row(judged, "converged runs only: 4 of 8")["runs"] == 4
    assert judged.n_runs == 8


def test_a_rank_that_rises_and_falls_is_told_by_its_trend():
    humped = dataset(0.3)
    humped["effective_rank"][:, 1:, ..., 1:-1] = np.linspace(30, 60, LAYERS - 2)
    judged = rank_falls(humped)
    assert judged.status == "supported", "from the first to the last layer it falls"
    assert row(judged, "Kendall tau")["measured"] > 0
    assert row(judged, "without the first block")["measured"] < judged.measured


def test_margins_are_rows():
    judged = rank_falls(dataset(0.78))  # a factor of 0.87
    assert judged.status == "supported"
    assert row(judged, "any fall")["status"] == "supported"
    assert row(judged, "a fall of twice the size")["status"] == "contradicted"


def test_a_median_on_the_other_side_of_the_bound_is_said():
    data = dataset(0.9)
    data["effective_rank"][:2, 1:, ..., -1] = 1.0
    judged = rank_falls(data)
    assert judged.measured < -0.2 and judged.status == "undecided"
    assert "a few runs carry the mean" in row(judged, "median")["name"]


@pytest.mark.parametrize(
    ("drift", "status"),
    [
        ((0.9, 0.05, 0.01, 0.01, 0.01, 0.01), "supported"),
        ((0.1,) * 6, "contradicted"),
        (tuple(np.linspace(0.2, 0.1, LAYERS - 1)), "contradicted"),
    ],
    ids=["concentrated", "even", "as before training"],
)
def test_drift_concentrates(drift, status):
    assert drift_concentrates(dataset(0.3, drift=drift)).status == status


@pytest.mark.parametrize(
    ("short", "long", "untrained", "status"),
    [
        (0.3, 0.9, 0.9, "supported"),
        (0.3, 0.79, 0.79, "supported"),
        (0.3, 0.31, 0.9, "contradicted"),
        (0.3, 0.5, 0.9, "contradicted"),
        (0.9, 0.9, 0.9, "contradicted"),
        (0.9, 0.3, 0.9, "contradicted"),
        (0.9, 1.8, 0.9, "contradicted"),
        (0.3, 0.81, 0.9, "undecided"),
    ],
    ids=["selective", "long unchanged at 0.79", "both fall alike", "both fall", "neither falls", "the other way round",
         "the long one rises, the short one stays", "long at the bound"],
)  # fmt: skip
def test_collapse_is_selective(short, long, untrained, status):
    judged = collapse_is_selective(dataset(short, untrained), dataset(long, untrained, length=7.0))
    assert judged.status == status
    assert judged.measured == pytest.approx(np.log(short / long), abs=1e-4)
    assert len(judged.components) == 3


def test_a_long_rank_that_rises_is_no_collapse_and_has_a_row():
    judged = collapse_is_selective(dataset(0.3), dataset(1.5, length=7.0))
    assert judged.status == "supported"
    assert row(judged, "no rise at the long length")["status"] == "contradicted"


def test_selectivity_is_judged_on_all_runs():
    short, long = dataset(0.3), dataset(0.9, length=7.0)
    # Half of the runs learn nothing, and their rank does not fall: they are runs of the claim all the same.
    short["effective_rank"][4:, 1:] = 20.0
    judged = collapse_is_selective(gated(short, range(4)), long)
    assert judged.status == "undecided" and judged.n_runs == 8
    assert row(judged, "runs that learned half only: 4 and 8")["measured"] < judged.measured


def test_dead_runs_are_counted_and_set_at_the_bound():
    healthy, wounded = dataset(0.3, runs=6), kill(kill(dataset(0.3, runs=8), 0), 7)
    judged = rank_falls(wounded)
    assert (judged.n_runs, judged.n_dead) == (6, 2)
    assert judged.measured == pytest.approx(rank_falls(healthy).measured, abs=0.01)
    assert judged.status == "supported"
    assert rank_falls(dataset(0.3, runs=4)).status == "supported"
    assert rank_falls(kill(dataset(0.3, runs=4), 3)).status == "undecided", "a dead run may have been anywhere"


def test_few_runs_must_decide_more_clearly():
    assert rank_falls(dataset(0.79, runs=4)).status == "undecided"
    assert rank_falls(dataset(0.79, runs=8)).status == "supported"
    assert rank_falls(dataset(0.3, runs=4)).status == "supported"
    assert rank_falls(dataset(0.3, runs=2)).status == "undecided"


def test_seeds_that_share_chains_are_units_together():
    data = dataset(0.3)
    data["chain_seed"][:] = np.repeat([1.0, 2.0, 3.0, 4.0], 2)
    judged = rank_falls(data)
    assert part(judged, "ln R(trained) - ")["runs"] == 4 and judged.controls["chains"]["value"] == 4
    data["chain_seed"][:] = 1.0
    judged = rank_falls(data)
    assert part(judged, "ln R(trained) - ")["runs"] == 8
    assert "for this chain alone" in judged.controls["chains"]["requirement"]


def test_sweep_of_dead_runs_decides_nothing():
    data = dataset(0.3, runs=2)
    judged = verdicts(kill(kill(data, 0), 1))
    assert {v.status for v in judged} == {"undecided", "not_run"}
    assert all(v.measured is None for v in judged)


NOT_RUN = ("S1-data", "S1-blocks", *(f"S1b-{x}" for x in ("loss", "same", "damping", "rank", "decay", "trend")))


def test_verdicts_cover_every_mixing_and_length():
    both = xr.concat([dataset(0.3), dataset(0.97, length=7.0)], "run")
    found = {v.claim: v.status for v in verdicts(both)}
    assert found == {
        "S1-i [window, length 1]": "supported",
        "S1-i [window, length 7]": "contradicted",
        "S1-ii [window]": "supported",
        "S1-iii [window, length 1]": "supported",
        "S1-iii [window, length 7]": "supported",
        "S1-i [all readings, window, length 1]": "supported",
        "S1-i [all readings, window, length 7]": "contradicted",
        "S1-ii [all readings, window]": "supported",
        "S1-iii [all readings, window, length 1]": "supported",
        "S1-iii [all readings, window, length 7]": "supported",
        "S1-modes [window, length 1]": "undecided",
        "S1-modes [window, length 7]": "undecided",
        **dict.fromkeys(NOT_RUN, "not_run"),
    }


def test_one_length_alone_does_not_run_the_selectivity_claim():
    judged = {v.claim: v for v in verdicts(dataset(0.3))}
    assert judged["S1-ii [window]"].status == "not_run"


def test_each_run_is_read_at_its_own_last_step():
    short_run = dataset(0.3, runs=4)
    short_run["steps"][:] = 50
    short_run["effective_rank"][:, 2] = np.nan
    assert rank_falls(xr.concat([short_run, dataset(0.3)], "run")).n_runs == 12


def test_stacks_of_unlike_depth_are_read_to_their_own_last_layer():
    shallow = dataset(0.3)
    shallow["effective_rank"][..., 4:] = np.nan
    assert np.isnan(collapse.collapse_ratio(shallow["effective_rank"])).all(), "a rank that is lost is no shallow stack"
    shallow["depth"][:] = 3
    ratio = collapse.collapse_ratio(shallow["effective_rank"].isel(step=2).sel(collapse.READING))
    np.testing.assert_allclose(ratio, shallow["effective_rank"].isel(step=2, layer=3, level=0, centring=0) / 20)


def test_the_ratio_counts_from_the_first_layer_that_mixes():
    data = dataset(0.3)
    ranks = data["effective_rank"].isel(step=2)
    by_level = collapse.collapse_ratio(ranks).mean("run").isel(centring=0)
    update = by_level.sel(level="update") / by_level.sel(level="position")
    assert float(update) == pytest.approx(0.3 ** (-1 / 6), rel=1e-3), "an update has no layer 0"
    mixer = ranks.assign_coords({"mixing": ("run", ["mixer"] * 8)})
    assert float(collapse.collapse_ratio(mixer).isel(level=0, centring=0).mean()) == pytest.approx(
        0.3 ** (5 / 6), rel=1e-3
    )


def gated(data, learned):
    """The same runs, those that are not in ``learned`` with the loss of one who sees nothing."""
    changed = data.copy(deep=True)
    others = np.setdiff1d(np.arange(data.sizes["run"]), learned)
    changed["loss"][others], changed["excess_loss"][others] = 2.7, 2.7 - 0.98
    return changed


def test_effects_are_read_where_a_run_first_reaches_a_fraction():
    data = dataset(0.3)
    half_way = 2.7 - 0.3 * (2.7 - 0.98)
    data["loss"][:, 0], data["loss"][:, 1] = 2.7, half_way
    data["effective_rank"][:, 1, ..., -1] = data["effective_rank"][:, 1, ..., 0] * 0.6
    judged = rank_falls(data)
    there = row(judged, "at a learned fraction of 0.25, reached by 8 of 8")
    # From 0 at fraction 0 to ln(0.6 / 0.9) at fraction 0.3, linear between the two.
    assert there["measured"] == pytest.approx(np.log(0.6 / 0.9) * 0.25 / 0.3, rel=1e-3)


def test_where_nothing_can_be_learned_no_fraction_is_read():
    flat = dataset(0.3, loss=2.7)
    flat["excess_loss"][:], flat["bayes_loss"][:] = 0.01, 2.7  # what is sampled scatters, what is known does not
    assert np.isnan(learning.learned_fraction(learning.final(flat))).all()
    assert not any(one["name"].startswith("at a learned fraction") for one in rank_falls(flat).rows)


def test_mode_without_closed_form_has_its_excess():
    bert = dataset(0.3)
    bert["bayes_loss"][:] = np.nan
    bert["architecture_loss"][:] = np.nan
    bert["excess_loss"][2] = 0.2
    one = rank_falls(bert)
    assert one.controls["above_optimum"]["value"] == pytest.approx(0.0425)
    assert row(one, "converged runs only: 7 of 8")["runs"] == 7


def test_what_a_token_says_of_itself_is_no_information_learned():
    bert = dataset(0.3, loss=2.0)
    bert["architecture_loss"][:], bert["blind_loss"][:] = 2.0, 2.0
    assert learning.learned_fraction(learning.final(bert)).values.tolist() == [0.0] * 8


def test_an_unknown_optimum_says_nothing_of_convergence():
    attention = dataset(0.3).assign_coords({"mixing": ("run", ["attention"] * 8)})
    attention["architecture_loss"][:] = np.nan
    attention["excess_loss"][:] = 0.4
    judged = rank_falls(attention)
    assert judged.status == "supported" and np.isnan(judged.controls["above_optimum"]["value"])


def test_claims_are_judged_on_their_own_study_alone():
    others = dataset(1.5)
    others = others.assign_coords({"control": ("run", ["iid"] * 8)})
    judged = {v.claim: v for v in verdicts(xr.concat([dataset(0.3), others], "run"))}
    assert judged["S1-i [window, length 1]"].n_runs == 8
    assert judged["S1-i [window, length 1]"].status == "supported"
    alone = verdicts(others)
    assert {v.status for v in alone} == {"not_run"}


def test_flat_networks_are_read_pooled():
    flat = dataset(0.3).assign_coords({"mixing": ("run", ["flat"] * 8)})
    assert collapse.reading_of(flat)["level"] == "pooled"
    flat["effective_rank"][:, :, :3] = np.nan
    assert rank_falls(flat).status == "supported"


def test_one_transition_has_no_share_of_two():
    one = xr.DataArray([[0.3], [0.1]], dims=("run", "transition"))
    np.testing.assert_array_equal(drift.concentration(one, 1), [1.0, 1.0])
    assert np.isnan(drift.concentration(one, 2)).all() and drift.concentration(one, 2).dims == ("run",)
