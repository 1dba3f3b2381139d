"""Back-propagating kernel renormalization (arXiv:2012.04030): deep linear and ReLU networks, sampled and trained.

    python -m launch.sweep --config=configs/kernel_rg.py            # every study, small networks
    python -m launch.sweep --config=configs/kernel_rg.py --config.sweep.study=width,depth    # some of them
    python -m launch.sweep --config=configs/kernel_rg.py:smoke      # a test of the plumbing, no science
    python -m launch.sweep --config=configs/kernel_rg.py:paper      # published sizes

Studies add up in one workdir. Runs of a point are chains (or trainings) on one data set. Any key can be overridden:
--config.runs.gibbs.seeds=8 --config.sweep.width.width=8,16,32 --config.temperature=0.05
"""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import ml_collections

from configs import common
from rgflow.protocol import Point
from rgflow.types import Config

STUDIES = ("cases", "hmc", "width", "depth", "size", "sigma2", "data", "relu", "trained")
SAMPLERS = ("gibbs", "hmc", "trained")
PADDED = ("width", "depth", "num_train", "num_inputs")
PHYSICS = (*PADDED, "data", "data_seed", "sigma2", "temperature", "label_noise", "label_scale", "activation")
"""Keys of a point that a study may set; the others come from the sampler's own section of ``runs``."""

CASES: Mapping[int, Mapping[str, Any]] = {
    1: {"width": 30, "num_inputs": 40, "num_train": 24, "depth": 1, "sigma2": 1.0, "temperature": 0.01},
    2: {"width": 30, "num_inputs": 40, "num_train": 24, "depth": 1, "sigma2": 0.4, "temperature": 0.01},
    3: {"width": 30, "num_inputs": 40, "num_train": 24, "depth": 2, "sigma2": 1.0, "temperature": 0.01},
    4: {"width": 20, "num_inputs": 30, "num_train": 25, "depth": 2, "sigma2": 0.25, "temperature": 0.3},
    5: {"width": 25, "num_inputs": 60, "num_train": 50, "depth": 3, "sigma2": 0.5, "temperature": 0.05},
    6: {"width": 40, "num_inputs": 20, "num_train": 40, "depth": 1, "sigma2": 1.0, "temperature": 0.2},
}
"""Six cases: one layer, noisy labels and a small prior, two layers, alpha above 1, three layers, a singular kernel."""

CASE_LABELS: Mapping[int, Mapping[str, float]] = {
    2: {"label_noise": 0.5},
    4: {"label_scale": 2.3},
    5: {"label_scale": 2.6},
}
"""Labels of a case where they are not the config's own: so strong that Q is about that of the published cases."""

RELU_CASES = ((40, 1.0, 1.0), (40, 2.0, 3.0), (16, 1.0, 2.0))
"""Width, sigma2 and label_scale: weak, strong and narrow."""


def _runs(seeds: int, steps: int, burn_in: int, records: int) -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict({"seeds": seeds, "steps": steps, "burn_in": burn_in, "records": records})


def _sweep() -> Config:
    """Returns the axes of every study."""
    sweep = ml_collections.ConfigDict()
    sweep.study = STUDIES
    sweep.cases = (1, 2, 3, 4, 5, 6)
    sweep.hmc = (1, 4)  # cases that are sampled by Hamiltonian Monte Carlo too
    sweep.width = common.section(width=(8, 16, 32, 64), sigma2=(0.5, 1.5))
    sweep.depth = common.section(depth=(1, 2, 4, 8), sigma2=(1.5, 2.5), width=32, num_train=16)
    sweep.size = common.section(num_train=(20, 30, 40, 64), data_seed=(0, 1, 2), depth=1, label_noise=0.5)
    sweep.sigma2 = common.section(sigma2=(0.3, 0.5, 0.75, 1.0, 1.5, 2.0))
    sweep.data = common.section(data=("templates", "random"))  # and digits, where scikit-learn is installed
    sweep.relu = common.section(cases=RELU_CASES, depth=(1, 2), num_inputs=20, num_train=16, temperature=0.05)
    sweep.trained = common.section(width=(8, 32), label_scale=(1.0, 3.0), temperature=(0.0, 0.05))
    return sweep


