"""What containers may ask their DNS server for: files that the daemon writes and the shims read (`barque.shim.resolver_names`).

One file a network, which all its containers share, so a start is one write however many there are; and one file a container, which
names its networks, its links and whom to ask for the rest. Both are replaced by a rename: a shim never sees half of one.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from barque.engine.layout import Layout
from barque.engine.networking.resolvconf import FALLBACK_SERVERS, ResolvConf, is_loopback
from barque.spi.container import ContainerConfig

__all__ = ["Member", "NameService"]

_OWN_ADDRESS = "127.0.0.11"
_DNS_PORT = 53
_SETTINGS = "resolver.json"


@dataclass(frozen=True, slots=True)
class Member:
    """An endpoint of a user-defined network. `names`: the container's name first, then aliases, short id, hostname.
    `addresses` are without prefix length, IPv4 first."""

    container_id: str
    names: tuple[str, ...]
    addresses: tuple[str, ...]


class NameService:
    """Writes the tables below `<run>/resolver` and `resolver.json` in the containers' state directories.

    Calls for one network, and for one container, must not overlap. Nothing is made durable: after a reboot no container runs.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._tables = layout.run / "resolver"

    def network_changed(self, network_id: str, network_name: str, members: Sequence[Member]) -> None:
        """These are all the members of a user-defined network now. Idempotent. Errors: OSError."""
        names: dict[str, list[str]] = {}
        owners: dict[str, str] = {}
        for member in members:
            for name in dict.fromkeys(name.lower() for name in member.names):
                names.setdefault(name, []).extend(member.addresses)
            for address in member.addresses:
                owners[str(ipaddress.ip_address(address))] = member.names[0]
        self._tables.mkdir(mode=0o700, exist_ok=True)
        _replace(self._table(network_id), {"name": network_name, "names": names, "addresses": owners})

    def network_gone(self, network_id: str) -> None:
        """Forget a network. Idempotent."""
        self._table(network_id).unlink(missing_ok=True)

    def restore(self, network_ids: Iterable[str]) -> None:
        """At the daemon's start: remove the tables of other networks than these."""
        known = {self._table(id).name for id in network_ids}
        with contextlib.suppress(FileNotFoundError):
            for path in self._tables.iterdir():
                if path.name not in known:
                    path.unlink(missing_ok=True)

    def container_resolves(
        self,
        container_id: str,
        config: ContainerConfig,
        networks: Mapping[str, Mapping[str, str]],
        internal: bool,
    ) -> None:
        """Say what a container sees: the user-defined networks it is in, by id, each with its links there (alias -> name).

        `internal`: none of its networks leads outside, so no server of the host's is asked for it (CVE-2024-29018). Errors: OSError.
        """
        document = {
            "networks": [
                {
                    "table": str(self._table(id)),
                    "links": {alias.lower(): name for alias, name in links.items()},
                }
                for id, links in networks.items()
            ],
            "servers": _servers(config, internal),
            "ndots": any(option.startswith("ndots:") for option in config.dns_options),
        }
        _replace(self._layout.container(container_id) / _SETTINGS, document)

    def _table(self, network_id: str) -> Path:
        return self._tables / f"{network_id}.json"


def _servers(config: ContainerConfig, internal: bool) -> list[tuple[str, str, int]]:
    """Servers of the user's are asked from the container's namespace, where an internal network ends; those of the host from the
    host's, since they may be on its loopback."""
    if config.dns:
        return [("sandbox", server, _DNS_PORT) for server in config.dns if server != _OWN_ADDRESS]
    if internal:
        return []
    servers = [server for server in ResolvConf.of_host().servers if is_loopback(server) is not None]
    return [("host", server, _DNS_PORT) for server in servers or FALLBACK_SERVERS]


def _replace(path: Path, document: Mapping[str, Any]) -> None:
    new = path.with_name(f".{path.name}.new")
    with open(new, "w", encoding="utf-8", opener=_private) as file:
        json.dump(document, file, separators=(",", ":"))
    os.replace(new, path)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
