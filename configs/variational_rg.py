"""Variational RG and restricted Boltzmann machines on the Ising model (arXiv:1410.3831).

    python -m launch.sweep --config=configs/variational_rg.py            # every study on a 20 x 20 lattice
    python -m launch.sweep --config=configs/variational_rg.py --config.sweep.study=strength,shuffled    # some of them
    python -m launch.sweep --config=configs/variational_rg.py:smoke      # a test of the plumbing, no science
    python -m launch.sweep --config=configs/variational_rg.py:paper      # 1600-400-100-25 on 40 x 40 lattices

Studies add up in one workdir; a point that two of them share is run once. Any key can be overridden:
--config.sweep.strength.l1=0.0,1e-3 --config.stack.epochs=100 --config.runs.stack.seeds=16
"""

import itertools
from collections.abc import Iterator
from typing import Any

import ml_collections

from configs import common
from rgflow.exact.ising import CRITICAL_COUPLING
from rgflow.protocol import Point
from rgflow.types import Config

STUDIES = ("lattice", "strength", "coupling", "shuffled", "small")
SYSTEMS = ("lattice", "stack", "small")
SWEPT = ("system", "size", "coupling", "l1", "shuffle", "algorithm", "sweeps", "small.hidden")
"""Keys that every point sets, so that equal points of two studies are the same runs."""


def _sweep() -> Config:
    """Returns the axes of every study."""
    sweep = ml_collections.ConfigDict()
    sweep.study = STUDIES
    sweep.lattice = common.section(cases=((20, 0.408), (20, 0.5), (32, CRITICAL_COUPLING)))  # size and coupling
    sweep.strength = common.section(l1=(0.0, 2e-4, 2e-3, 8e-3))
    sweep.coupling = common.section(coupling=(0.2, 0.3, 0.408, CRITICAL_COUPLING, 0.5, 0.6), l1=(2e-3,))
    sweep.shuffled = common.section(
        sites=(0.0, 2e-4, 2e-3, 8e-3), bonds=(2e-3,)
    )  # strengths of l1, by what is shuffled
    sweep.small = common.section(hidden=(4, 9), algorithm=("exact", "cd", "pcd"), cd_sweeps=(1, 5))
    return sweep


def _shrink(config: Config) -> None:
    """Makes a config a test of the plumbing."""
    for name in SYSTEMS:
        config.runs[name].seeds = 2
    config.size = 8
    config.lattice.update({"walkers": 8, "steps": 32, "records": 4, "levels": 1})
    config.stack.update({"layers": (16, 4), "epochs": 2, "batch": 20, "num_samples": 200, "num_test": 40})
    config.stack.update({"records": 2, "shown": 4})
    config.model.update({"chains": 8, "sweeps": 16, "temperatures": 20})
    config.small.update({"steps": 40, "records": 3})
    sweep = config.sweep
    sweep.lattice.cases = ((8, CRITICAL_COUPLING),)
    sweep.strength.l1 = (0.0, 2e-3)
    sweep.coupling.coupling = (0.3, 0.408)
    sweep.shuffled.sites = (2e-3,)
    sweep.small.update({"hidden": (4,), "cd_sweeps": (1,)})


def _enlarge(config: Config) -> None:
    """Gives a config the published sizes."""
    config.size = 40
    config.stack.update({"layers": (400, 100, 25), "epochs": 200, "num_samples": 20_000, "num_test": 2_000})
    config.stack.records = 5
    config.model.update({"chains": 128, "sweeps": 2_000, "temperatures": 4_000})
    config.lattice.update({"steps": 8_000})
    config.sweep.lattice.cases = tuple(itertools.product((16, 32, 40, 64), (0.408, CRITICAL_COUPLING, 0.5)))
    for name in SYSTEMS:
        config.runs[name].seeds = 8


