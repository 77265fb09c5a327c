"""Options of a create request that Barque cannot honour. They are refused by name, never dropped in silence."""

from __future__ import annotations

import json
from typing import Any

from barque.spi.errors import InvalidArgument, NotImplemented
from barque_api_docker.fields import Fields

__all__ = ["check"]

_SHOWN = 80

# Field -> values that ask for nothing, besides null, false, 0, "" and empty lists and objects.
_CONFIG: dict[str, tuple[Any, ...]] = {
    "ArgsEscaped": (),
    "OnBuild": (),
}
_HOST: dict[str, tuple[Any, ...]] = {
    "Cgroup": (),
}


def check(config: Fields, host: Fields) -> None:
    """Errors: NotImplemented naming the first field that cannot be honoured; InvalidArgument for nonsense in one."""
    _check_table(config, _CONFIG)
    _check_table(host, _HOST)
    _check_namespaces(host)


def _check_table(fields: Fields, table: dict[str, tuple[Any, ...]]) -> None:
    raw = fields.raw
    for name in raw.keys() & table.keys():
        value = raw[name]
        if value and value not in table[name]:
            raise _refusal(fields.name_of(name), value)


def _refusal(name: str, value: object) -> NotImplemented:
    shown = json.dumps(value)
    return NotImplemented(
        f"{name} {shown if len(shown) <= _SHOWN else shown[:_SHOWN] + '…'} is not implemented by barque yet"
    )


def _check_namespaces(host: Fields) -> None:
    isolation = host.text("Isolation")
    if isolation not in ("", "default"):
        raise InvalidArgument(f"invalid isolation '{isolation}' on linux")
