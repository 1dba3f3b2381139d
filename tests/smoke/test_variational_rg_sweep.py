"""The real command on a small sweep of every study: records, verdicts, figures, growth, resumption, bad values."""

import json
import signal
import time

import numpy as np
import pytest
import sweeps
import xarray as xr

from launch import sweep

FIGURES = {"fields", "fields_controls", "field_sizes", "reconstructions", "couplings", "trace_condition", "model",
           "stack_claims"}  # fmt: skip


def flags(workdir, *extra, preset="smoke"):
    return (f"--config=configs/variational_rg.py:{preset}", f"--workdir={workdir}", *extra)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("variational_rg") / "run"
    sweeps.run(*flags(folder, "--config.sweep.small.algorithm=cd,"))  # every algorithm is a program of its own
    return folder


def test_every_study_leaves_records_verdicts_and_figures(workdir):
    verdicts = {v["claim"].partition(" [")[0]: v["status"] for v in json.loads((workdir / "verdicts.json").read_text())}
    assert verdicts["S3-a"] == "supported" and verdicts["S3-b"] == "contradicted"
    # Two passes over 200 samples teach nothing, and what has not learned decides nothing.
    assert {verdicts[claim] for claim in ("S3-c", "S3-d coupling", "S3-d length", "S3-model")} == {"undecided"}
    assert {path.stem for path in (workdir / "figures").glob("*.png")} >= FIGURES
    with xr.open_dataset(workdir / "results.nc", engine="h5netcdf") as results:
        assert (results["died_at"] < 0).all()
        stack = results.isel(run=results["system"].values == "stack")
        assert stack["radius"].dims == ("run", "step", "layer", "unit")
        assert stack["receptive_field"].dims == ("run", "layer", "shown", "site")
        assert np.isfinite(stack["receptive_field"].values).all()
        last = stack.sel(step=int(stack["steps"].values[0]))
        for name in ("hidden_coupling", "reconstruction_error", "model_energy", "log_partition", "tiling"):
            assert np.isfinite(last[name].values).all(), name


def test_records_without_a_number_decide_nothing_and_zeros_do_no_harm(workdir):
    assert sweeps.judged_as_if(workdir, np.nan) <= sweeps.NOTHING
    assert sweeps.judged_as_if(workdir, 0.0)


@pytest.mark.slow
def test_finished_sweep_grows_by_the_new_strength_alone(workdir):
    before = {p: p.stat().st_mtime_ns for p in (workdir / "chunks").iterdir()}
    output = sweeps.run(*flags(workdir, "--config.sweep.study=strength", "--config.sweep.strength.l1=0.0,5e-3"))
    assert "2 runs" in output
    assert {p: p.stat().st_mtime_ns for p in before} == before


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("--config.stack.layers=(16,5)", "config.stack.layers = 5: must be the lattice's 64 sites divided by"),
        ("--config.sweep.strength.l1=(-1.0,)", "config.l1 = -1.0: must be at least 0"),
    ],
)
def test_bad_value_is_one_line(tmp_path, monkeypatch, capsys, bad, message):
    words = flags(tmp_path / "none", bad, "--config.sweep.study=strength")
    assert sweeps.refused(sweep, words, monkeypatch, capsys).startswith(f"error: {message}")
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_run_of_the_published_size_resumes_bit_for_bit(tmp_path):
    """1600-400-100-25 on 40 x 40 lattices, for 100 samples and 6 steps a machine instead of 40 000."""
    short = ("--config.stack.num_samples=200", "--config.stack.num_test=64", "--config.stack.epochs=3",
             "--config.stack.records=3", "--config.model.sweeps=4", "--config.model.temperatures=4",
             "--config.sweep.study=strength", "--config.sweep.strength.l1=(2e-4,)", "--config.runs.stack.seeds=2",
             "--config.engine.chunk_steps=2", "--config.engine.checkpoint_seconds=0.0")  # fmt: skip
    sweeps.run(*flags(tmp_path / "whole", *short, preset="paper"), timeout=600, optimised=True)
    cut = tmp_path / "cut"
    child = sweeps.start(*flags(cut, *short, preset="paper"), optimised=True)
    try:
        until = time.monotonic() + 500
        while len(list(cut.glob("chunks/*.npz"))) < 3 and child.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        child.send_signal(signal.SIGKILL)
    finally:
        child.kill()
        child.wait()
    assert 0 < len(list(cut.glob("chunks/*.npz"))) < 10
    sweeps.run(*flags(cut, *short, preset="paper"), timeout=600, optimised=True)
    a, b = (xr.load_dataset(folder / "results.nc", engine="h5netcdf") for folder in (tmp_path / "whole", cut))
    assert a["receptive_field"].sizes["site"] == 1600
    for name in a.data_vars:
        assert a[name].values.tobytes() == b[name].values.tobytes(), name
