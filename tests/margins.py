"""How much of their tolerances the tests use: ``python -m pytest -p tests.margins --margins=FILE``, one line per test.

A line holds the largest share |actual - desired| / (atol + rtol |desired|) of all comparisons of a test by
``assert_allclose`` and ``approx``, and the test. Tests near 1 are those that another processor or another version turns
red. Exact comparisons (no tolerance) and statistical thresholds are not seen.
"""

import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

LARGEST = [0.0]


def _share(actual: Any, desired: Any, rtol: float, atol: float) -> float:
    """Returns the largest share of the tolerance that is used, 0 where there is nothing to compare."""
    try:
        actual, desired = np.asarray(actual, np.complex128), np.asarray(desired, np.complex128)
        off, allowed = np.abs(actual - desired), atol + rtol * np.abs(desired)
    except (TypeError, ValueError):
        return 0.0
    used = np.divide(off, allowed, out=np.zeros(np.broadcast_shapes(off.shape, allowed.shape)), where=allowed > 0)
    return float(np.max(used[np.isfinite(used)], initial=0.0))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds ``--margins``."""
    parser.addoption("--margins", type=pathlib.Path, help="file to which the used shares of tolerances are added")


def pytest_configure(config: pytest.Config) -> None:
    """Watches every comparison from now on."""
    kind = type(pytest.approx(1.0))
    allclose, scalar = np.testing.assert_allclose, kind.__eq__

    def watched(actual: Any, desired: Any, rtol: float = 1e-7, atol: float = 0, **how: Any) -> None:
        LARGEST.append(_share(actual, desired, rtol, atol))
        allclose(actual, desired, rtol=rtol, atol=atol, **how)

    def equal(self: Any, actual: Any) -> bool:
        same = scalar(self, actual)
        # What is not equal is said to differ by some test: it has no share.
        if same and isinstance(actual, (int, float, complex, np.number)) and np.isfinite(actual):
            LARGEST.append(_share(actual, self.expected, 0.0, float(self.tolerance)))
        return same

    np.testing.assert_allclose, kind.__eq__ = watched, equal


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Writes the largest share of a test."""
    LARGEST[:] = [0.0]
    result = yield
    if item.config.option.margins and max(LARGEST) > 0:
        with item.config.option.margins.open("a") as file:
            file.write(f"{max(LARGEST):.3f} {item.nodeid}\n")
    return result
