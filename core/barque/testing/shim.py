"""A process that stands in for the shim: subreaper, single-threaded, its own mount namespace.

Hooks of a runtime driver run in the shim, and its processes are the shim's children; so a test of them needs
such a process, and must be able to kill it in the middle of a call.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, Pipe
from typing import Any

from barque.spi import errors

__all__ = ["ForkedShim", "ShimDied", "reap_until", "wait_child"]

_CLONE_NEWNS = 0x20000
_MS_REC_PRIVATE = 0x4000 | 0x40000
_PR_SET_CHILD_SUBREAPER = 36


class ShimDied(Exception):
    """The helper process ended while it was asked something."""


class ForkedShim:
    """The helper: `call(function, ...)` runs `function(subject, ...)` there and returns its result.

    `subject`, the driver under test, is inherited by the fork. Functions and their other arguments are pickled, so
    functions are those of a module. `BarqueError`s come back as themselves.
    """

    def __init__(self, subject: Any) -> None:
        self._connection, theirs = Pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self._connection.close()
            _serve(theirs, subject)
        theirs.close()

    def send(self, function: Callable[..., Any], *args: Any) -> None:
        """Begin a call; `receive` gets its result."""
        self._connection.send((function, args))

    def receive(self, timeout: float = 60.0) -> Any:
        """The result of the call that was begun. ShimDied, TimeoutError, or the error it raised."""
        try:
            if not self._connection.poll(timeout):
                raise TimeoutError(f"no answer from the helper in {timeout} s")
            kind, value = self._connection.recv()
        except (EOFError, ConnectionResetError) as error:
            raise ShimDied("the helper process died") from error
        if kind == "error":
            raise errors.from_wire(value)
        if kind == "crash":
            raise AssertionError(f"the hook raised something else than a BarqueError:\n{value}")
        return value

    def wait_milliseconds(self, milliseconds: int) -> None:
        """Give a call that was begun that much time."""
        time.sleep(milliseconds / 1000)

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run `function(subject, *args)` in the helper."""
        self.send(function, *args)
        return self.receive()

    def kill(self) -> None:
        """SIGKILL, in whatever it is doing, and reap. Idempotent."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = 0
            self._connection.close()

    def close(self) -> list[int]:
        """End the helper; the processes it still had, which are killed and reaped by then. Idempotent."""
        if not self.pid:
            return []
        try:
            left: list[int] = self.call(_end_children)
        finally:
            self.kill()
        return left


def _serve(connection: Connection, subject: Any) -> None:
    """The helper's life. Never returns: not one line of the test runner may run twice."""
    try:
        _become_shim()
        while True:
            function, args = connection.recv()
            connection.send(_answer(function, (subject, *args)))
    except EOFError:
        os._exit(0)
    except BaseException:  # noqa: BLE001 - nobody is above to see it
        traceback.print_exc()
    finally:
        os._exit(1)


def _become_shim() -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) or libc.unshare(_CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "cannot become a shim: root is needed")
    if libc.mount(b"none", b"/", None, _MS_REC_PRIVATE, None):
        raise OSError(ctypes.get_errno(), "cannot make the mounts private")


def _answer(function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[str, Any]:
    try:
        return "value", function(*args)
    except errors.BarqueError as error:
        return "error", error.to_wire()
    except Exception:  # noqa: BLE001 - told to the caller, who fails the test with it
        return "crash", traceback.format_exc()


_statuses: dict[int, int] = {}


def wait_child(subject: Any, pid: int, timeout: float = 30.0) -> int:  # noqa: ARG001
    """In the helper: the exit code of its child `pid`, negative for a signal. TimeoutError.

    Reaps whatever ends, as a shim must: init of a pid namespace does not die before its orphans are reaped.
    """
    deadline = time.monotonic() + timeout
    while pid not in _statuses:
        ended, status = os.waitpid(-1, os.WNOHANG)
        if ended:
            _statuses[ended] = os.waitstatus_to_exitcode(status)
        elif time.monotonic() > deadline:
            raise TimeoutError(f"process {pid} does not end")
        else:
            time.sleep(0.002)
    return _statuses.pop(pid)


def reap_until(subject: Any, pids: Sequence[int], timeout: float = 10.0) -> None:  # noqa: ARG001
    """In the helper: reap whatever ends, until none of `pids` is there, as a shim does while a container dies."""
    deadline = time.monotonic() + timeout
    while any(os.path.exists(f"/proc/{pid}") for pid in pids):
        _reap()
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes {pids} do not end")
        time.sleep(0.002)


def _reap() -> None:
    while _children():
        ended, status = os.waitpid(-1, os.WNOHANG)
        if not ended:
            return
        _statuses[ended] = os.waitstatus_to_exitcode(status)


def _end_children(subject: Any) -> list[int]:  # noqa: ARG001
    """Kill and reap all children of this process, and theirs; the pids of those that had not ended by themselves."""
    _reap()
    killed: list[int] = []
    while children := _children():
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        killed += [pid for pid in children if pid not in killed]
        os.waitpid(-1, 0)
    return killed


def _children() -> list[int]:
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
        return [int(pid) for pid in file.read().split()]
