"""Workdirs that are damaged, edited or of another version: one line with the file's name, or the record once more."""

import json
import os
import pathlib
import shutil
import sys

import foreign
import numpy as np
import pytest
import xarray as xr

from launch import command_line, report
from rgflow.engine import records

NAN, ABSENT = float("nan"), object()
JSON = ("config.json", "run.json", "verdicts.json", "figures/figures.json")
FILES = (*JSON, "events.jsonl", "results.nc", "figures/ranks.svg")
RECORD = "chunks/group_000-000000001.npz"
READERS = {
    "config.json": ("report", "compare", "all"),
    "run.json": ("sweep", "report", "compare", "all"),
    "events.jsonl": ("sweep", "report"),
    "results.nc": ("compare", "all"),
    "verdicts.json": ("compare", "all"),
    "figures/figures.json": ("compare", "all"),
    "figures/ranks.svg": ("compare", "all"),
}
"""Which commands read which file; the others write it anew."""


def half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def no_text(path):
    content = path.read_bytes()
    path.write_bytes(content[:20] + b"\xff\xfe" + content[20:])


def replaced(make):
    def spoil(path):
        path.unlink()
        make(path)

    return spoil


DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "half": half,
    "no UTF-8": no_text,
    "nested": lambda path: path.write_text("[" * 100_000),
    "null": lambda path: path.write_text("null\n"),
    "number": lambda path: path.write_text("3\n"),
    "list of a number": lambda path: path.write_text("[3]\n"),
    "object": lambda path: path.write_text('{"a": NaN}\n'),
    "folder": replaced(pathlib.Path.mkdir),
    "pipe": replaced(os.mkfifo),
    "link": replaced(lambda path: path.symlink_to("/etc/hostname")),
    "dangling link": replaced(lambda path: path.symlink_to("nowhere")),
}
ANYWHERE = ("pipe", "link", "dangling link")
"""What is refused wherever it lies, also where nothing would read it."""
HARMLESS = {("events.jsonl", "empty"), ("events.jsonl", "half"), ("events.jsonl", "nested")}
"""A log may be empty, and may end in half a line."""


def refused(command, workdir, made, name):
    """Asserts that a command ends with one line that names the file, and returns it."""
    code, said = foreign.COMMANDS[command](workdir, made)
    assert code in (1, 2), (command, said)
    (line,) = said.strip().splitlines()
    assert line.startswith("error: ") and str(workdir / name) in line and ("; " in line or ": " in line), line
    return line


def fast(file, damage):
    """The cases that are tried by default: every file, every damage, not every pair."""
    return damage in ("no UTF-8", "folder", "pipe", "link") or file in ("run.json", "results.nc")


CASES = [
    pytest.param(file, damage, marks=[] if fast(file, damage) else [pytest.mark.slow])
    for file in FILES
    for damage in DAMAGE
    if (file, damage) not in HARMLESS
]


@pytest.mark.parametrize(("file", "damage"), CASES)
def test_damaged_file_is_one_line_in_every_command_that_reads_it(workdir, made, file, damage):
    if file in ("verdicts.json", "results.nc", "figures/figures.json", "figures/ranks.svg"):
        later = max(path.stat().st_mtime for path in (workdir / "chunks").iterdir()) + 5
    DAMAGE[damage](workdir / file)
    if file == "verdicts.json" and (workdir / file).is_file():
        os.utime(workdir / file, (later, later))
    gone = not (workdir / file).is_file()
    for command in foreign.COMMANDS if damage in ANYWHERE else READERS[file]:
        if gone and damage == "folder" and file in ("verdicts.json", "results.nc", "figures/figures.json"):
            # It counts as missing and is written anew, which a folder in its place forbids.
            code, said = foreign.COMMANDS[command](workdir, made)
            assert code == 1 and "the disk refused" in said and file.rpartition("/")[2] in said
        else:
            refused(command, workdir, made, file)


@pytest.mark.parametrize("file", ["results.nc", "verdicts.json", "figures/figures.json"])
def test_what_a_report_writes_is_written_anew_where_it_is_missing_or_damaged(workdir, made, file):
    whole = (workdir / file).read_bytes()
    half(workdir / file)
    assert foreign.COMMANDS["report"](workdir, made)[0] == 0
    assert (workdir / file).read_bytes() == whole
    (workdir / file).unlink()
    code, said = foreign.COMMANDS["compare"](workdir, made)
    assert code == 0 and "is missing or older" in said
    assert (workdir / file).read_bytes() == whole


