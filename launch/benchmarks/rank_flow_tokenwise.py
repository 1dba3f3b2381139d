"""Suite rank_flow_tokenwise: the published experiment, sampling included, per run and step.

Where the time goes (processor time of a step, two runs side by side on a core; shares of one profile, which overlap a
little): sampling 0.08; forward pass 0.4, which is reading 0.4 million weights for the one distinct row that a scored
position can show; Adam and the update 0.4. So the step is memory traffic over weights and their two moments, and the
matrix products are vectors. The table of distinct rows is what makes it fast: the peers send 2048 rows through the
network. Straight code takes 0.83 (two runs) to 0.68 (eight) of the time of a scan over depth, which is why stacks of up
to eight blocks are unrolled. Random numbers were a quarter of the sampler's cost before they were drawn in one pass.
"""

from launch.benchmarks.cases import Case
from launch.benchmarks.rank_flow_cases import training_case


def cases(tiny: bool) -> list[Case]:
    """Returns the one case of this suite."""
    peers = {
        "PyTorch, loop over seeds": ("rank_flow_torch:loop_over_seeds", 1, 8, 25.0),
        "JAX jit, loop over seeds": ("rank_flow_jax:loop_over_seeds", 1, 20, 10.0),
    }
    return [training_case("rank_flow_tokenwise", "16 runs", "tokenwise", 16, 200, peers, tiny)]
