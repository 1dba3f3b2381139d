"""Record files: whole and in shards, damaged, half written, left behind, and merged into one dataset."""

import dataclasses
import itertools
import os
import pathlib
import zipfile

import numpy as np
import pytest
import toy

from rgflow.engine import grid, records
from rgflow.engine.plan import Plan

GROUP, STEP, RUNS = "group_000", 4, 12
DAMAGE = ["remove", "empty", "truncate", "cut the end", "flip", "text"]


def record(runs=RUNS, seed=0):
    rng = np.random.default_rng(seed)
    loss = rng.normal(size=runs).astype(np.float32)
    loss[1] = np.nan
    return {
        "train_loss": loss,
        "singular_value": rng.normal(size=(runs, 5, 40)),
        "steps_taken": rng.integers(0, 9, runs, np.int32),
        "is_large": rng.normal(size=(runs, 3)) > 0,
        records.DIED_AT: np.where(np.arange(runs) == 1, 2, -1).astype(np.int32),
    }


def write(workdir, stretches, data=None, step=STEP, runs=RUNS):
    data = record(runs) if data is None else data
    for first, stop in stretches:
        rows = {name: values[first:stop] for name, values in data.items()}
        records.write_record(workdir, GROUP, step, rows, first, runs)


def read(workdir, step=STEP, runs=RUNS):
    return records.read_record(workdir, GROUP, step, runs)


def assert_same_bits(a, b):
    assert set(a) == set(b)
    for name in a:
        assert a[name].dtype == b[name].dtype
        assert a[name].shape == b[name].shape
        assert a[name].tobytes() == b[name].tobytes(), name


def names(workdir):
    return sorted(path.name for path in (workdir / "chunks").iterdir())


def shard(workdir, first, stop, step=STEP):
    return workdir / "chunks" / f"{GROUP}-{step:09d}.{first}-{stop}.npz"


