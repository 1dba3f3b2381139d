"""Suite rank_flow_window: a network that sees four positions on either side, per run and step.

Where the time goes (processor time of a step, two runs side by side on a core): sampling 0.01, Adam 0.05, matrix
products 0.6 (suite matmul_share), the rest activations, norms and their derivatives. The network runs on the fixed
number of rows that hold the scored positions, 408 of 2048, which the peers do not do.

* Scan over depth: 1.5 times as long as straight code.
* gelu: 1.04 to 1.09 times the step with relu, 1.15 times that with no activation. Keeping its argument alone and
  computing the tanh twice saves nothing on the whole step, nor does an own derivative.
* Batch of runs on a core: 1, 2 and 4 differ by less than 10 %. One alone pays for transposed products (the gradient
  of a weight takes twice as long as with a batch axis) what it wins in the cache.
* Threads of XLA's pool: 2, 3, 4 and 6 of them cost 0.81, 0.87, 0.93 and 1. Six are used, or concurrent LAPACK calls of
  the probes can block each other for ever (see launch.environment).
* XNNPACK, oneDNN, YNNPACK for all products, the sequential scheduler, one thread for Eigen: within 4 % of the default.
"""

from launch.benchmarks.cases import Case
from launch.benchmarks.rank_flow_cases import training_case


def cases(tiny: bool) -> list[Case]:
    """Returns the one case of this suite."""
    peers = {
        "PyTorch, loop over seeds": ("rank_flow_torch:loop_over_seeds", 1, 8, 3.0),
        "JAX jit, loop over seeds": ("rank_flow_jax:loop_over_seeds", 1, 20, 1.5),
    }
    return [training_case("rank_flow_window", "8 runs", "window", 8, 20, peers, tiny)]
