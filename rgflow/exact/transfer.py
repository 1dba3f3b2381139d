r"""Transfer operators of field chains and their exact decimation, float64 on the host.

$p(x) \propto \exp(-\sum_i U(x_i) + K \sum_i x_i x_{i+1})$ on a ring, $U(x) = \frac r2 x^2 + u x^4 + v x^6$, has the
symmetric operator $A(x,y) = e^{Kxy - U(x)/2 - U(y)/2}$ and $Z_N = \mathrm{Tr} A^N$. Summing out every second site is
$A \to A A$, so that eigenvalues are squared and the correlation length $\xi = -1/\ln|\lambda_1/\lambda_0|$ (in sites)
is halved. Repeated decimation ends at $\psi_0(x)\psi_0(y)$: no coupling, and an on-site potential $-2\ln\psi_0$ that
depends on the data. Integrals are trapezoid sums, which converge exponentially for functions that have vanished at the
ends (a phi^4 chain needs 48 points for 13 digits). The Ising chain is the same on the grid $\{-1, 1\}$.

Couplings and potentials are in nats, the temperature absorbed. Keys: Kadanoff1966 = Physics 2 (1966) 263; KW1941 =
Kramers and Wannier, Phys. Rev. 60 (1941) 252 (transfer matrix).
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


class Parameters(NamedTuple):
    r"""Characteristic parameters of an operator: coefficients of $-\ln A(x,y)$.

    ``quadratic``, ``quartic``, ``sextic`` multiply $(x^{2k} + y^{2k})/2$, k = 1..3. They are the coefficients of $x^2$,
    $x^4$, $x^6$ in the potential, so that ``quadratic`` is r/2. ``coupling`` multiplies $-xy$, ``cubic_coupling``
    $-(x^3y + xy^3)$, ``square_coupling`` $-x^2y^2$.
    """

    quadratic: float
    quartic: float
    sextic: float
    coupling: float
    cubic_coupling: float
    square_coupling: float
    constant: float


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


def decimate(operator: Operator) -> Operator:
    r"""Returns the operator of the chain after every second site is summed out, $A'(x,y) = \int A(x,z) A(z,y)\,dz$.

    The result is divided by its largest value. Serves as an oracle in the tests: the decimation of block moments is
    compared with it. Ref: Kadanoff1966.
    """
    product = operator.values @ operator.values
    # A product rounds its two triangles differently.
    product = (product + product.T) / 2
    return operator._replace(values=product / product.max())


def spectrum(operator: Operator) -> Float[np.ndarray, " G"]:
    r"""Returns the eigenvalues $\lambda_n$ of the operator, whose largest value is 1, by decreasing modulus.

    Ref: KW1941.
    """
    values = np.linalg.eigvalsh(operator.values * operator.spacing)
    return values[np.argsort(-np.abs(values), kind="stable")]


def correlation_length(operator: Operator) -> float:
    r"""Returns $\xi = -1/\ln|\lambda_1/\lambda_0|$ in sites, 0 without coupling; decimation halves it.

    >>> round(correlation_length(ising_operator(0.6)) / correlation_length(decimate(ising_operator(0.6))), 10)
    2.0

    Ref: KW1941.
    """
    largest, second = np.abs(spectrum(operator)[:2])
    ratio = float(second / largest)
    # The second eigenvalue of independent sites is rounding alone.
    return 0.0 if ratio < 1e-14 else math.inf if ratio >= 1 else -1 / math.log(ratio)


def ground_state(operator: Operator) -> Float[np.ndarray, " G"]:
    r"""Returns the positive eigenfunction $\psi_0(x)$ of the largest eigenvalue, $\int \psi_0^2\,dx = 1$.

    Its square is the law of one site of the infinite chain. Serves as an oracle in the tests: the law of one block is
    compared with it. Shape [G]. Ref: KW1941.
    """
    state = np.abs(np.linalg.eigh(operator.values)[1][:, -1])
    # Products of positive numbers restore the relative precision of the tails, which the eigensolver does not give.
    for _ in range(3):
        state = operator.values @ state
        state /= math.sqrt(state @ state * operator.spacing)
    return state


def characteristic_parameters(operator: Operator) -> Parameters:
    r"""Returns the parameters of $-\ln A$ by least squares with weight A, $\min_\theta \int A\,(\ln A + \theta T)^2$.

    T are $(x^{2k} + y^{2k})/2$ (k = 1..3), $-xy$, $-(x^3y + xy^3)$, $-x^2y^2$ and a constant. Decimation also generates
    all higher terms, so that after a step the values depend a little on this choice of terms. For spins even powers are
    constant and $s^3 = s$: only ``coupling`` and ``constant`` are not 0. Serves as an oracle in the tests: it gives the
    decimation flow of the chain itself, which the fitted flow follows. Raises ValueError for other grids below 16
    points.

    >>> fitted = characteristic_parameters(transfer_operator(0.8, Potential(0.2, 0.25)))
    >>> [round(value, 9) for value in (fitted.quadratic, fitted.quartic, fitted.coupling)]
    [0.1, 0.25, 0.8]
    """
    grid, weight = operator.grid, operator.values
    if len(grid) == 2:
        like, unlike = np.log(weight[0])
        return Parameters(0.0, 0.0, 0.0, float(like - unlike) / 2, 0.0, 0.0, float(-like - unlike) / 2)
    at_least("points", len(grid), 16)
    x, y = (side[weight > 0] for side in np.broadcast_arrays(grid[:, None], grid[None, :]))
    weight = weight[weight > 0]
    even = [(x**power + y**power) / 2 for power in (2, 4, 6)]
    columns = [*even, -x * y, -(x**3 * y + x * y**3), -((x * y) ** 2), np.ones_like(x)]
    # The weight enters as its square root; columns of length one keep the powers of a wide grid well conditioned.
    design = np.stack(columns, axis=1) * np.sqrt(weight)[:, None]
    scale = np.linalg.norm(design, axis=0)
    solution = np.linalg.lstsq(design / scale[None, :], -np.log(weight) * np.sqrt(weight), rcond=None)[0]
    return Parameters(*(solution / scale).tolist())


def gaussian_parameter(coupling: Scalar, quadratic: Scalar) -> float:
    r"""Returns $\kappa = K/r$ of the Gaussian chain; raises ValueError unless r > 2|K|, which normalises it.

    >>> gaussian_parameter(0.8, 2.0)
    0.4
    """
    check_normalisable(coupling, Potential(quadratic))
    return coupling / quadratic
