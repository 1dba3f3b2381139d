"""Commands: ``python -m launch.sweep``, ``launch.report``, ``launch.bench``, ``launch.doctor``; all take ``--help``."""

import os

# Before numpy, scipy or jax are imported: LAPACK calls already run side by side, and threads inside each of them
# only get in each other's way (2 to 10 times slower).
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# A program loaded from the compilation cache makes XLA's CPU loader print pages about the tuning hints
# prefer-no-gather and prefer-no-scatter, which are no instructions and cannot fail.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
