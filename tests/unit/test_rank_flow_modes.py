"""S1-modes: are fast modes forgotten before slow ones? On runs made by hand."""

import numpy as np
import pytest
from test_rank_flow_verdict import dataset, kill, verdict_on

from rgflow.rank_flow import modes


def forgotten_in_order(runs):
    return verdict_on("S1-modes", modes.forgotten_in_order(runs))


def with_rates(rates, moduli=(0.5, 0.3, 0.1)):
    """Runs whose perturbations decay at these rates per layer relative to the stream, in every record."""
    data = dataset(0.5)
    layer = data["layer"].values
    spread = 1 + 1e-3 * np.linspace(-1, 1, data.sizes["run"])
    data["perturbation"][:] = (0.5 - np.array(rates)[:, None] * spread[:, None, None, None]) * layer
    data["mode_modulus"] = data["mode_modulus"] * 0 + np.array(moduli)
    return data


@pytest.mark.parametrize(
    ("rates", "tau"), [((0.1, 0.2, 0.3), 1), ((0.3, 0.2, 0.1), -1), ((-0.3, -0.2, 0.1), 1), ((0.1, 0.3, 0.2), 1 / 3)]
)
def test_order_is_kendalls_tau_and_rates_may_be_negative(rates, tau):
    np.testing.assert_allclose(modes.order_of_damping(with_rates(rates).isel(step=-1)), tau, atol=1e-12)


def test_modes_of_equal_modulus_have_no_order():
    for rates in ((0.1, 0.3, 0.2), (0.1, 0.2, 0.3)):
        tau = modes.order_of_damping(with_rates(rates, (0.5, 0.1, 0.1 + 1e-14)).isel(step=-1))
        np.testing.assert_allclose(tau, 2 / np.sqrt(3 * 2), atol=1e-12)
    assert np.isnan(modes.order_of_damping(with_rates((0.1, 0.3, 0.2), (0.5, 0.5, 0.5)).isel(step=-1))).all()


def test_the_first_block_and_the_later_ones_are_told_apart():
    data = dataset(0.5)
    at_once = np.array([0.1, 0.2, 0.3])[:, None] * (data["layer"].values > 0)
    later = np.array([0.03, 0.02, 0.01])[:, None] * np.maximum(data["layer"].values - 1, 0)
    data["perturbation"][:] = 0.5 * data["layer"].values - at_once - later
    one = forgotten_in_order(data)
    rows = {row["name"]: row["measured"] for row in one.rows}
    assert one.controls["trained"]["value"] == 1
    at_end = data.isel(step=-1)
    np.testing.assert_allclose(modes.order_of_damping(at_end, 0, 1), 1)
    np.testing.assert_allclose(modes.order_of_damping(at_end, 1), -1)
    assert {"the first block alone", "all blocks but the first"} <= set(rows)


def test_a_shallower_stack_is_read_to_its_own_last_layer():
    data = with_rates((0.1, 0.2, 0.3))
    data["perturbation"][..., 4:], data["depth"][:] = np.nan, 3
    np.testing.assert_allclose(modes.order_of_damping(data.isel(step=-1)), 1)


def ordered(share):
    """Runs of which a share learns the order of the modes and the others keep the one they had."""
    data = dataset(0.5)
    layer = data["layer"].values
    before, after = np.array([0.2, 0.1, 0.3]), np.array([0.1, 0.2, 0.3])
    for run in range(8):
        rates = after if run < share else before
        data["perturbation"][run, 1:] = (0.5 - rates[:, None]) * layer
    return data


def test_training_that_brings_the_order_supports_and_that_takes_it_contradicts():
    brings = ordered(7)
    one = forgotten_in_order(brings)
    assert (one.status, one.n_runs) == ("supported", 8)
    assert one.measured == pytest.approx((1 - 1 / 3) * 7 / 8)
    assert one.controls["untrained"]["value"] == pytest.approx(1 / 3)
    takes = brings.assign_coords(step=[100, 50, 0]).sortby("step")
    assert forgotten_in_order(takes).status == "contradicted"
    assert forgotten_in_order(ordered(1)).status == "undecided"


def test_an_order_without_any_noise_decides_nothing():
    assert forgotten_in_order(with_rates((0.1, 0.2, 0.3))).status == "undecided"


def test_runs_that_were_looked_at_before_the_question_are_left_out():
    data = ordered(7)
    data["chain_seed"][:] = modes.CHAIN_SEEN
    one = forgotten_in_order(data)
    assert one.n_runs == 8 - modes.SEEDS_SEEN
    data["chain_seed"][:4] = 1.0
    assert forgotten_in_order(data).n_runs == 6


def test_a_mode_without_a_rate_leaves_its_run_out():
    data = kill(ordered(8), 3)
    data["perturbation"][5, :, 1] = np.nan
    one = forgotten_in_order(data)
    assert (one.n_runs, one.n_dead) == (7, 1)
    assert one.controls["trained"]["value"] == 1
