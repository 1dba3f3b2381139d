"""Claims on the lattice chains from synthetic records: supported, contradicted and undecided ones.

Records are autoregressive around exact values, from fixed seeds; shifts that must be seen are 10 standard errors and
more, agreements within 4 (false-alarm rate 6e-5).
"""

import datasets
import numpy as np
import pytest
import xarray as xr

from rgflow.exact.ising import CRITICAL_COUPLING
from rgflow.exact.torus import kaufman_energy, kaufman_specific_heat
from rgflow.judging.claim import judge
from rgflow.protocol import Point, Results
from rgflow.variational_rg import lattice
from rgflow.variational_rg.claims import CLAIMS
from rgflow.variational_rg.claims_lattice import exponents
from rgflow.variational_rg.equilibrium import equilibrium
from rgflow.variational_rg.select import chains as chains_of

WALKERS, INTERVAL, RECORDS = 32, 100, 40
MADE = datasets.config_of("variational_rg")


def wandering(rng, shape, time):
    """Unit-variance series whose integrated autocorrelation time along the last axis is ``time``."""
    memory = (2 * time - 1) / (2 * time + 1)
    noise = rng.normal(size=shape)
    for k in range(1, shape[-1]):
        noise[..., k] = memory * noise[..., k - 1] + np.sqrt(1 - memory**2) * noise[..., k]
    return noise


def chains(size=16, coupling=0.408, runs=3, shift=0.0, cold_shift=0.0, drift=0, heat=1.0, time=5.0, seed=0):
    """A dataset as the engine makes it; ``drift`` records from either start are far from equilibrium."""
    rng = np.random.default_rng(seed)
    energy = kaufman_energy(coupling, size, size)
    variance = heat * kaufman_specific_heat(coupling, size, size) / coupling**2 / size**2
    sweeps = wandering(rng, (runs, 2, WALKERS, RECORDS * INTERVAL // 10), time / 10 + 0.45)
    single = (sweeps * np.sqrt(variance)).reshape(runs, 2, WALKERS, RECORDS, -1)
    offset = shift + cold_shift * np.array([0, 1])[None, :, None]
    away = 0.3 * np.array([1, -1])[None, :, None] * (np.arange(RECORDS) < drift)[None, None, :]
    offset = offset + away
    deviation = single.mean(axis=(2, 4)) + offset
    squares = (single**2).mean(axis=(2, 4)) + 2 * offset * single.mean(axis=(2, 4)) + offset**2
    second = 0.3 + 0.1 * single.mean(axis=(2, 4)) / np.sqrt(variance)
    fourth = 0.09 + 0.06 * (second - 0.3) / 1.0 + 0.01 * (single**2).mean(axis=(2, 4)) / variance
    records = {
        "chain_energy": energy + deviation,
        "chain_energy_square": squares,
        "chain_squared_magnetization": second,
        "chain_fourth_magnetization": fourth,
    }
    first = np.full((runs, 2, 1), np.nan)
    measured = {name: np.moveaxis(np.concatenate([first, value], axis=2), 2, 1) for name, value in records.items()}
    exact = {"kaufman_energy": energy, "kaufman_specific_heat": kaufman_specific_heat(coupling, size, size)}
    points = [Point({"system": "lattice", "size": size, "coupling": coupling}, runs)]
    schedule = (0, *range(INTERVAL, RECORDS * INTERVAL + 1, INTERVAL))
    return datasets.results(MADE, points, measured, {**exact, "walkers_per_start": WALKERS}, schedule=schedule)


def verdicts(dataset):
    """What the claims on lattices say, but for one that lacks its runs."""
    found = judge([claim for claim in CLAIMS if claim.name in ("S3-lattice", "S3-yardstick")], Results(dataset, {}))
    return [verdict for verdict in found if " [" in verdict.claim]


def only(dataset):
    (verdict,) = verdicts(dataset)
    return verdict


def test_exact_chains_are_supported():
    verdict = only(chains())
    assert verdict.claim == "S3-lattice [L = 16, K = 0.408]" and verdict.status == "supported"
    assert verdict.low < 0 < verdict.high and verdict.n_runs == 3
    assert verdict.controls["equilibrium"]["passed"] and verdict.controls["discarded"]["value"] >= 100
    exact = kaufman_specific_heat(0.408, 16, 16)
    assert verdict.controls["specific_heat"]["value"] == pytest.approx(exact, rel=0.02)


def test_a_shifted_energy_contradicts():
    verdict = only(chains(shift=0.02))
    assert verdict.status == "contradicted" and verdict.controls["sigmas"]["value"] > 10
    assert verdict.measured == pytest.approx(0.02 / kaufman_energy(0.408, 16, 16), rel=0.2)


def test_starts_that_stay_apart_decide_nothing():
    verdict = only(chains(cold_shift=0.04))
    assert verdict.status == "undecided" and not verdict.controls["equilibrium"]["passed"]
    # Even where their mean is right: half of the error is on either side.
    verdict = only(chains(shift=-0.005, cold_shift=0.04))
    assert verdict.status == "undecided"


def test_a_start_that_is_forgotten_is_discarded():
    (point,) = chains_of(Results(chains(drift=7), {}))
    found = equilibrium(point)
    assert found.reached and 7 <= found.discarded <= 9
    assert only(chains(drift=7)).status == "supported"
    assert only(chains(drift=25)).status == "undecided"


@pytest.mark.parametrize("time", [20.0, 60.0])
def test_the_autocorrelation_time_follows_from_records(time):
    (point,) = chains_of(Results(chains(time=time, runs=6), {}))
    found = equilibrium(point)
    assert found.time == pytest.approx(time, rel=0.3)
    assert found.discarded * INTERVAL >= 20 * found.time


def test_too_slow_a_chain_decides_nothing():
    assert only(chains(time=400.0)).status == "undecided"


def test_a_wrong_specific_heat_or_too_little_precision_leaves_it_undecided():
    verdict = only(chains(heat=1.2))
    assert verdict.status == "undecided" and not verdict.controls["specific_heat_sigmas"]["passed"]
    verdict = only(chains(runs=1, heat=400.0))
    assert verdict.status == "undecided" and not verdict.controls["precision"]["passed"]


def test_dead_runs_do_not_count():
    dataset = chains()
    dataset["chain_energy"][1, 20:] = np.nan
    dataset["died_at"][1] = 1900
    verdict = only(dataset)
    assert (verdict.n_runs, verdict.n_dead, verdict.status) == (2, 1, "supported")
    dataset["died_at"][:] = 1900
    assert only(dataset).status == "not_run"


def with_blocks(dataset, thermal=1.0, noise=0.02, seed=1):
    """Adds moments of Gaussian operators whose flow has the eigenvalues 2**thermal, 0.5 and 0.3 (even), 2**1.875."""
    rng = np.random.default_rng(seed)
    shape = (dataset.sizes["run"], dataset.sizes["step"])
    eigenvalues = {"even": [2**thermal, 0.5, 0.3], "odd": [2**1.875, 0.4]}
    for family, values in eigenvalues.items():
        count = len(values)
        rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(count, count)))[0]
        flow = rotation @ np.diag(values) @ rotation.T
        between = np.broadcast_to(flow / 2, (*shape, 2, count, count))
        within = np.broadcast_to(np.eye(count), between.shape)
        for part, value in (("within", within), ("between", between)):
            name = f"chain_{family}_{part}"
            dataset[name] = (("run", "step", *lattice.DIMS[name]), value + noise * rng.normal(size=value.shape))
        mean = noise * rng.normal(size=(*shape, 3, count))
        dataset[f"chain_{family}"] = (("run", "step", *lattice.DIMS[f"chain_{family}"]), mean)
    return dataset


