r"""Parameters of translation-invariant chains by score matching, with derivatives by automatic differentiation.

The family is $p(x) \propto e^{\sum_k \eta_k T_k(x)}$ on a ring of N sites, with statistics T that are sums over the
sites. As in :mod:`rgflow.probes.score_matching`, $\eta = -A^{-1} b$ with
$A_{kl} = \langle\nabla T_k\cdot\nabla T_l\rangle$ and $b_k = \langle\Delta T_k\rangle$; here one parameter is shared by
all sites, and no derivative is taken by hand. Everything runs under jit and vmap.

Keys: hyvarinen2005 = Hyvarinen, J. Mach. Learn. Res. 6 (2005) 695 (score matching), 8 (2007) 2499 for this family;
godambe1960 = Godambe, Ann. Math. Stat. 31 (1960) 1208 (variance of an estimating equation).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rgflow.probes.inflation import INFLATION, inflations
from rgflow.probes.pseudo_likelihood import sum_over_blocks

HIGHEST = jax.lax.Precision.HIGHEST
"""Accelerators would round the factors of a product to bfloat16 or tf32."""

BLOCK = 256
"""Samples whose derivatives are in memory at once."""

STATISTICS: dict[str, Callable[[Float[Array, " N"]], Float[Array, ""]]] = {
    "square": lambda x: jnp.sum(x**2),
    "quartic": lambda x: jnp.sum(x**4),
    "sextic": lambda x: jnp.sum(x**6),
    "neighbour": lambda x: jnp.sum(x * jnp.roll(x, -1)),
    "neighbour_squares": lambda x: jnp.sum((x * jnp.roll(x, -1)) ** 2),
    "neighbour_cubic": lambda x: jnp.sum(x**3 * (jnp.roll(x, -1) + jnp.roll(x, 1))),
}
r"""$\sum x_i^2$, $\sum x_i^4$, $\sum x_i^6$, $\sum x_i x_{i+1}$, $\sum x_i^2 x_{i+1}^2$ and
$\sum (x_i^3 x_{i+1} + x_i x_{i+1}^3)$."""


class ChainFit(NamedTuple):
    r"""The parameters $\eta$ of the statistics in $\ln p$, in the order asked for, and their standard errors."""

    values: Float[Array, " k"]
    errors: Float[Array, " k"]


def chain_score_matching(
    samples: Float[Array, "n N"], statistics: tuple[str, ...] = ("square", "quartic", "neighbour")
) -> ChainFit:
    r"""Return $\eta = -A^{-1} b$ of a ring and its errors, $\sqrt{\mathrm{diag}(A^{-1}\Sigma A^{-1})/n}$.

    The signs are those of $\ln p$: a chain with U = $\frac r2 x^2 + u x^4 + v x^6$ and coupling K has -r/2, -u, -v and
    K for ``square``, ``quartic``, ``sextic`` and ``neighbour``. $\Sigma$ is the second moment of the estimating
    function of a sample; samples are independent, sites are not. All NaN where statistics have linearly dependent
    gradients in the samples, found as by :func:`rgflow.probes.score_matching.score_matching`. Shapes: [n, N] -> [k]
    each. Raises ValueError for no statistic, one that is unknown, and fewer than 3 sites.

    >>> normal = jax.random.normal(jax.random.key(0), (2000, 4))
    >>> fit = jax.jit(chain_score_matching, static_argnums=1)(normal, ("square", "neighbour"))
    >>> bool(jnp.all(abs(fit.values - jnp.array([-0.5, 0.0])) < 4 * fit.errors))
    True

    Ref: hyvarinen2005; godambe1960.
    """
    unknown = [name for name in statistics if name not in STATISTICS]
    if unknown or not statistics:
        raise ValueError(f"statistics = {statistics}: must be some of {', '.join(STATISTICS)}")
    if samples.shape[1] < 3:
        raise ValueError(f"sites = {samples.shape[1]}: must be at least 3, for two neighbours of each")

    def values(sample: Float[Array, " N"]) -> Float[Array, " k"]:
        return jnp.stack([STATISTICS[name](sample) for name in statistics])

    matrices, laplacians = jax.lax.map(lambda sample: _derivatives(values, sample), samples, batch_size=BLOCK)
    matrix, vector = jnp.mean(matrices, axis=0), jnp.mean(laplacians, axis=0)

    def turned(turn: Float[Array, "k k"]) -> Float[Array, "k k"]:
        def products(block: Float[Array, "block N"], weight: Float[Array, " block"]) -> Float[Array, "k k"]:
            slopes = jnp.einsum("kl,bli->kbi", turn, jax.vmap(jax.jacrev(values))(block), precision=HIGHEST)
            slopes = (slopes * weight[None, :, None]).reshape(len(turn), -1)
            return jnp.matmul(slopes, slopes.T, precision=HIGHEST)

        return sum_over_blocks(products, samples, BLOCK) / len(samples)

    limit = INFLATION / float(jnp.finfo(samples.dtype).eps)
    known = jnp.all((jnp.diagonal(matrix) > 0) & (inflations(matrix, turned) < limit))
    root = jnp.sqrt(jnp.diagonal(matrix))
    factor = jnp.linalg.cholesky(matrix / (root[:, None] * root[None, :]))
    factor = jnp.where(known, factor, jnp.nan)
    inverse = jax.scipy.linalg.cho_solve((factor, True), jnp.diag(1 / root)) / root[:, None]
    parameters = -jnp.sum(inverse * vector[None, :], axis=1)
    terms = jnp.sum(matrices * parameters[None, None, :], axis=2) + laplacians
    influence = jnp.matmul(terms, inverse, precision=HIGHEST)
    return ChainFit(parameters, jnp.sqrt(jnp.sum(influence**2, axis=0)) / len(samples))


def _derivatives(
    values: Callable[[Float[Array, " N"]], Float[Array, " k"]], sample: Float[Array, " N"]
) -> tuple[Float[Array, "k k"], Float[Array, " k"]]:
    """Return $\\nabla T_k\\cdot\\nabla T_l$ and $\\Delta T_k$ at a sample."""
    gradient = jax.jacrev(values)

    def second(direction: Float[Array, " N"]) -> Float[Array, " k"]:
        slope = jax.jvp(gradient, (sample,), (direction,))[1]
        return jnp.sum(slope * direction[None, :], axis=1)

    slopes = gradient(sample)
    laplacian = jnp.sum(jax.vmap(second)(jnp.eye(len(sample), dtype=sample.dtype)), axis=0)
    return jnp.matmul(slopes, slopes.T, precision=HIGHEST), laplacian
