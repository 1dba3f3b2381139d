"""Decay rates of perturbations and their dynamic range, on responses whose rates are known."""

import numpy as np
import pytest
import xarray as xr

from rgflow.rank_flow.decay import decay_rates, dynamic_range

RATES = np.array([0.4, -0.1, 0.05])
DEPTH = 5


def responses(rates=RATES, depth=DEPTH, runs=2):
    """ln |dh_l| / |dh_0| of pure exponentials, [run, mode, layer]."""
    layer = np.arange(depth + 1)
    values = np.broadcast_to(-rates[:, None] * layer, (runs, rates.size, depth + 1))
    return xr.DataArray(values, {"layer": layer}, ("run", "mode", "layer"))


def test_rates_of_pure_exponentials_are_recovered():
    np.testing.assert_allclose(decay_rates(responses()), [RATES, RATES], atol=1e-12)
    assert decay_rates(responses()).dims == ("run", "mode")


def test_rates_are_the_least_squares_slope_through_the_origin():
    rng = np.random.default_rng(0)
    noisy = responses() + 0.1 * rng.standard_normal((2, RATES.size, DEPTH + 1))
    layer = np.arange(1, DEPTH + 1)[:, None]
    for run in range(2):
        slope = [np.linalg.lstsq(layer, y[1:], rcond=None)[0][0] for y in noisy.values[run]]
        np.testing.assert_allclose(decay_rates(noisy)[run], -np.array(slope), atol=1e-12)


def test_the_embedding_itself_has_no_weight():
    shifted = responses().copy(deep=True)
    shifted[..., 0] = 7.0
    np.testing.assert_allclose(decay_rates(shifted), decay_rates(responses()))


def test_layers_that_a_shallower_stack_lacks_are_left_out():
    padded = responses().copy(deep=True)
    padded[0, :, 3:] = np.nan
    padded[1, 2] = np.nan
    found = decay_rates(padded).values
    np.testing.assert_allclose(found[0], RATES)
    np.testing.assert_allclose(found[1, :2], RATES[:2])
    assert np.isnan(found[1, 2])


def test_a_perturbation_that_is_gone_decays_infinitely_fast():
    gone = responses().copy(deep=True)
    gone[0, 0, 2:] = -np.inf
    assert decay_rates(gone)[0, 0] == np.inf
    np.testing.assert_allclose(decay_rates(gone)[1], RATES)


def test_dynamic_range_is_the_ratio_of_decay_lengths():
    rates = xr.DataArray([[0.4, 0.1, np.nan], [0.3, 0.2, 0.1]], dims=("run", "mode"))
    np.testing.assert_allclose(dynamic_range(rates), [4.0, 3.0])
    assert float(dynamic_range(rates.isel(run=0, mode=[0]))) == 1.0


@pytest.mark.parametrize("slowest", [0.0, -0.01, np.nan])
def test_dynamic_range_needs_every_mode_to_decay(slowest):
    rates = xr.DataArray([slowest, slowest if np.isnan(slowest) else 0.5], dims="mode")
    assert np.isnan(dynamic_range(rates))
