"""`barque rm`."""

from __future__ import annotations

from barque.cli.client import Client
from barque.cli.context import Context
from barque.cli.errors import DaemonError
from barque.cli.flags import Command, Values, flag
from barque.cli.many import for_each
from barque.cli.transport import segment

__all__ = ["RM"]

_NOT_FOUND = 404


def remove(context: Context, values: Values) -> int:
    """Remove containers."""
    query = {"force": values.flag("force"), "v": values.flag("volumes"), "link": values.flag("link")}

    absent: set[str] = set()

    def action(client: Client, name: str) -> None:
        try:
            client.delete(f"/containers/{segment(name.strip('/'))}", query)
        except DaemonError as error:
            if error.status == _NOT_FOUND:
                absent.add(name)
            raise

    failed = set(for_each(context, values.arguments, action))
    # Docker's --force tells of what is not there, and succeeds.
    return 1 if failed - (absent if values.flag("force") else set()) else 0


RM = Command(
    summary="Remove one or more containers",
    usage="[OPTIONS] CONTAINER [CONTAINER...]",
    run=remove,
    arguments=(1, None),
    options=(
        flag("force", "Force the removal of a running container (uses SIGKILL)", short="f"),
        flag("link", "Remove the specified link", short="l"),
        flag("volumes", "Remove anonymous volumes associated with the container", short="v"),
    ),
    examples=("barque rm -f web", "barque rm $(barque ps -aq --filter status=exited)"),
)
