r"""Two machines whose place in the mapping is known exactly: decimation of a ring, and one hidden spin per bond.

Decimation is the limit $B \to \infty$ of an *exact* step with a noisy kernel, $\mathrm{Tr}_h e^T = 1$ at every B: that
a step is exact does not make it a good one. The bond machine fits any Ising graph exactly, and on a ring its hidden
spins are again a ring of the same size and coupling: a perfect fit need not coarse-grain at all. Float64 on the host,
in nats. Key: mehta2014 = Mehta and Schwab, arXiv:1410.3831.
"""

import numpy as np
from jaxtyping import Float, Int, Real

from rgflow.exact.enumeration import spin_states
from rgflow.exact.ring import at_least, finite_coupling
from rgflow.variational_rg.machine import Machine

Scalar = float | int

LARGEST_RING = 14
"""Sites of a ring whose kernel is tabulated: 21 spins with the hidden ones."""


def decimation_kernel(num_sites: int, strength: Scalar) -> Float[np.ndarray, "visible_states hidden_states"]:
    r"""Returns $T(v, h) = \sum_j (B h_j v_{2j} - \ln 2\cosh B)$, [2^n, 2^{n/2}], B being the ``strength``.

    Each hidden spin is a noisy copy of every second visible one, and $\mathrm{Tr}_h e^T = 1$ for every v and B. Raises
    ValueError for an odd number of sites, below 2 or above 14, and for a strength that is not finite.

    >>> np.exp(decimation_kernel(4, 0.7)).sum(axis=1).round(12).tolist() == [1.0] * 16
    True

    Ref: mehta2014 (decimation), at finite strength.
    """
    strength = finite_coupling(strength)
    if at_least("num_sites", num_sites, 2) % 2 or num_sites > LARGEST_RING:
        raise ValueError(f"num_sites = {num_sites}: must be an even number from 2 to {LARGEST_RING}")
    visible = spin_states(num_sites)[:, ::2].astype(np.float64)
    hidden = spin_states(num_sites // 2).astype(np.float64)
    return strength * (visible @ hidden.T) - num_sites // 2 * np.logaddexp(strength, -strength)


def bonds(couplings: Real[np.ndarray, "n n"]) -> tuple[Int[np.ndarray, "bonds 2"], Float[np.ndarray, " bonds"]]:
    r"""Returns both ends of every bond, i < j with $J_{ij} \ne 0$, and their couplings $K = J_{ij}$.

    Raises ValueError for couplings that are not symmetric, not finite, not 0 on the diagonal, or all 0.

    >>> from rgflow.exact.enumeration import ring_couplings
    >>> [part.tolist() for part in bonds(ring_couplings(0.5, 3))]
    [[[0, 1], [0, 2], [1, 2]], [0.5, 0.5, 0.5]]
    """
    matrix = np.asarray(couplings, np.float64)
    if not np.isfinite(matrix).all():
        raise ValueError("couplings = not finite: every entry must be a number")
    if (matrix != matrix.T).any() or matrix.diagonal().any():
        raise ValueError("couplings = not those of a graph: must be symmetric with 0 on the diagonal")
    ends = np.argwhere(np.triu(matrix))
    if not len(ends):
        raise ValueError("couplings = all 0: must have at least one bond")
    return ends, matrix[ends[:, 0], ends[:, 1]]


def bond_machine(couplings: Real[np.ndarray, "n n"]) -> Machine:
    r"""Returns the spin machine with $p(v) \propto e^{\frac12 v^T J v}$ exactly: one hidden spin per bond.

    Weights w with $\cosh 2w = e^{2|K|}$ tie it to both ends, with a minus on the second of an antiferromagnetic bond:
    $\sum_h e^{w h (v \pm v')} = 2 e^{|K|} e^{K v v'}$ for either sign. Hence $\ln Z_\lambda = \ln Z + \sum\ln 2e^{|K|}$
    (:func:`bond_constant`). On a ring the hidden spins are again a ring with the couplings K. Raises ValueError as
    :func:`bonds`.

    >>> bond_machine(np.array([[0.0, -0.3], [-0.3, 0.0]])).weights.round(6).tolist()
    [[0.60378], [-0.60378]]

    Ref: Hubbard-Stratonovich for Ising bonds.
    """
    ends, strengths = bonds(couplings)
    size = abs(strengths)
    # arccosh(e^{2K}) that neither overflows at strong coupling nor loses digits at weak.
    weight = (2 * size + np.log1p(np.sqrt(-np.expm1(-4 * size)))) / 2
    weights = np.zeros((len(couplings), len(ends)))
    columns = np.arange(len(ends))
    weights[ends[:, 0], columns] = weight
    weights[ends[:, 1], columns] = np.sign(strengths) * weight
    return Machine(weights, np.zeros(len(couplings)), np.zeros(len(ends)))


def bond_constant(couplings: Real[np.ndarray, "n n"]) -> float:
    r"""Returns $\ln Z_\lambda - \ln Z = \sum_{\mathrm{bonds}} (\ln 2 + |K|)$ of the bond machine, in nats.

    With an exact ln Z of the graph it gives that of a machine too large to enumerate. Raises ValueError as
    :func:`bonds`.
    """
    return float((np.log(2) + abs(bonds(couplings)[1])).sum())
