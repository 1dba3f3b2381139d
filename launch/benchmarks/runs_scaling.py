"""Suite runs_scaling: what a run costs among 64 against what it costs alone, each as a sweep would run it.

A single run has every core to itself (its matrix products are split among them); 64 runs are spread over one device
per core, a few at a time on each. The target allows a run among 64 to cost a tenth more: a ratio of 1 / 1.1.
"""

from launch.benchmarks.cases import Case, Peer
from launch.benchmarks.rank_flow_cases import contender

TARGET = round(1 / 1.1, 3)


def cases(tiny: bool) -> list[Case]:
    """Returns a case for networks of one distinct row and one for networks whose matrix products dominate."""
    found = []
    for mixing, steps_of_many, steps_of_one in (("tokenwise", 50, 1000), ("window", 2, 60)):
        shared = {"function": "rank_flow_training:trainer", "mixing": mixing, "tiny": tiny}
        many = contender("rgflow", runs=4 if tiny else 64, steps=2 if tiny else steps_of_many, **shared)
        one = contender("rgflow, 1 run", runs=1, steps=2 if tiny else steps_of_one, **shared)
        found.append(
            Case("runs_scaling", f"{mixing}, 64 runs", "run and step", many, (Peer(one, TARGET),), internal=True)
        )
    return found
