"""Wires the rank-flow room: config -> Experiment. All checks of the config are here and run before a compilation."""

import dataclasses
import functools
from typing import Any

import numpy as np

from rgflow.checks import at_least, between, finite, one_of, positive, seed, whole
from rgflow.nets.activations import ACTIVATIONS
from rgflow.nets.initialisation import INITIALISATIONS
from rgflow.nets.residual import NORMS
from rgflow.protocol import Experiment, log_spaced_schedule
from rgflow.rank_flow import dynamics, probe, theory
from rgflow.rank_flow.mixing import MIXINGS, names_where
from rgflow.rank_flow.task import CONTROLS, POSITIONALS, Static
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
    choices |= {"initialisation": INITIALISATIONS, "positional": POSITIONALS, "mask_mode": theory.MASK_MODES}
    for name, allowed in choices.items():
        one_of(name, config[name], tuple(allowed))
    for name, least in LEAST.items():
        whole(name, config[name], least)
    seed("chain.seed", config.chain.seed)
    between("mask_prob", config.mask_prob, 0, 1, ends=False)
    between("cooldown", config.cooldown, 0, 1)
    at_least("weight_decay", config.weight_decay, 0)
    finite("weight_decay", config.weight_decay)
    if not 0 <= config.dropout < 1:
        raise ValueError(f"dropout = {config.dropout}: must be at least 0 and below 1")
    if config.positional != "none" and MIXINGS[config.mixing].sublayer is None:
        able = ", ".join(names_where(lambda m: m.sublayer is not None))
        raise ValueError(
            f"positional = {config.positional!r}: must be none for mixing {config.mixing}, only {able} need it"
        )
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


CHAIN_KEYS = {
    "dirichlet_lazy": ("concentration", "seed"),
    "dirichlet": ("seed",),
    "softmax": ("seed",),
    "lazy_zipf": ("exponent",),
    "block": ("groups",),
}
"""Keys of the section ``chain`` that a family reads besides its correlation length."""


def has_seed(config: Config) -> bool:
    """Returns whether the family of chains of a config has a random part, so that runs can have chains of their own."""
    return "seed" in CHAIN_KEYS.get(config.chain.kind, ())


ChainKey = tuple[str, int, float, tuple[tuple[str, Any], ...]]
"""Family, number of states, correlation length, and what the family reads besides: what makes two chains the same."""


def chain_key(config: Config, run_seed: int = 0) -> ChainKey:
    """Returns what fixes the Markov chain of a run, before any control.

    With ``chain.per_seed`` the run with seed s has the chain of ``chain.seed`` + s.
    """
    own = {name: config.chain[name] for name in CHAIN_KEYS.get(config.chain.kind, ())}
    if has_seed(config) and config.chain.per_seed:
        own["seed"] += run_seed
    return config.chain.kind, config.num_states, config.correlation_length, tuple(own.items())


# A sweep asks for the same chains and losses at many of its points.
@functools.lru_cache(maxsize=4096)
def chain_of(key: ChainKey) -> tuple[MarkovChain, Any, Any]:
    """Returns a chain at its correlation length (tokens), its mode functions and the moduli of their eigenvalues."""
    kind, states, length, own = key
    chain = make_chain(kind, states, correlation_length=length, **dict(own))
    return chain, *mode_functions(chain)


@functools.lru_cache(maxsize=16384)
def least_loss(key: ChainKey, ordered: bool, length: int, mask_prob: float, reach: int | None) -> float:
    """Returns the least loss in mode ``pure`` (nats) on a chain, or on independent tokens unless ``ordered``."""
    chain = chain_of(key)[0]
    return theory.bayes_masked_loss(chain if ordered else iid_chain(chain), length, mask_prob, reach)


def reference_losses(static: Static, key: ChainKey, ordered: bool = True) -> dict[str, float]:
    """Returns the exact losses (nats) that the recorded ones are judged against; NaN where none has a closed form.

    * ``stationary_entropy``: H(pi).
    * ``blind_loss``: the least loss of a network that sees only the scored position itself. It equals H(pi) where that
      position shows [MASK] in every case (mode ``pure``).
    * ``bayes_loss``: the least loss of a network that sees the whole sequence.
    * ``architecture_loss``: the least loss of a network that sees what this mixing sees, where that optimum is known.
    """
    task, chain = (static.length, static.mask_prob), chain_of(key)[0]
    entropy = theory.stationary_entropy(chain)
    if static.control == "random_labels":
        return dict.fromkeys(("stationary_entropy", "blind_loss", "bayes_loss", "architecture_loss"), entropy)
    tokenwise_loss = theory.tokenwise_optimum(chain, static.mask_mode)
    closed_form = static.mask_mode == "pure" and static.control == "none"

    def least(reach: int | None) -> float:
        return least_loss(key, ordered, *task, reach) if closed_form else np.nan

    seen = tokenwise_loss if static.mixing.is_table else least(static.mixing.reach(static.window))
    return {
        "stationary_entropy": entropy,
        "blind_loss": tokenwise_loss,
        "bayes_loss": least(None),
        "architecture_loss": seen if static.optimum_known else np.nan,
    }


def make(config: Config) -> Experiment:
    """Returns the experiment of one run; raises ValueError as :func:`validate`."""
    validate(config)
    static = make_static(config)
    bind = functools.partial
    shared = Experiment(
        static=static,
        hypers={},
        init=bind(dynamics.init, static),
        step=bind(dynamics.step, static),
        probe=bind(probe.probe, static),
        schedule=log_spaced_schedule(config.steps, config.records),
        dims={**probe.DIMS, "mode_modulus": ("mode",)},
        coords=probe.coords(static),
        latest=probe.LATEST,
        first=probe.LATEST,
    )

    def of_seed(run_seed: int) -> Experiment:
        hypers, reference = of_chain(config, static, chain_key(config, run_seed))
        number = config.chain.seed + run_seed if has_seed(config) and config.chain.per_seed else config.chain.seed
        return dataclasses.replace(shared, hypers=hypers, reference={**reference, "chain_seed": float(number)})

    first = of_seed(0)
    return dataclasses.replace(first, of_seed=of_seed) if has_seed(config) and config.chain.per_seed else first


def of_chain(config: Config, static: Static, key: ChainKey) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the hypers of a run on a chain, and what is known of it before it runs."""
    # Modes are those of the chain with its order: a control without order is read in the same terms.
    chain, functions, moduli = chain_of(key)
    ordered = config.control != "iid"
    chain = chain if ordered else iid_chain(chain)
    reference = reference_losses(static, key, ordered)
    hypers: dict[str, Any] = {
        "transition": chain.transition,
        "stationary": chain.stationary,
        "mode_functions": functions,
        "learning_rate": np.float64(0.0 if config.control == "untrained" else config.learning_rate),
        "weight_decay": np.float64(config.weight_decay),
        "cooldown": np.float64(config.cooldown),
        "steps": np.float64(config.steps),
        "bayes_loss": np.float64(reference["bayes_loss"]),
    }
    return hypers, {**reference, "mode_modulus": moduli}
