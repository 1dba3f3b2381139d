r"""Couplings between all pairs of spins by maximum pseudo-likelihood, with standard errors.

The model is $p(s) \propto \exp(\sum_{i<j} J_{ij} s_i s_j + \sum_i h_i s_i)$ with $s = \pm1$ and $\beta$ absorbed in
J and h. Given all others, $P(s_i | s) = \sigma(2 s_i f_i)$ with $f_i = h_i + \sum_j J_{ij} s_j$: a logistic regression
for each unit, without the partition function. $J_{ij}$ and $J_{ji}$ come from different regressions and are averaged.
The estimate is consistent if the data are of this family; of other data it is a well-defined summary. Everything runs
under jit and vmap.

Keys: besag1975 = Besag, The Statistician 24 (1975) 179 (pseudo-likelihood); godambe1960 = Godambe, Ann. Math. Stat. 31
(1960) 1208 (variance of an estimating equation); albert1984 = Albert and Anderson, Biometrika 71 (1984) 1 (when a
logistic regression has no finite solution).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num

BLOCK = 1024
"""Samples in memory at once where there are terms of all pairs for each."""

SUM_NOISE = 16.0
r"""Error of a mean of squares from :func:`sum_over_blocks`, at the most, in units of machine epsilon.

A sum of B terms of one sign is off by about $\frac12\epsilon\sqrt{B/3}$ where they are added one by one, which is 9
epsilon for a block, and by less where a processor adds them in groups. Sums of some hundred blocks add a few. A matrix
of F such means of unit size then has eigenvalues that are off by $16 F\epsilon$ at the most."""

STEPS = 40
"""Newton steps at the most; about eight suffice."""

LARGEST_MOVE = 1.0
"""Change of any $f_i$ in a step: within it the curvature changes by a bounded factor, so that steps go downhill."""

SETTLED = 1e-4
"""Last change of any $f_i$ for a regression to count as solved."""

LARGEST_SHARE = 0.02
"""Share of the ridge in the information on a coupling above which the ridge would decide it, and not the data.

