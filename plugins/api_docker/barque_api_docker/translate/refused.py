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
    "Healthcheck": ({"Test": ["NONE"]}, {"Test": []}),
    "OnBuild": (),
    "Shell": (),
}
_HOST: dict[str, tuple[Any, ...]] = {
    "Annotations": (),
    "BlkioDeviceReadBps": (),
    "BlkioDeviceReadIOps": (),
    "BlkioDeviceWriteBps": (),
    "BlkioDeviceWriteIOps": (),
    "BlkioWeightDevice": (),
    "Cgroup": (),
    "CpuCount": (),
    "CpuPercent": (),
    "CpuRealtimePeriod": (),
    "CpuRealtimeRuntime": (),
    "DeviceCgroupRules": (),
    "DeviceRequests": (),
    "Devices": (),
    "IOMaximumBandwidth": (),
    "IOMaximumIOps": (),
    "Isolation": ("default",),
    "KernelMemory": (),
    "KernelMemoryTCP": (),
    "Links": (),
    "MemorySwappiness": (-1,),
    "UsernsMode": ("host",),  # without user namespaces for everybody, there is none to opt out of
    "VolumeDriver": ("local",),
    "VolumesFrom": (),
}
_ENDPOINT: dict[str, tuple[Any, ...]] = {"Links": (), "Aliases": (), "DriverOpts": (), "GwPriority": ()}
_POLICIES = ("always", "unless-stopped", "on-failure")


def check(engine: Engine, config: Fields, host: Fields) -> None:
    """Errors: NotImplemented naming the first field that cannot be honoured; InvalidArgument for nonsense in one."""
    _check_table(config, _CONFIG)
    _check_table(host, _HOST)
    _check_restart(host.part("RestartPolicy"))
    _check_namespaces(engine, host)
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


def _check_restart(policy: Fields) -> None:
    name = policy.text("Name")
    if name in _POLICIES:
        raise _refusal("HostConfig.RestartPolicy", name)
    if name not in ("", "no"):
        raise InvalidArgument(
            f"invalid restart policy: unknown policy '{name}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
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


def _check_namespaces(engine: Engine, host: Fields) -> None:
    for name in ("IpcMode", "PidMode", "NetworkMode"):
        mode = host.text(name)
        if mode.startswith("container:"):
            raise _refusal(host.name_of(name), mode)
    mode = host.text("CgroupnsMode")
    if mode not in ("", "host", "private"):
        raise InvalidArgument(f"invalid cgroup namespace mode: {mode}")
    if mode and mode != ("private" if engine.info().cgroup_version == "2" else "host"):
        raise _refusal(host.name_of("CgroupnsMode"), mode)
