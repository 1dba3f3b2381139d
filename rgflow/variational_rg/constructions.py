r"""A machine whose place in the mapping is known exactly: one hidden spin per bond of an Ising graph.

It fits any graph exactly. On a ring its hidden spins are again a ring of the same size and coupling: a perfect fit need
not coarse-grain at all. Float64 on the host, in nats.
"""

import numpy as np
from jaxtyping import Real

from rgflow.exact.enumeration import spin_states
from rgflow.exact.ring import at_least, finite_coupling
from rgflow.variational_rg.machine import Machine

Scalar = float | int

LARGEST_RING = 14
"""Sites of a ring whose kernel is tabulated: 21 spins with the hidden ones."""


def bond_machine(couplings: Real[np.ndarray, "n n"]) -> Machine:
    r"""Returns the spin machine with $p(v) \propto e^{\frac12 v^T J v}$ exactly: one hidden spin per bond.

    Weights w with $\cosh 2w = e^{2|K|}$ tie it to both ends, with a minus on the second of an antiferromagnetic bond:
    $\sum_h e^{w h (v \pm v')} = 2 e^{|K|} e^{K v v'}$ for either sign. Hence
    $\ln Z_\lambda = \ln Z + \sum\ln 2e^{|K|}$ over the bonds i < j with $K = J_{ij} \ne 0$. On a ring the hidden spins
    are again a ring with the couplings K. Raises ValueError for couplings that are not symmetric, not finite, not 0 on
    the diagonal, or all 0.

    >>> bond_machine(np.array([[0.0, -0.3], [-0.3, 0.0]])).weights.round(6).tolist()
    [[0.60378], [-0.60378]]

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
    strengths = matrix[ends[:, 0], ends[:, 1]]
    size = abs(strengths)
    # arccosh(e^{2K}) that neither overflows at strong coupling nor loses digits at weak.
    weight = (2 * size + np.log1p(np.sqrt(-np.expm1(-4 * size)))) / 2
    weights = np.zeros((len(couplings), len(ends)))
    columns = np.arange(len(ends))
    weights[ends[:, 0], columns] = weight
    weights[ends[:, 1], columns] = np.sign(strengths) * weight
    return Machine(weights, np.zeros(len(couplings)), np.zeros(len(ends)))