def spoil(path, damage):
    content = bytearray(path.read_bytes())
    if damage == "remove":
        path.unlink()
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "truncate":
        path.write_bytes(bytes(content[: len(content) // 2]))
    elif damage == "cut the end":
        path.write_bytes(bytes(content[:-1]))
    elif damage == "flip":
        content[len(content) // 2] ^= 0x10
        path.write_bytes(bytes(content))
    else:
        path.write_text("not an archive\n" * 50)


def test_whole_record_comes_back_bit_for_bit(tmp_path):
    write(tmp_path, [(0, RUNS)])
    assert names(tmp_path) == [f"{GROUP}-{STEP:09d}.npz"]
    assert_same_bits(read(tmp_path), record())
    assert read(tmp_path, step=STEP + 1) is None


@pytest.mark.parametrize(
    "stretches",
    [
        [(0, 6), (6, 12)],
        [(10, 12), (0, 2), (2, 10)],
        [(0, 1), (1, 11), (11, 12)],
        [(0, 6), (6, 12), (0, 4), (4, 8), (8, 12)],  # another number of processes after a resume
        [(0, 6), (4, 8), (8, 12)],
        [(0, 12), (3, 6)],
    ],
)
def test_shards_of_several_processes_join_to_the_same_arrays(tmp_path, stretches):
    write(tmp_path, stretches)
    assert len(names(tmp_path)) == len(stretches)
    assert_same_bits(read(tmp_path), record())


def test_record_is_whole_exactly_when_its_shards_cover_every_run(tmp_path):
    rng, whole = np.random.default_rng(3), 0
    for trial in range(40):
        cuts = [sorted(rng.choice(RUNS + 1, 2, replace=False)) for _ in range(rng.integers(2, 16))]
        stretches = [(int(a), int(b)) for a, b in cuts if (a, b) != (0, RUNS)]
        write(tmp_path / str(trial), stretches)
        covered = {run for first, stop in stretches for run in range(first, stop)} == set(range(RUNS))
        found = read(tmp_path / str(trial))
        assert (found is not None) == covered
        if covered:
            assert_same_bits(found, record())
        whole += covered
    assert 5 < whole < 35


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_whole_record_is_no_record(tmp_path, damage):
    write(tmp_path, [(0, RUNS)])
    spoil(records.record_path(tmp_path, GROUP, STEP), damage)
    assert read(tmp_path) is None
    write(tmp_path, [(0, RUNS)])
    assert_same_bits(read(tmp_path), record())


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("lost", [(0, 4), (4, 8), (8, 12)])
def test_damaged_shard_leaves_no_record_unless_others_hold_its_rows(tmp_path, damage, lost):
    write(tmp_path, [(0, 4), (4, 8), (8, 12)])
    spoil(shard(tmp_path, *lost), damage)
    assert read(tmp_path) is None
    write(tmp_path, [lost])
    spoil(shard(tmp_path, *lost), damage)
    write(tmp_path, [(max(lost[0] - 1, 0), min(lost[1] + 1, RUNS))])
    assert_same_bits(read(tmp_path), record())


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_whole_record_falls_back_to_shards(tmp_path, damage):
    write(tmp_path, [(0, RUNS), (0, 6), (6, 12)])
    spoil(records.record_path(tmp_path, GROUP, STEP), damage)
    assert_same_bits(read(tmp_path), record())
    spoil(shard(tmp_path, 0, 6), damage)
    assert read(tmp_path) is None


def test_every_flipped_byte_of_the_data_is_seen(tmp_path):
    write(tmp_path, [(0, RUNS)])
    path = records.record_path(tmp_path, GROUP, STEP)
    content = path.read_bytes()
    for name, values in record().items():
        start = content.index(values.tobytes())
        for byte in {start, start + values.nbytes // 2, start + values.nbytes - 1}:
            path.write_bytes(content[:byte] + bytes([content[byte] ^ 1]) + content[byte + 1 :])
            assert read(tmp_path) is None, name
    path.write_bytes(content)
    assert_same_bits(read(tmp_path), record())


def test_missing_lists_the_steps_that_are_absent_or_damaged(tmp_path):
    group = grid.Group(GROUP, tuple(grid.Run({}, seed) for seed in range(RUNS)), 1)
    schedule = range(7)
    assert records.missing(tmp_path, group, schedule) == list(schedule)
    for step in (0, 1):
        write(tmp_path, [(0, RUNS)], step=step)
    for step in (2, 3):
        write(tmp_path, [(0, 6), (6, 12)], step=step)
    write(tmp_path, [(0, 6), (7, 12)], step=4)
    write(tmp_path, [(0, RUNS), (0, 6), (6, 12)], step=5)
    spoil(records.record_path(tmp_path, GROUP, 1), "flip")
    spoil(shard(tmp_path, 6, 12, step=3), "truncate")
    spoil(records.record_path(tmp_path, GROUP, 5), "flip")
    assert records.missing(tmp_path, group, schedule) == [1, 3, 4, 6]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("moment", ["in the middle", "fsync", "rename"])
@pytest.mark.parametrize("old", [b"old", None])
def test_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, error, moment, old):
    path = tmp_path / "folder" / "data.bin"
    path.parent.mkdir()
    if old:
        path.write_bytes(old)

    def fail(*_):
        raise error

    def write(temporary):
        assert temporary.parent == path.parent
        temporary.write_bytes(b"new" if moment != "in the middle" else b"ne")
        assert not old or path.read_bytes() == old
        if moment == "in the middle":
            fail()

    if moment == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    if moment == "rename":
        monkeypatch.setattr(pathlib.Path, "replace", fail)
    with pytest.raises(error):
        records.write_atomically(path, write)
    monkeypatch.undo()
    assert [(p.name, p.read_bytes()) for p in path.parent.iterdir()] == ([("data.bin", old)] if old else [])
    records.write_atomically(path, lambda p: p.write_bytes(b"new"))
    assert [(p.name, p.read_bytes()) for p in path.parent.iterdir()] == [("data.bin", b"new")]


def test_record_that_fails_to_be_written_keeps_the_older_one(tmp_path, monkeypatch):
    write(tmp_path, [(0, RUNS)])
    write_array = np.lib.format.write_array

    def full(file, array, **how):
        write_array(file, array[:1], **how)
        raise OSError("No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array", full)
    with pytest.raises(OSError, match="No space"):
        write(tmp_path, [(0, RUNS)], record(seed=1))
    assert names(tmp_path) == [f"{GROUP}-{STEP:09d}.npz"]
    assert_same_bits(read(tmp_path), record())


def test_a_record_holds_its_own_arrays_and_no_other_whatever_they_are_called(tmp_path):
    """Releases of numpy differ in which names a function that takes arrays by name keeps for itself."""
    data = {name: np.full(RUNS, number) for number, name in enumerate(("file", "args", "allow_pickle", "a/b", "x.npy"))}
    data[records.DIED_AT] = record()[records.DIED_AT]
    write(tmp_path, [(0, RUNS)], data)
    with zipfile.ZipFile(records.record_path(tmp_path, GROUP, STEP)) as archive:
        assert archive.namelist() == [f"{name}.npy" for name in (records.NAMES, *data)]
    assert_same_bits(read(tmp_path), data)


def test_record_is_written_without_pickles(tmp_path):
    with pytest.raises(ValueError, match="pickle"):
        records.write_record(tmp_path, GROUP, STEP, {"a": np.array([object()])}, 0, 1)
    assert names(tmp_path) == []


def test_leftovers_of_a_killed_process_are_removed_and_nothing_else(tmp_path):
    dead = 2**22 + 1  # above the largest number that Linux gives to a process
    kept = ["run.json", ".hidden", "visible.tmp", ".a.tmp.json", "chunks/x.npz", "chunks/.x.npz", "checkpoints/.a.tmp"]
    kept += [f".results.nc.{os.getpid()}.tmp"]  # of a report that is being written
    removed = [f".run.json.{dead}.tmp", f".results.nc.{dead}.tmp", f"chunks/.{GROUP}-000000004.0-6.npz.{dead}.tmp"]
    for name in (*kept, *removed):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    for _ in range(2):
        records.remove_leftovers(tmp_path)
        assert {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()} == set(kept)
    records.remove_leftovers(tmp_path / "absent")


def toy_records(runs, seed):
    """Returns what the toy experiment would have recorded of some runs; the last of them is dead."""
    rng = np.random.default_rng(seed)
    values = {
        "singular_value": rng.normal(size=(runs, 6)).astype(np.float32),
        "projection": rng.normal(size=runs).astype(np.float32),
        "steps_taken": rng.integers(0, 9, runs).astype(np.float32),
    }
    for array in values.values():
        array[-1] = np.nan
    return {**values, records.DIED_AT: np.append(np.full(runs - 1, -1), 2).astype(np.int32)}


@pytest.mark.parametrize("processes", [2, 3])
def test_dataset_merged_from_shards_is_the_dataset_merged_from_whole_files(tmp_path, processes):
    points = [*toy.points((0.5, 1.0), 3), toy.Point({"scale": 2.0, "steps": 6}, 3)]
    plan = toy.plan_of(toy.config(), points)
    assert [len(group.runs) for group in plan.groups] == [6, 3]
    for group in plan.groups:
        runs = len(group.runs)
        cuts = [runs * process // processes for process in range(processes + 1)]
        for step in plan.schedule(group):
            data = toy_records(runs, step)
            records.write_record(tmp_path / "whole", group.name, step, data, 0, runs)
            for first, stop in itertools.pairwise(cuts):
                rows = {name: values[first:stop] for name, values in data.items()}
                records.write_record(tmp_path / "shards", group.name, step, rows, first, runs)
    assert len(names(tmp_path / "shards")) == processes * len(names(tmp_path / "whole")) == processes * 8
    a, b = (records.merge(tmp_path / where, plan, {"a": "b"}) for where in ("whole", "shards"))
    assert a.identical(b)
    assert list(a.variables) == list(b.variables)
    for name in a.variables:
        assert a[name].dims == b[name].dims
        assert a[name].dtype == b[name].dtype
        assert a[name].values.tobytes() == b[name].values.tobytes(), name
    assert dict(a.sizes) == {"run": 9, "step": 5, "index": 6}
    assert set(a.coords) == {"seed", "step", "index", "scale", "steps"}
    assert a["died_at"].values.tolist() == [*[-1] * 5, 2, -1, -1, 2]
    assert a["seed"].values.tolist() == [0, 1, 2] * 3
    for group, rows in zip(plan.groups, (slice(0, 6), slice(6, 9)), strict=True):
        for step in plan.schedule(group):
            data = toy_records(len(group.runs), step)
            np.testing.assert_array_equal(b["singular_value"].sel(step=step)[rows], data["singular_value"])


def test_of_large_records_the_results_hold_the_last_one(tmp_path):
    made = dataclasses.replace(toy.make(toy.config()), latest=("singular_value",))
    plan = Plan(toy.config(), lambda config: made).grown(grid.expand(toy.points((0.5,), 3)), lambda runs: 2)
    for step in made.schedule:
        records.write_record(tmp_path, plan.groups[0].name, step, toy_records(3, step), 0, 3)
    found = records.merge(tmp_path, plan, {})
    assert found["singular_value"].dims == ("run", "index")
    assert found["projection"].dims == ("run", "step")
    np.testing.assert_array_equal(found["singular_value"], toy_records(3, made.schedule[-1])["singular_value"])


def test_of_some_large_records_the_results_hold_the_first_one_too(tmp_path):
    large = ("singular_value",)
    made = dataclasses.replace(toy.make(toy.config()), latest=large, first=large)
    plan = Plan(toy.config(), lambda config: made).grown(grid.expand(toy.points((0.5,), 3)), lambda runs: 2)
    (group,) = plan.groups
    for step in made.schedule[1:]:
        records.write_record(tmp_path, group.name, step, toy_records(3, step), 0, 3)
    # A later record does not pass for the first one, which is lost.
    assert np.isnan(records.merge(tmp_path, plan, {})["first_singular_value"]).all()
    records.write_record(tmp_path, group.name, 0, toy_records(3, 0), 0, 3)
    found = records.merge(tmp_path, plan, {})
    for name, step in (("first_singular_value", 0), ("singular_value", made.schedule[-1])):
        assert found[name].dims == ("run", "index")
        np.testing.assert_array_equal(found[name], toy_records(3, step)["singular_value"])


def test_a_run_whose_point_leaves_a_key_to_the_config_has_the_value_of_the_config(tmp_path):
    points = toy.points((0.5,), 2)
    departing = [dataclasses.replace(p, values={**p.values, "norm.kind": "post", "unknown": 1.0}) for p in points]
    plan = toy.plan_of(toy.config(norm={"kind": "pre"}), [*points, *departing])
    for step in plan.schedule(plan.groups[0]):
        records.write_record(tmp_path, plan.groups[0].name, step, toy_records(4, step), 0, 4)
    found = records.merge(tmp_path, plan, {})
    assert found["norm.kind"].values.tolist() == ["pre", "pre", "post", "post"]
    np.testing.assert_array_equal(found["unknown"], [np.nan, np.nan, 1, 1])


def test_no_flipped_bit_of_headers_or_table_of_contents_gives_other_arrays_or_an_error(tmp_path):
    data = {"large": np.arange(7000.0).reshape(70, 100), records.DIED_AT: np.full(70, -1, np.int32)}
    write(tmp_path, [(0, 70)], data, runs=70)
    path = records.record_path(tmp_path, GROUP, STEP)
    content = path.read_bytes()
    # One bit of every byte but those of the values, and every bit of what numpy reads the shape of the values from.
    header = content.index(b"'fortran_order'")
    first = content.index(np.float64(1.0).tobytes(), header)
    places = [(byte, 1 << byte % 8) for byte in (*range(first), *range(len(content) - 600, len(content)))]
    places += [(byte, 1 << bit) for byte in range(content.index(b"(70, 100)"), first) for bit in range(8)]
    for byte, bit in places:
        path.write_bytes(content[:byte] + bytes([content[byte] ^ bit]) + content[byte + 1 :])
        found = read(tmp_path, runs=70)
        if found is not None:
            assert_same_bits(found, data)
