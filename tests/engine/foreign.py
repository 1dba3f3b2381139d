"""A finished workdir of the toy experiment, the commands on it in this process, and ways to spoil or forge it."""

import contextlib
import io
import json
import pathlib
import shutil
import signal
import sys

import numpy as np
import pytest
import toy
import xarray as xr

from launch import command_line, report, sweep
from launch import workdir as folder
from rgflow import registry
from rgflow.engine import grid, records
from rgflow.plots.figure import Figure
from rgflow.plots.panel import Panel, Series

CONFIG = f"--config={pathlib.Path(__file__).parent / 'toy_config.py'}"
SMALL = ("--config.steps=6", "--config.sweep.seeds=2", "--config.sweep.scales=(0.5,1.0)")
SECONDS = 60
"""A command that takes longer hangs, on a pipe perhaps."""


@contextlib.contextmanager
def toy_room():
    """The toy experiment as a room with a figure, on the devices that this process has."""
    drawn = [
        Figure("ranks", "Rank.", [Panel("w", [Series(1.0, "trained", range(3), [[1.0, 2.0, 3.0]])])], {"toy": "up"})
    ]
    figures, handlers = registry.figures, {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "EXPERIMENTS", {"toy": toy.make})  # no other room is imported
        patch.setattr(registry, "figures", lambda name: (lambda *_: drawn) if name == "toy" else figures(name))
        patch.setattr(sweep.environment, "configure", lambda *_: None)
        yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _hung(*_):
    raise TimeoutError("the command hangs")


def attempt(main, *words):
    """Returns (exit code, what was printed); what is no ending of a command, such as a traceback, is raised."""
    before = signal.signal(signal.SIGALRM, _hung)
    signal.alarm(SECONDS)
    out, said, patch = io.StringIO(), io.StringIO(), pytest.MonkeyPatch()
    patch.setattr("sys.argv", ["command", *map(str, words)])
    patch.setattr(command_line, "end_now", sys.exit)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said):
            command_line.run(main.main, main.__doc__, main.define_flags, main is sweep)
    except SystemExit as ended:
        return ended.code, said.getvalue() or out.getvalue()
    finally:
        patch.undo()
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


COMMANDS = {
    "sweep": lambda workdir, _: attempt(sweep, CONFIG, f"--workdir={workdir}", *SMALL),
    "report": lambda workdir, _: attempt(report, f"--workdir={workdir}"),
    "compare": lambda workdir, other: attempt(report, "--compare", workdir, other, f"--out={other.parent / 'c.html'}"),
    "all": lambda workdir, other: attempt(report, "--all", workdir, f"--out={other.parent / 'a.html'}"),
}


def finished(workdir):
    """Makes a finished workdir, without checkpoints, whose many files take longer to copy than to compute again."""
    with toy_room():
        code, said = COMMANDS["sweep"](workdir, workdir)
    assert code == 0, said
    shutil.rmtree(workdir / "checkpoints")
    return workdir


def copy(workdir, to):
    """Returns a copy of a workdir, links as links."""
    return shutil.copytree(workdir, to, symlinks=True)


def edit_json(path, change, seal=False):
    """Changes a JSON file by ``change(data)``; with ``seal`` as somebody would who knows of the checksum."""
    data = json.loads(path.read_text())
    data = change(data) or data
    if seal:
        data["digest"] = grid.fields_digest(data["science"])
        data["checksum"] = folder.checksum(data)
    path.write_text(json.dumps(data))


def edit_record(workdir, step, change):
    """Changes the arrays of a record by ``change(arrays)``."""
    path = records.record_path(workdir, "group_000", step)
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    change(arrays)
    with open(path, "wb") as file:
        np.savez(file, **arrays)


def edit_results(workdir, change):
    """Changes results.nc by ``change(dataset)``."""
    with xr.open_dataset(workdir / "results.nc", engine="h5netcdf") as file:
        dataset = file.load()
    (workdir / "results.nc").unlink()
    change(dataset).to_netcdf(workdir / "results.nc", engine="h5netcdf")


def forge(workdir, experiment):
    """Makes a workdir one of an experiment outside the package, with a true checksum."""

    def rename(run):
        run["experiment"] = run["science"]["experiment"] = experiment

    edit_json(workdir / "config.json", lambda config: config.update(experiment=experiment))
    edit_json(workdir / "run.json", rename, seal=True)
    return workdir
