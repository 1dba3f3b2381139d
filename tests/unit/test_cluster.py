"""Several processes: how a cluster is recognised, joined and left in failure, and which devices take part."""

import dataclasses
import functools
import os
import random
import socket
import sys
import types
from importlib import util

import jax
import numpy as np
import pytest
from absl import flags

from launch import cluster, command_line, environment
from rgflow.engine import hosts, mesh

SLURM = {
    "SLURM_JOB_ID": "8812",
    "SLURM_STEP_NODELIST": "node[001-002]",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
}
GKE = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "0"}
BY_HAND = ("--coordinator=node1:1234", "--num_processes=4", "--process_id=3")
INITIALIZE_BY_HAND = {
    "coordinator_address": "node1:1234",
    "num_processes": 4,
    "process_id": 3,
    "cluster_detection_method": "deactivate",
}


class Ended(BaseException):
    """Stands for the end of the process."""


@dataclasses.dataclass(frozen=True)
class Device:
    """Stands for a device of any process."""

    process_index: int
    id: int


def values(*words):
    parsed = flags.FlagValues()
    cluster.define_flags(parsed)
    parsed(["command", *words])
    return parsed


def install(monkeypatch, *packages):
    """Makes exactly these of the packages that the module looks for look installed."""
    find = util.find_spec

    def find_spec(name, package=None):
        if name in ("libtpu", "kubernetes"):
            return object() if name in packages else None
        return find(name, package)

    monkeypatch.setattr(util, "find_spec", find_spec)


@pytest.fixture
def joined(monkeypatch):
    """A process on its own, with what it asks of jax: the calls of initialize and the settings it changes."""
    for name in list(os.environ):
        if name.startswith(("SLURM_", "KUBERNETES_", "JOB_COMPLETION_", "JAX_LOCAL_", "JAX_COORDINATOR_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, port: [])
    calls = {"initialize": [], "update": {}}
    monkeypatch.setattr(jax.distributed, "initialize", lambda **arguments: calls["initialize"].append(arguments))
    monkeypatch.setattr(type(jax.config), "update", lambda self, name, value: calls["update"].update({name: value}))
    return calls


@pytest.fixture
def ended(monkeypatch):
    """The exit codes with which the process would have ended."""
    codes = []

    def end(code):
        codes.append(code)
        raise Ended

    monkeypatch.setattr(command_line, "end_now", end)
    return codes


def variables(monkeypatch, names):
    for name, value in names.items():
        monkeypatch.setenv(name, value)


def test_detects_slurm_by_all_of_its_variables(tmp_path):
    assert cluster.detect(SLURM, tmp_path) == "slurm"
    assert cluster.detect({**SLURM, **GKE}, tmp_path) == "slurm"
    assert cluster.detect({**SLURM, "SLURM_NTASKS": "1"}, tmp_path) == ""
    for name in SLURM:
        assert cluster.detect({k: v for k, v in SLURM.items() if k != name}, tmp_path) == ""


@pytest.mark.parametrize(
    ("device", "packages", "platforms", "expected"),
    [
        ("accel0", ["libtpu"], None, "tpu"),
        ("accel12", ["libtpu"], "tpu,cpu", "tpu"),
        ("vfio/0", ["libtpu"], "tpu", "tpu"),
        ("accel0", ["libtpu"], "", "tpu"),
        ("accel0", ["libtpu"], "cpu", ""),
        ("accel0", ["libtpu"], "cuda,cpu", ""),
        ("accel0", [], None, ""),
        ("vfio/vfio", ["libtpu"], None, ""),
        ("accelerate", ["libtpu"], None, ""),
        ("null", ["libtpu"], None, ""),
    ],
)
def test_detects_a_tpu_by_device_library_and_platform(tmp_path, monkeypatch, device, packages, platforms, expected):
    install(monkeypatch, *packages)
    (tmp_path / device).parent.mkdir(exist_ok=True)
    (tmp_path / device).touch()
    asked = {} if platforms is None else {"JAX_PLATFORMS": platforms}
    assert cluster.detect(asked, tmp_path) == expected
    assert cluster.detect({**asked, **SLURM}, tmp_path) == "slurm"
    assert cluster.detect({**asked, **GKE}, tmp_path) == (expected or "gke")


def test_detects_an_indexed_job_on_kubernetes_and_otherwise_nothing(tmp_path):
    assert cluster.detect(GKE, tmp_path) == "gke"
    for name in GKE:
        assert cluster.detect({name: GKE[name]}, tmp_path) == ""
    assert cluster.detect({}, tmp_path) == ""


def test_flags_by_hand_become_arguments_of_initialize():
    assert cluster.by_hand(values()) is None
    assert cluster.by_hand(values(*BY_HAND)) == INITIALIZE_BY_HAND
    one = cluster.by_hand(values("--coordinator=[::1]:80", "--num_processes=1", "--process_id=0"))
    assert one == {**INITIALIZE_BY_HAND, "coordinator_address": "[::1]:80", "num_processes": 1, "process_id": 0}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (BY_HAND[:2], "--process_id is missing"),
        (BY_HAND[1:], "--coordinator is missing"),
        ((BY_HAND[0], BY_HAND[2]), "--num_processes is missing"),
        (("--process_id=0",), "--coordinator is missing"),
        (("--coordinator=node1", *BY_HAND[1:]), "--coordinator = 'node1': must be HOST:PORT"),
        (("--coordinator=:1234", *BY_HAND[1:]), "--coordinator = ':1234': must be HOST:PORT"),
        (("--coordinator=node1:", *BY_HAND[1:]), "--coordinator = 'node1:': must be HOST:PORT"),
        (("--coordinator=node1:http", *BY_HAND[1:]), "--coordinator = 'node1:http': must be HOST:PORT"),
        (("--coordinator=", *BY_HAND[1:]), "--coordinator = '': must be HOST:PORT"),
        ((BY_HAND[0], "--num_processes=0", "--process_id=0"), "--num_processes = 0: must be at least 1"),
        ((*BY_HAND[:2], "--process_id=4"), "--process_id = 4: must be from 0 to 3"),
        ((*BY_HAND[:2], "--process_id=-1"), "--process_id = -1: must be from 0 to 3"),
    ],
)
def test_contradictory_flags_by_hand_are_refused_in_one_line(joined, words, text):
    with pytest.raises(command_line.UsageError) as refused:
        cluster.join(values(*words))
    assert str(refused.value).startswith(text)
    assert "\n" not in str(refused.value)
    assert joined == {"initialize": [], "update": {}}


