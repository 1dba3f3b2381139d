"""The lock on a workdir: who is refused, who recovers it, with and without a lock of the kernel, and races for it."""

import contextlib
import errno
import fcntl
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from rgflow.engine import lock

ROOT = pathlib.Path(__file__).parents[2]
HERE = socket.gethostname()
ELSEWHERE = f"not-{HERE}"
HOLD = """
import pathlib, subprocess, sys
from rgflow.engine import lock

lock.BEAT_SECONDS = 0.02
with lock.held(pathlib.Path(sys.argv[1])):
    if "parent" in sys.argv:
        child = subprocess.Popen(["sleep", "60"], close_fds=False, stdout=subprocess.DEVNULL)
        print(child.pid, flush=True)
    print("held", flush=True)
    sys.stdin.read()
"""
RACE = """
import pathlib, sys
from rgflow.engine import lock

print("ready", flush=True)
for line in sys.stdin:
    try:
        with lock.held(pathlib.Path(line.strip()), lambda text: None):
            print("won", flush=True)
            sys.stdin.readline()
    except lock.Locked as error:
        print(error, flush=True)
        sys.stdin.readline()
"""
CONTEND = """
import os, pathlib, sys, time
from rgflow.engine import lock

path, wins = pathlib.Path(sys.argv[1]), 0
print("ready", flush=True)
sys.stdin.readline()
end = time.monotonic() + 0.6
while time.monotonic() < end:
    try:
        with lock.held(path, lambda text: None):
            os.close(os.open(path.with_name("inside"), os.O_CREAT | os.O_EXCL))
            time.sleep(0.0005)
            os.unlink(path.with_name("inside"))
            wins += 1
    except lock.Locked:
        pass
print("wins", wins, flush=True)
"""


@pytest.fixture
def path(tmp_path):
    """Where the lock of a workdir lies."""
    return tmp_path / "run" / "lock.json"


@pytest.fixture
def fast(monkeypatch):
    """Heartbeats that need not be waited for long."""
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.15)


@pytest.fixture
def no_kernel_lock(monkeypatch, fast):
    """A file system without flock."""

    def flock(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)


@contextlib.contextmanager
def child(code, *arguments):
    """A process with pipes to it; it is gone after the block."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def holder(path, *arguments):
    """A process that holds the lock, and what it printed before that."""
    with child(HOLD, path, *arguments) as process:
        yield process, list(iter(process.stdout.readline, "held\n"))


def write_owner(path, beat=7, host=ELSEWHERE, process=4321):
    """Writes what an owner would have written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    owner = {"host": host, "process": process, "started": "2026-01-02 03:04:05", "beat": beat}
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    os.pwrite(descriptor, json.dumps(owner).ljust(512).encode(), 0)
    os.close(descriptor)


@contextlib.contextmanager
def beating_owner(path):
    """An owner on another host that is alive."""
    done = threading.Event()

    def beat():
        count = 0
        while not done.wait(0.03):
            count += 1
            write_owner(path, count)

    write_owner(path, 0)
    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def take(path):
    """Takes the lock and lets go of it; returns what was told."""
    told = []
    with lock.held(path, told.append):
        assert path.exists()
    assert not path.exists()
    return told


def refusal(path):
    """Returns the text with which the lock is refused, which must leave the file where it is."""
    with pytest.raises(lock.Locked) as refused, lock.held(path):
        pass
    assert path.exists()
    return str(refused.value)


def named(process, host):
    return rf"process {process} on {re.escape(host)} since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d"


def recovered(process, host):
    return [f"recovered the lock of process {process} on {host}, which ended without releasing it"]


def test_second_holder_in_the_same_process_is_refused_until_the_first_lets_go(path):
    with lock.held(path):
        for _ in range(2):
            assert re.fullmatch(named(os.getpid(), HERE), refusal(path))
    assert not path.exists()
    assert take(path) == []


def test_second_holder_in_another_process_is_refused_even_while_the_first_is_frozen(path, fast):
    with holder(path) as (process, _):
        assert re.fullmatch(named(process.pid, HERE), refusal(path))
        process.send_signal(signal.SIGSTOP)
        assert re.fullmatch(named(process.pid, HERE), refusal(path))
        process.send_signal(signal.SIGCONT)
        process.communicate()
        assert not path.exists()
        assert take(path) == []


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_exception_releases_the_lock(path, error):
    with pytest.raises(error), lock.held(path):
        raise error
    assert not path.exists()
    assert take(path) == []


