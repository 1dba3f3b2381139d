"""The task of one run: what fixes its shapes, sequences drawn from a chain, masking, controls, input encodings."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from scipy import special

from rgflow.nets.residual import ResidualStack
from rgflow.protocol import Stream
from rgflow.rank_flow.mixing import Mixing
from rgflow.rank_flow.theory import SHOWN_AS_MASK, SHOWN_AS_RANDOM
from rgflow.samplers.markov import MarkovChain, sample_chain, shuffle_time
from rgflow.samplers.threefry import random_uniform
from rgflow.types import Hypers, Key

POSITIONALS = ("none", "learned")
"""Whether a learned vector of its position is added to the embedding of each token."""

CONTROLS = ("none", "untrained", "random_labels", "time_shuffled", "iid")
"""Tasks from which there is less to learn; in all of them but ``time_shuffled`` there is nothing to learn."""

UNROLLED_DEPTH = 8
OVERFLOW_PROBABILITY = 1e-9
"""Chance that a batch has more scored positions than the fixed number of rows has room for; the excess is left out."""


@dataclasses.dataclass(frozen=True)
class Static:
    """Everything that fixes shapes or the program of a rank-flow run."""

    mixing: Mixing
    window: int
    control: str
    mask_mode: str
    mask_prob: float
    num_states: int
    length: int
    batch: int
    depth: int
    width: int
    hidden_multiple: int
    norm: str
    residual: bool
    activation: str
    tied: bool
    initialisation: str
    dropout: float
    positional: str
    probe_batch: int
    pooled_batch: int

    def net(self, unroll: int = 1) -> ResidualStack:
        """Returns the network, a frozen module without parameters; ``unroll`` trades compile time for speed."""
        hidden = self.hidden_multiple * self.width
        outputs = self.num_states * len(self.mixing.predicted(self.window, self.length))
        options = {
            "norm": self.norm,
            "residual": self.residual,
            "activation": self.activation,
            "sublayer": self.mixing.sublayer,
            "token_hidden": self.hidden_multiple * self.length,
            "tied": self.readout_rows if self.tied else (),
            "initialisation": self.initialisation,
            "dropout": self.dropout,
            "positions": self.length if self.positional == "learned" else 0,
            "positions_first": self.mixing.positions_first,
        }
        return ResidualStack(self.depth, self.width, hidden, outputs, unroll=unroll, **options)

    def training_net(self) -> ResidualStack:
        """Returns the network of the training step: straight code where that compiles fast, else a loop over depth."""
        return self.net(self.depth if self.depth <= UNROLLED_DEPTH else 1)

    @property
    def optimum_known(self) -> bool:
        """Whether the network can come to the optimum of what it sees; attention sees an order by its position code."""
        return self.mixing.optimum_known or self.positional == "learned"

    @property
    def symbols(self) -> int:
        """How many symbols a position can show: V states and [MASK], and padding where a window needs it."""
        return self.num_states + (2 if self.mixing.has_window else 1)

    @property
    def features(self) -> int:
        """Width of the input encoding: one block of symbols for each position that a row shows."""
        return self.symbols * self.mixing.shown_positions(self.window, self.length)

    @property
    def readout_rows(self) -> tuple[int, ...]:
        """Rows of the embedding that serve as readout where embeddings are tied: the states of predicted positions."""
        predicted = self.mixing.predicted(self.window, self.length)
        return tuple(position * self.symbols + state for position in predicted for state in range(self.num_states))

    def capacity(self, positions: int, probability: float) -> int:
        """Returns how many rows hold a binomial number of positions but for a chance of OVERFLOW_PROBABILITY."""
        # scipy.stats.binom.isf says the same, but takes half a second to import.
        tail = special.bdtrc(np.arange(positions + 1), positions, probability)
        quantile = int(np.argmax(tail <= OVERFLOW_PROBABILITY))
        return min(positions, -(-quantile // 8) * 8)

    @property
    def scored_capacity(self) -> int:
        """Rows of the window path: the scored positions of a training batch."""
        return self.capacity(self.batch * self.length, self.mask_prob)


class Batch(NamedTuple):
    """Sequences as drawn, as shown to the network (V is [MASK]), which positions are scored, and on what."""

    tokens: Int[Array, "B T"]
    shown: Int[Array, "B T"]
    mask: Bool[Array, "B T"]
    targets: Int[Array, "B T"]


def chain_of(hypers: Hypers) -> MarkovChain:
    """Returns the chain of a run from its traced arrays."""
    return MarkovChain(hypers["transition"], hypers["stationary"])


def mask_tokens(static: Static, key: Key, tokens: Int[Array, "B T"]) -> tuple[Int[Array, "B T"], Bool[Array, "B T"]]:
    """Returns (shown, mask): which positions are scored and which symbol each position shows (V is [MASK]).

    Each position is scored with probability ``mask_prob`` on its own. In mode ``pure`` it then shows [MASK]; in mode
    ``bert`` it shows [MASK] in 80 %, a uniformly random token in 10 % and its own token in 10 % of the cases.
    """
    # One uniform decides both: u / mask_prob is uniform on [0, 1) given u < mask_prob.
    uniform_key, random_key = jax.random.split(key)
    u = random_uniform(uniform_key, tokens.shape)
    mask = u < static.mask_prob
    if static.mask_mode == "pure":
        return jnp.where(mask, static.num_states, tokens), mask
    part = u / static.mask_prob
    random = jax.random.randint(random_key, tokens.shape, 0, static.num_states)
    replaced = jnp.where(part < SHOWN_AS_MASK + SHOWN_AS_RANDOM, random, tokens)
    corrupted = jnp.where(part < SHOWN_AS_MASK, static.num_states, replaced)
    return jnp.where(mask, corrupted, tokens), mask


def draw_batch(static: Static, key: Key, hypers: Hypers, batch: int) -> Batch:
    """Returns fresh sequences for a key already folded from run and step; the controls change what is drawn.

    ``time_shuffled`` permutes time in each sequence before masking; ``random_labels`` scores every position on a token
    drawn from the stationary distribution instead of its own.
    """
    data_key, chain = jax.random.fold_in(key, Stream.DATA), chain_of(hypers)
    tokens = sample_chain(data_key, chain, batch, static.length)
    if static.control == "time_shuffled":
        tokens = shuffle_time(jax.random.fold_in(data_key, 1), tokens)
    shown, mask = mask_tokens(static, jax.random.fold_in(key, Stream.NOISE), tokens)
    targets = tokens
    if static.control == "random_labels":
        logits = jnp.log(chain.stationary)
        targets = jax.random.categorical(jax.random.fold_in(data_key, 2), logits, shape=tokens.shape)
    return Batch(tokens, shown, mask, targets)


def window_symbols(static: Static, shown: Int[Array, "B T"]) -> Int[Array, "B T W"]:
    """Returns the symbols at t - window .. t + window; positions outside the sequence show padding (V + 1)."""
    w = static.window
    padded = jnp.pad(shown, ((0, 0), (w, w)), constant_values=static.num_states + 1)
    return jnp.stack([padded[:, k : k + static.length] for k in range(2 * w + 1)], axis=-1)


def encode(static: Static, symbols: Int[Array, "*rows W"]) -> Float[Array, "*rows F"]:
    """Returns the concatenated one-hot vectors of each row's symbols."""
    return jax.nn.one_hot(symbols, static.symbols).reshape(*symbols.shape[:-1], -1)


def inputs(static: Static, shown: Int[Array, "B T"]) -> Float[Array, "*rows F"]:
    """Returns the input encoding in the layout of the stream: [B, T, F], [T, B, F] or, without positions, [B, F]."""
    mixing = static.mixing
    if not mixing.per_position:
        return encode(static, shown)
    if mixing.has_window:
        return encode(static, mixing.arrange(window_symbols(static, shown)))
    return encode(static, mixing.arrange(shown)[..., None])
