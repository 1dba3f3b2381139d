"""The shape that the three rank-flow suites share: rgflow through the engine against loops written by hand."""

from collections.abc import Mapping
from typing import Any

from launch.benchmarks.cases import Case, Contender, Peer

TORCH = ("torch",)


def contender(name: str, function: str, **arguments: Any) -> Contender:
    """Returns a contender of these suites; PyTorch runs on its own default number of threads, one per core."""
    packages = TORCH if "rank_flow_torch" in function else ()
    return Contender(name, f"launch.benchmarks.{function}", arguments, packages)


def training_case(
    suite: str,
    name: str,
    mixing: str,
    runs: int,
    steps: int,
    peers: Mapping[str, tuple[str, int, int, float]],
    tiny: bool,
) -> Case:
    """Returns a case from rgflow's runs and steps per repetition and, per peer, (function, seeds, steps, target)."""
    shared = {"mixing": mixing, "tiny": tiny}
    size = {"runs": 2, "steps": 2} if tiny else {"runs": runs, "steps": steps}
    ours = contender("rgflow", "rank_flow_training:trainer", **shared, **size)
    found = []
    for peer, (function, seeds, peer_steps, target) in peers.items():
        size = {"seeds": 2, "steps": 2} if tiny else {"seeds": seeds, "steps": peer_steps}
        found.append(Peer(contender(peer, function, **shared, **size), target))
    # Between networks the mean of the first 20 losses has a standard deviation of 0.03 to 0.05 nats (0.1 tiny).
    return Case(suite, name, "run and step", ours, tuple(found), tolerance=0.4 if tiny else 0.1)