def get_config(preset: str = "default") -> Config:
    """Returns the config of one preset: smoke, default or paper."""
    preset = common.check_preset(preset)
    config = common.get_config("variational_rg")

    config.system = "stack"  # this and all keys marked * are set per point by the sweep: lattice | stack | small
    config.size = 20  # * sites a side of the periodic square lattice
    config.coupling = 0.408  # * K = beta J
    config.l1 = 2e-4  # * strength of the penalty on the weights, inside the learning rate
    config.shuffle = "none"  # * none | sites | bonds: what is destroyed in the data
    config.algorithm = "cd"  # * exact (small machines only) | cd | pcd
    config.sweeps = 1  # * Gibbs sweeps per step: the k of CD-k
    config.data_seed = 0

    config.units = "binary"  # binary (0 and 1, as published) | spin
    config.l1_method = "proximal"  # proximal (true zeros) | sign (as published)
    config.learning_rate = 0.1
    config.momentum = 0.5
    config.final_momentum = 0.9  # from epoch momentum_epochs on
    config.momentum_epochs = 5
    config.weight_deviation = 0.01  # of the first weights
    config.mean_field = True  # reconstructions are passed on as means (as published), not as draws

    config.stack = common.section(
        layers=(100, 25),  # hidden units of each machine; with the lattice below them squares of whole blocks
        epochs=30,  # per machine, one machine after the other
        batch=100,
        num_samples=10_000,
        num_test=1_000,
        pass_up="means",  # means | draws: what a trained machine hands to the next one
        records=3,  # per machine, evenly spaced
        shown=25,  # receptive fields per layer that are kept whole
    )
    config.model = common.section(
        chains=32, sweeps=400, temperatures=500
    )  # free-running chains and annealing at the end
    config.lattice = common.section(walkers=32, steps=640, records=32, levels=2, method="swendsen_wang")
    config.small = common.section(
        size=3,
        hidden=4,
        batch=100,
        steps=10_000,
        records=6,
        learning_rate=0.02,  # without momentum: persistent chains of a law with two peaks follow no faster
    )
    config.runs = common.section(
        lattice=common.section(seeds=4), stack=common.section(seeds=8), small=common.section(seeds=4)
    )

    config.sweep = _sweep()
    if preset == "smoke":
        _shrink(config)
    if preset == "paper":
        _enlarge(config)
    return config


Values = dict[str, Any]


def _small(section: Config, size: int) -> Iterator[Values]:
    for hidden, algorithm in itertools.product(section.hidden, common.words(section.algorithm)):
        for sweeps in section.cd_sweeps if algorithm == "cd" else (1,):
            point = {"system": "small", "size": size, "l1": 0.0, "algorithm": algorithm, "sweeps": sweeps}
            yield {**point, "small.hidden": hidden}


def _study(config: Config, name: str) -> list[Values]:
    """Returns what the points of a study set."""
    axes = config.sweep
    if name == "small":
        return list(_small(axes.small, config.small.size))
    if name == "lattice":
        for case in axes.lattice.cases:
            if len(case) != 2:
                raise ValueError(f"sweep.lattice.cases = {case}: must be pairs of size and coupling")
        return [{"system": "lattice", "size": size, "coupling": coupling} for size, coupling in axes.lattice.cases]
    if name == "shuffled":
        strengths = [(kind, l1) for kind in ("sites", "bonds") for l1 in common.given(axes.shuffled[kind])]
        if not strengths:
            raise ValueError("sweep.shuffled.sites, bonds = (): must name at least one")
        return [{"system": "stack", "shuffle": kind, "l1": l1} for kind, l1 in strengths]
    return list(common.crossed(axes[name], *axes[name], system="stack"))


def get_sweep(config: Config) -> list[Point]:
    """Returns the points of the chosen studies; each system brings its own number of runs."""
    for name in SYSTEMS:
        if config.runs[name].seeds < 1:
            raise ValueError(f"runs.{name}.seeds = {config.runs[name].seeds}: must be at least 1")
    points = []
    for study in common.studies(config.sweep, STUDIES):
        if study != "shuffled":  # it has two kinds of shuffling, one of which may be left out
            common.require_values(config.sweep, study)
        for values in _study(config, study):
            full = {
                key: values.get(key, config.small.hidden if key == "small.hidden" else config[key]) for key in SWEPT
            }
            points.append(Point(full, config.runs[values["system"]].seeds))
    return points
