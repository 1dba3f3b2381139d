"""The real command, in a process of its own or in this one, shared by the tests of the rooms' sweeps."""

import json
import sys

import numpy as np
import pytest
import warm
import xarray as xr

from launch import command_line
from rgflow import registry
from rgflow.engine import ahead
from rgflow.judging.claim import judge
from rgflow.protocol import Results


def start(*flags, optimised=False):
    """Starts a sweep that chooses its own devices; ``optimised`` is for one that runs for longer than it compiles."""
    variables = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "0"} if optimised else {}
    return warm.Process(["-m", "launch.sweep", *flags], warm.environment(**variables))


def run(*flags, code=0, timeout=280, optimised=False):
    """Runs a sweep to its end, checks its exit code and returns what it printed."""
    return ended(start(*flags, optimised=optimised), code, timeout)


def ended(process, code=0, timeout=280):
    """Waits for the end of a process, checks its exit code and returns what it printed."""
    try:
        output = process.communicate(timeout=timeout)[0]
    finally:
        process.kill()
    assert process.returncode == code, output[-4000:]
    return output


def refused(module, arguments, monkeypatch, capsys):
    """Runs a command in this process, where nothing may compile, and returns its single line of complaint."""
    monkeypatch.setattr(ahead, "prepare", lambda *_: pytest.fail("a program was compiled"))
    monkeypatch.setattr(sys, "argv", ["command", *arguments])
    with pytest.raises(SystemExit) as stopped:
        command_line.run(module.main, module.__doc__, module.define_flags)
    captured = capsys.readouterr()
    assert stopped.value.code == 2, captured.err
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1
    assert captured.out == ""
    return lines[0]


def judged_as_if(workdir, value):
    """Judges and draws a sweep as if every recorded number were ``value``, and returns the statuses of its claims."""
    with xr.open_dataset(workdir / "results.nc", engine="h5netcdf") as results:
        dataset = results.load()
    for name, found in dataset.data_vars.items():
        if found.dtype.kind == "f" and "step" in found.dims:
            dataset[name] = (found.dims, np.full(found.shape, value, found.dtype), found.attrs)
    results = Results(dataset, json.loads(dataset.attrs["config"]))
    with np.errstate(divide="ignore", invalid="ignore"):
        verdicts = judge(registry.claims(dataset.attrs["experiment"]), results)
        for figure in registry.figures(dataset.attrs["experiment"])(results, verdicts):
            assert figure.alt and figure.texts and isinstance(figure.csv, str)
    return {verdict.status for verdict in verdicts}


NOTHING = {"undecided", "not_run"}
"""What may be said of records without a number."""
