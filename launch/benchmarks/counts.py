"""What is counted and not timed: compilations, communication, memory, growth of the cost with the sizes.

Compilations are those that JAX itself reports; communication is the size of the results of all collective operations
in the compiled programs of every room, spread over two devices; memory is the peak that the operating system saw
against the estimate that a sweep prints; growth is in floating-point operations of one training step as the compiler
counts them, fitted as a power of the size between its smallest and its largest value.
"""

import dataclasses
import importlib
import math
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from launch import environment
from launch.benchmarks import rank_flow_training, rounds
from rgflow import rank_flow, registry
from rgflow.engine import grid, mesh
from rgflow.engine.plan import Plan
from rgflow.engine.prepare import Prepared, chunks
from rgflow.engine.prepare import prepare as prepare_group

ROOMS = ("fixed_points", "kernel_rg", "rank_flow", "variational_rg")
COLLECTIVES = re.compile(r"= (.*?) (?:all-reduce|all-gather|all-to-all|collective-\w+|reduce-scatter)(?:-start)?\(")
COMPILED = "/jax/core/compile/backend_compile_duration"
GROWTH: dict[str, tuple[tuple[str, Sequence[int], float], ...]] = {
    "window": (("depth", (2, 4, 8), 1.05), ("width", (32, 64, 128, 256), 2.05), ("length", (32, 64, 128), 1.05)),
    "mixer": (("depth", (2, 4, 8), 1.05), ("width", (32, 64, 128, 256), 2.05), ("length", (32, 64, 128), 2.05)),
}
"""Per mixing: the key of the config, its sizes, and the largest power that is right."""


@dataclasses.dataclass(frozen=True)
class Count:
    """One count: its value, the requirement, and whether it holds (None: for information)."""

    name: str
    measured: str
    required: str
    passed: bool | None


def _smoke_groups(room: str) -> list[Prepared]:
    """Returns the compiled groups of a room's smoke preset, at most two, as a sweep would make them."""
    module: Any = importlib.import_module(f"configs.{room}")
    config = module.get_config("smoke")
    batch_of = lambda runs: mesh.choose_run_batch(mesh.platform(), len(runs), jax.device_count())  # noqa: E731
    plan = Plan(config, registry.make).grown(grid.expand(module.get_sweep(config)), batch_of)
    return [prepare_group(group, plan.experiments(group), config.root_seed) for group in plan.groups[:2]]


def communication(room: str) -> dict[str, int]:
    """Returns the number of programs of a room that were looked at, and the bytes that they exchange."""
    environment.configure(runs=2, cpu_devices=2)
    texts = [prepared.program.text for prepared in _smoke_groups(room)]
    return {"programs": len(texts), "bytes": sum(collective_bytes(text) for text in texts)}


def collective_bytes(text: str) -> int:
    """Returns the size of the results of all collective operations of a compiled program.

    Example:
        >>> collective_bytes("%x = f32[4,2]{1,0} all-reduce(%y)"), collective_bytes("%x = f32[4]{0} add(%y, %y)")
        (32, 0)
    """
    found = 0
    for shapes in COLLECTIVES.findall(text):
        for bits, sizes in re.findall(r"[a-z]+(\d*)\[([\d,]*)\]", shapes):
            found += math.prod(int(n) for n in sizes.split(",") if n) * max(int(bits or 8), 8) // 8
    return found


def compilations() -> dict[str, int]:
    """Returns how many programs a sweep of several learning rates and lengths needs, and how many running it adds.

    ``groups`` are the distinct shapes of the sweep, ``programs`` what was compiled for them, ``later`` what was
    compiled while their chunks of unlike lengths ran, with and without a record.
    """
    environment.configure(runs=2, cpu_devices=2)
    config = rank_flow_training.config_of("tokenwise", tiny=True, records=4)
    values = [
        {"learning_rate": r, "correlation_length": c, "depth": d}
        for r in (1e-3, 2e-3)
        for c in (1.0, 7.0)
        for d in (2, 3)
    ]
    runs = [grid.Run(point, seed) for point in values for seed in range(2)]
    batch_of = lambda runs: mesh.choose_run_batch("cpu", len(runs), jax.device_count())  # noqa: E731
    plan = Plan(config, rank_flow.make).grown(runs, batch_of)
    events: list[str] = []

    def listen(event: str, duration_secs: float, **kwargs: str | int) -> None:
        events.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    counted = lambda: events.count(COMPILED)  # noqa: E731
    prepared, programs = [], 0
    for group in plan.groups:
        before = counted()
        prepared.append(prepare_group(group, plan.experiments(group), root_seed=0))
        programs += counted() - before
    before = counted()
    for one in prepared:
        carry = one.program.initialise(one.key, one.hypers)
        for start, stop, probe in chunks((0, 1, 5, 12), None, 4):
            carry, _ = one.program.advance(start, stop, probe, one.key, one.hypers, carry)
        jax.block_until_ready(carry)
    # A group has two functions of its own, and the run keys, which are a third small program.
    return {"groups": len(plan.groups), "shapes": 2, "programs": programs, "later": counted() - before}


