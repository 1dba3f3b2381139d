"""TensorBoard event files: what the records say, every step once, and nothing of it without the flag."""

import json
import struct
import sys

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from launch import command_line, sweep, tensorboard
from rgflow.engine import ahead, grid, loop, prepare, progress, records
from rgflow.engine.plan import Plan
from rgflow.protocol import Experiment, Point, Stream

tensorboardX = pytest.importorskip("tensorboardX", reason="the extra 'tensorboard' is not installed")
from tensorboardX.crc32c import crc32c
from tensorboardX.proto import event_pb2

SCHEDULE = (0, 2, 5)


def make(config):
    """A walk with a loss, a scalar record, a vector record, and death at the third step where ``fatal``."""

    def step(key, state, hypers):
        noise = jax.random.normal(jax.random.fold_in(key, Stream.NOISE), ())
        place, steps = state
        loss = jnp.where((steps == 2) & (hypers["fatal"] > 0), jnp.nan, hypers["scale"] + 0.1 * noise)
        return (place + noise, steps + 1), {"train_loss": loss}

    return Experiment(
        static="walk",
        hypers={"scale": np.float32(config.scale), "fatal": np.float32(config.fatal)},
        init=lambda key, hypers: (jnp.zeros(()), jnp.zeros((), jnp.int32)),
        step=step,
        probe=lambda key, state, hypers: {"place": state[0], "powers": state[0] ** jnp.arange(3)},
        schedule=SCHEDULE,
        dims={"powers": ("power",)},
    )


def run(workdir, stop=lambda: "", board=None):
    """Runs points of two scales and one whose runs die; returns the groups."""
    config = ml_collections.ConfigDict({"scale": 1.0, "fatal": 0.0})
    engine = ml_collections.ConfigDict({"chunk_steps": 1, "checkpoint_seconds": 0.0})
    points = [Point({"scale": 1.0, "fatal": 0.0}, 3), Point({"scale": 2.0, "fatal": 0.0}, 3)]
    points.append(Point({"scale": 2.0, "fatal": 1.0}, 1))
    plan = Plan(config, make).grown(grid.expand(points), lambda runs: 1)
    workdir.mkdir(exist_ok=True)
    board = tensorboard.open_board(workdir, plan)

    class Request(loop.StopRequest):
        """Asks to stop when a test says so."""

        def __init__(self):
            self.asked = iter(stop) if not callable(stop) else None

        @property
        def name(self):
            return next(self.asked, "") if self.asked is not None else ""

    log, request = progress.EventLog(None), Request()
    try:
        for group in plan.groups:
            prepared = prepare.prepare(group, plan.experiments(group), 0)
            bar = progress.Progress(prepared.cost, quiet=True)
            loop.run_group(prepared, workdir, engine, {}, bar, log, request, board.add)
    finally:
        board.close()
    return plan.groups


def masked(data):
    """Returns the masked checksum that the format asks for."""
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def events(folder):
    """Returns the (tag, step) -> value of the event files in a folder, whose checksums must be right."""
    found = {}
    (path,) = folder.glob("events.out.tfevents.*")
    content = path.read_bytes()
    while content:
        length, check = struct.unpack("<QI", content[:12])
        data, (after,) = content[12 : 12 + length], struct.unpack("<I", content[12 + length : 16 + length])
        assert (check, after) == (masked(content[:8]), masked(data))
        content = content[16 + length :]
        event = event_pb2.Event.FromString(data)
        for value in event.summary.value:
            assert (value.tag, event.step) not in found, "written twice"
            found[value.tag, event.step] = value.simple_value
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("board") / "run"
    return workdir, run(workdir)


def test_group_has_loss_error_and_live_runs(finished):
    workdir, (group,) = finished
    found = events(workdir / "tensorboard" / group.name)
    for step in SCHEDULE:
        record = records.read_record(workdir, group.name, step, 7)
        assert record is not None
        assert found["live_runs", step] == (7 if step < 5 else 6)
        if step:  # there is no loss before the first step
            live = record["train_loss"][np.isfinite(record["train_loss"])]
            assert found["train_loss", step] == pytest.approx(live.mean(), rel=1e-6)
            assert found["train_loss_error", step] == pytest.approx(live.std(ddof=1) / len(live) ** 0.5, rel=1e-4)
    assert {tag for tag, _ in found} == {"live_runs", "train_loss", "train_loss_error"}


