"""Suite rank_flow_window: a network that sees four positions on either side, per run and step."""

from launch.benchmarks.cases import Case
from launch.benchmarks.rank_flow_cases import training_case


def cases(tiny: bool) -> list[Case]:
    """Returns the one case of this suite."""
    peers = {
        "PyTorch, loop over seeds": ("rank_flow_torch:loop_over_seeds", 1, 8, 3.0),
        "JAX jit, loop over seeds": ("rank_flow_jax:loop_over_seeds", 1, 20, 1.5),
    }
    return [training_case("rank_flow_window", "8 runs", "window", 8, 20, peers, tiny)]
