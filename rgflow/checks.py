"""Checks of a config: each refuses a value in one line that names the key, the value and what is allowed."""

import math
import numbers
import operator
from collections.abc import Collection
from typing import Any


def real(value: Any) -> float | None:
    """Returns a real number as a float: a scalar of Python, NumPy or JAX; None for anything else, bools included.

    An integer too large for a float is inf. A traced value is no number yet.

    >>> real(3), real(True), real("3"), real([3.0])
    (3.0, None, None, None)
    """
    plain = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not plain and (getattr(value, "ndim", None) != 0 or _is_bool(value)):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf
    except TypeError:
        return None


def integer(value: Any) -> int | None:
    """Returns an integer of Python, NumPy or JAX as an int; None for anything else, bools and 3.0 included.

    >>> integer(3), integer(True), integer(3.0)
    (3, None, None)
    """
    try:
        return None if _is_bool(value) else operator.index(value)
    except TypeError:
        return None


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool) or getattr(getattr(value, "dtype", None), "kind", None) == "b"


def one_of(name: str, value: str, allowed: Collection[str]) -> None:
    """Raises ValueError unless the value is one of the allowed ones.

    >>> one_of("norm", "batch", ("pre", "post"))
    Traceback (most recent call last):
    ...
    ValueError: norm = 'batch': must be one of pre, post
    """
    if value not in allowed:
        raise ValueError(f"{name} = {value!r}: must be one of {', '.join(allowed)}")


def at_least(name: str, value: float | int, least: float | int) -> None:
    """Raises ValueError unless ``value >= least``; NaN is refused.

    >>> at_least("depth", 1, 2)
    Traceback (most recent call last):
    ...
    ValueError: depth = 1: must be at least 2
    """
    if not value >= least:
        raise ValueError(f"{name} = {value}: must be at least {least}")


def whole(name: str, value: int, least: int) -> None:
    """Raises ValueError unless ``least <= value < 2^31``: devices count steps and sizes in 32 bits.

    >>> whole("steps", 3_000_000_000, 1)
    Traceback (most recent call last):
    ...
    ValueError: steps = 3000000000: must be at most 2147483647
    """
    at_least(name, value, least)
    if value >= 2**31:
        raise ValueError(f"{name} = {value}: must be at most {2**31 - 1}")


def seed(name: str, value: int) -> None:
    """Raises ValueError unless ``0 <= value < 2^32``: a key takes 32 bits, and others would silently repeat these.

    >>> seed("root_seed", -1)
    Traceback (most recent call last):
    ...
    ValueError: root_seed = -1: must be a whole number from 0 to 4294967295
    """
    if not 0 <= value < 2**32:
        raise ValueError(f"{name} = {value}: must be a whole number from 0 to {2**32 - 1}")


def positive(name: str, value: float | int) -> None:
    """Raises ValueError unless ``value > 0``; NaN is refused.

    >>> positive("learning_rate", 0.0)
    Traceback (most recent call last):
    ...
    ValueError: learning_rate = 0.0: must be positive
    """
    if not value > 0:
        raise ValueError(f"{name} = {value}: must be positive")


def finite(name: str, value: float | int) -> None:
    """Raises ValueError unless the value is a finite number.

    >>> finite("l1", float("inf"))
    Traceback (most recent call last):
    ...
    ValueError: l1 = inf: must be a finite number
    """
    if not math.isfinite(value):
        raise ValueError(f"{name} = {value}: must be a finite number")


def between(name: str, value: float | int, low: float | int, high: float | int, ends: bool = True) -> None:
    """Raises ValueError unless the value lies in [low, high], or in (low, high) without the ``ends``.

    >>> between("mask_prob", 1.0, 0, 1, ends=False)
    Traceback (most recent call last):
    ...
    ValueError: mask_prob = 1.0: must lie inside (0, 1)
    """
    if not (low <= value <= high if ends else low < value < high):
        raise ValueError(
            f"{name} = {value}: must lie {f'within [{low:g}, {high:g}]' if ends else f'inside ({low:g}, {high:g})'}"
        )
