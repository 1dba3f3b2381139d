r"""Chain families whose stationary distribution moves with the correlation length.

In these families memory comes with unequal tokens: a network that sees one token at a time has something to learn
there, and not the same thing at every length. Every builder returns (transition, stationary) in float64, from its own
parameter or from a correlation length $\xi$ in tokens, $|\lambda_2| = e^{-1/\xi}$.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import special
from scipy.optimize import brentq

from rgflow.checks import integer
from rgflow.samplers.chain_families import Built, Scalar, number_within, solve_stationary, sorted_eigenvalues

GRID = 200
"""Values of a parameter that are tried in search of the first one with a given correlation length."""

ATTEMPTS = 100
"""Draws from one seed before a correlation length is given up."""

Matrix = Float[np.ndarray, "V V"]
Family = Callable[[float], Matrix]


def softmax(
    num_states: int,
    inverse_temperature: Scalar | None = None,
    correlation_length: float | None = None,
    seed: Any = 0,
) -> Built:
    r"""Returns $P_{vw} \propto e^{\beta E_{vw}}$ with E_vw standard normal: independent tokens at $\beta = 0$."""

    def from_energies(rng: np.random.Generator) -> Family:
        energies = rng.standard_normal((num_states, num_states))
        return lambda beta: special.softmax(beta * energies, axis=1)

    grid = np.geomspace(1e-3, 100, GRID)
    own = ("inverse_temperature", inverse_temperature, "[)")
    return _random_chain("softmax", from_energies, grid, own, correlation_length, seed)


def dirichlet(
    num_states: int,
    concentration: Scalar | None = None,
    correlation_length: float | None = None,
    seed: Any = 0,
) -> Built:
    r"""Returns rows from a Dirichlet law with parameter a: near independent for large a, a random map for small.

    The rows of every a are made of the same uniform numbers u, as $g / \sum g$ with g the quantile of the gamma law at
    u, so that they move continuously with a.
    """

    def from_uniforms(rng: np.random.Generator) -> Family:
        uniform = rng.uniform(size=(num_states, num_states))

        def transition(a: float) -> Matrix:
            with np.errstate(divide="ignore"):
                large = np.log(special.gammaincinv(a, uniform))
            # The law of a small gamma number is u = g^a / Gamma(a + 1), whose logarithm does not vanish in rounding.
            small = (np.log(uniform) + special.gammaln(a + 1)) / a
            return special.softmax(np.where(large > -100, large, small), axis=1)

        return transition

    grid = np.geomspace(1e3, 1e-2, GRID)
    return _random_chain(
        "dirichlet", from_uniforms, grid, ("concentration", concentration, "()"), correlation_length, seed
    )


def _random_chain(
    kind: str,
    draw: Callable[[np.random.Generator], Family],
    grid: np.ndarray,
    own: tuple[str, Scalar | None, str],
    correlation_length: float | None,
    seed: Any,
) -> Built:
    """Returns a chain of a family that is drawn at random, at the value of its own parameter or at a length.

    Some draws never reach a long correlation length: they are drawn again, from the same seed.
    """
    if (number := integer(seed)) is None or number < 0:
        raise ValueError(f"seed = {seed!r}: must be a non-negative integer")
    name, value, ends = own
    if correlation_length is None:
        return _built(draw(np.random.default_rng(number))(number_within(name, value, 0, math.inf, ends)))
    for attempt in range(ATTEMPTS):
        transition = draw(np.random.default_rng([number, attempt] if attempt else number))
        parameter = _first_with(transition, correlation_length, grid)
        if parameter is not None:
            return _built(transition(parameter))
    raise ValueError(f"correlation_length = {correlation_length}: none of {ATTEMPTS} chains of kind {kind} reaches it")


def banded(num_states: int, bandwidth: Scalar | None = None, correlation_length: float | None = None) -> Built:
    r"""Returns $P_{vw} \propto e^{-(v - w)^2 / 2 b^2}$ on a line with two ends, where tokens are rarer."""
    distance = np.subtract.outer(np.arange(num_states), np.arange(num_states))

    def transition(b: float) -> Matrix:
        return special.softmax(-(distance**2) / (2 * b**2), axis=1)

    if correlation_length is not None:
        widths = np.geomspace(100 * num_states, 0.1, GRID)
        bandwidth = _first_with(transition, correlation_length, widths)
        if bandwidth is None:
            raise ValueError(
                f"correlation_length = {correlation_length}: no banded chain over {num_states} states has it"
            )
    return _built(transition(number_within("bandwidth", bandwidth, 0, math.inf, "()")))


def _built(transition: Matrix) -> Built:
    return transition, np.maximum(solve_stationary(transition), 0)


def _first_with(transition: Family, length: float, grid: np.ndarray) -> float | None:
    """Returns the first parameter along a grid, to rounding, whose chain has the correlation length; None for none."""
    wanted = math.exp(-1 / length)

    def excess(log_parameter: float) -> float:
        return float(abs(sorted_eigenvalues(transition(math.exp(log_parameter)))[1])) - wanted

    points = np.log(grid)
    last = excess(points[0])
    for before, after in itertools.pairwise(points):
        last, previous = excess(after), last
        if previous < 0 <= last:
            return math.exp(brentq(excess, before, after, xtol=1e-14, rtol=1e-14))  # type: ignore[arg-type]
    return None
