r"""What every function of this room is given, checked once on the host: a kernel, labels and an architecture.

One eigendecomposition of the kernel serves all of the theory: everything else is a sum over its modes. Eigenvalues
below 1e-12 of the largest are rounding and count as zero.
"""

import numbers
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float, Num

RELATIVE_CUT = 1e-12
"""Eigenvalues below this share of the largest one are set to zero."""

ROUNDING = 1e-6
"""Asymmetry and negative eigenvalues up to this share of the largest are taken for rounding of the input."""

Number = float | int | np.floating | np.integer
"""A plain or NumPy real number."""

Widths = int | np.integer | Sequence[int] | np.ndarray
"""One width for all hidden layers, or one for each, from the input to the output."""

ArrayLike = Array | np.ndarray


class Spectrum(NamedTuple):
    r"""A kernel by its modes: eigenvalues $\lambda_k \ge 0$ and labels in the eigenbasis, $\hat y_k = v_k^T Y$."""

    eigenvalues: Float[ArrayLike, "*points P"]
    projections: Float[ArrayLike, "*points P"]


class Layers(NamedTuple):
    """Hidden layers by groups of equal width: ``counts[g]`` layers of width ``widths[g]``, in any order."""

    widths: Float[ArrayLike, "*points groups"]
    counts: Float[ArrayLike, "*points groups"]


class Problem(NamedTuple):
    """Checked inputs in float64: modes (columns of ``vectors``), labels in the eigenbasis, widths of all layers."""

    eigenvalues: Float[np.ndarray, " P"]
    vectors: Float[np.ndarray, "P P"]
    projections: Float[np.ndarray, "P *outputs"]
    widths: Float[np.ndarray, " L"]
    sigma2: float
    temperature: float

    @property
    def rank(self) -> int:
        """Number of eigenvalues that are not zero."""
        return int((self.eigenvalues > 0).sum())

    @property
    def spectrum(self) -> Spectrum:
        """The modes alone, for one output."""
        return Spectrum(self.eigenvalues, self.projections)

    @property
    def layers(self) -> Layers:
        """Layers grouped by width."""
        widths, counts = np.unique(self.widths, return_counts=True)
        return Layers(widths, counts.astype(np.float64))


def check_problem(
    kernel: Num[ArrayLike, "..."],
    targets: Num[ArrayLike, "..."],
    width: Any,
    depth: Any,
    sigma2: Any,
    temperature: Any = 0.0,
    outputs: bool = False,
) -> Problem:
    r"""Check all inputs of a theory function and diagonalise its kernel, in float64 on the host.

    ``kernel`` is $K_0 = (\sigma^2/N_0) X X^T$, (P, P); ``targets`` are (P,), with ``outputs`` (P, m); ``width`` is one
    number or one per layer. Raises ValueError, in one sentence that names the argument, its value and what is allowed,
    for shapes that do not match, entries that are not finite, a kernel that is not symmetric, is indefinite or
    vanishes, width or depth below 1, ``sigma2`` not positive and a negative temperature.

    >>> problem = check_problem(np.diag([2.0, 0.0]), np.array([1.0, 3.0]), width=5, depth=2, sigma2=1.0)
    >>> problem.rank, problem.widths.tolist()
    (1, [5.0, 5.0])

    Ref: standard.
    """
    widths = check_widths(width, depth)
    check_positive("sigma2", sigma2)
    if not (_is_real(temperature) and 0 <= temperature < np.inf):
        raise ValueError(f"temperature = {temperature}: must be a finite number, not negative")
    matrix = _check_kernel(np.asarray(kernel))
    labels = _check_targets(np.asarray(targets), len(matrix), outputs)
    eigenvalues, vectors = np.linalg.eigh(matrix)
    if eigenvalues[-1] <= 0:
        raise ValueError(
            f"kernel has largest eigenvalue {eigenvalues[-1]:.3g}: must be positive semi-definite, not zero"
        )
    if eigenvalues[0] < -ROUNDING * eigenvalues[-1]:
        raise ValueError(f"kernel has smallest eigenvalue {eigenvalues[0]:.3g}: must be positive semi-definite")
    eigenvalues = np.where(eigenvalues > RELATIVE_CUT * eigenvalues[-1], eigenvalues, 0.0)
    return Problem(eigenvalues, vectors, vectors.T @ labels, widths, float(sigma2), float(temperature))


