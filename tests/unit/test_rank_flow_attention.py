"""The claims on transformers beside MLPs, on runs made by hand where the right answer is known."""

import numpy as np
import pytest
import xarray as xr
from test_rank_flow_verdict import CONFIG, LAYERS, dataset, kill, verdicts

from rgflow.rank_flow import attention

MODES = 3
SHORT, LONG = 1.0, 7.0
SPREAD = np.exp(np.linspace(-0.02, 0.02, 8))


def runs(mixing, length, loss=1.0, rank=20.0, slowest=0.1, fastest=0.3, growth=0.8):
    """Runs whose perturbations decay with the given rates per layer relative to a stream that grows."""
    data = dataset(0.5, loss=loss, length=length)
    data["loss"] = data["loss"] * xr.DataArray(SPREAD**0.1, dims="run")
    data["effective_rank"] = data["effective_rank"] * xr.DataArray(SPREAD, dims="run")
    data["effective_rank"][:, 0, ..., 1] = 10.0
    data["kernel_drift"] = data["kernel_drift"] * xr.DataArray(SPREAD, dims="run")
    data["effective_rank"][:, 1:, ..., 1] = rank * SPREAD[:, None, None, None]
    layer = np.arange(LAYERS)
    rates = np.linspace(slowest, fastest, MODES)
    pushed = growth * layer - rates[:, None] * layer * SPREAD[:, None, None]
    data["perturbation"][:] = pushed[:, None]
    data["stream_growth"][:] = growth * layer
    return data.assign_coords({"mixing": ("run", [mixing] * 8)})


def cells(**attention_values):
    """A token-wise and an attention network at two lengths; the latter with other values at the longer one."""
    found = {"tokenwise": {x: runs("tokenwise", x) for x in (SHORT, LONG)}}
    found["attention"] = {SHORT: runs("attention", SHORT), LONG: runs("attention", LONG, **attention_values)}
    return found


def on_attention(found):
    """The verdicts on the claims of the follow-up."""
    parts = [runs for at in found.values() for runs in at.values()]
    return verdicts(xr.concat(parts, "run"), only="S1b")


def judged(found):
    return {v.claim: v for v in on_attention(found) if v.status != "not_run"}


def test_losses_are_the_same_at_short_and_lower_at_long_length():
    found = judged(cells(loss=0.7))
    assert found["S1b-loss [tokenwise, length 1]"].status == "supported"
    lower = found["S1b-loss [tokenwise, length 7]"]
    assert (lower.status, lower.n_runs) == ("supported", 8)
    assert lower.measured == pytest.approx(0.3, abs=1e-3)


def test_equal_losses_contradict_a_lower_one_and_unequal_ones_the_same():
    found = judged(cells(loss=1.0))
    assert found["S1b-loss [tokenwise, length 7]"].status == "contradicted"
    turned = cells()
    turned["attention"][SHORT] = runs("attention", SHORT, loss=0.8)
    assert judged(turned)["S1b-loss [tokenwise, length 1]"].status == "contradicted"


def test_a_loss_that_still_falls_is_said_and_blocks_nothing():
    found = cells(loss=0.7)
    falling = found["attention"][LONG]
    falling["loss"][:, 1] = 0.9
    one = judged(found)["S1b-loss [tokenwise, length 7]"]
    assert one.status == "supported"
    assert one.controls["settled"] == attention.settling(falling)["settled"]
    assert one.controls["settled"]["value"] == pytest.approx(0.2, abs=1e-3)


def test_streams_are_compared_in_every_layer_and_transition():
    same = judged(cells())["S1b-same [tokenwise, length 1]"]
    assert same.status == "supported"
    assert len(same.components) == LAYERS + LAYERS - 1
    found = cells()
    one_off = found["attention"][SHORT]
    one_off["effective_rank"][:, 1:, ..., 3] *= 1.3
    other = judged(found)["S1b-same [tokenwise, length 1]"]
    assert (other.status, other.measured) == ("contradicted", pytest.approx(np.log(1.3)))
    assert other.components[0]["name"].startswith("ln ER_3")