def _shrink(config: Config) -> None:
    """Makes a config a test of the plumbing."""
    for name in SAMPLERS:
        config.runs[name].update({"seeds": 2, "steps": 24, "burn_in": 8, "records": 8})
    config.num_test, config.leapfrog_steps = 3, 3
    config.width, config.num_train, config.num_inputs = 6, 5, 8
    sweep = config.sweep
    sweep.cases, sweep.hmc = (1, 4), (4,)
    sweep.width.width, sweep.sigma2.sigma2 = (4, 6), (0.5, 1.0)
    sweep.depth.update({"depth": (1, 2), "sigma2": (1.0,), "width": 6, "num_train": 5})
    sweep.size.update({"num_train": (3, 4, 5), "data_seed": (0,)})
    sweep.relu.update({"cases": ((6, 1.0, 1.0),), "depth": (1,), "num_inputs": 5, "num_train": 4})
    sweep.trained.update({"width": (6,), "label_scale": (1.0,)})


def _enlarge(config: Config) -> None:
    """Gives a config the published sizes."""
    config.runs.gibbs.update({"seeds": 8, "steps": 24_000, "burn_in": 4_000, "records": 100})
    config.runs.hmc.update({"seeds": 8, "steps": 24_000, "burn_in": 4_000, "records": 100})
    config.runs.trained.update({"seeds": 64, "steps": 40_000})
    config.width, config.num_train, config.num_inputs, config.num_test = 200, 100, 200, 50
    config.data_pool = 300  # all but the last few of the digits
    sweep = config.sweep
    sweep.width.update({"width": (10, 30, 100, 300, 1000), "sigma2": (0.5, 1.0, 1.5)})
    sweep.depth.update({"depth": tuple(range(1, 11)), "width": 200, "num_train": 100})
    sweep.size.update({"num_train": (20, 60, 100, 140, 180, 200, 220, 260, 300)})
    sweep.data.data = ("templates", "random", "digits")
    sweep.trained.update({"width": (10, 100, 300), "label_scale": (1.0, 2.0, 3.0), "temperature": (0.0, 0.01, 0.1)})


def get_config(preset: str = "default") -> Config:
    """Returns the config of one preset: smoke, default or paper."""
    preset = common.check_preset(preset)
    config = common.get_config("kernel_rg")
    config.engine.run_batch = 16  # these networks are so small that a core is quicker with many side by side
    config.engine.chunk_steps = 4_000

    config.study = "cases"  # this and all keys marked * are set per point by the sweep
    config.sampler = "gibbs"  # * gibbs | hmc | trained (gradient descent, weight decay temperature / sigma2)
    config.activation = "linear"  # * linear | relu
    config.width = 32  # * N
    config.depth = 2  # * L, hidden layers
    config.num_train = 24  # * P
    config.num_inputs = 40  # * N0
    config.num_test = 20
    config.sigma2 = 1.0  # * variance of every weight's prior
    config.temperature = 0.01  # * T, variance of the noise; 0 only for trained
    config.padded = common.section(width=32, depth=2, num_train=24, num_inputs=40)  # * array sizes

    config.data = "teacher"  # * teacher | templates | random | digits
    config.data_seed = 0  # *
    config.data_pool = 64  # training points drawn, of which the first num_train are used
    config.label_noise = 0.2  # * standard deviation (teacher)
    config.label_scale = 1.0  # * multiplies all labels
    config.num_templates = 4  # clusters (templates)
    config.template_noise = 0.5  # within a cluster (templates)

    config.steps = 4_000  # * sweeps, trajectories or training steps; with the next two from the sampler's section
    config.burn_in = 800  # * left out
    config.records = 80  # * batches of steps after burn-in, each recorded as its mean (trained: log-spaced steps)
    config.learning_rate = 0.2  # in units of the inverse largest eigenvalue of the tangent kernel (trained)
    config.leapfrog_steps = 16  # (hmc)
    config.runs = ml_collections.ConfigDict()
    config.runs.gibbs = _runs(seeds=4, steps=4_000, burn_in=800, records=80)
    config.runs.hmc = _runs(seeds=6, steps=2_500, burn_in=500, records=50)
    config.runs.trained = _runs(seeds=48, steps=5_000, burn_in=1, records=8)

    config.sweep = _sweep()
    if preset == "smoke":
        _shrink(config)
    if preset == "paper":
        _enlarge(config)
    return config


