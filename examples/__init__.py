"""Networks that are not rgflow's own, measured by its probes: ``python -m examples.digits``, ``examples.sentences``."""

import launch as launch  # before numpy and jax: how many threads each LAPACK call may use
