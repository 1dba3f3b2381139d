"""What a benchmark is: contenders that do the same work, the ratio a case hopes for, and what was measured."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple


class Outcome(NamedTuple):
    """What one repetition did: an amount of ``work`` in the unit of its case, and a number that shows it was done.

    ``answer`` is what contenders of one case must agree on (a loss, an energy); NaN where there is nothing to compare.
    """

    work: float
    answer: float = float("nan")


@dataclasses.dataclass(frozen=True)
class Contender:
    """One way to do the work of a case, run in a process of its own.

    ``make`` is ``module:function`` and is called once with ``arguments``; it returns a function without arguments that
    does one repetition and returns an :class:`Outcome`. Everything that a user does once (compile, build tables)
    belongs into ``make``. ``packages`` are the distributions of a peer; empty for rgflow itself. ``environment`` is
    set before its process starts: it gives a peer the threads that serve it best.
    """

    name: str
    make: str
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    packages: tuple[str, ...] = ()
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Peer:
    """A contender that rgflow is compared with, and how many times its cost rgflow's should be below (at least)."""

    contender: Contender
    target: float


@dataclasses.dataclass(frozen=True)
class Case:
    """One piece of work, timed for rgflow and its peers in turn.

    The cost of a contender is seconds per ``unit`` of work. ``tolerance`` bounds the difference between the answers
    of peer and rgflow (None: no answers). ``limit`` is the number of seconds that rgflow's cost may be at most, for
    cases that have no peer. ``internal`` peers are rgflow itself or the machine, and are timed without --peers too.
    """

    suite: str
    name: str
    unit: str
    ours: Contender
    peers: tuple[Peer, ...] = ()
    tolerance: float | None = None
    limit: float | None = None
    internal: bool = False

    def alone(self) -> "Case":
        """Returns the case without the peers that come from other packages."""
        return self if self.internal else dataclasses.replace(self, peers=())


class Sample(NamedTuple):
    """One timed repetition of one contender."""

    seconds: float
    cpu_seconds: float
    work: float
    answer: float

    @property
    def cost(self) -> float:
        """Seconds per unit of work."""
        return self.seconds / self.work


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table: a ratio of costs (peer over rgflow) or, where there is no peer, rgflow's own seconds.

    ``low`` and ``high`` are order statistics of the rounds that hold the median with a probability of at least
    90 %. ``status``: met, missed, unclear (the interval holds the target), few rounds, DISAGREE (the contenders did
    not get the same answer, and the ratio means nothing) or FAILED (one of them broke; ``peer`` says how).
    """

    suite: str
    case: str
    peer: str
    measured: float
    low: float
    high: float
    target: float
    status: str
    unit: str
    seconds: float
    rounds: int
