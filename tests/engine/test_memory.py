"""Memory told from shapes: never more than the compiler counts, in time to refuse, and given back after a run."""

import gc

import jax
import jax.numpy as jnp
import pytest
import toy

from rgflow.engine import ahead, batch, grid, loop, memory, prepare, progress
from rgflow.engine.plan import Plan


def prepared(width, run_batch=2, **how):
    plan = toy.plan_of(toy.config(width=width), toy.points(), run_batch)
    return prepare.prepare(plan.groups[0], plan.experiments(plan.groups[0]), 0, jax.devices()[:1], **how)


@pytest.mark.parametrize("width", [0, 500])
def test_the_estimate_is_a_lower_bound_of_the_compilers(width):
    program = prepared(width).program
    assert program.memory_bytes / 8 < program.least_bytes <= program.memory_bytes
    # Two runs of a batch, each with a product of width x width numbers of four bytes.
    assert program.least_bytes >= 2 * 4 * width**2


def test_what_is_far_too_large_is_told_before_anything_compiles(monkeypatch):
    class TooLarge(Exception):
        pass

    def refuse(group, need):
        raise TooLarge(group.name, need)

    monkeypatch.setattr(batch, "run_once", lambda mesh: pytest.fail("it compiles"))
    with pytest.raises(TooLarge) as told:
        prepared(1_000_000, allow=refuse)
    name, need = told.value.args
    assert name == "group_000"
    assert need == pytest.approx(8e12, rel=0.01)


def test_products_in_loops_branches_and_calls_count_and_what_is_fused_does_not():
    x = jax.ShapeDtypeStruct((30, 2), jnp.float32)

    def inside(x):
        product = jax.jit(lambda z: z @ z.T @ z)
        return jax.lax.fori_loop(0, 3, lambda _, y: jax.lax.cond(y[0, 0] > 0, product, jnp.sin, y), x).sum()

    assert memory.largest_array(jax.make_jaxpr(inside)(x).jaxpr) == 30 * 30 * 4
    assert memory.largest_array(jax.make_jaxpr(lambda x: (x[:, None] - x[None]).sum())(x).jaxpr) == 0


def test_programs_that_have_run_are_released(tmp_path):
    """A sweep may have hundreds of shapes, and a program takes megabytes."""
    runs, config = tuple(grid.expand(toy.points())), toy.config()
    groups = [
        grid.Group(f"group_{k:03d}", tuple(grid.Run({**run.values, "size": size}, run.seed) for run in runs), 2)
        for k, size in enumerate(range(3, 6))
    ]
    client = jax.devices()[0].client
    gc.collect()
    before = len(client.live_executables())
    for one in ahead.Ahead(Plan(config, toy.make, tuple(groups))):
        bar = progress.Progress(one.cost, quiet=True)
        loop.run_group(one, tmp_path, config.engine, {}, bar, progress.EventLog(None), toy.NeverStop())
    del one
    gc.collect()
    # Of three groups with two programs and two checksums each; some operation may be compiled for the first time here.
    assert len(client.live_executables()) <= before + 3
