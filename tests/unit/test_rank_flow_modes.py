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
    assert (one.controls["first_block"]["value"], one.controls["later_blocks"]["value"]) == (1, -1)
    assert one.controls["trained"]["value"] == 1


def test_a_shallower_stack_is_read_to_its_own_last_layer():
    data = with_rates((0.1, 0.2, 0.3))
    data["perturbation"][..., 4:], data["depth"][:] = np.nan, 3
    np.testing.assert_allclose(modes.order_of_damping(data.isel(step=-1)), 1)


def test_training_that_brings_the_order_supports_and_that_takes_it_contradicts():
    brings = dataset(0.5)
    one = forgotten_in_order(brings)
    assert (one.status, one.n_runs) == ("supported", 8)
    assert one.measured == pytest.approx(1 - 1 / 3)
    assert one.controls["untrained"]["value"] == pytest.approx(1 / 3)
    takes = brings.assign_coords(step=[100, 50, 0]).sortby("step")
    assert forgotten_in_order(takes).status == "contradicted"


def test_an_order_that_was_there_before_training_is_no_effect_of_it():
    assert forgotten_in_order(with_rates((0.1, 0.2, 0.3))).status == "undecided"


def test_networks_that_learned_nothing_support_nothing():
    blind = dataset(0.5, loss=2.7)
    blind["architecture_loss"][:] = 2.7
    assert forgotten_in_order(blind).status == "undecided"


def test_a_mode_without_a_rate_leaves_its_run_out():
    data = kill(dataset(0.5), 3)
    data["perturbation"][5, :, 1] = np.nan
    one = forgotten_in_order(data)
    assert (one.n_runs, one.n_dead, one.status) == (6, 1, "supported")
