"""Wires the rank-flow room: config -> Experiment. Every check of the config happens here, before anything compiles."""

import functools
from typing import Any

import numpy as np

from rgflow.nets.residual import ACTIVATIONS, NORMS
from rgflow.protocol import Experiment, log_spaced_schedule
from rgflow.rank_flow import dynamics, probe, theory, verdict
from rgflow.rank_flow.dynamics import MIXINGS, Static
from rgflow.samplers.markov import MarkovChain, make_chain
from rgflow.types import Config


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} = {value!r}: must be one of {', '.join(allowed)}")


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"{name} = {value}: must be at least {least}")


def validate(config: Config) -> None:
    """Raises ValueError, one line naming key, value and what is allowed, for a config that makes no sense."""
    _one_of("mixing", config.mixing, MIXINGS)
    _one_of("norm", config.norm, NORMS)
    _one_of("activation", config.activation, tuple(ACTIVATIONS))
    _one_of("mask_mode", config.mask_mode, theory.MASK_MODES)
    sizes = {
        "num_states": 2,
        "length": 1,
        "batch": 1,
        "depth": 2,
        "width": 1,
        "hidden_multiple": 1,
        "probe_batch": 2,
    }
    for name, least in {**sizes, "records": 1, "window": 0}.items():
        _at_least(name, config[name], least)
    if not 0 < config.mask_prob < 1:
        raise ValueError(f"mask_prob = {config.mask_prob}: must lie inside (0, 1)")
    if config.window >= config.length:
        raise ValueError(
            f"window = {config.window}: must be below length = {config.length}, not a window wider than the sequence"
        )
    training = config.training[config.mixing]
    prefix = f"training.{config.mixing}"
    _at_least(f"{prefix}.steps", training.steps, 1)
    _at_least(f"{prefix}.seeds", training.seeds, 1)
    if not training.learning_rate > 0:
        raise ValueError(f"{prefix}.learning_rate = {training.learning_rate}: must be positive")


def make_static(config: Config) -> Static:
    """Returns what fixes the shapes and the program; keys that a mixing ignores are set to their null value."""
    names = [field for field in Static.__dataclass_fields__ if field in config]
    values = {name: config[name] for name in names}
    return Static(**{**values, "window": config.window if config.mixing == "window" else 0})


def chain_of(config: Config) -> MarkovChain:
    """Returns the Markov chain of a config, at its correlation length (tokens)."""
    params: dict[str, Any] = {"correlation_length": config.correlation_length}
    if config.chain.kind == "dirichlet_lazy":
        params |= {"concentration": config.chain.concentration, "seed": config.chain.seed}
    if config.chain.kind == "block":
        params["groups"] = config.chain.groups
    return make_chain(config.chain.kind, config.num_states, **params)


def reference_losses(static: Static, chain: MarkovChain) -> dict[str, float]:
    """Returns the exact losses (nats) that the recorded ones are judged against; NaN where none has a closed form.

    ``stationary_entropy``: the loss of one who sees nothing. ``bayes_loss``: the optimum with the whole sequence.
    ``architecture_loss``: the optimum of what this mixing can see (one token, or a window).
    """
    pure, tokenwise = static.mask_mode == "pure", static.mixing == "tokenwise"
    task = (static.length, static.mask_prob)
    window_loss = theory.bayes_masked_loss(chain, *task, static.window) if pure else np.nan
    tokenwise_loss = theory.tokenwise_optimum(chain, static.mask_mode, static.mask_prob)
    return {
        "stationary_entropy": theory.stationary_entropy(chain),
        "bayes_loss": theory.bayes_masked_loss(chain, *task) if pure else np.nan,
        "architecture_loss": tokenwise_loss if tokenwise else window_loss,
    }


def make(config: Config) -> Experiment:
    """Returns the rank-flow experiment of one run; raises ValueError for a config that makes no sense."""
    validate(config)
    static, chain = make_static(config), chain_of(config)
    training = config.training[config.mixing]
    reference = reference_losses(static, chain)
    bind = functools.partial
    return Experiment(
        static=static,
        hypers={
            "transition": chain.transition,
            "stationary": chain.stationary,
            "learning_rate": np.float64(training.learning_rate),
            "bayes_loss": np.float64(reference["bayes_loss"]),
        },
        init=bind(dynamics.init, static),
        step=bind(dynamics.step, static),
        probe=bind(probe.probe, static),
        verdict=verdict.verdict,
        schedule=log_spaced_schedule(training.steps, config.records),
        dims=probe.DIMS,
        coords=probe.coords(static),
        reference={**reference, "steps": float(training.steps), "learning_rate": training.learning_rate},
    )
