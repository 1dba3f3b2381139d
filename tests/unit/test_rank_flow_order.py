"""S1-data: is the fall of the rank owed to the order of the data? On runs made by hand."""

import numpy as np
import pytest
import xarray as xr
from test_rank_flow_verdict import dataset, kill, verdicts


def under(control, ratio, loss=2.7, **values):
    """Runs under a control from which there is nothing to learn, at the optimum of their task by default."""
    data = dataset(ratio, loss=loss, **values)
    data["architecture_loss"][:], data["bayes_loss"][:] = 2.7, 2.7
    data["excess_loss"] = data["loss"] - 2.7
    return data.assign_coords({"control": ("run", [control] * data.sizes["run"])})


def judged(*parts):
    found = verdicts(xr.concat([dataset(0.3), *parts], "run"), only="S1-data")
    return {v.claim: v for v in found if v.claim.startswith("S1-data [")}


@pytest.mark.parametrize(("ratio", "status"), [(0.6, "supported"), (0.15, "contradicted"), (0.3 / 0.9, "undecided")])
def test_the_fall_is_compared_with_that_without_order(ratio, status):
    found = judged(under("iid", ratio))
    assert list(found) == ["S1-data [window, length 1, iid]"]
    one = found["S1-data [window, length 1, iid]"]
    assert one.status == status
    assert one.measured == pytest.approx(np.log(0.3 / ratio), abs=1e-4)
    assert one.controls["iid"]["value"] == pytest.approx(np.log(ratio / 0.9), abs=1e-3)


def test_each_control_is_judged_and_untrained_networks_are_no_data():
    parts = [under("random_labels", 0.6), under("time_shuffled", 0.1), under("untrained", 0.9)]
    statuses = {name.split(", ")[-1]: v.status for name, v in judged(*parts).items()}
    assert statuses == {"random_labels]": "supported", "time_shuffled]": "contradicted"}


def test_an_unknown_optimum_of_the_control_does_not_count_against_it():
    shuffled = under("time_shuffled", 0.6)
    shuffled["architecture_loss"][:], shuffled["excess_loss"][:] = np.nan, np.nan
    assert judged(shuffled)["S1-data [window, length 1, time_shuffled]"].status == "supported"


def test_controls_at_lengths_or_mixings_without_the_claim_are_left_alone():
    elsewhere = under("iid", 0.6, length=7.0)
    assert judged(elsewhere) == {}
    assert {v.status for v in verdicts(elsewhere, only="S1-data")} == {"not_run"}


def test_dead_runs_are_counted():
    one = judged(kill(kill(under("iid", 0.6), 0), 5))["S1-data [window, length 1, iid]"]
    assert (one.n_runs, one.n_dead) == (6, 2)
