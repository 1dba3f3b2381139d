"""The real command, in a process of its own or in this one, shared by the tests of the rooms' sweeps."""

import sys

import pytest
import warm

from launch import command_line
from rgflow.engine import ahead


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
