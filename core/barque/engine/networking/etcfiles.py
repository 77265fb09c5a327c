"""/etc/hostname, /etc/hosts and /etc/resolv.conf of a container: files of the host, bind-mounted into it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from pathlib import Path

from barque.engine.networking.resolvconf import is_ours, resolv_conf
from barque.spi.errors import InvalidArgument
from barque.spi.frontend import ContainerConfig
from barque.spi.network import Endpoint

__all__ = ["EtcFiles", "Link"]

Link = tuple[str, Sequence[str]]
"""An address and the names a container has for it."""

_LOCAL = (
    "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\n"
    "ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
)
_HOST_GATEWAY = "host-gateway"
_LARGEST = 1024 * 1024  # of a file that a container may have written to


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
        self,
        config: ContainerConfig,
        hostname: str,
        endpoints: Iterable[Endpoint],
        host_network: bool,
        resolver: bool = False,
        links: Iterable[Link] = (),
    ) -> None:
        """Make all three for this start, world-readable, in place: a container's bind mount keeps the inode.

        The first of `endpoints` is the container's way out. `resolver`: names are answered on 127.0.0.11. `links`: those of the
        default bridge, where no names are answered. Errors: InvalidArgument, OSError.
        """
        ends = tuple(endpoints)
        local = Path("/etc/hosts").read_text() if host_network else _LOCAL
        changing = _lines(_own(config, hostname, ends) + _linked(links))
        _write(self.hostname, f"{hostname}\n")
        _write(self.hosts, local + _extra_hosts(config, ends, host_network) + changing)
        _write(self.resolv_conf, resolv_conf(config, host_network, resolver))

    def refresh(
        self,
        config: ContainerConfig,
        hostname: str,
        endpoints: Iterable[Endpoint],
        host_network: bool,
        resolver: bool = False,
        links: Iterable[Link] = (),
        gone: Iterable[Link] = (),
    ) -> None:
        """Make the files of a running container say what has changed; arguments as `write`, `gone` are links that it had. What the
        container or a user has written into /etc/hosts stays, and a resolv.conf that was edited does, too. Errors: OSError."""
        hosts = _read(self.hosts)
        if hosts is not None:
            wanted = _own(config, hostname, tuple(endpoints)) + _linked(links)
            stale = {_own_names(config, hostname), *(names for _, names in _linked(gone))}
            _write(self.hosts, _renewed(hosts, wanted, stale))
        text = _read(self.resolv_conf)
        if text is not None and is_ours(text):
            _write(self.resolv_conf, resolv_conf(config, host_network, resolver))


def _read(path: Path) -> str | None:
    """A file's text, None when it is gone or of a size that is not ours to load."""
    try:
        with open(path, "rb") as file:
            data = file.read(_LARGEST + 1)
    except FileNotFoundError:
        return None
    return data.decode(errors="surrogateescape") if len(data) <= _LARGEST else None


def _write(path: Path, text: str) -> None:
    path.write_text(text, errors="surrogateescape")
    path.chmod(0o644)


def _own_names(config: ContainerConfig, hostname: str) -> str:
    """The qualified name, and without its domain, wherever the user has written that."""
    qualified = f"{hostname}.{config.domainname}" if config.domainname else hostname
    first, dot, _ = qualified.partition(".")
    return f"{qualified} {first}" if dot else qualified


def _own(config: ContainerConfig, hostname: str, endpoints: tuple[Endpoint, ...]) -> list[tuple[str, str]]:
    """(address, names) of the container itself."""
    names = _own_names(config, hostname)
    addresses = [address for endpoint in endpoints for address in (endpoint.ipv4, endpoint.ipv6) if address]
    return [(address.partition("/")[0], names) for address in addresses]


def _linked(links: Iterable[Link]) -> list[tuple[str, str]]:
    return [(address, " ".join(dict.fromkeys(names))) for address, names in links]


def _lines(entries: Iterable[tuple[str, str]]) -> str:
    return "".join(f"{address}\t{names}\n" for address, names in entries)


def _renewed(text: str, wanted: list[tuple[str, str]], stale: set[str]) -> str:
    """The file with the lines that are ours replaced: a line is, by its names behind the tab."""
    ours = stale | {names for _, names in wanted}
    kept = [
        line for line in text.splitlines(keepends=True) if line.rstrip("\n").partition("\t")[2] not in ours
    ]
    if kept and not kept[-1].endswith("\n"):
        kept[-1] += "\n"
    return "".join(kept) + _lines(wanted)


def _extra_hosts(config: ContainerConfig, endpoints: tuple[Endpoint, ...], host_network: bool) -> str:
    lines = []
    for entry in config.extra_hosts:
        name, _, address = entry.partition("=" if "=" in entry.partition(":")[0] else ":")
        gateway = address == _HOST_GATEWAY
        addresses = _gateways(endpoints, host_network) if gateway else [_address(address.strip("[]"), entry)]
        lines += [f"{address}\t{name}\n" for address in addresses]
    return "".join(lines)


def _gateways(endpoints: tuple[Endpoint, ...], host_network: bool) -> list[str]:
    """The host's addresses as the container reaches them."""
    if host_network:
        return ["127.0.0.1"]
    for endpoint in endpoints:
        found = [gateway for gateway in (endpoint.gateway4, endpoint.gateway6) if gateway]
        if found:
            return found
    raise InvalidArgument(
        "unable to derive the IP value for host-gateway", hint="the container has no network with a gateway"
    )


def _address(text: str, entry: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise InvalidArgument(
            f'invalid IP address in add-host: "{text}"', hint=f"in {entry!r}: write NAME:ADDRESS"
        ) from None