@pytest.mark.parametrize("names", [{}, {**SLURM, "SLURM_NTASKS": "1"}, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}])
def test_process_on_its_own_joins_nobody(joined, monkeypatch, names):
    variables(monkeypatch, names)
    cluster.join(values())
    assert joined == {"initialize": [], "update": {}}


@pytest.mark.parametrize(
    ("names", "words", "arguments"),
    [({}, BY_HAND, INITIALIZE_BY_HAND), (SLURM, (), {}), (SLURM, BY_HAND, INITIALIZE_BY_HAND), (GKE, (), {})],
)
def test_join_initialises_jax_once(joined, monkeypatch, names, words, arguments):
    install(monkeypatch, "kubernetes")
    variables(monkeypatch, names)
    cluster.join(values(*words))
    assert joined["initialize"] == [arguments]
    assert not any(name.endswith("visible_devices") for name in joined["update"])


@pytest.mark.parametrize(
    ("nodes", "host"),
    [
        ("node001", "node001"),
        ("one,two", "one"),
        ("node[001-015],login", "node001"),
        ("node[3,7-9]", "node3"),
    ],
)
def test_first_host_is_the_one_that_jax_takes(monkeypatch, nodes, host):
    from jax._src.clusters.slurm_cluster import SlurmCluster

    variables(monkeypatch, {**SLURM, "SLURM_STEP_NODELIST": nodes})
    assert cluster.first_host(nodes) == host
    assert SlurmCluster.get_coordinator_address(None, "80") == f"{host}:80"


FIRST = "JAX_COORDINATOR_ADDRESS"


@pytest.mark.parametrize(
    ("names", "words", "host"),
    [
        (SLURM, (), "node001"),
        ({**SLURM, FIRST: "10.0.0.7:90"}, (), "10.0.0.7"),
        ({}, BY_HAND, "node1"),
        (SLURM, BY_HAND, "node1"),
        ({}, ("--coordinator=[::1]:80", *BY_HAND[1:]), "::1"),
    ],
)
def test_host_of_process_0_is_resolved_before_jax_would_wait_for_it(joined, monkeypatch, names, words, host):
    variables(monkeypatch, names)
    asked = []

    def unknown(name, port):
        asked.append(name)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(command_line.UsageError) as refused:
        cluster.join(values(*words))
    assert asked == [host]
    assert str(refused.value).startswith(f"'{host}', the host of process 0: no such host (Name or service not known)")
    assert FIRST in str(refused.value)
    assert "\n" not in str(refused.value)
    assert joined == {"initialize": [], "update": {}}


