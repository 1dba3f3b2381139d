"""Points, runs and groups: which runs a sweep consists of, and by which config fields a sweep is known again."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rgflow.engine.keys import point_id
from rgflow.protocol import Point
from rgflow.types import Config

FREE_SECTIONS = ("engine", "sweep")
"""Sections of a config that may change between two starts on one workdir; every key called ``seeds`` may change too."""


MOST_RUNS = 10_000_000
"""A sweep of more runs is a slip of the pen: the list of them alone fills gigabytes."""


@dataclasses.dataclass(frozen=True)
class Run:
    """One run: a point's values and a seed number; ``point`` is the point's id where it is known already."""

    values: Mapping[str, Any]
    seed: int
    point: int | None = dataclasses.field(default=None, repr=False, compare=False)

    @property
    def identity(self) -> tuple[int, int]:
        """The pair (point id, seed); two runs with the same pair are the same run."""
        return point_id(self.values) if self.point is None else self.point, self.seed


def runs_of(values: Mapping[str, Any], first_seed: int, seeds: int) -> Iterator[Run]:
    """Yields ``seeds`` runs of one point, whose id is computed once for all of them."""
    point = point_id(values)
    for seed in range(first_seed, first_seed + seeds):
        yield Run(values, seed, point)


@dataclasses.dataclass(frozen=True)
class Group:
    """Runs that share shapes and schedule, hence one compilation; ``name`` names its files."""

    name: str
    runs: tuple[Run, ...]
    run_batch: int

    def to_json(self) -> dict[str, Any]:
        """Returns plain data for run.json: runs of one point whose seeds follow each other are one entry."""
        runs: list[dict[str, Any]] = []
        last = None
        for run in self.runs:
            point, seed = run.identity
            if last == (point, seed - 1):
                runs[-1]["seeds"] += 1
            else:
                runs.append({"values": dict(run.values), "first_seed": seed, "seeds": 1})
            last = (point, seed)
        return {"name": self.name, "run_batch": self.run_batch, "runs": runs}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Group":
        """Reads what :meth:`to_json` wrote."""
        stretches = [(one["values"], one["first_seed"], one["seeds"]) for one in data["runs"]]
        if sum(seeds for _, _, seeds in stretches) > MOST_RUNS:
            raise ValueError(f"{data['name']}: holds more than {MOST_RUNS} runs")
        runs = tuple(run for stretch in stretches for run in runs_of(*stretch))
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


def check_ids(points: Iterable[Point]) -> None:
    """Raises ValueError when two different points have the same id (a chance of 1 % among 10 000 points)."""
    named: dict[int, Mapping[str, Any]] = {}
    for point in points:
        other = named.setdefault(point_id(point.values), point.values)
        if dict(other) != dict(point.values):
            raise ValueError(f"sweep: {dict(other)} and {dict(point.values)} share an id; change any value a little")


def expand(points: Iterable[Point]) -> list[Run]:
    """Returns every run of the points, in order, without repetition; raises ValueError as :func:`check_ids`."""
    points = list(points)
    check_ids(points)
    runs = {run.identity: run for point in points for run in runs_of(point.values, 0, point.seeds)}
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
