"""Groups are compiled in a thread, in their order, while those that are ready run."""

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from rgflow.engine import hosts
from rgflow.engine.grid import Group, Run
from rgflow.engine.prepare import Prepared, prepare
from rgflow.protocol import Experiment


class Ahead:
    """An iterable of prepared groups. Several processes prepare each group when it is asked for, all at one time."""

    def __init__(
        self,
        groups: Sequence[Group],
        experiment_of: Callable[[Run], Experiment],
        root_seed: int,
        ready: Callable[[Prepared], None] = lambda prepared: None,
    ) -> None:
        """``ready`` is called with every group as soon as it is compiled, in the thread that compiled it."""
        self._groups, self._ready = groups, ready
        self._prepare = lambda group: prepare(group, experiment_of, root_seed)
        # The number of run-steps of each group: its cost is guessed from it until its program is compiled.
        self._sizes = [len(g.runs) * max(experiment_of(g.runs[0]).schedule[-1], 1) for g in groups]
        self._costs: dict[str, float] = {}

    def _one(self, group: Group) -> Prepared:
        prepared = self._prepare(group)
        self._costs[group.name] = prepared.cost
        self._ready(prepared)
        return prepared

    def __iter__(self) -> Generator[Prepared, None, None]:
        """Yields the groups in their order; an error in compiling a group is raised when its turn comes."""
        if hosts.count() > 1:
            yield from map(self._one, self._groups)
            return
        with ThreadPoolExecutor(1, "compile") as pool:
            waiting: list[Future[Prepared]] = [pool.submit(self._one, group) for group in self._groups]
            try:
                for future in waiting:
                    yield future.result()
            finally:
                # A caller that stops early waits only for the program that is being compiled.
                for future in waiting:
                    future.cancel()

    @property
    def cost(self) -> float:
        """The estimated cost of all groups; one not compiled yet counts by its run-steps, at the rate of the others."""
        known = list(self._costs.values())
        seen = [size for group, size in zip(self._groups, self._sizes, strict=True) if group.name in self._costs]
        rate = sum(known) / sum(seen) if seen else 1.0
        return sum(known) + rate * (sum(self._sizes) - sum(seen))