@pytest.mark.parametrize("file", ["run.json", "config.json"])
def test_a_workdir_without_its_description_is_refused(workdir, made, file):
    (workdir / file).unlink()
    for command in ("report", "compare", "all"):
        code, said = foreign.COMMANDS[command](workdir, made)
        assert code == 2 and "holds no run" in said and len(said.splitlines()) == 1


# --- run.json

RUN = {
    ("format",): (ABSENT, 2, None),
    ("experiment",): (ABSENT, "a b", "../a", 3, ""),
    ("command",): (ABSENT, "rm -rf /", "python -m launch.sweep 'x", 3, "python -m launch.sweep \x1b[2J", None),
    ("digest",): (ABSENT, 3, None),
    ("science",): (ABSENT, [], 3),
    ("science", "size"): (7, ABSENT),
    ("groups",): (ABSENT, 3, [3], {}, [{}]),
    ("groups", 0, "name"): (ABSENT, "", "a/b", "*", 3, "\ud800"),
    ("groups", 0, "run_batch"): (ABSENT, 0, 2.5, "x", True, NAN, 3),
    ("groups", 0, "runs"): (ABSENT, [], 3, "x", [3]),
    ("groups", 0, "runs", 0, "first_seed"): (ABSENT, -1, 2**32, 0.5, "0", None, True, NAN, 1, 7),
    ("groups", 0, "runs", 0, "seeds"): (ABSENT, -1, 0, 2**40, 0.5, "2", None, True, NAN, 1, 7),
    ("groups", 0, "runs", 0, "values"): (ABSENT, 3, [], {"scale": {}}, {"scale": 0.75}, {"unknown": 1.0}),
    ("versions",): (ABSENT, [], {"jax": 3}),
    ("device",): (ABSENT, 3),
    ("git_commit",): (ABSENT, None),
    ("checksum",): (ABSENT, 3, "deadbeef"),
}


def put(data, path, value):
    """Sets or removes what lies at a path of nested data."""
    for name in path[:-1]:
        data = data[name]
    if value is ABSENT:
        del data[path[-1]]
    else:
        data[path[-1]] = value


@pytest.mark.parametrize("path", RUN, ids=lambda path: ".".join(map(str, path)))
def test_edited_run_file_is_refused_by_sweep_and_report(workdir, made, path):
    whole = (workdir / "run.json").read_text()
    for value in RUN[path]:
        foreign.edit_json(workdir / "run.json", lambda run, value=value: put(run, path, value))
        for command in ("sweep", "report"):
            assert "restore it, or give another folder" in refused(command, workdir, made, "run.json")
        (workdir / "run.json").write_text(whole)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("groups", 0, "runs", 1, "values"), {"scale": 0.5}),
        (("groups", 0, "runs", 0, "first_seed"), -1),
        (("groups", 0, "runs", 0, "first_seed"), NAN),
        (("groups", 0, "runs", 0, "seeds"), 2**40),
        (("groups", 0, "runs", 0, "seeds"), 0.5),
        (("groups", 0, "runs", 0, "values"), {"unknown": 1.0}),
        (("groups", 0, "runs", 0, "values"), {"scale": "x"}),
        (("groups", 0, "runs", 0, "values"), {"scale": 0.5, "size": 7}),
        (("groups", 0, "runs"), []),
        (("groups", 0, "run_batch"), 0),
        (("science", "size"), 7),
        (("science",), {"deep": [[[[[[1]]]]]]}),
    ],
    ids=str,
)
def test_what_no_sweep_would_write_is_refused_even_with_a_true_checksum(workdir, made, path, value):
    foreign.edit_json(workdir / "run.json", lambda run: put(run, path, value), seal=True)
    code, said = foreign.COMMANDS["report"](workdir, made)
    assert code == 2 and len(said.splitlines()) == 1
    assert str(workdir / "run.json") in said or str(workdir / "config.json") in said


def test_a_config_that_is_not_the_one_of_the_run_is_refused(workdir, made):
    foreign.edit_json(workdir / "config.json", lambda config: config.update(size=7))
    assert "size: 6 -> 7" in refused("report", workdir, made, "config.json")


