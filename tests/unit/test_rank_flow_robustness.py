"""Claims in every reading, on hand-made data; the correction for many comparisons; the runs of each study."""

import numpy as np
import pytest
import xarray as xr
from scipy.stats import norm
from statsmodels.stats.multitest import multipletests
from test_rank_flow_verdict import CONFIG, collapse_is_selective, dataset, rank_falls

from rgflow.judging.components import Component
from rgflow.judging.intervals import t_interval
from rgflow.judging.readings import Specification, holm, overall, typical
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


def of(claim, found):
    return [place for place in readings.places(found) if place.claim == claim]


def test_every_reading_is_judged_once():
    found = readings.places(cells(dataset(0.3), dataset(0.97, length=7.0)))
    counts = {(place.claim, place.place): len(place.shown) for place in found}
    # 7 levels x 2 centrings x 4 ranks, or 2 drifts.
    assert counts == {
        ("S1-i", "window, length 1"): 56, ("S1-iii", "window, length 1"): 28, ("S1-i", "window, length 7"): 56,
        ("S1-iii", "window, length 7"): 28, ("S1-ii", "window"): 56,
    }  # fmt: skip
    for place in found:
        assert len({tuple(one.factors.items()) for one in place.shown}) == len(place.shown)


def test_readings_follow_the_rule_of_the_main_reading():
    for short, long in ((0.3, 0.9), (0.3, 0.31), (0.9, 0.3)):
        pair = dataset(short), dataset(long, length=7.0)
        main = collapse_is_selective(*pair).status
        (place,) = of("S1-ii", cells(*pair))
        assert {one.status for one in place.shown} == {main} == {readings.over_readings(place).status}
    for ratio in (0.3, 1.5):
        data = dataset(ratio)
        (place,) = of("S1-i", {"window": {1.0: data}})
        assert {one.status for one in place.shown} == {rank_falls(data).status}


def test_rounding_noise_is_no_effect():
    # Ranks of exactly 1 up to rounding, always a little lower after training.
    data = dataset(1.0, untrained_ratio=1.0)
    data["effective_rank"][:] = 1.0
    data["effective_rank"][:, 1:, ..., -1] -= 1e-7 * (1 + np.linspace(0, 0.1, 8))[:, None, None, None]
    (place,) = of("S1-i", {"window": {1.0: data}})
    found = [one for one in place.shown if one.factors["measure"] == "effective_rank"]
    assert {one.status for one in found} == {"undefined"}


def test_adjusted_values_are_those_of_holm_over_the_place_and_intervals_are_simultaneous():
    (place, _) = of("S1-i", cells(dataset(0.3), dataset(0.7, length=7.0)))
    shown = place.shown
    np.testing.assert_allclose([one.adjusted for one in shown], holm([one.p_value for one in shown]))
    one = place.specifications[0].components[0].groups[0]
    assert shown[0].interval[:3] == pytest.approx(t_interval(one, 1 - 0.05 / len(shown))[:3])


def with_readings(effects, noise=0.01):
    """Runs in which every reading (level x centring, and all measures alike) has its own change of ln R."""
    data = dataset(0.9)
    shape = (7, 2)
    wanted = np.resize(effects, shape)
    noises = noise * np.random.default_rng(0).standard_normal((8, *shape))
    for measure in ("effective_rank", "energy_rank", "participation_ratio", "stable_rank"):
        data[measure][:] = 20.0
        data[measure][:, 0, ..., -1] = 18.0
        data[measure][:, 1:, ..., -1] = 18.0 * np.exp(wanted + noises)[:, None]
    return data


def test_the_typical_reading_decides_whatever_few_friendly_readings_say():
    (place,) = of("S1-i", {"window": {1.0: with_readings([-0.9] + [0.0] * 13)}})
    found = readings.over_readings(place)
    assert found.interval.mean == pytest.approx(0.0, abs=0.02)
    assert found.status == "mixed", "one reading is shown for the claim, the typical one against it"
    assert (
        found.controls["supported"]["value"] == 4
        and "position, uncentred" in found.controls["supported"]["requirement"]
    )
    (place,) = of("S1-i", {"window": {1.0: with_readings([-0.3, -0.4, -0.5, -0.6])}})
    found = readings.over_readings(place)
    assert found.status == "supported"
    assert found.controls["least"]["value"] == pytest.approx(-0.6, abs=0.02)
    assert found.controls["claimed_side"]["value"] == 1


def test_the_typical_reading_is_the_median_over_readings_of_each_run():
    rows = np.array([[0.1, -0.3, -0.2], [0.0, -0.4, -0.1], [0.2, -0.2, -0.3], [0.1, -0.5, -0.2]])
    part = [Component("c", (column,), "below", 0.0, dead=(0,)) for column in rows.T]
    (found,) = typical([Specification({"k": str(k)}, (p,)) for k, p in enumerate(part)])
    assert found.groups[0].tolist() == [-0.2, -0.1, -0.2, -0.2]
    assert t_interval(found.groups[0])[1:3] == pytest.approx((-0.254561157, -0.0954388424))


def test_counting_readings_measures_seeds_and_the_typical_one_does_not():
    """At fixed effects, spread over readings around the bound, more runs show more readings; the median stays."""
    effects = np.linspace(-0.35, 0.1, 14)
    shown, medians = [], []
    for runs in (8, 32):
        data = with_readings(effects, noise=0.15)
        data = xr.concat([data] * (runs // 8), "run") if runs > 8 else data
        data["effective_rank"] = data["effective_rank"] + 0.001 * np.arange(runs)[:, None, None, None, None]
        data["chain_seed"][:] = np.arange(runs)
        (place,) = of("S1-i", {"window": {1.0: data}})
        shown.append(sum(one.status != "undecided" for one in place.shown))
        medians.append(readings.over_readings(place).interval.mean)
    assert shown[1] > shown[0]
    assert medians[0] == pytest.approx(medians[1], abs=0.01)


def test_undefined_readings_do_not_count():
    data = dataset(0.3)
    for name in ("effective_rank", "energy_rank", "participation_ratio", "stable_rank"):
        data[name][:, :, 1, 1] = np.nan
    (place,) = of("S1-i", {"window": {1.0: data}})
    statuses = [one.status for one in place.shown]
    assert statuses.count("undefined") == 4 and set(statuses) == {"supported", "undefined"}
    assert readings.over_readings(place).status == "supported"


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (["supported"] * 2, "supported"),
        (["contradicted"] * 2, "contradicted"),
        (["contradicted", *["undecided"] * 31], "undecided"),
        (["contradicted", "supported"], "mixed"),
        (["undefined", "supported"], "supported"),
        ([], "undecided"),
    ],
)
def test_overall_of_places(statuses, expected):
    assert overall(statuses) == expected


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
