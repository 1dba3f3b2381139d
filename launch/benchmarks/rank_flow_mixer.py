"""Suite rank_flow_mixer: MLPs over tokens and channels at width 64 and 64 tokens, per run and step.

Every position passes through every block, so there is no shortcut: rgflow and its peers do the same 4.8 GFLOP of
matrix products a step. They take 0.57 of it (suite matmul_share; PyTorch's own products 0.49), so that without anything
else the ratio would still be below two. The rest is memory traffic: hidden layers of 2 MB a run leave the second-level
cache, and about sixteen passes over them are made per sub-layer.

What was tried, as shares of the step's processor time: one run instead of two on a core 1.12 (gradients through
transposed products), the same with gradients written out as untransposed products 0.92 to 1, eight sequences at a time
0.9 to 0.97, gelu recomputed in the backward pass 0.95, no activation 0.9, no norm 0.93. None of them was worth a second
way to write the same network. Sampling and Adam are below 0.01 each.
"""

from launch.benchmarks.cases import Case
from launch.benchmarks.rank_flow_cases import training_case


def cases(tiny: bool) -> list[Case]:
    """Returns the one case of this suite."""
    peers = {
        "PyTorch, loop over seeds": ("rank_flow_torch:loop_over_seeds", 1, 6, 1.5),
        "torch.func, vmap over seeds": ("rank_flow_torch:vmap_over_seeds", 8, 2, 2.0),
    }
    return [training_case("rank_flow_mixer", "8 runs", "mixer", 8, 3, peers, tiny)]
