r"""Dependence of features without a model, a copy of the data without any dependence, and summaries of couplings.

Features are float, one sample a row, samples independent; entropies in nats. A unit that is constant or has a
non-finite value has NaN entries and changes no other. Everything runs under jit and vmap, without LAPACK.

Keys: miller1955 = Miller, in Information Theory in Psychology (1955) 95 (bias of entropies of counts); paninski2003 =
Paninski, Neural Computation 15 (2003) 1191 (the same for mutual information).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rgflow.probes.gauges import apply_gauge, column_quantile


class CouplingSummary(NamedTuple):
    """Mean and largest |J| over all pairs, and the coupling of a ring that has the same sum of squares."""

    mean_coupling: Float[Array, ""]
    max_coupling: Float[Array, ""]
    ring_coupling: Float[Array, ""]


def excess_kurtosis(features: Float[Array, "n M"]) -> Float[Array, " M"]:
    r"""Returns $\langle z^4\rangle - 3$ of every standardised feature: 0 for a Gaussian, -2 for two equal peaks.

    Its error is about $\sqrt{24/n}$ for a Gaussian. Shapes: [n, M] -> [M].

    >>> excess_kurtosis(jnp.array([[1.0], [-1.0]])).tolist()
    [-2.0]
    """
    return jnp.mean(apply_gauge(features, "standardised") ** 4, axis=0) - 3


def correlations(features: Float[Array, "n M"]) -> Float[Array, "M M"]:
    r"""Returns Pearson's $\rho_{ij} = \langle z_i z_j\rangle$ of standardised features.

    Shapes: [n, M] -> [M, M].

    >>> correlations(jnp.array([[1.0, 2.0], [-1.0, -2.0], [0.0, 0.0]])).round(5).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    standard = apply_gauge(features, "standardised")
    return jnp.matmul(standard.T, standard, precision=jax.lax.Precision.HIGHEST) / len(standard)


def mutual_information(features: Float[Array, "n M"], bins: int = 4) -> Float[Array, "M M"]:
    r"""Returns $I_{ij} = \sum p_{ab}\ln\frac{p_{ab}}{p_a p_b}$ of binned features, less its bias, in nats.

    Each feature is cut at its own quantiles into ``bins`` bins, of equal counts where there are no ties. Independent
    features would still have $(k_i - 1)(k_j - 1)/2n$, with $k_i$ the number of bins in use; this is subtracted, so that
    their values scatter about 0 on both sides. Binning loses information, so that the result is below the mutual
    information of the features themselves. The diagonal is the entropy of the bins, plus $(k_i - 1)/2n$. NaN also for a
    unit whose values differ and yet fall into one bin. Shapes: [n, M] -> [M, M]. Raises ValueError for fewer than two
    bins.

    >>> sign = jnp.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    >>> mutual_information(jnp.repeat(sign, 1000, axis=0), bins=2).round(3).tolist()
    [[0.693..., -0.0], [-0.0, 0.693...]]

    Ref: miller1955; paninski2003.
    """
    if bins < 2:
        raise ValueError(f"bins = {bins}: must be at least 2")
    standard = apply_gauge(features, "standardised")
    n, width = standard.shape
    inner = jnp.stack([column_quantile(standard, share / bins) for share in range(1, bins)])
    # A strict comparison gives the lowest atom of a rectified feature a bin of its own.
    number = jnp.sum(standard[None] > inner[:, None, :], axis=0)
    member = jax.nn.one_hot(number, bins, dtype=standard.dtype).reshape(n, width * bins)
    # Sums of zeros and ones are exact in any precision of the factors.
    joint = (jnp.matmul(member.T, member) / n).reshape(width, bins, width, bins).transpose(0, 2, 1, 3)
    single = jnp.mean(member, axis=0).reshape(width, bins)
    product = single[:, None, :, None] * single[None, :, None, :]
    ratio = jnp.where(joint > 0, joint / jnp.where(joint > 0, product, 1.0), 1.0)
    used = jnp.sum(single > 0, axis=1) - 1
    excess = jnp.where(jnp.eye(width, dtype=bool), -used[None, :], used[:, None] * used[None, :]) / (2 * n)
    live = jnp.isfinite(standard[0]) & (used > 0)
    return jnp.where(live[:, None] & live[None, :], jnp.sum(joint * jnp.log(ratio), axis=(2, 3)) - excess, jnp.nan)


def independent_copy(features: Float[Array, "n M"]) -> Float[Array, "n M"]:
    r"""Returns features with the same marginals and no dependence, $f_{bi} \to f_{b - i\lfloor n/M\rfloor,\, i}$.

    Every column is rolled by another offset, so that a row holds units of different samples. An estimator applied to
    these surrogate data gives its noise floor at this n. Samples must be independent. Shapes: [n, M] -> [n, M]. Raises
    ValueError for fewer samples than features.

    >>> independent_copy(jnp.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0], [4.0, 4.0]])).T.tolist()
    [[1.0, 2.0, 3.0, 4.0], [3.0, 4.0, 1.0, 2.0]]
    """
    n, width = features.shape
    if n < width:
        raise ValueError(f"samples, features = {n}, {width}: must be at least one sample for every feature")
    source = (jnp.arange(n)[:, None] - (n // width) * jnp.arange(width)[None, :]) % n
    return jnp.take_along_axis(features, source, axis=0)


def coupling_summary(values: Float[Array, "M M"], errors: Float[Array, "M M"]) -> CouplingSummary:
    r"""Returns the mean and the largest $|J_{ij}|$ over pairs, and the coupling $\pm\sqrt{|q|}$ of a ring.

    The sign is that of $q = \frac{1}{2M}\sum_{i \ne j} (J_{ij}^2 - \epsilon_{ij}^2)$. For unbiased J with correct
    errors $\epsilon$ the mean of q is the q of the true couplings. The ring coupling is therefore |K| for a ring of
    couplings $\pm K$ and scatters about 0 without coupling; it does not depend on the order and the signs of the
    features. The mean and the largest size grow with the errors. Pairs without a finite value and error do not count,
    and neither does a unit without a pair: the sum becomes the mean over pairs times M - 1, with M the number of
    remaining units. NaN without any pair. The diagonal is not read.

    >>> ring = 0.5 * (jnp.roll(jnp.eye(6), 1, axis=0) + jnp.roll(jnp.eye(6), -1, axis=0))
    >>> [round(float(number), 6) for number in coupling_summary(ring, jnp.zeros((6, 6)))]
    [0.2, 0.5, 0.5]
    """
    kept = jnp.isfinite(values) & jnp.isfinite(errors) & ~jnp.eye(len(values), dtype=bool)
    size = jnp.where(kept, jnp.abs(values), 0.0)
    pairs, units = jnp.sum(kept), jnp.sum(jnp.any(kept, axis=1))

    def mean(terms: Float[Array, "M M"]) -> Float[Array, ""]:
        return jnp.where(pairs > 0, jnp.sum(terms) / jnp.maximum(pairs, 1), jnp.nan)

    square = (units - 1) / 2 * mean(jnp.where(kept, size**2 - errors**2, 0.0))
    ring = jnp.sign(square) * jnp.sqrt(jnp.abs(square))
    return CouplingSummary(mean(size), jnp.where(pairs > 0, jnp.max(size), jnp.nan), ring)
