"""python tests/engine/toy_sweep.py FLAGS: the real launch.sweep, with the toy experiment added to the registry.

TOY_CLOCK=jump makes the wall clock jump by up to a day, back and forth, whenever it is read.
"""

import os
import pathlib
import random
import sys
import time

if os.environ.get("TOY_CLOCK") == "jump":
    true_time, jumps = time.time, random.Random(1)
    time.time = lambda: true_time() + jumps.uniform(-86400, 86400)

sys.path[:0] = [str(pathlib.Path(__file__).parents[2]), str(pathlib.Path(__file__).parent)]

import toy

from launch import command_line, sweep
from rgflow import registry

registry.EXPERIMENTS["toy"] = toy.make

if __name__ == "__main__":
    command_line.run(sweep.main, __doc__, sweep.define_flags)
