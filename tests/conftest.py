"""Test session set-up: CPU, simulated devices, a pool that cannot deadlock, one compilation cache, strict JAX.

Most programs here are compiled, run once on tiny arrays, and thrown away: the optimisations of XLA cost more time than
they save, and are off unless a test module sets ``OPTIMISED = True``.
"""

import gc
import os
import pathlib
from collections.abc import Iterator

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

# Shapes and dtypes of every public signature are checked in the tests and cost users nothing.
from jaxtyping import install_import_hook

install_import_hook("rgflow", "beartype.beartype")

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")


DEFAULT = jax.config.read("jax_disable_most_optimizations")


@pytest.fixture(autouse=True, scope="module")
def programs_of_a_module(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compiles as the module asks for, and drops its executables afterwards: they fill gigabytes over a session."""
    optimised = getattr(request.module, "OPTIMISED", False)
    jax.config.update("jax_disable_most_optimizations", DEFAULT and not optimised)
    yield
    jax.clear_caches()
    gc.collect()


@pytest.fixture
def key() -> jax.Array:
    """A typed key for tests that need any."""
    return jax.random.key(20260101)
