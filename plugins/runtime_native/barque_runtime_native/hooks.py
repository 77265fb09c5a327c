"""OCI hooks: programs that run at points of the lifecycle with the container's state on standard input."""

from __future__ import annotations

import os
import select

from barque.spi.errors import FailedPrecondition, InvalidArgument
from barque_runtime_native import syscalls
from barque_runtime_native.jsontext import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from barque_runtime_native.spec import Section

KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
SIGKILL = 9
MAX_OUTPUT = 1000


class Hook:
    """One program."""

    __slots__ = ("args", "env", "kind", "path", "timeout")

    def __init__(self, kind: str, section: Section) -> None:
        self.kind = kind
        self.path = section.required("path")
        self.args = section.texts("args") or [self.path]
        self.env = dict(entry.partition("=")[::2] for entry in section.texts("env"))
        self.timeout = section.integer("timeout", 1, 2**31 - 1)
        if not self.path.startswith("/"):
            raise InvalidArgument(f"{section.path('path')} is not an absolute path: {self.path!r}")

    def describe(self) -> str:
        """One line for people."""
        return f"hook {self.kind} {self.path}"

    def run(self, state: bytes) -> None:
        """Run it to its end. Errors: FailedPrecondition with the end of its output; after `timeout` seconds it is killed."""
        stdin, output = memory_file(state), memory_file(b"")
        try:
            pid = os.fork()
            if pid == 0:
                self._execute(stdin, output)
            status = self._wait(pid)
            if status:
                said = os.pread(output, MAX_OUTPUT, max(0, os.fstat(output).st_size - MAX_OUTPUT))
                text = said.decode("utf-8", "replace").strip()
                why = "timed out" if status < 0 else f"ended with {os.waitstatus_to_exitcode(status)}"
                raise FailedPrecondition(f"{self.kind} hook {self.path} {why}{': ' + text if text else ''}")
        finally:
            os.close(stdin)
            os.close(output)

    def _execute(self, stdin: int, output: int) -> None:
        try:
            for number, fd in enumerate((stdin, output, output)):
                os.dup2(fd, number)
            syscalls.close_range(3, 2**32 - 1, syscalls.CLOSE_RANGE_CLOEXEC)
            syscalls.rt_sigprocmask(0)
            os.execve(self.path, self.args, self.env)
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
            ended = poll.poll(self.timeout * 1000)
            if not ended:
                syscalls.pidfd_send_signal(pidfd, SIGKILL)
            status = os.waitpid(pid, 0)[1]
            return status if ended else -1
        finally:
            os.close(pidfd)


def read_hooks(section: Section) -> dict[str, list[Hook]]:
    """All hooks by kind; kinds without hooks are absent."""
    found = {kind: [Hook(kind, each) for each in section.sections(kind)] for kind in KINDS}
    return {kind: hooks for kind, hooks in found.items() if hooks}


def run_all(hooks: list[Hook], state: dict[str, Any]) -> None:
    """One after the other; the first that fails ends it."""
    if hooks:
        text = dumps(state)
        for hook in hooks:
            hook.run(text)


def memory_file(data: bytes) -> int:
    """A memory file with `data`, at its beginning."""
    fd = os.memfd_create("hook", os.MFD_CLOEXEC)
    os.write(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
