"""The toy experiment of tests/engine as an experiment in one file, which takes as long as the environment says.

TOY_PAUSE: how many seconds pass before every chunk. TOY_HANG: how many seconds pass before anything is compiled.
"""

import os
import pathlib
import sys
import time

sys.path.append(str(pathlib.Path(__file__).parents[1] / "engine"))

import toy
import toy_config
from toy import CLAIMS as CLAIMS

from rgflow.engine import loop


def get_config(preset=""):
    config = toy_config.get_config(preset)
    config.experiment = "slurm_toy"
    return config


get_sweep = toy_config.get_sweep


def make(config):
    """Makes the toy experiment of one run."""
    time.sleep(float(os.environ.pop("TOY_HANG", 0)))
    if pause := float(os.environ.pop("TOY_PAUSE", 0)):
        loop.chunks = slowly(loop.chunks, pause)
    return toy.make(config)


def slowly(chunks, pause):
    """Returns ``chunks`` with a pause before each."""

    def paused(*arguments):
        for chunk in chunks(*arguments):
            time.sleep(pause)
            yield chunk

    return paused
