"""What a sweep may ask of a machine: numbers that fit its keys and devices, runs that can be listed, and memory."""

from collections.abc import Sequence

from launch import environment
from launch.command_line import UsageError
from rgflow import checks
from rgflow.engine import grid, hosts
from rgflow.engine.plan import Plan
from rgflow.protocol import Point
from rgflow.types import Config

MOST_DEVICES = 1024
"""Into more parts no CPU is split; jax would make every one of them."""


def check_engine(engine: Config) -> None:
    """Raises UsageError for settings of the engine that make no sense."""
    try:
        for name, least in {"run_batch": 0, "chunk_steps": 1, "cpu_devices": 0}.items():
            checks.whole(f"engine.{name}", engine[name], least)
        checks.between("engine.cpu_devices", engine.cpu_devices, 0, MOST_DEVICES)
        checks.at_least("engine.checkpoint_seconds", engine.checkpoint_seconds, 0)
    except ValueError as error:
        raise UsageError(f"config.{error}") from error


def check_points(points: Sequence[Point]) -> None:
    """Raises UsageError when the points make no run, or more runs than can be listed."""
    runs = sum(max(point.seeds, 0) for point in points)
    if not 0 < runs <= grid.MOST_RUNS:
        most = f"must make 1 to {grid.MOST_RUNS} runs"
        raise UsageError(f"config.sweep: makes {len(points)} points with {runs} runs; {most}")


def check_plan(plan: Plan, points: Sequence[Point]) -> None:
    """Raises UsageError for a config that makes no sense at some point."""
    try:
        checks.seed("root_seed", plan.config.root_seed)
        grid.check_ids(points)
        for point in points:
            checks.whole("steps", plan.experiment(grid.Run(point.values, 0)).schedule[-1], 0)
    except (ValueError, TypeError, OverflowError) as error:
        raise UsageError(f"config.{str(error).splitlines()[0]}") from error
    except MemoryError as error:
        raise UsageError(f"config: too large to be made in this machine's memory ({error})") from error


def check_memory(group: grid.Group, need: int) -> str:
    """Returns a warning ('' for none) where a group needs more than a device has; raises UsageError at twice that.

    ``need`` is in bytes on each device. Every process of the sweep calls this at the same time.
    """
    have = environment.device_memory()
    short = have is not None and need > have
    # Hosts differ in what is free; one that refused alone would leave the others waiting for it.
    everywhere = hosts.gather([short, have is not None and need > 2 * have])
    if not everywhere[:, 0].any():
        return ""
    has = f"which has {have / 2**30:.1f} GiB" if have is not None and short else "more than another host has"
    text = (
        f"{group.name} needs about {need / 2**30:.1f} GiB on each device, {has}: "
        f"engine.run_batch = {group.run_batch} runs at a time are too many, or the network is too large"
    )
    if everywhere[:, 1].any():
        raise UsageError(text)
    return text