def test_name_service_that_does_not_answer_may_come_back_and_a_name_that_is_none_is_refused(joined, monkeypatch):
    variables(monkeypatch, SLURM)

    def silent(name, port):
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    with pytest.raises(
        command_line.Failed, match="'node001', the host of process 0: no name service answers"
    ) as failed:
        cluster.join(values())
    assert failed.value.code == command_line.RESUMABLE
    monkeypatch.undo()
    with pytest.raises(command_line.UsageError, match="cannot be the name of a host"):
        cluster.check_host("a..b")


@pytest.mark.skipif(not hasattr(jax.config, "jax_enable_preemption_service"), reason="this jax has no such service")
def test_preemption_service_is_off_before_initialize(joined, monkeypatch):
    before = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda **arguments: before.append(dict(joined["update"])))
    cluster.join(values(*BY_HAND))
    assert before == [{"jax_enable_preemption_service": False}]


def test_kubernetes_without_its_package_is_refused_but_not_by_hand(joined, monkeypatch):
    install(monkeypatch)
    variables(monkeypatch, GKE)
    with pytest.raises(command_line.UsageError, match=r"pip install 'jax\[k8s\]'"):
        cluster.join(values())
    assert joined["initialize"] == []
    cluster.join(values(*BY_HAND))
    assert joined["initialize"] == [INITIALIZE_BY_HAND]


@pytest.mark.parametrize("error", [RuntimeError, ValueError, jax.errors.JaxRuntimeError])
@pytest.mark.parametrize(
    ("names", "words", "code"), [(SLURM, (), 75), (GKE, (), 75), ({}, BY_HAND, 1), (SLURM, BY_HAND, 1)]
)
def test_processes_that_do_not_meet_are_said_in_one_line(joined, monkeypatch, error, names, words, code):
    install(monkeypatch, "kubernetes")
    variables(monkeypatch, {**names, "SLURM_STEP_TASKS_PER_NODE": "1"})

    def initialize(**arguments):
        raise error("\nDEADLINE_EXCEEDED: " + 200 * "x" + "\nmore lines")

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    with pytest.raises(command_line.Failed) as failed:
        cluster.join(values(*words))
    assert failed.value.code == code
    text = str(failed.value)
    assert text.startswith("the processes of the sweep did not find each other: DEADLINE_EXCEEDED: xxx")
    assert "\n" not in text
    assert len(text) < 220
    assert "jax_cuda_visible_devices" not in joined["update"]


@pytest.mark.parametrize(
    ("names", "words", "all_visible"),
    [
        ({"SLURM_STEP_TASKS_PER_NODE": "1"}, (), True),
        ({"SLURM_STEP_TASKS_PER_NODE": "1(x2)"}, (), True),
        ({"SLURM_STEP_TASKS_PER_NODE": "2"}, (), False),
        ({"SLURM_STEP_TASKS_PER_NODE": "8(x2)"}, (), False),
        ({"SLURM_STEP_TASKS_PER_NODE": "16(x2)"}, (), False),
        ({"SLURM_STEP_TASKS_PER_NODE": "2,1"}, (), False),
        ({"SLURM_STEP_TASKS_PER_NODE": "1(x2),2"}, (), False),
        ({}, (), False),
        ({"SLURM_STEP_TASKS_PER_NODE": "1(x2)", "JAX_LOCAL_DEVICE_IDS": "0,1"}, (), False),
        ({"SLURM_STEP_TASKS_PER_NODE": "1(x2)"}, BY_HAND, False),
    ],
)
def test_slurm_task_with_a_node_to_itself_takes_all_its_gpus(joined, monkeypatch, names, words, all_visible):
    variables(monkeypatch, {**SLURM, **names})
    # What jax does for a Slurm task, and must not be the last word.
    first_gpu = lambda **arguments: jax.config.update("jax_cuda_visible_devices", "0")  # noqa: E731
    monkeypatch.setattr(jax.distributed, "initialize", first_gpu)
    cluster.join(values(*words))
    visible = {name: value for name, value in joined["update"].items() if name.endswith("visible_devices")}
    everything = {"jax_cuda_visible_devices": "all", "jax_rocm_visible_devices": "all"}
    assert visible == (everything if all_visible else {"jax_cuda_visible_devices": "0"})
    assert set(everything) <= set(jax.config.values)


def test_gpus_are_left_to_jax_outside_slurm(joined, monkeypatch):
    install(monkeypatch, "kubernetes")
    variables(monkeypatch, {**GKE, "SLURM_STEP_TASKS_PER_NODE": "1"})
    cluster.join(values())
    assert len(joined["initialize"]) == 1
    assert not any(name.endswith("visible_devices") for name in joined["update"])


