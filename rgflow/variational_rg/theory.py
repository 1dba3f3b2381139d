r"""The mapping between variational renormalization and Boltzmann machines, as functions one can check; float64.

Data $P(v) = e^{-H(v)}/Z$, machine $p_\lambda(v, h) = e^{-E}/Z_\lambda$, and the mapping $T_\lambda = -E + H$. Then

1. $H^{RG}_\lambda(h) = -\ln\sum_v e^{T - H}$ is $H^{RBM}_\lambda(h) = -\ln\sum_v e^{-E}$, trained or not;
2. $e^{T} = p_\lambda(h|v)\, e^{H(v) - H^{RBM}_\lambda(v)}$, so that $\mathrm{Tr}_h e^T$ is constant where P = p;
3. $e^{-\Delta F} = \langle\mathrm{Tr}_h e^T\rangle_P = Z_\lambda/Z$, $\Delta F = F^h - F^v = -\ln Z_\lambda + \ln Z$;
4. $D_{KL}(P\|p_\lambda) = -\langle\ln\mathrm{Tr}_h e^T\rangle_P - \Delta F$.

An exact step, $\mathrm{Tr}_h e^T = 1$ for every v, has $\Delta F = 0$; the converse is false: a ``constant`` added to
-E, which no probability depends on, makes $\Delta F = 0$ for every machine (:func:`constant_without_gap`). Machines do
not hold it: it is an argument here.

``hamiltonian`` is H(v) in nats of all $2^V$ visible states in the order of
:func:`rgflow.exact.enumeration.spin_states`, that is ``-log_weights(couplings)``, whatever the units of the machine;
any constant may be added to it. At most 20 visible units; tables T [2^V, 2^H] take at most 22 units in all. Identities
hold to rounding, which grows with the size of E and H: 1e-12 up to some 100 nats.
Keys: mehta2014 = Mehta and Schwab, arXiv:1410.3831; schwab2016 = Schwab and Mehta, arXiv:1609.03541 (concedes that
the equivalence of mehta2014 eq. (8) holds in one direction only).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Real

from rgflow.variational_rg.exact import (
    hidden_hamiltonian,
    joint_log_weights,
    log_partition,
    log_sum,
    on_host,
    unit_states,
    visible_hamiltonian,
    visible_log_probabilities,
)
from rgflow.variational_rg.machine import Machine, hidden_field, to_spins

Scalar = float | int
Hamiltonian = Real[np.ndarray, " visible_states"]
Kernel = Real[np.ndarray, "visible_states hidden_states"]
Table = Float[np.ndarray, "visible_states hidden_states"]


class TraceCondition(NamedTuple):
    r"""How far a kernel is from an exact step, $\mathrm{Tr}_h e^{T(v, h)} = 1$ for every v.

    ``values`` are the traces of all visible states, ``deviation`` is their standard deviation, all states weighed
    alike, and ``largest`` is $\max_v |\mathrm{Tr}_h e^T - 1|$. Infinite where above 1e308.
    """

    values: Float[np.ndarray, " visible_states"]
    deviation: float
    largest: float


class Identities(NamedTuple):
    r"""The largest deviation of each identity of the module's list; all vanish to rounding for every machine.

    ``coarse_hamiltonian`` (1) in nats; ``conditional`` (2) of T in nats, that is relative of $e^T$; ``trace`` (3)
    relative; ``divergence`` (4) in nats.
    """

    coarse_hamiltonian: float
    conditional: float
    trace: float
    divergence: float


def rg_kernel(machine: Machine, hamiltonian: Hamiltonian, constant: Scalar = 0.0) -> Table:
    r"""Returns the kernel of the mapping, $T(v, h) = -E(v, h) + H(v)$, in nats, with ``constant`` added to -E.

    Raises ValueError for more than 20 units in a layer or 22 in all, for weights that are not finite, and for a
    Hamiltonian of the wrong length or not finite.

    >>> machine = Machine(np.array([[0.5]]), np.zeros(1), np.zeros(1))
    >>> rg_kernel(machine, np.array([1.0, 0.0])).tolist()
    [[1.5, 0.5], [-0.5, 0.5]]

    Ref: mehta2014 eq. (18).
    """
    values = _checked(machine, hamiltonian)
    return joint_log_weights(machine) + _finite("constant", constant) + values[:, None]


def coarse_hamiltonian(kernel: Kernel, hamiltonian: Real[np.ndarray, " states"]) -> Float[np.ndarray, " hidden_states"]:
    r"""Returns what any kernel makes of a Hamiltonian, $H^{RG}(h) = -\ln\sum_v e^{T(v, h) - H(v)}$, [2^H], in nats.

    Raises ValueError for a Hamiltonian of another length than the kernel or not finite. Ref: mehta2014 eq. (6).
    """
    values = _finite_hamiltonian(hamiltonian, len(kernel))
    return -log_sum(kernel - values[:, None])


def trace_condition(machine: Machine, hamiltonian: Hamiltonian, constant: Scalar = 0.0) -> TraceCondition:
    r"""Returns how far the mapped kernel is from an exact step, $\mathrm{Tr}_h e^{T(v, h)} = 1$ for every v.

    Raises ValueError as :func:`rg_kernel`. Ref: mehta2014 eq. (8).
    """
    log_trace = log_sum(rg_kernel(machine, hamiltonian, constant).T)
    scale = log_trace.max()
    spread = np.exp(log_trace - scale).std()
    with np.errstate(over="ignore"):
        return TraceCondition(
            values=np.exp(log_trace),
            # 0 and not nan where the traces are all the same and the scale overflows.
            deviation=float(spread * np.exp(scale)) if spread else 0.0,
            largest=float(abs(np.expm1(log_trace)).max()),
        )


def free_energy_gap(machine: Machine, hamiltonian: Hamiltonian, constant: Scalar = 0.0) -> float:
    r"""Returns $\Delta F = F^h - F^v = -\ln Z_\lambda + \ln Z$ in nats; ``constant`` is added to -E and lowers it.

    Zero in an exact step, but not only there: see :func:`constant_without_gap`. Raises ValueError for more than 20
    visible units, for weights that are not finite, and for a Hamiltonian of the wrong length or not finite.
    Ref: mehta2014 eq. (7); schwab2016.
    """
    values = _checked(machine, hamiltonian)
    return float(log_sum(-values)) - log_partition(machine) - _finite("constant", constant)


def constant_without_gap(machine: Machine, hamiltonian: Hamiltonian) -> float:
    r"""Returns the constant added to -E at which $\Delta F = 0$: $\ln Z - \ln Z_\lambda$, in nats.

    It exists for every machine and leaves $D_{KL}(P\|p_\lambda)$ as it was: no gap does not mean an exact step. Raises
    ValueError as :func:`free_energy_gap`.

    >>> machine, hamiltonian = Machine(np.zeros((2, 1)), np.zeros(2), np.zeros(1)), -np.array([1.0, 0, 0, 1.0])
    >>> constant = constant_without_gap(machine, hamiltonian)
    >>> abs(free_energy_gap(machine, hamiltonian, constant)) < 1e-14, round(relative_entropy(machine, hamiltonian), 6)
    (True, 0.110944)

    Ref: schwab2016.
    """
    return free_energy_gap(machine, hamiltonian)


def relative_entropy(machine: Machine, hamiltonian: Hamiltonian) -> float:
    r"""Returns $D_{KL}(P\|p_\lambda) = \sum_v P(v) \ln[P(v)/p_\lambda(v)]$ in nats.

    Raises ValueError as :func:`free_energy_gap`.
    """
    _checked(machine, hamiltonian)
    log_data = _log_data(hamiltonian)
    return float(np.exp(log_data) @ (log_data - visible_log_probabilities(machine)))


def jensen_gap(machine: Machine, hamiltonian: Hamiltonian) -> float:
    r"""Returns $-\langle\ln\mathrm{Tr}_h e^T\rangle_P - \Delta F$ in nats, which is $D_{KL}(P\|p_\lambda)$.

    It is Jensen's gap of $\ln\langle\mathrm{Tr}_h e^T\rangle_P$. Raises ValueError as :func:`rg_kernel`.
    Ref: mehta2014 eq. (22), quantified.
    """
    log_trace = log_sum(rg_kernel(machine, hamiltonian).T)
    return float(-np.exp(_log_data(hamiltonian)) @ log_trace) - free_energy_gap(machine, hamiltonian)


def identities(machine: Machine, hamiltonian: Hamiltonian) -> Identities:
    r"""Returns by how much each of the four identities of the module's list fails, e.g. $\max_h|H^{RG} - H^{RBM}|$.

    The left side comes from the table T, the right from closed sums over one layer. Raises ValueError as
    :func:`rg_kernel`.

    >>> machine = Machine(np.array([[0.5], [-0.2]]), np.array([0.1, 0.0]), np.array([0.3]))
    >>> max(identities(machine, np.array([1.0, 0.0, 0.5, 2.0]))) < 1e-14
    True

    Ref: mehta2014 eqs. (18)-(22); 4 is derived here.
    """
    values = _checked(machine, hamiltonian)
    kernel = rg_kernel(machine, values)
    coarse = coarse_hamiltonian(kernel, values)
    conditional = _log_conditional(machine) + (values - visible_hamiltonian(machine))[:, None]
    ratio = -free_energy_gap(machine, values)
    trace = float(log_sum(_log_data(values) + log_sum(kernel.T)))
    gap = float(-log_sum(-coarse) + log_sum(-values))
    return Identities(
        coarse_hamiltonian=float(abs(coarse - hidden_hamiltonian(machine)).max()),
        conditional=float(abs(kernel - conditional).max()),
        trace=float(max(abs(np.expm1([trace - ratio, -gap - ratio])))),
        divergence=abs(jensen_gap(machine, values) - relative_entropy(machine, values)),
    )


def _log_conditional(machine: Machine) -> Table:
    r"""Returns $\ln p(h|v)$ of all pairs of states as a product of units, each $1/(1 + e^{-\ldots})$."""
    machine = on_host(machine)
    num_visible, num_hidden = machine.weights.shape
    fields = np.asarray(hidden_field(machine, unit_states(num_visible, machine.units)))
    hidden = unit_states(num_hidden, machine.units)
    # The energy by which the chosen value of a unit is below the other one.
    signed = np.asarray(to_spins(hidden, machine.units)) * (2 if machine.units == "spin" else 1)
    table = np.zeros((len(fields), len(hidden)))
    for unit in range(num_hidden):
        table -= np.logaddexp(0, -fields[:, unit, None] * signed[None, :, unit])
    return table


def _log_data(hamiltonian: Hamiltonian) -> Float[np.ndarray, " visible_states"]:
    log_weights = -np.asarray(hamiltonian, np.float64)
    return log_weights - log_sum(log_weights)


def _checked(machine: Machine, hamiltonian: Hamiltonian) -> Float[np.ndarray, " visible_states"]:
    return _finite_hamiltonian(hamiltonian, 2 ** on_host(machine).weights.shape[0])


def _finite_hamiltonian(hamiltonian: Real[np.ndarray, " states"], num_states: int) -> Float[np.ndarray, " states"]:
    values = np.asarray(hamiltonian, np.float64)
    if len(values) != num_states:
        raise ValueError(f"hamiltonian = {len(values)} states: must be {num_states}, one per visible state")
    if not np.isfinite(values).all():
        raise ValueError("hamiltonian = not finite: every entry must be a number")
    return values


def _finite(name: str, value: Scalar) -> float:
    if not np.isfinite(value):
        raise ValueError(f"{name} = {value}: must be a finite number")
    return float(value)
