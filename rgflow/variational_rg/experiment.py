"""One run of this room: a chain of the lattice, a stack of machines, or a machine small enough to enumerate.

``system`` says which. Coordinates of a run: ``seed`` and every key that the sweep sets: ``system``, ``size``,
``coupling`` K, ``l1``, ``shuffle``, ``algorithm``, ``sweeps`` (k of CD-k) and ``small.hidden``. What is recorded stands
in :mod:`~rgflow.variational_rg.lattice`, :mod:`~rgflow.variational_rg.probe` and :mod:`~rgflow.variational_rg.small`;
what is known before a run in :mod:`~rgflow.variational_rg.block_spins`.
"""

import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from rgflow import checks
from rgflow.protocol import Experiment, Late, log_spaced_schedule
from rgflow.types import Config
from rgflow.variational_rg import block_spins, dynamics, lattice, probe, small
from rgflow.variational_rg.exact import LARGEST_NUM_UNITS_OF_A_TABLE
from rgflow.variational_rg.free_running import STARTS
from rgflow.variational_rg.learning import L1_METHODS
from rgflow.variational_rg.machine import UNITS
from rgflow.variational_rg.task import SHUFFLES, data, data_keys, pack

LEAST = {
    "size": 2,
    "sweeps": 1,
    "momentum_epochs": 0,
    "lattice.walkers": 2,
    "lattice.steps": 1,
    "lattice.records": 1,
    "lattice.levels": 0,
    "stack.epochs": 1,
    "stack.batch": 1,
    "stack.num_samples": 1,
    "stack.num_test": 2,
    "stack.records": 1,
    "stack.shown": 1,
    "model.chains": 4,
    "model.sweeps": 2,
    "model.temperatures": 1,
    "small.hidden": 1,
    "small.batch": 1,
    "small.steps": 1,
    "small.records": 1,
}
"""Least allowed values of the whole numbers."""

LARGEST_COUPLING = 5.0
"""Beyond it every sample is one of the two aligned states to more digits than float32 has."""


def _read(config: Config, name: str) -> Any:
    return functools.reduce(lambda section, key: section[key], name.split("."), config)


def validate(config: Config) -> None:
    """Raises ValueError, one line naming key, value and what is allowed, for a config that makes no sense."""
    checks.one_of("system", config.system, MAKERS)
    checks.one_of("units", config.units, UNITS)
    checks.one_of("shuffle", config.shuffle, SHUFFLES)
    checks.one_of("l1_method", config.l1_method, L1_METHODS)
    checks.one_of("algorithm", config.algorithm, small.ALGORITHMS)
    checks.one_of("stack.pass_up", config.stack.pass_up, dynamics.PASS_UP)
    for name, least in LEAST.items():
        checks.whole(name, _read(config, name), least)
    checks.seed("data_seed", config.data_seed)
    checks.between("coupling", config.coupling, -LARGEST_COUPLING, LARGEST_COUPLING)
    for name in ("l1", "weight_deviation", "learning_rate", "small.learning_rate"):
        checks.finite(name, _read(config, name))
    for name in ("l1", "weight_deviation"):
        checks.at_least(name, config[name], 0)
    for name in ("learning_rate", "small.learning_rate"):
        checks.positive(name, _read(config, name))
    for name in ("momentum", "final_momentum"):
        if not 0 <= config[name] < 1:
            raise ValueError(f"{name} = {config[name]}: must lie within [0, 1)")


