"""`barque rename`, `update`, `pause` and `unpause`: containers that exist are changed."""

from __future__ import annotations

import sys
from collections.abc import Callable

from barque.cli.client import Client
from barque.cli.context import Context
from barque.cli.errors import CliError, DaemonError
from barque.cli.flags import Command, Values
from barque.cli.host_config import restart_policy
from barque.cli.many import for_each
from barque.cli.resource_flags import LIVE_RESOURCE_OPTIONS, RESOURCE_NUMBERS, RESOURCE_TEXTS, RESTART
from barque.cli.transport import segment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["PAUSE", "RENAME", "UNPAUSE", "UPDATE"]


def rename(context: Context, values: Values) -> int:
    """Give a container another name."""
    old, new = (word.strip() for word in values.arguments)
    if not old or not new:
        raise CliError("Error: Neither old nor new names may be empty")
    try:
        context.client.post(f"/containers/{segment(old)}/rename", {"name": new})
    except DaemonError as error:
        error.message += f"\nError: failed to rename container named {old}"
        raise
    return 0


def update(context: Context, values: Values) -> int:
    """Change the limits and the restart policy of containers; the names of those changed are printed."""
    body = _changes(values)
    warnings: list[str] = []

    def action(client: Client, name: str) -> None:
        answer = client.post(f"/containers/{segment(name)}/update", (), body) or {}
        warnings.extend(answer.get("Warnings") or ())

    failed = for_each(context, values.arguments, action)
    sys.stdout.writelines(f"{warning}\n" for warning in warnings)
    return 1 if failed else 0


def _changes(values: Values) -> dict[str, Any]:
    options = {option.name for option in (*LIVE_RESOURCE_OPTIONS, RESTART)}
    if not any(values.given(name) for name in options):
        raise CliError("you must provide one or more flags when using this command")
    body: dict[str, Any] = {
        key: values.number(name)
        for key, name in RESOURCE_NUMBERS.items()
        if name in options and values.number(name)
    }
    body |= {key: values.text(name) for key, name in RESOURCE_TEXTS.items() if values.text(name)}
    if values.given("restart"):
        body["RestartPolicy"] = restart_policy(values.text("restart"))
    return body


def _each(verb: str) -> Callable[[Context, Values], int]:
    def run(context: Context, values: Values) -> int:
        def action(client: Client, name: str) -> None:
            client.post(f"/containers/{segment(name)}/{verb}")

        return 1 if for_each(context, values.arguments, action) else 0

    return run


RENAME = Command(
    summary="Rename a container",
    usage="CONTAINER NEW_NAME",
    run=rename,
    arguments=(2, 2),
    examples=("barque rename web old-web",),
)
UPDATE = Command(
    summary="Update configuration of one or more containers",
    usage="[OPTIONS] CONTAINER [CONTAINER...]",
    run=update,
    arguments=(1, None),
    options=(*LIVE_RESOURCE_OPTIONS, RESTART),
    examples=(
        "barque update -m 512m --memory-swap 1g web",
        "barque update --restart unless-stopped db cache",
    ),
)
PAUSE = Command(
    summary="Pause all processes within one or more containers",
    usage="CONTAINER [CONTAINER...]",
    run=_each("pause"),
    arguments=(1, None),
    examples=("barque pause web",),
)
UNPAUSE = Command(
    summary="Unpause all processes within one or more containers",
    usage="CONTAINER [CONTAINER...]",
    run=_each("unpause"),
    arguments=(1, None),
    examples=("barque unpause web",),
)
