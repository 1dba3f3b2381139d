"""The judges of claims on datasets made by hand, where the right answer is known; and the numbers they rest on."""

import datasets
import numpy as np
import pytest
import xarray as xr

from rgflow.judging.claim import judge
from rgflow.judging.convergence import Estimate
from rgflow.kernel_rg import claims, claims_swept, claims_trained, select
from rgflow.kernel_rg.reference import THEORIES
from rgflow.protocol import Point, Results

TESTS, RECORDS, CHAINS = 6, 200, 4
BASE = {
    "study": "cases", "sampler": "gibbs", "activation": "linear", "data": "teacher", "data_seed": 0, "width": 40,
    "depth": 2, "num_train": 20, "num_inputs": 40, "sigma2": 1.0, "temperature": 0.01, "label_noise": 0.1,
    "label_scale": 1.0, "steps": 500, "burn_in": 100, "records": RECORDS,
}  # fmt: skip
PADDED = {"padded__width": 64, "padded__depth": 2, "padded__num_train": 64, "padded__num_inputs": 40}
CONFIG = datasets.config_of("kernel_rg", num_test=TESTS, **PADDED)
TRAINED = {"sampler": "trained", "study": "trained", "records": 4}
TRUTH = {"scale": 2.0, "energy": 0.3, "variance": 0.5, "mean": 1.0, "projection": 0.1}


def theory_arrays(found):
    """Returns the theory variables of one run from {theory: {quantity: value}}; NaN for theories that are left out."""
    column = lambda name: np.array([found.get(t, {}).get(name, np.nan) for t in THEORIES])  # noqa: E731
    tests, layers = np.ones(TESTS), np.ones(2)
    return {
        "theory_scale": column("scale"),
        "theory_energy": column("energy"),
        "theory_mean": np.outer(column("mean"), tests),
        "theory_variance": np.outer(column("variance"), tests),
        "theory_kernel_projection": np.outer(column("projection"), layers),
        "theory_kernel_trace": np.outer(column("projection"), layers),
    }


def records_of(values, truth, seed, schedule, drift=0.0, noise=0.02):
    """Records of one run that scatter about ``truth`` by a relative ``noise``, moved by ``drift`` as a whole."""
    rng = np.random.default_rng([seed, int(1000 * truth["scale"]), int(values["width"])])
    trained = values["sampler"] == "trained"
    count = len(schedule) if trained else len(schedule) - 1
    around = lambda x, *shape: x * (1 + drift + noise * rng.normal(size=(count, *shape)))  # noqa: E731
    spread = np.sqrt(truth["variance"]) * rng.normal(size=(count, TESTS))
    prediction = truth["mean"] * (1 + drift) + (spread if trained else 0.1 * spread)
    square = prediction**2 if trained else around(truth["variance"] + truth["mean"] ** 2, TESTS)
    records = {
        "scale": around(truth["scale"]),
        "energy": np.full(count, truth["energy"]) if trained else around(truth["energy"]),
        "prediction": prediction,
        "prediction_square": square,
        "kernel_projection": around(truth["projection"], 2),
        "kernel_trace": around(truth["projection"], 2),
    }
    # Where a chain starts is no sample.
    return records if trained else {name: np.concatenate([0 * x[:1], x]) for name, x in records.items()}


def point(theory, truth=None, runs=CHAINS, drifts=(), noise=0.02, known=None, **values):
    """Runs of one point; ``drifts`` move single chains."""
    truth, values = {**TRUTH, **(truth or {})}, {**BASE, **values}
    moved = [*drifts, *([0.0] * runs)][:runs]
    measured = lambda run, experiment: records_of(  # noqa: E731
        values, truth, run.seed, experiment.schedule, moved[run.seed], noise
    )
    told = {"label_norm": 2.0, "load": 0.5, "coexistence": 0.0, "zero_energy": 10.0, "test_targets": 0.0}
    reference = {**told, **theory_arrays(theory), **(known or {})}
    return datasets.results(CONFIG, [Point(values, runs)], measured, reference)


def theory(wide=0.5, **factors):
    """Theories: the exact truth, a saddle point off by given factors, an infinite width off by 50 %."""
    off = {name: x * factors.get(name, 1.0) for name, x in TRUTH.items()}
    return {"exact": TRUTH, "saddle": off, "wide": {name: wide * x for name, x in TRUTH.items()}}


def together(*data):
    """The results of some points."""
    return Results(xr.concat(data, "run", join="outer"), None)


def rows(*data):
    return select.points(together(*data))


@pytest.mark.parametrize(
    ("truth", "status"), [({}, "supported"), ({"scale": 2.2}, "contradicted"), ({"energy": 0.33}, "contradicted")]
)
def test_sampler_is_exact(truth, status):
    judged = claims.sampler_is_exact("here", rows(point(theory(), truth)))
    assert judged.status == status
    assert judged.counts == (CHAINS, 0)
    assert judged.interval.low <= judged.interval.mean <= judged.interval.high
    assert judged.controls["r_hat"]["value"] < 1.05


