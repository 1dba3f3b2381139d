"""Whole numbers that fit no key and no device are refused in every room; memory is weighed alike by all hosts."""

import importlib.util

import numpy as np
import pytest

from launch import limits, overrides
from launch.command_line import UsageError
from rgflow import registry
from rgflow.engine import grid


def with_value(room, name, value):
    """Returns the smoke config of a room with another value of one key."""
    config = importlib.import_module(f"configs.{room}").get_config("smoke")
    return grid.point_config(config, {name: value})


def whole_numbers(room):
    """Returns the keys of a room that hold whole numbers, alone or in a tuple, the engine's and the seeds left out."""
    keys = overrides.flat(importlib.import_module(f"configs.{room}").get_config("smoke").to_dict())
    kept = {name: value for name, value in keys.items() if not name.startswith("engine.") and name != "root_seed"}
    single = {name: 10**20 for name, value in kept.items() if type(value) is int and not name.endswith("seeds")}
    tuples = {name: value for name, value in kept.items() if isinstance(value, tuple) and value}
    several = {name: (10**20,) for name, value in tuples.items() if type(value[0]) is int}
    return single | several


@pytest.mark.parametrize(
    "room", sorted(name for name in registry.EXPERIMENTS if importlib.util.find_spec(f"configs.{name}"))
)
def test_no_whole_number_is_too_large_for_a_sentence(room):
    refusals = {}
    for name, value in whole_numbers(room).items():
        config = with_value(room, name, value)
        try:
            (point, *_) = importlib.import_module(f"configs.{room}").get_sweep(config)
            registry.make(grid.point_config(config, point.values))
        except ValueError as error:
            refusals[name] = str(error)
    assert len(refusals) > 5
    assert [name for name, said in refusals.items() if str(10**20) not in said] == []


@pytest.mark.parametrize(("need", "said"), [(1.9, "needs about 1.9 GiB on each device, which has 1.0 GiB"), (0.9, "")])
def test_memory_short_of_twice_is_a_warning(monkeypatch, need, said):
    monkeypatch.setattr(limits.environment, "device_memory", lambda: 2**30)
    warning = limits.check_memory(grid.Group("group_007", (), 4), int(need * 2**30))
    assert said in warning
    assert not warning or warning.startswith("group_007 ")


def test_memory_of_twice_is_refused_by_all_hosts_where_one_lacks_it(monkeypatch):
    group = grid.Group("group_007", (), 4)
    monkeypatch.setattr(limits.environment, "device_memory", lambda: 2**30)
    with pytest.raises(UsageError, match=r"^group_007 needs about 2\.1 GiB .* engine\.run_batch = 4"):
        limits.check_memory(group, int(2.1 * 2**30))
    monkeypatch.setattr(limits.hosts, "gather", lambda flags: np.array([flags, [True, True]]))
    with pytest.raises(UsageError, match=r"more than another host has"):
        limits.check_memory(group, 1)
