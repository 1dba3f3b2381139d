"""The progress line: shares, and a time left that is told only once enough was seen."""

from rgflow.engine import progress


def lines(monkeypatch, capsys, *costs, total=1000.0, skipped=0.0):
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    bar = progress.Progress(total)
    bar.skip(skipped)
    for cost in costs:
        bar.advance(cost, "group_000")
    return capsys.readouterr().out.splitlines()


def test_time_left_comes_from_the_speed_so_far(monkeypatch, capsys):
    assert lines(monkeypatch, capsys, 100.0, 100.0) == [
        "[ 10%] group_000  0:10 elapsed, 1:30 left",
        "[ 20%] group_000  0:20 elapsed, 1:20 left",
    ]


def test_too_little_seen_tells_no_time(monkeypatch, capsys):
    assert lines(monkeypatch, capsys, 1.0, 9.0) == [
        "[  0%] group_000  0:10 elapsed, ? left",
        "[  1%] group_000  0:20 elapsed, 33:00 left",
    ]


def test_what_was_found_finished_says_nothing_about_the_speed(monkeypatch, capsys):
    assert lines(monkeypatch, capsys, 1.0, 99.0, skipped=500.0) == [
        "[ 50%] group_000  0:10 elapsed, ? left",
        "[ 60%] group_000  0:20 elapsed, 1:20 left",
    ]
