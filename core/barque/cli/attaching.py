"""An attached session from the daemon's connection to the exit code: terminal modes, window size, signals."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
from collections.abc import Callable

from barque.cli import terminal
from barque.cli.client import Client
from barque.cli.errors import CliError, DaemonUnavailable
from barque.cli.signals import Signals
from barque.cli.streams import Session, await_readable
from barque.cli.transport import Response

__all__ = ["await_exit", "check_terminal", "container_signals", "converse", "resizer", "window"]


def check_terminal(*, stdin: bool, tty: bool) -> None:
    """Refuse to connect a pipe to a container's terminal. Raises CliError."""
    if stdin and tty and not terminal.is_terminal(0):
        raise CliError("the input device is not a TTY", exit_code=1)


def window() -> tuple[int, int] | None:
    """(height, width) of the user's terminal, if there is one."""
    return terminal.size(1) or terminal.size(0)


def resizer(client: Client, path: str, grow: int = 0) -> Callable[[], None]:
    """A function that tells the daemon (`path` is /containers/ID or /exec/ID) the window's size, `grow` added."""

    def resize() -> None:
        found = window()
        if found is not None:
            # The process may have ended already; a wrong size is no reason to end the session.
            with contextlib.suppress(CliError):
                client.post(f"{path}/resize", {"h": found[0] + grow, "w": found[1] + grow})

    return resize


def container_signals(client: Client, container: str, *, proxy: bool, tty: bool) -> Signals:
    """Signals for a session with a container: passed on when `proxy`, and window changes when it has a terminal."""

    def forward(name: str) -> None:
        # Not started yet, or ended just now.
        with contextlib.suppress(CliError):
            client.post(f"/containers/{container}/kill", {"signal": name})

    resized = resizer(client, f"/containers/{container}") if tty else None
    return Signals(forward if proxy else None, resized)


def converse(
    connection: tuple[socket.socket, bytes], signals: Signals, *, tty: bool, stdin: bool, detach_keys: str
) -> bool:
    """Carry the session. True when the daemon ended it, False when the user detached."""
    sock, rest = connection
    with contextlib.ExitStack() as stack:
        detach = None
        if tty and stdin and terminal.is_terminal(0):
            detach = terminal.DetachKeys(detach_keys)
            stack.enter_context(terminal.raw_mode(0))
        sys.stdout.flush()
        session = Session(sock, rest, multiplexed=not tty, stdin=0 if stdin else None, detach=detach)
        return session.run(signals)


def await_exit(waiting: Response, signals: Signals) -> int:
    """The exit code from a wait request's answer. Raises CliError when the engine could not wait."""
    if (sock := waiting.waitable()) is not None:
        await_readable(sock, signals)
    try:
        answer = json.loads(waiting.read())
        failure = answer.get("Error") or {}
        code = int(answer["StatusCode"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DaemonUnavailable("the daemon's answer to wait is malformed") from None
    if failure.get("Message"):
        raise CliError(str(failure["Message"]), exit_code=125)
    return code
