"""The compiled program: batches, devices, chunks, dead runs, tracing, collectives."""

import re

import jax
import numpy as np
import pytest
import toy

from rgflow.engine import batch, grid, health, keys, prepare

COLLECTIVES = re.compile(r"all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute|collective-broadcast")


def prepared(run_batch=2, devices=None, scales=(0.5, 1.0, 2.0), seeds=3, **values):
    plan = toy.plan_of(toy.config(**values), toy.points(scales, seeds), run_batch)
    (group,) = plan.groups
    return prepare.prepare(group, plan.experiments(group), 0, devices)


def finish(p, stops=(12,)):
    carry, start, record = p.program.initialise(p.key, p.hypers), 0, None
    for stop in stops:
        carry, record = p.program.advance(start, stop, stop == stops[-1], p.key, p.hypers, carry)
        start = stop
    real = len(p.group.runs)
    return jax.tree.map(lambda x: np.asarray(x)[:real], carry), {k: np.asarray(v)[:real] for k, v in record.items()}


@pytest.fixture(scope="module")
def reference():
    return finish(prepared(run_batch=1, devices=jax.devices()[:1]))


MORE = [pytest.param(*case, marks=pytest.mark.slow) for case in ((1, 4), (1, 8), (2, 1), (4, 2))]


@pytest.mark.multidevice
@pytest.mark.parametrize(("run_batch", "devices"), [(1, 2), (2, 4), (9, 1), *MORE])
def test_results_agree_across_batches_and_devices(reference, run_batch, devices):
    carry, record = finish(prepared(run_batch, jax.devices()[:devices]))
    for name, values in reference[1].items():
        np.testing.assert_allclose(record[name], values, rtol=2e-5, atol=1e-5, err_msg=name)
    np.testing.assert_array_equal(carry.state.steps, reference[0].state.steps)


@pytest.mark.multidevice
def test_keys_are_identical_on_any_number_of_devices_and_in_any_company():
    def data(p):
        return {
            run.identity: bytes(np.asarray(jax.random.key_data(k))) for run, k in zip(p.group.runs, p.key, strict=False)
        }

    alone = data(prepared(scales=(1.0,), seeds=1, devices=jax.devices()[:1]))
    all_runs, *others = (data(prepared(run_batch=1, devices=jax.devices()[:n])) for n in (4, 1, 2, 8))
    assert all(other == all_runs for other in others)
    assert len(set(all_runs.values())) == 9
    assert alone.items() <= all_runs.items()


def test_chunks_of_any_length_give_the_same_bits(reference):
    whole_carry, whole = finish(prepared(), stops=(12,))
    cut_carry, cut = finish(prepared(), stops=(1, 2, 7, 12))
    assert set(cut) == {"singular_value", "steps_taken", "projection", "train_loss"}
    jax.tree.map(np.testing.assert_array_equal, cut_carry, whole_carry)
    jax.tree.map(np.testing.assert_array_equal, cut, whole)


def test_mean_of_info_covers_the_steps_since_the_last_record():
    p = prepared()
    carry, _ = p.program.advance(0, 0, True, p.key, p.hypers, p.program.initialise(p.key, p.hypers))
    losses = []
    for step in range(3):
        carry, record = p.program.advance(step, step + 1, True, p.key, p.hypers, carry)
        losses.append(np.asarray(record["train_loss"]))
    _, whole = p.program.advance(0, 3, True, p.key, p.hypers, p.program.initialise(p.key, p.hypers))
    np.testing.assert_allclose(whole["train_loss"], np.mean(losses, axis=0), rtol=1e-6)


@pytest.mark.multidevice
def test_compiled_step_holds_no_collective():
    text = prepared(run_batch=2, devices=jax.devices()[:4]).program.text
    assert "while" in text
    assert not COLLECTIVES.search(text)


def test_one_compilation_serves_every_point_and_chunk():
    counts = []
    for scales in ((0.5,), (0.5, 1.0, 2.0, 3.0)):
        toy.TRACES["step"] = 0
        p = prepared(scales=scales)
        finish(p, stops=(3, 6, 8, 12))
        counts.append(toy.TRACES["step"])
    assert counts[0] == counts[1] <= 3


def test_dead_run_is_frozen_and_leaves_its_neighbours_alone():
    well, fatal = toy.make(toy.config()), toy.make(toy.config(fatal_step=5))
    runs = tuple(grid.Run({"scale": 1.0}, seed) for seed in range(4))
    group = grid.Group("group_000", runs, 4)
    healthy = finish(prepare.prepare(group, [well] * 4, 0))
    sick = finish(prepare.prepare(group, [well, well, fatal, well], 0))
    assert sick[0].died_at.tolist() == [health.NEVER, health.NEVER, 5, health.NEVER]
    assert sick[0].state.steps.tolist() == [12, 12, 5, 12]
    assert all(np.isnan(values[2]).all() for values in sick[1].values())
    others = [0, 1, 3]
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[others], b[others]), sick, healthy)


def test_run_that_dies_in_its_state_alone_is_seen_at_the_record():
    carry = batch.Carry({"x": np.float32(np.inf)}, np.array(True), np.int32(-1), {}, np.float32(1))
    experiment = toy.make(toy.config())
    experiment = type(experiment)(
        **{**experiment.__dict__, "probe": lambda key, state, hypers: {"one": jax.numpy.ones(3)}}
    )
    after, record = batch._take_record(experiment, jax.numpy.int32(7), jax.random.key(0), {}, carry)
    assert not after.alive
    assert after.died_at == 7
    assert np.isnan(record["one"]).all()


def test_run_key_depends_on_root_point_and_seed_only():
    data = lambda *parts: bytes(np.asarray(jax.random.key_data(keys.run_key(*parts))))  # noqa: E731
    base = data(0, 5, 1)
    assert base == data(0, 5, 1)
    assert len({base, data(1, 5, 1), data(0, 6, 1), data(0, 5, 2)}) == 4


def test_streams_of_a_run_never_collide():
    key = keys.run_key(0, 1, 2)
    all_keys = [keys.init_key(key), keys.probe_key(key)]
    all_keys += [jax.random.fold_in(keys.step_key(key, t), s) for t in range(50) for s in (1, 2)]
    assert len({bytes(np.asarray(jax.random.key_data(k))) for k in all_keys}) == 102
