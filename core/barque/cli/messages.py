"""The messages of a long operation (pull, push, load …): shown as they come, until the end or the error among them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from barque.cli.client import documents
from barque.cli.errors import CliError
from barque.cli.quoting import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TextIO

    from barque.cli.transport import Response

    Sink = Callable[[dict[str, Any]], None]

__all__ = ["follow", "sink"]


def follow(response: Response, show: Sink) -> list[Any]:
    """Show every message; the `aux` documents among them are returned. Raises CliError with the daemon's reason."""
    results = []
    for message in documents(response):
        if message.get("error") or message.get("errorDetail"):
            detail = message.get("errorDetail") or {}
            raise CliError(printable(str(detail.get("message") or message.get("error"))))
        if message.get("aux") is not None:
            results.append(message["aux"])
        else:
            show(message)
    return results


@contextlib.contextmanager
def sink(output: TextIO, *, quiet: bool = False) -> Iterator[Sink]:
    """What shows messages on `output`: bars on a terminal, lines elsewhere, nothing when `quiet`."""
    output.flush()
    if quiet:
        yield lambda _message: None
    elif output.isatty():
        from barque.cli.progress import Bars

        with Bars(output) as bars:
            yield bars.show
    else:
        yield lambda message: _plain(output, message)


def _plain(output: TextIO, message: dict[str, Any]) -> None:
    """One line a change of state; the many lines that only count bytes are left out."""
    if message.get("stream"):
        output.write(message["stream"])
    elif not (message.get("progress") or message.get("progressDetail")):
        prefix = f"{message['id']}: " if message.get("id") else ""
        output.write(f"{printable(prefix + str(message.get('status', '')))}\n")
    output.flush()
