"""What an experiment is: it is written for ONE run, and the engine adds the run axis (points x seeds).

An experiment is made by ``make(config) -> Experiment``. Nothing here is jitted and nothing knows physics.
"""

import dataclasses
import enum
import functools
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar

from rgflow.types import Hypers, Info, Key, Record, State

Value = TypeVar("Value")


class Stream(enum.IntEnum):
    """Named random streams. Fold one into a key before drawing, so that no two purposes share random numbers."""

    INIT = 0
    DATA = 1
    NOISE = 2
    PROBE = 3
    DROPOUT = 4


@dataclasses.dataclass(frozen=True)
class Point:
    """One point of a sweep: the configuration values it sets and how many seeds it wants."""

    values: Mapping[str, Any]
    seeds: int


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The answer to one published claim.

    ``status`` is ``undecided`` when the interval is wider than the question or a control failed, ``mixed`` when a claim
    is true in one part of a table and false in another, and ``not_run`` when the sweep lacks the runs the claim needs.
    ``measured``, ``low`` and ``high`` are the effect size and its 95 % interval over runs; ``expected`` says in words
    what would support the claim; ``controls`` maps the name of each control to its value, its requirement and whether
    it passed. ``components`` are the parts that must all hold, each with its own interval and p-values; ``rows`` are
    the same claim with one choice of the rule changed, each with its own status. They decide nothing.
    """

    claim: str
    statement: str
    status: Literal["supported", "contradicted", "mixed", "undecided", "not_run"]
    measured: float | None
    low: float | None
    high: float | None
    expected: str
    n_runs: int
    n_dead: int
    controls: Mapping[str, Mapping[str, Any]]
    components: Sequence[Mapping[str, Any]] = ()
    rows: Sequence[Mapping[str, Any]] = ()


class Results:
    """The labelled results of a sweep with its config, and what was worked out from them, once for all who ask.

    ``dataset`` has dims (run, step, ...); ``config`` is the config of the sweep. Judges and figures read both.
    """

    def __init__(self, dataset: Any, config: Any) -> None:
        """Nothing is worked out before it is asked for."""
        self.dataset, self.config = dataset, config
        self._known: dict[Callable, Any] = {}

    def once(self, work_out: "Callable[[Results], Value]") -> Value:
        """Returns ``work_out(self)``, which is called at the first request only."""
        if work_out not in self._known:
            self._known[work_out] = work_out(self)
        return self._known[work_out]


@dataclasses.dataclass(frozen=True)
class Claim:
    """One claim: its one home, from which verdicts, report, ledger and documents are made.

    ``source`` says whose it is, by the reference keys of the room's docstring. ``statement`` is the claim in one
    sentence, ``expected`` the rule that would support it, ``needs`` what a sweep must hold for it to be judged ("the
    runs of the study 'depth'"). ``judge(results)`` yields a ``judging.claim.Finding`` for each place of the sweep, none
    where the runs are absent. ``flags`` are those that make the room's default sweep hold the runs, '' where it does
    anyway; ``beside`` names the numbers for information that a reader must see in the row of the claim.
    """

    name: str
    source: str
    statement: str
    expected: str
    needs: str
    judge: Callable[[Results], Iterable[Any]]
    flags: str = ""
    beside: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One run as pure functions, plus what the engine needs to know about it.

    * ``static``: whatever changes shapes or the program; one compilation per distinct value.
    * ``hypers``: per-run traced scalars and small arrays.
    * ``init(key, hypers) -> State``; ``step(key, state, hypers) -> (State, Info)``;
      ``probe(key, state, hypers) -> Record``. Keys are already folded from (root seed, point, seed, step); fold a
      :class:`Stream` into them before drawing. The probe sees the same key at every record.
    * ``schedule``: increasing steps at which records are taken; starts at 0, ends at the last step.
    * ``dims``: for each record its dimension names; ``coords``: labels of those dimensions.
    * ``latest``: records too large to be kept at every step; the results hold only the last one of each.
    * ``first``: those of ``latest`` whose record at the first step the results hold too, as ``first_NAME``.
    * ``reference``: numbers or arrays known before the run, stored beside the records as per-run variables.
    * ``of_seed``: where the data belong to the seed: the experiment of one seed number, with the same ``static``,
      ``schedule`` and names as this one, which then stands for its point; None where all seeds share it.
    * ``cpu_run_batch``: how many runs a CPU core steps together, measured to cost least per run; small networks, of
      which one cannot fill the core, need more. An accelerator steps all its runs together.
    """

    static: Hashable
    # No type parameters: a runtime type checker would read an entry and so start a computation that must come late.
    hypers: Mapping
    init: Callable[[Key, Hypers], State]
    step: Callable[[Key, State, Hypers], tuple[State, Info]]
    probe: Callable[[Key, State, Hypers], Record]
    schedule: tuple[int, ...]
    dims: Mapping[str, tuple[str, ...]]
    coords: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=dict)
    latest: tuple[str, ...] = ()
    first: tuple[str, ...] = ()
    cpu_run_batch: int = 2
    reference: Mapping = dataclasses.field(default_factory=dict)
    of_seed: "Callable[[int], Experiment] | None" = None


class Late(Mapping[str, Any]):
    """A dict that is computed when it is first read.

    Data and theory are computed by JAX, and the devices may not be chosen yet when an experiment is made: making one
    only checks the config.
    """

    def __init__(self, compute: Callable[[], dict[str, Any]]) -> None:
        """``compute`` is called once, at the first read."""
        self._compute = compute

    @functools.cached_property
    def _values(self) -> dict[str, Any]:
        return self._compute()

    def __getitem__(self, name: str) -> Any:
        """Returns one value."""
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        """Yields the names."""
        return iter(self._values)

    def __len__(self) -> int:
        """Returns the number of names."""
        return len(self._values)


def log_spaced_schedule(steps: int, records: int) -> tuple[int, ...]:
    """Returns 0, at most ``records`` steps spread evenly in the logarithm, and the last step.

    Example:
        >>> log_spaced_schedule(100, 3)
        (0, 1, 10, 100)
    """
    spaced = {round(steps ** (k / max(records - 1, 1))) for k in range(records)} if steps > 0 else set()
    return tuple(sorted({0, steps} | {s for s in spaced if 0 < s <= steps}))
