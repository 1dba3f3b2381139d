"""Figures of measured networks: made for one and several states and runs, equal bytes for equal data."""

import xml.etree.ElementTree

import numpy as np
import pytest
import xarray as xr

from rgflow.plots import network
from rgflow.probes import measure


def activations(*widths, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(60, d)).astype(np.float32) + 0.5 for d in widths]


def joined(runs=3, widths=(4, 4, 6, 6, 2), steps=(0, 100)):
    names = [f"body/hidden/{k}" for k in range(len(widths))]
    measured = [
        [measure(activations(*widths, seed=10 * run + step), layers=names) for step in range(len(steps))]
        for run in range(runs)
    ]
    return xr.concat([xr.concat(run, xr.IndexVariable("step", list(steps))) for run in measured], "run")


@pytest.fixture(scope="module")
def three():
    return joined()


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("runs", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_figures_are_drawn_and_equal_for_equal_data(runs, three):
    drawn, again = (network.figures(three.isel(run=slice(runs)), "mine") for _ in range(2))
    assert [d.name for d in drawn] == ["mine_effective_rank", "mine_rank_measures", "mine_kernel_drift"]
    for one, other in zip(drawn, again, strict=True):
        assert len(one.alt) > 60
        assert "nan" not in one.alt.lower()
        assert "trained" in one.alt and "untrained" in one.alt
        assert "falsified" in one.falsified
        assert ("One run, so no interval" in one.caption) == (runs == 1)
        svg = one.svg
        assert svg == other.svg
        text = " ".join(xml.etree.ElementTree.fromstring(svg).itertext())
        assert "body/hidden/\u2026" in text


def test_figures_of_one_state_compare_nothing():
    measured = measure(activations(4, 4))
    for dataset in (measured, xr.concat([measured], xr.IndexVariable("step", [7]))):
        drawn = network.figures(dataset)
        assert len(drawn) == 3
        assert "untrained" not in "".join(d.alt for d in drawn)
        assert not any(d.canvas.legends for d in drawn)
    assert len(network.figures(measure(activations(4)))) == 2


def test_figures_name_the_control_and_count_diverged_runs(three):
    dataset = three.copy(deep=True)
    dataset["effective_rank"][1, 1] = np.nan
    drawn = network.figures(dataset, control="shuffled")
    assert "shuffled" in drawn[0].alt and "untrained" not in drawn[0].alt
    assert "Runs without any defined rank: 1." in drawn[0].caption


def test_figures_refuse_steps_without_the_untrained_network():
    with pytest.raises(ValueError, match="step: 5 is the first; allowed: 0"):
        network.figures(joined(runs=1, widths=(4, 4), steps=(5, 10)))
