"""Trained dense networks against the RG fixed points of their data (arXiv:2212.00005, arXiv:2606.00157).

    python -m launch.sweep --config=configs/fixed_points.py              # every study but depths, rings of 32 sites
    python -m launch.sweep --config=configs/fixed_points.py --config.sweep.study=depths     # one of them
    python -m launch.sweep --config=configs/fixed_points.py:smoke        # a test of the plumbing, no science
    python -m launch.sweep --config=configs/fixed_points.py:paper        # longer rings, every study with every task

Studies add up in one workdir; a point that two of them share is run once. Any key can be overridden:
--config.sweep.couplings.ising=0.5,1.0 --config.steps=20000 --config.seeds=16
"""

from collections.abc import Iterator
from typing import Any

import ml_collections

from configs import common
from rgflow.protocol import Point
from rgflow.types import Config

STUDIES = ("tasks", "families", "activations", "depths", "penalised", "shuffled", "compressions")
SWEPT = ("data", "coupling", "task", "activation", "halvings", "weight_decay", "shuffle")
"""Keys that every point sets, so that equal points of two studies are the same runs."""

EVERY_COUPLING = ("tasks", "families", "compressions")
"""Studies that take every coupling; where something else is varied, it is the one before the last alone."""

TASKS = ("autoencoder", "magnetization", "energy", "block_magnetizations", "classification")


DATA = ("ising", "gaussian", "phi4", "phi6", "independent")


def _sweep() -> Config:
    """Returns the couplings of every kind of data, and the axes of every study."""
    sweep = ml_collections.ConfigDict()
    sweep.study = tuple(study for study in STUDIES if study != "depths")
    sweep.couplings = common.section(
        ising=(0.3, 0.6, 1.0, 1.5),
        gaussian=(0.2, 0.3, 0.4, 0.45),
        phi4=(0.3, 0.6, 0.9, 1.2),
        phi6=(0.3, 0.5, 0.8, 1.0),
        independent=(0.0,),
    )
    sweep.tasks = common.section(data=("ising", "phi4"), task=TASKS)
    sweep.families = common.section(data=("gaussian", "phi6", "independent"), task=("autoencoder",))
    sweep.activations = common.section(
        data=("ising", "gaussian", "phi4"), task=("autoencoder",), activation=("identity", "relu")
    )
    sweep.depths = common.section(data=("ising",), task=("autoencoder", "compression"), halvings=(1, 3))
    sweep.penalised = common.section(data=("ising", "phi4"), task=("autoencoder",), weight_decay=(1e-4,))
    sweep.compressions = common.section(data=DATA, task=("compression",))
    sweep.shuffled = common.section(data=("ising", "phi4"), task=("autoencoder",), shuffle=("sites",))
    return sweep


def _shrink(config: Config) -> None:
    """Makes a config a test of the plumbing."""
    config.seeds = 2
    config.num_sites, config.batch, config.steps, config.records = 8, 16, 20, 2
    config.plateau_steps, config.samples, config.orbit, config.halvings = 5, 512, 2, 1
    sweep = config.sweep
    for name in ("ising", "phi4"):
        sweep.couplings[name] = (0.3, 0.6)
    sweep.study = ("tasks", "activations", "compressions")
    sweep.tasks.task = ("autoencoder", "classification")
    sweep.activations.update({"data": ("gaussian",), "activation": ("identity",)})


def _enlarge(config: Config) -> None:
    """Gives a config the sizes of a study to publish."""
    config.seeds = 10
    config.num_sites, config.steps, config.samples, config.plateau_steps = 64, 20_000, 30_000, 2_000
    config.halvings, config.records = 3, 10
    sweep = config.sweep
    sweep.study = STUDIES
    for name in ("tasks", "families"):
        sweep[name].update({"data": DATA, "task": TASKS})
    for name in ("activations", "depths", "penalised", "shuffled"):
        sweep[name].update({"data": DATA, "task": TASKS})
    sweep.depths.update({"halvings": (1, 2, 4), "task": (*TASKS, "compression")})


def get_config(preset: str = "default") -> Config:
    """Returns the config of one preset: smoke, default or paper."""
    preset = common.check_preset(preset)
    config = common.get_config("fixed_points")

    config.data = "ising"  # this and all keys marked * are set per point by the sweep: ising | a key of potentials
    config.coupling = 1.0  # * K between neighbours on the ring
    config.task = (
        "autoencoder"  # * autoencoder | magnetization | energy | block_magnetizations | classification | compression
    )
    config.activation = "tanh"  # * tanh | identity | relu
    config.halvings = 2  # * layers, each of half the units of the one before: N / 2^halvings features
    config.weight_decay = 0.0  # * lambda of the penalty lambda/2 |W|^2, which is part of the loss
    config.shuffle = "none"  # * none | sites: sites of different samples are put together, which leaves no coupling

    config.num_sites = 32
    config.contrast = 0.5  # classification tells K from contrast * K
    config.potentials = common.section(  # r, u, v of U(x) = r x^2 / 2 + u x^4 + v x^6
        gaussian=(1.0, 0.0, 0.0),
        phi4=(0.2, 0.25, 0.0),
        phi6=(0.2, 0.0, 0.05),
        independent=(0.0, 0.25, 0.0),
    )
    config.points = 48  # of the grid on which fields are sampled

    config.batch = 128
    config.steps = 1_500
    config.learning_rate = 1e-2
    config.cooldown = 0.5  # share of the steps, at the end: in its first half the rate falls to a tenth, then it stays
    config.records = 1  # evenly spaced up to plateau_steps before the end, besides the first and the last step
    config.samples = 2_048  # on which everything is measured
    config.plateau_steps = 400  # before the last step: since then the loss must not have moved by more than plateau
    config.plateau = 0.01  # of the loss of the best constant answer
    config.orbit = 3  # random B of the gauge-orbit test
    config.seeds = 8

    config.sweep = _sweep()
    if preset == "smoke":
        _shrink(config)
    if preset == "paper":
        _enlarge(config)
    return config


def _couplings(config: Config, data: str) -> tuple[float, ...]:
    if data not in config.sweep.couplings:
        raise ValueError(f"data = {data!r}: must be one of {', '.join(config.sweep.couplings)}, see sweep.couplings")
    common.require_values(config.sweep, f"couplings.{data}")
    return config.sweep.couplings[data]


def _study(config: Config, name: str) -> Iterator[dict[str, Any]]:
    """Yields what the points of a study set."""
    axes = config.sweep[name]
    common.require_values(config.sweep, name)
    words = ml_collections.ConfigDict({key: common.given(axes[key]) for key in axes})
    for values in common.crossed(words, *words):
        couplings = _couplings(config, values["data"])
        for coupling in couplings if name in EVERY_COUPLING else couplings[-2:-1] or couplings:
            # Without a coupling there is nothing to tell apart.
            if coupling or values["task"] != "classification":
                yield {**values, "coupling": float(coupling) if isinstance(coupling, int) else coupling}


def get_sweep(config: Config) -> list[Point]:
    """Returns the points of the chosen studies."""
    if config.seeds < 1:
        raise ValueError(f"seeds = {config.seeds}: must be at least 1")
    return [
        Point({key: values.get(key, config[key]) for key in SWEPT}, config.seeds)
        for study in common.studies(config.sweep, STUDIES)
        for values in _study(config, study)
    ]
