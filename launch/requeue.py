"""Whether another start of a sweep would get any further: what a batch script asks before it goes back to the queue."""

import argparse
import pathlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rgflow.report import timing


def progress(events: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Returns how many records and checkpoints each named start has left that no start before it had left.

    A start that computes again what an earlier one has computed, from the same checkpoint, makes no progress.
    """
    made: dict[str, int] = {}
    seen, start = set(), ""
    for event in events:
        kind = event.get("event")
        if kind == "started":
            start = event.get("start", "")
            made.setdefault(start, 0)
        elif kind in ("record", "checkpoint"):
            mark = (kind, event.get("group"), event.get("step"))
            made[start] = made.get(start, 0) + (mark not in seen)
            seen.add(mark)
    return made


def stage(events: Iterable[Mapping[str, Any]], start: str) -> str:
    """Returns how far a start without progress came, in words."""
    own, reached = False, ""
    for event in events:
        own = event.get("start") == start if event.get("event") == "started" else own
        reached = event.get("event", "") if own else reached
    ends = {"": "before it compiled anything", "started": "while its first program was compiled"}
    return f"it ended {ends.get(reached, 'before its first chunk was saved')}"


def in_vain(events: Sequence[Mapping[str, Any]], job: str, restarts: int) -> str:
    """Returns why another start of a job would be in vain, '' when it would not be: two starts made no progress."""
    made = progress(events)
    if any(made.get(f"{job}.{k}") for k in (restarts - 1, restarts)):
        return ""
    last = stage(events, f"{job}.{restarts}")
    return f"two starts in a row left no new record and no new checkpoint; of the last one: {last}"


def workdir_of(words: list[str]) -> pathlib.Path:
    """Returns the folder of the sweep with these flags."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--workdir", "-workdir")
    if given := parser.parse_known_args(words)[0].workdir:
        return pathlib.Path(given).absolute()
    # Imported here: to name the folder takes the whole config, and seconds.
    from launch import command_line, sweep, workdir

    values = command_line.parse(["sweep", *words], sweep.define_flags, config=True)
    return workdir.named(None, values.config, command_line.config_file(values))


def main(words: list[str]) -> int:
    """Says why another start would be in vain and returns 1, or returns 0.

    ``words`` are the name of the start that has ended, JOB.RESTARTS, and the flags of the sweep.
    """
    job, _, restarts = words[0].rpartition(".")
    if int(restarts) < 1:
        return 0
    why = in_vain(timing.read_events(workdir_of(words[1:]) / "events.jsonl"), job, int(restarts))
    if why:
        print(f"rgflow: {why}", file=sys.stderr)
    return 1 if why else 0
