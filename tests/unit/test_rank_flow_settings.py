"""The claims at other settings, on runs made by hand."""

import numpy as np
import pytest
import xarray as xr
from test_rank_flow_verdict import CONFIG, dataset, verdicts

from configs import rank_flow as rank_flow_config
from rgflow.engine import grid
from rgflow.rank_flow import experiment, select


def runs(ratio, length=1.0, **values):
    """Runs with the settings of the config but for ``values``."""
    own = {"norm": "pre", "tied": False, "chain.kind": "dirichlet_lazy", **values}
    data = dataset(ratio, length=length)
    return data.assign_coords({name: ("run", [value] * data.sizes["run"]) for name, value in own.items()})


def both(short, long, **values):
    return [runs(short, 1.0, **values), runs(long, 7.0, **values)]


CLAIMED = both(0.3, 0.97)


def judged(*parts, only="S1"):
    return {v.claim: v for v in verdicts(xr.concat(parts, "run"), only=only)}


def test_settings_are_told_apart_by_what_alone_departs():
    parts = [*CLAIMED, runs(0.3, norm="post"), runs(0.3, norm="post", tied=True), runs(0.3, **{"chain.kind": "block"})]
    parts += [runs(0.3, **{"chain.kind": "circulant"})]
    data = xr.concat(parts, "run")
    found = select.setting_runs(data, CONFIG)
    assert {name: part.sizes["run"] for name, part in found.items()} == {"norm = post": 8, "chain.kind = circulant": 8}
    assert select.claim_runs(data, CONFIG).sizes["run"] == 16
    assert {name: part.sizes["run"] for name, part in select.control_runs(data, CONFIG).items()} == {
        "none": 16, "circulant": 8,
    }  # fmt: skip


def test_every_claim_is_judged_at_every_setting():
    found = judged(*CLAIMED, *both(0.3, 0.31, norm="post"), *both(1.5, 1.5, tied=True), only="S1-i")
    assert found["S1-ii [window]"].status == "supported"
    assert found["S1-ii [window, norm = post]"].status == "contradicted"
    assert found["S1-i [window, length 7, norm = post]"].status == "supported"
    assert found["S1-i [window, length 7, tied = True]"].status == "contradicted"
    assert found["S1-iii [window, length 1, tied = True]"].n_runs == 8
    assert found["S1-ii [all settings, window]"].status == "mixed", "one supports and one contradicts"
    assert found["S1-i [all settings, window, length 1]"].controls["supported"]["value"] == 2
    assert "norm = post" in found["S1-i [all settings, window, length 1]"].controls["supported"]["requirement"]
    assert found["S1-i [all readings, window, length 1]"].n_runs == 8


def test_the_claims_themselves_do_not_see_other_settings():
    alone, beside = judged(*CLAIMED), judged(*CLAIMED, *both(1.5, 0.2, norm="none"))
    # NaN is not equal to itself, and its words are.
    assert {name: repr(beside[name]) for name in alone} == {name: repr(one) for name, one in alone.items()}
    assert not [name for name in alone if "settings" in name]


def test_the_study_leaves_one_setting_at_a_time_and_every_point_is_valid():
    config = rank_flow_config.get_config()
    config.sweep.update({"study": ("settings",), "mixing": ("window,tokenwise",)})
    config.sweep.settings.update({"norm": ("pre,post",), "length": (64, 32)})
    points = rank_flow_config.get_sweep(config)
    departing = [
        {name: point.values[name] for name in select.SETTINGS if name in point.values} or point.values["chain.kind"]
        for point in points[::4]  # two mixings at two lengths
    ]
    expected = [{"activation": "relu"}, {"length": 32}, {"mask_mode": "bert"}, {"norm": "post"}, {"tied": True}]
    expected += [{"initialisation": "torch"}]
    assert sorted(map(str, departing)) == sorted(map(str, [*expected, "circulant"]))
    for point in points:
        experiment.make(grid.point_config(config, point.values))
    assert {name for name in config.sweep.settings if name != "chain"} == set(select.SETTINGS)


def test_points_of_other_studies_keep_their_identity():
    config = rank_flow_config.get_config()
    alone = rank_flow_config.get_sweep(config)
    config.sweep.study = ("claims,settings",)
    assert rank_flow_config.get_sweep(config)[: len(alone)] == alone
    assert not np.any([name in point.values for point in alone for name in select.SETTINGS])


def test_a_position_code_is_a_setting_of_networks_whose_positions_exchange_information():
    config = rank_flow_config.get_config()
    config.sweep.update({"study": ("settings",), "mixing": ("window,attention",)})
    config.sweep.settings.update({"positional": ("learned",)})
    learned = [p.values["mixing"] for p in rank_flow_config.get_sweep(config) if "positional" in p.values]
    assert set(learned) == {"attention"}
    config.update({"mixing": "window", "positional": "learned"})
    with pytest.raises(
        ValueError, match=r"positional = 'learned': must be none for mixing window, only mixer, attention need it"
    ):
        experiment.make(config)
