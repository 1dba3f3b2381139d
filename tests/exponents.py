r"""Exponents by the Monte Carlo renormalization group from operators of samples: an independent check of recorded ones.

$T = \langle S' S'^T\rangle_c^{-1} \langle S' S^T\rangle_c$, S before and S' after a step; an eigenvalue $b^y$ gives y.
"""

import numpy as np


def exponents_of_step(fine, coarse, walkers=None, resamples=200):
    """The exponents by the first 1, 2, ... n operators, [n], and their bootstrap errors.

    Row b of ``fine`` and of ``coarse`` is of sample b before and after a step by a factor 2. It comes from walker b mod
    ``walkers`` (by default its own); whole walkers are resampled, so that samples of one need not be independent.
    """
    samples, count = fine.shape
    groups = walkers or samples
    # Connected correlations do not depend on the mean; subtracting it first keeps the digits of the fluctuations.
    fine, coarse = (np.asarray(part, np.float64) - part.mean(axis=0) for part in (fine, coarse))
    products = [np.einsum("sa,sb->sab", coarse, other).reshape(samples, -1) for other in (coarse, fine)]
    moments = np.concatenate([fine, coarse, *products], axis=1)
    moments = moments.reshape(samples // groups, groups, -1).mean(axis=0)
    weights = np.random.default_rng(0).multinomial(groups, np.full(groups, 1 / groups), resamples) / groups
    return exponents(moments.mean(axis=0), count), exponents(weights @ moments, count).std(axis=0, ddof=1)


def exponents(moments, count):
    """The exponents [..., n] from averages of S, S', S' S'^T and S' S^T in one row."""
    fine, coarse = moments[..., :count], moments[..., count : 2 * count]
    products = moments[..., 2 * count :].reshape(*moments.shape[:-1], 2, count, count)
    within = products[..., 0, :, :] - coarse[..., :, None] * coarse[..., None, :]
    between = products[..., 1, :, :] - coarse[..., :, None] * fine[..., None, :]
    flows = [np.linalg.solve(within[..., :k, :k], between[..., :k, :k]) for k in range(1, count + 1)]
    return np.log2(np.stack([np.abs(np.linalg.eigvals(flow)).max(axis=-1) for flow in flows], axis=-1))
