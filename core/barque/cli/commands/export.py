"""`barque export`."""

from __future__ import annotations

import sys

from barque.cli.context import Context
from barque.cli.errors import CliError
from barque.cli.flags import Command, Values, text
from barque.cli.transport import segment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

__all__ = ["EXPORT"]


def export(context: Context, values: Values) -> int:
    """Write a container's file system as a tar to a file or to stdout."""
    path = values.text("output")
    if path:
        from barque.cli.output_file import written_whole

        with written_whole(path, "failed to export container") as file:
            _export_to(context, values.arguments[0], file)
        return 0
    if sys.stdout.isatty():
        raise CliError("cowardly refusing to save to a terminal. Use the -o flag or redirect")
    _export_to(context, values.arguments[0], sys.stdout.buffer)
    return 0


def _export_to(context: Context, container: str, file: BinaryIO) -> None:
    response = context.client.stream("GET", f"/containers/{segment(container.strip('/'))}/export")
    while piece := response.piece():
        file.write(piece)


EXPORT = Command(
    summary="Export a container's filesystem as a tar archive",
    usage="[OPTIONS] CONTAINER",
    run=export,
    arguments=(1, 1),
    options=(text("output", "Write to a file, instead of STDOUT", short="o"),),
    examples=("barque export -o web.tar web",),
)
