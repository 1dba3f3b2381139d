"""Effective rank of residual MLP streams on Markov chains (arXiv:2606.10324), three claims.

    python -m launch.sweep --config=configs/rank_flow.py            # default: both mixings, two correlation lengths
    python -m launch.sweep --config=configs/rank_flow.py:smoke      # a test of the plumbing, no science
    python -m launch.sweep --config=configs/rank_flow.py:paper      # published sizes, 32 seeds, lengths 0.5 to 15

Any key can be overridden: --config.depth=12 --config.sweep.correlation_length=1.0,3.0,7.0
"""

import itertools

import ml_collections

from configs import common
from rgflow.protocol import Point
from rgflow.types import Config


def _training(seeds: int, steps: int, learning_rate: float) -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict({"seeds": seeds, "steps": steps, "learning_rate": learning_rate})


def get_config(preset: str = "default") -> Config:
    """Returns the config of one preset: smoke, default or paper."""
    preset = common.check_preset(preset)
    config = common.get_config("rank_flow")

    config.correlation_length = 1.062  # tokens; the sweep below sets it per point
    config.num_states = 16
    config.length = 64  # tokens per sequence
    config.chain = ml_collections.ConfigDict()
    config.chain.kind = "dirichlet_lazy"  # lazy_uniform | circulant | ring_walk | block
    config.chain.concentration = 1.0  # of the Dirichlet rows (dirichlet_lazy)
    config.chain.seed = 0  # of the Dirichlet rows, shared by all runs (dirichlet_lazy)
    config.chain.groups = 4  # of states (block)

    config.mask_mode = "pure"  # pure: scored positions show [MASK]; bert: 80/10/10
    config.mask_prob = 0.15

    config.mixing = "tokenwise"  # tokenwise | window; the sweep below sets it per point
    config.window = 4  # positions seen on either side (window)
    config.depth = 6
    config.width = 64
    config.hidden_multiple = 4
    config.norm = "pre"  # pre | post | none
    config.residual = True
    config.activation = "gelu"  # gelu | relu | tanh | identity

    config.batch = 32  # fresh sequences per step
    config.probe_batch = 64  # held-out sequences that everything is measured on: 4096 positions
    config.records = 8  # log-spaced in training step, besides the untrained one
    config.training = ml_collections.ConfigDict()
    config.training.tokenwise = _training(seeds=8, steps=10_000, learning_rate=3e-4)
    config.training.window = _training(seeds=4, steps=3_000, learning_rate=1e-3)

    config.sweep = ml_collections.ConfigDict()
    config.sweep.mixing = ("tokenwise", "window")
    config.sweep.correlation_length = (1.062, 7.090)

    if preset == "smoke":
        config.training.tokenwise = _training(seeds=2, steps=40, learning_rate=3e-4)
        config.training.window = _training(seeds=2, steps=20, learning_rate=1e-3)
        config.batch, config.probe_batch, config.records = 8, 16, 3
        config.depth, config.width = 3, 32
    if preset == "paper":
        config.training.tokenwise.seeds = 32
        config.training.window = _training(seeds=32, steps=10_000, learning_rate=3e-4)
        config.sweep.correlation_length = (0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0)
    return config


def get_sweep(config: Config) -> list[Point]:
    """Returns the product of the sweep's axes; each mixing brings its own number of seeds."""
    axes = config.sweep
    for mixing in axes.mixing:
        if mixing not in config.training:
            raise ValueError(f"sweep.mixing = {mixing!r}: must be one of {', '.join(sorted(config.training))}")
    pairs = itertools.product(axes.mixing, axes.correlation_length)
    return [
        Point({"mixing": mixing, "correlation_length": length}, config.training[mixing].seeds)
        for mixing, length in pairs
    ]
