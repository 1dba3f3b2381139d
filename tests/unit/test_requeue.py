"""Whether another start of a sweep would get any further: what its event log says about the starts of a job."""

import json

import pytest

from launch import requeue


def started(name=None):
    return {"event": "started"} | ({"start": name} if name else {})


def record(step, group="group_000", event="record"):
    return {"event": event, "group": group, "step": step}


def checkpoint(step):
    return record(step, event="checkpoint")


COMPILED = {"event": "compiled", "group": "group_000"}


def test_progress_is_what_no_start_before_has_left():
    again = [record(0), record(8)]  # a start from an old checkpoint passes records that are on disk
    events = [
        *(started(), record(0), checkpoint(0)),
        *(started("7.0"), COMPILED, record(8)),
        *(started("7.1"), *again),
        *(started("7.2"), *again, checkpoint(8)),
        *(started("7.3"), record(8, "group_001"), checkpoint(8)),
        started("7.4"),
    ]
    assert requeue.progress(events) == {"": 2, "7.0": 1, "7.1": 0, "7.2": 1, "7.3": 1, "7.4": 0}
    assert requeue.progress([]) == {}


MADE = [started("7.0"), COMPILED, record(0)]


@pytest.mark.parametrize(
    ("events", "restarts", "last"),
    [
        ([], 1, "before it compiled anything"),
        ([started("7.0"), started("7.1")], 1, "while its first program was compiled"),
        ([started("7.0"), started("7.1"), COMPILED], 1, "before its first chunk was saved"),
        # A start that did not reach the log, as when the processes did not find each other, has made no progress.
        ([started("7.0")], 1, "before it compiled anything"),
        (MADE, 1, None),
        (MADE, 2, "before it compiled anything"),
        ([*MADE, started("7.1"), started("7.2"), record(0)], 2, "before its first chunk was saved"),
        ([*MADE, started("7.1"), started("7.2"), record(1)], 2, None),
        # Those of another job, or by hand, do not count.
        ([started("6.0"), record(0), started(), record(1), started("7.1")], 1, "while its first program was compiled"),
        ([started("7.0"), started("7.1"), started("8.0"), record(4)], 1, "while its first program was compiled"),
    ],
)
def test_two_starts_in_a_row_without_progress_are_in_vain(events, restarts, last):
    said = requeue.in_vain(events, "7", restarts)
    if last is None:
        assert said == ""
    else:
        assert said.startswith(
            "two starts in a row left no new record and no new checkpoint; of the last one: it ended "
        )
        assert said.endswith(last)


def test_folder_is_that_of_the_flags(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for words in (
        ["--workdir=run"],
        ["--workdir", "run"],
        ["-workdir=run"],
        ["--config=x.py", "--workdir=run", "--a=1"],
    ):
        assert requeue.workdir_of(words) == tmp_path / "run"


def test_folder_without_a_flag_is_that_of_the_sweep():
    found = requeue.workdir_of(["--config=configs/rank_flow.py:smoke", "--resume=auto"])
    assert found.parent.name == "checkpoints"
    assert found.name.startswith("rank_flow-smoke-")


def test_command_reads_the_log_of_the_workdir(tmp_path, capsys):
    (tmp_path / "events.jsonl").write_text(
        "".join(json.dumps({"time": "2026-01-01T00:00:00+0000", **event}) + "\n" for event in MADE) + "half a li"
    )
    for start, code in (("7.0", 0), ("7.1", 0), ("7.2", 1)):
        assert requeue.main([start, f"--workdir={tmp_path}"]) == code
        assert bool(capsys.readouterr().err) == bool(code)
    assert requeue.main(["4700_3.1", f"--workdir={tmp_path / 'absent'}"]) == 1