def check_widths(width: Any, depth: Any) -> Float[np.ndarray, " L"]:
    """Return the width of each hidden layer. Raises ValueError for width or depth below 1 and a wrong number of widths.

    >>> check_widths(5, 3).tolist(), check_widths([8, 4], 2).tolist()
    ([5.0, 5.0, 5.0], [8.0, 4.0])
    """
    if not isinstance(depth, numbers.Integral) or depth < 1:
        raise ValueError(f"depth = {depth}: must be a whole number of hidden layers, at least 1")
    widths = np.asarray(width)
    if widths.ndim > 1 or not np.issubdtype(widths.dtype, np.number) or not (np.isfinite(widths) & (widths >= 1)).all():
        raise ValueError(f"width = {width}: must be a number of at least 1, or one for each layer")
    if widths.ndim == 1 and len(widths) != depth:
        raise ValueError(f"width has {len(widths)} entries: must be one number, or one for each of {depth} layers")
    return np.broadcast_to(widths, (int(depth),)).astype(np.float64)


def check_positive(name: str, value: Any) -> None:
    """Raise ValueError unless the value is a finite positive number."""
    if not (_is_real(value) and 0 < value < np.inf):
        raise ValueError(f"{name} = {value}: must be a finite positive number")


def check_tests(cross: Num[ArrayLike, "..."], diag: Num[ArrayLike, "..."], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return test kernels in float64; ValueError unless ``cross`` is (tests, P), ``diag`` (tests,) and both finite."""
    cross, diag = np.asarray(cross, np.float64), np.asarray(diag, np.float64)
    if cross.ndim != 2 or cross.shape[1] != size:
        raise ValueError(f"cross has shape {cross.shape}: must be (tests, {size}), with kernel {size} x {size}")
    if diag.shape != cross.shape[:1]:
        raise ValueError(f"diag has shape {diag.shape}: must be ({len(cross)},), with cross of shape {cross.shape}")
    for name, values in (("cross", cross), ("diag", diag)):
        if not np.isfinite(values).all():
            raise ValueError(f"{name} holds {np.size(values) - np.isfinite(values).sum()} nan or inf: must be finite")
    return cross, diag


def _check_kernel(kernel: np.ndarray) -> np.ndarray:
    if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1] or not kernel.size:
        raise ValueError(f"kernel has shape {kernel.shape}: must be square, one row for each training point")
    if not np.isfinite(kernel).all():
        raise ValueError(f"kernel holds {kernel.size - np.isfinite(kernel).sum()} nan or inf: must be finite")
    kernel = kernel.astype(np.float64)
    asymmetry = np.abs(kernel - kernel.T).max()
    if asymmetry > ROUNDING * np.abs(kernel).max():
        raise ValueError(f"kernel differs from its transpose by {asymmetry:.3g}: must be symmetric")
    return (kernel + kernel.T) / 2


def _check_targets(targets: np.ndarray, size: int, outputs: bool) -> np.ndarray:
    shape = f"({size}, outputs)" if outputs else f"({size},)"
    if targets.ndim != 1 + outputs or len(targets) != size or not targets.size:
        raise ValueError(f"targets have shape {targets.shape}: must be {shape}, with kernel {size} x {size}")
    if not np.isfinite(targets).all():
        raise ValueError(f"targets hold {targets.size - np.isfinite(targets).sum()} nan or inf: must be finite")
    return targets.astype(np.float64)


def _is_real(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
