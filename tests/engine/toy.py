"""A small experiment with known answers that uses every part of the protocol: data, noise, probes with SVD, death."""

import flax.struct
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from rgflow.engine import grid, loop, prepare, progress
from rgflow.engine.plan import Plan
from rgflow.judging.claim import Finding
from rgflow.judging.intervals import Interval
from rgflow.protocol import Claim, Experiment, Point, Stream

TRACES = {"step": 0}
"""How often ``step`` was traced since a test reset it."""


@flax.struct.dataclass
class ToyState:
    """A random matrix walk, a number that grows (or not), and the number of steps taken."""

    matrix: jax.Array
    size: jax.Array
    steps: jax.Array


def config(**values) -> ml_collections.ConfigDict:
    base = {
        "experiment": "toy", "root_seed": 0, "size": 6, "steps": 12, "scale": 1.0,
        "fatal_step": -1, "growth": 1.0, "width": 0,
        "engine": {"run_batch": 0, "chunk_steps": 5, "checkpoint_seconds": 0.0, "cpu_devices": 0},
    }  # fmt: skip
    return ml_collections.ConfigDict({**base, **values})


def make(config: ml_collections.ConfigDict) -> Experiment:
    size = config.size

    def init(key, hypers):
        matrix = jax.random.normal(key, (3 * size, size)) * hypers["scale"]
        return ToyState(matrix, jnp.ones(()), jnp.zeros((), jnp.int32))

    def step(key, state, hypers):
        TRACES["step"] += 1
        noise = jax.random.normal(jax.random.fold_in(key, Stream.NOISE), state.matrix.shape)
        matrix = jnp.tanh(state.matrix @ jnp.eye(size) + 0.1 * hypers["scale"] * noise)
        if config.width:  # needs memory and does nothing
            large = jnp.sin(jax.random.normal(key, (config.width, 2)) @ jnp.ones((2, config.width)))
            matrix = matrix + 0 * (large @ large[:, :1])[0, 0]
        loss = state.size * jnp.mean(matrix**2) / jnp.where(state.steps == hypers["fatal_step"], 0.0, 1.0)
        matrix = jnp.where(state.steps == hypers["fatal_step"], jnp.nan, matrix)
        return ToyState(matrix, state.size * hypers["growth"], state.steps + 1), {"train_loss": loss}

    def probe(key, state, hypers):
        held_out = jax.random.normal(jax.random.fold_in(key, Stream.DATA), (size,))
        values = jnp.linalg.svd(state.matrix, compute_uv=False)
        return {"singular_value": values, "steps_taken": state.steps, "projection": jnp.sum(state.matrix @ held_out)}

    return Experiment(
        static=("toy", size),
        hypers={
            "scale": np.float32(config.scale),
            "fatal_step": np.int32(config.fatal_step),
            "growth": np.float32(config.growth),
        },
        init=init,
        step=step,
        probe=probe,
        schedule=(0, 1, 4, config.steps),
        dims={"singular_value": ("index",)},
        coords={"index": list(range(size))},
        reference={"limit": float(config.scale) ** 2},
    )


def judge(results):
    """Yields the mean of the projections, and how many runs it rests on."""
    value, died = results.dataset["projection"].isel(step=-1), results.dataset["died_at"]
    counts = (results.dataset.sizes["run"], int((died >= 0).sum()))
    yield Finding("", Interval(float(value.mean()), np.nan, np.nan, counts[0]), "undecided", counts, {})


CLAIMS = (Claim("toy", "ours", "a claim", "nothing", "a run", judge),)


def points(scales=(0.5, 1.0, 2.0), seeds=3) -> list[Point]:
    return [Point({"scale": scale}, seeds) for scale in scales]


def plan_of(config, points, run_batch=2, groups=()) -> Plan:
    """Returns the plan of a toy sweep: some groups and, after them, new ones for the points' other runs."""
    return Plan(config, make, tuple(groups)).grown(grid.expand(points), lambda runs: run_batch)


def sweep(workdir, config, points, run_batch=2, stop=None, groups=None, devices=None) -> list[grid.Group]:
    """Runs a toy sweep in-process and returns its groups."""
    plan = plan_of(config, points, run_batch, groups or ())
    workdir.mkdir(exist_ok=True)
    log = progress.EventLog(workdir / "events.jsonl")
    for group in plan.groups:
        if not loop.finished(group, workdir, plan.schedule(group)):
            prepared = prepare.prepare(group, plan.experiments(group), config.root_seed, devices)
            bar = progress.Progress(prepared.cost)
            loop.run_group(prepared, workdir, config.engine, {"digest": "toy"}, bar, log, stop or NeverStop())
    return list(plan.groups)


class NeverStop(loop.StopRequest):
    """A stop request that never comes."""

    def __init__(self):
        self.name = ""


class StopAfter(loop.StopRequest):
    """A stop request that comes when it was looked at a number of times."""

    def __init__(self, looks: int):
        self.looks = looks

    @property
    def name(self) -> str:
        self.looks -= 1
        return "SIGTERM" if self.looks < 0 else ""