def test_chains_that_disagree_decide_nothing():
    for truth in ({}, {"scale": 3.0}):
        judged = claims.sampler_is_exact("here", rows(point(theory(), truth, drifts=(0.1, -0.1))))
        assert judged.status == "undecided"
        assert not judged.controls["r_hat"]["passed"]


def test_agreement_of_blunt_chains_means_nothing():
    judged = claims.sampler_is_exact("here", rows(point(theory(), noise=0.8)))
    assert judged.status == "undecided"
    assert not judged.controls["sharpness"]["passed"]


@pytest.mark.parametrize(
    ("factors", "status"),
    [({"variance": 1.03}, "supported"), ({"variance": 1.5}, "contradicted"), ({"scale": 1 / 0.9}, "undecided")],
)
def test_saddle_describes(factors, status):
    """2 L/N is 10 %: 3 % is inside, 50 % outside, 10 % on the bound."""
    judged = claims.saddle_describes("here", rows(point(theory(**factors))))
    assert judged.status == status
    expected = 20 * abs(1 / max(factors.values()) - 1)
    assert judged.interval.mean == pytest.approx(expected, abs=0.2) or status == "supported"


@pytest.mark.parametrize(("sigmas", "status"), [(1.0, "undecided"), (2.3, "undecided"), (4.0, "contradicted")])
def test_one_observable_of_many_contradicts_only_if_it_is_clear(sigmas, status):
    """One of six observables lies beyond 2 L/N by some standard errors: 2.64 are needed for all of them together."""
    data = rows(point(theory()))[0]
    unit, error = data.values["width"] / data.values["depth"], data.measured["variance"].error
    value = (1 + (claims.SADDLE_BOUND / unit)) * data.theory["saddle"]["variance"] + sigmas * error
    moved = data.measured["variance"]._replace(mean=value)
    judged = claims.saddle_describes("here", [data._replace(measured={**data.measured, "variance": moved})])
    assert judged.status == status
    assert (judged.interval.low > claims.SADDLE_BOUND) == (sigmas > 2)
    assert (judged.controls["lower_end"]["value"] > claims.SADDLE_BOUND) == (status == "contradicted")


def test_saddle_no_better_than_infinite_width_is_not_supported():
    judged = claims.saddle_describes("here", rows(point(theory(wide=1.01))))
    assert judged.status == "undecided"
    assert not judged.controls["infinite_width"]["passed"]


@pytest.mark.parametrize(
    ("factor", "wide", "status"),
    [(1.05, 0.5, "supported"), (1.4, 0.5, "contradicted"), (1.15, 0.5, "undecided"), (1.05, 1.1, "undecided"),
     (1.4, 1.1, "contradicted")],
)  # fmt: skip
def test_heuristic_variance(factor, wide, status):
    found = {k: v for k, v in theory(wide=wide, variance=factor).items() if k != "exact"}
    data = point(found, study="relu", sampler="hmc", activation="relu", noise=0.01)
    judged = claims.heuristic_variance("here", rows(data)[0])
    assert judged.status == status
    assert judged.interval.mean == pytest.approx(factor - 1, abs=0.05)


@pytest.mark.parametrize(("factor", "status"), [(1.02, "supported"), (2.0, "contradicted")])
def test_heuristic_mean(factor, status):
    found = {k: v for k, v in theory(mean=factor).items() if k != "exact"}
    data = point(found, study="relu", sampler="hmc", activation="relu")
    judged = claims.heuristic_mean("here", rows(data)[0])
    assert judged.status == status
    assert judged.interval.mean == pytest.approx(1 - 1 / factor, abs=0.03)


@pytest.mark.parametrize(("norm", "status"), [(2.0, "supported"), (0.5, "contradicted")])
def test_sign_rule(norm, status):
    """The variance falls with N, as it should where r_0 exceeds sigma^(2L) = 1."""
    points = [
        point(theory(), {"variance": v}, width=n, study="width", known={"label_norm": norm})
        for n, v in ((10, 0.9), (20, 0.7), (40, 0.5))
    ]
    judged = claims_swept.sign_rule("here", rows(*points))
    assert judged.status == status
    assert abs(judged.interval.mean) == pytest.approx(np.log(0.9 / 0.5), abs=0.05)


def test_sign_rule_needs_a_monotone_variance():
    points = [point(theory(), {"variance": v}, width=n) for n, v in ((10, 0.7), (20, 0.9), (40, 0.5))]
    judged = claims_swept.sign_rule("here", rows(*points))
    assert judged.status == "undecided"
    assert not judged.controls["monotone"]["passed"]


