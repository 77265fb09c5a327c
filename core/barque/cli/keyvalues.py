"""Flags of the form key=value, and the files that hold many of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from barque.cli.errors import CliError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "dns_server",
    "environment",
    "extra_host",
    "labels",
    "link",
    "mapping",
    "sysctl",
    "ulimit",
    "wrong",
]

_FILE_LIMIT = 16 * 1024 * 1024


def environment(files: Sequence[str], flags: Sequence[str], environ: Mapping[str, str]) -> list[str]:
    """`KEY=value` entries, files first. A bare `KEY` takes its value from our environment.

    One that is not set there is dropped when it comes from a file, and unsets the image's when it comes from a flag.
    """
    entries: list[str] = []
    for path in files:
        for line in _lines(path):
            name, equals, _ = line.partition("=")
            if not name or any(letter.isspace() for letter in name):
                what = "no variable name on line" if not name else f"variable '{name}' contains whitespaces"
                raise CliError(f"invalid env file ({path}): {what}" + (f" '{line}'" if not name else ""))
            if equals:
                entries.append(line)
            elif name in environ:
                entries.append(f"{name}={environ[name]}")
    for value in flags:
        name, equals, _ = value.partition("=")
        if not name:
            raise wrong("-e, --env", value, f"invalid environment variable: {value}")
        entries.append(value if equals or name not in environ else f"{name}={environ[name]}")
    return entries


def labels(files: Sequence[str], flags: Sequence[str]) -> dict[str, str]:
    """Labels by key; a bare key is an empty label, and a later one wins."""
    for value in flags:
        if not value.partition("=")[0].strip():
            raise wrong("-l, --label", value, f"invalid label '{value}': empty name")
    return mapping([line for path in files for line in _lines(path)] + list(flags))


def mapping(pairs: Sequence[str]) -> dict[str, str]:
    """`key=value` strings as a mapping."""
    return {key: value for key, _, value in (pair.partition("=") for pair in pairs)}


def _lines(path: str) -> list[str]:
    try:
        with open(path, "rb") as file:
            raw = file.read(_FILE_LIMIT + 1)
    except OSError as error:
        raise CliError(f"open {path}: {(error.strerror or str(error)).lower()}") from error
    if len(raw) > _FILE_LIMIT:
        raise CliError(f"{path} is too large: it may have {_FILE_LIMIT} bytes at most")
    raw = raw.removeprefix(b"\xef\xbb\xbf")
    lines = (os.fsdecode(line).lstrip() for line in raw.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def extra_host(value: str) -> str:
    """`host:ip` (also written `host=ip`) as the API takes it."""
    name, separator, address = value.partition("=")
    if not separator:
        name, separator, address = value.partition(":")
    if not name or not separator:
        raise wrong("--add-host", value, f'bad format for add-host: "{value}"')
    address = address.removeprefix("[").removesuffix("]")
    if address != "host-gateway" and not _is_address(address):
        raise wrong("--add-host", value, f'invalid IP address in add-host: "{address}"')
    return f"{name}:{address}"


def dns_server(value: str) -> str:
    """An address of `--dns`."""
    if not _is_address(value.strip()):
        raise wrong("--dns", value, f"IP address is not correctly formatted: {value}")
    return value.strip()


def _is_address(value: str) -> bool:
    import socket

    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, value.partition("%")[0])
        except (OSError, ValueError):
            continue
        return True
    return False


def link(value: str) -> str:
    """`container` or `container:alias`."""
    if not value:
        raise wrong("--link", value, "empty string specified for links")
    if value.count(":") > 1:
        raise wrong("--link", value, f"bad format for links: {value}")
    return value


# The kernel's settings that belong to a namespace of the container.
_SYSCTLS = frozenset(
    ("kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax", "kernel.shmmni",
     "kernel.shm_rmid_forced")
)  # fmt: skip


def sysctl(value: str) -> str:
    """`net.core.somaxconn=1024`."""
    name, equals, _ = value.partition("=")
    if not equals or not (name in _SYSCTLS or name.startswith(("net.", "fs.mqueue."))):
        raise wrong("--sysctl", value, f"sysctl '{value}' is not allowed")
    return value


def ulimit(value: str) -> dict[str, Any]:
    """`nofile=1024:2048`; -1 is unlimited."""
    name, equals, limits = value.partition("=")
    soft, colon, hard = limits.partition(":")
    numbers = [soft, hard if colon else soft]
    if not equals or not name or not all(n.removeprefix("-").isdigit() for n in numbers):
        raise wrong("--ulimit", value, f"invalid ulimit argument: {value}")
    low, high = (int(n) for n in numbers)
    if high != -1 and (low > high or low == -1):
        why = f"ulimit soft limit must be less than or equal to hard limit: {low} > {high}"
        raise wrong("--ulimit", value, why)
    return {"Name": name, "Soft": low, "Hard": high}


def wrong(flag: str, value: str, why: str) -> UsageError:
    """The complaint about a flag's value."""
    return UsageError(f'invalid argument "{value}" for "{flag}" flag: {why}')
