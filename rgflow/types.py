"""Array and key aliases, and the letters used for axes in shape annotations and array-name suffixes.

| letter | axis                               | letter | axis                          |
|--------|------------------------------------|--------|-------------------------------|
| R      | runs (points x seeds)              | L      | layers of the residual stream |
| B      | sequences in a batch               | D      | width of the residual stream  |
| T      | positions in a sequence (tokens)   | V      | states of a Markov chain      |
| N      | rows (samples) of a data matrix    | F      | width of an input encoding    |
"""

from collections.abc import Mapping
from typing import Any

import jaxtyping
from jaxtyping import Array, PRNGKeyArray

Key = PRNGKeyArray
"""A typed PRNG key (``jax.random.key``), never a raw ``uint32`` pair."""

Keys = jaxtyping.Key[Array, " R"]
"""Typed keys of many runs."""

Hypers = Mapping[str, Any]
"""Traced inputs of one run: scalars and small arrays; sweeping them never recompiles."""

Info = dict[str, Array]
"""Scalars of one step; the engine averages them between records."""

Record = dict[str, Array]
"""Float arrays of fixed shape measured at one step; dims are declared in ``Experiment.dims``."""

Config = Any
"""A (possibly nested) ``ml_collections.ConfigDict``; its attributes are keys that a type checker cannot know."""

State = Any
"""A ``flax.struct.dataclass`` with everything a resume needs and no functions."""