def test_lock_of_a_killed_owner_is_recovered_at_once(path):
    with holder(path) as (process, _):
        process.kill()
        process.wait()
    assert path.exists()
    began = time.monotonic()
    assert take(path) == recovered(process.pid, HERE)
    assert time.monotonic() - began < lock.BEAT_SECONDS
    assert take(path) == []


def test_child_of_a_killed_owner_does_not_keep_the_lock(path):
    with holder(path, "parent") as (process, (line,)):
        process.kill()
        process.wait()
        try:
            assert take(path) == recovered(process.pid, HERE)
        finally:
            os.kill(int(line), signal.SIGKILL)


def test_owner_on_another_host_whose_heart_beats_is_not_robbed(path, fast):
    with beating_owner(path):
        for _ in range(2):
            assert re.fullmatch(named(4321, ELSEWHERE), refusal(path))


def test_owner_on_another_host_that_is_silent_is_taken_for_dead_after_three_beats(path, fast):
    write_owner(path)
    began = time.monotonic()
    assert take(path) == recovered(4321, ELSEWHERE)
    waited = time.monotonic() - began
    assert lock.SILENT_BEATS * lock.BEAT_SECONDS <= waited < 20 * lock.BEAT_SECONDS


def test_waiting_stops_as_soon_as_the_heart_is_seen_to_beat(path):
    with beating_owner(path):
        began = time.monotonic()
        refusal(path)
        assert time.monotonic() - began < 2 * lock.BEAT_SECONDS


def test_another_process_that_recovers_the_lock_first_keeps_it(path, no_kernel_lock):
    write_owner(path)
    other = threading.Timer(0.1, write_owner, (path, 7, "a-third-host", 999))
    other.start()
    refusal(path)
    other.join()
    assert json.loads(path.read_text())["host"] == "a-third-host"


@pytest.mark.parametrize("host", [HERE, ELSEWHERE])
def test_without_a_kernel_lock_the_heartbeat_recovers_the_lock_of_the_dead(path, no_kernel_lock, host):
    write_owner(path, host=host)
    assert take(path) == recovered(4321, host)


def test_without_a_kernel_lock_the_heartbeat_protects_a_living_owner(path, no_kernel_lock):
    with lock.held(path):
        assert re.fullmatch(named(os.getpid(), HERE), refusal(path))
    assert not path.exists()
    with beating_owner(path):
        assert re.fullmatch(named(4321, ELSEWHERE), refusal(path))


def test_exactly_one_of_many_processes_gets_the_lock(path):
    with contextlib.ExitStack() as stack:
        racers = [stack.enter_context(child(RACE)) for _ in range(8)]
        assert [racer.stdout.readline() for racer in racers] == ["ready\n"] * 8
        for start in ("free", "silent"):
            if start == "silent":
                write_owner(path, host=HERE)  # all of them find a dead owner
            for racer in racers:
                racer.stdin.write(f"{path}\n")
                racer.stdin.flush()
            said = [racer.stdout.readline().strip() for racer in racers]
            assert said.count("won") == 1
            # A loser may come before the winner has written its name.
            allowed = rf"won|another process|{named(racers[said.index('won')].pid, HERE)}|{named(4321, HERE)}"
            assert all(re.fullmatch(allowed, text) for text in said), said
            for racer in racers:
                racer.stdin.write("\n")
                racer.stdin.flush()
            deadline = time.monotonic() + 10
            while path.exists() and time.monotonic() < deadline:
                time.sleep(0.001)
            assert not path.exists()


