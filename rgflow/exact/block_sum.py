r"""Block-sum renormalization of independent components, $x' = (x_a + x_b)/\sqrt2$, float64 on the host.

On characteristic functions $\varphi'(t) = \varphi(t/\sqrt2)^2$, on cumulants $\kappa'_{2k} = 2^{1-k}\kappa_{2k}$: the
variance stays, everything else dies, and all centred Gaussians are fixed points (the central limit theorem). Around one
the perturbations $g(x)\,\mathrm{He}_{2k}(x/\sigma)$ shrink by $2^{1-k}$: marginal for k = 1, along the line of fixed
points, then 1/2 and 1/4. Densities are $p(x) = e^{-U(x)}/Z$ with an even polynomial U, in nats; they live on
equidistant grids, where trapezoid sums of smooth functions that vanish at the ends are exact to rounding.

Keys: Jona1975 = Jona-Lasinio, Il Nuovo Cimento B 26 (1975) 99 (the limit theorem as a renormalization group);
hyvarinen2005 = Hyvarinen, J. Mach. Learn. Res. 6 (2005) 695 (score matching).
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.polynomial.hermite_e import hermeval
from scipy.special import logsumexp

from rgflow.exact.block_moments import coarse_grain, cumulants, ring_moments, site_block
from rgflow.exact.potential import Potential, check_normalisable, potential_energy, support
from rgflow.exact.ring import Scalar, at_least
from rgflow.exact.transfer import transfer_operator

VANISHED = 1e-12
"""A density and its characteristic function must have fallen to this part of their largest value at the ends."""

HIGHEST_ORDER = 8
"""Hermite perturbations up to this order are resolved on a grid of ten standard deviations to 1e-9."""


class Density(NamedTuple):
    """An even density on an equidistant grid that is symmetric about 0."""

    values: Float[np.ndarray, " G"]
    grid: Float[np.ndarray, " G"]
    spacing: float


class BlockSumFlow(NamedTuple):
    r"""Per level from 0 on: $\kappa_2, \kappa_4, \kappa_6$ of the block sum, and its standardised parameters.

    ``parameters`` are $\theta_2, \theta_4, \theta_6$ of $p \propto e^{-\sum_k \theta_{2k} z^{2k}}$ for
    $z = x/\sqrt{\kappa_2}$; a Gaussian has 1/2, 0, 0.
    """

    cumulants: Float[np.ndarray, "levels 3"]
    parameters: Float[np.ndarray, "levels 3"]


def density_grid(potential: Potential, points: int = 801) -> Float[np.ndarray, " G"]:
    r"""Return an equidistant grid on which the density and all its block sums vanish at the ends.

    It ends at nine times $s$, $s^2 = \sup_t 2\ln\langle e^{tx}\rangle/t^2$: block sums have the bound
    $e^{-x^2/2s^2}$ of Chernoff at every level. Raises ValueError where the density cannot be normalised and for
    fewer than 16 points. Ref: standard.
    """
    width = support(0.0, potential)
    x = np.linspace(-width, width, 401)
    log_density = -potential_energy(potential, x)
    log_density = log_density - logsumexp(log_density)
    deviation = math.sqrt(np.sum(np.exp(log_density) * x**2))
    slopes = np.geomspace(0.01, 80.0, 200) / deviation
    growth = logsumexp(log_density[None, :] + slopes[:, None] * x[None, :], axis=1)
    spread = math.sqrt(np.max(2 * growth / slopes**2))
    half_width = max(width, 9 * spread)
    return np.linspace(-half_width, half_width, at_least("points", points, 16))


def even_density(potential: Potential, grid: Float[np.ndarray, " G"]) -> Density:
    r"""Return $p(x) = e^{-U(x)}/Z$ on an equidistant, symmetric ``grid``.

    Shape [G]. Raises ValueError where it cannot be normalised.

    >>> density = even_density(Potential(1.0), np.linspace(-9, 9, 181))
    >>> round(float(density.values[90] * math.sqrt(2 * math.pi)), 12)
    1.0

    Ref: standard.
    """
    check_normalisable(0.0, potential)
    energy = potential_energy(potential, grid)
    weight = np.exp(energy.min() - energy)
    spacing = float(grid[1] - grid[0])
    return Density(weight / (weight.sum() * spacing), grid, spacing)


def gaussian_density(variance: Scalar, grid: Float[np.ndarray, " G"]) -> Density:
    r"""Return the fixed point $g(x) = e^{-x^2/2\sigma^2}/\sqrt{2\pi\sigma^2}$, any $\sigma^2 > 0$, on a ``grid``.

    Shape [G]. Raises ValueError for a variance that is not positive. Ref: Jona1975.
    """
    if not 0 < variance < math.inf:
        raise ValueError(f"variance = {variance}: must be a positive number")
    return even_density(Potential(1 / variance), grid)


def block_sum(density: Density) -> Density:
    r"""Return the density of $(x_a + x_b)/\sqrt2$, by its characteristic function $\varphi(t/\sqrt2)^2$.

    Exact to rounding, about 1e-15 of the largest value. Shapes: [G] -> [G], same grid. Raises ValueError where the
    density has not vanished at the ends of the grid, or its characteristic function at its highest frequency.

    >>> twice = block_sum(even_density(Potential(1.0), np.linspace(-9, 9, 181)))
    >>> round(float(twice.values[90] * math.sqrt(2 * math.pi)), 12)  # a fixed point
    1.0

    Ref: Jona1975.
    """
    values = density.values
    if max(abs(values[0]), abs(values[-1])) > VANISHED * values.max():
        raise ValueError(f"half width = {density.grid[-1]}: must be so large that the density has vanished there")
    if abs(_characteristic(density, np.array([math.pi / density.spacing / math.sqrt(2)]))[0]) ** 2 > VANISHED:
        raise ValueError(f"spacing = {density.spacing}: must be finer for a density this narrow")
    return density._replace(values=_sum_values(density))


def linearised_block_sum(density: Density, perturbation: Float[np.ndarray, " G"]) -> Float[np.ndarray, " G"]:
    r"""Return $DT[p]\,\delta = 2\sqrt2\int p(\sqrt2 z - x)\,\delta(x)\,dx$ of the map T, for even $\delta$.

    From the map itself: T is quadratic, so that $DT[p]\,\delta = (T[p + \delta] - T[p - \delta])/2$ for a perturbation
    of any size. Shapes: [G] -> [G]. Raises nothing. Ref: Jona1975.
    """
    above, below = (density._replace(values=density.values + sign * perturbation) for sign in (1, -1))
    return (_sum_values(above) - _sum_values(below)) / 2


def block_sum_eigenvalue(order: int, variance: Scalar = 1.0) -> float:
    r"""Return the eigenvalue of the linearised map at the Gaussian for the perturbation $g\,\mathrm{He}_n(x/\sigma)$.

    Measured on the map, as $\int \mathrm{He}_n\,DT[g](g\,\mathrm{He}_n)\,dx / n!$ in units of $\sigma$; theory says
    $2^{1-n/2}$. Raises ValueError for an odd order, one outside 0..8, and a variance that is not positive.

    >>> [round(block_sum_eigenvalue(order), 9) for order in (2, 4, 6)]
    [1.0, 0.5, 0.25]

    Ref: Jona1975.
    """
    if at_least("order", order, 0) % 2 or order > HIGHEST_ORDER:
        raise ValueError(f"order = {order}: must be even and at most {HIGHEST_ORDER}")
    standard = np.linspace(-10, 10, 401)
    gaussian = gaussian_density(variance, standard * math.sqrt(variance))
    hermite = hermeval(standard, np.eye(order + 1)[order])
    image = linearised_block_sum(gaussian, gaussian.values * hermite)
    return float(np.sum(image * hermite) * gaussian.spacing / math.factorial(order))


def score_matched_parameters(moments: Float[np.ndarray, " 5"]) -> Float[np.ndarray, " 3"]:
    r"""Return $\theta_2, \theta_4, \theta_6$ of $p \propto e^{-\sum_k\theta_{2k}x^{2k}}$ from $m_2, \dots, m_{10}$.

    Population score matching: $\theta = A^{-1}b$, $A_{kl} = 4kl\,m_{2k+2l-2}$, $b_k = 2k(2k-1)\,m_{2k-2}$. The
    parameters themselves for moments of such a density, for others the nearest by the Fisher divergence. Shapes: [5] ->
    [3]. Raises LinAlgError for moments of fewer than three points.

    >>> np.abs(score_matched_parameters(np.array([1.0, 3.0, 15.0, 105.0, 945.0]))).round(9).tolist()
    [0.5, 0.0, 0.0]

    Ref: hyvarinen2005.
    """
    k = np.arange(1, 4)
    even = np.concatenate([[1.0], moments])
    gram = 4 * k[:, None] * k[None, :] * even[k[:, None] + k[None, :] - 1]
    return np.linalg.solve(gram, 2 * k * (2 * k - 1) * even[k - 1])


def block_sum_flow(potential: Potential, levels: int) -> BlockSumFlow:
    r"""Return cumulants and standardised parameters of the block sum of $2^l$ components, l = 0..``levels``.

    From exact moments (:func:`rgflow.exact.block_moments.coarse_grain` without coupling), the parameters by population
    score matching. Unlike the cumulants the parameters need not shrink monotonically: the first sum has lost nearly all
    of a pure $\theta_4$, the second has some again. Shapes [levels + 1, 3]. Raises ValueError where the density cannot
    be normalised and for a negative number of levels.

    >>> block_sum_flow(Potential(0.0, 0.25), 2).cumulants[:, 1].round(5).tolist()
    [-0.37084, -0.18542, -0.09271]

    Ref: Jona1975; hyvarinen2005.
    """
    block = site_block(transfer_operator(0.0, potential))
    rows = []
    for level in range(at_least("levels", levels, 0) + 1):
        block = coarse_grain(block, "block_sum") if level else block
        moments = np.array([ring_moments(block, 1, half, half)[0] for half in range(1, 6)])
        standardised = moments / moments[0] ** np.arange(1, 6)
        rows.append((cumulants(moments[:3]), score_matched_parameters(standardised)))
    return BlockSumFlow(*(np.stack(column) for column in zip(*rows, strict=True)))


def _characteristic(density: Density, frequencies: Float[np.ndarray, " F"]) -> Float[np.ndarray, " F"]:
    """Return the sum of p(x) cos(tx) dx, the characteristic function of an even density."""
    return np.cos(frequencies[:, None] * density.grid[None, :]) @ density.values * density.spacing


def _sum_values(density: Density) -> Float[np.ndarray, " G"]:
    # Frequencies up to that of the grid; their spacing repeats the sum every 4 half widths, beyond where it vanishes.
    frequencies = np.linspace(0, math.pi / density.spacing, len(density.grid))
    weight = np.full(len(frequencies), frequencies[1] / math.pi)
    weight[0] /= 2
    transform = _characteristic(density, frequencies / math.sqrt(2)) ** 2
    return np.cos(density.grid[:, None] * frequencies[None, :]) @ (weight * transform)
