"""The descriptors of one process: pipes and /dev/null before it starts, its pty afterwards."""

from __future__ import annotations

import fcntl
import os
import struct
import termios

from barque.shim.packets import close_all
from barque.spi.runtime import Stdio

__all__ = ["ProcessStdio", "set_window_size"]


class ProcessStdio:
    """Both ends of a process's stdin, stdout and stderr.

    `child` is what the runtime driver gets (None with a terminal). After `started` the shim's ends are
    `stdin` (None: nothing can be written) and `outputs` (descriptor -> stream 1 or 2), non-blocking.
    """

    def __init__(self, *, terminal: bool, stdin: bool, stdout: bool, stderr: bool) -> None:
        self.stdin: int | None = None
        self.outputs: dict[int, int] = {}
        self.terminal = terminal
        self._wants_stdin = stdin
        self._theirs: list[int] = []
        self.child = None if terminal else self._make_pipes(stdin, stdout, stderr)

    @classmethod
    def adopt(cls, descriptors: list[int], *, terminal: bool, stdin: bool) -> ProcessStdio:
        """The streams of a running process whose `descriptors` another process has handed over."""
        stdio = cls.__new__(cls)
        stdio.terminal = terminal
        stdio.child = None
        stdio._wants_stdin = stdin
        stdio._theirs = []
        outputs = list(descriptors)
        stdio.stdin = outputs.pop(0) if stdin else None
        stdio.outputs = dict(zip(outputs, (1, 2), strict=False))
        return stdio

    @property
    def descriptors(self) -> list[int]:
        """The shim's ends: stdin, if there is one, then the outputs."""
        return [*([] if self.stdin is None else [self.stdin]), *self.outputs]

    def _make_pipes(self, stdin: bool, stdout: bool, stderr: bool) -> Stdio:
        try:
            return Stdio(self._input(stdin), self._output(stdout, 1), self._output(stderr, 2))
        except OSError:
            self.close()
            raise

    def _input(self, wanted: bool) -> int:
        if not wanted:
            return self._null(os.O_RDONLY)
        theirs, self.stdin = os.pipe2(os.O_CLOEXEC)
        self._theirs.append(theirs)
        os.set_blocking(self.stdin, False)
        return theirs

    def _output(self, wanted: bool, stream: int) -> int:
        if not wanted:
            return self._null(os.O_WRONLY)
        ours, theirs = os.pipe2(os.O_CLOEXEC)
        self._theirs.append(theirs)
        self.outputs[ours] = stream
        os.set_blocking(ours, False)
        return theirs

    def _null(self, mode: int) -> int:
        fd = os.open(os.devnull, mode | os.O_CLOEXEC)
        self._theirs.append(fd)
        return fd

    def started(self, console: int | None) -> None:
        """Close the process's ends, so that its end is seen here; take over the pty's master."""
        close_all(self._theirs)
        self._theirs.clear()
        if console is None:
            return
        os.set_blocking(console, False)
        self.outputs[console] = 1
        if self._wants_stdin:
            # A second descriptor, so that reading and writing are watched apart.
            self.stdin = fcntl.fcntl(console, fcntl.F_DUPFD_CLOEXEC, 0)

    @property
    def console(self) -> int | None:
        """The pty's master, once started and while it is open."""
        return next(iter(self.outputs), None) if self.terminal else None

    def close_stdin(self) -> None:
        """Let the process see the end of its input. Idempotent."""
        fd, self.stdin = self.stdin, None
        if fd is not None:
            os.close(fd)

    def close_output(self, fd: int) -> None:
        """Close one output."""
        del self.outputs[fd]
        os.close(fd)

    def close(self) -> None:
        """Close everything, at whatever stage. Idempotent."""
        close_all(self._theirs)
        self._theirs.clear()
        self.close_stdin()
        for fd in tuple(self.outputs):
            self.close_output(fd)


def set_window_size(console: int, height: int, width: int) -> None:
    """ioctl_tty(2) TIOCSWINSZ; the kernel tells the foreground process by SIGWINCH."""
    fcntl.ioctl(console, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
