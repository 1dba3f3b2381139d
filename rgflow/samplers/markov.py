r"""Stationary Markov chains with a prescribed correlation length, and token sequences drawn from them.

Chains are built once on the host in float64 (:func:`make_chain`); the two arrays they hold may then be
traced, so a sweep over correlation lengths shares one compiled program. Keys: HR2026 = arXiv:2606.10324.
"""

import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Complex, Float, Int

from rgflow.checks import integer
from rgflow.samplers import chain_families as families
from rgflow.samplers import chain_families_moving as moving
from rgflow.samplers.chain_families import ROUNDING, number_within, sorted_eigenvalues
from rgflow.samplers.threefry import random_uniform
from rgflow.types import Key

LARGEST_CORRELATION_LENGTH = 1e6
"""In tokens; beyond it the spectral gap is lost in float64 rounding."""

SMALLEST_GAP = 1e-9
"""A second eigenvalue nearer to modulus 1 is that of a chain which is periodic or falls into parts."""

SMALLEST_IN_BLOCKS = 12
"""From this number of states on, reading two short rows is faster than reading one long row."""

FAMILIES: dict[str, tuple[Callable[..., families.Built], str]] = {
    "dirichlet_lazy": (families.dirichlet_lazy, "alpha"),
    "lazy_uniform": (families.lazy_uniform, "eigenvalue"),
    "lazy_zipf": (families.lazy_zipf, "eigenvalue"),
    "circulant": (families.circulant, "eigenvalues"),
    "ring_walk": (families.ring_walk, "hop"),
    "block": (families.block, "persistence"),
    "dirichlet": (moving.dirichlet, "concentration"),
    "softmax": (moving.softmax, "inverse_temperature"),
    "banded": (moving.banded, "bandwidth"),
}
"""Builder of each family and the name of its own parameter, the alternative to ``correlation_length``."""


class MarkovChain(NamedTuple):
    r"""A stationary chain, $P_{vw} = p(x_{t+1}=w \mid x_t=v)$ and $\pi P = \pi$: a pytree of two arrays.

    The two fields may be traced; the properties read them on the host in float64.
    """

    transition: Float[Array | np.ndarray, "V V"]
    stationary: Float[Array | np.ndarray, " V"]

    @property
    def eigenvalues(self) -> Complex[np.ndarray, " V"]:
        """All eigenvalues of the transition matrix, by descending modulus, then real, then imaginary part."""
        return sorted_eigenvalues(np.asarray(self.transition, np.float64))

    @property
    def correlation_length(self) -> float:
        r"""Correlation length in tokens, $\xi = -1/\ln|\lambda_2|$: 0 for no memory, inf for no gap."""
        modulus = float(abs(self.eigenvalues[1]))
        if modulus < ROUNDING:
            return 0.0
        return math.inf if modulus > 1 - ROUNDING else -1 / math.log(modulus)


