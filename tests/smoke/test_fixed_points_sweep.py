"""The real command on a small sweep: records, verdicts, a report, resumption, growth, and bad values in one line."""

import json

import numpy as np
import pytest
import sweeps
import xarray as xr

from launch import sweep

# Three programs alone: a network with a decoder, one with a readout, and the compressions.
SMALL = (
    "--config.sweep.study=tasks,compressions",
    "--config.sweep.tasks.data=ising",
    "--config.sweep.compressions.data=ising",
    "--config.sweep.tasks.task=autoencoder,classification",
    "--config.samples=320",
)


def flags(workdir, *extra, small=SMALL):
    return ("--config=configs/fixed_points.py:smoke", f"--workdir={workdir}", *small, *extra)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fixed_points") / "run"
    sweeps.run(*flags(folder))
    return folder


def test_every_run_leaves_records_verdicts_and_a_report(workdir):
    verdicts = {v["claim"]: v["status"] for v in json.loads((workdir / "verdicts.json").read_text())}
    # Twenty steps are no optimum: no reading may come to a decision.
    readings = {claim: status for claim, status in verdicts.items() if claim.startswith("S2 [ising")}
    assert len(readings) == 2 * 3 * 2 and set(readings.values()) == {"undecided"}
    assert verdicts["S2-gauge"] == "not_run"
    assert {claim for claim in verdicts if claim.startswith("S2 [all")} == {
        "S2 [all readings, decimation]", "S2 [all readings, block_sum]"}  # fmt: skip
    assert "all readings, decimation" in (workdir / "report.html").read_text()
    assert list((workdir / "figures").glob("*.png"))
    with xr.open_dataset(workdir / "results.nc", engine="h5netcdf") as results:
        assert (results["died_at"] < 0).all() and results.sizes["run"] == 2 * (2 * 2 + 2)
        assert results["ring_coupling"].dims == ("run", "step", "layer", "gauge", "estimator")
        assert results["exact_coupling"].dims == ("run", "scheme", "level")
        trained = results.isel(run=results["task"].values != "compression").sel(step=20)
        for name in ("mean_coupling", "ring_coupling", "floor_ring_coupling"):
            assert np.isfinite(trained[name].sel(estimator="pseudo_likelihood").values).all(), name
        for name in ("excess_kurtosis", "correlation", "mutual_information", "loss", "relative_loss", "live"):
            assert np.isfinite(trained[name].values).all(), name
        data = results.isel(run=results["task"].values == "compression").sel(step=0)
        assert np.isfinite(data["compressed_ring_coupling"].sel(compression="projection").values).all()
        assert np.isnan(data["ring_coupling"].values).all()


def test_records_without_a_number_decide_nothing_and_zeros_do_no_harm(workdir):
    assert sweeps.judged_as_if(workdir, np.nan) <= sweeps.NOTHING
    assert sweeps.judged_as_if(workdir, 0.0)


@pytest.mark.slow  # what every sweep does is tested with toy sweeps in the default suite
def test_a_finished_sweep_adds_nothing(workdir):
    before = {path: path.stat().st_mtime_ns for path in (workdir / "chunks").iterdir()}
    records = (workdir / "results.nc").read_bytes()
    sweeps.run(*flags(workdir))
    assert {path: path.stat().st_mtime_ns for path in (workdir / "chunks").iterdir()} == before
    with xr.open_dataset(workdir / "results.nc", engine="h5netcdf") as results:
        assert results.sizes["run"] == 12
    assert records


@pytest.mark.slow
def test_a_sweep_grows_by_the_new_coupling_alone(workdir):
    before = {path: path.stat().st_mtime_ns for path in (workdir / "chunks").iterdir()}
    sweeps.run(*flags(workdir, "--config.sweep.couplings.ising=0.3,0.6,0.9"))
    with xr.open_dataset(workdir / "results.nc", engine="h5netcdf") as results:
        assert results.sizes["run"] == 18 and set(results["coupling"].values.tolist()) == {0.3, 0.6, 0.9}
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.slow
def test_the_whole_smoke_preset(tmp_path):
    sweeps.run(*flags(tmp_path / "run", small=()), timeout=560)
    verdicts = {v["claim"] for v in json.loads((tmp_path / "run" / "verdicts.json").read_text())}
    assert any(claim.startswith("S2-gauge [gaussian, autoencoder, identity") for claim in verdicts)
    assert any(claim.startswith("S2-flow [phi4, classification") for claim in verdicts)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("--config.sweep.couplings.ising=(-1.0,)", "config.coupling = -1.0: must lie within [0, 5]"),
        ("--config.num_sites=9", "config.num_sites = 9: must be divisible by 2**halvings = 2"),
        ("--config.sweep.tasks.data=brain", "config.data = 'brain': must be one of"),
        ("--config.learning_rate=nan", "config.learning_rate = nan: must be a finite positive number"),
        ("--config.steps=many", "config.steps = 'many': must be of type int"),
    ],
)
def test_bad_value_is_one_line(tmp_path, monkeypatch, capsys, bad, message):
    words = flags(tmp_path / "none", bad, small=())
    assert sweeps.refused(sweep, words, monkeypatch, capsys).startswith(f"error: {message}")
    assert not (tmp_path / "none").exists()
