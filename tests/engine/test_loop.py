"""The host loop on disk: interruption, resume, other devices, damage, growth."""

import json
import shutil
import signal

import jax
import numpy as np
import pytest
import toy

from rgflow.engine import grid, loop, records
from rgflow.engine.plan import Plan


def results(workdir, groups, config):
    return records.merge(workdir, Plan(config, toy.make, tuple(groups)), {})


def assert_same_bits(a, b):
    assert set(a.variables) == set(b.variables)
    for name in a.variables:
        assert a[name].dims == b[name].dims
        x, y = a[name].values, b[name].values
        assert x.dtype == y.dtype
        if x.dtype.kind in "OU":
            assert x.tolist() == y.tolist(), name
        else:
            assert x.tobytes() == y.tobytes(), name


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    workdir, config = tmp_path_factory.mktemp("whole"), toy.config()
    return results(workdir, toy.sweep(workdir, config, toy.points()), config)


@pytest.mark.parametrize("looks", [0, 1, 3, 4])
def test_interrupted_equals_uninterrupted_bit_for_bit(tmp_path, uninterrupted, looks):
    config = toy.config()
    with pytest.raises(loop.Stopped):
        toy.sweep(tmp_path, config, toy.points(), stop=toy.StopAfter(looks))
    groups = toy.sweep(tmp_path, config, toy.points())
    assert_same_bits(results(tmp_path, groups, config), uninterrupted)


def test_chunk_length_and_cadence_of_checkpoints_change_no_bit(tmp_path, uninterrupted):
    config = toy.config(engine={"chunk_steps": 1, "checkpoint_seconds": 1e9, "run_batch": 0, "cpu_devices": 0})
    assert_same_bits(results(tmp_path, toy.sweep(tmp_path, config, toy.points()), config), uninterrupted)


@pytest.mark.multidevice
def test_resumes_on_fewer_devices(tmp_path, uninterrupted):
    config = toy.config()
    for devices in (4, 2, 1):
        try:
            groups = toy.sweep(tmp_path, config, toy.points(), stop=toy.StopAfter(2), devices=jax.devices()[:devices])
        except loop.Stopped:
            continue
    else:
        groups = toy.sweep(tmp_path, config, toy.points(), devices=jax.devices()[:3])
    dataset = results(tmp_path, groups, config)
    for name in uninterrupted.data_vars:
        np.testing.assert_allclose(dataset[name], uninterrupted[name], rtol=2e-5, atol=1e-5, err_msg=name)


def test_seed_and_values_label_every_run(uninterrupted):
    assert uninterrupted["singular_value"].dims == ("run", "step", "index")
    assert uninterrupted["step"].values.tolist() == [0, 1, 4, 12]
    assert uninterrupted["seed"].values.tolist() == [0, 1, 2] * 3
    assert uninterrupted["scale"].values.tolist() == [0.5] * 3 + [1.0] * 3 + [2.0] * 3
    assert (uninterrupted["limit"] == uninterrupted["scale"] ** 2).all()


def stop_late(workdir, config):
    """Leaves a workdir with two checkpoints and a record still missing."""
    with pytest.raises(loop.Stopped):
        toy.sweep(workdir, config, toy.points(), stop=toy.StopAfter(3))
    return sorted((workdir / "checkpoints" / "group_000").glob("[0-9]*"), key=lambda p: int(p.name))


def test_damaged_newest_checkpoint_falls_back_and_says_so(tmp_path, capsys, uninterrupted):
    config = toy.config()
    _, newest = stop_late(tmp_path, config)
    for data in (p for p in newest.glob("state/**/d/*") if p.is_file()):
        data.write_bytes(bytes(255 - byte for byte in data.read_bytes()))
    groups = toy.sweep(tmp_path, config, toy.points())
    assert f"group_000/{newest.name} is unusable, falling back" in capsys.readouterr().out
    assert_same_bits(results(tmp_path, groups, config), uninterrupted)


@pytest.mark.parametrize("steps", [pytest.param((0,), marks=pytest.mark.slow), (4,), (0, 12)])
def test_truncated_records_are_computed_again_and_nothing_else_is(tmp_path, uninterrupted, steps):
    config = toy.config()
    groups = toy.sweep(tmp_path, config, toy.points())
    for step in steps:
        path = records.record_path(tmp_path, "group_000", step)
        path.write_bytes(path.read_bytes()[:100])
    untouched = {p: p.stat().st_mtime_ns for p in (tmp_path / "chunks").iterdir() if int(p.stem[-9:]) not in steps}
    groups = toy.sweep(tmp_path, config, toy.points(), groups=groups)
    assert_same_bits(results(tmp_path, groups, config), uninterrupted)
    assert {p: p.stat().st_mtime_ns for p in untouched} == untouched
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    # The checkpoint of step 9 leads to record 12; no record is computed twice that is on disk.
    assert [e["step"] for e in events if e["event"] == "resumed"] == ([9] if 12 in steps else [])


