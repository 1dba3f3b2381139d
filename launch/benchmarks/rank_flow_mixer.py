"""Suite rank_flow_mixer: MLPs over tokens and channels at width 64 and 64 tokens, per run and step."""

from launch.benchmarks.cases import Case
from launch.benchmarks.rank_flow_cases import training_case


def cases(tiny: bool) -> list[Case]:
    """Returns the one case of this suite."""
    peers = {
        "PyTorch, loop over seeds": ("rank_flow_torch:loop_over_seeds", 1, 6, 1.5),
        "torch.func, vmap over seeds": ("rank_flow_torch:vmap_over_seeds", 8, 2, 2.0),
    }
    return [training_case("rank_flow_mixer", "8 runs", "mixer", 8, 3, peers, tiny)]
