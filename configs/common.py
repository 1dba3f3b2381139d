"""What every config shares: the engine's settings and the presets' names."""

import functools
import itertools
from collections.abc import Iterator
from typing import Any

import ml_collections

from rgflow import checks
from rgflow.types import Config

PRESETS = ("smoke", "default", "paper")


def get_config(experiment: str) -> Config:
    """Returns the keys that every experiment has."""
    config = ml_collections.ConfigDict()
    config.experiment = experiment
    config.root_seed = 0
    config.engine = ml_collections.ConfigDict()
    config.engine.run_batch = 0  # runs stepped together on one device; 0: a fixed rule from platform and sizes
    config.engine.chunk_steps = 500  # most steps of one compiled call; a stop request waits for its end
    config.engine.checkpoint_seconds = 30.0  # least time between two checkpoints; 0: after every chunk
    config.engine.cpu_devices = 0  # devices to split a CPU into; 0: one per core, at most one per run
    return config


def check_preset(preset: str) -> str:
    """Returns ``preset`` ("default" for none) or raises ValueError."""
    if (preset or "default") not in PRESETS:
        raise ValueError(f"preset = {preset!r}: must be one of {', '.join(PRESETS)}")
    return preset or "default"


def words(values: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the single words of a swept key: the command line hands ``a,b`` over as one text.

    Example:
        >>> words(("window,mixer",))
        ('window', 'mixer')
    """
    return tuple(word.strip() for value in values for word in value.split(",") if word.strip())


def require_values(sweep: Config, *names: str) -> None:
    """Raises ValueError for an axis of a study without a value; the name of a section stands for all its axes.

    Example:
        >>> require_values(section(width=section(sigma2=(1.0,), width=())), "width")
        Traceback (most recent call last):
        ...
        ValueError: sweep.width.width = (): must name at least one
    """
    for name in names:
        value = functools.reduce(lambda section, key: section[key], name.split("."), sweep)
        if isinstance(value, ml_collections.ConfigDict):
            require_values(sweep, *(f"{name}.{key}" for key in value))
        elif isinstance(value, (tuple, list)) and not given(tuple(value)):
            raise ValueError(f"sweep.{name} = (): must name at least one")


def given(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Returns the values of an axis; the command line hands over none of them as one empty text.

    Example:
        >>> given(("",)), given((1, 2)), given(("window,mixer",))
        ((), (1, 2), ('window', 'mixer'))
    """
    return words(values) if all(isinstance(value, str) for value in values) else values


def studies(sweep: Config, known: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the chosen studies; raises ValueError for none and for one that is not known.

    Example:
        >>> studies(section(study=("width,depth",)), ("width", "depth", "size"))
        ('width', 'depth')
    """
    chosen = words(sweep.study)
    if not chosen:
        raise ValueError(f"sweep.study = (): must name at least one of {', '.join(known)}")
    for study in chosen:
        checks.one_of("sweep.study", study, known)
    return chosen


def section(**values: Any) -> Config:
    """Returns a section of a config."""
    return ml_collections.ConfigDict(values)


def crossed(axes: Config, *names: str, **fixed: Any) -> Iterator[dict[str, Any]]:
    """Yields every combination of the named axes of a study; its other keys, and what is fixed, are the same.

    Example:
        >>> list(crossed(section(a=(1, 2), b=3), "a", c=4))
        [{'b': 3, 'c': 4, 'a': 1}, {'b': 3, 'c': 4, 'a': 2}]
    """
    rest = {name: axes[name] for name in axes if name not in names}
    for values in itertools.product(*(axes[name] for name in names)):
        yield {**rest, **fixed, **dict(zip(names, values, strict=True))}
