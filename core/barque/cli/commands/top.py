"""`barque top`."""

from __future__ import annotations

import sys

from barque.cli.context import Context
from barque.cli.flags import Command, Values
from barque.cli.quoting import printable
from barque.cli.table import align
from barque.cli.transport import segment

__all__ = ["TOP"]


def top(context: Context, values: Values) -> int:
    """Show the processes of a container, by the options of ps(1)."""
    name, *options = values.arguments
    found = context.client.get(f"/containers/{segment(name)}/top", {"ps_args": " ".join(options)})
    rows = [found.get("Titles") or [], *(found.get("Processes") or [])]
    # A process has any name it likes.
    lines = [
        "\t".join(printable(str(cell)).replace("\n", "\\n").replace("\t", "\\t") for cell in row)
        for row in rows
    ]
    sys.stdout.write(align("\n".join(lines), least=20) + "\n")
    return 0


TOP = Command(
    summary="Display the running processes of a container",
    usage="CONTAINER [ps OPTIONS]",
    run=top,
    arguments=(1, None),
    examples=("barque top web", "barque top web -o pid,user,args"),
    interspersed=False,
)
