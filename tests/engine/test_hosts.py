"""One sweep, one workdir: several processes on the loopback device, or other devices than those it was begun on."""

import signal
import socket
import time

import command
import numpy as np
import pytest

pytestmark = [pytest.mark.multidevice, pytest.mark.timeout(400)]


def start(workdir, processes=2, devices=2, *flags, limits=(), own=()):
    """Starts the processes of one sweep, process 0 first; ``limits`` and ``own`` flags are by process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"--coordinator=127.0.0.1:{free.getsockname()[1]}"
    common = (*flags, address, f"--num_processes={processes}")
    limit, own = dict(limits), {k: (flag,) for k, flag in dict(own).items()}
    return [
        command.start(workdir, *common, f"--process_id={k}", *own.get(k, ()), devices=devices, limit_file=limit.get(k))
        for k in range(processes)
    ]


def sweep(workdir, processes=2, devices=2):
    return [command.finish(p, seconds=200) for p in start(workdir, processes, devices)]


def reached(workdir, step):
    return lambda: any(event["step"] >= step for event in command.events(workdir, "checkpoint"))


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """One process with four devices."""
    workdir = tmp_path_factory.mktemp("one") / "run"
    command.sweep(workdir, devices=4)
    return workdir


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two processes with two devices each, never interrupted."""
    workdir = tmp_path_factory.mktemp("two") / "run"
    first, second = sweep(workdir)
    assert "done in" in first
    assert "done in" not in second
    assert "group_000: 9 runs (2 at a time on each of 4 devices)" in first
    return workdir


def test_two_processes_share_records_and_checkpoints_and_give_what_one_gives(one, two):
    names = {p.name for p in (two / "chunks").iterdir()}
    assert {"group_000-000000000.0-8.npz", "group_000-000000000.8-9.npz"} <= names
    assert not any(name.count(".") == 1 for name in names)
    newest = max((two / "checkpoints" / "group_000").glob("[0-9]*"), key=lambda p: int(p.name))
    assert {p.name for p in (newest / "state").glob("ocdbt.process_*")} == {"ocdbt.process_0", "ocdbt.process_1"}
    assert command.events(two, "started")[0]["processes"] == 2
    assert len(list(two.glob("results.nc"))) == 1
    command.assert_close(two, one)


@pytest.mark.parametrize("victim", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_one_process_is_killed_and_both_are_started_again(tmp_path, two, victim):
    workdir = tmp_path / "run"
    processes = start(workdir)
    command.wait_for(reached(workdir, 12), *processes)
    processes[victim].send_signal(signal.SIGKILL)
    began = time.monotonic()
    survivor = processes[1 - victim]
    output = survivor.communicate(timeout=200)[0]
    processes[victim].communicate()
    # Death in the midst of a save is noticed by the heartbeat of jax alone, which aborts the survivor.
    assert survivor.returncode in (75, -signal.SIGABRT), output
    if survivor.returncode == 75:
        assert "another process of the sweep is gone" in output
        assert time.monotonic() - began < 60
    sweep(workdir)
    assert command.events(workdir, "resumed")[-1]["step"] >= 8
    command.assert_same_bits(workdir, two)


def test_signal_to_one_process_stops_both_and_one_process_goes_on(tmp_path, one, two):
    workdir = tmp_path / "run"
    processes = start(workdir)
    command.wait_for(reached(workdir, 12), *processes)
    processes[1].send_signal(signal.SIGTERM)
    outputs = [command.finish(p, code=75) for p in processes]
    assert "resume with" in outputs[0]
    stopped = command.events(workdir, "stopped")[-1]["step"]
    before = {p.name: p.read_bytes() for p in (workdir / "chunks").iterdir()}
    command.sweep(workdir, devices=1)
    assert command.events(workdir, "resumed")[-1]["step"] == stopped
    assert {p.name: p.read_bytes() for p in (workdir / "chunks").iterdir()}.items() >= before.items()
    command.assert_close(workdir, one)
    early = [command.results(folder).sel(step=4)["projection"].values for folder in (workdir, two)]
    np.testing.assert_array_equal(*early)


def test_processes_with_different_configs_are_refused(tmp_path):
    for process in start(tmp_path / "run", own={1: "--config.root_seed=7"}):
        assert "different flags, configs or versions" in command.finish(process, code=2)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("poor", [0, 1])
def test_disk_that_fails_for_one_process_stops_both_and_both_go_on(tmp_path, two, poor):
    workdir = tmp_path / "run"
    processes = start(workdir, limits={poor: 700})
    outputs = [p.communicate(timeout=200)[0] for p in processes]
    assert processes[poor].returncode == 101, outputs[poor]
    assert "error: the disk refused" in outputs[poor]
    assert processes[1 - poor].returncode in (75, -signal.SIGABRT), outputs[1 - poor]
    sweep(workdir)
    command.assert_same_bits(workdir, two)


def test_workdir_in_use_and_a_changed_config_are_refused_by_every_process(tmp_path, two):
    for k in range(2):
        flags = ("--coordinator=127.0.0.1:1", "--num_processes=2", f"--process_id={k}")
        assert "size: 6 -> 7" in command.refused(two, "--config.size=7", *flags)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """One process with four devices, stopped halfway."""
    workdir = tmp_path_factory.mktemp("stopped") / "run"
    process = command.start(workdir, devices=4)
    command.wait_for(reached(workdir, 12), process)
    process.send_signal(signal.SIGTERM)
    command.finish(process, code=75)
    return workdir


@pytest.mark.parametrize("devices", [2, pytest.param(1, marks=pytest.mark.slow), 8])
def test_resumes_on_other_devices(tmp_path, one, stopped, devices):
    workdir = command.copy(stopped, tmp_path / "run")
    output = command.sweep(workdir, devices=devices)
    assert f"9 runs (2 at a time on each of {min(devices, 5)} devices)" in output
    step = command.events(stopped, "stopped")[-1]["step"]
    assert command.events(workdir, "resumed")[-1]["step"] == step
    command.assert_close(workdir, one)
