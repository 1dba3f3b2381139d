r"""Stationary Markov chains with a prescribed correlation length, and token sequences drawn from them.

Chains are built once on the host in float64 (:func:`make_chain`); the two arrays they hold may then be
traced, so a sweep over correlation lengths shares one compiled program. Keys: HR2026 = arXiv:2606.10324.
"""

import inspect
import math
import numbers
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int

from rgflow.samplers.chain_families import FAMILIES, ROUNDING, number_within, sorted_eigenvalues
from rgflow.samplers.threefry import random_uniform
from rgflow.types import Key

LARGEST_CORRELATION_LENGTH = 1e6
"""In tokens; beyond it the spectral gap is lost in float64 rounding."""

SMALLEST_IN_BLOCKS = 12
"""From this number of states on, reading two short rows is faster than reading one long row."""


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

    Raises ValueError for an unknown family or parameter, and for values that give no ergodic chain.

    >>> round(make_chain("dirichlet_lazy", 16, alpha=0.3).correlation_length, 3)
    1.062

    Ref: HR2026 (the setting; its own one-parameter family is not published, ``dirichlet_lazy`` is a guess).
    """
    if kind not in FAMILIES:
        raise ValueError(f"kind = {kind!r}: unknown chain family, choose one of {', '.join(FAMILIES)}")
    if not isinstance(num_states, numbers.Integral) or num_states < 2:
        raise ValueError(f"num_states = {num_states!r}: must be an integer of at least 2")
    build, own = FAMILIES[kind]
    given = {name: value for name, value in params.items() if value is not None}
    _check_params(kind, build, own, given)
    if "correlation_length" in given:
        given["correlation_length"] = number_within(
            "correlation_length", given["correlation_length"], 0, LARGEST_CORRELATION_LENGTH, "(]", " tokens"
        )
    return _checked(MarkovChain(*build(int(num_states), **given)))


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

    Tokens are int32 of shape (batch, length); ``chain`` may be traced, ``batch`` and ``length`` are static. Raises
    ValueError if either is below 1.
    """
    for name, value in (("batch", batch), ("length", length)):
        if value < 1:
            raise ValueError(f"{name} = {value}: must be at least 1")
    following = _successors(_cumulative(chain.transition))
    # Drawing uniforms dominates the cost: they are drawn all at once, and the scan only looks rows up.
    uniforms = random_uniform(key, (length, batch))
    first = _invert(uniforms[0], _cumulative(chain.stationary[None]))

    def advance(tokens: Int[Array, " B"], uniform: Float[Array, " B"]) -> tuple[Array, Array]:
        return (tokens := following(tokens, uniform)), tokens

    _, rest = jax.lax.scan(advance, first, uniforms[1:])
    return jnp.concatenate([first[None], rest]).T


def shuffle_time(key: Key, tokens: Int[Array, "B T"]) -> Int[Array, "B T"]:
    r"""Returns sequences with the times of each permuted at random, $x_{bt} \to x_{b\sigma_b(t)}$: no order is left.

    Unlike :func:`iid_chain` this keeps the token counts of every sequence.
    """
    return jax.random.permutation(key, tokens, axis=1, independent=True)


def _cumulative(probabilities: Float[Array | np.ndarray, "rows V"]) -> Float[Array, "rows V"]:
    # The division makes the last entry exactly 1, so that every uniform below 1 has a token.
    partial = jnp.cumsum(jnp.asarray(probabilities, jnp.float32), axis=-1)
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


def _checked(chain: MarkovChain) -> MarkovChain:
    transition, stationary = chain
    errors = (
        np.abs(transition.sum(axis=1) - 1).max(),
        -transition.min(),
        np.abs(stationary @ transition - stationary).max(),
        abs(stationary.sum() - 1),
    )
    # Written so that nan fails too.
    if not all(error <= ROUNDING for error in errors):
        raise ValueError(f"transition = off by {max(errors):.3g}: rows must sum to 1 and preserve stationary")
    return chain
