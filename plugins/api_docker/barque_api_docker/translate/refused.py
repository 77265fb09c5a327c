"""Options of a create request that Barque cannot honour. They are refused by name, never dropped in silence."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Collection
from typing import Any

from barque.spi.errors import InvalidArgument, NotImplemented
from barque.spi.frontend import Engine
from barque_api_docker.fields import Fields

__all__ = ["check", "check_volumes"]

_SHOWN = 80

# Field -> values that ask for nothing, besides null, false, 0, "" and empty lists and objects.
_CONFIG: dict[str, tuple[Any, ...]] = {
    "ArgsEscaped": (),
    "OnBuild": (),
}
_HOST: dict[str, tuple[Any, ...]] = {
    "Cgroup": (),
    "Links": (),
    "VolumeDriver": ("local",),
    "VolumesFrom": (),
}
_ENDPOINT: dict[str, tuple[Any, ...]] = {"Links": (), "Aliases": (), "DriverOpts": (), "GwPriority": ()}


def check(config: Fields, host: Fields) -> None:
    """Errors: NotImplemented naming the first field that cannot be honoured; InvalidArgument for nonsense in one."""
    _check_table(config, _CONFIG)
    _check_table(host, _HOST)
    _check_namespaces(host)
    for name in config.part("NetworkingConfig").mapping("EndpointsConfig"):
        endpoint = config.part("NetworkingConfig").part("EndpointsConfig").part(name)
        _check_table(endpoint, _ENDPOINT)
        _check_table(endpoint.part("IPAMConfig"), {"IPv6Address": (), "LinkLocalIPs": ()})


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


def check_volumes(engine: Engine, config: Fields, mounted: Collection[str]) -> None:
    """Anonymous volumes. Two kinds ask for nothing: those at a mount's target (docker-py names them all), and those
    the image itself declares, which are the engine's business."""
    wanted = [target for target in config.mapping("Volumes") if posixpath.normpath(target) not in mounted]
    if not wanted:
        return
    image = engine.image_get(config.text("Image"))
    declared = (image.config.get("config") or {}).get("Volumes") or {}
    for target in wanted:
        if target not in declared:
            raise _refusal("Volumes", target)


def _check_namespaces(host: Fields) -> None:
    mode = host.text("NetworkMode")
    if mode.startswith("container:"):
        raise _refusal(host.name_of("NetworkMode"), mode)
    isolation = host.text("Isolation")
    if isolation not in ("", "default"):
        raise InvalidArgument(f"invalid isolation '{isolation}' on linux")