@pytest.mark.parametrize(
    ("thermal", "noise", "status"),
    [(1.0, 0.02, "supported"), (1.2, 0.02, "contradicted"), (1.04, 0.5, "undecided")],
)
def test_yardstick(thermal, noise, status):
    dataset = with_blocks(chains(coupling=CRITICAL_COUPLING), thermal, noise)
    found, verdict = verdicts(dataset)
    assert found.status == "supported" and verdict.claim == "S3-yardstick [L = 16]"
    assert verdict.status == status
    assert verdict.low <= verdict.measured <= verdict.high
    value = verdict.controls["y_t_level_1_operators_3"]["value"]
    assert abs(value - 1) == pytest.approx(verdict.measured)
    assert value == pytest.approx(thermal, abs=max(0.01, noise))
    assert verdict.controls["y_h_level_0_operators_2"]["value"] == pytest.approx(1.875, abs=max(0.01, noise))


def test_yardstick_needs_equilibrium_and_critical_runs():
    apart = with_blocks(chains(coupling=CRITICAL_COUPLING, cold_shift=0.02))
    assert verdicts(apart)[1].status == "undecided"
    assert len(verdicts(with_blocks(chains(coupling=0.408)))) == 1
    finest = with_blocks(chains(coupling=CRITICAL_COUPLING))
    for family in ("even", "odd"):
        for part in ("within", "between"):
            finest[f"chain_{family}_{part}"][:, :, 1] = np.nan
    assert verdicts(finest)[1].status == "not_run"


def test_several_points_are_judged_each():
    parts = [chains(coupling=0.408), chains(size=8, coupling=0.5, shift=0.05)]
    names = [v.claim + " " + v.status for v in verdicts(xr.concat(parts, "run"))]
    assert names == ["S3-lattice [L = 8, K = 0.5] contradicted", "S3-lattice [L = 16, K = 0.408] supported"]


def test_operators_that_do_not_vary_independently_have_no_exponent():
    rng = np.random.default_rng(0)
    own, mixed = np.array([[2.0, 0.5], [0.5, 1.0]]), rng.normal(size=(2, 2))
    dependent = np.array([[1.0, 2.0], [2.0, 4.0]])
    within = np.stack([own, dependent, np.zeros((2, 2)), np.full((2, 2), np.nan)])[:, None]
    moments = {"even": np.zeros((4, 2, 2)), "even_within": within, "even_between": np.broadcast_to(mixed, within.shape)}
    found = exponents(moments, "even", 0)
    largest = np.abs(np.linalg.eigvals(2 * np.linalg.solve(own, mixed))).max()
    np.testing.assert_allclose(found[0], np.log2([abs(mixed[0, 0]), largest]), rtol=1e-12)
    np.testing.assert_allclose(found[1, 0], np.log2(2 * abs(mixed[0, 0])), rtol=1e-12)
    assert np.isnan([found[1, 1], *found[2], *found[3]]).all()
