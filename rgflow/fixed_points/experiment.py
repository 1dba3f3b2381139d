"""One run of this room: a dense network trained on exact samples of a ring.

Coordinates of a run: ``seed`` and every key that the sweep sets: ``data``, ``coupling`` K, ``task``, ``activation``,
``halvings``, ``weight_decay`` and ``shuffle``. What is recorded stands in :mod:`~rgflow.fixed_points.probe`, what is
known before a run in :mod:`~rgflow.fixed_points.reference`.
"""

import functools
from typing import Any

import numpy as np

from rgflow.checks import between, one_of, whole
from rgflow.fixed_points import dynamics, probe, reference
from rgflow.fixed_points.task import ACTIVATIONS, SHUFFLES, TASKS, Static, head_of
from rgflow.nets.dense import halved
from rgflow.probes.score_matching import require_samples
from rgflow.protocol import Experiment, Late
from rgflow.types import Config

LEAST = {"batch": 2, "steps": 1, "records": 1, "samples": 16, "plateau_steps": 1, "orbit": 1, "points": 16}
"""Least allowed values of the whole numbers."""

LARGEST_COUPLING = 5.0
"""Beyond it all spins of a ring are aligned to more digits than float32 has."""

MOST_SITES = 128
"""The exact references fit all pairs of sites at once: 64 sites take seconds, 256 more memory than machines have."""

MOST_POINTS = 512
"""The transfer operator of a field is a matrix of four times as many points a side."""

CPU_RUN_BATCH = 8
"""A run takes half the time that it takes with 2 at once, and a third of that alone; with 16 fields take longer."""


def validate(config: Config) -> None:
    """Raises ValueError for an impossible config: one line with the key, its value and what is allowed."""
    one_of("data", config.data, ("ising", *config.potentials))
    one_of("task", config.task, TASKS)
    one_of("activation", config.activation, ACTIVATIONS)
    one_of("shuffle", config.shuffle, SHUFFLES)
    for name, least in LEAST.items():
        whole(name, config[name], least)
    between("points", config.points, LEAST["points"], MOST_POINTS)
    for name in ("batch", "samples"):
        if config[name] % 2:
            raise ValueError(f"{name} = {config[name]}: must be even, one half for each coupling to classify")
    _check_shapes(config)
    between("coupling", config.coupling, 0, LARGEST_COUPLING)
    if not 0 <= config.contrast < 1:
        raise ValueError(f"contrast = {config.contrast}: must lie within [0, 1)")
    between("cooldown", config.cooldown, 0, 1)
    for name in ("learning_rate", "plateau"):
        if not 0 < config[name] < np.inf:
            raise ValueError(f"{name} = {config[name]}: must be a finite positive number")
    if not 0 <= config.weight_decay < np.inf:
        raise ValueError(f"weight_decay = {config.weight_decay}: must be a finite number of at least 0")
    if config.task == "classification" and config.coupling == 0:
        raise ValueError("task = 'classification': needs a coupling above 0, or there is nothing to tell apart")
    reference.check_data(config)


def _check_shapes(config: Config) -> None:
    """Raises ValueError for sites, layers and samples that do not fit together."""
    if config.num_sites > MOST_SITES:
        raise ValueError(
            f"num_sites = {config.num_sites}: must be at most {MOST_SITES}, for the exact fit to all pairs"
        )
    most = int(np.log2(MOST_SITES))
    if config.halvings > most:
        raise ValueError(f"halvings = {config.halvings}: must be at most {most}, of {MOST_SITES} sites")
    widths = halved(config.num_sites, config.halvings)
    if widths[-1] < 3:
        raise ValueError(f"halvings = {config.halvings}: leaves {widths[-1]} features, must leave at least 3")
    require_samples(config.samples, widths[0], probe.POWERS)
    if config.plateau_steps >= config.steps:
        raise ValueError(f"plateau_steps = {config.plateau_steps}: must be below steps = {config.steps}")


def make_static(config: Config) -> Static:
    """Returns what fixes the shapes and the program."""
    return Static(
        system="ising" if config.data == "ising" else "field",
        head=head_of(config.task),
        num_sites=config.num_sites,
        halvings=config.halvings,
        batch=config.batch,
        samples=config.samples,
        orbit=config.orbit,
        points=config.points,
    )


def schedule(config: Config) -> tuple[int, ...]:
    """Returns the steps at which a run records: step 0 alone where nothing is trained."""
    if head_of(config.task) == "none":
        return (0,)
    begin_of_plateau = config.steps - config.plateau_steps
    spaced = np.linspace(0, begin_of_plateau, config.records + 1).round().astype(int).tolist()
    return tuple(sorted({*spaced, config.steps}))


def traced_inputs(config: Config) -> dict[str, Any]:
    """Returns the hypers of a run."""
    return {
        "task": np.int32(TASKS.index(config.task)),
        "activation": np.int32(ACTIVATIONS.index(config.activation)),
        "coupling": np.float64(config.coupling),
        "other_coupling": np.float64(config.contrast * config.coupling),
        "potential": np.asarray(reference.potential_of(config), np.float64),
        "half_width": np.float64(reference.half_width(config)),
        "log_partition_gap": np.float64(reference.log_partition_gap(config)),
        "shuffled": np.bool_(config.shuffle == "sites"),
        **{name: np.float64(config[name]) for name in ("learning_rate", "cooldown", "weight_decay", "steps")},
    }


def make(config: Config) -> Experiment:
    """Returns the experiment of one run; raises ValueError as :func:`validate`."""
    validate(config)
    static = make_static(config)
    bind = functools.partial
    return Experiment(
        static=static,
        hypers=Late(lambda: traced_inputs(config)),
        init=bind(dynamics.init, static),
        step=bind(dynamics.step, static),
        probe=bind(probe.probe, static),
        schedule=schedule(config),
        cpu_run_batch=CPU_RUN_BATCH,
        dims={**probe.DIMS, **reference.DIMS},
        coords={**probe.coords(static), **reference.coords(config.halvings)},
        reference=Late(lambda: {**reference.references(config), "steps": float(schedule(config)[-1])}),
    )
