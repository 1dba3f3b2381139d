"""Effective rank of residual streams on Markov chains (arXiv:2606.10324): three claims, controls, phase diagrams.

    python -m launch.sweep --config=configs/rank_flow.py            # the claims: two mixings, two correlation lengths
    python -m launch.sweep --config=configs/rank_flow.py --config.sweep.study=phases     # small phase diagrams
    python -m launch.sweep --config=configs/rank_flow.py --config.sweep.study=controls   # tasks with less to learn
    python -m launch.sweep --config=configs/rank_flow.py --config.sweep.study=settings   # what the source leaves open
    python -m launch.sweep --config=configs/rank_flow.py --config.sweep.study=blocks     # chains with few slow modes
    python -m launch.sweep --config=configs/rank_flow.py:smoke      # a test of the plumbing, no science
    python -m launch.sweep --config=configs/rank_flow.py:paper      # everything at published sizes, 32 seeds

Studies add up in one workdir. Any key can be overridden: --config.sweep.mixing=attention,mixer --config.norm=post
"""

import itertools
from typing import Any

import ml_collections

from configs import common
from rgflow.protocol import Point
from rgflow.rank_flow.mixing import MIXINGS
from rgflow.types import Config

STUDIES = ("claims", "controls", "settings", "blocks", "phases")
PHASE_AXES = ("depth", "width", "window")
AXES = {
    "claims": ("mixing", "correlation_length"),
    "controls": ("mixing", "correlation_length"),
    "settings": ("mixing", "correlation_length"),
    "blocks": ("mixing", "correlation_length", "groups"),
    "phases": ("phases",),
}
"""Axes of every study that must hold a value."""

OWN = {"controls": "control and sweep.chain", "settings": "settings"}
"""The axes of a study of which one alone may be empty."""

SWEPT = {
    "mixing": ("tokenwise", "sweep.mixing"),
    "correlation_length": (1.062, "sweep.correlation_length"),
    "control": ("none", "sweep.control"),
    "steps": (10_000, "runs.MIXING.steps"),
    "learning_rate": (3e-4, "runs.MIXING.learning_rate"),
}
"""Keys that every point sets: their value here, which a sweep never reads, and what to set instead."""


def _training(seeds: int, steps: int, learning_rate: float) -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict({"seeds": seeds, "steps": steps, "learning_rate": learning_rate})


def _add_network(config: Config) -> None:
    """Adds the keys of the network."""
    config.mixing = "tokenwise"  # * tokenwise | window | mixer | flat | attention
    config.window = 4  # * positions seen on either side (window)
    config.depth = 6  # *
    config.width = 64  # *
    config.hidden_multiple = 4  # hidden width of the MLPs in units of the width (of the length, for those over tokens)
    config.norm = "pre"  # pre | post | none
    config.residual = True
    config.activation = "gelu"  # gelu | relu | tanh | identity
    config.tied = False  # the embedding serves as readout
    config.initialisation = "lecun"  # lecun | torch (N(0, 1) embeddings, uniform layers) | scaled (small last matrices)
    config.positional = "none"  # none | learned (attention, mixer)
    config.dropout = 0.0  # share of the entries of a block's update that are dropped while training


def _sweep() -> Config:
    """Returns the studies and their axes."""
    sweep = ml_collections.ConfigDict()
    sweep.study = ("claims",)  # claims | controls | settings | blocks | phases
    sweep.mixing = ("tokenwise", "window")
    sweep.correlation_length = (1.062, 7.090)
    sweep.control = ("untrained", "random_labels", "time_shuffled", "iid")
    sweep.chain = ("lazy_uniform", "lazy_zipf")  # of the controls: one spectrum, two stationary distributions
    sweep.settings = common.section(  # each leaves its value above, one at a time
        mask_mode=("bert",), norm=("post", "none"), activation=("relu",), tied=(True,),
        residual=(), hidden_multiple=(), num_states=(), length=(), batch=(),
        initialisation=("torch",), positional=(), dropout=(), weight_decay=(),
    )  # fmt: skip
    sweep.settings.chain = common.section(kind=("circulant",))
    sweep.groups = (2, 4, 8)  # of the block chains
    sweep.phases = ml_collections.ConfigDict()
    sweep.phases.mixing = ("window",)
    sweep.phases.correlation_length = (0.5, 1.062, 2.5, 7.090)
    sweep.phases.depth = (2, 6, 10)  # one of the three at a time leaves the centre
    sweep.phases.width = (16, 32, 64)
    sweep.phases.window = (1, 4)
    return sweep