def _resident(label: str) -> int:
    text = pathlib.Path("/proc/self/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in text.splitlines() if line.startswith(label))


def memory() -> dict[str, float] | None:
    """Returns the estimated and the measured peak memory of a group in bytes; None where the system does not tell."""
    if not pathlib.Path("/proc/self/clear_refs").exists():
        return None
    environment.configure(runs=8, cpu_devices=1)
    config = rank_flow_training.config_of("mixer", tiny=False, batch=64)
    prepared = rank_flow_training.prepared_runs(config, runs=8, run_batch=8)
    before = _resident("VmRSS:")
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from here
    carry = prepared.program.initialise(prepared.key, prepared.hypers)
    jax.block_until_ready(prepared.program.advance(0, 2, True, prepared.key, prepared.hypers, carry))
    return {"estimate": float(prepared.program.memory_bytes), "peak": float(_resident("VmHWM:") - before)}


def step_flops(mixing: str, runs: int = 1, **sizes: int) -> float:
    """Returns the floating-point operations of one training step of ``runs`` runs, as the compiler counts them."""
    experiment = rank_flow.make(rank_flow_training.config_of(mixing, tiny=False, **sizes))
    key = jax.ShapeDtypeStruct((runs,), jax.eval_shape(lambda: jax.random.key(0)).dtype)
    stacked = lambda x: jax.ShapeDtypeStruct((runs, *np.shape(x)), np.float32)  # noqa: E731
    hypers = jax.tree.map(stacked, dict(experiment.hypers))
    state = jax.eval_shape(jax.vmap(experiment.init), key, hypers)
    analysis = jax.jit(jax.vmap(experiment.step)).lower(key, state, hypers).cost_analysis()
    return float((analysis or {}).get("flops", math.nan))


def power(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Returns the exponent of the power law through the two largest sizes: small ones still feel the constants.

    Example:
        >>> round(power((1, 2, 4), (3.0, 12.0, 48.0)), 6)
        2.0
    """
    return math.log(costs[-1] / costs[-2]) / math.log(sizes[-1] / sizes[-2])


def growth(tiny: bool) -> list[tuple[str, float, float]]:
    """Returns (name, fitted power, largest right power) of the cost of a step in the runs and in every size."""
    runs = (1, 2, 4, 8)
    found = [("runs", power(runs, [step_flops("window", n) for n in runs]), 1.01)]
    for mixing, axes in GROWTH.items():
        for key, sizes, bound in axes[: 1 if tiny else None]:
            found.append((f"{key}, {mixing}", power(sizes, [step_flops(mixing, **{key: n}) for n in sizes]), bound))
    return found


def _in_own_process(function: Callable[..., Any], **arguments: Any) -> Any:
    return rounds.call(f"{__name__}:{function.__name__}", **arguments)


def checks(tiny: bool) -> list[Count]:
    """Returns every count, each from a process of its own."""
    compiled = _in_own_process(compilations)
    per_shape = f"{compiled['programs']} programs for {compiled['groups']} groups of 16 runs"
    right = compiled["groups"] == compiled["shapes"] and compiled["programs"] <= 3 * compiled["shapes"]
    found = [
        Count("compilations of a sweep with two shapes", per_shape, "one group per shape, 3 programs each", right),
        Count("compilations while it runs", str(compiled["later"]), "0", compiled["later"] == 0),
    ]
    for room in ("rank_flow",) if tiny else ROOMS:
        seen = _in_own_process(communication, room=room)
        text = f"{seen['bytes']} bytes in {seen['programs']} programs"
        found.append(Count(f"communication, {room}", text, "0 bytes", seen["bytes"] == 0))
    seen = None if tiny else _in_own_process(memory)
    if seen:
        share, mebibytes = seen["peak"] / seen["estimate"], seen["peak"] / 2**20
        text = f"{mebibytes:.0f} MiB, {share:.2f} of the estimate"
        found.append(Count("peak memory of a group", text, "0.8 to 1.2", 0.8 <= share <= 1.2))
    for name, exponent, bound in _in_own_process(growth, tiny=tiny):
        found.append(Count(f"growth of a step with {name}", f"{exponent:.2f}", f"<= {bound}", exponent <= bound))
    return found
