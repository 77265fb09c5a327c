"""Calling the runtime: spawn, wait for exactly that process, read its log, turn a failure into an error.

posix_spawn, not subprocess: this runs in every shim, and subprocess brings threads and selectors along.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
from collections.abc import Sequence
from typing import Any

from barque.spi.errors import FailedPrecondition, Internal, Unavailable
from barque.spi.runtime import Stdio
from barque_runtime_runc import hybrid
from barque_runtime_runc.failures import failure, unknown_container
from barque_runtime_runc.layout import Layout

__all__ = ["RuntimeCommand", "find_program", "own_fd_path", "spawn"]

_MAX_OUTPUT = 256 * 1024
_PASSED_ON = ("PATH", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")


class RuntimeCommand:
    """The runtime's command line for one container."""

    def __init__(self, path: str, arguments: Sequence[str], layout: Layout, timeout: float) -> None:
        self._program = find_program(path)
        self._arguments = arguments
        self._layout = layout
        self._timeout = timeout

    def run(self, command: Sequence[str], stdio: Stdio | None = None, program: str = "") -> None:
        """Run a subcommand. `stdio` becomes its (and so a new process's) 0, 1 and 2; `program` is what that one executes."""
        self._call(command, stdio, program)

    def query(self, command: Sequence[str]) -> dict[str, Any]:
        """Run a subcommand that prints a JSON object."""
        output = self._call(command, None, "")
        try:
            answer = json.loads(output)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise Internal(f"{self._program} {command[0]} answered with no JSON object: {output[:200]!r}")
        return answer

    def _call(self, command: Sequence[str], stdio: Stdio | None, program: str) -> bytes:
        if not self._layout.is_claimed():
            raise unknown_container(self._layout.id)
        hybrid.hide_unified(self._program)
        log = os.memfd_create("runtime-log", os.MFD_CLOEXEC)
        output = os.memfd_create("runtime-output", os.MFD_CLOEXEC)
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            argv = [
                self._program,
                "--root",
                self._layout.state_root,
                "--log",
                own_fd_path(log),
                "--log-format",
                "json",
            ]
            argv += [*self._arguments, *command]
            with self._layout.busy():
                status = _wait(
                    spawn(argv, stdio or Stdio(null, output, output)), self._timeout, argv[0], command[0]
                )
            text = os.pread(output, _MAX_OUTPUT, 0)
            if status != 0:
                raise failure(
                    os.pread(log, _MAX_OUTPUT, 0), text, status, command[0], self._layout.id, program
                )
            return text
        finally:
            for fd in (log, output, null):
                os.close(fd)


def own_fd_path(fd: int) -> str:
    """A path by which another process opens what `fd` of this process is open on."""
    return f"/proc/{os.getpid()}/fd/{fd}"


def find_program(path: str) -> str:
    """The absolute path of a program. FailedPrecondition."""
    candidates = [path] if "/" in path else [f"{folder}/{path}" for folder in os.get_exec_path()]
    for candidate in candidates:
        if os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return os.path.abspath(candidate)
    raise FailedPrecondition(
        f"the OCI runtime {path} was not found",
        hint=f"install it (apt install {os.path.basename(path)}) or set `path`",
    )


def spawn(argv: list[str], stdio: Stdio) -> int:
    """Start a program with three descriptors, a small environment, and no signal blocked or ignored; its pid."""
    # Above 2 first: a descriptor may be 0 to 2 itself and would be overwritten before it is copied.
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3) for fd in (stdio.stdin, stdio.stdout, stdio.stderr)]
    try:
        return os.posix_spawn(
            argv[0],
            argv,
            {name: os.environ[name] for name in _PASSED_ON if name in os.environ},
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, target) for target, fd in enumerate(high)],
            setsigmask=(),
            setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
        )
    finally:
        for fd in high:
            os.close(fd)


def _wait(pid: int, timeout: float, program: str, verb: str) -> int:
    """Reap `pid`, and no other child; its exit code, 128 + signal when killed. Unavailable when it hung."""
    pidfd = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        hung = not poll.poll(timeout * 1000)
        if hung:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(pidfd)
    if hung:
        raise Unavailable(f"{program} {verb} did not end in {timeout:g} s and was killed")
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
