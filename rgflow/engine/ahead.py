"""Groups are compiled in a thread, in their order, while those that are ready run."""

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor

from rgflow.engine import hosts
from rgflow.engine.grid import Group
from rgflow.engine.plan import Plan
from rgflow.engine.prepare import Prepared, prepare


class Ahead:
    """An iterable of the prepared groups of a plan.

    Several processes prepare each group when it is asked for, all at one time.
    """

    def __init__(
        self,
        plan: Plan,
        ready: Callable[[Prepared], None] = lambda prepared: None,
        allow: Callable[[Group, int], object] = lambda group, need: None,
    ) -> None:
        """``ready`` is called with every group as soon as it is compiled, in the thread that compiled it.

        ``allow`` is called with every group and the bytes it needs on each device before it is compiled.
        """
        self._plan, self._ready, self._allow = plan, ready, allow
        # The number of run-steps of each group: its cost is guessed from it until its program is compiled.
        self._sizes = [len(group.runs) * max(plan.schedule(group)[-1], 1) for group in plan.groups]
        self._costs: dict[str, float] = {}

    def _one(self, group: Group) -> Prepared:
        prepared = prepare(group, self._plan.experiments(group), self._plan.config.root_seed, allow=self._allow)
        self._costs[group.name] = prepared.cost
        self._ready(prepared)
        return prepared

    def __iter__(self) -> Generator[Prepared, None, None]:
        """Yields the groups in their order; an error in compiling a group is raised when its turn comes."""
        if hosts.count() > 1:
            yield from map(self._one, self._plan.groups)
            return
        pool = ThreadPoolExecutor(1, "compile")
        waiting: deque[Future[Prepared]] = deque(pool.submit(self._one, group) for group in self._plan.groups)
        try:
            # A program that has run is held by nobody: each takes megabytes, and a sweep may have hundreds.
            while waiting:
                yield waiting.popleft().result()
        finally:
            # A caller that stops early waits for no program: what it was given for stopping may be seconds.
            pool.shutdown(wait=False, cancel_futures=True)

    @property
    def cost(self) -> float:
        """The estimated cost of all groups; one not compiled yet counts by its run-steps, at the rate of the others."""
        known = list(self._costs.values())
        seen = [size for group, size in zip(self._plan.groups, self._sizes, strict=True) if group.name in self._costs]
        rate = sum(known) / sum(seen) if seen else 1.0
        return sum(known) + rate * (sum(self._sizes) - sum(seen))
