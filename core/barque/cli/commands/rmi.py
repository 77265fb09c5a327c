"""`barque rmi` and `barque image rm`."""

from __future__ import annotations

import sys

from barque.cli.context import Context
from barque.cli.errors import CliError
from barque.cli.flags import Command, Values, flag
from barque.cli.transport import segment

__all__ = ["IMAGE_RM", "RMI"]

_NOT_FOUND = 404


def remove_images(context: Context, values: Values) -> int:
    """Take names from images, and delete those without one. One after the other: they may depend on each other.

    With --force an image that is not there is told, but no failure, as with Docker."""
    query = {"force": values.flag("force"), "noprune": values.flag("no-prune")}
    failed = False
    for name in values.arguments:
        try:
            steps = context.client.delete(f"/images/{segment(name, '/:@')}", query) or []
        except CliError as error:
            sys.stdout.flush()
            sys.stderr.write(f"{error.message}\n" + (f"Hint: {error.hint}\n" if error.hint else ""))
            failed = failed or not (values.flag("force") and getattr(error, "status", 0) == _NOT_FOUND)
            continue
        for step in steps:
            done = f"Deleted: {step['Deleted']}" if step.get("Deleted") else f"Untagged: {step['Untagged']}"
            sys.stdout.write(done + "\n")
    return 1 if failed else 0


RMI = Command(
    summary="Remove one or more images",
    usage="[OPTIONS] IMAGE [IMAGE...]",
    run=remove_images,
    arguments=(1, None),
    options=(
        flag("force", "Force removal of the image", short="f"),
        flag("no-prune", "Do not delete untagged parents"),
    ),
    examples=("barque rmi alpine:3",),
)
IMAGE_RM = RMI
