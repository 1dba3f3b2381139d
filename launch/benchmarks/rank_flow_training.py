"""Training of the rank-flow room as the engine runs it: what the three rank-flow suites and their relatives time."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import ml_collections
import numpy as np

from configs import rank_flow as rank_flow_config
from launch import environment
from launch.benchmarks.cases import Outcome
from rgflow import rank_flow
from rgflow.engine import grid, mesh
from rgflow.engine.prepare import Prepared
from rgflow.engine.prepare import prepare as prepare_group

FIRST_STEPS = 20
"""Steps over which the training loss is averaged to show that contenders train the same thing."""

TINY = {"batch": 4, "probe_batch": 4, "pooled_batch": 4, "length": 16, "width": 16, "depth": 2, "window": 2}
SMALL_PROBE = {"probe_batch": 4, "pooled_batch": 4}
"""The probe is compiled with the step but not timed."""


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What a peer needs to know to train the same networks on the same data."""

    mixing: str
    num_states: int
    length: int
    batch: int
    depth: int
    width: int
    hidden: int
    token_hidden: int
    window: int
    mask_prob: float
    learning_rate: float


def config_of(mixing: str, tiny: bool, **values: Any) -> ml_collections.ConfigDict:
    """Returns the config of one run of the default preset (smallest sizes if ``tiny``), with ``values`` set."""
    config = rank_flow_config.get_config()
    config.mixing, config.records = mixing, 1
    config.learning_rate = config.runs[mixing].learning_rate
    config.update({**(TINY if tiny else SMALL_PROBE), **values})
    config.steps = 10**6  # of which a benchmark takes the first few; the learning rate is constant
    return config


def sizes_of(config: Any) -> Sizes:
    """Returns the sizes that a peer trains with."""
    names = [f.name for f in dataclasses.fields(Sizes) if f.name in config]
    hidden = {"hidden": config.hidden_multiple * config.width, "token_hidden": config.hidden_multiple * config.length}
    return Sizes(**{name: config[name] for name in names}, **hidden)


def chain(config: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns (cumulative transition rows [V, V], cumulative stationary distribution [V]) for a peer's sampler."""
    hypers = rank_flow.make(config).hypers
    return np.cumsum(hypers["transition"], axis=1), np.cumsum(hypers["stationary"])


def prepared_runs(config: Any, runs: int, run_batch: int = 0, devices: int = 0) -> Prepared:
    """Returns ``runs`` seeds of one config, compiled as a sweep compiles them."""
    experiment = rank_flow.make(config)
    chosen = jax.devices()[: devices or None]
    batch = mesh.choose_run_batch(mesh.platform(), runs, len(chosen), run_batch, experiment.cpu_run_batch)
    group = grid.Group("bench", tuple(grid.Run({}, seed) for seed in range(runs)), batch)
    return prepare_group(group, [experiment] * runs, root_seed=0, devices=chosen)


def trainer(
    mixing: str, runs: int, steps: int, tiny: bool = False, devices: int = 0, run_batch: int = 0, **values: Any
) -> Callable[[], Outcome]:
    """Returns a repetition: ``steps`` steps of ``runs`` runs; work in runs times steps, answer the first loss."""
    environment.configure(max(runs, devices), devices)
    prepared = prepared_runs(config_of(mixing, tiny, **values), runs, run_batch, devices)
    advance = functools.partial(prepared.program.advance, key=prepared.key, hypers=prepared.hypers)
    carry = prepared.program.initialise(prepared.key, prepared.hypers)
    carry, record = advance(0, FIRST_STEPS, True, carry=carry)
    answer = float(np.mean(record["train_loss"]))
    state = {"carry": carry, "step": FIRST_STEPS}

    def repeat() -> Outcome:
        stop = state["step"] + steps
        state["carry"], _ = advance(state["step"], stop, False, carry=state["carry"])
        jax.block_until_ready(state["carry"])
        state["step"] = stop
        return Outcome(runs * steps, answer)

    return repeat
