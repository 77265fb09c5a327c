"""The networks of a new container: `--network` in both forms, and the flags that mean the first of them."""

from __future__ import annotations

import re

from barque.cli.csvfields import csv_fields
from barque.cli.errors import CliError, UsageError
from barque.cli.flags import Values

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["endpoint_settings", "networks", "user_defined"]

_LONG = re.compile(r"\w+=\w+(,\w+=\w+)*", re.ASCII)
_BUILT_IN = ("default", "bridge", "host", "none")
_FIELDS = {
    "alias": "Aliases",
    "ip": "IPv4Address",
    "ip6": "IPv6Address",
    "mac-address": "MacAddress",
    "link-local-ip": "LinkLocalIPs",
}
# What a flag sets, and how the complaint calls it when `--network` says it too.
_FIRST = {
    "network-alias": ("Aliases", "network alias"),
    "link": ("Links", "network links"),
    "ip": ("IPv4Address", "network IPv4 address"),
    "ip6": ("IPv6Address", "network IPv6 address"),
    "mac-address": ("MacAddress", "network MAC address"),
    "link-local-ip": ("LinkLocalIPs", "network link-local IP addresses"),
}
_LISTS = ("Aliases", "Links", "LinkLocalIPs")


def networks(values: Values) -> tuple[str, dict[str, dict[str, Any]]]:
    """(the network mode, EndpointSettings by network). Raises CliError in Docker's words."""
    wanted = [_parse(value) for value in values.all("network")] or [("default", dict[str, "Any"]())]
    _add_flags(values, *wanted[0])
    found: dict[str, dict[str, Any]] = {}
    for name, said in wanted:
        if name in found:
            raise CliError(f'network "{name}" is specified multiple times')
        found[name] = _settings(name, said)
    if len({user_defined(name) for name in found}) > 1:
        raise CliError(
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes"
        )
    return wanted[0][0], found


def user_defined(name: str) -> bool:
    """Whether the name is that of a network that somebody created, not a mode."""
    return name not in _BUILT_IN and not name.startswith("container:")


def _parse(value: str) -> tuple[str, dict[str, Any]]:
    """A network and what its value says: `mynet`, or `name=mynet,alias=web,ip=10.0.0.2,mac-address=…`."""
    if not _LONG.search(value):
        return value, {}
    name, said = "", dict[str, "Any"]()
    try:
        for part in csv_fields(value):
            key, equals, setting = part.lower().partition("=")
            if not equals or not key:
                raise ValueError(f"invalid field {part}")
            if key.strip() == "name":
                name = setting.strip()
            else:
                _field(said, key.strip(), setting.strip())
        if not name:
            raise ValueError("network name/id is not specified")
    except ValueError as error:
        raise UsageError(f'invalid argument "{value}" for "--network" flag: {error}') from None
    return name, said


def _field(said: dict[str, Any], key: str, setting: str) -> None:
    if key == "driver-opt":
        option, equals, content = setting.partition("=")
        if not equals or not option:
            raise ValueError("invalid key value pair format in driver options")
        said.setdefault("DriverOpts", {})[option.strip()] = content.strip()
    elif key == "gw-priority":
        if not setting.removeprefix("-").isdigit():
            raise ValueError(f"invalid gw-priority ({setting}): invalid syntax")
        said["GwPriority"] = int(setting)
    elif key not in _FIELDS:
        raise ValueError(f"invalid field key {key}")
    elif _FIELDS[key] in _LISTS:
        said.setdefault(_FIELDS[key], []).append(setting)
    else:
        said[_FIELDS[key]] = setting


def _add_flags(values: Values, name: str, said: dict[str, Any]) -> None:
    """The flags of the times when a container had one network: they mean the first one."""
    for flag_name, (field, words) in _FIRST.items():
        if not values.given(flag_name) or (flag_name == "link" and not user_defined(name)):
            continue
        if said.get(field):
            raise CliError(f"conflicting options: cannot specify both --{flag_name} and per-{words}")
        said[field] = values.all(flag_name) if field in _LISTS else values.text(flag_name)


def _settings(name: str, said: dict[str, Any]) -> dict[str, Any]:
    if not name.strip():
        raise CliError("no name set for network")
    if not user_defined(name):
        if said.get("Aliases"):
            raise CliError("network-scoped aliases are only supported for user-defined networks")
        if said.get("Links"):
            raise CliError("links are only supported for user-defined networks")
    return endpoint_settings(said)


def endpoint_settings(said: dict[str, Any]) -> dict[str, Any]:
    """EndpointSettings of what was said: addresses are asked for in a part of their own."""
    addresses = {key: said[key] for key in ("IPv4Address", "IPv6Address", "LinkLocalIPs") if said.get(key)}
    settings = {key: said[key] for key in ("Aliases", "Links", "DriverOpts", "GwPriority") if said.get(key)}
    if said.get("MacAddress"):
        settings["MacAddress"] = _mac(said["MacAddress"])
    return settings | ({"IPAMConfig": addresses} if addresses else {})


def _mac(address: str) -> str:
    bare = address.strip()
    if not re.fullmatch(r"[0-9a-fA-F]{2}([:-])(?:[0-9a-fA-F]{2}\1)*[0-9a-fA-F]{2}", bare) or len(bare) not in (17, 23, 59):  # fmt: skip
        raise CliError(f"{bare} is not a valid mac address")
    return bare
