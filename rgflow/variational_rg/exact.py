r"""A small Boltzmann machine summed out exactly: normalization and probabilities; float64 on the host.

The smaller layer is enumerated and the other summed in closed form, $Z_\lambda = \sum_v e^{-F(v)} = \sum_h e^{-F(h)}$,
so that at most 20 units are enumerated whatever the size of the other layer. States are in the order of
:func:`rgflow.exact.enumeration.spin_states`: bit i of the number is set where unit i is up (+1 or 1). In nats.
Key: mehta2014 = Mehta and Schwab, arXiv:1410.3831.
"""

import numpy as np
from jaxtyping import Float

from rgflow.exact.enumeration import LARGEST_NUM_SPINS, spin_states
from rgflow.variational_rg.machine import Machine, free_energy, to_units

LARGEST_NUM_UNITS_OF_A_TABLE = 22
"""Visible and hidden units of a table over pairs of states: 32 MB."""

CHUNK = 2**12
"""States expanded at a time, so that a wide other layer does not fill the memory."""


def log_sum(log_weights: Float[np.ndarray, "rows ..."]) -> Float[np.ndarray, "..."]:
    r"""Returns $\ln\sum_i e^{x_i}$ over the first axis, without overflow, in nats.

    >>> round(float(log_sum(np.array([1000.0, 1000.0]))) - 1000, 9)
    0.693147181
    """
    largest = log_weights.max(axis=0)
    return np.asarray(largest + np.log(np.exp(log_weights - largest[None]).sum(axis=0)))


def on_host(machine: Machine) -> Machine:
    r"""Returns the machine with float64 numpy leaves, $W_{ij}, c_i, b_j$.

    Raises ValueError for leaves that are not finite and for biases that do not fit the weights [visible, hidden].
    """
    leaves = machine.weights, machine.visible_bias, machine.hidden_bias
    weights, visible, hidden = (np.asarray(leaf, np.float64) for leaf in leaves)
    shapes = weights.shape, visible.shape, hidden.shape
    if weights.ndim != 2 or shapes[1:] != (shapes[0][:1], shapes[0][1:]):
        raise ValueError(f"machine = leaves of shapes {shapes}: must be (V, H), (V,) and (H,)")
    if not all(np.isfinite(leaf).all() for leaf in (weights, visible, hidden)):
        raise ValueError("machine = weights or biases not finite: every entry must be a number")
    return Machine(weights, visible, hidden, machine.units)


def unit_states(num_units: int, units: str, start: int = 0, stop: int | None = None) -> Float[np.ndarray, "states n"]:
    r"""Returns states start..stop-1 (all $2^n$ by default) of spins or of binary units, $(s + 1)/2$.

    Raises ValueError for fewer than 1 or more than 20 units.

    >>> unit_states(2, "binary").tolist()
    [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
    """
    return np.asarray(to_units(spin_states(num_units, start, stop).astype(np.float64), units))


def visible_hamiltonian(machine: Machine) -> Float[np.ndarray, " states"]:
    r"""Returns $H^{RBM}(v) = -\ln\sum_h e^{-E(v, h)}$ of all $2^V$ visible states, in nats.

    Raises ValueError for more than 20 visible units and as :func:`on_host`. Ref: mehta2014 eq. (13).
    """
    machine = on_host(machine)
    num_units = machine.weights.shape[0]
    if not 1 <= num_units <= LARGEST_NUM_SPINS:
        raise ValueError(f"machine = {num_units} units to enumerate: must be 1 to {LARGEST_NUM_SPINS}")
    parts = []
    for start in range(0, 2**num_units, CHUNK):
        states = unit_states(num_units, machine.units, start, min(start + CHUNK, 2**num_units))
        parts.append(np.asarray(free_energy(machine, states)))
    return np.concatenate(parts)


def hidden_hamiltonian(machine: Machine) -> Float[np.ndarray, " states"]:
    r"""Returns $H^{RBM}(h) = -\ln\sum_v e^{-E(v, h)}$ of all $2^H$ hidden states, in nats.

    Raises ValueError for more than 20 hidden units and as :func:`on_host`. Ref: mehta2014 eq. (13).
    """
    return visible_hamiltonian(on_host(machine).transposed)


def joint_log_weights(machine: Machine) -> Float[np.ndarray, "visible_states hidden_states"]:
    r"""Returns $-E(v, h)$ of all pairs of states, $v^T W h + b \cdot h + c \cdot v$, in nats.

    Raises ValueError for more than 20 units in a layer or 22 in all, and as :func:`on_host`. Ref: mehta2014 eq. (11).
    """
    machine = on_host(machine)
    num_visible, num_hidden = machine.weights.shape
    if num_visible + num_hidden > LARGEST_NUM_UNITS_OF_A_TABLE:
        total = f"{num_visible} + {num_hidden} units"
        raise ValueError(f"machine = {total}: a table of pairs of states takes at most {LARGEST_NUM_UNITS_OF_A_TABLE}")
    visible, hidden = unit_states(num_visible, machine.units), unit_states(num_hidden, machine.units)
    of_one_layer = (visible @ machine.visible_bias)[:, None] + (hidden @ machine.hidden_bias)[None, :]
    return visible @ machine.weights @ hidden.T + of_one_layer


def log_partition(machine: Machine) -> float:
    r"""Returns $\ln Z_\lambda = \ln\sum_{v, h} e^{-E(v, h)}$ in nats.

    Raises ValueError where both layers have more than 20 units and as :func:`on_host`.

    >>> pair = Machine(np.array([[0.5]]), np.zeros(1), np.zeros(1))
    >>> abs(log_partition(pair) - float(np.log(4 * np.cosh(0.5)))) < 1e-14
    True

    Ref: mehta2014 eq. (12).
    """
    machine = on_host(machine)
    num_visible, num_hidden = machine.weights.shape
    return float(log_sum(-visible_hamiltonian(machine if num_visible <= num_hidden else machine.transposed)))


def visible_log_probabilities(machine: Machine) -> Float[np.ndarray, " states"]:
    r"""Returns $\ln p(v) = -H^{RBM}(v) - \ln Z_\lambda$ of all $2^V$ visible states.

    Raises ValueError for more than 20 visible units and as :func:`on_host`. Ref: mehta2014 eq. (14).
    """
    log_weights = -visible_hamiltonian(machine)
    return log_weights - log_sum(log_weights)
