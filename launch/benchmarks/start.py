"""Suite start: seconds from nothing to a compiled chunk, each repetition a fresh Python; there are limits, no peers.

* imports: `import rgflow`, and `import launch.sweep`, what every command pays;
* first chunk: `python -m launch.sweep --config=configs/rank_flow.py:smoke` until its first record is on disk, with an
  empty compilation cache;
* second start: the same in a new workdir with the cache of the first.

Where the time goes (2 cores, smoke preset: two programs; the first group runs as soon as its own is compiled, while a
thread compiles the other, which made both starts 1.7 to 2 times shorter). Importing launch.sweep takes 1.0 s, half of
it jax; plots, tables, statistics and rooms that no one asked for made it 2.5 to 3 s. The room adds 0.6 s. Tracing and
lowering one group's programs takes 3 s, half of it the probe's. Then ``initialise`` (1.6 s of processor time at the
compiler's level 2, with the same bits as at 3, which takes 3.3 s) and ``advance`` (16 s on both cores, of which the
training step is a quarter and the probe the rest: 400 small kernels). The floor without a cache: with
``XLA_FLAGS=--xla_backend_optimization_level=0``, which no sweep should run with, the first record comes after 11 to
12 s instead of 16. With a cache tracing and the imports alone take 4.5 s. What would be left is a smaller probe; or a
cache that skips the tracing, which would have to know by itself when some code has changed. No gain: keeping the
smallest programs in the cache, ``fold_in`` as one expression.
"""

import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

from launch import environment
from launch.benchmarks.cases import Case, Contender, Outcome

COMMAND = ("-m", "launch.sweep", "--config=configs/rank_flow.py:smoke")
PATIENCE = 300.0
"""Seconds after which a start counts as failed."""


def make_import(module: str) -> Callable[[], Outcome]:
    """A Python that imports one module and ends."""

    def repeat() -> Outcome:
        subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
        return Outcome(1.0)

    return repeat


@contextlib.contextmanager
def sweep(workdir: pathlib.Path, cache: pathlib.Path) -> Iterator[subprocess.Popen]:
    """Yields a sweep that has just been started, and ends it."""
    variables = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    command = [sys.executable, *COMMAND, f"--workdir={workdir}"]
    variables["XDG_CACHE_HOME"] = str(cache)
    process = subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def until_first_record(workdir: pathlib.Path, cache: pathlib.Path) -> None:
    """Starts a sweep in ``workdir`` and returns as soon as its first record is on disk; the sweep goes no further."""
    deadline = time.monotonic() + PATIENCE
    with sweep(workdir, cache) as process:
        while not any((workdir / "chunks").glob("[!.]*.npz")):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the sweep wrote no record (exit code {process.poll()})")
            time.sleep(0.005)


def make_start(warm: bool) -> Callable[[], Outcome]:
    """A sweep until its first record, in a new workdir; the compilation cache is new too unless ``warm``."""
    kept = environment.cache_directory().parent / "start"
    if warm:
        shutil.rmtree(kept, ignore_errors=True)

    def repeat() -> Outcome:
        with tempfile.TemporaryDirectory(prefix="rgflow-start-") as own:
            folder = pathlib.Path(own)
            until_first_record(folder / "run", kept if warm else folder / "cache")
        return Outcome(1.0)

    return repeat


def cases(tiny: bool) -> list[Case]:
    """Returns the cases of this suite; ``tiny`` changes nothing, as the sweep is the smoke preset already."""
    del tiny

    def case(name: str, function: str, limit: float, **arguments: object) -> Case:
        ours = Contender("rgflow", f"{__name__}:{function}", arguments)
        return Case(suite="start", name=name, unit="start", ours=ours, limit=limit)

    return [
        case("import rgflow", "make_import", 1.5, module="rgflow"),
        case("import launch.sweep", "make_import", 1.5, module="launch.sweep"),
        case("first chunk, no cache", "make_start", 10.0, warm=False),
        case("first chunk, cache", "make_start", 4.0, warm=True),
    ]
