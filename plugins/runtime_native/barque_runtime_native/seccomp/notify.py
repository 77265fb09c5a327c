"""SCMP_ACT_NOTIFY: the listener of a filter, handed to the seccomp agent (runtime-spec: config-linux.md, "Seccomp").

Once the filter is loaded every call of the new process may wait for the agent, write(2) and sendmsg(2) too. So the
process says before it loads the filter which descriptor the listener will be, and the runtime takes that out of it
by pidfd_getfd(2) as soon as it is there: no call is needed of the process, and no call is forbidden to the profile.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from _socket import AF_UNIX, SCM_RIGHTS, SO_SNDTIMEO, SOCK_STREAM, SOL_SOCKET, socket
from struct import pack

from barque.spi.errors import FailedPrecondition, Internal, InvalidArgument, PermissionDenied
from barque_runtime_native.jsontext import dumps
from barque_runtime_native.kernel.syscall_table import call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from barque_runtime_native.spec import Section

SOCK_CLOEXEC = 0o2000000
SECONDS = 10
PAUSE = 0.0002
VERSION = "1.0.2"


class Agent:
    """Where the listener goes, with what."""

    def __init__(self, seccomp: Section) -> None:
        self.path = seccomp.text("listenerPath")
        self.metadata = seccomp.text("listenerMetadata")

    def hand_over(self, pid: int, fd: int, state: dict[str, Any]) -> None:
        """Take descriptor `fd` of process `pid` once it is there, and send it with the container process state.

        Errors: FailedPrecondition when nobody listens, PermissionDenied when the runtime may not look into the process.
        """
        listener = take(pid, fd)
        try:
            document = {"ociVersion": VERSION, "fds": ["seccompFd"], "pid": pid, "state": state}
            if self.metadata:
                document["metadata"] = self.metadata
            self._send(dumps(document), listener)
        finally:
            os.close(listener)

    def _send(self, text: bytes, listener: int) -> None:
        line = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
        try:
            line.setsockopt(SOL_SOCKET, SO_SNDTIMEO, pack("@ll", SECONDS, 0))
            line.connect(self.path)
            sent = line.sendmsg([text], [(SOL_SOCKET, SCM_RIGHTS, pack("=i", listener))])
            line.sendall(text[sent:])
        except OSError as error:
            raise FailedPrecondition(
                f"linux.seccomp.listenerPath: cannot send the listener to {self.path}: "
                f"{(error.strerror or str(error)).lower()}",
                hint="is the seccomp agent running?",
            ) from error
        finally:
            line.close()


def take(pid: int, fd: int) -> int:
    """A duplicate of descriptor `fd` of process `pid`, as soon as it has it."""
    pidfd = os.pidfd_open(pid)
    try:
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            try:
                return call("pidfd_getfd", pidfd, fd, 0)
            except OSError as error:
                if error.errno == errno.EPERM:
                    raise PermissionDenied(
                        "linux.seccomp: SCMP_ACT_NOTIFY: the runtime may not take the listener of the new process",
                        hint="it needs CAP_SYS_PTRACE in the first user namespace",
                    ) from error
                if error.errno != errno.EBADF:
                    raise Internal(f"linux.seccomp: no listener: {error.strerror}") from error
            time.sleep(PAUSE)
        raise Internal("linux.seccomp: the new process did not load its filter in time")
    finally:
        os.close(pidfd)


def check_agent(seccomp: Section, *, notifies: bool) -> None:
    """Errors: InvalidArgument that names the field for a listener that cannot be, FailedPrecondition for no socket."""
    path = seccomp.text("listenerPath")
    if seccomp.text("listenerMetadata") and not path:
        raise InvalidArgument(
            f"{seccomp.path('listenerMetadata')} is set without {seccomp.path('listenerPath')}"
        )
    if not notifies:
        return
    if not path:
        raise InvalidArgument(f"{seccomp.path('listenerPath')} is missing: SCMP_ACT_NOTIFY is used")
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise FailedPrecondition(
            f"{seccomp.path('listenerPath')}: {path}: {(error.strerror or '').lower()}",
            hint="is the seccomp agent running?",
        ) from error
    if not stat.S_ISSOCK(mode):
        raise InvalidArgument(f"{seccomp.path('listenerPath')}: {path} is not a socket")
