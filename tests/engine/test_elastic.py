"""A sweep that was checkpointed on four devices goes on with another number of them, through the real command."""

import signal

import command
import pytest

pytestmark = pytest.mark.multidevice


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("whole") / "run"
    command.sweep(workdir, devices=4)
    return workdir


@pytest.mark.parametrize("devices", [2, pytest.param(1, marks=pytest.mark.slow), 8])
def test_resumes_on_other_devices(tmp_path, whole, devices):
    workdir = tmp_path / "run"
    process = command.start(workdir, devices=4)
    command.wait_for(lambda: any(e["step"] >= 12 for e in command.events(workdir, "checkpoint")), process)
    process.send_signal(signal.SIGTERM)
    command.finish(process, code=75)
    stopped = command.events(workdir, "stopped")[-1]["step"]
    output = command.sweep(workdir, devices=devices)
    assert f"9 runs (2 at a time on each of {min(devices, 5)} devices)" in output
    assert command.events(workdir, "resumed")[-1]["step"] == stopped
    command.assert_close(workdir, whole)
