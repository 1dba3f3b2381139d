"""The config file of the toy experiment, for the real command."""

import toy

from rgflow.protocol import Point


def get_config(preset=""):
    config = toy.config(steps=40, sweep={"seeds": 3, "scales": (0.5, 1.0, 2.0), "sick": (-1.0,)})
    config.engine.chunk_steps = 2
    return config


def get_sweep(config):
    """Points of every scale; further ones that die at step 7, or grow until they overflow, where ``sick`` says so."""
    sweep = config.sweep
    points = [Point({"scale": scale}, sweep.seeds) for scale in sweep.scales]
    trouble = {0.0: {"fatal_step": 7}, 1.0: {"growth": 1e5}}
    return points + [Point({"scale": 1.0, **trouble[kind]}, 1) for kind in sweep.sick if kind in trouble]
