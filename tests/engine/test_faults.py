"""Faults, each through the real command: kills, damaged files, full and read-only disks, locks, clocks, dead runs."""

import json
import random
import re
import signal
import time

import command
import numpy as np
import pytest

from rgflow.engine import health

LONG = ("--config.steps=60",)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A sweep that nothing happened to."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    command.sweep(workdir)
    return workdir


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A sweep that was stopped halfway and has two checkpoints."""
    workdir = tmp_path_factory.mktemp("stopped") / "run"
    assert len(halfway(workdir)) == 2
    return workdir


def halfway(workdir, *flags, step=20, **how):
    """Leaves a workdir that was stopped behind a record, at a checkpoint between records."""
    process = command.start(workdir, *flags, **how)
    command.wait_for(lambda: any(e["step"] >= step for e in command.events(workdir, "checkpoint")), process)
    process.send_signal(signal.SIGTERM)
    output = command.finish(process, code=75)
    assert "resume with" in output
    return checkpoints_of(workdir)


def checkpoints_of(workdir):
    """Returns the checkpoints of a workdir, oldest first."""
    return sorted((workdir / "checkpoints" / "group_000").glob("[0-9]*"), key=lambda p: int(p.name))


def spoil_data(checkpoint, damage):
    for path in (p for p in checkpoint.glob("state/**/d/*") if p.is_file()):
        content = path.read_bytes()
        middle = len(content) // 2
        path.write_bytes(content[:middle] + (bytes([content[middle] ^ 1]) + content[middle + 1 :]) * (damage == "flip"))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_at_twenty_random_moments_ends_with_the_same_bits(tmp_path):
    flags = ("--config.steps=60000", "--config.engine.chunk_steps=4", "--config.engine.checkpoint_seconds=0.1")
    command.sweep(tmp_path / "whole", *flags)
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    moments, workdir, reached = random.Random(seed), tmp_path / "run", []
    for kill in range(20):
        starts = len(command.events(workdir, "started"))
        process = command.start(workdir, *flags)
        if kill % 2:  # any moment: imports, compilation, restoring, running
            time.sleep(moments.uniform(0, 6))
        else:  # a moment of the run itself: steps, records, saves
            command.wait_for(lambda n=starts: len(command.events(workdir, "started")) > n, process)
            time.sleep(moments.uniform(0, 1))
        assert process.poll() is None, "the sweep ended before it was killed"
        process.send_signal(signal.SIGKILL)
        process.communicate()
        reached.append(max((e["step"] for e in command.events(workdir, "checkpoint")), default=-1))
    print(f"checkpoints reached: {reached}")
    output = command.sweep(workdir, *flags)
    assert "recovered the lock" in output
    assert len(set(reached)) > 5
    command.assert_same_bits(workdir, tmp_path / "whole")


@pytest.mark.parametrize("damage", ["flip", pytest.param("truncate", marks=pytest.mark.slow)])
def test_damaged_newest_checkpoint(tmp_path, whole, stopped, damage):
    older, newest = checkpoints_of(command.copy(stopped, tmp_path / "run"))
    spoil_data(newest, damage)
    output = command.sweep(tmp_path / "run")
    assert f"checkpoint group_000/{newest.name} is unusable, falling back" in output
    assert command.events(tmp_path / "run", "resumed")[-1]["step"] == int(older.name)
    command.assert_same_bits(tmp_path / "run", whole)


def test_truncated_record(tmp_path, whole):
    workdir = command.copy(whole, tmp_path / "run")
    record = workdir / "chunks" / "group_000-000000004.npz"
    before = {p.name: p.stat().st_mtime_ns for p in (workdir / "chunks").iterdir() if p != record}
    record.write_bytes(record.read_bytes()[:200])
    (workdir / "results.nc").unlink()
    command.sweep(workdir)
    assert {p.name: p.stat().st_mtime_ns for p in (workdir / "chunks").iterdir() if p != record} == before
    command.assert_same_bits(workdir, whole)


@pytest.mark.parametrize("limit", [pytest.param(700, marks=pytest.mark.slow), 3000])
def test_full_disk_is_said_and_the_last_checkpoint_survives(tmp_path, whole, stopped, limit):
    """A limit on the size of files stands for a full disk: the smaller one stops records, the larger checkpoints."""
    workdir = command.copy(stopped, tmp_path / "run")
    newest = int(checkpoints_of(workdir)[-1].name)
    output = command.sweep(workdir, code=1, limit_file=limit)
    assert output.strip().splitlines()[-1].startswith("error: the disk refused (")
    assert "start the same command again" in output
    assert "Traceback" not in output
    before = len(command.events(workdir, "resumed"))
    command.sweep(workdir)
    # Nothing that was saved is lost; small files may still find room, so that what is left may be a later checkpoint.
    (resumed,) = command.events(workdir, "resumed")[before:]
    assert resumed["step"] >= newest
    command.assert_same_bits(workdir, whole)


def test_read_only_folder_is_refused_and_left_as_it_is(tmp_path, whole, stopped):
    workdir = command.copy(stopped, tmp_path / "run")
    workdir.chmod(0o555)
    try:
        output = command.sweep(workdir, code=2, without_override=True)
    finally:
        workdir.chmod(0o755)
    assert output.strip().splitlines()[-1].startswith("error: --workdir")
    assert "cannot write" in output
    command.sweep(workdir)
    command.assert_same_bits(workdir, whole)


@pytest.mark.slow
def test_read_only_subfolder_is_said(tmp_path, stopped):
    workdir = command.copy(stopped, tmp_path / "run")
    (workdir / "chunks").chmod(0o555)
    try:
        output = command.sweep(workdir, code=1, without_override=True)
    finally:
        (workdir / "chunks").chmod(0o755)
    assert output.strip().splitlines()[-1].startswith("error: the disk refused (Permission denied, ")
    assert "Traceback" not in output


def test_second_sweep_on_one_workdir_is_refused_and_a_dead_owner_is_not(tmp_path, whole):
    workdir = tmp_path / "run"
    first = command.start(workdir)
    command.wait_for(lambda: (workdir / "lock.json").exists() and (workdir / "lock.json").stat().st_size, first)
    owner = json.loads((workdir / "lock.json").read_text())
    first.send_signal(signal.SIGSTOP)
    refused = command.sweep(workdir, code=2)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert f"in use by process {first.pid} on {owner['host']} since {owner['started']}" in refused
    assert owner["process"] == first.pid
    output = command.sweep(workdir)
    assert f"recovered the lock of process {first.pid}" in output
    assert not (workdir / "lock.json").exists()
    command.assert_same_bits(workdir, whole)


@pytest.mark.slow
def test_jumping_clock_changes_nothing(tmp_path, whole):
    halfway(tmp_path / "run", TOY_CLOCK="jump")
    command.sweep(tmp_path / "run", TOY_CLOCK="jump")
    command.assert_same_bits(tmp_path / "run", whole)


def test_dead_runs_are_frozen_counted_and_leave_their_neighbours_alone(tmp_path, whole):
    """Two sick runs in the midst of nine healthy ones: the same group, the same batches but for their company."""
    workdir = tmp_path / "run"
    command.sweep(workdir, "--config.sweep.sick=(0.0,1.0)", "--config.engine.run_batch=2")
    sick, healthy = command.results(workdir), command.results(whole)
    died_at = sick["died_at"].values
    assert (died_at[:9] == health.NEVER).all()
    assert died_at[9] == 7
    assert 5 < died_at[10] < 12
    late = sick.isel(run=[9, 10]).sel(step=40)
    assert all(np.isnan(late[name]).all() for name in ("singular_value", "projection", "train_loss", "steps_taken"))
    assert np.isfinite(sick.isel(run=[9, 10]).sel(step=4)["singular_value"]).all()
    for name in ("singular_value", "projection", "train_loss", "steps_taken"):
        assert sick[name].values[:9].tobytes() == healthy[name].values.tobytes(), name
    verdicts = json.loads((workdir / "verdicts.json").read_text())
    assert [(v["n_runs"], v["n_dead"]) for v in verdicts] == [(11, 2)]
    assert command.events(workdir, "record")[-1]["dead"] == 2


def test_changed_science_is_refused_and_more_runs_are_added(tmp_path, whole):
    workdir = tmp_path / "run"
    scales = "--config.sweep.scales=(0.5,1.0,2.0,4.0)"
    halfway(workdir, "--config.sweep.seeds=2")
    refused = command.refused(workdir, "--config.size=7")
    assert "size: 6 -> 7" in refused
    assert f"--workdir={workdir}-" in refused
    before = {p.name: p.read_bytes() for p in (workdir / "chunks").iterdir()}
    command.sweep(workdir)
    after = {p.name: p.read_bytes() for p in (workdir / "chunks").iterdir()}
    assert {name: after[name] for name in before} == before
    run = json.loads((workdir / "run.json").read_text())
    assert [sum(one["seeds"] for one in group["runs"]) for group in run["groups"]] == [6, 3]
    assert command.sweep(workdir, scales).count("runs are finished") == 2
    last = {p.name: p.read_bytes() for p in (workdir / "chunks").iterdir()}
    assert {name: last[name] for name in after} == after
    grown = command.results(workdir)
    assert grown.sizes["run"] == 12
    keep = grown.isel(run=np.flatnonzero(grown["scale"].values != 4.0))
    keep, full = command.ordered(keep), command.ordered(command.results(whole))
    for name in ("singular_value", "projection"):
        np.testing.assert_allclose(keep[name], full[name], rtol=2e-5, atol=1e-5)


def test_workdir_that_lost_its_run_file_or_holds_a_damaged_one_is_refused(tmp_path, stopped):
    workdir = command.copy(stopped, tmp_path / "run")
    content = (workdir / "run.json").read_text()
    (workdir / "run.json").unlink()
    assert "holds records but no run.json" in command.refused(workdir, "--config.root_seed=7")
    for damaged in (content[: len(content) // 2], "{}"):
        (workdir / "run.json").write_text(damaged)
        refused = command.refused(workdir)
        assert str(workdir / "run.json") in refused
        assert "without it nobody knows whose the records are: restore it" in refused


@pytest.mark.slow
def test_checkpoints_that_may_not_be_read_are_not_deleted(tmp_path, whole, stopped):
    workdir = command.copy(stopped, tmp_path / "run")
    kept = checkpoints_of(workdir)
    files = [p for c in kept for p in c.glob("state/**/d/*") if p.is_file()]
    for file in files:
        file.chmod(0)
    output = command.sweep(workdir, code=1, without_override=True)
    assert all(file.exists() for file in files), output
    for file in files:
        file.chmod(0o644)
    command.sweep(workdir)
    assert command.events(workdir, "resumed")[-1]["step"] == int(kept[-1].name)
    command.assert_same_bits(workdir, whole)


def test_sigint_during_compilation_stops_before_the_run(tmp_path):
    process = command.start(tmp_path / "run", "--config.sweep.scales=(0.5,)", TOY_SIGNAL="SIGINT")
    output = command.finish(process, code=75)
    assert "stopped by SIGINT; resume with" in output
    assert not (tmp_path / "run" / "chunks").exists()


def test_sigterm_during_compilation_leaves_the_first_chunk_behind(tmp_path):
    """Slurm sends it twice at a time limit; starts that end with nothing would follow each other for ever."""
    process = command.start(tmp_path / "run", "--config.sweep.scales=(0.5,)", TOY_SIGNAL="SIGTERM SIGTERM")
    output = command.finish(process, code=75)
    assert "SIGTERM came before the first chunk of this start" in output
    assert "stopped by SIGTERM; resume with" in output
    assert [event["step"] for event in command.events(tmp_path / "run", "checkpoint")] == [0]


def test_signal_during_a_dry_run_is_one_line(tmp_path):
    process = command.start(tmp_path / "run", "--config.sweep.scales=(0.5,)", "--dry_run", TOY_SIGNAL="SIGTERM")
    output = command.finish(process, code=75)
    assert output.splitlines()[-1] == "stopped by SIGTERM; nothing was run, nothing is on disk"
    assert "Traceback" not in output
    assert not (tmp_path / "run").exists()


def test_memory_is_told_from_shapes_and_too_much_is_refused_before_anything_compiles(tmp_path):
    refusals = []
    for dry in (["--dry_run"], []):
        output = command.sweep(tmp_path / "run", "--config.width=300000", *dry, code=2)
        assert "compiled in" not in output
        refusals.append(output.strip().splitlines()[-1])
        assert re.match(
            r"error: group_000 needs about 670\.\d GiB on each device, which has \d+\.\d GiB: ", refusals[-1]
        )
        assert "engine.run_batch = 2 runs" in refusals[-1]
    # A sweep that has computed nothing leaves nothing that another config would not fit.
    assert list((tmp_path / "run").iterdir()) == []


def test_running_out_of_memory_names_the_batch_and_a_smaller_one_goes_on(tmp_path):
    flags = ("--config.width=3500", "--config.steps=5", "--config.engine.run_batch=9")
    workdir = tmp_path / "run"
    output = command.sweep(workdir, *flags, code=1, devices=1, limit_memory=1100 * 2**20)
    last = output.strip().splitlines()[-1]
    assert last.startswith("error: group_000 ran out of memory with 9 runs at a time"), output
    assert "--config.engine.run_batch=4" in last
    smaller = (*flags[:2], "--config.engine.run_batch=1")
    output = command.sweep(workdir, *smaller, devices=1, limit_memory=1100 * 2**20)
    assert "goes on with 1 runs at a time instead of 9" in output
