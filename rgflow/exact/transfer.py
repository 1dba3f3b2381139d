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
from jaxtyping import Float

from rgflow.exact.potential import Potential, check_normalisable, potential_energy, support
from rgflow.exact.ring import Scalar, at_least, finite_coupling


class Operator(NamedTuple):
    r"""A symmetric operator $A(x,y)$ on a grid, largest value 1; a product is the matrix product times ``spacing``."""

    values: Float[np.ndarray, "G G"]
    grid: Float[np.ndarray, " G"]
    spacing: float


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
    exponent = coupling * grid[:, None] * grid[None, :] - energy[:, None] - energy[None, :]
    return Operator(np.exp(exponent - exponent.max()), grid, 2 * width / (points - 1))


def ising_operator(coupling: Scalar) -> Operator:
    r"""Returns $A(s,t) = e^{Kst}$ on the grid $\{-1, 1\}$ of spacing 1, largest value 1.

    Raises ValueError for a coupling that is not finite. Ref: KW1941.
    """
    spins = np.array([-1.0, 1.0])
    exponent = finite_coupling(coupling) * spins[:, None] * spins[None, :]
    return Operator(np.exp(exponent - exponent.max()), spins, 1.0)


def spectrum(operator: Operator) -> Float[np.ndarray, " G"]:
    r"""Returns the eigenvalues $\lambda_n$ of the operator, whose largest value is 1, by decreasing modulus.

    Ref: KW1941.
    """
    values = np.linalg.eigvalsh(operator.values * operator.spacing)
    return values[np.argsort(-np.abs(values), kind="stable")]


def correlation_length(operator: Operator) -> float:
    r"""Returns $\xi = -1/\ln|\lambda_1/\lambda_0|$ in sites, 0 without coupling; decimation halves it.

    >>> round(correlation_length(ising_operator(0.6)) * math.log(math.tanh(0.6)), 10)
    -1.0

    Ref: KW1941.
    """
    largest, second = np.abs(spectrum(operator)[:2])
    ratio = float(second / largest)
    # The second eigenvalue of independent sites is rounding alone.
    return 0.0 if ratio < 1e-14 else math.inf if ratio >= 1 else -1 / math.log(ratio)
