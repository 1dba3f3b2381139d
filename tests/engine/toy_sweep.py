"""python tests/engine/toy_sweep.py FLAGS: the real launch.sweep, with the toy experiment added to the registry.

TOY_CLOCK=jump makes the wall clock jump by a day every three seconds, forth and back.
"""

import os
import pathlib
import sys
import time

if os.environ.get("TOY_CLOCK") == "jump":
    true_time, began = time.time, time.monotonic()
    time.time = lambda: true_time() + (0, 86400, -86400)[int((time.monotonic() - began) / 3) % 3]

sys.path[:0] = [str(pathlib.Path(__file__).parents[2]), str(pathlib.Path(__file__).parent)]

import toy

from launch import command_line, sweep
from rgflow import registry

registry.EXPERIMENTS["toy"] = toy.make

if __name__ == "__main__":
    command_line.run(sweep.main, __doc__, sweep.define_flags)
