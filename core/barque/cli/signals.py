"""Signals as events of a poll loop, so that nothing but a byte in a pipe happens inside a handler."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType, TracebackType

from barque.cli.errors import Exit

__all__ = ["Signals"]

_FORWARDED = (
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM,
    signal.SIGTERM, signal.SIGTSTP, signal.SIGCONT,
)  # fmt: skip
_FATAL = (signal.SIGHUP, signal.SIGTERM)
_PATIENCE = 3


class Signals:
    """While the block runs, signals wait to be `handle`d instead of taking effect.

    `forward` gets the signals that are the container's (None: they are not passed on; HUP and TERM then end the
    command, after the terminal was restored). `resized` is called for SIGWINCH.
    """

    def __init__(
        self, forward: Callable[[str], None] | None = None, resized: Callable[[], None] | None = None
    ) -> None:
        self._forward = forward
        self._resized = resized
        self._urgent = 0
        self._before: dict[int, object] = {}
        self._receiver, self._sender = socket.socketpair()
        self._receiver.setblocking(False)
        self._sender.setblocking(False)

    def __enter__(self) -> Signals:
        wanted = _FORWARDED if self._forward else _FATAL
        for number in (*wanted, *((signal.SIGWINCH,) if self._resized else ())):
            # A signal that our parent had ignored (nohup) stays ignored.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, _note)
        signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._receiver.close()
        self._sender.close()

    def fileno(self) -> int:
        """Readable when there is something to handle."""
        return self._receiver.fileno()

    def handle(self) -> None:
        """Act on the signals that came. Raises Exit for one that ends the command."""
        try:
            numbers = self._receiver.recv(4096)
        except BlockingIOError:
            return
        for number in numbers:
            if number == signal.SIGWINCH:
                if self._resized is not None:
                    self._resized()
            elif self._forward is None:
                raise Exit(128 + number)
            else:
                self._pass_on(number, self._forward)

    def _pass_on(self, number: int, forward: Callable[[str], None]) -> None:
        if number in (signal.SIGINT, signal.SIGTERM):
            self._urgent += 1
            if self._urgent == _PATIENCE:
                sys.stderr.write(f"\ngot {_PATIENCE} SIGTERM/SIGINTs, forcefully exiting\n")
                raise Exit(1)
        forward(signal.Signals(number).name.removeprefix("SIG"))


def _note(_number: int, _frame: FrameType | None) -> None:
    """The interpreter writes the number to the wakeup descriptor; that is all."""