At $\\rho = 10^{-4}$ a chain with K = 1.5 is well below it, one with K = 2 above."""


class Couplings(NamedTuple):
    """Couplings of all pairs and their standard errors: symmetric, zero diagonal, NaN where the data do not say."""

    values: Float[Array, "M M"]
    errors: Float[Array, "M M"]


def pseudo_likelihood(spins: Num[Array, "n M"], ridge: float | int = 1e-4) -> Couplings:
    r"""Return the J that maximise $\frac1n\sum_b\ln\sigma(2 s_{bi} f_{bi}) - \frac\rho2(h_i^2 + \sum_j J_{ij}^2)$.

    For every unit i on its own, then $(J + J^T)/2$; $\rho$ is the ``ridge``. By capped Newton steps. Errors are those
    of the mean of both regressions, from the scatter of their influence functions over samples, which must be
    independent. A unit with other values than $\pm1$, such as the zeros of :func:`rgflow.probes.gauges.binarise`, is
    left out. NaN where there is no finite solution or the ridge decides: pairs with a constant unit, a copy of another
    one, or a unit that the others predict without fail; the remaining pairs are as if fitted with these units, where
    copies share what they explain. Rounding counts as a ridge: an information below $16 (M + 1)\epsilon$ is none, also
    with a smaller $\rho$. Shapes: [n, M] -> [M, M] each.

    >>> spins = jnp.array([[1, 1]] * 3 + [[1, -1]] + [[-1, 1]] + [[-1, -1]] * 3)
    >>> round(float(pseudo_likelihood(spins, ridge=0).values[0, 1]), 4)  # atanh of the correlation 1/2
    0.5493

    Ref: besag1975; godambe1960; albert1984.
    """
    n, width = spins.shape
    used = jnp.all(jnp.abs(spins) == 1, axis=0)
    spins = jnp.where(used[None, :], spins, 0).astype(jnp.result_type(spins, jnp.float32))
    # The last column is the field; no unit is an input of its own.
    free = jnp.concatenate([used[None, :] & ~jnp.eye(width, dtype=bool), jnp.ones((width, 1), bool)], axis=1)
    free = free.astype(spins.dtype)
    # Damping changes the way to the solution and not the solution; without it rounding would decide what is singular.
    least = jnp.maximum(ridge, SUM_NOISE * (width + 1) * jnp.finfo(spins.dtype).eps)
    damping = _diagonal((least - ridge) * jnp.ones_like(free))

    def proceed(state: tuple[Array, Array, Array]) -> Bool[Array, ""]:
        return (state[1] < STEPS) & jnp.any(state[2] > SETTLED / 10)

    def step(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        weights, number, _ = state
        slope, information = _derivatives(spins, weights, free, ridge)
        move = _solve(information + damping, slope[:, :, None])[:, :, 0]
        change = jnp.max(jnp.abs(_fields(spins, move)), axis=0)
        move = move * jnp.minimum(1.0, LARGEST_MOVE / jnp.maximum(change, 1e-30))[:, None]
        return weights + move, number + 1, change

    start = jnp.zeros_like(free), jnp.array(0), jnp.full(width, jnp.inf, spins.dtype)
    weights, _, change = jax.lax.while_loop(proceed, step, start)
    information = _derivatives(spins, weights, free, ridge)[1] + damping
    inverse = _solve(information, jnp.broadcast_to(jnp.eye(width + 1, dtype=spins.dtype), information.shape))
    # Where every sample of a unit is predicted, the solution is at infinity, and only the ridge keeps it finite.
    predicted = jnp.all(spins * _fields(spins, weights) > 0, axis=0)
    share = least * jnp.diagonal(inverse, axis1=1, axis2=2)[:, :width]
    known = used & ~predicted & (change < SETTLED)
    known = known[:, None] & used[None, :] & (share < LARGEST_SHARE)
    known = (known & known.T) | jnp.eye(width, dtype=bool)
    values = weights[:, :width]
    errors = jnp.sqrt(_squared_influence(spins, weights, inverse, ridge)) / n
    return Couplings(jnp.where(known, (values + values.T) / 2, jnp.nan), jnp.where(known, errors, jnp.nan))


def sum_over_blocks(
    function: Callable[[Float[Array, "block M"], Float[Array, " block"]], Float[Array, "..."]],
    rows: Float[Array, "n M"],
    size: int = BLOCK,
) -> Float[Array, "..."]:
    r"""Return $\sum_b f(x_b, w_b)$ over blocks of rows, of which only one is in memory at a time.

    ``function`` maps ``size`` rows and their weights, 1 or 0 for the rows of zeros that fill up the last block, to a
    sum over the rows. Shapes: [n, M] -> that of the function.

    >>> float(sum_over_blocks(lambda rows, weight: jnp.sum(weight[:, None] * (rows + 1)), jnp.ones((5, 2)), size=3))
    20.0
    """
    n, width = rows.shape
    size = min(size, n)
    count = -(-n // size)
    padded = jnp.pad(rows, ((0, count * size - n), (0, 0))).reshape(count, size, width)
    weight = (jnp.arange(count * size) < n).astype(rows.dtype).reshape(count, size)
    total = jax.eval_shape(function, padded[0], weight[0])

    def add(total: Array, block: tuple[Array, Array]) -> tuple[Array, None]:
        return total + function(*block), None

    return jax.lax.scan(add, jnp.zeros(total.shape, total.dtype), (padded, weight))[0]


def _derivatives(
    spins: Float[Array, "n M"], weights: Float[Array, "M F"], free: Float[Array, "M F"], ridge: float | int
) -> tuple[Float[Array, "M F"], Float[Array, "M F F"]]:
    """Return the slope of the objective of every unit and minus its matrix of second derivatives."""
    n, width = spins.shape
    slope = _product((spins - jnp.tanh(_fields(spins, weights))).T, _inputs(spins)) / n

    def curvature(block: Float[Array, "block M"], weight: Float[Array, " block"]) -> Float[Array, "MF F"]:
        inputs = _inputs(block)
        # 1 - tanh^2 without cancellation: the flat directions of a strong coupling depend on it.
        spread = weight[:, None] / jnp.cosh(jnp.clip(_fields(block, weights), -40, 40)) ** 2
        return _product((spread[:, :, None] * inputs[:, None, :]).reshape(len(block), -1).T, inputs)

    information = sum_over_blocks(curvature, spins).reshape(width, width + 1, width + 1) / n
    information = information * free[:, :, None] * free[:, None, :]
    return free * slope - ridge * weights, information + _diagonal(ridge + (1 - free))


def _squared_influence(
    spins: Float[Array, "n M"], weights: Float[Array, "M F"], inverse: Float[Array, "M F F"], ridge: float | int
) -> Float[Array, "M M"]:
    """Return the sums over samples of the squared influence on the mean of J and its transpose."""
    width = spins.shape[1]

    def squares(block: Float[Array, "block M"], weight: Float[Array, " block"]) -> Float[Array, "M M"]:
        residual = block - jnp.tanh(_fields(block, weights))
        score = residual[:, :, None] * _inputs(block)[:, None, :] - ridge * weights[None]
        influence = jnp.einsum("bif,ifj->bij", score, inverse[:, :, :width], precision=jax.lax.Precision.HIGHEST)
        mean = (influence + jnp.swapaxes(influence, 1, 2)) / 2
        return jnp.sum(weight[:, None, None] * mean**2, axis=0)

    return jnp.where(jnp.eye(width, dtype=bool), 0.0, sum_over_blocks(squares, spins))


def _inputs(spins: Float[Array, "n M"]) -> Float[Array, "n F"]:
    return jnp.concatenate([spins, jnp.ones_like(spins[:, :1])], axis=1)


def _fields(spins: Float[Array, "n M"], weights: Float[Array, "M F"]) -> Float[Array, "n M"]:
    return _product(_inputs(spins), weights.T)


def _solve(matrix: Float[Array, "M F F"], right: Float[Array, "M F k"]) -> Float[Array, "M F k"]:
    return jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(matrix), True), right)


def _diagonal(entries: Float[Array, "M F"]) -> Float[Array, "M F F"]:
    return entries[:, :, None] * jnp.eye(entries.shape[1], dtype=entries.dtype)[None]


def _product(left: Float[Array, "a b"], right: Float[Array, "b c"]) -> Float[Array, "a c"]:
    # Accelerators would round the factors of a product to bfloat16 or tf32.
    return jnp.matmul(left, right, precision=jax.lax.Precision.HIGHEST)