Values = dict[str, Any]


def _cases(sweep: Config, name: str, sampler: str) -> list[Values]:
    if unknown := [number for number in sweep[name] if number not in CASES]:
        raise ValueError(f"sweep.{name} = {unknown[0]}: must be one of {', '.join(map(str, CASES))}")
    return [{**CASES[number], **CASE_LABELS.get(number, {}), "sampler": sampler} for number in sweep[name]]


def _relu(section: Config) -> Iterator[Values]:
    for depth, (width, sigma2, label_scale) in itertools.product(section.depth, section.cases):
        rest = {name: section[name] for name in ("num_inputs", "num_train", "temperature")}
        sizes = {"depth": depth, "width": width, "sigma2": sigma2, "label_scale": label_scale}
        yield {**rest, **sizes, "sampler": "hmc", "activation": "relu"}


def _study(config: Config, name: str) -> list[Values]:
    """Returns what the points of a study set."""
    axes = config.sweep
    found: dict[str, Any] = {
        "cases": lambda: _cases(axes, "cases", "gibbs"),
        "hmc": lambda: _cases(axes, "hmc", "hmc"),
        "width": lambda: common.crossed(axes.width, "sigma2", "width"),
        "depth": lambda: common.crossed(axes.depth, "sigma2", "depth"),
        "size": lambda: common.crossed(axes.size, "data_seed", "num_train"),
        "sigma2": lambda: common.crossed(axes.sigma2, "sigma2"),
        "data": lambda: [
            {"data": kind, **({"num_inputs": 64} if kind == "digits" else {})} for kind in common.words(axes.data.data)
        ],
        "relu": lambda: _relu(axes.relu),
        "trained": lambda: common.crossed(axes.trained, "temperature", "label_scale", "width", sampler="trained"),
    }
    return list(found[name]())


def _point(config: Config, study: str, values: Values, padded: Mapping[str, int]) -> Point:
    """Returns a point with every swept key set."""
    sampler = values.get("sampler", "gibbs")
    runs = config.runs[sampler]
    physics = {name: values.get(name, config[name]) for name in PHYSICS}
    lengths = {name: runs[name] for name in ("steps", "burn_in", "records")}
    sizes = {f"padded.{name}": padded[name] for name in PADDED}
    return Point({"study": study, "sampler": sampler, **physics, **lengths, **sizes}, runs.seeds)


def _points(config: Config, study: str) -> list[Point]:
    """Returns the points of a study, which share arrays as large as its largest network, and so one program."""
    chosen = _study(config, study)
    padded = {name: max(values.get(name, config[name]) for values in chosen) for name in PADDED}
    padded["depth"] = max(padded["depth"], 2)  # arrays have at least one layer above the first
    return [_point(config, study, values, padded) for values in chosen]


def get_sweep(config: Config) -> list[Point]:
    """Returns the points of the chosen studies; each sampler brings its own number of runs and steps."""
    for name in SAMPLERS:
        if config.runs[name].seeds < 1:
            raise ValueError(f"runs.{name}.seeds = {config.runs[name].seeds}: must be at least 1")
    studies = common.studies(config.sweep, STUDIES)
    common.require_values(config.sweep, *studies)
    return [point for study in studies for point in _points(config, study)]