@pytest.mark.parametrize("processes", [1, 4])
def test_lost_peer_ends_the_process_as_resumable(ended, monkeypatch, capsys, processes):
    monkeypatch.setattr(hosts, "count", lambda: processes)
    with pytest.raises(Ended), cluster.failing_together():
        raise hosts.PeerLost("connection reset")
    assert ended == [75]
    said = capsys.readouterr().err
    assert said == "another process of the sweep is gone (connection reset); start all of them again to go on\n"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyError("lost"), "Traceback (most recent call last)"),
        (MemoryError(), "MemoryError"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (command_line.Failed("the disk refused"), "error: the disk refused\n"),
    ],
)
def test_failure_of_one_of_several_processes_ends_it_at_once(ended, monkeypatch, capsys, error, said):
    monkeypatch.setattr(hosts, "count", lambda: 2)
    with pytest.raises(Ended), cluster.failing_together():
        raise error
    assert ended == [101]
    shown = capsys.readouterr().err
    assert said in shown
    assert ("Traceback" in shown) == (not isinstance(error, command_line.Failed))


@pytest.mark.parametrize(
    ("processes", "error"),
    [
        (1, KeyError("lost")),
        (1, command_line.Failed("the disk refused")),
        (1, command_line.UsageError("a flag")),
        (4, command_line.UsageError("a flag")),
        (1, KeyboardInterrupt()),
        (4, SystemExit(3)),
    ],
)
def test_other_failures_go_on_as_they_are(ended, monkeypatch, processes, error):
    monkeypatch.setattr(hosts, "count", lambda: processes)
    with pytest.raises(type(error)) as raised, cluster.failing_together():
        raise error
    assert raised.value is error
    assert ended == []


def test_second_interrupt_ends_one_of_several_processes_at_once(ended, monkeypatch):
    monkeypatch.setattr(hosts, "count", lambda: 4)
    with pytest.raises(Ended), cluster.failing_together():
        raise KeyboardInterrupt
    assert ended == [command_line.INTERRUPTED]


@pytest.mark.parametrize("error", [ValueError("UNKNOWN: Gloo AllGather failed"), RuntimeError("Gloo: closed by peer")])
def test_peer_that_is_missed_inside_another_library_is_a_lost_peer(ended, monkeypatch, error):
    monkeypatch.setattr(hosts, "count", lambda: 2)
    with pytest.raises(Ended), cluster.failing_together():
        raise error
    assert ended == [command_line.RESUMABLE]


def test_nothing_happens_to_a_process_that_does_not_fail(ended, monkeypatch):
    monkeypatch.setattr(hosts, "count", lambda: 4)
    with cluster.failing_together():
        pass
    assert ended == []


def test_end_is_immediate_and_what_was_printed_is_not_lost(monkeypatch):
    done = []
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, types.SimpleNamespace(flush=functools.partial(done.append, name)))
    monkeypatch.setattr(os, "_exit", done.append)
    command_line.end_now(75)
    monkeypatch.undo()
    assert done == ["stdout", "stderr", 75]


def test_a_start_has_a_name_where_a_batch_script_gave_it_one(monkeypatch):
    monkeypatch.delenv("RGFLOW_START", raising=False)
    assert cluster.start_name() == {}
    monkeypatch.setenv("RGFLOW_START", "7.2")
    assert cluster.start_name() == {"start": "7.2"}


@pytest.mark.parametrize("processes", [1, 4])
def test_leaving_waits_for_the_others_if_there_are_any(monkeypatch, processes):
    done = []
    monkeypatch.setattr(hosts, "count", lambda: processes)
    monkeypatch.setattr(hosts, "gather", lambda numbers: done.append("gather"))
    monkeypatch.setattr(jax.distributed, "shutdown", lambda: done.append("shutdown"))
    cluster.leave()
    assert done == ([] if processes == 1 else ["gather", "shutdown"])


def test_gather_of_one_process_touches_no_device(monkeypatch):
    monkeypatch.setattr(hosts.multihost_utils, "process_allgather", None)
    assert hosts.gather([3, -1]).tolist() == [[3, -1]]
    assert hosts.from_first([7, 8]) == [7, 8]
    assert hosts.is_first()