def _check_stack(config: Config) -> None:
    """Refuses layers that are no blocks, batches that leave samples over, and what only small machines can do."""
    stack = config.stack
    if config.algorithm == "exact":
        raise ValueError("algorithm = 'exact': must be cd or pcd for system = 'stack', which cannot be enumerated")
    if config.coupling < 0:
        raise ValueError(
            f"coupling = {config.coupling}: must not be negative for system = 'stack', whose hidden units and blocks "
            "count as up where most of their sites are"
        )
    if not len(stack.layers):
        raise ValueError("stack.layers = (): must name the hidden units of at least one machine")
    sides = [block_spins.block_side(config.size**2, units) for units in stack.layers]
    if any(b % a for a, b in itertools.pairwise(sides)) or sides != sorted(set(sides)):
        raise ValueError(f"stack.layers = {tuple(stack.layers)}: must shrink from layer to layer, by whole blocks")
    if stack.num_samples % stack.batch:
        raise ValueError(f"stack.num_samples = {stack.num_samples}: must be a multiple of stack.batch")
    if stack.num_test < max(config.model.chains // 2, probe.EXAMPLES):
        raise ValueError(
            f"stack.num_test = {stack.num_test}: must be at least {probe.EXAMPLES} and half of model.chains = "
            f"{config.model.chains}"
        )
    if _steps(config) % stack.records:
        raise ValueError(f"stack.records = {stack.records}: must divide the {_steps(config)} steps of a machine")


def _steps(config: Config) -> int:
    return config.stack.epochs * (config.stack.num_samples // config.stack.batch)


def _shared(config: Config) -> dict[str, Any]:
    """Returns what fixes the program of any machine."""
    return {name: config[name] for name in ("size", "units", "algorithm", "sweeps", "mean_field", "l1_method")}


def _rates(config: Config) -> dict[str, Any]:
    names = ("learning_rate", "momentum", "final_momentum", "l1", "weight_deviation")
    return {name: np.float64(config[name]) for name in names}


@functools.lru_cache(maxsize=32)
def _known(layers: tuple[int, ...], *drawn: Any) -> dict[str, Any]:
    coupling, size, seed = drawn[0], drawn[1], drawn[-1]
    return block_spins.references(*data(*drawn), coupling, size, layers, seed)


def _stack(config: Config) -> dict[str, Any]:
    _check_stack(config)
    stack, model = config.stack, config.model
    layers = tuple(int(units) for units in stack.layers)
    static = dynamics.Static(
        **_shared(config),
        layers=layers,
        pass_up=stack.pass_up,
        batch=stack.batch,
        steps_per_machine=_steps(config),
        shown=stack.shown,
        chains=model.chains,
        chain_sweeps=model.sweeps,
        temperatures=model.temperatures,
    )

    def hypers() -> dict[str, Any]:
        samples, test, _ = data(*data_keys(config))
        batches = stack.num_samples // stack.batch
        switch = np.int32(config.momentum_epochs * batches)
        return {"samples": pack(samples), "test_samples": pack(test), "momentum_steps": switch, **_rates(config)}

    every = _steps(config) // stack.records
    return {
        "static": static,
        "hypers": Late(hypers),
        "schedule": tuple(range(0, _steps(config) * len(layers) + 1, every)),
        "dims": {**probe.DIMS, **block_spins.DIMS},
        "latest": probe.LATEST,
        "coords": {
            "layer": range(1, len(layers) + 1),
            "distance": probe.distances(config.size),
            "axis": ("row", "column"),
            "start": STARTS,
        },
        "reference": functools.partial(_known, layers, *data_keys(config)),
    }


def _small(config: Config) -> dict[str, Any]:
    section = config.small
    if config.size**2 > small.LARGEST_SITES:
        raise ValueError(
            f"small.size = {config.size}: must be at most {int(small.LARGEST_SITES**0.5)} to be enumerated"
        )
    most = LARGEST_NUM_UNITS_OF_A_TABLE - config.size**2
    if section.hidden > most:
        raise ValueError(f"small.hidden = {section.hidden}: must be at most {most} beside {config.size**2} sites")
    rates = {**_rates(config), "learning_rate": np.float64(section.learning_rate), "final_momentum": np.float64(0.0)}
    return {
        "static": small.Static(**_shared(config), hidden=section.hidden, batch=section.batch),
        "hypers": Late(lambda: {"law": small.data_law(config.coupling, config.size), **rates}),
        "schedule": log_spaced_schedule(section.steps, section.records),
        "dims": small.DIMS,
        "reference": dict,
    }


def _lattice(config: Config) -> dict[str, Any]:
    if config.coupling < 0 and config.size % 2:
        raise ValueError(f"size = {config.size}: must be even for a negative coupling")
    return {
        "static": lattice.static_of(config),
        "hypers": lattice.hypers_of(config),
        "schedule": lattice.schedule(config),
        "dims": lattice.DIMS,
        "coords": lattice.COORDS,
        "reference": functools.partial(lattice.reference, config),
    }


MAKERS: Mapping[str, tuple[Any, Any, Callable[[Config], dict[str, Any]]]] = {
    "lattice": (lattice, lattice, _lattice),
    "stack": (dynamics, probe, _stack),
    "small": (small, small, _small),
}
"""Of each system the modules with its ``init`` and ``step`` and its ``probe``, and what the rest is made by."""


def make(config: Config) -> Experiment:
    """Returns the experiment of one run; raises ValueError for a config that makes no sense."""
    validate(config)
    moves, records, rest_of = MAKERS[config.system]
    rest = rest_of(config)
    known, ends_at = rest.pop("reference"), float(rest["schedule"][-1])
    bind = functools.partial
    return Experiment(
        init=bind(moves.init, rest["static"]),
        step=bind(moves.step, rest["static"]),
        probe=bind(records.probe, rest["static"]),
        reference=Late(lambda: {**known(), "steps": ends_at}),
        **rest,
    )
