"""/etc/hostname, /etc/hosts and /etc/resolv.conf of a container: files of the host, bind-mounted into it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from pathlib import Path

from barque.spi.errors import InvalidArgument
from barque.spi.frontend import ContainerConfig
from barque.spi.network import Endpoint

__all__ = ["EtcFiles"]

_LOCAL = (
    "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\n"
    "ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
)
_FALLBACK_SERVERS = ("8.8.8.8", "8.8.4.4")


class EtcFiles:
    """The three files of one container, in its state directory. Plain writes: after a power cut they are made again."""

    def __init__(self, state: Path) -> None:
        self.hostname = state / "hostname"
        self.hosts = state / "hosts"
        self.resolv_conf = state / "resolv.conf"

    def mounts(self) -> tuple[tuple[str, str], ...]:
        """(source, target) of each."""
        return (
            (str(self.resolv_conf), "/etc/resolv.conf"),
            (str(self.hostname), "/etc/hostname"),
            (str(self.hosts), "/etc/hosts"),
        )

    def write(
        self, config: ContainerConfig, hostname: str, endpoints: Iterable[Endpoint], host_network: bool
    ) -> None:
        """Make all three for this start, world-readable, in place: a container's bind mount keeps the inode."""
        qualified = f"{hostname}.{config.domainname}" if config.domainname else hostname
        _write(self.hostname, f"{qualified}\n")
        _write(self.hosts, _hosts(config, hostname, endpoints, host_network))
        _write(self.resolv_conf, _resolv_conf(config, host_network))


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o644)


def _hosts(config: ContainerConfig, hostname: str, endpoints: Iterable[Endpoint], host_network: bool) -> str:
    lines = [Path("/etc/hosts").read_text() if host_network else _LOCAL]
    gateway = ""
    for endpoint in endpoints:
        gateway = gateway or endpoint.gateway4
        name = f"{hostname}.{config.domainname} {hostname}" if config.domainname else hostname
        lines += [
            f"{address.partition('/')[0]}\t{name}\n" for address in (endpoint.ipv4, endpoint.ipv6) if address
        ]
    for entry in config.extra_hosts:
        name, _, address = entry.partition("=" if "=" in entry.partition(":")[0] else ":")
        address = gateway if address == "host-gateway" else address.strip("[]")
        lines.append(f"{_address(address, entry)}\t{name}\n")
    return "".join(lines)


def _address(text: str, entry: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise InvalidArgument(
            f'invalid IP address in add-host: "{text}"', hint=f"in {entry!r}: write NAME:ADDRESS"
        ) from None


def _resolv_conf(config: ContainerConfig, host_network: bool) -> str:
    """The host's, less name servers on loopback (which a container cannot reach), with `--dns…` in their place."""
    servers, search, options = [], [], []
    for words in (line.split() for line in _host_resolv_conf().splitlines()):
        if len(words) > 1 and words[0] == "nameserver":
            servers.append(words[1])
        elif words[:1] in (["search"], ["domain"]):
            search = words[1:]
        elif words[:1] == ["options"]:
            options = words[1:]
    if not host_network:
        servers = [s for s in servers if not _loopback(s)] or list(_FALLBACK_SERVERS)
    servers = list(config.dns) or servers
    search = [s for s in config.dns_search if s != "."] if config.dns_search else search
    options = list(config.dns_options) or options
    lines = [f"nameserver {server}\n" for server in servers]
    if search:
        lines.append(f"search {' '.join(search)}\n")
    if options:
        lines.append(f"options {' '.join(options)}\n")
    return "".join(lines)


def _host_resolv_conf() -> str:
    try:
        return Path("/etc/resolv.conf").read_text()
    except OSError:
        return ""


def _loopback(server: str) -> bool:
    try:
        return ipaddress.ip_address(server.partition("%")[0]).is_loopback
    except ValueError:
        return True
