"""What the runtime kit does in the shim (`barque.testing.shim`): the driver's hooks, with the stdio that they are given."""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import termios
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from barque.spi.runtime import RuntimeCreate, RuntimeExec, RuntimeTask, Stdio
from barque.testing import procfs

__all__ = [
    "Plan",
    "call_hook",
    "converse",
    "create",
    "execute",
    "network_namespace",
    "restore",
    "window_size",
]

_MS_BIND = 0x1000
_CLONE_NEWNET = 0x40000000
_PATIENCE_SECONDS = 10


@dataclass(frozen=True)
class Plan:
    """A create or an exec, with paths for its stdio."""

    id: str
    root: str
    bundle: str
    document: Mapping[str, Any]
    stdin: str
    stdout: Path
    stderr: Path


def call_hook(driver: Any, name: str, *args: Any) -> Any:
    """A hook without stdio."""
    return getattr(driver, name)(*args)


def create(driver: Any, plan: Plan) -> RuntimeTask:
    """`runtime_create`, of a root that is mounted."""
    return _make(driver.runtime_create, plan)


def restore(driver: Any, plan: Plan, directory: str) -> RuntimeTask:
    """`runtime_restore`."""
    return _make(lambda request: driver.runtime_restore(request, directory), plan)


def execute(driver: Any, plan: Plan) -> RuntimeTask:
    """`runtime_exec`."""
    stdio = _open(plan, plan.document)
    try:
        task: RuntimeTask = driver.runtime_exec(RuntimeExec(plan.id, plan.root, plan.document, stdio))
        return task
    finally:
        _close(stdio)


def network_namespace(driver: Any) -> tuple[str, int]:  # noqa: ARG001
    """A new one, held by the shim: `/proc/self/fd/N` and its inode."""
    ours = os.open("/proc/self/ns/net", os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "cannot make a network namespace")
    new = os.open("/proc/self/ns/net", os.O_RDONLY)
    libc.setns(ours, _CLONE_NEWNET)
    os.close(ours)
    return f"/proc/self/fd/{new}", os.fstat(new).st_ino


def window_size(driver: Any, console: int) -> tuple[int, int]:  # noqa: ARG001
    """Lines and columns of a pty, by its master."""
    answer = fcntl.ioctl(console, termios.TIOCGWINSZ, bytes(8))
    lines, columns, _, _ = struct.unpack("4H", answer)
    return lines, columns


def converse(driver: Any, console: int, answer: bytes) -> str:  # noqa: ARG001
    """Type `answer`; read the pty until EIO, which is what a master reads when the last slave is closed."""
    os.write(console, answer)
    shown = b""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            data = os.read(console, 4096)
        except OSError:
            break
        shown += data
    os.close(console)
    return shown.decode()


def _make(hook: Any, plan: Plan) -> RuntimeTask:
    _bind(plan.document["root"]["path"])
    stdio = _open(plan, plan.document["process"])
    try:
        task: RuntimeTask = hook(RuntimeCreate(plan.id, plan.bundle, plan.root, plan.document, stdio))
        return task
    finally:
        _close(stdio)


def _open(plan: Plan, process: Mapping[str, Any]) -> Stdio | None:
    if process["terminal"]:
        return None
    output = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return Stdio(os.open(plan.stdin, os.O_RDONLY), os.open(plan.stdout, output), os.open(plan.stderr, output))


def _close(stdio: Stdio | None) -> None:
    if stdio is not None:
        for fd in (stdio.stdin, stdio.stdout, stdio.stderr):
            os.close(fd)


def _bind(path: str) -> None:
    """Make `path` a mount point, as the engine does before it calls a runtime."""
    if any(mount.point == path for mount in procfs.mounts()):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(path.encode(), path.encode(), None, _MS_BIND, None):
        raise OSError(ctypes.get_errno(), f"cannot bind {path}")
