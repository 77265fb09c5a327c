"""Pulling an image: the request, and its progress as it is shown where output is no terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from barque.cli.client import documents
from barque.cli.context import Context
from barque.cli.credentials import registry_auth
from barque.cli.errors import CliError
from barque.cli.references import repository, split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TextIO

    Sink = Callable[[dict[str, Any]], None]

__all__ = ["canonical", "pull_image"]


def pull_image(context: Context, reference: str, *, platform: str, quiet: bool, output: TextIO) -> None:
    """Pull `reference`, showing progress on `output`. Raises CliError with the daemon's or the registry's reason."""
    parts = split(reference)
    query = {"fromImage": reference, "platform": platform}
    headers: dict[str, str] = {}
    if parts is not None:
        name, tag, digest = parts
        query |= {"fromImage": repository(name), "tag": digest or tag or "latest"}
        headers = registry_auth(name, context.environ)
    output.flush()
    response = context.client.stream("POST", "/images/create", query, headers)
    with _sink(output, quiet=quiet) as show:
        for message in documents(response):
            if message.get("error") or message.get("errorDetail"):
                detail = message.get("errorDetail") or {}
                raise CliError(str(detail.get("message") or message.get("error")))
            show(message)


def canonical(reference: str) -> str:
    """The full name, as the last line of `pull` shows it: `busybox` is `docker.io/library/busybox:latest`."""
    parts = split(reference)
    if parts is None:
        return reference
    name, tag, digest = parts
    suffix = (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")
    return f"{repository(name)}{suffix or ':latest'}"


@contextlib.contextmanager
def _sink(output: TextIO, *, quiet: bool) -> Iterator[Sink]:
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
    if message.get("progress") or message.get("progressDetail"):
        return
    prefix = f"{message['id']}: " if message.get("id") else ""
    output.write(f"{prefix}{message.get('status', '')}\n")
    output.flush()
