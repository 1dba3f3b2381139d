r"""A machine whose place in the mapping is known exactly: one hidden spin per bond of an Ising graph.

It fits any graph exactly. On a ring its hidden spins are again a ring of the same size and coupling: a perfect fit need
not coarse-grain at all. Float64 on the host, in nats.
"""

import numpy as np
from jaxtyping import Real

from rgflow.variational_rg.machine import Machine


def bond_machine(couplings: Real[np.ndarray, "n n"]) -> Machine:
    r"""Returns the spin machine with $p(v) \propto e^{\frac12 v^T J v}$ exactly: one hidden spin per bond.

    Weights w with $\cosh 2w = e^{2|K|}$ tie it to both ends, with a minus on the second of an antiferromagnetic bond:
    $\sum_h e^{w h (v \pm v')} = 2 e^{|K|} e^{K v v'}$ for either sign. Hence
    $\ln Z_\lambda = \ln Z + \sum\ln 2e^{|K|}$ over the bonds i < j with $K = J_{ij} \ne 0$. On a ring the hidden spins
    are again a ring with the couplings K. Raises ValueError for couplings that are not symmetric, not finite, not 0 on
    the diagonal, or all 0.

    >>> bond_machine(np.array([[0.0, -0.3], [-0.3, 0.0]])).weights.round(6).tolist()
    [[0.60378], [-0.60378]]

    Ref: Hubbard-Stratonovich for Ising bonds.
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
