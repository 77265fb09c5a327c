"""`barque diff`."""

from __future__ import annotations

import sys

from barque.cli.context import Context
from barque.cli.flags import Command, Values
from barque.cli.transport import segment

__all__ = ["DIFF"]

_LETTERS = "CAD"


def diff(context: Context, values: Values) -> int:
    """Show what a container has changed: added, changed, deleted."""
    name = values.arguments[0].strip("/")
    for change in context.client.get(f"/containers/{segment(name)}/changes") or ():
        sys.stdout.write(f"{_LETTERS[change['Kind']]} {change['Path']}\n")
    return 0


DIFF = Command(
    summary="Inspect changes to files or directories on a container's filesystem",
    usage="CONTAINER",
    run=diff,
    arguments=(1, 1),
    examples=("barque diff web",),
)
