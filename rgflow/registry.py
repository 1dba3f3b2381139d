"""Names of experiments, and where their makers, claims and figures are; add a room here and nowhere else.

A room is a package: ``make`` in the package itself, the table ``CLAIMS`` in its module ``claims``, ``figures(results,
verdicts)`` in its module ``figures``. The last two load labelled arrays and matplotlib, which takes a second that no
sweep should start with, so they are imported when the first verdict is wanted.

An experiment outside the package is named by its module: ``config.experiment = "examples.signal_propagation"``. Python
looks for it where it looks for every module, the folder in which the command was started among others, and at last
beside the config file. Such a module is imported only for a config file that the user has named: what a workdir names
may be anybody's.
"""

import dataclasses
import importlib
import sys
from collections.abc import Callable
from typing import Any

from rgflow.protocol import Claim, Experiment


@dataclasses.dataclass(frozen=True)
class Room:
    """Makes the experiments of a package ``rgflow.NAME``, which is imported when the first of them is made.

    A sweep needs one room; importing the others as well would double the time until it starts.
    """

    package: str

    def __call__(self, config: Any) -> Experiment:
        """Returns the experiment of one run; raises ValueError for a config that makes no sense."""
        return importlib.import_module(self.package).make(config)


EXPERIMENTS: dict[str, Callable[[Any], Experiment]] = {
    "fixed_points": Room("rgflow.fixed_points"),
    "kernel_rg": Room("rgflow.kernel_rg"),
    "rank_flow": Room("rgflow.rank_flow"),
    "variational_rg": Room("rgflow.variational_rg"),
}


def search_in(folder: str) -> None:
    """Makes the modules in ``folder`` importable, after everything that is importable already; '' is no folder."""
    if folder and folder not in sys.path:
        sys.path.append(folder)


def _outside(name: str) -> Callable[[Any], Experiment]:
    """Returns ``make`` of the module called ``name``; raises ValueError when there is none."""
    rooms = f"must be one of {', '.join(sorted(EXPERIMENTS))}, or a module with a function make"
    try:
        module = importlib.import_module(name)
    except (ImportError, ValueError, TypeError, SyntaxError) as error:
        raise ValueError(f"experiment = {name!r}: {rooms} ({type(error).__name__}: {error})") from error
    if not callable(getattr(module, "make", None)):
        raise ValueError(f"experiment = {name!r}: {rooms} ({module.__file__} has none)")
    return module.make


def make(config: Any) -> Experiment:
    """Returns the experiment that ``config.experiment`` names; raises ValueError when there is none."""
    name = config.experiment
    return (EXPERIMENTS[name] if name in EXPERIMENTS else _outside(name))(config)


def package(name: str) -> str:
    """Returns the name of the package (or module) that the experiments called ``name`` are made in.

    Example:
        >>> package("rank_flow"), package("examples.signal_propagation")
        ('rgflow.rank_flow', 'examples.signal_propagation')
    """
    if name not in EXPERIMENTS:
        return name
    maker = EXPERIMENTS[name]
    if isinstance(maker, Room):
        return maker.package
    return maker.__module__.rpartition(".")[0] or maker.__module__


def claims(name: str) -> tuple[Claim, ...]:
    """Returns the claims of an experiment, in their order; none for a module without the table ``CLAIMS``."""
    return tuple(getattr(_module(name, "claims"), "CLAIMS", ()))


def figures(name: str) -> Callable[..., list[Any]]:
    """Returns the function (results, verdicts) -> figures of an experiment; without one there are no figures."""
    return getattr(_module(name, "figures"), "figures", lambda results, verdicts: [])


def _module(name: str, part: str) -> Any:
    """Returns a module of a room, or the one module of an experiment outside the package."""
    if isinstance(EXPERIMENTS.get(name), Room):
        return importlib.import_module(f"{package(name)}.{part}")
    return importlib.import_module(package(name))
