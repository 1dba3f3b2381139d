"""Points, runs and groups: which runs a sweep consists of, and by which config fields a sweep is known again."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from rgflow.engine.keys import point_id
from rgflow.protocol import Point
from rgflow.types import Config

FREE_SECTIONS = ("engine", "sweep")
"""Sections of a config that may change between two starts on one workdir; every key called ``seeds`` may change too."""


@dataclasses.dataclass(frozen=True)
class Run:
    """One run: a point's values and a seed number."""

    values: Mapping[str, Any]
    seed: int

    @property
    def identity(self) -> tuple[int, int]:
        """The pair (point id, seed); two runs with the same pair are the same run."""
        return point_id(self.values), self.seed


@dataclasses.dataclass(frozen=True)
class Group:
    """Runs that share shapes and schedule, hence one compilation; ``name`` names its files."""

    name: str
    runs: tuple[Run, ...]
    run_batch: int

    def to_json(self) -> dict[str, Any]:
        """Returns plain data for run.json."""
        runs = [{"values": dict(run.values), "seed": run.seed} for run in self.runs]
        return {"name": self.name, "run_batch": self.run_batch, "runs": runs}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Group":
        """Reads what :meth:`to_json` wrote."""
        runs = tuple(Run(run["values"], run["seed"]) for run in data["runs"])
        return Group(data["name"], runs, data["run_batch"])


def point_config(config: Config, values: Mapping[str, Any]) -> Config:
    """Returns a copy of ``config`` with the values of one point set."""
    copy = config.copy_and_resolve_references()
    for name, value in values.items():
        section, leaf = copy, name
        while "." in leaf:
            head, leaf = leaf.split(".", 1)
            section = section[head]
        section[leaf] = value
    return copy


def expand(points: Iterable[Point]) -> list[Run]:
    """Returns every run of the points, in order, without repetition.

    Raises ValueError when two different points have the same id (a chance of 1 % among 10 000 points).
    """
    points = list(points)
    named: dict[int, Mapping[str, Any]] = {}
    for point in points:
        other = named.setdefault(point_id(point.values), point.values)
        if dict(other) != dict(point.values):
            raise ValueError(f"sweep: {dict(other)} and {dict(point.values)} share an id; change any value a little")
    runs = {run.identity: run for point in points for run in (Run(point.values, s) for s in range(point.seeds))}
    return list(runs.values())


def science_fields(config: Config) -> dict[str, Any]:
    """Returns the flat fields that decide the numbers: all but ``engine``, ``sweep`` and keys called ``seeds``."""
    flat: dict[str, Any] = {}

    def walk(section: Mapping[str, Any], prefix: str) -> None:
        for name, value in section.items():
            if isinstance(value, Mapping):
                walk(value, f"{prefix}{name}.")
            elif name != "seeds":
                flat[prefix + name] = value

    walk(json.loads(config.to_json()), "")
    return {name: value for name, value in flat.items() if name.split(".")[0] not in FREE_SECTIONS}


def config_digest(config: Config) -> str:
    """Returns eight hexadecimal digits that change when any science field changes."""
    return fields_digest(science_fields(config))


def fields_digest(fields: Mapping[str, Any]) -> str:
    """Returns eight hexadecimal digits that change when anything in plain data changes."""
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:8]


def changed_fields(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Returns one ``name: old -> new`` per science field that differs."""
    absent = "(absent)"
    names = sorted(set(old) | set(new))
    pairs = [(name, old.get(name, absent), new.get(name, absent)) for name in names]
    return [f"{name}: {a} -> {b}" for name, a, b in pairs if a != b]