def _shrink(config: Config) -> None:
    """Makes a config a test of the plumbing."""
    config.runs = {name: _training(seeds=2, steps=20, learning_rate=1e-3) for name in config.runs}
    config.batch, config.probe_batch, config.pooled_batch, config.records = 8, 16, 32, 3
    config.depth, config.width, config.length = 2, 16, 16
    config.phases.update({"seeds": 2, "steps": 10, "records": 2, "depth": 2, "width": 8, "window": 1})
    config.sweep.phases.update({"depth": (2, 3), "width": (8,), "window": (1,), "correlation_length": (1.0, 7.0)})
    config.sweep.groups = (2,)


def _enlarge(config: Config) -> None:
    """Gives a config every study and the published sizes."""
    for name in config.runs:
        config.runs[name] = _training(seeds=32, steps=10_000, learning_rate=3e-4)
    lengths = (0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0)
    config.pooled_batch = 4096
    config.sweep.study, config.sweep.correlation_length = STUDIES, lengths
    config.sweep.mixing = tuple(MIXINGS)
    config.phases.update(
        {"seeds": 32, "steps": 10_000, "learning_rate": 3e-4, "cooldown": 0.0, "records": 8, "width": 64}
    )
    config.sweep.phases.mixing, config.sweep.phases.correlation_length = ("tokenwise", "window"), lengths
    config.sweep.phases.depth = (2, 4, 6, 8, 12, 16)
    config.sweep.phases.width = (16, 32, 64, 128, 256)
    config.sweep.phases.window = (0, 1, 2, 4, 8)


def get_config(preset: str = "default") -> Config:
    """Returns the config of one preset: smoke, default or paper."""
    preset = common.check_preset(preset)
    config = common.get_config("rank_flow")

    config.correlation_length = 1.062  # tokens; this and all keys marked * are set per point by the sweep
    config.num_states = 16
    config.length = 64  # tokens per sequence
    config.control = "none"  # * none | untrained | random_labels | time_shuffled | iid (same marginals)
    config.chain = ml_collections.ConfigDict()
    # In the last three families the stationary distribution moves with the correlation length.
    config.chain.kind = "dirichlet_lazy"  # * lazy_uniform|lazy_zipf|circulant|ring_walk|block|dirichlet|softmax|banded
    config.chain.concentration = 1.0  # of the Dirichlet rows (dirichlet_lazy)
    config.chain.seed = 1  # of the random part (dirichlet_lazy, dirichlet, softmax); rules were made on that of 0
    config.chain.per_seed = True  # a chain for each run: that of chain.seed + seed; False: one chain for all runs
    config.chain.exponent = 1.0  # of the stationary distribution (lazy_zipf)
    config.chain.groups = 4  # * of states (block)

    config.mask_mode = "pure"  # pure: scored positions show [MASK]; bert: 80/10/10
    config.mask_prob = 0.15

    _add_network(config)
    config.steps = 10_000  # *
    config.learning_rate = 3e-4  # * of Adam
    config.weight_decay = 0.0  # of AdamW, per step in units of the learning rate
    config.cooldown = 0.0  # * share of the steps, at the end, over which the learning rate falls to 0
    config.batch = 32  # fresh sequences per step
    config.probe_batch = 64  # held-out sequences for positions: 4096 rows
    config.pooled_batch = 512  # held-out sequences for the loss, for one row per sequence, for linear readouts
    config.records = 8  # * log-spaced in training step, besides the untrained one
    config.runs = ml_collections.ConfigDict(
        {mixing: _training(seeds=8, steps=3_000, learning_rate=1e-3) for mixing in MIXINGS}
    )
    config.runs.tokenwise = _training(seeds=8, steps=10_000, learning_rate=3e-4)

    config.phases = _training(seeds=4, steps=2_000, learning_rate=3e-3)  # and the centre of the phase diagrams:
    config.phases.update({"cooldown": 0.5, "records": 5, "depth": 6, "width": 32, "window": 4})

    config.sweep = _sweep()
    if preset == "smoke":
        _shrink(config)
    if preset == "paper":
        _enlarge(config)
    return config


