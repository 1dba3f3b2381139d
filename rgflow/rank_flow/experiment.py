"""Wires the rank-flow room: config -> Experiment. All checks of the config are here and run before a compilation."""

import functools
from typing import Any

import numpy as np

from rgflow.checks import between, one_of, positive, seed, whole
from rgflow.nets.activations import ACTIVATIONS
from rgflow.nets.residual import NORMS
from rgflow.protocol import Experiment, log_spaced_schedule
from rgflow.rank_flow import dynamics, probe, theory
from rgflow.rank_flow.mixing import MIXINGS
from rgflow.rank_flow.task import CONTROLS, Static
from rgflow.samplers.markov import MarkovChain, iid_chain, make_chain, mode_functions
from rgflow.types import Config

LEAST = {
    "num_states": 2,
    "length": 1,
    "batch": 1,
    "depth": 2,
    "width": 1,
    "hidden_multiple": 1,
    "probe_batch": 2,
    "pooled_batch": 2,
    "records": 1,
    "window": 0,
    "steps": 1,
}
"""Least allowed values of the whole numbers."""


def validate(config: Config) -> None:
    """Raises ValueError for an impossible config: one line with the key, its value and what is allowed."""
    choices = {"mixing": MIXINGS, "control": CONTROLS, "norm": NORMS, "activation": ACTIVATIONS}
    for name, allowed in {**choices, "mask_mode": theory.MASK_MODES}.items():
        one_of(name, config[name], tuple(allowed))
    for name, least in LEAST.items():
        whole(name, config[name], least)
    seed("chain.seed", config.chain.seed)
    between("mask_prob", config.mask_prob, 0, 1, ends=False)
    between("cooldown", config.cooldown, 0, 1)
    if config.window >= config.length:
        raise ValueError(
            f"window = {config.window}: must be below length = {config.length}, not a window wider than the sequence"
        )
    if config.pooled_batch % config.probe_batch:
        raise ValueError(
            f"pooled_batch = {config.pooled_batch}: must be a multiple of probe_batch = {config.probe_batch}"
        )
    positive("learning_rate", config.learning_rate)


def make_static(config: Config) -> Static:
    """Returns what fixes the shapes and the program; keys that a run ignores are set to their null value."""
    values = {name: config[name] for name in Static.__dataclass_fields__ if name in config}
    mixing = MIXINGS[config.mixing]
    window = config.window if mixing.has_window else 0
    # The other controls change per-run inputs only: their runs share a program with those of no control.
    control = config.control if config.control in ("random_labels", "time_shuffled") else "none"
    return Static(**{**values, "mixing": mixing, "window": window, "control": control})


CHAIN_KEYS = {"dirichlet_lazy": ("concentration", "seed"), "lazy_zipf": ("exponent",), "block": ("groups",)}
"""Keys of the section ``chain`` that a family reads besides its correlation length."""


def chain_of(config: Config) -> MarkovChain:
    """Returns the Markov chain of a config, at its correlation length (tokens), before any control."""
    own = {name: config.chain[name] for name in CHAIN_KEYS.get(config.chain.kind, ())}
    return make_chain(config.chain.kind, config.num_states, correlation_length=config.correlation_length, **own)


def reference_losses(static: Static, chain: MarkovChain) -> dict[str, float]:
    """Returns the exact losses (nats) that the recorded ones are judged against; NaN where none has a closed form.

    * ``stationary_entropy``: H(pi).
    * ``blind_loss``: the least loss of a network that sees only the scored position itself. It equals H(pi) where that
      position shows [MASK] in every case (mode ``pure``).
    * ``bayes_loss``: the least loss of a network that sees the whole sequence.
    * ``architecture_loss``: the least loss of a network that sees what this mixing sees, where that optimum is known.
    """
    task = (static.length, static.mask_prob)
    entropy = theory.stationary_entropy(chain)
    if static.control == "random_labels":
        return dict.fromkeys(("stationary_entropy", "blind_loss", "bayes_loss", "architecture_loss"), entropy)
    tokenwise_loss = theory.tokenwise_optimum(chain, static.mask_mode)
    closed_form = static.mask_mode == "pure" and static.control == "none"

    def least_loss(reach: int | None) -> float:
        return theory.bayes_masked_loss(chain, *task, reach) if closed_form else np.nan

    seen = tokenwise_loss if static.mixing.is_table else least_loss(static.mixing.reach(static.window))
    return {
        "stationary_entropy": entropy,
        "blind_loss": tokenwise_loss,
        "bayes_loss": least_loss(None),
        "architecture_loss": seen if static.mixing.optimum_known else np.nan,
    }


def make(config: Config) -> Experiment:
    """Returns the experiment of one run; raises ValueError as :func:`validate`."""
    validate(config)
    static, ordered = make_static(config), chain_of(config)
    chain = iid_chain(ordered) if config.control == "iid" else ordered
    # Modes are those of the chain with its order: a control without order is read in the same terms.
    functions, moduli = mode_functions(ordered)
    reference = reference_losses(static, chain)
    hypers: dict[str, Any] = {
        "transition": chain.transition,
        "stationary": chain.stationary,
        "mode_functions": functions,
        "learning_rate": np.float64(0.0 if config.control == "untrained" else config.learning_rate),
        "cooldown": np.float64(config.cooldown),
        "steps": np.float64(config.steps),
        "bayes_loss": np.float64(reference["bayes_loss"]),
    }
    bind = functools.partial
    return Experiment(
        static=static,
        hypers=hypers,
        init=bind(dynamics.init, static),
        step=bind(dynamics.step, static),
        probe=bind(probe.probe, static),
        schedule=log_spaced_schedule(config.steps, config.records),
        dims={**probe.DIMS, "mode_modulus": ("mode",)},
        coords=probe.coords(static),
        latest=probe.LATEST,
        first=probe.LATEST,
        reference={**reference, "mode_modulus": moduli},
    )