def test_no_two_processes_are_ever_inside_while_they_take_turns(path):
    path.parent.mkdir()
    with contextlib.ExitStack() as stack:
        rivals = [stack.enter_context(child(CONTEND, path)) for _ in range(3)]
        assert [rival.stdout.readline() for rival in rivals] == ["ready\n"] * 3
        for rival in rivals:
            rival.stdin.write("\n")
            rival.stdin.flush()
        said = [rival.communicate(timeout=30)[0].split() for rival in rivals]
    assert [words[:1] for words in said] == [["wins"]] * 3
    assert sum(int(words[1]) for words in said) > 20
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" " * 512,
        b"\0" * 512,
        b"\xff\xfe garbage \x80",
        b"{",
        b"42",
        b"null",
        b"[1, 2]",
        b'{"host": "x"}',
        b"x" * 600,
        b'["host", "process", "started", "beat"]',
        b"[" * 4096,
    ],
)
@pytest.mark.parametrize("kernel", [True, False])
def test_empty_or_garbage_file_is_no_obstacle(path, request, content, kernel):
    if not kernel:
        request.getfixturevalue("no_kernel_lock")
    path.parent.mkdir()
    path.write_bytes(content)
    assert take(path) == []


@pytest.mark.timeout(30)
@pytest.mark.parametrize("jump", [86400.0, -86400.0])
def test_jumps_of_the_wall_clock_change_nothing(path, fast, monkeypatch, jump):
    true_time, reads = time.time, iter(range(10**9))
    monkeypatch.setattr(time, "time", lambda: true_time() + jump * next(reads))
    with beating_owner(path):
        refusal(path)
    write_owner(path)
    began = time.monotonic()
    assert take(path) == recovered(4321, ELSEWHERE)
    assert 0 <= time.monotonic() - began - lock.SILENT_BEATS * lock.BEAT_SECONDS < 3


def test_heart_beats_while_the_lock_is_held_and_the_file_keeps_its_length(path, monkeypatch):
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.02)
    owners = []
    with lock.held(path):
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and len({owner["beat"] for owner in owners}) < 4:
            assert path.stat().st_size == 512
            owners.append(json.loads(path.read_bytes()))
            time.sleep(0.005)
    beats = [owner["beat"] for owner in owners]
    assert beats == sorted(beats)
    assert len(set(beats)) == 4
    assert {(owner["host"], owner["process"]) for owner in owners} == {(HERE, os.getpid())}
    assert not any(thread.name.endswith("(_keep_beating)") for thread in threading.enumerate())


def test_disk_that_refuses_heartbeats_does_not_end_the_holder(path, monkeypatch):
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.01)
    write, refused = lock._write, threading.Event()

    def full(descriptor, beat):
        if beat == 0:
            return write(descriptor, beat)
        if beat == 3:
            refused.set()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(lock, "_write", full)
    with lock.held(path):
        assert refused.wait(10)
        assert re.fullmatch(named(os.getpid(), HERE), refusal(path))
    assert not path.exists()


def test_release_waits_for_a_heartbeat_that_is_being_written(path, monkeypatch):
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.01)
    write, begun, written = lock._write, threading.Event(), []

    def slow(descriptor, beat):
        if beat:
            begun.set()
            time.sleep(0.1)
        write(descriptor, beat)
        written.append(beat)

    monkeypatch.setattr(lock, "_write", slow)
    with lock.held(path):
        assert begun.wait(10)
    assert written == [0, 1]
    assert not path.exists()


@pytest.mark.parametrize("kernel", [True, False])
def test_owner_that_lets_go_while_its_heartbeat_is_awaited_leaves_a_lock_that_holds(path, fast, request, kernel):
    if not kernel:
        request.getfixturevalue("no_kernel_lock")
    write_owner(path)
    leaving = threading.Timer(0.1, path.unlink)
    leaving.start()
    told = []
    with lock.held(path, told.append):
        leaving.join()
        assert re.fullmatch(named(os.getpid(), HERE), refusal(path))
    assert told == []


def test_owner_is_named_after_a_file_that_was_too_long(path):
    path.parent.mkdir()
    path.write_bytes(b"x" * 600)
    with lock.held(path):
        assert re.fullmatch(named(os.getpid(), HERE), refusal(path))


def test_without_a_kernel_lock_the_last_of_two_that_start_together_stays(path, no_kernel_lock, monkeypatch):
    write = lock._write

    def overtaken(descriptor, beat):
        write(descriptor, beat)
        write_owner(path, 0)

    monkeypatch.setattr(lock, "_write", overtaken)
    assert re.fullmatch(named(4321, ELSEWHERE), refusal(path))
