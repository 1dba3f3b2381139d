"""The mixings: what a network of this room may see of the other positions, one object for each kind.

A new mixing is one more object in ``MIXINGS``. If its blocks exchange information in a new way, it also needs a module
in :mod:`rgflow.nets.mixing`. Network, training loss, records, sweep and claims follow from the object.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array

from rgflow.nets.mixing import Attention, PositionMixing, TokenMixing


@dataclasses.dataclass(frozen=True)
class Mixing:
    """How the positions of a sequence come together in one kind of network.

    * ``row``: what the input of one row of the stream shows: one ``position``, a ``window`` of positions around the
      predicted one, or the whole ``sequence``. Only a network of the last kind has no stream per position.
    * ``sublayer``: the module by which the rows exchange information in each block; without one they never do.
    * ``positions_first``: the stream is laid out [T, B, D] instead of [B, T, D].
    * ``optimum_known``: whether this kind of network can reach the loss of the exact posterior given what it sees.

    Raises ValueError for a sub-layer in a network that has no stream per position.
    """

    name: str
    row: Literal["position", "window", "sequence"] = "position"
    sublayer: type[PositionMixing] | None = None
    positions_first: bool = False
    optimum_known: bool = True

    def __post_init__(self) -> None:
        """Refuses combinations that are impossible."""
        if not self.per_position and (self.sublayer or self.positions_first):
            raise ValueError(f"mixing {self.name}: a stream of one row per sequence has no positions to mix")

    @property
    def per_position(self) -> bool:
        """Whether the stream has a row for each position; otherwise it has one for each sequence."""
        return self.row != "sequence"

    @property
    def has_window(self) -> bool:
        """Whether the network has a window size, and a symbol for what lies outside the sequence."""
        return self.row == "window"

    @property
    def independent_rows(self) -> bool:
        """Whether the prediction at a position follows from one row alone."""
        return self.per_position and self.sublayer is None

    @property
    def is_table(self) -> bool:
        """Whether the network is a function of one symbol, and so a table with V + 1 rows."""
        return self.independent_rows and self.row == "position"

    @property
    def level(self) -> str:
        """The level of the main reading: ``position``, or ``pooled`` without a stream per position."""
        return "position" if self.per_position else "pooled"

    def reach(self, window: int) -> int | None:
        """Returns how many positions on either side are seen, None for the whole sequence."""
        return window if self.independent_rows else None

    def predicted(self, window: int, length: int) -> Sequence[int]:
        """Returns which of the positions that a row shows it predicts."""
        return [window] if self.per_position else range(length)

    def shown_positions(self, window: int, length: int) -> int:
        """Returns how many positions a row shows."""
        return 2 * window + 1 if self.per_position else length

    def arrange(self, x: Array) -> Array:
        """Returns an array [B, T, ...] in the order of the stream's rows, [T, B, ...] where positions come first.

        Only targets, masks and symbols are ever transposed, never the residual stream.
        """
        return jnp.swapaxes(x, 0, 1) if self.positions_first else x

    def mean_over_positions(self, stream: Array) -> Array:
        """Returns the stream [L, ..., D] with one row per sequence, [L, B, D]."""
        return jnp.mean(stream, axis=1 if self.positions_first else 2) if self.per_position else stream


MIXINGS: dict[str, Mixing] = {
    mixing.name: mixing
    for mixing in (
        Mixing("tokenwise"),
        Mixing("window", row="window"),
        Mixing("mixer", sublayer=TokenMixing, positions_first=True),
        Mixing("flat", row="sequence"),
        # Without a position code it sees a bag of tokens, and the optimum of a bag has no closed form.
        Mixing("attention", sublayer=Attention, optimum_known=False),
    )
}
"""Every mixing by its name, which is the value of the config key ``mixing``."""


def names_where(holds: Callable[[Mixing], bool]) -> list[str]:
    """Returns the names of the mixings of which something holds.

    >>> names_where(lambda mixing: mixing.has_window)
    ['window']
    """
    return [name for name, mixing in MIXINGS.items() if holds(mixing)]