def test_every_mode_must_be_damped_faster():
    def at_short(slowest, fastest):
        found = cells()
        found["attention"][SHORT] = runs("attention", SHORT, slowest=slowest, fastest=fastest)
        return judged(found)["S1b-damping [tokenwise, length 1]"]

    faster = at_short(0.2, 0.5)
    assert (faster.status, len(faster.components)) == ("supported", MODES)
    assert at_short(0.05, 0.5).status == "contradicted", "one mode is damped less"
    assert at_short(0.1, 0.5).status == "undecided", "one mode is damped alike"
    assert faster.controls["order"]["value"] == 1


def test_a_trend_is_no_exact_order():
    def at_long(order):
        found = cells()
        data = found["attention"][LONG]
        rates = np.where(np.arange(8)[:, None] < 6, order, order[::-1])
        data["perturbation"][:] = ((0.8 - rates[..., None]) * np.arange(LAYERS))[:, None]
        return judged(found)["S1b-trend [length 7]"]

    trend = at_long(np.array([0.1, 0.2, 0.3]))
    assert trend.measured == pytest.approx(0.5) and trend.controls["exact"]["value"] == 0.75
    assert at_long(np.array([0.1, 0.2, 0.3])).status == "undecided"
    assert at_long(np.array([0.3, 0.2, 0.1])).measured == pytest.approx(-0.5)


@pytest.mark.parametrize(("rank", "status"), [(25.0, "supported"), (17.0, "undecided"), (12.0, "contradicted")])
def test_rank_is_held_against_the_number_of_symbols(rank, status):
    one = judged(cells(rank=rank))["S1b-rank [length 7]"]
    assert CONFIG.num_states + 1 == 17
    assert one.status == status
    assert one.measured == pytest.approx(rank * SPREAD.mean() - 17, abs=1e-6)


@pytest.mark.parametrize(
    ("slowest", "fastest", "status"), [(0.1, 0.6, "supported"), (0.2, 0.25, "contradicted"), (0.1, 0.3, "undecided")]
)
def test_spreads_of_decay_rates_are_compared(slowest, fastest, status):
    one = judged(cells(slowest=slowest, fastest=fastest))["S1b-decay [tokenwise, length 7]"]
    assert one.status == status
    # Three equidistant rates spread by their distance.
    assert one.measured == pytest.approx(((fastest - slowest) - 0.2) / 2 * SPREAD.mean(), abs=1e-9)
    assert one.controls["range_mlp"]["value"] == pytest.approx(3)
    assert one.controls["range_transformer"]["value"] == pytest.approx(fastest / slowest)


def test_modes_that_grow_have_rates_and_no_lengths():
    one = judged(cells(slowest=-0.1, fastest=0.6))["S1b-decay [tokenwise, length 7]"]
    assert one.status == "supported"
    assert np.isnan(one.controls["range_transformer"]["value"])


def test_a_rank_that_training_did_not_raise_is_a_matter_of_the_architecture():
    found = cells(rank=25.0)
    found["attention"][LONG]["effective_rank"][:, 0, ..., 1] = 30.0
    one = judged(found)["S1b-rank [length 7]"]
    assert (one.status, one.controls["raised"]["value"] < 0) == ("contradicted", True)
    assert one.low > 0


def test_dead_runs_are_left_out_and_counted():
    found = cells(slowest=0.1, fastest=0.6, loss=0.7)
    found["attention"][LONG] = kill(found["attention"][LONG], 2)
    for name, one in judged(found).items():
        if "length 7" in name:
            assert (one.n_runs, one.n_dead) == (7, 1), name


def test_claims_need_transformers_at_two_lengths():
    found = cells()
    assert judged({"tokenwise": found["tokenwise"]}) == {}
    assert judged({**found, "attention": {SHORT: found["attention"][SHORT]}}) == {}
    assert list(judged({"attention": found["attention"]})) == ["S1b-rank [length 7]", "S1b-trend [length 7]"]


def test_sweeps_with_attention_have_these_claims_beside_the_others():
    both = cells()
    parts = [at for mixing in both.values() for at in mixing.values()]
    names = [v.claim.split(" ")[0] for v in verdicts(xr.concat(parts, "run"))]
    assert list(dict.fromkeys(names)) == [
        "S1-i",
        "S1-ii",
        "S1-iii",
        "S1-data",
        "S1-modes",
        "S1-blocks",
        "S1b-loss",
        "S1b-same",
        "S1b-damping",
        "S1b-rank",
        "S1b-decay",
        "S1b-trend",
    ]
