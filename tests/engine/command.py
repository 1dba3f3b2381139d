"""The real command on the toy experiment, in processes of its own, and comparisons of what they leave behind."""

import contextlib
import functools
import io
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
import toy
import warm
import xarray as xr

from launch import command_line
from launch import sweep as real_sweep
from rgflow import registry

HERE = pathlib.Path(__file__).parent
STARTED: list[subprocess.Popen | warm.Process] = []
"""Processes of the running test; what still runs at its end is killed."""


def start(workdir, *flags, devices=2, limit_file=None, limit_memory=None, without_override=False, **variables):
    """Starts a toy sweep; ``limit_file`` and ``limit_memory`` are in bytes (of one file, of the address space)."""
    environment = warm.environment(**variables)
    if devices:
        environment["JAX_NUM_CPU_DEVICES"] = str(devices)
    config = f"--config={HERE / 'toy_config.py'}"
    words = [str(HERE / "toy_sweep.py"), config, f"--workdir={workdir}", *flags]
    prepare = functools.partial(limit, limit_file, limit_memory)
    if variables or without_override:
        STARTED.append(
            cold(words, environment, warm.drop_override if without_override and os.getuid() == 0 else prepare)
        )
    else:
        STARTED.append(warm.Process(words, environment, prepare=prepare))
    return STARTED[-1]


def cold(words, environment, prepare):
    """Starts an interpreter: rights are dropped, and the clock and signals set, before anything is imported."""
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, *words], env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True, preexec_fn=prepare
    )


def limit(size_of_file, memory):
    """Limits a child to so many bytes of one file and of its address space."""
    for resource_, most in ((resource.RLIMIT_FSIZE, size_of_file), (resource.RLIMIT_DATA, memory)):
        if most is not None:
            resource.setrlimit(resource_, (most, most))


def finish(process, code=0, seconds=120):
    """Waits for the end of a process, checks its exit code and returns what it printed."""
    output = process.communicate(timeout=seconds)[0]
    assert process.returncode == code, output
    return output


def sweep(workdir, *flags, code=0, **how):
    """Runs a toy sweep to its end and returns what it printed."""
    return finish(start(workdir, *flags, **how), code)


def refused(workdir, *flags):
    """Returns the one line with which the command refuses, in this process, before it would look for a device."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(io.StringIO()) as said:
        patch.setitem(registry.EXPERIMENTS, "toy", toy.make)
        patch.setattr(real_sweep.environment, "configure", lambda *_: pytest.fail("it went on to the devices"))
        patch.setattr(sys, "argv", ["sweep", f"--config={HERE / 'toy_config.py'}", f"--workdir={workdir}", *flags])
        with pytest.raises(SystemExit) as stopped:
            command_line.run(real_sweep.main, real_sweep.__doc__, real_sweep.define_flags)
    assert stopped.value.code == 2, said.getvalue()
    (line,) = said.getvalue().strip().splitlines()
    return line


def copy(workdir, to):
    """Copies a workdir, times of its files included, and returns the copy."""
    return shutil.copytree(workdir, to)


def wait_for(condition, *processes, seconds=60):
    """Waits until a condition holds, while the processes are running."""
    deadline = time.monotonic() + seconds
    while not condition():
        for process in processes:
            assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.001)


def events(workdir, name):
    """Returns the events of one name, oldest first; an unfinished last line is left out."""
    path = pathlib.Path(workdir) / "events.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [event for event in map(json.loads, lines) if event["event"] == name]


def results(workdir):
    """Returns results.nc, loaded."""
    with xr.open_dataset(pathlib.Path(workdir) / "results.nc") as dataset:
        return dataset.load()


def assert_same_bits(workdir, reference):
    """Compares two workdirs' results bit for bit, and their verdicts."""
    a, b = results(workdir), results(reference)
    assert set(a.variables) == set(b.variables)
    for name in a.variables:
        assert a[name].dims == b[name].dims
        assert a[name].values.dtype == b[name].values.dtype
        assert a[name].values.tobytes() == b[name].values.tobytes(), name
    verdicts = [(pathlib.Path(folder) / "verdicts.json").read_text() for folder in (workdir, reference)]
    assert verdicts[0] == verdicts[1]


def assert_close(workdir, reference, rtol=2e-5):
    """Compares two workdirs' results up to float rounding, run by run whatever their order."""
    a, b = (ordered(results(folder)) for folder in (workdir, reference))
    assert set(a.variables) == set(b.variables)
    for name in a.variables:
        np.testing.assert_allclose(a[name], b[name], rtol=rtol, atol=1e-5, err_msg=name)


def ordered(dataset):
    """Sorts the runs of a toy sweep by scale and seed."""
    return dataset.isel(run=np.lexsort((dataset["seed"].values, dataset["scale"].values)))
