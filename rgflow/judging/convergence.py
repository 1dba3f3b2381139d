r"""Convergence of Markov chains, on the host in float64: split R-hat, effective sample size, standard errors.

All functions take ``draws`` of shape [chains, draws]; draws may be means over batches of a chain, which lose nothing
that matters here and are what records hold.

Ref: Vehtari2021 = Vehtari et al., "Rank-normalization, folding, and localization: an improved R-hat", Bayesian
Analysis 16 (2021) 667.
Ref: Geyer1992 = Geyer, "Practical Markov chain Monte Carlo", Stat. Sci. 7 (1992) 473.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Real
from scipy import stats

LEAST_DRAWS = 4
"""Draws of a chain below which its halves have no variance of their own."""


class Estimate(NamedTuple):
    """A mean over chains and draws with its standard error, and what says whether to believe them."""

    mean: float
    error: float
    r_hat: float
    ess: float


def split_chains(draws: Real[np.ndarray, "..."]) -> Float[np.ndarray, "halves half"]:
    """Returns first and second halves as chains of their own (the middle draw of an odd number is left out).

    Raises: ValueError for another shape or fewer than four draws.

    >>> split_chains(np.arange(5.0)[None]).tolist()
    [[0.0, 1.0], [3.0, 4.0]]
    """
    array = np.asarray(draws, np.float64)
    if array.ndim != 2 or array.shape[0] < 1 or array.shape[1] < LEAST_DRAWS:
        raise ValueError(f"draws: shape {array.shape} is not [chains, draws] with at least {LEAST_DRAWS} draws")
    half = array.shape[1] // 2
    return np.concatenate([array[:, :half], array[:, -half:]])


def rank_normalize(draws: Float[np.ndarray, "chains draws"]) -> Float[np.ndarray, "chains draws"]:
    r"""Returns $\Phi^{-1}((r - 3/8)/(S + 1/4))$ of the ranks r among all S draws, ties by their mean rank.

    >>> rank_normalize(np.array([[0.0, 1.0, 100.0]])).round(3).tolist()
    [[-0.869, 0.0, 0.869]]

    Ref: Vehtari2021 eq. (14)
    """
    ranks = stats.rankdata(draws, method="average").reshape(draws.shape)
    return np.asarray(stats.norm.ppf((ranks - 0.375) / (draws.size + 0.25)))


def _r_hat(chains: Float[np.ndarray, "chains draws"]) -> float:
    count = chains.shape[1]
    within = chains.var(axis=1, ddof=1).mean()
    between = chains.mean(axis=1).var(ddof=1)
    if within == 0:
        return 1.0 if between == 0 else np.inf
    return float(np.sqrt((count - 1) / count + between / within))


def split_r_hat(draws: Real[np.ndarray, "..."]) -> float:
    r"""Returns the rank-normalised split R-hat, the larger one of the draws and of their distances from the median.

    $\hat R = \sqrt{(n-1)/n + B/W}$ of the normalised ranks of half-chains, B the variance of their means, W the mean of
    their variances

    1 for chains that agree in location and in spread; NaN where a draw is not finite.
    Shapes: [chains, draws] -> float. Raises: ValueError as :func:`split_chains`.

    Ref: Vehtari2021 eq. (4), section 4.1
    """
    chains = split_chains(draws)
    if not np.isfinite(chains).all():
        return float("nan")
    folded = np.abs(chains - np.median(chains))
    return max(_r_hat(rank_normalize(chains)), _r_hat(rank_normalize(folded)))


def autocovariance(chains: Float[np.ndarray, "chains draws"]) -> Float[np.ndarray, "chains draws"]:
    r"""Returns $\frac1n \sum_i (x_i - \bar x)(x_{i+t} - \bar x)$ of every chain for each lag t.

    >>> autocovariance(np.array([[1.0, -1.0, 1.0, -1.0]])).round(6).tolist()
    [[1.0, -0.75, 0.5, -0.25]]
    """
    count = chains.shape[1]
    centred = chains - chains.mean(axis=1, keepdims=True)
    spectrum = np.abs(np.fft.rfft(centred, 2 * count)) ** 2
    return np.fft.irfft(spectrum, 2 * count)[:, :count] / count


def effective_sample_size(draws: Real[np.ndarray, "..."]) -> float:
    r"""Returns $S / (1 + 2 \sum_t \rho_t)$ of half-chains, the sum cut by Geyer's initial monotone sequence.

    $\rho_t = 1 - (W - \frac1m \sum_j \gamma_{jt})/\hat V$, $\hat V = \frac{n-1}{n} W + B$: disagreement between chains
    counts as correlation that does not decay. At most $S \log_{10} S$; S for constant draws; NaN where one is not
    finite.
    Shapes: [chains, draws] -> float. Raises: ValueError as :func:`split_chains`.

    Ref: Vehtari2021 eq. (10)-(13); Geyer1992
    """
    chains = split_chains(draws)
    if not np.isfinite(chains).all():
        return float("nan")
    count, total = chains.shape[1], chains.size
    covariance = autocovariance(chains)
    within = covariance[:, 0].mean() * count / (count - 1)
    variance = within * (count - 1) / count + (chains.mean(axis=1).var(ddof=1) if len(chains) > 1 else 0.0)
    if variance == 0:
        return float(total)
    correlation = 1 - (within - covariance.mean(axis=0)) / variance
    correlation[0] = 1.0
    pairs = correlation[: count // 2 * 2].reshape(-1, 2).sum(axis=1)
    negative = np.flatnonzero(pairs < 0)
    kept = np.minimum.accumulate(pairs[: negative[0]] if negative.size else pairs)
    time = max(2 * kept.sum() - 1, 1 / np.log10(max(total, 10)))
    return float(total / time)


def estimate(draws: Real[np.ndarray, "..."]) -> Estimate:
    r"""Returns the mean of all draws, its standard error $\mathrm{sd}/\sqrt{\mathrm{ESS}}$, split R-hat and ESS.

    The standard deviation is that over all draws, so that chains that disagree widen the error twice. Chains with a
    draw that is not finite are left out; NaN where none is left.
    Shapes: [chains, draws] -> Estimate. Raises: ValueError as :func:`split_chains`.

    >>> estimate(np.tile([1.0, 3.0], (2, 8))).mean
    2.0

    Ref: Vehtari2021
    """
    array = np.asarray(draws, np.float64)
    live = array[np.isfinite(array).all(axis=1)] if array.ndim == 2 else array
    if live.ndim == 2 and not len(live):
        return Estimate(np.nan, np.nan, np.nan, 0.0)
    size = effective_sample_size(live)
    return Estimate(float(live.mean()), float(live.std(ddof=1) / np.sqrt(size)), split_r_hat(live), size)