def test_point_has_the_mean_of_every_scalar_over_its_live_runs(finished):
    workdir, (group,) = finished
    folder = workdir / "tensorboard" / group.name
    assert {p.name for p in folder.iterdir() if p.is_dir()} == {
        "fatal=0.0,scale=1.0",
        "fatal=0.0,scale=2.0",
        "fatal=1.0,scale=2.0",
    }
    found = events(folder / "fatal=0.0,scale=2.0")
    assert {tag for tag, _ in found} == {"place", "train_loss"}
    for step in SCHEDULE:
        record = records.read_record(workdir, group.name, step, 7)
        assert record is not None
        assert found["place", step] == pytest.approx(record["place"][3:6].mean(), abs=1e-6)
    # The run died at step 2: it has no record after that.
    assert {step for _, step in events(folder / "fatal=1.0,scale=2.0")} == {0, 2}


def test_stopped_and_resumed_sweep_has_every_step_once(finished, tmp_path):
    workdir = tmp_path / "run"
    with pytest.raises(loop.Stopped):
        run(workdir, stop=["", "", "", "SIGTERM", "SIGTERM", "SIGTERM"])
    assert {step for _, step in events(workdir / "tensorboard" / "group_000")} == {0, 2}
    run(workdir)
    assert events(workdir / "tensorboard" / "group_000") == events(finished[0] / "tensorboard" / "group_000")


def test_finished_sweep_gets_its_events_from_the_records_alone(finished, tmp_path):
    """The flag given when everything has run already, or again: the same events, and no second copy."""
    workdir, groups = finished
    before = events(workdir / "tensorboard" / "group_000")
    plan = Plan(ml_collections.ConfigDict({"scale": 1.0, "fatal": 0.0}), make, groups)
    for _ in range(2):
        board = tensorboard.open_board(workdir, plan)
        assert board is not None
        board.close()
        assert events(workdir / "tensorboard" / "group_000") == before


def test_names_of_points_are_folders_of_any_file_system():
    runs = [grid.Run({"data": kind, "path": "a/b:c"}, seed) for kind in ("x/y", "x y") for seed in range(2)]
    assert sorted(tensorboard.point_names(runs).values()) == [[0, 1], [2, 3]]  # though both would be data=x_y
    assert all("/" not in name and ":" not in name for name in tensorboard.point_names(runs))
    assert tensorboard.point_names(runs[:1]) == {"all": [0]}
    long = [grid.Run({f"key_{k}": seed for k in range(50)}, 0) for seed in range(2)]
    assert all(len(name) <= tensorboard.LONGEST_NAME for name in tensorboard.point_names(long))
    assert len(tensorboard.point_names(long)) == 2


def test_missing_package_is_one_line_before_anything_compiles(monkeypatch, capsys):
    monkeypatch.setattr(tensorboard.util, "find_spec", lambda name: None)
    monkeypatch.setattr(ahead, "prepare", lambda *_: pytest.fail("a program was compiled"))
    monkeypatch.setattr(sys, "argv", ["sweep", "--config=configs/rank_flow.py:smoke", "--tensorboard"])
    with pytest.raises(SystemExit) as stopped:
        command_line.run(sweep.main, sweep.__doc__, sweep.define_flags, config=True)
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: --tensorboard: tensorboardX is not installed; pip install")


def test_events_of_an_earlier_start_are_all_that_is_removed(tmp_path):
    (tmp_path / "tensorboard" / "group_000").mkdir(parents=True)
    (tmp_path / "tensorboard" / "group_000" / "events.out.tfevents.1.old").write_bytes(b"")
    (tmp_path / "run.json").write_text(json.dumps({}))
    tensorboard.Board(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]