def make_chain(kind: str, num_states: int, **params: Any) -> MarkovChain:
    r"""Returns a chain of one of the families below, in float64, from its own parameter or its correlation length.

    Exactly one of the two is given; $|\lambda_2| = e^{-1/\xi}$ for ``correlation_length`` $\xi$ in tokens, at
    most 1e6. A parameter that is None counts as not given.

    - ``dirichlet_lazy(alpha | correlation_length, concentration=1.0, seed=0)``: rows of R from a Dirichlet
      law, $P = \alpha I + (1-\alpha) R$ for $0 \le \alpha < 1$ and, for shorter memory than that of R,
      $P = (1+\alpha) R - \alpha 1\pi^T$ for $-1 \le \alpha < 0$; every alpha has the $\pi$ of R.
    - ``lazy_uniform(eigenvalue | correlation_length)``: $P = \lambda I + (1-\lambda) 11^T/V$.
    - ``lazy_zipf(eigenvalue | correlation_length, exponent=1.0)``: $P = \lambda I + (1-\lambda) 1\pi^T$ with
      $\pi_k \propto (k+1)^{-s}$, s the exponent and $0 \le \lambda < 1$: a stationary distribution far from uniform.
    - ``circulant(eigenvalues | correlation_length)``: all $\lambda_k$, or $\lambda_k = \rho^{\min(k, V-k)}$.
    - ``ring_walk(hop | correlation_length)``: $\lambda_k = 1 - 2q + 2q\cos(2\pi k/V)$, q the chance of a hop
      to each side; it has no short correlation lengths.
    - ``block(groups, persistence | correlation_length)``: with chance $\rho$ uniform in the present group,
      else over all states; spectrum 1, then $\rho$ (groups - 1 times), then 0.

    Their $\pi$ does not depend on the correlation length. That of the following does:

    - ``dirichlet(concentration | correlation_length, seed=0)``: Dirichlet rows, sparser for longer memory.
    - ``softmax(inverse_temperature | correlation_length, seed=0)``: $P_{vw} \propto e^{\beta E_{vw}}$, E normal.
    - ``banded(bandwidth | correlation_length)``: $P_{vw} \propto e^{-(v-w)^2/2b^2}$ on a line with two ends.

    Raises ValueError for an unknown family or parameter, and for values that give no ergodic chain.

    >>> round(make_chain("dirichlet_lazy", 16, alpha=0.3).correlation_length, 3)
    1.062

    Ref: HR2026 (the setting; its own one-parameter family is not published, ``dirichlet_lazy`` is a guess).
    """
    if kind not in FAMILIES:
        raise ValueError(f"kind = {kind!r}: unknown chain family, choose one of {', '.join(FAMILIES)}")
    states = integer(num_states)
    if states is None or states < 2:
        raise ValueError(f"num_states = {num_states!r}: must be an integer of at least 2")
    build, own = FAMILIES[kind]
    given = {name: value for name, value in params.items() if value is not None}
    _check_params(kind, build, own, given)
    if "correlation_length" in given:
        given["correlation_length"] = number_within(
            "correlation_length", given["correlation_length"], 0, LARGEST_CORRELATION_LENGTH, "(]", " tokens"
        )
    chain = MarkovChain(*build(states, **given))
    try:
        check_chain(chain)
    except ValueError as error:
        name = own if own in given else "correlation_length"
        raise ValueError(
            f"{name} = {given[name]}: {kind} over {states} states gives no ergodic chain ({error})"
        ) from None
    return chain


def check_chain(chain: MarkovChain, ergodic: bool = True) -> None:
    r"""Raises ValueError unless $P \ge 0$, $P 1 = 1$, $\pi P = \pi$, $\sum \pi = 1$ and, where asked, $P^n \to 1\pi$.

    The last asks for no absorbing state and one eigenvalue of modulus 1 alone: a chain that is periodic or falls into
    parts has more. Errors may be as large as the rounding of the arrays' dtype. A traced chain has no values yet and is
    taken on trust.

    >>> check_chain(MarkovChain(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([0.5, 0.5])))
    Traceback (most recent call last):
    ...
    ValueError: transition = a second eigenvalue of modulus 1: must not be periodic or fall into parts
    """
    if isinstance(chain.transition, Tracer) or isinstance(chain.stationary, Tracer):
        return
    precision = max(_precision(part) for part in chain)
    transition, stationary = (np.asarray(part, np.float64) for part in chain)
    states = len(stationary)
    if stationary.ndim != 1 or transition.shape != (states, states) or states < 2:
        raise ValueError(
            f"transition, stationary = of shape {transition.shape} and {stationary.shape}: must be (V, V) and (V,)"
        )
    errors = (
        np.abs(transition.sum(axis=1) - 1).max(),
        -min(transition.min(), stationary.min()),
        np.abs(stationary @ transition - stationary).max(),
        abs(stationary.sum() - 1),
    )
    # Written so that nan fails too.
    if not all(error <= max(ROUNDING, states * precision) for error in errors):
        raise ValueError(
            f"transition = off by {max(errors):.3g}: must be >= 0, its rows and stationary must sum to 1, "
            "and stationary @ transition must be stationary"
        )
    if not ergodic:
        return
    if (transition.diagonal() >= 1 - ROUNDING).any():
        raise ValueError(f"transition = state {int(transition.diagonal().argmax())} is absorbing: must be left again")
    if abs(sorted_eigenvalues(transition)[1]) > 1 - max(SMALLEST_GAP, 2 * precision):
        raise ValueError("transition = a second eigenvalue of modulus 1: must not be periodic or fall into parts")


