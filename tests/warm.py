"""Child processes that start warm: forked from a server that has imported everything, and used no device.

A fresh interpreter spends over two seconds on imports before it does anything. What starts cold instead: whatever needs
its own imports or another program than Python, and a few tests of every real command.
"""

import atexit
import ctypes
import gc
import io
import multiprocessing
import os
import pathlib
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from multiprocessing import forkserver

HERE = pathlib.Path(__file__).parent
PRELOADED = [
    "warm",
    "launch.sweep",
    "launch.report",
    "rgflow.registry",
    *(f"rgflow.{room}.experiment" for room in ("rank_flow", "fixed_points", "kernel_rg", "variational_rg")),
    "orbax.checkpoint",
    "scipy.stats",
    "xarray",
]
SHARED = ("JAX_NUM_CPU_DEVICES", "PJRT_NPROC", "NPROC")
"""Variables of the tests that a sweep of its own chooses for itself."""


def environment(**variables: str) -> dict[str, str]:
    """Returns this process's environment without what a sweep chooses for itself."""
    return {k: v for k, v in os.environ.items() if k not in SHARED} | variables


def drop_override() -> None:
    """Takes root's rights to read and write against permissions from the child (PR_CAPBSET_DROP, CAP_DAC_*)."""
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        assert ctypes.CDLL(None, use_errno=True).prctl(24, capability, 0, 0, 0) == 0


def _start_server() -> multiprocessing.context.ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    before = dict(os.environ)
    paths = [str(HERE.parent), str(HERE), os.environ.get("PYTHONPATH", "")]
    os.environ.clear()
    os.environ.update({k: v for k, v in before.items() if k not in SHARED} | {"PYTHONPATH": os.pathsep.join(paths)})
    try:
        context.set_forkserver_preload(PRELOADED)
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)
    return context


def _run(
    words: list[str], variables: Mapping[str, str], cwd: str, output: str, prepare: Callable[[], None] | None
) -> None:
    """Becomes ``python WORDS`` in the child."""
    import jax

    gc.freeze()
    os.environ.clear()
    os.environ.update(variables)
    # These were read at the import of jax, which is long past.
    jax.config.update("jax_disable_most_optimizations", variables.get("JAX_DISABLE_MOST_OPTIMIZATIONS") == "1")
    if devices := variables.get("JAX_NUM_CPU_DEVICES"):
        jax.config.update("jax_num_cpu_devices", int(devices))
    os.chdir(cwd)
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(file, stream)
    sys.stdout.reconfigure(line_buffering=False)
    if prepare is not None:
        prepare()
    sys.path[:0] = [cwd, *filter(None, variables.get("PYTHONPATH", "").split(os.pathsep))]
    try:
        if words[0] == "-m":
            sys.argv = words[1:]
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = words
            runpy.run_path(words[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # multiprocessing leaves without them
        sys.stdout.flush()
        sys.stderr.flush()


class Process:
    """A Python process that starts warm, with what the tests use of ``subprocess.Popen``."""

    def __init__(
        self,
        words: Iterable[object],
        variables: Mapping[str, str] | None = None,
        cwd: pathlib.Path = HERE.parent,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        sys.audit("warm.Process")
        handle, name = tempfile.mkstemp()
        os.close(handle)
        self._output = pathlib.Path(name)
        self.stdout: io.TextIOBase | None = None
        given = environment() if variables is None else dict(variables)
        arguments = ([str(word) for word in words], given, str(cwd), name, prepare)
        self._process = _start_server().Process(target=_run, args=arguments)
        self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """Exit code, minus the number of the signal that ended it, or None."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Returns the exit code, or None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Waits for its end and returns the exit code."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("warm", timeout or 0)
        return self._process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        """Waits for its end and returns what it printed, on both streams."""
        self.wait(timeout)
        if self.stdout is None:
            self.stdout = self._output.open()
            self._output.unlink()
        with self.stdout:
            return self.stdout.read(), None

    def send_signal(self, number: int) -> None:
        """Sends a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kills it, if it still runs."""
        self.send_signal(signal.SIGKILL)
