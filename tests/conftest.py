"""Test session set-up: CPU, simulated devices, a pool that cannot deadlock, one compilation cache, strict JAX.

Most programs here are compiled, run once on tiny arrays, and thrown away: the optimisations of XLA cost more time than
they save, and are off unless a test module sets ``OPTIMISED = True``.
"""

import ctypes
import gc
import os
import pathlib
import sys
from collections import Counter
from collections.abc import Iterator
from importlib import metadata
from typing import Any

CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "rgflow" / "jax-tests"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # see launch/__init__.py
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")
os.environ.setdefault("PJRT_NPROC", "24")
os.environ.setdefault("NPROC", "24")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
# Keys are of the lowered program: what does not lower fails before the cache is asked. Small programs are most of them.
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# The older emitter of kernels compiles a program in half of the time; jaxlib 0.12 has it no more, and dies of its flag.
if tuple(map(int, metadata.version("jaxlib").split(".")[:2])) < (0, 11):
    os.environ["XLA_FLAGS"] = f"--xla_cpu_use_fusion_emitters=false {os.environ.get('XLA_FLAGS', '')}"

# Shapes and dtypes of every public signature are checked in the tests and cost users nothing.
from jaxtyping import install_import_hook

install_import_hook("rgflow", "beartype.beartype")

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")


BUDGET = {"programs compiled": 5_700, "processes started": 260}
"""Most that the whole suite may spend: what takes the time, counted, so that a busy machine counts the same."""

WHOLE = 3_000
"""Tests that are at least collected where the whole suite is run."""

SPENT: Counter[str] = Counter()


def _count_program(event: str, seconds: float, **_: Any) -> None:
    SPENT["programs compiled"] += event == "/jax/core/compile/backend_compile_duration"


def _count_process(event: str, _: tuple) -> None:
    SPENT["processes started"] += event in ("subprocess.Popen", "warm.Process")


jax.monitoring.register_event_duration_secs_listener(_count_program)
sys.addaudithook(_count_process)


def pytest_testnodedown(node: Any, error: object) -> None:
    """Adds what a worker has spent."""
    SPENT.update(getattr(node, "workeroutput", {}).get("spent", {}))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hands over what this worker has spent, or fails a whole suite that has spent more than its budget."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["spent"] = dict(SPENT)
    elif session.testscollected >= WHOLE and any(SPENT[name] > most for name, most in BUDGET.items()):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Says what was spent."""
    said = ", ".join(f"{SPENT[name]} {name} (at most {most} in the whole suite)" for name, most in BUDGET.items())
    terminalreporter.write_line(said)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Has the garbage collector pass over what was imported, and come more rarely: tracing makes many objects."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


DEFAULT = jax.config.read("jax_disable_most_optimizations")


class Programs:
    """Registered for all tests, examples in docstrings too, which are not in this folder."""

    @pytest.fixture(autouse=True, scope="module")
    @classmethod
    def programs_of_a_module(cls, request: pytest.FixtureRequest) -> Iterator[None]:
        """Compiles as the module asks for, and drops its executables afterwards: they fill gigabytes over a session."""
        optimised = getattr(request.module, "OPTIMISED", False)
        jax.config.update("jax_disable_most_optimizations", DEFAULT and not optimised)
        yield
        jax.clear_caches()
        gc.collect()
        # Freed memory goes back to the system: what is left of one module is not added to the next one's.
        if sys.platform == "linux":
            ctypes.CDLL(None).malloc_trim(0)


def pytest_configure(config: pytest.Config) -> None:
    """Registers what all tests share."""
    config.pluginmanager.register(Programs())


@pytest.fixture
def optimised() -> Iterator[None]:
    """Compiles as for a user, in a single test."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture
def key() -> jax.Array:
    """A typed key for tests that need any."""
    return jax.random.key(20260101)
