"""The chunk program of every room lowers for accelerators that this machine does not have, without collectives."""

import importlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from rgflow import registry
from rgflow.engine import batch, grid, mesh, prepare
from rgflow.engine.plan import Plan
from rgflow.protocol import Experiment
from rgflow.rank_flow.mixing import Mixing

PLATFORMS = ("cuda", "tpu")
COLLECTIVE = re.compile(r"stablehlo\.(all_\w+|reduce_scatter|collective_\w+|send|recv)")
LINEAR_ALGEBRA = {
    "cusolver_gesvd_ffi", "cusolver_gesvdj_ffi", "cusolver_syevd_ffi", "cusolver_geqrf_ffi", "cusolver_orgqr_ffi",
    "cusolver_potrf_ffi", "cusolver_getrf_ffi", "cu_lu_pivots_to_permutation", "cu_threefry2x32_ffi",
    "Eigh", "Qr", "ProductOfElementaryHouseholderReflectors", "LuDecomposition",
}  # fmt: skip
"""Custom calls that CUDA's or the TPU's own runtime knows; a host callback would show up as another name."""
OVERRIDES = {
    "rank_flow": (
        {"sweep.mixing": ("window", "mixer", "flat", "attention")},
        {"sweep.mixing": ("tokenwise",), "sweep.study": ("controls",)},
    )
}
"""What makes a room's smoke preset hold each of its programs."""


def programs(room):
    """Returns one (experiment, run) of every program of a room."""
    module = importlib.import_module(f"configs.{room}")
    by_static = {}
    for overrides in OVERRIDES.get(room, ({},)):
        config = module.get_config("smoke")
        config.update_from_flattened_dict(overrides)
        plan = Plan(config, registry.make)
        for run in grid.expand(module.get_sweep(config)):
            by_static.setdefault(plan.experiment(run).static, (plan.experiment(run), run))
    assert by_static
    return list(by_static.values())


def covering(found):
    """Returns the fewest programs, nearly, in which each word and each choice of a static value stands once."""

    def choices(experiment):
        fields = vars(experiment.static).items()
        return {(name, str(value)) for name, value in fields if isinstance(value, (str, bool, Mixing))}

    left, chosen = set().union(*(choices(experiment) for experiment, _ in found)), []
    while left:
        chosen.append(max(found, key=lambda program: len(choices(program[0]) & left)))
        left -= choices(chosen[-1][0])
    return chosen


def exported(experiment: Experiment, run: grid.Run, devices=2) -> str:
    """Returns the text of the chunk program of two runs on two devices, lowered for both platforms."""
    group = grid.Group("group_000", (run, grid.Run(run.values, run.seed + 1)), 1)
    run_mesh = mesh.run_mesh(2, 1, jax.devices()[:devices])
    key, hypers, _ = prepare.stacked_inputs(group, [experiment, experiment], 0, run_mesh)
    initialise, advance = batch.functions(experiment, 1, run_mesh)
    arguments = batch.chunk_arguments(initialise, key, hypers, run_mesh)
    return jax.export.export(advance, platforms=PLATFORMS)(*arguments).mlir_module()


def check(text):
    assert "stablehlo.while" in text
    assert not COLLECTIVE.search(text)
    assert set(re.findall(r"custom_call @([\w$]+)", text)) - {"Sharding", "SPMDFullToShardShape"} <= LINEAR_ALGEBRA


def test_toy_program_lowers_with_its_singular_values():
    text = exported(toy.make(toy.config()), grid.Run({}, 0))
    check(text)
    assert {"cusolver_gesvdj_ffi", "Eigh"} <= set(re.findall(r"custom_call @([\w$]+)", text))


@pytest.mark.parametrize("room", sorted(registry.EXPERIMENTS))
def test_a_program_with_every_choice_of_a_room_lowers(room):
    chosen = covering(programs(room))
    assert chosen
    for experiment, run in chosen:
        check(exported(experiment, run))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("room", sorted(registry.EXPERIMENTS))
def test_every_program_of_a_room_lowers(room):
    every = programs(room)
    assert len(every) >= len(covering(every))
    for experiment, run in every:
        check(exported(experiment, run))


def with_step(extra):
    experiment = toy.make(toy.config())

    def step(key, state, hypers):
        state, info = experiment.step(key, state, hypers)
        return state, {"train_loss": info["train_loss"] + extra(state.matrix)}

    return Experiment(**{**experiment.__dict__, "step": step})


def test_a_step_that_needs_the_host_or_another_run_is_noticed():
    on_host = lambda x: jax.pure_callback(lambda x: np.float32(x.sum()), jax.ShapeDtypeStruct((), "float32"), x)  # noqa: E731
    eigenvalues = lambda x: jnp.abs(jnp.linalg.eigvals(x[:6])).sum()  # noqa: E731
    for extra in (on_host, eigenvalues):
        with pytest.raises((NotImplementedError, ValueError)):
            exported(with_step(extra), grid.Run({}, 0))
    with pytest.raises(AssertionError):
        check(exported(with_step(lambda x: jax.lax.psum(x.sum(), mesh.RUN_AXIS)), grid.Run({}, 0)))


@pytest.mark.usefixtures("optimised")
@pytest.mark.parametrize("room", [pytest.param("rank_flow", marks=pytest.mark.slow), "variational_rg"])
def test_first_state_has_the_bits_that_the_default_compilation_gives(room):
    # It runs once, and is compiled in half of the time.
    module = importlib.import_module(f"configs.{room}")
    config = module.get_config("smoke")
    run = grid.expand(module.get_sweep(config))[0]
    experiment = Plan(config, registry.make).experiment(run)
    group = grid.Group("group_000", (run,), 1)
    run_mesh = mesh.run_mesh(1, 1, jax.devices()[:1])
    key, hypers, _ = prepare.stacked_inputs(group, [experiment], 0, run_mesh)
    initialise, _ = batch.functions(experiment, 1, run_mesh)
    quickly = initialise.lower(key, hypers).compile(compiler_options=batch.run_once(run_mesh))
    for expected, found in zip(*map(jax.tree.leaves, (initialise(key, hypers), quickly(key, hypers))), strict=True):
        np.testing.assert_array_equal(found, expected)
