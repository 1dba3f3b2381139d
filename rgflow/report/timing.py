"""What a sweep cost and when it ran, from run.json and events.jsonl."""

import datetime
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rgflow.schema import files, kinds

LEAST_SECONDS = 5
"""Events carry whole seconds: a speed from less time than this would be made of rounding."""

ENDS = {"finished": "finished", "stopped": "stopped by {signal}"}


class Group(NamedTuple):
    """The cost of a group of runs: steps that were computed, seconds for them, seconds of saving and compiling."""

    name: str
    runs: int
    steps: int
    seconds: float
    saving: float
    compiling: float | None

    @property
    def steps_per_second(self) -> float | None:
        """Steps of the whole group per second, None where that cannot be known."""
        return self.steps / self.seconds if self.steps and self.seconds >= LEAST_SECONDS else None

    @property
    def milliseconds(self) -> float | None:
        """Milliseconds per step of one run, None where that cannot be known."""
        return 1e3 * self.seconds / (self.steps * self.runs) if self.steps_per_second else None


class Session(NamedTuple):
    """One start of the sweep: when, on what, for how long, and how it ended."""

    began: str
    device: str
    seconds: float
    ended: str


def read_events(path: pathlib.Path) -> list[dict[str, Any]]:
    """Returns the events of a log with their moments; none without a file. Half a line of a killed process is left out.

    Raises Unreadable for a line that is no event.
    """
    events = files.read_lines(path, kinds.EVENT)
    return [{**event, "at": datetime.datetime.strptime(event["time"], kinds.TIME)} for event in events]


def _seconds(first: Mapping[str, Any], last: Mapping[str, Any]) -> float:
    # A clock that was set back gives nothing rather than less than nothing.
    return max(0.0, (last["at"] - first["at"]).total_seconds())


def sessions(events: Sequence[Mapping[str, Any]]) -> list[Session]:
    """Returns every start with its end; one that was killed ends with its last event."""
    starts = [k for k, event in enumerate(events) if event["event"] == "started"]
    found = []
    for first, after in zip(starts, [*starts[1:], len(events)], strict=False):
        own = events[first:after]
        how = next((ENDS[e["event"]].format(**{"signal": "a signal", **e}) for e in own if e["event"] in ENDS), None)
        began, device = own[0]["at"].strftime("%Y-%m-%d %H:%M %z"), own[0].get("device", "-")
        found.append(Session(began, device, _seconds(own[0], own[-1]), how or "no end recorded: killed or running"))
    return found


def groups(run: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> list[Group]:
    """Returns what each group of run.json took: the time between two events belongs to the group of the later one."""
    steps, seconds, saving = ({group["name"]: 0.0 for group in run["groups"]} for _ in range(3))
    compiling: dict[str, float] = {}
    position: dict[str, int] = {}
    for event in (e for e in events if e["event"] == "compiled"):
        compiling[event.get("group", "")] = compiling.get(event.get("group", ""), 0.0) + event.get("seconds", 0.0)
    # Groups are compiled while others run.
    events = [e for e in events if e["event"] != "compiled"]
    for before, event in zip([None, *events], events, strict=False):
        name = event.get("group", "")
        if event["event"] == "started":
            position = {}
        # What passed before a group began to run was spent on another group, or waiting for the compiler.
        if name not in steps or before is None or event["event"] == "running":
            continue
        seconds[name] += _seconds(before, event)
        saving[name] += event.get("seconds", 0.0)
        step = event.get("step", 0)
        if event["event"] != "resumed":
            steps[name] += max(0, step - position.get(name, 0))
        position[name] = max(step, position.get(name, 0))
    sizes = {group["name"]: sum(one["seeds"] for one in group["runs"]) for group in run["groups"]}
    return [Group(n, sizes[n], int(steps[n]), seconds[n], saving[n], compiling.get(n)) for n in steps]


def sweep_keys(config: Mapping[str, str]) -> dict[str, str]:
    """Returns the config keys that say which points a sweep has, with their values."""
    return {key: value for key, value in config.items() if key.startswith("sweep.")}
