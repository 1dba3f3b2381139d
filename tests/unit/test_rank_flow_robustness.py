"""Claims in every reading, on hand-made data; the correction for many comparisons; the runs of each study."""

import numpy as np
import pytest
import xarray as xr
from scipy.stats import norm
from statsmodels.stats.multitest import multipletests
from test_rank_flow_verdict import CONFIG, collapse_is_selective, dataset, drift_concentrates, gated, rank_falls

from rgflow.judging.readings import holm, overall
from rgflow.rank_flow import readings, select


def cells(short, long):
    return {"window": {1.0: short, 7.0: long}}


def test_holm_by_hand_and_bounds():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    adjusted = holm([0.01, np.nan, 0.5])
    np.testing.assert_allclose(adjusted[[0, 2]], [0.02, 0.5])
    assert np.isnan(adjusted[1])
    assert holm([0.9, 0.8]).tolist() == [1.0, 1.0]
    assert holm([]).size == 0
    with pytest.raises(ValueError, match="no probabilities"):
        holm([0.5, 1.5])


@pytest.mark.parametrize("count", [1, 2, 7, 200])
def test_holm_is_that_of_a_second_implementation(count):
    # Small, large and equal values.
    values = np.random.default_rng(count).uniform(size=count).round(2) ** 3
    np.testing.assert_allclose(holm(values), multipletests(values, method="holm")[1], atol=1e-15)


def test_holm_keeps_the_error_rate_of_dependent_tests():
    rng = np.random.default_rng(0)
    false_alarms = 0
    for _ in range(2000):
        # Twenty t-like statistics that share half of their noise, none with an effect.
        z = np.sqrt(0.5) * rng.standard_normal() + np.sqrt(0.5) * rng.standard_normal(20)
        false_alarms += (holm(2 * norm.sf(abs(z))) < 0.05).any()
    # 5 % with four sigma of 2000 trials.
    assert false_alarms / 2000 < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 2000)


def test_every_reading_is_judged_once():
    found = readings.readings(cells(dataset(0.3), dataset(0.97, length=7.0)))
    assert len({(r.claim, r.mixing, str(r.correlation_length), r.level, r.centring, r.measure) for r in found}) == len(
        found
    )
    counts = {claim: sum(r.claim == claim for r in found) for claim in ("S1-i", "S1-ii", "S1-iii")}
    # 4 levels x 2 centrings x 4 ranks at 2 lengths; the same once for the pair; 4 x 2 x 2 drifts at 2 lengths.
    assert counts == {"S1-i": 64, "S1-ii": 32, "S1-iii": 32}


def test_readings_follow_the_rule_of_the_main_reading():
    for short, long in ((0.3, 0.97), (0.3, 0.31), (0.9, 0.3)):
        pair = dataset(short), dataset(long, length=7.0)
        main = collapse_is_selective(*pair).status
        found = {r.status for r in readings.readings(cells(*pair)) if r.claim == "S1-ii"}
        assert found == {main}
    for ratio in (0.3, 1.5):
        data = dataset(ratio)
        found = {r.status for r in readings.readings({"window": {1.0: data}}) if r.claim == "S1-i"}
        assert found == {rank_falls(data).status}


def test_rounding_noise_is_no_effect():
    # Ranks of exactly 1 up to rounding, always a little lower after training.
    data = dataset(1.0, untrained_ratio=1.0)
    data["effective_rank"][:] = 1.0
    data["effective_rank"][:, 1:, ..., -1] -= 1e-7 * (1 + np.linspace(0, 0.1, 8))[:, None, None, None]
    found = [r for r in readings.readings({"window": {1.0: data}}) if r.measure == "effective_rank"]
    assert {r.status for r in found} == {"undefined"}


def test_table_asks_for_all_that_the_main_reading_asks_for():
    humped = dataset(0.3)
    humped["effective_rank"][:, 1:, ..., 1:-1] = np.linspace(30, 60, 5)
    spread_out = dataset(0.3, drift=(0.5, 0.5, 0.02, 0.02, 0.02, 0.02))
    for data, claim, judge in (
        (humped, "S1-i", rank_falls),
        (spread_out, "S1-iii", drift_concentrates),
    ):
        found = [r for r in readings.readings({"window": {1.0: data}}) if r.claim == claim]
        same = [r.status for r in found if r.measure in ("effective_rank", "kernel_drift")]
        assert set(same) == {judge(data).status}


def test_adjusted_values_are_those_of_holm_over_the_claim():
    found = [r for r in readings.readings(cells(dataset(0.3), dataset(0.7, length=7.0))) if r.claim == "S1-i"]
    np.testing.assert_allclose([r.adjusted for r in found], holm([r.p_value for r in found]))
    assert all(r.low <= r.mean <= r.high for r in found)


def test_one_friendly_cell_does_not_make_a_verdict():
    friendly = dataset(1.5)
    friendly["effective_rank"][:, 1:, 3] = dataset(0.3)["effective_rank"][:, 1:, 3].values
    found = readings.readings({"window": {1.0: friendly}})
    statuses = [r.status for r in found if r.claim == "S1-i"]
    assert set(statuses) == {"supported", "contradicted"}
    (summary,) = readings.summed("S1-i", found)
    assert summary.status == "undecided"
    assert summary.interval.mean == pytest.approx(statuses.count("supported") / len(statuses))
    assert summary.controls["contradicted"]["value"] == statuses.count("contradicted")


def test_undefined_readings_do_not_count():
    data = dataset(0.3)
    for name in ("effective_rank", "energy_rank", "participation_ratio", "stable_rank"):
        data[name][:, :, 1, 1] = np.nan
    found = [r for r in readings.readings({"window": {1.0: data}}) if r.claim == "S1-i"]
    assert sum(r.status == "undefined" for r in found) == 4
    assert {r.status for r in found} == {"supported", "undefined"}
    assert overall([r.status for r in found]) == "supported"


def test_readings_of_selectivity_leave_out_what_learned_nothing():
    short, long = dataset(0.3), dataset(0.97, length=7.0)
    found = [r for r in readings.readings(cells(gated(short, range(5)), long)) if r.claim == "S1-ii"]
    assert {r.runs for r in found} == {5}
    found = [r for r in readings.readings(cells(gated(short, []), long)) if r.claim == "S1-ii"]
    assert {r.status for r in found} == {"undefined"}


def test_studies_are_told_apart_by_their_coordinates():
    centre = CONFIG.phases
    changes = {
        "claims": {},
        "untrained": {"control": "untrained"},
        "lazy_zipf": {"chain.kind": "lazy_zipf"},
        "block": {"chain.kind": "block", "chain.groups": 4.0},
        "phase": {n: float(centre[n]) for n in ("depth", "width", "window", "steps", "learning_rate", "cooldown")},
    }
    runs = []
    for seed, values in enumerate(changes.values()):
        one = dataset(0.3, runs=2)
        one = one.assign_coords({n: ("run", [v] * 2) for n, v in values.items()})
        runs.append(one.assign_coords(seed=("run", [seed] * 2)))
    both = xr.concat(runs, "run")

    def seeds(found):
        return sorted(set(found["seed"].values.tolist()))

    assert seeds(select.claim_runs(both, CONFIG)) == [0]
    controls = select.control_runs(both, CONFIG)
    assert {name: seeds(found) for name, found in controls.items()} == {"none": [0], "untrained": [1], "lazy_zipf": [2]}
    assert next(iter(controls)) == "none"
    assert seeds(select.block_runs(both, CONFIG)) == [3]
    assert all(seeds(select.phase_runs(both, CONFIG, axis)) == [4] for axis in select.PHASE_AXES)
