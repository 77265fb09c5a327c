"""A process between the runtime and its child, for namespaces that a process cannot come back from.

A child inherits the namespaces of whoever clones it. Mostly the runtime enters them itself for that moment (`Visit`);
but there is no way out of a user namespace, nor, without the host's root, of any other. So a stage enters them, clones
the child as one of the runtime's (CLONE_PARENT), tells its pid, and ends.
"""

from __future__ import annotations

import gc
import os

from barque_runtime_native.kernel import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Entrance(Protocol):
        """What a stage does; all of it runs in the stage or its child."""

        def enter_early(self) -> None:
            """Enter the namespaces."""

        def fail(self, error: BaseException) -> None:
            """Tell the runtime why there will be no child."""

        def main(self) -> None:
            """The child; never returns."""


PID_BYTES = 4


class Stage:
    """Made in the runtime; `_main` is the stage's."""

    def __init__(self, entrance: Entrance, clone: Callable[[], int]) -> None:
        self.entrance = entrance
        self.clone = clone
        self.reader, self.writer = os.pipe2(os.O_CLOEXEC)
        self.pid = 0

    def start(self) -> None:
        """Clone the stage."""
        self.pid = syscalls.clone3(0)
        if self.pid == 0:
            self._main()
        os.close(self.writer)
        self.writer = -1

    def finish(self) -> int:
        """Wait until the stage has made the child, and reap it; the child's pid, or 0 when there is none."""
        data = os.read(self.reader, PID_BYTES) if self.pid else b""
        for fd in (self.reader, self.writer):
            if fd >= 0:
                os.close(fd)
        self.reader = self.writer = -1
        if self.pid:
            pid, self.pid = self.pid, 0
            reap(pid)
        return int.from_bytes(data, "little")

    def _main(self) -> None:
        """Never returns."""
        gc.disable()  # as in init
        try:
            try:
                self.entrance.enter_early()
                pid = self.clone()
            except BaseException as error:  # noqa: BLE001 - all of it is for the runtime to tell
                self.entrance.fail(error)
                return
            if pid == 0:
                os.close(self.writer)
                self.entrance.main()
            os.write(self.writer, pid.to_bytes(PID_BYTES, "little"))
        finally:
            # whatever happened: the runtime's code must not go on in this process
            os._exit(0)


def reap(pid: int) -> None:
    """Wait for a child; that it is reaped already is fine."""
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        return  # the caller has its children reaped by the kernel