def test_gather_of_several_processes_returns_rows_and_names_a_lost_one(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    everyone = lambda local: np.stack([local + 10 * k for k in range(3)]).reshape(-1)  # noqa: E731
    monkeypatch.setattr(hosts.multihost_utils, "process_allgather", everyone)
    assert hosts.gather([1, 2]).tolist() == [[1, 2], [11, 12], [21, 22]]
    assert hosts.from_first([1, 2]) == [1, 2]

    def lost(local):
        raise jax.errors.JaxRuntimeError("UNAVAILABLE: connection closed by peer\nlong story")

    monkeypatch.setattr(hosts.multihost_utils, "process_allgather", lost)
    with pytest.raises(hosts.PeerLost, match=r"^UNAVAILABLE: connection closed by peer$"):
        hosts.gather([1])


def test_memory_of_a_device_is_a_share_of_the_machine():
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    memory = environment.device_memory()
    assert 0 < memory <= total / jax.local_device_count()
    assert memory > 2**20


@pytest.mark.parametrize(
    ("limit", "used", "expected"),
    [(None, None, 8 * 2**30), (5 * 2**30, 2**30, 4 * 2**30), (64 * 2**30, 2**30, 8 * 2**30), (5 * 2**30, None, 2**33)],
)
def test_memory_is_the_smaller_of_what_machine_and_container_have_free(monkeypatch, limit, used, expected):
    files = {
        ("/proc/meminfo", "MemAvailable"): 8 * 2**20,
        ("/sys/fs/cgroup/memory.max", ""): limit,
        ("/sys/fs/cgroup/memory.current", ""): used,
    }
    monkeypatch.setattr(environment, "_number", lambda path, label="": files[path, label])
    monkeypatch.setattr(jax, "local_device_count", lambda: 2)
    assert environment.device_memory() == expected // 2


def test_memory_is_unknown_where_the_platform_does_not_say(monkeypatch):
    monkeypatch.setattr(environment, "_number", lambda path, label="": None)
    assert environment.device_memory() is None


@pytest.mark.parametrize(
    ("content", "label", "expected"),
    [
        ("MemTotal: 24 kB\nMemAvailable:   17 kB\n", "MemAvailable", 17),
        ("MemTotal: 24 kB\n", "MemAvailable", None),
        ("max\n", "", None),
        ("4096\n", "", 4096),
        ("", "", None),
        (None, "", None),
    ],
)
def test_number_of_a_system_file(tmp_path, content, label, expected):
    path = tmp_path / "file"
    if content is not None:
        path.write_text(content)
    assert environment._number(str(path), label) == expected


def devices(processes, each, start=0):
    """Devices of several processes, in no order, with ids as far apart as those of jax's CPU clients are."""
    found = [Device(p, start + 131072 * (processes - p) + k) for p in range(processes) for k in range(each)]
    random.Random(1).shuffle(found)
    return found


@pytest.mark.parametrize(
    ("processes", "each", "runs", "run_batch", "used"),
    [
        (1, 8, 16, 2, 8),
        (1, 8, 5, 2, 3),
        (2, 4, 16, 2, 4),
        (2, 4, 9, 2, 3),
        (2, 4, 3, 2, 1),
        (4, 2, 1, 1, 1),
        (3, 2, 100, 1, 2),
    ],
)
def test_every_process_takes_part_with_the_same_number_of_devices_in_one_stretch(
    processes, each, runs, run_batch, used
):
    made = mesh.run_mesh(runs, run_batch, devices(processes, each))
    assert made.axis_names == ("run",)
    chosen = list(made.devices)
    assert [d.process_index for d in chosen] == [p for p in range(processes) for _ in range(used)]
    for process in range(processes):
        own = sorted(d.id for d in devices(processes, each) if d.process_index == process)
        assert [d.id for d in chosen if d.process_index == process] == own[:used]
    assert mesh.padded_runs(runs, run_batch, made) >= runs
    assert mesh.padded_runs(runs, run_batch, made) % (processes * used * run_batch) == 0


def test_processes_with_unequal_numbers_of_devices_take_part_with_equal_ones():
    unequal = [Device(0, k) for k in range(2)] + [Device(1, 10 + k) for k in range(4)]
    assert [d.process_index for d in mesh.run_mesh(100, 1, unequal).devices] == [0, 0, 1, 1]


def test_error_without_a_text_is_named(joined, monkeypatch):
    def initialize(**arguments):
        raise RuntimeError

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    with pytest.raises(command_line.Failed, match=r"did not find each other: RuntimeError$"):
        cluster.join(values(*BY_HAND))


def test_devices_of_this_process_are_the_default():
    assert list(mesh.run_mesh(3, 1).devices) == sorted(jax.devices(), key=lambda d: d.id)[:3]
