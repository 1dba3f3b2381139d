"""Interleaved timing: one process per contender, one repetition of each in every round, ratios within a round.

Machines are shared and their speed swings; what two contenders do within the same seconds swings together. So only
ratios taken within a round count, and their spread over the rounds is part of the result.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from scipy import stats

from launch.benchmarks.cases import Case, Contender, Row, Sample

COVERAGE = 0.9


class ContenderFailed(Exception):
    """A contender could not do its work; the text says which one and why."""


class Worker:
    """The process of one contender."""

    def __init__(self, contender: Contender) -> None:
        """Starts the process with the contender's environment; nothing is prepared yet."""
        self.contender = contender
        self._process = subprocess.Popen(
            [sys.executable, "-m", "launch.benchmarks.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **contender.environment},
        )

    def ask(self, **command: Any) -> dict[str, Any]:
        """Returns the reply to one command; raises ContenderFailed with what went wrong."""
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        reply = json.loads(line) if line else {"error": f"its process ended with code {self._process.wait()}"}
        if "error" in reply:
            raise ContenderFailed(f"{self.contender.name} ({self.contender.make}): {reply['error']}")
        return reply

    def prepare(self) -> float:
        """Prepares the contender and returns the seconds that took."""
        return self.ask(make=self.contender.make, arguments=dict(self.contender.arguments))["seconds"]

    def repeat(self) -> Sample:
        """Does one repetition."""
        return Sample(**self.ask(go=True))

    def close(self) -> None:
        """Ends the process, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


@contextlib.contextmanager
def workers(contenders: Sequence[Contender]) -> Iterator[list[Worker]]:
    """Yields a prepared worker per contender and ends all of them afterwards."""
    started: list[Worker] = []
    try:
        for contender in contenders:
            started.append(Worker(contender))
            started[-1].prepare()
        yield started
    finally:
        for worker in started:
            worker.close()


def call(function: str, **arguments: Any) -> Any:
    """Returns what ``module:function`` returns (plain data) in a fresh process."""
    worker = Worker(Contender("rgflow", function))
    try:
        return worker.ask(call=function, arguments=arguments)["result"]
    finally:
        worker.close()


def measure(
    contenders: Sequence[Contender], rounds: int, tell: Callable[[str], None] = lambda text: None
) -> list[list[Sample]]:
    """Returns the samples of each contender, one per round; every other round goes through them backwards."""
    samples: list[list[Sample]] = [[] for _ in contenders]
    tell("preparing")
    with workers(contenders) as ready:
        for k in range(rounds):
            tell(f"round {k + 1} of {rounds}")
            order = range(len(ready)) if k % 2 == 0 else reversed(range(len(ready)))
            for c in order:
                samples[c].append(ready[c].repeat())
    return samples


def median_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Returns (median, low, high): the narrowest pair of order statistics that holds the median with >= 90 %.

    (nan interval where there are too few values for any pair, that is fewer than five.)

    Example:
        >>> median_interval([3.0, 1.0, 2.0, 5.0, 4.0])
        (3.0, 1.0, 5.0)
    """
    ordered, n = sorted(values), len(values)
    skipped = [k for k in range(n // 2) if 1 - 2 * stats.binom.cdf(k, n, 0.5) >= COVERAGE]
    middle = float(np.median(ordered))
    if not skipped:
        return middle, float("nan"), float("nan")
    return middle, ordered[skipped[-1]], ordered[n - 1 - skipped[-1]]


def status(low: float, high: float, target: float, at_least: bool) -> str:
    """Returns whether an interval lies on the right side of the target.

    Example:
        >>> status(2.0, 3.0, 1.5, True), status(1.0, 2.0, 1.5, True), status(1.0, 2.0, 0.5, False)
        ('met', 'unclear', 'missed')
    """
    if not low <= high:
        return "few rounds"
    inside, outside = (low >= target, high < target) if at_least else (high <= target, low > target)
    return "met" if inside else "missed" if outside else "unclear"


def rows(case: Case, samples: Sequence[Sequence[Sample]]) -> list[Row]:
    """Returns the rows of a case: one per peer, or one with rgflow's own seconds where it has none."""
    ours, *theirs = samples
    seconds = float(np.median([s.cost for s in ours]))
    common = {"suite": case.suite, "case": case.name, "unit": case.unit, "seconds": seconds, "rounds": len(ours)}
    if not theirs:
        middle, low, high = median_interval([s.cost for s in ours])
        limit = float("nan") if case.limit is None else case.limit
        judged = "" if case.limit is None else status(low, high, limit, at_least=False)
        return [Row(peer="", measured=middle, low=low, high=high, target=limit, status=judged, **common)]
    found = []
    for peer, samples_of_peer in zip(case.peers, theirs, strict=True):
        ratios = [their.cost / our.cost for our, their in zip(ours, samples_of_peer, strict=True)]
        middle, low, high = median_interval(ratios)
        judged = status(low, high, peer.target, at_least=True)
        if case.tolerance is not None:
            difference = np.mean([s.answer for s in ours]) - np.mean([s.answer for s in samples_of_peer])
            judged = judged if abs(difference) <= case.tolerance else "DISAGREE"
        name = peer.contender.name
        found.append(Row(peer=name, measured=middle, low=low, high=high, target=peer.target, status=judged, **common))
    return found


def failed(case: Case, reason: str) -> Row:
    """Returns the row of a case that could not be measured; ``reason`` stands where the peer's name would."""
    nan = float("nan")
    return Row(case.suite, case.name, reason, nan, nan, nan, nan, "FAILED", case.unit, nan, 0)