def _precision(part: Float[Array | np.ndarray, "..."]) -> float:
    """Returns the machine epsilon of an array, that of float64 for whole numbers."""
    dtype = np.asarray(part).dtype
    return float(jnp.finfo(dtype).eps) if jnp.issubdtype(dtype, jnp.floating) else 2.0**-52


def iid_chain(chain: MarkovChain) -> MarkovChain:
    r"""Returns the chain with the same stationary distribution and no memory, $P = 1\pi^T$: a control.

    ``chain`` may be traced.
    """
    num_states = chain.stationary.shape[-1]
    return MarkovChain(chain.stationary[None, :].repeat(num_states, axis=0), chain.stationary)


def mode_functions(chain: MarkovChain) -> tuple[Float[np.ndarray, "modes V"], Float[np.ndarray, " modes"]]:
    r"""Returns the V - 1 decaying modes as real token functions, and the moduli of their eigenvalues.

    Right eigenfunctions, $P \varphi_k = \lambda_k \varphi_k$, by descending $|\lambda_k|$, without the constant one.
    The two rows of a complex pair are its real and its imaginary part, which span the same functions. Each row has
    mean 0 and variance 1 under $\pi$; the rows of a reversible chain are orthonormal under it. Host, float64.

    >>> functions, moduli = mode_functions(make_chain("block", 4, groups=2, persistence=0.5))
    >>> moduli.round(6).tolist(), abs(functions[0]).round(6).tolist()
    ([0.5, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0])
    """
    transition, stationary = np.asarray(chain.transition, np.float64), np.asarray(chain.stationary, np.float64)
    root = np.sqrt(stationary)
    symmetric = root[:, None] * transition / root[None, :]
    if np.abs(symmetric - symmetric.T).max() < ROUNDING:
        values, vectors = np.linalg.eigh((symmetric + symmetric.T) / 2)
        vectors = vectors / root[:, None]
    else:
        values, vectors = np.linalg.eig(transition)
    order = np.lexsort((-np.imag(values), -np.real(values), -np.round(np.abs(values), 12)))[1:]
    # The eigenvalue of a pair with positive imaginary part comes first; its partner gives the imaginary part.
    of_mode = vectors.T[order]
    functions = np.where(np.imag(values[order])[:, None] < 0, np.imag(of_mode), np.real(of_mode))
    functions = functions - (functions @ stationary)[:, None]
    spread = np.sqrt(functions**2 @ stationary)
    return functions / spread[:, None], np.abs(values[order])


def sample_chain(key: Key, chain: MarkovChain, batch: int, length: int) -> Int[Array, "B T"]:
    r"""Returns stationary sequences, drawn by inverse CDF, $x_{t+1} = \#\{w : u_t \ge \sum_{w' \le w} P_{x_t w'}\}$.

    Tokens are int32 of shape (batch, length); ``chain`` may be traced, ``batch`` and ``length`` are static. A token of
    probability 0 is never drawn. Raises ValueError if either number is below 1, and for a chain whose rows do not sum
    to 1 or do not preserve the stationary distribution.
    """
    check_chain(chain, ergodic=False)
    for name, value in (("batch", batch), ("length", length)):
        if value < 1:
            raise ValueError(f"{name} = {value}: must be at least 1")
    following = _successors(interval_ends(chain.transition))
    # Drawing uniforms dominates the cost: they are drawn all at once, and the scan only looks rows up.
    uniforms = random_uniform(key, (length, batch))
    first = _invert(uniforms[0], interval_ends(chain.stationary[None]))

    def advance(tokens: Int[Array, " B"], uniform: Float[Array, " B"]) -> tuple[Array, Array]:
        return (tokens := following(tokens, uniform)), tokens

    _, rest = jax.lax.scan(advance, first, uniforms[1:])
    return jnp.concatenate([first[None], rest]).T


