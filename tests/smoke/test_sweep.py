"""The real command on a small sweep: files, interruption by signals at several moments, growth, another config."""

import json
import signal
import subprocess
import time

import numpy as np
import pytest
import sweeps
import xarray as xr

from launch import sweep

SMALL = [
    "--config=configs/rank_flow.py:smoke",
    "--config.width=8",
    "--config.depth=2",
    "--config.probe_batch=4",
    "--config.runs.tokenwise.steps=60",
    "--config.runs.window.steps=40",
    "--config.engine.chunk_steps=20",
    "--config.engine.checkpoint_seconds=0.0",
]
ONE_MIXING = "--config.sweep.mixing=tokenwise,"
FILES = {"config.json", "run.json", "events.jsonl", "results.nc", "verdicts.json", "report.html"}


def flags(workdir, *extra):
    return (*SMALL, f"--workdir={workdir}", *extra)


def wait_for(condition, process, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.0005)


def assert_same_bits(workdir, reference):
    with xr.open_dataset(workdir / "results.nc") as a, xr.open_dataset(reference / "results.nc") as b:
        assert set(a.variables) == set(b.variables)
        for name in a.variables:
            x, y = a[name].values, b[name].values
            assert (a[name].dims, x.shape, x.dtype) == (b[name].dims, y.shape, y.dtype)
            same = x.tolist() == y.tolist() if x.dtype.kind in "OU" else x.tobytes() == y.tobytes()
            assert same, name
    assert (workdir / "verdicts.json").read_text() == (reference / "verdicts.json").read_text()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("whole") / "run"
    assert "S1-iii" in sweeps.run(*flags(workdir, ONE_MIXING))
    return workdir


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A sweep of two mixings, which are two groups."""
    workdir = tmp_path_factory.mktemp("both") / "run"
    sweeps.run(*flags(workdir))
    return workdir


def test_workdir_holds_what_is_promised(uninterrupted):
    assert {p.name for p in uninterrupted.iterdir()} == {*FILES, "chunks", "checkpoints", "figures", "tables"}
    verdicts = json.loads((uninterrupted / "verdicts.json").read_text())
    judged = {v["claim"].split()[0] for v in verdicts if v["status"] != "not_run"}
    assert judged == {"S1-i", "S1-ii", "S1-iii", "S1-modes"}
    assert {v["status"] for v in verdicts} <= {"supported", "contradicted", "undecided", "not_run"}
    with xr.open_dataset(uninterrupted / "results.nc") as results:
        assert results.sizes["run"] == 4
        assert set(results["effective_rank"].dims) == {"run", "step", "level", "centring", "layer"}
        assert {"seed", "mixing", "correlation_length"} <= set(results.coords)
        assert json.loads(results.attrs["config"])["width"] == 8
    page = (uninterrupted / "report.html").read_text()
    assert "data:image/svg+xml" in page
    assert "S1-ii" in page


def test_records_without_a_number_decide_nothing_and_zeros_do_no_harm(uninterrupted):
    assert sweeps.judged_as_if(uninterrupted, np.nan) <= sweeps.NOTHING
    assert sweeps.judged_as_if(uninterrupted, 0.0)


MOMENTS = {
    "before the first record": lambda w: (w / "run.json").exists(),
    "after the first record": lambda w: (w / "chunks" / "group_000-000000000.npz").exists(),
    "inside a checkpoint write": lambda w: any((w / "checkpoints" / "group_000").glob("*orbax-checkpoint-tmp*")),
    "in the second group": lambda w: (w / "chunks" / "group_001-000000001.npz").exists(),
    "inside a late checkpoint write": lambda w: any((w / "checkpoints" / "group_001").glob("*orbax-checkpoint-tmp*")),
    "while reporting": lambda w: (w / "chunks" / "group_001-000000040.npz").exists(),
}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_at_many_moments_and_started_again_ends_with_the_same_bits(both, tmp_path):
    workdir = tmp_path / "run"
    for moment in MOMENTS.values():
        process = sweeps.start(*flags(workdir))
        wait_for(lambda m=moment: m(workdir), process)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    sweeps.run(*flags(workdir))
    assert_same_bits(workdir, both)


@pytest.mark.slow  # the toy sweeps of tests/engine are stopped by both in the default suite
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_signal_saves_exits_75_and_the_rest_gives_the_same_bits(uninterrupted, tmp_path, number):
    workdir = tmp_path / "run"
    process = sweeps.start(*flags(workdir, ONE_MIXING))
    wait_for((workdir / "chunks" / "group_000-000000001.npz").exists, process)
    process.send_signal(number)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 75, output
    command = output.strip().splitlines()[-1].strip()
    assert command.startswith("python -m launch.sweep --config=configs/rank_flow.py:smoke")
    assert any((workdir / "checkpoints" / "group_000").glob("[0-9]*"))
    sweeps.run(*flags(workdir, ONE_MIXING))
    assert_same_bits(workdir, uninterrupted)


# Slow: growing is tested on the toy experiment.
@pytest.mark.slow
def test_finished_sweep_started_again_runs_nothing_and_grows_by_what_is_missing(both, tmp_path):
    workdir = tmp_path / "run"
    subprocess.run(["cp", "-r", "--preserve=timestamps", both, workdir], check=True)
    before = {p: p.stat().st_mtime_ns for p in (workdir / "chunks").iterdir()}
    output = sweeps.run(*flags(workdir, "--config.runs.window.seeds=3"))
    assert output.count("runs are finished") == 2
    assert {p: p.stat().st_mtime_ns for p in before} == before
    with xr.open_dataset(workdir / "results.nc") as grown, xr.open_dataset(both / "results.nc") as old:
        assert grown.sizes["run"] == 10
        np.testing.assert_array_equal(grown["effective_rank"][:8], old["effective_rank"])


def test_another_config_is_refused_with_the_changed_fields(uninterrupted, monkeypatch, capsys):
    line = sweeps.refused(
        sweep, flags(uninterrupted, "--config.mask_prob=0.2", "--config.norm=post"), monkeypatch, capsys
    )
    assert "mask_prob: 0.15 -> 0.2; norm: pre -> post" in line


# Slow: the tutorial does the same.
@pytest.mark.slow
def test_dry_run_compiles_reports_and_writes_nothing(tmp_path):
    output = sweeps.run(*flags(tmp_path / "run", ONE_MIXING, "--dry_run"))
    assert "MiB per device" in output
    assert "compiled in" in output
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_settings_run_by_overrides_alone_and_are_coordinates(tmp_path):
    words = (
        "--config=configs/rank_flow.py:smoke",
        "--config.sweep.study=claims,settings",
        "--config.sweep.mixing=window,",
    )
    printed = sweeps.run(*words, f"--workdir={tmp_path / 'w'}", timeout=500)
    with xr.open_dataset(tmp_path / "w" / "results.nc", engine="h5netcdf") as results:
        found = {name: set(results[name].values.tolist()) for name in ("mask_mode", "norm", "activation", "tied")}
        assert set(results["chain.kind"].values) == {"dirichlet_lazy", "circulant"}
        own = results.isel(run=np.flatnonzero(results["norm"].values == "pre"))
    assert found == {
        "mask_mode": {"pure", "bert"}, "norm": {"pre", "post", "none"}, "activation": {"gelu", "relu"},
        "tied": {False, True},
    }  # fmt: skip
    assert own.sizes["run"] == 2 * 2 * 5
    assert "S1-modes" in printed
    assert (tmp_path / "w" / "figures" / "settings.svg").is_file()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_study_and_mixing_runs_by_overrides_alone(tmp_path):
    studies = "--config.sweep.study=claims,controls,blocks,phases"
    mixings = "--config.sweep.mixing=tokenwise,window,mixer,flat,attention"
    # Out of the preset's 16 tokens nothing can be read, so that the figure of what can is not drawn.
    length = "--config.length=48"
    words = ("--config=configs/rank_flow.py:smoke", studies, mixings, length, f"--workdir={tmp_path / 'w'}")
    sweeps.run(*words, timeout=1700)
    with xr.open_dataset(tmp_path / "w" / "results.nc", engine="h5netcdf") as results:
        assert set(results["mixing"].values) == {"tokenwise", "window", "mixer", "flat", "attention"}
        assert set(results["control"].values) == {"none", "untrained", "random_labels", "time_shuffled", "iid"}
        assert (results["died_at"] < 0).all()
        untrained = results.isel(run=results["control"].values == "untrained")["effective_rank"]
        last = untrained.dropna("step", how="all").isel(step=-1)
        np.testing.assert_array_equal(last, untrained.isel(step=0))
    drawn = {path.stem for path in (tmp_path / "w" / "figures").glob("*.svg")}
    assert {
        "readings_s1_i",
        "readings_s1_ii",
        "rank_learned",
        "mode_relevance",
        "perturbation_decay",
        "controls",
        "blocks",
        "phase_depth",
    } <= drawn
    assert (tmp_path / "w" / "tables" / "readings_s1_i.csv").is_file()