@pytest.mark.parametrize(
    ("sigma2", "scales", "status"),
    [
        # alpha = 0.5, r_0 = 2: the limits are 2 and 6; above sigma2 = 2 there is none.
        (1.0, (1.3, 1.6, 1.9), "supported"),
        (1.0, (1.9, 1.6, 1.3), "contradicted"),
        (2.5, (2.0, 4.0, 9.0), "supported"),
        (2.5, (9.0, 4.0, 2.0), "contradicted"),
    ],
)
def test_depth_limit(sigma2, scales, status):
    points = [point(theory(), {"scale": q}, depth=n, sigma2=sigma2) for n, q in zip((1, 2, 2), scales, strict=True)]
    found = [p._replace(values={**p.values, "depth": n}) for p, n in zip(rows_of(points), (1, 2, 4), strict=True)]
    assert claims_swept.depth_limit("here", found).status == status


def rows_of(points):
    return [rows(p)[0] for p in points]


def data_sets(peaks, dead=0):
    """Points at three numbers of training points for every data set; its mean output at P = N0 is one of ``peaks``.

    Of the first ``dead`` data sets the chains at P = N0 have no number.
    """
    made = []
    for seed, peak in enumerate(peaks):
        for num_train, mean in ((20, 1.0), (40, peak), (64, 0.8)):
            one = point(theory(), {"mean": mean * (1 + 0.05 * seed)}, num_train=num_train, data_seed=seed, study="size")
            if num_train == 40 and seed < dead:
                for name in ("prediction", "prediction_square"):
                    one[name] = one[name] * np.nan
            made.append(one)
    return rows(*made)


NOISE = np.array([-0.05, 0.03, 0.01, -0.02, 0.04, -0.01, 0.02, -0.02, 0.01])


@pytest.mark.parametrize(
    ("peak", "count", "noise", "status"),
    [
        (2.0, 9, 1, "supported"),
        (0.5, 9, 1, "contradicted"),
        # The bias at P = N0 is as large as the one at N0/2.
        (1.0, 9, 1, "undecided"),
        # Three data sets that all have a peak: they decide nothing unless they are much more alike.
        (2.0, 3, 4, "undecided"),
        (2.0, 1, 1, "undecided"),
    ],
)
def test_bias_peaks(peak, count, noise, status):
    judged = claims_swept.bias_peaks("size", data_sets(peak * (1 + noise * NOISE[:count])))
    assert judged.status == status
    assert judged.interval.mean == pytest.approx(2 * np.log(peak), abs=0.15) and judged.interval.n == count
    assert judged.controls["data_sets"]["value"] == count
    assert judged.components[0]["runs"] == count


def test_data_sets_without_noise_or_without_a_number():
    def finding(values):
        part = [row._replace(measured={**row.measured, "bias": Estimate(x, 0.01, 1.0, 500.0)}) for row, x in values]
        return claims_swept.bias_peaks("size", part)

    found = data_sets(np.full(9, 2.0))
    at_peak = lambda row: row.values["num_train"] == 40  # noqa: E731
    own = lambda row: 4.0 * (1 + 10 * NOISE[int(row.values["data_seed"])])  # noqa: E731
    equal = finding([(row, 4.0 if at_peak(row) else 1.0) for row in found])
    assert equal.status == "undecided" and equal.interval.mean == pytest.approx(np.log(4.0))
    assert np.isnan(equal.components[0]["p_for"])
    # A bias that noise made negative has no logarithm; set at the bound, six such data sets of nine leave it open:
    # t = sqrt((n - k)(n - 1) / k) is 2 and has to be 2.31.
    for lost, status in ((0, "supported"), (1, "supported"), (6, "undecided")):
        hidden = lambda row, lost=lost: -0.1 if row.values["data_seed"] < lost else own(row)  # noqa: E731
        judged = finding([(row, hidden(row) if at_peak(row) else 1.0) for row in found])
        assert (judged.status, judged.controls["data_sets"]["value"]) == (status, 9 - lost)


def test_chains_that_have_not_converged_leave_the_peak_open():
    for peak in (2.0, 0.5):
        judged = claims_swept.bias_peaks("size", data_sets(peak * (1 + NOISE), dead=1))
        assert judged.status == "undecided" and not judged.controls["r_hat"]["passed"]


def trained_point(truth, temperature=0.0, found=None):
    truth = {"energy": 1e-6, "projection": 0.1, **truth}
    return rows(point(found or theory(), truth, runs=64, temperature=temperature, **TRAINED))[0]


def judged_training(row):
    """The findings on mean and variance, and with weight decay on the minimum."""
    judges = [claims_trained.mean_is_equilibrium, claims_trained.variance_is_equilibrium]
    judges += [claims_trained.ends_in_the_minimum] if row.values["temperature"] > 0 else []
    return [judge("here", row) for judge in judges]


