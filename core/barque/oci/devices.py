"""Devices of a container: the host's nodes it is given, and what the device cgroup lets it do."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from typing import Any

from barque.oci.defaults import device_rules
from barque.spi.container import ContainerConfig, DeviceMapping
from barque.spi.errors import Internal, InvalidArgument

__all__ = ["check_rule", "device_access", "given_devices", "node_at"]

_RULE = re.compile(r"([acb]) (\d{1,10}|\*):(\d{1,10}|\*) ([rwm]{1,3})", re.ASCII)
# What a runtime makes itself, or what is a file system of its own.
_NOT_SHARED = {"pts", "shm", "mqueue", "fd", "console", "ptmx", "stdin", "stdout", "stderr", "core"}


def device_access(config: ContainerConfig) -> list[dict[str, Any]]:
    """The device cgroup's rules but for those of `given_devices`: Docker's defaults, then `--device-cgroup-rule`."""
    rules = device_rules(config.privileged)
    return rules if config.privileged else [*rules, *(check_rule(text) for text in config.device_rules)]


def check_rule(text: str) -> dict[str, Any]:
    """`c 10:* rwm` as an OCI rule. Errors: InvalidArgument in Docker's words."""
    match = _RULE.fullmatch(text)
    if match is None:
        raise InvalidArgument(f"invalid device cgroup rule format: '{text}'", hint="write it as 'c 10:* rwm'")
    rule: dict[str, Any] = {"allow": True, "type": match[1], "access": match[4]}
    for name, number in (("major", match[2]), ("minor", match[3])):
        if number != "*":
            rule[name] = int(number)
    return rule


def given_devices(config: ContainerConfig) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The nodes to make and the rules that let them be used. A privileged container gets all of the host's, and those that shall have
    another path there. Errors: Internal, as dockerd, for one that is not there."""
    if not (config.devices or config.privileged):
        return [], []
    nodes = list(_host_devices()) if config.privileged else []
    rules: list[dict[str, Any]] = []
    for mapping in config.devices:
        if config.privileged and mapping.source == mapping.target:
            continue
        found = _mapped(mapping)
        nodes += found
        if not config.privileged:
            rules += [_rule(node, mapping.permissions) for node in found]
    return nodes, rules


def _mapped(mapping: DeviceMapping) -> list[dict[str, Any]]:
    """The device at `mapping.source`, whatever links lead there, or all below it when it is a directory."""
    source, target = os.path.realpath(mapping.source), mapping.target or mapping.source
    try:
        node = node_at(source, target)
        if node is not None:
            return [node]
    except OSError as error:
        raise _missing(mapping.source, str(error.strerror).lower()) from error
    found = []
    for path in _files(source):
        inner = node_at(path, target.rstrip("/") + path.removeprefix(source))
        if inner is not None:
            found.append(inner)
    if not found:
        raise _missing(mapping.source, "not a device node")
    return found


def _missing(path: str, why: str) -> Internal:
    return Internal(f'error gathering device information while adding custom device "{path}": {why}')


def _files(directory: str) -> Iterator[str]:
    for parent, _, names in os.walk(directory):
        for name in sorted(names):
            yield os.path.join(parent, name)


def node_at(path: str, target: str) -> dict[str, Any] | None:
    """The device node `path` of the host as an OCI device at `target`; None for what is no device. Raises OSError."""
    info = os.lstat(path)
    if stat.S_ISCHR(info.st_mode):
        kind = "c"
    elif stat.S_ISBLK(info.st_mode):
        kind = "b"
    else:
        return None
    return {
        "path": target, "type": kind, "major": os.major(info.st_rdev), "minor": os.minor(info.st_rdev),
        "fileMode": stat.S_IMODE(info.st_mode), "uid": info.st_uid, "gid": info.st_gid,
    }  # fmt: skip


def _rule(node: dict[str, Any], permissions: str) -> dict[str, Any]:
    access = permissions or "rwm"
    return {
        "allow": True,
        "type": node["type"],
        "major": node["major"],
        "minor": node["minor"],
        "access": access,
    }


def _host_devices() -> Iterator[dict[str, Any]]:
    """Every device node of the host's /dev (privileged containers), less what the runtime makes itself."""
    for directory, names, files in os.walk("/dev"):
        top = directory == "/dev"
        names[:] = [n for n in names if not top or n not in _NOT_SHARED]
        for name in files:
            path = os.path.join(directory, name)
            if top and name in _NOT_SHARED:
                continue
            try:
                node = node_at(path, path)
            except OSError:  # it went away since the directory was read
                continue
            if node is not None:
                yield node
