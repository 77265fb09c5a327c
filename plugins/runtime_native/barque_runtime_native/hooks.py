"""OCI hooks: programs that run at points of the lifecycle with the container's state on standard input.

kind              when                                            where
prestart          create: namespaces and mounts are there         the runtime's namespaces
createRuntime     create: after those                             the runtime's namespaces
createContainer   create: after those, before pivot_root          the container's; the path is the runtime's
startContainer    start: before the program is executed           the container's, as its user
poststart         start: after the program was executed           the runtime's namespaces
poststop          delete: after the container is gone             the runtime's namespaces
"""

from __future__ import annotations

import os
import select

from barque.spi.errors import BarqueError, FailedPrecondition, InvalidArgument
from barque_runtime_native.jsontext import dumps
from barque_runtime_native.kernel import syscalls
from barque_runtime_native.notices import warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from barque_runtime_native.spec import Section

KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
SIGKILL = 9
MAX_OUTPUT = 1000
MAX_TIMEOUT = 10**6  # seconds; poll(2) counts milliseconds in 31 bits


class Hook:
    """One program. `env` is None when the configuration does not give it: then it has the environment of its caller."""

    __slots__ = ("args", "env", "kind", "number", "path", "timeout")

    def __init__(self, kind: str, number: int, section: Section) -> None:
        self.kind = kind
        self.number = number
        self.path = section.required("path")
        self.args = section.texts("args") or [self.path]
        self.env: dict[str, str] | None = None
        if section.has("env"):
            self.env = dict(entry.partition("=")[::2] for entry in section.texts("env") if entry[:1] != "=")
        self.timeout = section.integer("timeout", 1)
        if not self.path.startswith("/"):
            raise InvalidArgument(f"{section.path('path')} is not an absolute path: {self.path!r}")

    def describe(self) -> str:
        """One line for people."""
        return f"{self.kind} hook #{self.number} {self.path}"

    def run(self, state: bytes, environment: Mapping[str, str]) -> None:
        """Run it to its end. Errors: FailedPrecondition with the end of its output.

        After `timeout` seconds it is killed, with all of its process group.
        """
        stdin, stdout, stderr = files = [memory_file(state), memory_file(b""), memory_file(b"")]
        try:
            pid = os.fork()
            if pid == 0:
                self._execute((stdin, stdout, stderr), environment)
            status = self._wait(pid)
            if status:
                raise FailedPrecondition(
                    f"error running {self.describe()}: {self._why(status)}, "
                    f"stdout: {end_of(stdout)}, stderr: {end_of(stderr)}"
                )
        finally:
            for fd in files:
                os.close(fd)

    def _why(self, status: int) -> str:
        if status < 0:
            return f"timed out: hook ran past specified timeout of {self.timeout}s"
        code = os.waitstatus_to_exitcode(status)
        return f"exit status {code}" if code >= 0 else f"signal {-code}"

    def _execute(self, stdio: tuple[int, int, int], environment: Mapping[str, str]) -> None:
        """The child; never returns."""
        try:
            os.setpgid(0, 0)
            for number, fd in enumerate(stdio):
                os.dup2(fd, number)
            syscalls.close_range(3, 2**32 - 1, syscalls.CLOSE_RANGE_CLOEXEC)
            syscalls.rt_sigprocmask(0)
            os.execve(self.path, self.args, environment if self.env is None else self.env)
        except OSError as error:
            os.write(2, f"{error.strerror}\n".encode())
        finally:
            os._exit(127)

    def _wait(self, pid: int) -> int:
        """The wait status, or -1 after the timeout."""
        if self.timeout is None:
            return os.waitpid(pid, 0)[1]
        pidfd = os.pidfd_open(pid)
        try:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            ended = poll.poll(min(self.timeout, MAX_TIMEOUT) * 1000)
            if not ended:
                kill_group(pid, pidfd)
            status = os.waitpid(pid, 0)[1]
            return status if ended else -1
        finally:
            os.close(pidfd)


def kill_group(pid: int, pidfd: int) -> None:
    """The hook and its children. Its own call of setpgid may not have been reached yet, hence by pidfd too."""
    syscalls.pidfd_send_signal(pidfd, SIGKILL)
    try:
        os.killpg(pid, SIGKILL)
    except ProcessLookupError:
        return


def read_hooks(section: Section) -> dict[str, list[Hook]]:
    """All hooks by kind; kinds without hooks are absent."""
    found = {
        kind: [Hook(kind, number, each) for number, each in enumerate(section.sections(kind))]
        for kind in KINDS
    }
    return {kind: hooks for kind, hooks in found.items() if hooks}


def run_all(
    hooks: list[Hook],
    state: dict[str, Any],
    environment: Mapping[str, str] | None = None,
    *,
    must: bool = True,
) -> None:
    """One after the other. The first that fails ends it, or without `must` is logged and the others run.

    `environment` is for hooks without one of their own; None is the runtime's.
    """
    if not hooks:
        return
    text = dumps(state)
    for hook in hooks:
        try:
            hook.run(text, os.environ if environment is None else environment)
        except BarqueError as error:
            if must:
                raise
            warn(str(error))


def memory_file(data: bytes) -> int:
    """A memory file with `data`, at its beginning."""
    fd = os.memfd_create("hook", os.MFD_CLOEXEC)
    os.write(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def end_of(fd: int) -> str:
    """The last words in a memory file."""
    said = os.pread(fd, MAX_OUTPUT, max(0, os.fstat(fd).st_size - MAX_OUTPUT))
    return said.decode("utf-8", "replace").strip()
