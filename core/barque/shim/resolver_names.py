"""The names a container may ask for: `<state>/resolver.json` and the tables of its networks, read again when they have changed.

    resolver.json  {"networks": [{"table": PATH, "links": {ALIAS: NAME}}], "servers": [[PLACE, ADDRESS, PORT]], "ndots": bool}
    a table        {"name": NETWORK, "names": {NAME: [ADDRESS]}, "addresses": {ADDRESS: NAME}}

All names are lower case. A server's PLACE is `host` or `sandbox`: whose network namespace it is asked from. `ndots`: the user set that
option, so names without a dot are not for servers. The daemon replaces both files by a rename.
"""

from __future__ import annotations

import os
from socket import AF_INET, AF_INET6, inet_ntop
from typing import Any, NamedTuple

from barque.shim import packets
from barque.spi.errors import InvalidArgument

__all__ = ["RESOLVER_FILE", "Names", "Server", "reverse_address"]

RESOLVER_FILE = "resolver.json"
_SHORT_ID = 12
_MAX_FILE = 16 * 1024 * 1024
_SUFFIX4, _SUFFIX6 = ".in-addr.arpa", ".ip6.arpa"

_Stamp = tuple[int, int, int]


class Server(NamedTuple):
    """A DNS server, and the network namespace it is asked from: `host` or `sandbox`."""

    place: str
    address: str
    port: int


class Names:
    """What the files say now. `state` is the container's open state directory."""

    def __init__(self, state: int) -> None:
        self._settings = _File(RESOLVER_FILE, state)
        self._tables: dict[str, _File] = {}

    def refresh(self) -> None:
        """Look whether files have changed. A file that cannot be read leaves what was known."""
        if self._settings.refresh():
            paths = [str(network["table"]) for network in self._networks()]
            self._tables = {path: self._tables.get(path) or _File(path) for path in paths}
        for table in self._tables.values():
            table.refresh()

    def servers(self) -> list[Server]:
        """Whom to ask for what is not here; nobody when the container's networks lead nowhere."""
        return [Server(*server) for server in self._settings.content.get("servers", ())]

    def forwards(self, name: str) -> bool:
        """Whether servers may be asked for addresses of `name`."""
        return "." in name or not self._settings.content.get("ndots")

    def addresses(self, name: str) -> list[str] | None:
        """The addresses of `name`, None when it is no name of a container."""
        found: list[str] | None = None
        for network in self._networks():
            table = self._tables[str(network["table"])].content
            here = self._in_network(network.get("links", {}), table, name)
            if here is not None:
                found = [*(found or ()), *(address for address in here if address not in (found or ()))]
        return found

    @staticmethod
    def _in_network(links: dict[str, str], table: dict[str, Any], name: str) -> list[str] | None:
        suffix = f".{table.get('name', '')}".lower()
        names: dict[str, list[str]] = table.get("names", {})
        for candidate in (name, name.removesuffix(suffix)):
            target = links.get(candidate, "").lower()
            for linked in (target, target[:_SHORT_ID]):  # a link may say an id
                if linked and linked in names:
                    return names[linked]
            if candidate in names:
                return names[candidate]
        return None

    def name_of(self, address: str) -> str | None:
        """`name.network` of an address."""
        for table in self._tables.values():
            name = table.content.get("addresses", {}).get(address)
            if name is not None:
                return f"{name}.{table.content['name']}"
        return None

    def _networks(self) -> list[dict[str, Any]]:
        networks: list[dict[str, Any]] = self._settings.content.get("networks", [])
        return networks


class _File:
    """A JSON object in a file that is replaced as a whole."""

    def __init__(self, path: str, directory: int | None = None) -> None:
        self._path, self._directory = path, directory
        self._stamp: _Stamp | None = None
        self.content: dict[str, Any] = {}

    def refresh(self) -> bool:
        """Read it if it has changed; whether it was read."""
        try:
            if _stamp(os.stat(self._path, dir_fd=self._directory)) == self._stamp:
                return False
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self._directory)
        except OSError:
            return False
        try:
            status = os.fstat(fd)
            self._stamp = _stamp(status)
            self.content = packets.decode(os.pread(fd, min(status.st_size, _MAX_FILE), 0))
        except (OSError, InvalidArgument):
            return False
        finally:
            os.close(fd)
        return True


def _stamp(status: os.stat_result) -> _Stamp:
    return status.st_ino, status.st_mtime_ns, status.st_size


def reverse_address(name: str) -> str | None:
    """The address that a name below in-addr.arpa or ip6.arpa stands for, as the tables write it; else None."""
    if name.endswith(_SUFFIX4):
        parts = name.removesuffix(_SUFFIX4).split(".")[::-1]
        if len(parts) == 4 and all(
            p.isascii() and p.isdigit() and len(p) < 4 and int(p) < 256 for p in parts
        ):
            return inet_ntop(AF_INET, bytes(int(part) for part in parts))
    elif name.endswith(_SUFFIX6):
        nibbles = name.removesuffix(_SUFFIX6).split(".")[::-1]
        if len(nibbles) == 32 and all(len(n) == 1 and n in "0123456789abcdef" for n in nibbles):
            return inet_ntop(AF_INET6, bytes.fromhex("".join(nibbles)))
    return None
