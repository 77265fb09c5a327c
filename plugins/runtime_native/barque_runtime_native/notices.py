"""Warnings: what the specification wants logged where it does not want an error."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def to_stderr(message: str) -> None:
    """Where warnings go unless `send_to` said otherwise; a standard error that nobody reads is no failure."""
    try:
        os.write(2, f"barque-runtime: warning: {message}\n".encode(errors="replace"))
    except OSError:
        return


_sink: Callable[[str], None] = to_stderr


def send_to(sink: Callable[[str], None]) -> None:
    """Have warnings written by `sink` from now on: the command's log, for one."""
    global _sink
    _sink = sink


def warn(message: str) -> None:
    """Tell the user something that is no error. Only in the runtime's own process, never in a container's."""
    _sink(message)
