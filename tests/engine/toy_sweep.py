"""python tests/engine/toy_sweep.py FLAGS: the real launch.sweep, with the toy experiment added to the registry.

TOY_CLOCK=jump makes the wall clock jump by a day every three seconds, forth and back. TOY_SIGNAL="NAME ..." has the
signals sent to the process while it compiles.
"""

import dataclasses
import os
import pathlib
import signal
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # see launch/__init__.py

if os.environ.get("TOY_CLOCK") == "jump":
    true_time, began = time.time, time.monotonic()
    time.time = lambda: true_time() + (0, 86400, -86400)[int((time.monotonic() - began) / 3) % 3]

sys.path[:0] = [str(pathlib.Path(__file__).parents[2]), str(pathlib.Path(__file__).parent)]

import toy
from toy import CLAIMS as CLAIMS

from launch import command_line, sweep
from rgflow import registry

registry.EXPERIMENTS["toy"] = toy.make

if "TOY_SIGNAL" in os.environ:
    lower = toy.make

    def make(config):
        """Sends this process a signal while the first program is traced."""
        experiment = lower(config)

        def step(key, state, hypers):
            for name in os.environ.pop("TOY_SIGNAL", "").split():
                os.kill(os.getpid(), getattr(signal, name))
            return experiment.step(key, state, hypers)

        return dataclasses.replace(experiment, step=step)

    registry.EXPERIMENTS["toy"] = make

if __name__ == "__main__":
    command_line.run(sweep.main, __doc__, sweep.define_flags)
