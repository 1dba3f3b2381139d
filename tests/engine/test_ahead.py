"""Groups compiled ahead: in their order, told as they are ready, failing in their turn, and no more than asked for."""

import threading

import numpy as np
import pytest
import toy

from rgflow.engine import ahead, grid, prepare
from rgflow.engine.plan import Plan

SIZES = (6, 5, 4)


def plan_of(sizes=SIZES):
    """Returns a plan with a group per size and 9 runs in each."""
    runs = tuple(grid.expand(toy.points()))
    by_size = {size: tuple(grid.Run({**run.values, "size": size}, run.seed) for run in runs) for size in sizes}
    groups = (grid.Group(f"group_{k:03d}", by_size[size], 2) for k, size in enumerate(sizes))
    return Plan(toy.config(), toy.make, tuple(groups))


def test_groups_come_in_their_order_while_a_thread_compiles_the_next():
    plan = plan_of()
    told, threads = [], set()
    last_is_compiled = threading.Event()

    def ready(prepared):
        told.append(prepared.group.name)
        threads.add(threading.current_thread())
        if prepared.group is plan.groups[-1]:
            last_is_compiled.set()

    queue = ahead.Ahead(plan, ready)
    guess = queue.cost
    taken = []
    for prepared in queue:
        # The caller of the first group does nothing but wait, and the others are compiled all the same.
        assert last_is_compiled.wait(60)
        taken.append(prepared.group.name)
        first = prepared.program.initialise(prepared.key, prepared.hypers)
        alone = prepare.prepare(prepared.group, plan.experiments(prepared.group), 0)
        expected = alone.program.initialise(alone.key, alone.hypers)
        np.testing.assert_array_equal(first.state.matrix, expected.state.matrix)
    assert told == taken == [group.name for group in plan.groups]
    assert len(threads) == 1
    assert threading.current_thread() not in threads
    assert guess == len(SIZES) * 9 * 12
    assert queue.cost == pytest.approx(sum(prepare.prepare(g, plan.experiments(g), 0).cost for g in plan.groups))


def test_cost_of_groups_to_come_is_that_of_the_known_ones_per_step_of_a_run():
    plan = plan_of()
    queue = ahead.Ahead(plan.of([plan.groups[0], grid.Group("group_001", plan.groups[1].runs[:3], 2)]))
    queue._costs = {"group_000": 90.0}
    assert queue.cost == 90 + 30


def test_a_group_that_cannot_be_compiled_fails_in_its_turn_and_ends_the_rest(monkeypatch):
    plan = plan_of()
    asked = []

    def fail_second(group, *rest, **more):
        asked.append(group.name)
        if group is plan.groups[1]:
            raise ValueError("no program")
        return prepare.prepare(group, *rest)

    monkeypatch.setattr(ahead, "prepare", fail_second)
    queue = iter(ahead.Ahead(plan))
    assert next(queue).group is plan.groups[0]
    with pytest.raises(ValueError, match="no program"):
        next(queue)
    assert asked[:2] == ["group_000", "group_001"]


def test_who_stops_early_waits_for_no_program(monkeypatch):
    plan = plan_of()
    asked, stopped, ended = [], threading.Event(), threading.Event()

    def slow_second(group, *rest, **more):
        asked.append(group.name)
        if group is plan.groups[1]:
            assert stopped.wait(60)
            ended.set()
            raise ValueError("nobody asks for it any more")
        return prepare.prepare(group, *rest)

    monkeypatch.setattr(ahead, "prepare", slow_second)
    queue = iter(ahead.Ahead(plan))
    next(queue)
    queue.close()
    assert not ended.is_set()
    stopped.set()
    assert ended.wait(60)
    assert "group_002" not in asked


def test_several_processes_prepare_a_group_when_it_is_asked_for(monkeypatch):
    plan = plan_of()
    monkeypatch.setattr(ahead.hosts, "count", lambda: 2)
    told = []
    queue = iter(ahead.Ahead(plan, lambda p: told.append(threading.current_thread())))
    next(queue)
    assert told == [threading.current_thread()]