@pytest.mark.parametrize(("scale", "status"), [(2.0, "supported"), (3.0, "contradicted")])
def test_trained_variance_without_decay_is_read_from_the_scale(scale, status):
    row = trained_point({"scale": scale, "variance": 0.5 * scale / 2})
    mean, variance = judged_training(row)
    assert (variance.status, variance.counts) == (status, (64, 0))
    assert variance.interval.mean == pytest.approx(scale / 2 - 1, abs=0.02)
    assert mean.status == "supported"


def test_scale_and_variance_that_disagree_decide_nothing():
    row = trained_point({"scale": 2.0, "variance": 3.0})
    variance = judged_training(row)[1]
    assert variance.status == "undecided"
    assert not variance.controls["direct"]["passed"]


def test_network_that_fitted_nothing_decides_nothing():
    row = trained_point({"energy": 5.0, "scale": 3.0})
    assert {v.status for v in judged_training(row)} == {"undecided"}


def test_minimum_of_the_energy():
    found = {**theory(), "map": {"mean": 0.7, "variance": 0.0, "scale": 1.0, "energy": 0.3}}
    row = trained_point({"mean": 0.7, "variance": 1e-8, "energy": 0.3}, 0.05, found)
    mean, variance, minimum = judged_training(row)
    assert (mean.status, variance.status, minimum.status) == ("contradicted", "contradicted", "supported")
    row = trained_point({"mean": 1.0, "variance": 1e-8, "energy": 0.3}, 0.05, found)
    assert [v.status for v in judged_training(row)] == ["supported", "contradicted", "contradicted"]


def test_dead_chains_are_counted_and_left_out():
    data = point(theory(), runs=6)
    for name in ("scale", "energy", "prediction", "prediction_square", "kernel_projection", "kernel_trace"):
        data[name][1, 76:] = np.nan
    data["died_at"][1] = 250
    judged = claims.sampler_is_exact("here", rows(data))
    assert (judged.status, judged.counts) == ("supported", (5, 1))
    everyone = data.copy(deep=True)
    everyone["scale"][:] = np.nan
    assert claims.sampler_is_exact("here", rows(everyone)).status == "undecided"


def test_summary_of_variance_and_bias():
    row = rows(point(theory(), runs=8))[0]
    assert row.measured["variance"].mean == pytest.approx(0.5, abs=4 * row.measured["variance"].error)
    assert row.measured["bias"].mean == pytest.approx(1.0, abs=4 * row.measured["bias"].error)
    total = row.measured["variance"].mean + row.measured["bias"].mean
    assert row.measured["error"].mean == pytest.approx(total, abs=1e-9)
    assert row.theory["exact"]["bias"] == pytest.approx(1.0)
    assert np.isnan(row.theory["map"]["variance"])
    assert row.worst[0] <= 1.05 and row.worst[1] >= 100
    assert isinstance(row.measured["scale"], Estimate)


def test_sweep_of_one_study_says_what_is_missing():
    found = judge(claims.CLAIMS, together(point(theory())))
    judged = {v.claim.partition(" [")[0]: v for v in found}
    assert [judged.pop(name).status for name in ("S4-sampler", "S4-linear")] == ["supported", "supported"]
    assert {v.status for v in judged.values()} == {"not_run"}
    assert {v.expected.partition("study ")[2] for v in judged.values()} == {
        "'width'", "'depth'", "'size'", "'relu'", "'trained'",
    }  # fmt: skip
    assert [claim.name for claim in claims.CLAIMS] == ["S4-sampler", "S4-linear", *judged]


def test_every_study_reaches_its_claims():
    data = [
        *(point(theory(), study="width", width=n) for n in (10, 40)),
        *(point(theory(), study="depth", depth=n) for n in (1, 2)),
        *(point(theory(), study="size", num_train=n) for n in (20, 40, 64)),
        point(theory(), study="relu", sampler="hmc", activation="relu"),
        point(theory(), temperature=0.05, runs=8, **TRAINED),
        point(theory(), study="cases"),
    ]
    found = judge(claims.CLAIMS, together(*data))
    assert {v.claim.partition(" [")[0] for v in found} == {claim.name for claim in claims.CLAIMS}
    assert len({v.claim for v in found}) == len(found)
    assert all(v.status != "not_run" for v in found)


def test_zero_output_is_no_unit_of_a_distance():
    found = {**theory(), "map": {"mean": 0.0, "variance": 0.0, "scale": 0.0, "energy": 0.3}}
    minimum = judged_training(trained_point({"mean": 0.7, "variance": 1e-8, "energy": 0.3}, 0.05, found))[2]
    assert minimum.status == "undecided"
    assert np.isnan(minimum.interval.mean)
    assert not minimum.controls["collapsed"]["passed"]
