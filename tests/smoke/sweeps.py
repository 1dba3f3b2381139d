"""The real command, in a process of its own or in this one, shared by the tests of the rooms' sweeps."""

import os
import pathlib
import subprocess
import sys

import pytest

from launch import command_line
from rgflow.engine import ahead

ROOT = pathlib.Path(__file__).parents[2]
SHARED = ("JAX_NUM_CPU_DEVICES", "PJRT_NPROC", "NPROC")


def start(*flags, output=subprocess.PIPE):
    """Starts a sweep that chooses its own devices; its two outputs come as one."""
    environment = {k: v for k, v in os.environ.items() if k not in SHARED}
    words = [sys.executable, "-m", "launch.sweep", *flags]
    return subprocess.Popen(words, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, text=True)


def run(*flags, code=0, timeout=280):
    """Runs a sweep to its end, checks its exit code and returns what it printed."""
    process = start(*flags)
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
