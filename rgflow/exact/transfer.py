r"""Transfer operators of field chains and their exact decimation, float64 on the host.

$p(x) \propto \exp(-\sum_i U(x_i) + K \sum_i x_i x_{i+1})$ on a ring, $U(x) = \frac r2 x^2 + u x^4 + v x^6$, has the
symmetric operator $A(x,y) = e^{Kxy - U(x)/2 - U(y)/2}$ and $Z_N = \mathrm{Tr} A^N$. Summing out every second site is
$A \to A A$, so that eigenvalues are squared and the correlation length $\xi = -1/\ln|\lambda_1/\lambda_0|$ (in sites)
is halved. Repeated decimation ends at $\psi_0(x)\psi_0(y)$: no coupling, and an on-site potential $-2\ln\psi_0$ that
depends on the data. Integrals are trapezoid sums, which converge exponentially for functions that have vanished at the
ends (a phi^4 chain needs 48 points for 13 digits). The Ising chain is the same on the grid $\{-1, 1\}$.

Couplings and potentials are in nats, the temperature absorbed. Key: KW1941 = Kramers and Wannier, Phys. Rev. 60 (1941)
252 (transfer matrix).
"""

import math
from typing import NamedTuple

import numpy as np
import scipy.linalg
from jaxtyping import Float

from rgflow.exact.potential import Potential, check_normalisable, potential_energy, support
from rgflow.exact.ring import Scalar, at_least, finite_coupling

WELL_APART = 0.5
"""Below this ratio of the two leading eigenvalues its logarithm has all the digits of the eigenvalues."""

REFINEMENTS = 30
"""Products with the operator that give every component of its leading vectors its own relative precision."""


Values = Float[np.ndarray, " G"]


class Operator(NamedTuple):
    r"""A symmetric operator $A(x,y) = A(-x,-y)$ on a symmetric grid; a product is the matrix product times ``spacing``.

    ``odd`` is $[A(x,y) - A(x,-y)]/2$, which at weak coupling could not be taken from the values.
    """

    values: Float[np.ndarray, "G G"]
    grid: Float[np.ndarray, " G"]
    spacing: float
    odd: Float[np.ndarray, "G G"]


def transfer_operator(
    coupling: Scalar, potential: Potential, points: int = 401, half_width: Scalar | None = None
) -> Operator:
    r"""Returns $A(x,y) = e^{Kxy - U(x)/2 - U(y)/2}$ on ``points`` equidistant values within $\pm$ ``half_width``.

    The default half width is :func:`support`. Shapes: values [points, points], grid [points]. Raises ValueError where
    the density cannot be normalised, for fewer than 16 points and for a half width that is not positive.

    >>> round(correlation_length(transfer_operator(0.8, Potential(0.2, 0.25))), 6)
    1.617753

    Ref: KW1941.
    """
    check_normalisable(coupling, potential)
    at_least("points", points, 16)
    width = support(coupling, potential) if half_width is None else float(half_width)
    if not 0 < width < math.inf:
        raise ValueError(f"half_width = {half_width}: must be a positive number")
    grid = np.linspace(-width, width, points)
    energy = potential_energy(potential, grid) / 2
    return _operator(float(coupling), grid, energy, 2 * width / (points - 1))


def ising_operator(coupling: Scalar) -> Operator:
    r"""Returns $A(s,t) = e^{Kst}$ on the grid $\{-1, 1\}$ of spacing 1, largest value 1.

    Raises ValueError for a coupling that is not finite. Ref: KW1941.
    """
    spins = np.array([-1.0, 1.0])
    return _operator(finite_coupling(coupling), spins, np.zeros(2), 1.0)


def _operator(coupling: float, grid: Values, energy: Values, spacing: float) -> Operator:
    """Returns $e^{Kxy - E(x) - E(y)}$ with its largest value scaled to 1."""
    bond = coupling * grid[:, None] * grid[None, :]
    exponent = bond - energy[:, None] - energy[None, :]
    highest = exponent.max()
    # A sinh of the bond times the rest of the weight, from the larger of its two terms.
    larger = np.exp(np.abs(bond) - energy[:, None] - energy[None, :] - highest)
    odd = np.sign(bond) * larger * -np.expm1(-2 * np.abs(bond)) / 2
    return Operator(np.exp(exponent - highest), grid, spacing, odd)


def spectrum(operator: Operator) -> Float[np.ndarray, " G"]:
    r"""Returns the eigenvalues $\lambda_n$ of the operator, whose largest value is 1, by decreasing modulus.

    Ref: KW1941.
    """
    values = np.linalg.eigvalsh(operator.values * operator.spacing)
    return values[np.argsort(-np.abs(values), kind="stable")]


def correlation_length(operator: Operator) -> float:
    r"""Returns $\xi = -1/\ln|\lambda_1/\lambda_0|$ in sites, 0 without coupling; decimation halves it.

    Full relative precision at any coupling: $\lambda_0$ belongs to an even function u, $\lambda_1$ to an odd one v, and
    $(\lambda_0 - \lambda_1) \sum_{x>0} uv = \sum_{x,y>0} 2 v(x) A(x,-y) u(y) + \sum_{x>0} v(x) A(x,0) u(0)$ has
    positive terms only. It is inf where the gap is below the smallest float.

    >>> round(correlation_length(ising_operator(0.6)) * math.log(math.tanh(0.6)), 10)
    -1.0

    Ref: KW1941.
    """
    half = len(operator.values) // 2
    positive, middle = slice(len(operator.values) - half, None), slice(half, len(operator.values) - half)
    # An antiferromagnet is a ferromagnet between a field and a mirrored one.
    forward = np.trace(operator.odd[positive, positive]) >= 0
    values = operator.values if forward else operator.values[:, ::-1]
    crossing = values[:, ::-1][positive, positive]
    even, odd = values[positive, positive] + crossing, 2 * np.abs(operator.odd[positive, positive])
    # Where the grid has a middle, an even function has it once and every other point twice.
    centre = math.sqrt(2) * values[middle, positive]
    even = np.block([[values[middle, middle], centre], [centre.T, even]])
    (largest, u), (second, v) = _leading(even), _leading(odd)
    if second < WELL_APART * largest:
        return 0.0 if second / largest == 0 else -1 / math.log(second / largest)
    u, v = _refined(even, u), _refined(odd, v)
    gap = v @ (2 * crossing @ u[-half:] + centre.T @ u[:-half])
    ratio = gap / (v @ u[-half:]) / largest
    return math.inf if ratio == 0 else -1 / math.log1p(-ratio)


def _leading(matrix: Float[np.ndarray, "m m"]) -> tuple[float, Float[np.ndarray, " m"]]:
    """Returns the largest eigenvalue of a symmetric matrix and the moduli of its eigenvector."""
    values, vectors = scipy.linalg.eigh(matrix, subset_by_index=[len(matrix) - 1] * 2)
    return float(values[0]), np.abs(vectors[:, 0])


def _refined(matrix: Float[np.ndarray, "m m"], vector: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    """Returns the leading vector of a positive matrix with the smallest components as precise as the largest."""
    for _ in range(REFINEMENTS):
        vector = matrix @ vector
        vector = vector / vector.max()
    return vector