@pytest.mark.parametrize(("key", "value"), [("engine", None), ("engine", {}), ("sweep", [NAN])])
def test_the_free_sections_of_a_config_break_nothing(workdir, made, key, value):
    foreign.edit_json(workdir / "config.json", lambda config: config.update({key: value}))
    code, said = foreign.COMMANDS["report"](workdir, made)
    assert code in (0, 1, 2) and (code == 0 or len(said.splitlines()) == 1)


# --- events.jsonl

EVENTS = (
    3, None, [], {}, {"event": 3}, {"event": "record", "group": [], "step": 1}, {"event": "record", "step": "x"},
    {"event": "record", "group": "group_000", "step": NAN}, {"event": "record", "group": "group_000", "step": 10**400},
    {"event": "compiled", "group": "group_000", "seconds": "x"}, {"event": "checkpoint", "seconds": NAN},
    {"event": "started", "device": ["x"]}, {"event": "stopped", "signal": {}}, {"event": "finished", "time": 3},
    {"event": "finished", "time": "yesterday"}, {"event": "warning\x1b[2J"},
)  # fmt: skip


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: str(event)[:40])
def test_a_line_that_is_no_event_is_named(workdir, made, event):
    lines = (workdir / "events.jsonl").read_text().count("\n")
    stamp = {"time": "2026-01-01T10:00:00+0000"}
    with (workdir / "events.jsonl").open("a") as file:
        file.write(json.dumps({**stamp, **event} if isinstance(event, dict) else event) + "\n")
    for command in ("report", "sweep"):
        assert f"line {lines + 1}: " in refused(command, workdir, made, "events.jsonl")


# --- verdicts.json and figures.json

CONTROL = {"value": 1.0, "requirement": "at least 1", "passed": True}
VERDICT = {
    "claim": (ABSENT, 3, "\x1b[2J"),
    "statement": (ABSENT, None),
    "status": (ABSENT, "true", [], None),
    "measured": (ABSENT, "x", NAN, float("inf"), []),
    "high": (True, 10**400),
    "n_runs": (ABSENT, -1, 2.5, None),
    "controls": (ABSENT, [], {"a": 3}, *({"a": {**CONTROL, name: []}} for name in CONTROL)),
}
FIGURE = {
    "name": (ABSENT, 3, "", "a/b", "../ranks", "\x00", ".hidden", "absent"),
    "caption": (ABSENT, 3),
    "alt": (ABSENT, None),
    "claims": (ABSENT, "x", [3]),
    "falsified_by": (ABSENT, []),
}


