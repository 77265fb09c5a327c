"""Pulling an image."""

from __future__ import annotations

from barque.cli.context import Context
from barque.cli.credentials import registry_auth
from barque.cli.messages import follow, sink
from barque.cli.references import repository, split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

__all__ = ["canonical", "pull_image"]


def pull_image(
    context: Context, reference: str, *, platform: str, quiet: bool, output: TextIO, every: bool = False
) -> None:
    """Pull `reference`, of a repository `every` tag, showing progress on `output`.

    Raises CliError with the daemon's or the registry's reason.
    """
    parts = split(reference)
    query = {"fromImage": reference, "platform": platform}
    headers: dict[str, str] = {}
    if parts is not None:
        name, tag, digest = parts
        query |= {"fromImage": repository(name), "tag": "" if every else digest or tag or "latest"}
        headers = registry_auth(name, context.environ)
    with sink(output, quiet=quiet) as show:
        follow(context.client.stream("POST", "/images/create", query, headers), show)


def canonical(reference: str, *, tagged: bool = True) -> str:
    """The full name, as the last line of `pull` shows it: `busybox` is `docker.io/library/busybox:latest`; unless `tagged`,
    without a tag."""
    parts = split(reference)
    if parts is None:
        return reference
    name, tag, digest = parts
    suffix = (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")
    return f"{repository(name)}{suffix or (':latest' if tagged else '')}"
