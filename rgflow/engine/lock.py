"""One sweep per workdir: a lock that names its owner, is freed by the kernel, and is recovered when its owner died.

The lock is held by ``flock``, which ends with the process that holds it. Where file systems do not share such locks
between hosts, the owner's heartbeat decides. It is a count, and only a change of it matters, so that no two clocks are
ever compared.
"""

import contextlib
import fcntl
import json
import os
import pathlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

from rgflow.schema import kinds

BEAT_SECONDS = 5.0
LENGTH = 512
"""Fixed length of the file: a heartbeat must not fail on a full disk, and is never read half written."""
SILENT_BEATS = 3
"""An owner on another host whose heartbeat stands still for this many beats is taken for dead."""


class Locked(Exception):
    """Another process works on this workdir; the text names it."""


def _owner(descriptor: int) -> dict[str, Any] | None:
    try:
        owner = json.loads(os.pread(descriptor, LENGTH, 0))
        return None if kinds.wrong(owner, kinds.LOCK) else owner
    except (ValueError, RecursionError):
        return None


def _write(descriptor: int, beat: int) -> None:
    owner = {
        "host": socket.gethostname(),
        "process": os.getpid(),
        "started": time.strftime("%Y-%m-%d %H:%M:%S"),
        "beat": beat,
    }
    os.pwrite(descriptor, json.dumps(owner).ljust(LENGTH).encode(), 0)


def _is_at(descriptor: int, path: pathlib.Path) -> bool:
    """Returns whether the open file is still the one at ``path``: a lock on a removed file locks nothing."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _beats(descriptor: int, path: pathlib.Path, owner: dict[str, Any]) -> bool:
    """Returns whether the owner's heartbeat changes within ``SILENT_BEATS``; False also when it removes the file."""
    end = time.monotonic() + SILENT_BEATS * BEAT_SECONDS
    while time.monotonic() < end:
        time.sleep(BEAT_SECONDS / 5)
        now = _owner(descriptor)
        if now is None or not _is_at(descriptor, path):
            return False
        if now != owner:
            return True
    return False


def _take(descriptor: int) -> bool:
    """Takes the kernel's lock; returns False where the file system has none, raises Locked when another holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = _owner(descriptor)
        name = f"process {owner['process']} on {owner['host']} since {owner['started']}" if owner else "another process"
        raise Locked(name) from None
    except OSError:
        return False
    return True


def _open(path: pathlib.Path) -> tuple[int, bool]:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            kernel = _take(descriptor)
            # The owner before us may have removed the file between our open and our lock.
            if _is_at(descriptor, path):
                return descriptor, kernel
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _acquire(path: pathlib.Path, tell: Any) -> int:
    """Returns the descriptor of the lock file at ``path``, which names this process now."""
    while True:
        descriptor, kernel = _open(path)
        try:
            owner = _owner(descriptor)
            name = f"process {owner['process']} on {owner['host']}" if owner else ""
            # A free kernel lock proves that the owner died only if the owner was on this host.
            unsure = owner is not None and (owner["host"] != socket.gethostname() or not kernel)
            if owner is not None and unsure and _beats(descriptor, path, owner):
                raise Locked(f"{name} since {owner['started']}")
            # An owner that released the lock while we waited for its heartbeat has removed the file.
            if _is_at(descriptor, path):
                if name:
                    tell(f"recovered the lock of {name}, which ended without releasing it")
                _write(descriptor, 0)
                if not kernel:
                    _settle(descriptor)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_ours(descriptor: int) -> bool:
    owner = _owner(descriptor)
    return owner is None or (owner["host"], owner["process"]) == (socket.gethostname(), os.getpid())


def _settle(descriptor: int) -> None:
    """Raises Locked when another process wrote its name after us: of two that start together the later one stays."""
    time.sleep(BEAT_SECONDS / 5)
    owner = _owner(descriptor)
    if owner is not None and not _is_ours(descriptor):
        raise Locked(f"process {owner['process']} on {owner['host']} since {owner['started']}")


@contextlib.contextmanager
def held(path: pathlib.Path, tell: Any = print) -> Iterator[None]:
    """Holds the lock file ``path`` for the duration of the block; raises Locked, naming the owner, if another holds it.

    ``tell`` is called with a line of text when the lock of a dead owner is recovered.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _acquire(path, tell)
    done = threading.Event()
    try:
        beating = threading.Thread(target=_keep_beating, args=(descriptor, done), daemon=True)
        beating.start()
        try:
            yield
        finally:
            done.set()
            beating.join()
            with contextlib.suppress(OSError):
                if _is_ours(descriptor):  # it is not if we stood still so long that another host took the lock
                    path.unlink()
    finally:
        os.close(descriptor)


def _keep_beating(descriptor: int, done: threading.Event) -> None:
    beat = 0
    while not done.wait(BEAT_SECONDS):
        beat += 1
        with contextlib.suppress(OSError):
            if _is_ours(descriptor):
                _write(descriptor, beat)
