"""Checkpoints: the checksum, damage to any of their files, other numbers of rows and devices, a disk that refuses."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgflow.engine import checkpoint, mesh
from rgflow.engine.checkpoint import Checkpoints


def tree(rows=4):
    key = jax.random.key(0)
    return {
        "matrix": jax.random.normal(key, (rows, 300, 2)),
        "count": jnp.arange(rows, dtype=jnp.int32) + 1,
        "alive": jnp.ones(rows, jnp.bool_),
        "half": jax.random.normal(key, (rows, 5)).astype(jnp.bfloat16),
        "key": jax.random.split(key, rows),
    }


def placed(rows, devices):
    over = mesh.over_runs(mesh.run_mesh(rows, 1, jax.devices()[:devices]))
    return jax.device_put(tree(rows), over)


def abstract(rows, devices):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), placed(rows, devices))


def same(a, b, rows):
    data = lambda x: np.asarray(jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x)  # noqa: E731
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(data(x)[:rows], data(y)[:rows]), a, b)


@pytest.fixture
def saved(tmp_path):
    """Two checkpoints, of steps 1 and 2, in a closed folder."""
    store = Checkpoints(tmp_path / "group", print)
    for step in (1, 2):
        store.save(step, placed(4, 2), {"step": step})
    store.close()
    return tmp_path / "group"


def restore(folder, rows=4, devices=2, **where):
    warnings = []
    store = Checkpoints(folder, warnings.append)
    try:
        return store.restore(abstract(rows, devices), **{"before": 10, **where}), warnings
    finally:
        store.close()


@pytest.mark.parametrize("name", ["matrix", "count", "alive", "half", "key"])
def test_checksum_sees_every_changed_bit_of_one_run_and_of_no_other(name):
    whole = tree()
    before = np.asarray(checkpoint.checksum(whole))
    leaf = whole[name]
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    bits = np.array(jax.random.key_data(leaf) if is_key else leaf)
    rng = np.random.default_rng(1)
    for _ in range(20):
        raw = bits.copy().view(np.uint8).reshape(4, -1)
        run, byte = rng.integers(4), rng.integers(raw.shape[1])
        raw[run, byte] ^= 1 if name == "alive" else 1 << rng.integers(8)
        changed = raw.reshape(-1).view(bits.dtype).reshape(bits.shape)
        changed = jax.random.wrap_key_data(jnp.asarray(changed)) if is_key else jnp.asarray(changed)
        after = np.asarray(checkpoint.checksum({**whole, name: changed}))
        assert (after != before).tolist() == [r == run for r in range(4)]


@pytest.mark.multidevice
def test_checksum_is_the_same_on_any_devices_and_tells_leaves_apart():
    sums = [np.asarray(jax.jit(checkpoint.checksum)(placed(8, n))) for n in (1, 2, 4, 8)]
    assert all((s == sums[0]).all() for s in sums)
    assert len(set(sums[0].tolist())) == 8
    a, b = jnp.ones((1, 3)), jnp.full((1, 3), 2.0)
    assert checkpoint.checksum({"x": a, "y": b}) != checkpoint.checksum({"x": b, "y": a})


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_damage_to_any_single_file_is_survived(saved, tmp_path, damage):
    """Some files are superfluous and their loss changes nothing; the numbers must be right in every case."""
    files = [p.relative_to(saved) for p in sorted((saved / "2").rglob("*")) if p.is_file()]
    fell_back = 0
    for file in files:
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(saved, copy)
        spoil(copy / file, damage)
        (step, carry), warnings = restore(copy)
        same(carry, tree(), 4)
        assert (step == 1) == bool(warnings)
        fell_back += step == 1
    assert fell_back >= 2
    assert len(files) > 8


def spoil(path, damage):
    content = bytearray(path.read_bytes())
    if damage == "remove":
        path.unlink()
    elif damage == "truncate":
        path.write_bytes(bytes(content[: len(content) // 2]))
    else:
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(bytes(content))


def test_checkpoint_with_wrong_numbers_is_named_deleted_and_can_be_saved_again(saved, monkeypatch):
    right = checkpoint.checksum
    monkeypatch.setattr(checkpoint, "checksum", lambda carry: right(carry) + jnp.uint32(1))
    store = Checkpoints(saved, print)
    store.save(3, placed(4, 2), {"step": 3})
    store.close()
    monkeypatch.undo()
    (step, _), warnings = restore(saved)
    assert step == 2
    assert warnings == [
        "checkpoint group/3 is unusable, falling back: the stored numbers of 4 runs do not match their checksums"
    ]
    store = Checkpoints(saved, print)
    store.save(3, placed(4, 2), {"step": 3})
    store.close()
    assert restore(saved)[0][0] == 3


@pytest.mark.multidevice
@pytest.mark.parametrize(("rows", "devices"), [(4, 4), (4, 1), (8, 8), (5, 1), (3, 1), (6, 2)])
def test_restores_onto_other_devices_and_other_numbers_of_rows(saved, rows, devices):
    (step, carry), _ = restore(saved, rows, devices)
    assert step == 2
    same(carry, tree(), min(rows, 4))
    assert carry["matrix"].shape[0] == rows
    assert not np.asarray(carry["alive"])[4:].any()
    assert len(carry["matrix"].sharding.device_set) == min(devices, jax.device_count())


def test_window_of_steps_is_respected_and_nothing_outside_it_is_deleted(saved):
    assert restore(saved, before=2)[0][0] == 1
    assert restore(saved, after=1)[0][0] == 2
    assert restore(saved, before=1)[0] is None
    assert restore(saved, after=2)[0] is None
    assert restore(saved)[0][0] == 2


def test_at_most_two_are_kept_and_a_range_can_be_deleted(saved):
    store = Checkpoints(saved, print)
    for step in (3, 4, 5):
        store.save(step, placed(4, 2), {"step": step})
    store.close()
    assert sorted(p.name for p in saved.glob("[0-9]*")) == ["4", "5"]
    store = Checkpoints(saved, print)
    store.delete(5, 9)
    assert store.newest == 4
    store.close()
