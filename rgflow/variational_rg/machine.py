r"""A restricted Boltzmann machine as a plain pytree: fields, free energies, values of its units.

$p(v, h) \propto e^{-E}$, $-E = v^T W h + b \cdot h + c \cdot v$, with units $\pm1$ (``spin``) or 0/1 (``binary``), in
nats. Every function takes numpy arrays (float64 on the host) and JAX arrays alike and answers in kind.
Key: mehta2014 = Mehta and Schwab, arXiv:1410.3831, whose E has the opposite sign of W.
"""

from typing import Any, TypeVar

import flax.struct
from jaxtyping import Array
from numpy import ndarray

UNITS = ("spin", "binary")
Values = TypeVar("Values", Array, ndarray)
"""States, fields or means of units, [..., units]: numpy or JAX, and the answer is of the same kind."""


@flax.struct.dataclass
class Machine:
    """Weights W [visible, hidden], visible bias c [visible], hidden bias b [hidden], and what values its units take.

    Leaves may be arrays or their shapes, hence the open types. Raises ValueError for unknown units.
    """

    weights: Any
    visible_bias: Any
    hidden_bias: Any
    units: str = flax.struct.field(pytree_node=False, default="spin")

    def __post_init__(self) -> None:
        """Refuses unknown units."""
        if self.units not in UNITS:
            raise ValueError(f"units = {self.units!r}: must be one of {', '.join(UNITS)}")

    @property
    def transposed(self) -> "Machine":
        """The same machine with visible and hidden units exchanged."""
        return Machine(self.weights.T, self.hidden_bias, self.visible_bias, self.units)


def hidden_field(machine: Machine, visible: Values) -> Values:
    r"""Returns $b + W^T v$, [..., hidden], of states or means [..., visible]. Ref: mehta2014."""
    return _with_bias(visible @ machine.weights, machine.hidden_bias)


def visible_field(machine: Machine, hidden: Values) -> Values:
    r"""Returns $c + W h$, [..., visible], of states or means [..., hidden]. Ref: mehta2014."""
    return _with_bias(hidden @ machine.weights.T, machine.visible_bias)


def mean_unit(field: Values, units: str) -> Values:
    r"""Returns the mean of units in a field: $\tanh x$ for spins, $1/(1 + e^{-x})$ for binary ones."""
    xp: Any = field.__array_namespace__()
    return xp.tanh(field) if units == "spin" else (1 + xp.tanh(field / 2)) / 2


def log_unit_sum(field: Values, units: str) -> Values:
    r"""Returns $\ln\sum_s e^{xs}$ over the two values of a unit: $\ln 2\cosh x$ or $\ln(1 + e^x)$."""
    xp: Any = field.__array_namespace__()
    return xp.logaddexp(field, -field if units == "spin" else 0 * field)


def free_energy(machine: Machine, visible: Values) -> Values:
    r"""Returns $F(v) = -c \cdot v - \sum_j \ln\sum_{h_j} e^{(b + W^T v)_j h_j}$ of states [..., visible], in nats.

    $p(v) = e^{-F(v)}/Z$: this is the Hamiltonian $H^{RBM}(v)$ of mehta2014 eq. (13). That of the hidden units is
    ``free_energy(machine.transposed, hidden)``. Ref: mehta2014.
    """
    return -(visible @ machine.visible_bias) - log_unit_sum(hidden_field(machine, visible), machine.units).sum(-1)


def to_units(values: Values, units: str) -> Values:
    r"""Returns spins ($\pm1$) as values of the given units: themselves, or $(s + 1)/2$."""
    return values if units == "spin" else (values + 1) / 2


def to_spins(values: Values, units: str) -> Values:
    r"""Returns values of units (states or means) as spins: themselves, or $2x - 1$."""
    return values if units == "spin" else 2 * values - 1


def _with_bias(field: Any, bias: Any) -> Any:
    return field + bias.__array_namespace__().broadcast_to(bias, field.shape)
