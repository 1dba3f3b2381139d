r"""Exact results on masked-token prediction over a Markov chain: entropies, Bayes losses, posteriors; in nats.

A position is selected for scoring with probability p, independently of the others. In mode ``pure`` every selected
position shows [MASK] (symbol V). In mode ``bert`` it shows [MASK] in 80 % of the cases, a uniformly random token in
10 % and its own token in 10 %. Key: HR2026 = arXiv:2606.10324.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int
from scipy.special import entr

from rgflow.checks import at_least, between, one_of
from rgflow.samplers.markov import MarkovChain, check_chain

MASK_MODES = ("pure", "bert")

SHOWN_AS_MASK = 0.8
SHOWN_AS_RANDOM = 0.1
SHOWN_UNCHANGED = 0.1
"""What becomes of a selected token in mode ``bert``; the three add up to 1."""


def conditional_entropies(chain: MarkovChain, max_lag: int) -> Float[np.ndarray, " lags"]:
    r"""Returns $h_n = H(x_n \mid x_0) = -\sum_i \pi_i \sum_j (P^n)_{ij} \ln (P^n)_{ij}$ in nats.

    Float64 of shape (max_lag + 1,) for n = 0..max_lag, rising from 0 to the stationary entropy. Raises
    ValueError for a negative ``max_lag``.

    >>> from rgflow.samplers.markov import make_chain
    >>> conditional_entropies(make_chain("lazy_uniform", 2, eigenvalue=0.5), 2).round(4).tolist()
    [0.0, 0.5623, 0.6616]
    """
    at_least("max_lag", max_lag, 0)
    transition, stationary = _host(chain)
    power, entropies = np.eye(len(stationary)), []
    for _ in range(max_lag + 1):
        entropies.append(stationary @ entr(power).sum(axis=1))
        power = power @ transition
    return np.array(entropies)


def stationary_entropy(chain: MarkovChain) -> float:
    r"""Returns $H(\pi) = -\sum_v \pi_v \ln \pi_v$ in nats, the least loss of a predictor without any input."""
    return float(entr(_host(chain)[1]).sum())


def bayes_masked_loss(chain: MarkovChain, length: int, mask_prob: float, window: int | None = None) -> float:
    r"""Returns the least expected cross-entropy per masked token in mode ``pure``, the task of HR2026, in nats.

    A position has l tokens on its left and r on its right. On either side the nearest visible token is at distance a
    with probability $w_a = (1-p) p^{a-1}$, and $H(x_t \mid x_{t-a}, x_{t+b}) = h_a + h_b - h_{a+b}$. The loss there is
    $\sum_a^l w_a h_a + \sum_b^r w_b h_b - \sum_a^l \sum_b^r w_a w_b h_{a+b} + p^{l+r} H(\pi)$ (sums from 1), with h of
    :func:`conditional_entropies`. The result is the mean over a sequence of ``length`` tokens. A ``window`` hides all
    tokens that are farther away than so many positions (0 leaves $H(\pi)$). Raises ValueError for ``mask_prob`` outside
    (0, 1), ``length`` below 1, and a window that is negative or not below ``length``.

    >>> from rgflow.samplers.markov import make_chain
    >>> round(bayes_masked_loss(make_chain("lazy_uniform", 16, correlation_length=1.2), 64, 0.15), 4)
    1.7724
    """
    _check_mask_prob(mask_prob)
    at_least("length", length, 1)
    reach = length - 1 if window is None else window
    if not 0 <= reach < length:
        raise ValueError(f"window = {window}: must be 0..{length - 1}, not a window wider than the sequence")
    entropies = conditional_entropies(chain, 2 * reach)
    distance = np.arange(1, reach + 1)
    weight = (1 - mask_prob) * mask_prob ** (distance - 1)
    # Partial sums over the distances serve all positions at once; index 0 is "no token on that side".
    one_side = np.pad(np.cumsum(weight * entropies[1 : reach + 1]), (1, 0))
    joint = np.outer(weight, weight) * entropies[distance[:, None] + distance]
    both_sides = np.pad(joint.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    left = np.minimum(np.arange(length), reach)
    right = left[::-1]
    unseen = float(mask_prob) ** (left + right) * stationary_entropy(chain)
    return float(np.mean(one_side[left] + one_side[right] - both_sides[left, right] + unseen))


def tokenwise_optimum(chain: MarkovChain, mask_mode: str = "pure") -> float:
    r"""Returns the least loss of a network that predicts each token from the symbol shown there, $H(x_t \mid s_t)$.

    In nats. In mode ``pure`` it is $H(\pi)$ for every correlation length, in mode ``bert``
    $0.8 H(\pi) + \sum_{vs} J_{vs} \ln(\sum_u J_{us} / J_{vs})$ with $J_{vs} = \pi_v (0.1 \delta_{vs} + 0.1/V)$ for
    symbols s other than [MASK]. Raises ValueError for an unknown mode.

    >>> from rgflow.samplers.markov import make_chain
    >>> round(tokenwise_optimum(make_chain("lazy_uniform", 16, eigenvalue=0.5), "bert"), 4)
    2.6102
    """
    one_of("mask_mode", mask_mode, MASK_MODES)
    if mask_mode == "pure":
        return stationary_entropy(chain)
    stationary = _host(chain)[1]
    num_states = len(stationary)
    shown = SHOWN_UNCHANGED * np.eye(num_states) + SHOWN_AS_RANDOM / num_states
    joint = stationary[:, None] * shown
    visible = entr(joint).sum() - entr(joint.sum(axis=0)).sum()
    return float(SHOWN_AS_MASK * stationary_entropy(chain) + visible)


def masked_posterior(
    chain: MarkovChain,
    tokens: Int[Array, " T"],
    mask: Bool[Array, " T"],
    mask_mode: str = "pure",
    mask_prob: float | Float[Array, ""] = 0.15,
) -> Float[Array, "T V"]:
    r"""Returns the exact posterior of the true tokens, $q_t(v) \propto \alpha_t(v) o_t(v) \beta_t(v)$.

    This is the forward-backward algorithm, with o the likelihood of what a position shows:
    $\alpha_{t+1} \propto (\alpha_t \odot o_t) P$ from $\alpha_1 = \pi$, and $\beta_t \propto P (o_{t+1} \odot
    \beta_{t+1})$ from 1. It takes one sequence; vmap over more. ``mask`` marks the scored positions.

    - ``pure``: o is 1 at masked positions, whose ``tokens`` are not read, and $\delta_{v x_t}$ elsewhere.
    - ``bert``: ``tokens`` are the symbols s shown, V for [MASK], where o is 1. The row of a scored position knows that
      it is selected, $o_t(v) = 0.1\delta_{vs} + 0.1/V$. Of all other positions, and in the rows of those that are not
      scored, it is unknown: $o_t(v) = (1-p)\delta_{vs} + p(0.1\delta_{vs} + 0.1/V)$.

    Dtype follows the transition matrix (float32 unless x64 is on); jit with ``mask_mode`` static. All rows are NaN if
    the tokens are impossible under the chain. Raises ValueError for an unknown mode, for a chain whose rows do not
    sum to 1, and for ``mask_prob`` outside (0, 1) unless it is traced.
    """
    one_of("mask_mode", mask_mode, MASK_MODES)
    _check_mask_prob(mask_prob)
    check_chain(chain, ergodic=False)
    transition, stationary = jnp.asarray(chain.transition), jnp.asarray(chain.stationary)
    if mask_mode == "pure":
        neighbour = own = jnp.where(mask[:, None], 1, _delta(tokens, transition))
    else:
        neighbour = _bert_likelihood(tokens, transition, mask_prob)
        own = jnp.where(mask[:, None], _bert_likelihood(tokens, transition, 1.0), neighbour)
    forward = _messages(stationary, neighbour, transition)
    backward = _messages(jnp.ones_like(stationary), neighbour[::-1], transition.T)[::-1]
    return _normalise(forward * own * backward)


def window_posterior(
    chain: MarkovChain,
    tokens: Int[Array, " T"],
    mask: Bool[Array, " T"],
    window: int,
    mask_mode: str = "pure",
    mask_prob: float | Float[Array, ""] = 0.15,
) -> Float[Array, "T V"]:
    r"""Returns the exact posterior of each true token given what shows within ``window`` positions on either side.

    Each row is that of :func:`masked_posterior` for the 2 window + 1 positions around it, on their own; positions
    beyond the ends of the sequence show nothing. Arguments and errors are as there. The expectation of
    $-\ln q_t(x_t)$ at scored positions is the window optimum $L^*(w)$.
    """
    num_states = chain.stationary.shape[-1]
    shown = jnp.where(mask, num_states, tokens) if mask_mode == "pure" else tokens
    around = jnp.arange(len(tokens))[:, None] + jnp.arange(2 * window + 1)[None, :]
    symbols = jnp.pad(shown, window, constant_values=num_states)[around]
    own = (jnp.arange(2 * window + 1) == window)[None, :] & mask[:, None]
    # A hidden neighbour shows nothing whether it is scored or beyond the end; only the own position's state matters.
    hidden = symbols == num_states if mask_mode == "pure" else own

    def middle(symbols: Int[Array, " W"], mask: Bool[Array, " W"]) -> Float[Array, " V"]:
        return masked_posterior(chain, symbols, mask, mask_mode, mask_prob)[window]

    return jax.vmap(middle)(symbols, hidden)


def _messages(
    start: Float[Array, " V"], likelihood: Float[Array, "T V"], transition: Float[Array, "V V"]
) -> Float[Array, "T V"]:
    """Returns the belief at each position before the observation there, carried along the chain from ``start``."""

    def carry_on(belief: Float[Array, " V"], seen: Float[Array, " V"]) -> tuple[Array, Array]:
        # Normalised at each step, so no sequence is long enough to underflow.
        return _normalise((belief * seen) @ transition), belief

    return jax.lax.scan(carry_on, start, likelihood)[1]


def _normalise(weights: Float[Array, "*rows V"]) -> Float[Array, "*rows V"]:
    return weights / weights.sum(axis=-1, keepdims=True)


def _delta(tokens: Int[Array, " T"], transition: Float[Array, "V V"]) -> Float[Array, "T V"]:
    return jax.nn.one_hot(tokens, transition.shape[0], dtype=transition.dtype)


def _bert_likelihood(
    tokens: Int[Array, " T"], transition: Float[Array, "V V"], selected: float | Float[Array, ""]
) -> Float[Array, "T V"]:
    """Returns the likelihood of the shown symbol given the true token, at a position selected with this probability."""
    num_states = transition.shape[0]
    unchanged = 1 - selected + selected * SHOWN_UNCHANGED
    visible = unchanged * _delta(tokens, transition) + selected * SHOWN_AS_RANDOM / num_states
    # [MASK] says nothing about the token: any constant will do.
    return jnp.where(tokens[:, None] == num_states, 1, visible)


def _host(chain: MarkovChain) -> tuple[Float[np.ndarray, "V V"], Float[np.ndarray, " V"]]:
    """Returns the arrays of a chain in float64; raises ValueError unless it is stationary and ergodic."""
    check_chain(chain)
    return np.asarray(chain.transition, np.float64), np.asarray(chain.stationary, np.float64)


def _check_mask_prob(mask_prob: float | Float[Array, ""]) -> None:
    # A traced probability has no value yet and is taken on trust.
    if not isinstance(mask_prob, Tracer):
        between("mask_prob", float(mask_prob), 0, 1, ends=False)
