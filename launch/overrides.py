"""Overrides that change nothing: a key of a study that is not run, or one that every point sets.

Only keys that nothing but ``get_sweep`` can read are looked at: those of the section ``sweep``, those called ``seeds``
or beside one in a section (``runs.window.steps``), and those that every point sets. Such a key has an effect if the
points differ with the value of the preset in its place.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from launch.command_line import UsageError
from rgflow.engine import grid
from rgflow.protocol import Point
from rgflow.types import Config

Flat = dict[str, Any]


def flat(section: Mapping[str, Any], prefix: str = "") -> Flat:
    """Returns the values of a config by their dotted names.

    Example:
        >>> flat({"depth": 2, "runs": {"window": {"seeds": 3}}})
        {'depth': 2, 'runs.window.seeds': 3}
    """
    found: Flat = {}
    for name, value in section.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return found


def meant(value: Any) -> Any:
    """Returns a value such that two ways to write the same words are equal.

    Example:
        >>> meant(("window,mixer",)) == meant(("window", "mixer"))
        True
    """
    words = isinstance(value, (tuple, list)) and all(isinstance(one, str) for one in value)
    return [word.strip() for word in ",".join(value).split(",")] if words else value


def is_free(name: str) -> bool:
    """Returns whether a sweep may go on with another value of a key, so that one without effect need not be given."""
    return name.startswith("sweep.") or name.split(".")[-1] == "seeds"


def _read_by_points_alone(name: str, keys: Flat, points: Sequence[Point]) -> bool:
    section = name.rpartition(".")[0]
    return is_free(name) or (section and f"{section}.seeds" in keys) or all(name in point.values for point in points)


def without_effect(config: Config, preset: Config, get_sweep: Callable[[Config], list[Point]]) -> Iterator[str]:
    """Yields the keys whose values differ from those of ``preset``, the config without overrides, and change no point.

    ``get_sweep`` returns the points of a config, or raises UsageError.
    """
    points, given, own = get_sweep(config), flat(config.to_dict()), flat(preset.to_dict())
    for name in (name for name in own if meant(given.get(name, own[name])) != meant(own[name])):
        if not _read_by_points_alone(name, given, points):
            continue
        try:
            same = get_sweep(grid.point_config(config, {name: own[name]})) == points
        except UsageError:  # the config makes sense with this override alone
            same = False
        if same:
            yield name


def idle(config: Config, preset: Config, get_sweep: Callable[[Config], list[Point]], fresh: bool) -> str:
    """Returns a warning about the overrides that change nothing, '' for none.

    Raises UsageError for those that a ``fresh`` workdir does not need. The others belong to the config of the workdir:
    another study, which is added later, may need them.
    """
    given = flat(config.to_dict())
    found = list(without_effect(config, preset, get_sweep))
    refused = [name for name in found if fresh and is_free(name)]
    told = ", ".join(f"config.{name} = {given[name]!r}" for name in refused or found)
    study = given.get("sweep.study")
    hint = f" of config.sweep.study = {study!r}" if study else ""
    if refused:
        raise UsageError(f"{told}: changes no run{hint}; leave it out, or choose a study that reads it")
    return f"warning: {told}: changes no run{hint}" if told else ""