@pytest.mark.parametrize(
    ("file", "field", "values"),
    [("verdicts.json", *one) for one in VERDICT.items()] + [("figures/figures.json", *one) for one in FIGURE.items()],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_a_field_of_the_wrong_kind_is_named(workdir, made, file, field, values):
    whole = (workdir / file).read_text()
    for value in values:
        foreign.edit_json(workdir / file, lambda data, value=value: put(data[0], (field,), value))
        for command in ("compare", "all") if value is values[0] else ("compare",):
            line = refused(command, workdir, made, "figures/absent.svg" if value == "absent" else file)
            assert field in line or value == "absent"
        (workdir / file).write_text(whole)


def test_fields_that_a_later_version_may_add_are_left_alone(workdir, made):
    foreign.edit_json(workdir / "verdicts.json", lambda verdicts: verdicts[0].update(new=1))
    assert foreign.COMMANDS["compare"](workdir, made)[0] == 0


# --- results.nc

RESULTS = {
    "no died_at": lambda data: data.drop_vars("died_at"),
    "no seed": lambda data: data.drop_vars("seed"),
    "no step": lambda data: data.drop_vars("step"),
    "no runs": lambda data: data.isel(run=[]),
    "died_at of fractions": lambda data: data.assign(died_at=data.died_at * NAN),
    "died_at by step": lambda data: data.assign(died_at=data.steps_taken.astype(int)),
    "steps in words": lambda data: data.assign_coords(step=[str(step) for step in data.step.values]),
    "last steps in words": lambda data: data.assign(steps=("run", ["x"] * data.sizes["run"])),
}


@pytest.mark.parametrize("name", RESULTS)
def test_results_that_lack_what_every_sweep_has_are_refused(workdir, made, name):
    foreign.edit_results(workdir, RESULTS[name])
    assert "writes it anew" in refused("compare", workdir, made, "results.nc")


# --- records


def cut(name):
    return lambda arrays: arrays.update({name: arrays[name][:, :3]})


def converted(name, dtype):
    return lambda arrays: arrays.update({name: arrays[name].astype(dtype)})


RECORDS = {
    "array missing": lambda arrays: arrays.pop("projection"),
    "array missing, and its name": lambda arrays: (arrays.pop("projection"), arrays.pop(records.NAMES)),
    "other shape": cut("singular_value"),
    "other dtype": converted("projection", np.float64),
    "words": converted("projection", str),
    "complex": converted("projection", complex),
    "objects": converted("projection", object),
    "one more array": lambda arrays: arrays.update(run=arrays["projection"], names_of_arrays=arrays[records.NAMES]),
    "no axis of runs": lambda arrays: arrays.update(projection=np.float32(3)),
    "more runs": lambda arrays: arrays.update({n: np.concatenate([x] * 2) for n, x in arrays.items()}),
    "died_at of fractions": converted("died_at", float),
    "died_at a number": lambda arrays: arrays.update(died_at=np.int32(-1)),
}


def same_as(workdir, made):
    with xr.open_dataset(workdir / "results.nc") as a, xr.open_dataset(made / "results.nc") as b:
        return a.load().identical(b.load())


@pytest.mark.parametrize("name", RECORDS)
def test_report_leaves_out_a_record_of_another_form(workdir, made, name):
    foreign.edit_record(workdir, 1, RECORDS[name])
    code, said = foreign.COMMANDS["report"](workdir, made)
    assert code == 0, said
    with xr.open_dataset(workdir / "results.nc") as found:
        assert found.step.values.tolist() == [0, 4, 6]


@pytest.mark.parametrize(
    ("name", "step"),
    [("array missing", 1), ("other shape", 6), *(pytest.param(n, 1, marks=pytest.mark.slow) for n in RECORDS)],
)
def test_record_of_another_form_is_computed_again_with_the_same_bits(workdir, made, name, step):
    others = {p: p.stat().st_mtime_ns for p in (workdir / "chunks").iterdir() if f"{step:09d}" not in p.name}
    foreign.edit_record(workdir, step, RECORDS[name])
    code, said = foreign.COMMANDS["sweep"](workdir, made)
    assert code == 0, said
    assert same_as(workdir, made)
    assert {path: path.stat().st_mtime_ns for path in others} == others


def test_records_that_are_all_of_a_wrong_shape_are_one_line(workdir, made):
    for step in (0, 1, 4, 6):
        foreign.edit_record(workdir, step, RECORDS["other shape"])
    assert "singular_value has the shape (3,)" in refused("report", workdir, made, "chunks")


def test_strange_names_among_the_records_do_no_harm(workdir, made):
    first = workdir / "chunks" / "group_000-000000001.npz"
    for name in ("a.npz", "-.npz", "group_000-x.npz", "group_000-000000001.a-b.npz", "group_000-000000001.3-1.npz",
                 "group_000-000000001.0-99.npz", f"group_000-000000001.0-{10**30}.npz", "x-1-2.npz"):  # fmt: skip
        shutil.copy(first, first.with_name(name))
    first.unlink()
    assert foreign.COMMANDS["sweep"](workdir, made)[0] == 0
    assert same_as(workdir, made)


def test_a_disk_that_refuses_the_report_is_one_line(workdir, made, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for command in ("report", "compare"):
        (workdir / "verdicts.json").unlink(missing_ok=True)
        code, said = foreign.COMMANDS[command](workdir, made)
        assert code == 1 and "the disk refused (No space left on device" in said and "Traceback" not in said


@pytest.mark.parametrize("words", [("--help",), ("--workdir={}",)])
def test_a_closed_output_ends_no_command(workdir, monkeypatch, capfd, words):
    reads, writes = os.pipe()
    os.close(reads)
    (workdir / "report.html").unlink()
    with os.fdopen(writes, "w", buffering=1) as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        monkeypatch.setattr(sys, "argv", ["report", *(word.format(workdir) for word in words)])
        with pytest.raises(SystemExit) as ended:
            command_line.run(report.main, report.__doc__, report.define_flags)
    assert ended.value.code == 0
    assert (workdir / "report.html").exists() == (words != ("--help",))
    assert "Error" not in capfd.readouterr().err
