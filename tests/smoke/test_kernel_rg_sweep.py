"""The real command on a small sweep of every study: files, records, verdicts, growth, a bad value."""

import json

import numpy as np
import pytest
import sweeps
import xarray as xr

from launch import sweep

# Three programs: two cases, networks of all sizes, trained ones. Every kind of Hamiltonian chain is one more.
SMALL = ("--config.sweep.study=cases,width,depth,size,sigma2,data,trained",)
CLAIMS = {"S4-sampler", "S4-linear", "S4-width", "S4-depth", "S4-size"}


def flags(workdir, *extra, small=SMALL):
    return ("--config=configs/kernel_rg.py:smoke", f"--workdir={workdir}", *small, *extra)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kernel_rg") / "run"
    sweeps.run(*flags(folder))
    return folder


def test_every_study_leaves_records_and_verdicts(workdir):
    verdicts = json.loads((workdir / "verdicts.json").read_text())
    claims = {v["claim"].partition(" [")[0] for v in verdicts if v["status"] != "not_run"}
    assert claims == {*CLAIMS, "S4-trained mean", "S4-trained variance", "S4-MAP"}
    # Two chains of 24 sweeps decide nothing.
    chains = [v for v in verdicts if not v["claim"].startswith(("S4-trained", "S4-MAP", "S4-ReLU"))]
    assert {v["status"] for v in chains} == {"undecided"}
    with xr.open_dataset(workdir / "results.nc", engine="h5netcdf") as results:
        assert set(results["study"].values) == {
            "cases", "width", "depth", "size", "sigma2", "data", "trained",
        }  # fmt: skip
        assert (results["died_at"] < 0).all()
        assert results["theory_mean"].dims == ("run", "theory", "test")
        assert results["kernel_distance"].dims == ("run", "step", "theory", "layer")
        last = results.isel(run=results["sampler"].values == "gibbs").sel(step=24)
        for name in ("scale", "energy", "prediction", "acceptance"):
            assert np.isfinite(last[name]).all(), name


def test_records_without_a_number_decide_nothing_and_zeros_do_no_harm(workdir):
    assert sweeps.judged_as_if(workdir, np.nan) <= sweeps.NOTHING
    assert sweeps.judged_as_if(workdir, 0.0)


@pytest.mark.slow
def test_the_whole_smoke_preset(tmp_path):
    workdir = tmp_path / "run"
    sweeps.run(*flags(workdir, small=()))
    claims = {v["claim"].partition(" [")[0] for v in json.loads((workdir / "verdicts.json").read_text())}
    assert claims > {*CLAIMS, "S4-ReLU variance", "S4-ReLU mean"}
    with xr.open_dataset(workdir / "results.nc", engine="h5netcdf") as results:
        assert {"hmc", "relu"} < set(results["study"].values)
        assert np.isnan(results["scale"].isel(run=results["activation"].values == "relu")).all()


@pytest.mark.slow
def test_finished_sweep_grows_by_the_new_chains_alone(workdir):
    before = {p: p.stat().st_mtime_ns for p in (workdir / "chunks").iterdir()}
    output = sweeps.run(*flags(workdir, "--config.sweep.study=depth", "--config.runs.gibbs.seeds=3", small=()))
    assert "2 runs" in output
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_bad_value_is_one_line(tmp_path, monkeypatch, capsys):
    bad = flags(tmp_path / "none", "--config.temperature=-1.0", "--config.sweep.study=width")
    assert sweeps.refused(sweep, bad, monkeypatch, capsys) == (
        "error: config.temperature = -1.0: must be a finite number of at least 0.001, what float32 sampling can resolve"
    )
    assert not (tmp_path / "none").exists()
