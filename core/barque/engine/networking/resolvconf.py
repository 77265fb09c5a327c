"""/etc/resolv.conf (resolv.conf(5)): the host's read, a container's written, and told later whether somebody has edited it."""

from __future__ import annotations

import ipaddress
import zlib
from dataclasses import dataclass
from pathlib import Path

from barque.spi.container import ContainerConfig

__all__ = ["FALLBACK_SERVERS", "ResolvConf", "is_loopback", "is_ours", "resolv_conf"]

FALLBACK_SERVERS = ("8.8.8.8", "8.8.4.4")
_RESOLVER = "127.0.0.11"
_HEAD = "# Written by Barque; left alone once it has been edited.\n\n"
_MARK = "# barque "


@dataclass(frozen=True, slots=True)
class ResolvConf:
    """What a resolv.conf says."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    @classmethod
    def of_host(cls) -> ResolvConf:
        """The host's; empty when it has none."""
        try:
            text = Path("/etc/resolv.conf").read_text(errors="replace")
        except OSError:
            return cls()
        servers: list[str] = []
        search: tuple[str, ...] = ()
        options: tuple[str, ...] = ()
        for words in (line.split() for line in text.splitlines()):
            if len(words) > 1 and words[0] == "nameserver":
                servers.append(words[1])
            elif words[:1] in (["search"], ["domain"]):
                search = tuple(words[1:])
            elif words[:1] == ["options"]:
                options += tuple(words[1:])
        return cls(tuple(servers), search, options)


def resolv_conf(config: ContainerConfig, host_network: bool, resolver: bool) -> str:
    """A container's: the host's with `--dns…` in its place. With `resolver` the server is the container's own, which asks
    the others; without it, those on the host's loopback are left out, which a container cannot reach."""
    host = ResolvConf.of_host()
    servers = host.servers
    if not host_network:
        servers = tuple(server for server in servers if is_loopback(server) is False) or FALLBACK_SERVERS
    servers = config.dns or servers
    search = tuple(s for s in config.dns_search if s != ".") if config.dns_search else host.search
    options = config.dns_options or host.options
    behind = ""
    if resolver:
        places = config.dns or tuple(f"host({server})" for server in host.servers or FALLBACK_SERVERS)
        behind = f"\n# ExtServers: [{' '.join(places)}]\n"
        servers = (_RESOLVER,)
        if not any(option.startswith("ndots:") for option in options):
            options = (*options, "ndots:0")
    lines = [f"nameserver {server}\n" for server in servers]
    lines += [f"search {' '.join(search)}\n"] if search else []
    lines += [f"options {' '.join(options)}\n"] if options else []
    text = f"{_HEAD}{''.join(lines)}{behind}"
    return f"{text}{_mark(text)}"


def is_ours(text: str) -> bool:
    """Whether nobody has edited what `resolv_conf` gave: its last line is the checksum of the others."""
    body, found, _ = text.rpartition(_MARK)
    return bool(found) and text == body + _mark(body)


def _mark(text: str) -> str:
    return f"{_MARK}{zlib.crc32(text.encode(errors='replace')):08x}\n"


def is_loopback(server: str) -> bool | None:
    """Whether a server's address is the host's own; None when it is no address."""
    try:
        return ipaddress.ip_address(server.partition("%")[0]).is_loopback
    except ValueError:
        return None
