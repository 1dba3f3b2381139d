r"""The problem that the theory of this room is about: a kernel, labels and an architecture, checked and diagonalised.

:func:`make_problem` diagonalises the kernel once. All of the theory consists of functions of the :class:`Problem` that
it returns; each is a sum over modes. Eigenvalues below 1e-12 of the largest are rounding and count as zero; so
are those below P times the machine epsilon of the array that holds the kernel, which for float32 is 1e-7 P.

What is known at a fixed scale Q is here too: the output is a Gaussian process of kernel $Q K_0$ under noise of variance
T, and in each mode the label is shrunk by $w_k = Q\lambda_k / (Q\lambda_k + T)$. At T = 0 nothing is shrunk inside the
range of the kernel and everything outside it. The saddle point puts in one Q, the exact law averages over many, and
infinite width has $Q = \sigma^{2L}$. Variances are those of the output and do not contain the noise T. Key: li2021.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from rgflow.checks import integer, real

RELATIVE_CUT = 1e-12
"""Eigenvalues below this share of the largest one are set to zero."""

ROUNDING = 1e-6
"""Asymmetry and negative eigenvalues up to this share of the largest are taken for rounding of the input."""

Number = float | int | np.floating | np.integer
"""A plain or NumPy real number."""

Widths = int | np.integer | Sequence[int] | np.ndarray
"""One width for all hidden layers, or one for each, from the input to the output."""

ArrayLike = Array | np.ndarray


class Problem(NamedTuple):
    r"""Checked inputs in float64: the modes of the kernel, the labels in them, and the network.

    ``eigenvalues`` $\lambda_k \ge 0$, ascending; ``vectors`` holds the modes $v_k$ in its columns; ``projections`` are
    $\hat y_k = v_k^T Y$; ``widths`` are those of all layers, from the input to the output. ``rounding`` is how much an
    eigenvalue may be off.
    """

    eigenvalues: Float[np.ndarray, " P"]
    vectors: Float[np.ndarray, "P P"]
    projections: Float[np.ndarray, " P"]
    widths: Float[np.ndarray, " L"]
    sigma2: float
    temperature: float
    rounding: float

    @property
    def rank(self) -> int:
        r"""Number of eigenvalues that are not zero, $\rho$."""
        return int((self.eigenvalues > 0).sum())

    @property
    def label_norm(self) -> float:
        r"""The size of the labels, $r_0 = Y^T K_0^+ Y/\rho$."""
        kept = self.eigenvalues > 0
        return float(np.sum(self.projections[kept] ** 2 / self.eigenvalues[kept]) / self.rank)


def make_problem(
    kernel: Num[ArrayLike, "..."],
    targets: Num[ArrayLike, "..."],
    width: Any,
    depth: Any,
    sigma2: Any,
    temperature: Any = 0.0,
) -> Problem:
    r"""Returns the checked and diagonalised problem, in float64 on the host.

    ``kernel`` is $K_0 = (\sigma^2/N_0) X X^T$, (P, P); ``targets`` are (P,); ``width`` is one number or one per layer.
    Raises ValueError, in one sentence that names the argument, its value and what is allowed, for shapes that do not
    match, entries that are not finite, a kernel that is not symmetric, is indefinite or vanishes, width or depth below
    1, ``sigma2`` not positive and a negative temperature. The dtype of ``kernel`` decides its rank: pass it in the
    precision it was computed in. One that was computed in float32 and handed over in float64 is refused where this
    would make a difference.

    >>> problem = make_problem(np.diag([2.0, 0.0]), np.array([1.0, 3.0]), width=5, depth=2, sigma2=1.0)
    >>> problem.rank, problem.label_norm, problem.widths.tolist()
    (1, 0.5, [5.0, 5.0])
    """
    widths = _checked_widths(width, depth)
    check_positive("sigma2", sigma2)
    if (kelvin := real(temperature)) is None or not 0 <= kelvin < np.inf:
        raise ValueError(f"temperature = {temperature}: must be a finite number, not negative")
    given = np.asarray(kernel)
    matrix = _checked_kernel(given)
    labels, size = np.asarray(targets), len(matrix)
    if labels.shape != (size,):
        raise ValueError(f"targets have shape {labels.shape}: must be ({size},), with kernel {size} x {size}")
    _check_finite("targets hold", labels)
    eigenvalues, vectors = np.linalg.eigh(matrix)
    if eigenvalues[-1] <= 0:
        raise ValueError(
            f"kernel has largest eigenvalue {eigenvalues[-1]:.3g}: must be positive semi-definite, not zero"
        )
    if eigenvalues[0] < -ROUNDING * eigenvalues[-1]:
        raise ValueError(f"kernel has smallest eigenvalue {eigenvalues[0]:.3g}: must be positive semi-definite")
    rounding = float(eigenvalues[-1]) * max(RELATIVE_CUT, size * _epsilon(given))
    _check_precision(given, eigenvalues)
    eigenvalues = np.where(eigenvalues > rounding, eigenvalues, 0.0)
    projections = vectors.T @ labels.astype(np.float64)
    return Problem(eigenvalues, vectors, projections, widths, float(sigma2), kelvin, rounding)


def check_positive(name: str, value: Any) -> None:
    """Raises ValueError unless the value is a finite positive number."""
    number = real(value)
    if number is None or not 0 < number < np.inf:
        raise ValueError(f"{name} = {value}: must be a finite positive number")


def checked_tests(
    problem: Problem, cross: Num[ArrayLike, "..."], diag: Num[ArrayLike, "..."]
) -> tuple[np.ndarray, ...]:
    r"""Returns test kernels in float64, without what lies outside of the range of the kernel.

    Raises ValueError unless ``cross`` is (tests, P), ``diag`` (tests,), both are finite, and the kernel of training and
    test points together is positive semi-definite but for rounding: $k_0$ lies in the range of $K_0$ and
    $k_0^T K_0^+ k_0 \le k_{00}$.
    """
    size = len(problem.eigenvalues)
    precision = size * max(_epsilon(np.asarray(cross)), _epsilon(np.asarray(diag)))
    cross, diag = np.asarray(cross, np.float64), np.asarray(diag, np.float64)
    if cross.ndim != 2 or cross.shape[1] != size:
        raise ValueError(f"cross has shape {cross.shape}: must be (tests, {size}), with kernel {size} x {size}")
    if diag.shape != cross.shape[:1]:
        raise ValueError(f"diag has shape {diag.shape}: must be ({len(cross)},), with cross of shape {cross.shape}")
    _check_finite("cross holds", cross)
    _check_finite("diag holds", diag)
    # A symmetric matrix that is off by d in norm has v^T K v >= -d |v|^2; v is (-K_0^+ k_0, 1), then (-s n, 1).
    rounding = max(problem.rounding, precision * max(np.abs(diag).max(initial=0.0), problem.eigenvalues[-1]))
    modes, kept = cross @ problem.vectors, problem.eigenvalues > 0
    outside = np.sum(modes[:, ~kept] ** 2, axis=1)
    wrong = outside > 4 * rounding * (np.abs(diag) + rounding)
    if wrong.any():
        raise ValueError(
            f"cross has a part of size {np.sqrt(outside.max()):.3g} outside of the range of kernel, for test point "
            f"{int(outside.argmax())}: kernel, cross and diag must come from the same inputs"
        )
    solution = modes[:, kept] / problem.eigenvalues[kept]
    excess = np.sum(modes[:, kept] * solution, axis=1) - diag - rounding * (1 + np.sum(solution**2, axis=1))
    if (excess > 0).any():
        worst = int(excess.argmax())
        raise ValueError(
            f"diag = {diag[worst]:.6g} for test point {worst}: must be at least {diag[worst] + excess[worst]:.6g}, "
            "what kernel and cross explain of it: kernel, cross and diag must come from the same inputs"
        )
    return np.where(kept, modes, 0.0) @ problem.vectors.T, diag


def mode_gain(problem: Problem, scale: Float[np.ndarray, "*batch"] | float) -> Float[np.ndarray, "*batch P"]:
    r"""Returns $Q / (Q\lambda_k + T)$ for one or many scales Q, zero where $\lambda_k = 0$: nothing is known there."""
    scale = np.asarray(scale, np.float64)[..., None]
    # Divided by Q first: neither a huge nor a tiny scale overflows.
    denominator = problem.eigenvalues + problem.temperature / scale
    return np.divide(1.0, denominator, out=np.zeros_like(denominator), where=problem.eigenvalues > 0)


def predictor_at(
    problem: Problem, cross: Num[ArrayLike, "..."], diag: Num[ArrayLike, "..."], scale: float
) -> tuple[Float[np.ndarray, " tests"], Float[np.ndarray, " tests"]]:
    r"""Returns mean $Q k_0^T G Y$ and variance $Q k_{00} - Q^2 k_0^T G k_0$ of the output, $G = (Q K_0 + T)^{-1}$.

    ``cross`` is $k_0$, (tests, P), and ``diag`` $k_{00}$, (tests,). Raises ValueError for shapes that do not match and
    entries that are not finite.
    """
    cross, diag = checked_tests(problem, cross, diag)
    modes, gain = cross @ problem.vectors, mode_gain(problem, scale)
    return modes @ (gain * problem.projections), scale * np.maximum(diag - (modes**2) @ gain, 0.0)


def energy_at(problem: Problem, scale: Float[np.ndarray, "*batch"] | float) -> Float[np.ndarray, "*batch"]:
    r"""Returns $\frac12 \langle |f - Y|^2 \rangle = \frac12 \sum_k [(1 - w_k)^2 \hat y_k^2 + T w_k]$.

    It is a sum over the training points. At T = 0 what the range of the kernel cannot fit is left.
    """
    share = mode_gain(problem, scale) * problem.eigenvalues
    return np.asarray(((1 - share) ** 2 * problem.projections**2 + problem.temperature * share).sum(axis=-1) / 2)


def output_moments_at(
    problem: Problem, scale: Float[np.ndarray, "*batch"] | float
) -> tuple[Float[np.ndarray, "*batch P"], Float[np.ndarray, "*batch P"]]:
    r"""Returns mean $w_k \hat y_k$ and variance $T w_k$ of the training outputs in the modes, for many scales Q.

    Together they give $\langle f f^T \rangle = \mu\mu^T + C$: $YY^T$ in the range of the kernel at T = 0.
    """
    share = mode_gain(problem, scale) * problem.eigenvalues
    return share * problem.projections, problem.temperature * share


def average_kernels(problem: Problem, moments: Sequence[Float[np.ndarray, "P P"]]) -> Float[np.ndarray, "L P P"]:
    r"""Returns the average kernels $K_l = \sigma^2 [(1 - 1/N_l) K_{l-1} + M_l/N_l]$ of all hidden layers.

    ``moments`` are $M_l = \langle f f^T/\prod_{j \ge l} u_j \rangle$ in the modes. Of the weights of layer l only the
    direction along which the output looks at it differs from the prior. Ref: li2021 (layer kernels).
    """
    current, kernels = np.diag(problem.eigenvalues), []
    for width, moment in zip(problem.widths, moments, strict=True):
        current = problem.sigma2 * ((1 - 1 / width) * current + moment / width)
        kernels.append(problem.vectors @ current @ problem.vectors.T)
    return np.array(kernels)


def _checked_widths(width: Any, depth: Any) -> Float[np.ndarray, " L"]:
    layers = integer(depth)
    if layers is None or layers < 1:
        raise ValueError(f"depth = {depth}: must be a whole number of hidden layers, at least 1")
    widths = np.asarray(width)
    if widths.ndim > 1 or not np.issubdtype(widths.dtype, np.number) or not (np.isfinite(widths) & (widths >= 1)).all():
        raise ValueError(f"width = {width}: must be a number of at least 1, or one for each layer")
    if widths.ndim == 1 and len(widths) != depth:
        raise ValueError(f"width has {len(widths)} entries: must be one number, or one for each of {depth} layers")
    return np.broadcast_to(widths, (layers,)).astype(np.float64)


def _checked_kernel(kernel: np.ndarray) -> np.ndarray:
    if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1] or not kernel.size:
        raise ValueError(f"kernel has shape {kernel.shape}: must be square, one row for each training point")
    _check_finite("kernel holds", kernel)
    kernel = kernel.astype(np.float64)
    asymmetry = np.abs(kernel - kernel.T).max()
    if asymmetry > ROUNDING * np.abs(kernel).max():
        raise ValueError(f"kernel differs from its transpose by {asymmetry:.3g}: must be symmetric")
    return (kernel + kernel.T) / 2


def _check_finite(what: str, values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        raise ValueError(f"{what} {values.size - np.isfinite(values).sum()} nan or inf: must be finite")


def _epsilon(values: np.ndarray) -> float:
    """Returns the machine epsilon of an array, that of float64 for whole numbers."""
    return float(jnp.finfo(values.dtype).eps) if jnp.issubdtype(values.dtype, jnp.floating) else 2.0**-52


def _check_precision(kernel: np.ndarray, eigenvalues: Float[np.ndarray, " P"]) -> None:
    """Raises ValueError for float32 numbers in a float64 array with eigenvalues that float32 cannot tell from zero."""
    off_diagonal = kernel[~np.eye(len(kernel), dtype=bool)]
    if kernel.dtype != np.float64 or not off_diagonal.any() or (kernel != kernel.astype(np.float32)).any():
        return
    share = np.abs(eigenvalues) / eigenvalues[-1]
    doubtful = share[(share > RELATIVE_CUT) & (share < len(kernel) * 2.0**-23)]
    if doubtful.size:
        raise ValueError(
            f"kernel holds float32 numbers in float64, and {doubtful.size} eigenvalues up to {doubtful.max():.1g} of "
            "the largest, which float32 rounds: pass it in float32, or compute it in float64"
        )
