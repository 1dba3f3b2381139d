"""The process around a run: devices, memory, thread pool, compilation cache, versions."""

import gc
import math
import os
import pathlib
import platform
import re
import subprocess
import sys
import tempfile
from importlib import metadata

import jax

import rgflow

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "ml-collections", "xarray")
BAD_JAX = {
    "0.10.2": "wrong numbers on CPU for a vmapped mat-vec followed by a reduction (jax issue 39103)",
    "0.11.0": "wrong numbers on CPU (jax issue 39257)",
}


def cores() -> int:
    """Returns how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def forced_cpu_devices() -> int | None:
    """Returns the number of CPU devices that the user's environment asks for, or None."""
    flag = re.search(r"--xla_force_host_platform_device_count=(\d+)", os.environ.get("XLA_FLAGS", ""))
    text = flag.group(1) if flag else os.environ.get("JAX_NUM_CPU_DEVICES", "")
    return int(text) if text else None


def configure(runs: int, cpu_devices: int = 0) -> None:
    """Splits a CPU into devices (one per core, at most one per run) and turns the compilation cache on.

    Call it before the first use of a device. Settings that the environment forces are kept.
    """
    forced = forced_cpu_devices()
    devices = forced or cpu_devices or max(1, min(cores(), runs))
    # A LAPACK call waits inside the pool of threads that it needs itself (jax 0.9 to 0.11.0): the pool must be larger
    # than the number of calls at a time, which is one per device. Far larger pools cost the training step its speed.
    pool = str(max(4, 3 * devices, cores()))
    os.environ.setdefault("PJRT_NPROC", pool)
    os.environ.setdefault("NPROC", pool)
    if forced is None:
        jax.config.update("jax_num_cpu_devices", devices)
    use_cache()
    # Tracing makes millions of objects; without this each full collection would walk through all modules again.
    gc.freeze()


def _number(path: str, label: str = "") -> int | None:
    """Returns the first number of the line of a system file that starts with ``label``, or None."""
    try:
        lines = pathlib.Path(path).read_text().splitlines()
        return next(int(re.findall(r"\d+", line)[0]) for line in lines if line.startswith(label))
    except (OSError, StopIteration, IndexError):
        return None


def cgroups() -> list[pathlib.Path]:
    """Returns the control groups that limit this process (version 2), from its own to the outermost."""
    root = pathlib.Path("/sys/fs/cgroup")
    try:
        names = [line[3:] for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines() if line[:3] == "0::"]
    except OSError:
        names = []
    own = root / names[0].lstrip("/") if names else root
    return [own, *(p for p in own.parents if p.is_relative_to(root))]


def device_memory() -> int | None:
    """Returns the bytes that one device may use, or None where the platform does not say.

    Devices of a CPU share what is free in the machine, or in the container that this process runs in.
    """
    device = jax.local_devices()[0]
    if device.platform != "cpu":
        return (device.memory_stats() or {}).get("bytes_limit")
    free = [1024 * kib] if (kib := _number("/proc/meminfo", "MemAvailable")) else []
    for folder in cgroups():
        limit, used = _number(f"{folder}/memory.max"), _number(f"{folder}/memory.current")
        free += [limit - used] if limit and used else []
    return min(free) // jax.local_device_count() if free else None


def cache_directory() -> pathlib.Path:
    """Returns the folder of compiled programs under the user's cache directory."""
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path("~/.cache").expanduser()
    return pathlib.Path(base) / "rgflow" / "jax"


def use_cache() -> None:
    """Turns the compilation cache on; says so in one line where programs cannot be written to it."""
    folder = jax.config.values.get("jax_compilation_cache_dir")
    try:
        folder = folder or str(cache_directory())
        os.makedirs(folder, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, RuntimeError) as error:  # RuntimeError: the user has no home
        reason = error.strerror if isinstance(error, OSError) else error
        where = f"cannot write to {folder}; " if folder else ""
        print(f"compiled programs are not kept for the next start: {where}{reason}", file=sys.stderr)
        # What is there is read all the same; jax would warn of every program that it cannot write.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", math.inf)
        folder = folder if folder and os.path.isdir(folder) else None
    jax.config.update("jax_compilation_cache_dir", folder)


def versions() -> dict[str, str]:
    """Returns the versions that results depend on."""
    installed = {name: metadata.version(name) for name in PACKAGES}
    return {"rgflow": rgflow.__version__, "python": platform.python_version(), **installed}


def bad_version() -> str | None:
    """Returns one line about the installed jax or jaxlib when it is known to compute wrong numbers."""
    for name in ("jax", "jaxlib"):
        version = metadata.version(name)
        if version in BAD_JAX:
            return f"{name} {version} gives {BAD_JAX[version]}: install another version"
    return None


def git_commit() -> str:
    """Returns the commit of the source tree, with '+' after it when files differ, or '' outside a repository."""
    source = pathlib.Path(rgflow.__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(source), *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        if not git("ls-files", str(source)):
            return ""
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", str(source)) else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def device_text() -> str:
    """Returns the devices in words, such as '2 x cpu (x86_64)'."""
    first = jax.devices()[0]
    kind = platform.machine() if first.platform == "cpu" else first.device_kind
    return f"{jax.device_count()} x {first.platform} ({kind})"
