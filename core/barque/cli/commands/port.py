"""`barque port`."""

from __future__ import annotations

import sys

from barque.cli.context import Context
from barque.cli.errors import CliError
from barque.cli.flags import Command, Values
from barque.cli.transport import segment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["PORT"]


def port(context: Context, values: Values) -> int:
    """Show where the ports of a container are published, or where one of them is."""
    name, *wanted = values.arguments
    found = context.client.get(f"/containers/{segment(name)}/json")
    published = (found.get("NetworkSettings") or {}).get("Ports") or {}
    lines = _one(name, wanted[0], published) if wanted else _all(published)
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return 0


def _one(container: str, wanted: str, published: dict[str, Any]) -> list[str]:
    number, _, protocol = wanted.partition("/")
    digits = number.isascii() and number.isdigit()
    if not digits or int(number) > 65535:
        why = "value out of range" if digits else "invalid syntax"
        raise CliError(f'Error: invalid port ({number}): strconv.ParseUint: parsing "{number}": {why}')
    bindings = published.get(f"{int(number)}/{protocol or 'tcp'}")
    if not bindings:
        raise CliError(f"Error: No public port '{wanted}' published for {container}")
    return [_address(binding) for binding in bindings]


def _all(published: dict[str, Any]) -> list[str]:
    lines = [
        (_number(key), f"{key} -> {_address(binding)}")
        for key, bindings in published.items()
        for binding in bindings or ()
    ]
    return [line for _, line in sorted(lines)]


def _number(key: str) -> tuple[int, str]:
    number, _, protocol = key.partition("/")
    return int(number), protocol


def _address(binding: dict[str, str]) -> str:
    host = binding.get("HostIp") or ""
    return f"[{host}]:{binding['HostPort']}" if ":" in host else f"{host}:{binding['HostPort']}"


PORT = Command(
    summary="List port mappings or a specific mapping for the container",
    usage="CONTAINER [PRIVATE_PORT[/PROTO]]",
    run=port,
    arguments=(1, 2),
    examples=("barque port web", "barque port web 80/tcp"),
)