def shuffle_time(key: Key, tokens: Int[Array, "B T"]) -> Int[Array, "B T"]:
    r"""Returns sequences with the times of each permuted at random, $x_{bt} \to x_{b\sigma_b(t)}$: no order is left.

    Unlike :func:`iid_chain` this keeps the token counts of every sequence.
    """
    return jax.random.permutation(key, tokens, axis=1, independent=True)


def interval_ends(probabilities: Float[Array | np.ndarray, "rows V"]) -> Float[Array, "rows V"]:
    r"""Returns where the intervals of an inverse CDF end, $c_w = \sum_{w' \le w} p_{w'} / \sum_{w'} p_{w'}$ (float32).

    They never fall, a state of probability 0 has an interval without length, and the last end is exactly 1, for any
    number of states. A uniform u selects the first state with $u < c_w$. Shapes: [rows, V] -> [rows, V].

    >>> interval_ends(jnp.array([[0.0, 3.0, 0.0, 1.0, 0.0]])).tolist()
    [[0.0, 0.75, 0.75, 1.0, 1.0]]
    """
    # Without the barrier the compiler sums a constant chain by itself, which takes a minute for a thousand states.
    given = jax.lax.optimization_barrier(jnp.asarray(probabilities, jnp.float32))
    # A sum in parallel is rounded differently for each entry and may fall from one to the next. The interval of a token
    # is empty where its probability is 0, and never negative.
    partial = jax.lax.cummax(jnp.where(given > 0, jnp.cumsum(given, axis=-1), 0.0), axis=given.ndim - 1)
    # The division makes the last entry exactly 1, so that every uniform below 1 has a token.
    return partial / partial[..., -1:]


def _invert(uniform: Float[Array, " B"], cumulative: Float[Array, "#B V"]) -> Int[Array, " B"]:
    return jnp.sum(uniform[:, None] >= cumulative, axis=-1, dtype=jnp.int32)


def _successors(cumulative: Float[Array, "V V"]) -> Callable[[Array, Array], Int[Array, " B"]]:
    """Returns the function (tokens, uniforms) -> next tokens, which is `_invert` of the tokens' rows.

    With many states the row is cut into about sqrt(V) blocks: the last entries of the blocks tell in which block the
    next token lies, and only that block is read. Ones fill the last block, since no uniform reaches 1.
    """
    num_states = cumulative.shape[0]
    width = math.isqrt(num_states - 1) + 1
    if num_states < SMALLEST_IN_BLOCKS:
        return lambda tokens, uniform: _invert(uniform, _rows(cumulative, tokens))
    blocks = -(-num_states // width)
    padded = jnp.pad(cumulative, ((0, 0), (0, blocks * width - num_states)), constant_values=1.0)
    ends, inside = padded[:, width - 1 :: width], padded.reshape(-1, width)

    def following(tokens: Int[Array, " B"], uniform: Float[Array, " B"]) -> Int[Array, " B"]:
        block = _invert(uniform, _rows(ends, tokens))
        return block * width + _invert(uniform, _rows(inside, tokens * blocks + block))

    return following


def _rows(table: Float[Array, "rows width"], index: Int[Array, " B"]) -> Float[Array, "B width"]:
    return table.at[index].get(mode="promise_in_bounds")


def _check_params(kind: str, build: Callable[..., Any], own: str, given: dict[str, Any]) -> None:
    allowed = dict(list(inspect.signature(build).parameters.items())[1:])
    for name, value in given.items():
        if name not in allowed:
            raise ValueError(f"{name} = {value!r}: {kind} does not take it, only {', '.join(allowed)}")
    for name, parameter in allowed.items():
        if parameter.default is inspect.Parameter.empty and name not in given:
            raise ValueError(f"{name} = None: {kind} needs it")
    if (own in given) == ("correlation_length" in given):
        found = "both" if own in given else "neither"
        raise ValueError(f"{own}, correlation_length = {found} given: {kind} needs exactly one of the two")