def test_records_without_checkpoints_behind_them_are_computed_from_the_start(tmp_path, uninterrupted):
    config = toy.config()
    groups = toy.sweep(tmp_path, config, toy.points())
    shutil.rmtree(tmp_path / "checkpoints")
    records.record_path(tmp_path, "group_000", 12).unlink()
    groups = toy.sweep(tmp_path, config, toy.points(), groups=groups)
    assert_same_bits(results(tmp_path, groups, config), uninterrupted)


def test_grown_sweep_runs_only_what_is_missing(tmp_path, uninterrupted):
    config = toy.config()
    groups = toy.sweep(tmp_path, config, toy.points(scales=(0.5, 1.0), seeds=2))
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in (tmp_path / "chunks").iterdir()}
    groups = toy.sweep(tmp_path, config, toy.points(), groups=groups)
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in before} == before
    assert [len(g.runs) for g in groups] == [4, 5]
    grown = results(tmp_path, groups, config)
    order = np.lexsort((grown["seed"].values, grown["scale"].values))
    for name in uninterrupted.data_vars:
        np.testing.assert_allclose(grown[name].values[order], uninterrupted[name], rtol=2e-5, atol=1e-5, err_msg=name)


def test_at_most_two_checkpoints_are_kept(tmp_path):
    toy.sweep(tmp_path, toy.config(), toy.points())
    assert len(list((tmp_path / "checkpoints" / "group_000").glob("[0-9]*"))) == 2


def test_groups_of_unlike_shape_share_one_dataset(tmp_path):
    config = toy.config()
    points = [toy.Point({"size": size, "scale": 1.0}, 2) for size in (4, 6)]
    groups = toy.sweep(tmp_path, config, points)
    dataset = results(tmp_path, groups, config)
    assert [len(g.runs) for g in groups] == [2, 2]
    assert dataset.sizes["index"] == 6
    small = dataset["singular_value"].values[dataset["size"].values == 4]
    assert np.isnan(small[..., 4:]).all()
    assert np.isfinite(small[..., :4]).all()
    assert (dataset["died_at"] == -1).all()


def test_failed_save_is_tried_again_once(tmp_path, capsys, uninterrupted, monkeypatch):
    config, save, calls = toy.config(), loop.Checkpoints.save, []

    def fail_at(*bad):
        def fail(store, step, *rest):
            calls.append(step)
            if len(calls) in bad:
                raise loop.SaveFailed(f"call {len(calls)}")
            save(store, step, *rest)

        monkeypatch.setattr(loop.Checkpoints, "save", fail)

    fail_at(2)
    groups = toy.sweep(tmp_path / "once", config, toy.points())
    assert calls[:3] == [0, 1, 1]
    assert "could not be saved, trying again: call 2" in capsys.readouterr().out
    assert_same_bits(results(tmp_path / "once", groups, config), uninterrupted)
    calls.clear()
    fail_at(2, 3)
    with pytest.raises(OSError, match="call 3"):
        toy.sweep(tmp_path / "twice", config, toy.points())


def test_no_record_at_all_is_said(tmp_path):
    config = toy.config()
    group = grid.Group("group_000", tuple(grid.expand(toy.points())), 1)
    with pytest.raises(FileNotFoundError, match="no records"):
        results(tmp_path, [group], config)


def test_a_second_sigint_is_obeyed_at_once_and_a_second_sigterm_changes_nothing():
    """At a time limit Slurm sends SIGTERM twice within milliseconds; the chunk is to be saved all the same."""
    once = lambda *_: pytest.fail("SIGTERM acts by default")  # noqa: E731
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        signal.signal(signal.SIGTERM, once)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        stop = loop.StopRequest()
        for _ in range(2):
            signal.raise_signal(signal.SIGTERM)
            assert (stop.name, stop.at_once) == ("SIGTERM", False)
        signal.raise_signal(signal.SIGINT)
        assert (stop.name, stop.at_once) == ("SIGINT", True)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
