"""Masked-token training of a residual MLP stack on Markov chains: init and step of one run.

Two exact shortcuts carry the cost. A token-wise network sees only V + 1 distinct inputs, so it is run once per
distinct input that can be scored and the loss is weighted by counts. A window network is run on the scored positions
only. Both equal the plain path (``plain_loss``) to float rounding; the tests say so.
"""

import dataclasses
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int
from scipy import stats

from rgflow.nets.residual import ResidualStack
from rgflow.protocol import Stream
from rgflow.rank_flow.theory import SHOWN_AS_MASK, SHOWN_AS_RANDOM
from rgflow.samplers.markov import MarkovChain, sample_chain
from rgflow.types import Hypers, Info, Key

MIXINGS = ("tokenwise", "window")
UNROLLED_DEPTH = 8
OVERFLOW_PROBABILITY = 1e-9
"""Chance per step that a batch has more scored positions than the window path has room for; the excess is unscored."""


@dataclasses.dataclass(frozen=True)
class Static:
    """Everything that fixes shapes or the program of a rank-flow run."""

    mixing: str
    window: int
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
    probe_batch: int

    def net(self, unroll: int = 1) -> ResidualStack:
        """The network, a frozen module without parameters; ``unroll`` trades compile time for speed."""
        hidden = self.hidden_multiple * self.width
        sizes = (self.depth, self.width, hidden, self.num_states)
        style = {"norm": self.norm, "residual": self.residual, "activation": self.activation}
        return ResidualStack(*sizes, **style, unroll=unroll)

    def training_net(self) -> ResidualStack:
        """The network of the training step: straight code unless the stack is so deep that it compiles for long."""
        return self.net(self.depth if self.depth <= UNROLLED_DEPTH else 1)

    @property
    def features(self) -> int:
        """Width of the input encoding: V + 1 symbols, or (2 window + 1) blocks of V + 2 (mask and padding)."""
        if self.mixing == "tokenwise":
            return self.num_states + 1
        return (2 * self.window + 1) * (self.num_states + 2)

    @property
    def scored_capacity(self) -> int:
        """Rows of the window path: the scored positions of a batch, but for one batch in 1 / OVERFLOW_PROBABILITY."""
        positions = self.batch * self.length
        quantile = stats.binom.isf(OVERFLOW_PROBABILITY, positions, self.mask_prob)
        return min(positions, -(-int(quantile) // 8) * 8)


@flax.struct.dataclass
class TrainState:
    """Weights and optimiser state of one run."""

    params: Any
    optimizer: Any


def optimizer() -> optax.GradientTransformation:
    """Returns Adam without its learning rate, which is swept and multiplies the update."""
    return optax.scale_by_adam()


def init(static: Static, key: Key, hypers: Hypers) -> TrainState:
    """Draws the initial weights of one run."""
    del hypers
    params = static.net().init(key, jnp.zeros((1, static.features)))["params"]
    return TrainState(params, optimizer().init(params))


def mask_tokens(static: Static, key: Key, tokens: Int[Array, "B T"]) -> tuple[Int[Array, "B T"], Bool[Array, "B T"]]:
    """Returns (shown, mask): which positions are scored and which symbol each position shows (V is [MASK]).

    Each position is scored with probability ``mask_prob`` on its own. In mode ``pure`` it then shows [MASK]; in mode
    ``bert`` it shows [MASK] in 80 %, a uniformly random token in 10 % and its own token in 10 % of the cases.
    """
    # One uniform decides both: u / mask_prob is uniform on [0, 1) given u < mask_prob.
    uniform_key, random_key = jax.random.split(key)
    u = jax.random.uniform(uniform_key, tokens.shape)
    mask = u < static.mask_prob
    if static.mask_mode == "pure":
        return jnp.where(mask, static.num_states, tokens), mask
    part = u / static.mask_prob
    random = jax.random.randint(random_key, tokens.shape, 0, static.num_states)
    replaced = jnp.where(part < SHOWN_AS_MASK + SHOWN_AS_RANDOM, random, tokens)
    corrupted = jnp.where(part < SHOWN_AS_MASK, static.num_states, replaced)
    return jnp.where(mask, corrupted, tokens), mask


def draw_batch(static: Static, key: Key, hypers: Hypers, batch: int) -> tuple[Array, Array, Array]:
    """Returns fresh (tokens, shown, mask), each [batch, length], for a key already folded from run and step."""
    chain = MarkovChain(hypers["transition"], hypers["stationary"])
    tokens = sample_chain(jax.random.fold_in(key, Stream.DATA), chain, batch, static.length)
    shown, mask = mask_tokens(static, jax.random.fold_in(key, Stream.NOISE), tokens)
    return tokens, shown, mask


def window_symbols(static: Static, shown: Int[Array, "B T"]) -> Int[Array, "B T W"]:
    """Returns the symbols at t - window .. t + window; positions outside the sequence show padding (V + 1)."""
    w = static.window
    padded = jnp.pad(shown, ((0, 0), (w, w)), constant_values=static.num_states + 1)
    return jnp.stack([padded[:, k : k + static.length] for k in range(2 * w + 1)], axis=-1)


def encode(static: Static, symbols: Int[Array, "*rows W"]) -> Float[Array, "*rows F"]:
    """Returns the concatenated one-hot vectors of each row's symbols."""
    one_hot = jax.nn.one_hot(symbols, static.features // symbols.shape[-1])
    return one_hot.reshape(*symbols.shape[:-1], static.features)


def inputs(static: Static, shown: Int[Array, "B T"]) -> Float[Array, "B T F"]:
    """Returns the input encoding of every position, on the plain path."""
    symbols = shown[..., None] if static.mixing == "tokenwise" else window_symbols(static, shown)
    return encode(static, symbols)


def masked_mean(values: Float[Array, "*rows"], mask: Bool[Array, "*rows"]) -> Float[Array, ""]:
    """Returns the mean over the scored positions (0 when there is none)."""
    return jnp.sum(jnp.where(mask, values, 0.0)) / jnp.maximum(jnp.sum(mask), 1)


def cross_entropy(logits: Float[Array, "*rows V"], targets: Int[Array, "*rows"]) -> Float[Array, "*rows"]:
    r"""Returns $-\ln q(x)$ in nats for each row."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, targets)


def forward(net: ResidualStack, params: Any, encoding: Float[Array, "*rows F"]) -> tuple[Array, Array]:
    """Returns (logits [*rows, V], stream [depth + 1, *rows, width])."""
    logits, stream = net.apply({"params": params}, encoding)
    return jnp.asarray(logits), jnp.asarray(stream)


def plain_loss(static: Static, params: Any, tokens: Array, shown: Array, mask: Array) -> Float[Array, ""]:
    """Runs the network on every position and averages over the scored ones; the reference of the shortcuts."""
    logits, _ = forward(static.training_net(), params, inputs(static, shown))
    return masked_mean(cross_entropy(logits, tokens), mask)


def scored_symbols(static: Static) -> Int[Array, "S"]:
    """Returns the symbols that a scored position can show: only [MASK] in mode ``pure``, any in mode ``bert``."""
    first = static.num_states if static.mask_mode == "pure" else 0
    return jnp.arange(first, static.num_states + 1)


def table_loss(static: Static, params: Any, tokens: Array, shown: Array, mask: Array) -> Float[Array, ""]:
    """The token-wise loss from one row per distinct scored symbol, weighted by the counts of (symbol, target)."""
    symbols = scored_symbols(static)
    shows = (shown.reshape(-1, 1) == symbols[None]) & mask.reshape(-1, 1)
    counts = shows.astype(jnp.float32).T @ jax.nn.one_hot(tokens.reshape(-1), static.num_states)
    logits, _ = forward(static.training_net(), params, encode(static, symbols[:, None]))
    return -jnp.sum(counts * jax.nn.log_softmax(logits)) / jnp.maximum(jnp.sum(mask), 1)


def scored_loss(static: Static, params: Any, tokens: Array, shown: Array, mask: Array) -> Float[Array, ""]:
    """The window loss with the network run on the scored positions only, in a fixed number of rows."""
    capacity = static.scored_capacity
    index = jnp.nonzero(mask.reshape(-1), size=capacity, fill_value=0)[0]
    valid = jnp.arange(capacity) < jnp.sum(mask)
    symbols = window_symbols(static, shown).reshape(-1, 2 * static.window + 1)[index]
    logits, _ = forward(static.training_net(), params, encode(static, symbols))
    return masked_mean(cross_entropy(logits, tokens.reshape(-1)[index]), valid)


def step(static: Static, key: Key, state: TrainState, hypers: Hypers) -> tuple[TrainState, Info]:
    """Draws fresh sequences, takes one Adam step on the masked loss and reports that loss (nats)."""
    tokens, shown, mask = draw_batch(static, key, hypers, static.batch)
    loss_of = table_loss if static.mixing == "tokenwise" else scored_loss
    loss, gradient = jax.value_and_grad(lambda p: loss_of(static, p, tokens, shown, mask))(state.params)
    direction, optimizer_state = optimizer().update(gradient, state.optimizer)
    params = jax.tree.map(lambda p, d: p - hypers["learning_rate"] * d, state.params, direction)
    return TrainState(params, optimizer_state), {"train_loss": loss}
