"""The sweep engine runs any :class:`rgflow.protocol.Experiment` over many runs and knows no physics.

keys (randomness) | grid (points, runs, groups) | mesh (devices) | batch (the compiled program) | memory (what it needs)
| health (dead runs) | checkpoint (Orbax) | records (files and results.nc) | progress (terminal)
| loop (puts them together).
"""
