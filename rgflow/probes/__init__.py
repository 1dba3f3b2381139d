"""Probes: what is measured on plain arrays (spectra, kernels, couplings), and `measure` for any network."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rgflow.probes.network import measure

__all__ = ["measure"]


def __getattr__(name: str) -> Any:
    """Loads `measure` at its first use: importing labelled arrays takes more time than all other probes."""
    if name != "measure":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from rgflow.probes.network import measure

    return measure
