"""What a killed shim leaves: a runtime call that still goes on, cgroups that the runtime has no record of."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress

from barque.spi.errors import Conflict, ResourceExhausted
from barque_runtime_runc.freezer import thaw
from barque_runtime_runc.layout import Layout
from barque_runtime_runc.mountinfo import cgroup_mounts

__all__ = ["remove_cgroups", "wait_for_calls"]

_CALL_SECONDS = 10.0
_KILL_SECONDS = 5.0
_PAUSE = 0.01


def wait_for_calls(layout: Layout) -> None:
    """Return when no runtime process works on the container; one that hangs is killed.

    A runtime that is left to end by itself leaves a whole container or none, and either can be deleted.
    """
    if not layout.is_busy():
        return
    deadline = time.monotonic() + _CALL_SECONDS
    while calls := _running_calls(layout):
        if time.monotonic() > deadline:
            _kill(calls)
            return
        time.sleep(_PAUSE)


def _running_calls(layout: Layout) -> list[int]:
    """Processes with the driver's state and the id on their command line; init, which crun forks, is none."""
    state, id = (os.fsencode(f"\0{word}\0") for word in (layout.state_root, layout.id))
    others = {layout.read_pid(), os.getpid()}
    pids = {int(name) for name in os.listdir("/proc") if name.isdigit()} - others
    lines = {pid: _command_line(pid) for pid in pids}
    return [pid for pid, line in lines.items() if state in line and id in line]


def _command_line(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read(65536)
    except OSError:
        return b""  # it has ended


def remove_cgroups(path: str, id: str, *, kill: bool) -> None:
    """Remove cgroup `path` in every hierarchy, with the groups below it. Idempotent.

    Processes in it are killed, or make it a Conflict.
    """
    if ".." in path.split("/") or path.strip("/") == "":
        return
    for mount in cgroup_mounts():
        top = f"{mount.path}/{path.strip('/')}"
        if os.path.isdir(top):
            _empty(top, id, kill=kill)
            for directory in _deepest_first(top):
                _remove(directory, id)


def _remove(directory: str, id: str) -> None:
    """rmdir; on cgroup v1 a process that has just died may keep the group busy for a moment."""
    deadline = time.monotonic() + _KILL_SECONDS
    while True:
        try:
            os.rmdir(directory)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise ResourceExhausted(
                    f"the cgroup {directory} of container {id} cannot be removed: {error.strerror}",
                    hint="look for processes in its cgroup.procs",
                ) from error
            _kill(_members(directory))
            time.sleep(_PAUSE)
        else:
            return


def _empty(top: str, id: str, *, kill: bool) -> None:
    """Wait until no process is left below `top`."""
    deadline = time.monotonic() + _KILL_SECONDS
    while pids := [pid for directory in _deepest_first(top) for pid in _members(directory)]:
        if not kill:
            raise Conflict(f"cannot delete container {id}: processes {pids[:5]} run in its cgroup")
        if time.monotonic() > deadline:
            raise ResourceExhausted(
                f"processes {pids[:5]} of container {id} do not die", hint="look for state D in ps"
            )
        _kill(pids)
        for directory in _deepest_first(top):
            thaw(directory)  # a frozen process does not die on v1
        time.sleep(_PAUSE)


def _kill(pids: list[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _members(directory: str) -> list[int]:
    try:
        with open(f"{directory}/cgroup.procs", encoding="ascii") as file:
            return [pid for pid in map(int, file) if pid]
    except OSError:
        return []  # gone, or a threaded v2 group


def _deepest_first(top: str) -> Iterator[str]:
    for directory, _, _ in os.walk(top, topdown=False):
        yield directory
