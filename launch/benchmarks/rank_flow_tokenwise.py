"""Suite rank_flow_tokenwise: the published experiment, sampling included, per run and step."""

from launch.benchmarks.cases import Case
from launch.benchmarks.rank_flow_cases import training_case


def cases(tiny: bool) -> list[Case]:
    """Returns the one case of this suite."""
    peers = {
        "PyTorch, loop over seeds": ("rank_flow_torch:loop_over_seeds", 1, 8, 25.0),
        "JAX jit, loop over seeds": ("rank_flow_jax:loop_over_seeds", 1, 20, 10.0),
    }
    return [training_case("rank_flow_tokenwise", "16 runs", "tokenwise", 16, 200, peers, tiny)]
