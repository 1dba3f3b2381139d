r"""What the exact renormalization of the data says, in the terms in which features are measured.

A ring of M blocks is described by its exact moments; its characteristic parameters are the population fit of
$\ln p = -\sum_i (\theta_2 x_i^2 + \theta_4 x_i^4 + \theta_6 x_i^6) + \sum_{i<j} J_{ij} x_i x_j$ by score matching,
after every variable has been divided by its standard deviation. For a chain of that family this is the chain itself;
what a step generates beyond it the fit takes into its own terms, as it does for features. For spins, which have no
score, the coupling is that of the decimated ring.
"""

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp

from rgflow.exact.block_moments import Block, coarse_grain, cumulants, ring_moments, site_block
from rgflow.exact.potential import Potential, potential_energy
from rgflow.exact.ring import decimate_1d, ring_log_partition
from rgflow.exact.transfer import Operator
from rgflow.probes.pair_moments import POWERS, PairMoments
from rgflow.probes.score_matching import fit_moments

FIELD_POINTS = 128
"""Points of the grid of a field chain; moments do not change in ten digits beyond 64."""


def flow(operator: Operator, scheme: str, levels: int) -> list[Block]:
    """Returns the block of one site and of 2, 4, ... sites, ``levels`` + 1 in all."""
    blocks = [site_block(operator)]
    for _ in range(levels):
        blocks.append(coarse_grain(blocks[-1], scheme))
    return blocks


def pair_moments(block: Block, num_blocks: int) -> PairMoments:
    r"""Returns $\langle s_i^a s_j\rangle$, a = 1, 3, 5, and $\langle s^{2k}\rangle$, k = 1..5, of a ring of blocks.

    Shapes [3, M, M] and [5, M].
    """
    apart = np.abs(np.subtract.outer(np.arange(num_blocks), np.arange(num_blocks)))
    cross = np.stack([ring_moments(block, num_blocks, power, 1)[apart] for power in (1, 3, 5)])
    even = [ring_moments(block, num_blocks, power, 0)[0] for power in (2, 4, 6, 8, 10)]
    return PairMoments(cross, np.repeat(np.array(even)[:, None], num_blocks, axis=1))


def standardised(moments: PairMoments) -> PairMoments:
    """Returns the moments of variables divided by their standard deviations, which are equal around a ring."""
    deviation = np.sqrt(moments.even[0, 0])
    scales = deviation ** np.array([2.0, 4.0, 6.0])
    return PairMoments(moments.cross / scales[:, None, None], moments.even / deviation ** np.arange(2, 11, 2)[:, None])


def ring_coupling(couplings: Float[np.ndarray, "M M"]) -> float:
    r"""Returns $\sqrt{\frac1{2M} \sum_{i \ne j} J_{ij}^2}$, which for a ring of coupling K is K.

    >>> ring_coupling(0.3 * (np.roll(np.eye(8), 1, 0) + np.roll(np.eye(8), -1, 0)))
    0.3
    """
    off_diagonal = couplings - np.diag(np.diag(couplings))
    return float(round(np.sqrt(np.sum(off_diagonal**2) / (2 * len(couplings))), 15))


def population_coupling(block: Block, num_blocks: int) -> float:
    """Returns the ring coupling of the population fit to standardised blocks."""
    return ring_coupling(np.asarray(fit_moments(standardised(pair_moments(block, num_blocks)), POWERS).couplings))


def kurtosis(block: Block, num_blocks: int) -> float:
    r"""Returns the excess kurtosis $\kappa_4 / \kappa_2^2$ of one block of a ring."""
    even = np.array([ring_moments(block, num_blocks, power, 0)[0] for power in (2, 4)])
    second, fourth = cumulants(even)
    return float(fourth / second**2)


def spin_coupling(coupling: float, scheme: str, level: int) -> float:
    """Returns the coupling of a decimated Ising ring; NaN for block sums, whose law has no pair coupling alone."""
    if scheme != "decimation":
        return float("nan")
    for _ in range(level):
        coupling = decimate_1d(coupling)
    return coupling


def independent_parameters(block: Block, num_blocks: int) -> Float[np.ndarray, " powers"]:
    """Returns the fitted parameters on site of independent standardised variables with the law of one block."""
    moments = standardised(pair_moments(block, num_blocks))
    lonely = moments.cross * np.eye(num_blocks)[None]
    return np.asarray(fit_moments(PairMoments(lonely, moments.even), POWERS).onsite)[:, 0]


def field_log_partition(coupling: float, potential: Potential, num_sites: int, width: float) -> float:
    r"""Returns $\ln Z = \ln \mathrm{Tr}\,(A\,dx)^N$ of a ring of fields, on a grid within ± ``width``."""
    # The difference of two neighbours would have lost the digits of ``width``.
    grid, spacing = np.linspace(-width, width, FIELD_POINTS, retstep=True)
    energy = potential_energy(potential, grid) / 2
    exponent = coupling * grid[:, None] * grid[None, :] - energy[:, None] - energy[None, :]
    highest = exponent.max()
    values = np.linalg.eigvalsh(np.exp(exponent - highest)) * spacing
    total = logsumexp(num_sites * np.log(np.abs(values)), b=np.sign(values) ** num_sites)
    return float(num_sites * highest + total)


def log_partition(coupling: float, potential: Potential | None, num_sites: int, width: float) -> float:
    """Returns ln Z of a ring of spins (no potential) or of fields."""
    if potential is None:
        return ring_log_partition(coupling, num_sites)
    return field_log_partition(coupling, potential, num_sites, width)