def _check_training(name: str, training: Config) -> None:
    """Raises ValueError for numbers that make no training; the point alone would not say where they come from."""
    for key in ("seeds", "steps"):
        if training[key] < 1:
            raise ValueError(f"{name}.{key} = {training[key]}: must be at least 1")
    if not training.learning_rate > 0:
        raise ValueError(f"{name}.learning_rate = {training.learning_rate}: must be positive")


def _point(config: Config, mixing: str, correlation_length: float, training: Config, **values: Any) -> Point:
    """Returns a point with every swept key set, those that the mixing or the chain ignores to 0."""
    if mixing not in config.runs:
        raise ValueError(f"sweep.mixing = {mixing!r}: must be one of {', '.join(sorted(config.runs))}")
    kind = values.pop("kind", config.chain.kind)
    groups = values.pop("groups", config.chain.groups)
    sizes = {name: values.pop(name, config[name]) for name in PHASE_AXES}
    sizes["window"] = sizes["window"] if MIXINGS[mixing].has_window else 0
    rates = {"steps": training.steps, "learning_rate": training.learning_rate}
    chain = {"chain.kind": kind, "chain.groups": groups if kind == "block" else 0}
    rest = {name: values.pop(name, config[name]) for name in ("cooldown", "records")}
    base = {"mixing": mixing, "correlation_length": correlation_length, "control": "none"}
    return Point({**base, **sizes, **rates, **rest, **chain, **values}, training.seeds)


def _phases(config: Config) -> list[Point]:
    """Returns a star: depth, width and window leave the centre one at a time, at every correlation length."""
    centre, axes = config.phases, config.sweep.phases
    at_centre = {name: centre[name] for name in (*PHASE_AXES, "cooldown", "records")}
    points = []
    for mixing, axis in itertools.product(common.words(axes.mixing), PHASE_AXES):
        if axis != "window" or MIXINGS[mixing].has_window:
            crossed = itertools.product(axes.correlation_length, axes[axis])
            points += [_point(config, mixing, x, centre, **{**at_centre, axis: value}) for x, value in crossed]
    return points


def _settings(config: Config) -> list[dict[str, Any]]:
    """Returns what leaves the config's own settings, one at a time; a point that sets one has a key more."""
    axes = config.sweep.settings
    names = [name for name in axes if name != "chain"]
    values = {name: common.given(axes[name]) for name in names}
    found = [{name: value} for name in names for value in values[name] if value != config[name]]
    return found + [{"kind": kind} for kind in common.words(axes.chain.kind) if kind != config.chain.kind]


def _applies(values: dict[str, Any], mixing: str) -> bool:
    """Returns whether a setting exists for a mixing: a position code does where positions exchange information."""
    return values.get("positional", "none") == "none" or MIXINGS[mixing].sublayer is not None


def _check_swept(config: Config) -> None:
    """Raises ValueError for a key that was changed and that every point sets: the change would have no effect."""
    for key, (own, instead) in SWEPT.items():
        if config[key] != own:
            raise ValueError(f"{key} = {config[key]!r}: set per point by the sweep; set {instead} instead")


def get_sweep(config: Config) -> list[Point]:
    """Returns the points of the chosen studies; each mixing brings its own steps, rate and number of seeds."""
    _check_swept(config)
    axes = config.sweep
    for name, training in {
        **{f"runs.{m}": config.runs[m] for m in config.runs},
        "phases": config.phases,
    }.items():
        _check_training(name, training)
    studies, mixings = common.studies(axes, STUDIES), common.words(axes.mixing)
    for study in studies:
        common.require_values(axes, *AXES[study])
    variants: dict[str, list[dict[str, Any]]] = {
        "claims": [{}],
        "controls": [{"control": c} for c in common.words(axes.control)]
        + [{"kind": kind} for kind in common.words(axes.chain)],
        "settings": _settings(config),
        "blocks": [{"kind": "block", "groups": groups} for groups in axes.groups],
    }
    points = _phases(config) if "phases" in studies else []
    for study in (s for s in variants if s in studies):
        if not variants[study]:
            raise ValueError(f"sweep.{OWN[study]}: names nothing that departs from the config, or nothing at all")
        for values in variants[study]:
            for mixing in (m for m in mixings if _applies(values, m)):
                training, lengths = config.runs.get(mixing), axes.correlation_length
                points += [_point(config, mixing, length, training, **values) for length in lengths]
    return points
