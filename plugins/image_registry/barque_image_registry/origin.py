"""Who may be talked to, and how: origins, URLs of redirects and realms, and where plain HTTP is allowed."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from barque.spi.errors import InvalidArgument, PermissionDenied

__all__ = ["Origin", "PlainHttp", "Url", "parse_url"]

_PORTS = {"https": 443, "http": 80}
_LONGEST_URL = 16384


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port: what a credential may be sent to."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if self.port == _PORTS[self.scheme] else f":{self.port}")


@dataclass(frozen=True, slots=True)
class Url:
    """An origin, and the path with its query."""

    origin: Origin
    target: str

    def __str__(self) -> str:
        # Without the query: signed URLs of blob stores are credentials.
        return f"{self.origin}{self.target.partition('?')[0]}"

    def join(self, location: str) -> Url:
        """The URL a `Location` header names, relative to this one. Errors: InvalidArgument."""
        try:
            joined = urljoin(f"{self.origin}{self.target}", location[:_LONGEST_URL])
        except ValueError as error:
            raise InvalidArgument(f"malformed URL {location[:200]!r}: {error}") from error
        return parse_url(joined)


class PlainHttp:
    """Where plain HTTP is allowed: 127.0.0.0/8, ::1, localhost, the listed registries (`host`, `host:port` or a network),
    and those that are `plain`: they have no TLS at all."""

    def __init__(self, listed: tuple[str, ...], plain: tuple[str, ...] = ()) -> None:
        self._hosts = {item.lower() for item in listed}
        self._plain = {item.lower() for item in plain}
        self._networks = [network for network in map(_network, listed) if network is not None]

    def allows(self, host: str, port: int) -> bool:
        """Whether host and port may be talked to without TLS."""
        return is_loopback(host) or self.is_listed(host, port) or self.is_plain(host, port)

    def is_listed(self, host: str, port: int) -> bool:
        """Whether the user listed it as insecure (then its certificate is not verified either)."""
        if _names(host, port) & self._hosts:
            return True
        address = _address(host)
        return address is not None and any(address in network for network in self._networks)

    def is_plain(self, host: str, port: int) -> bool:
        """Whether the user said that it has no TLS."""
        return bool(_names(host, port) & self._plain)

    def check(self, url: Url, before: Origin, what: str) -> None:
        """Refuse to go from `before` to `url` when that gives up TLS or leads to plain HTTP where it is not allowed."""
        if url.origin.scheme == "https":
            return
        if before.scheme == "https" or not self.allows(url.origin.host, url.origin.port):
            raise PermissionDenied(
                f"{before.host} sent a {what} to {url}, which is not https",
                hint="the registry is misconfigured or hostile",
            )


def is_loopback(host: str) -> bool:
    """Whether `host` is localhost or a literal loopback address. No name is looked up: a name can point anywhere tomorrow."""
    address = _address(host)
    return host.lower() == "localhost" or (address is not None and address.is_loopback)


def parse_url(text: str) -> Url:
    """Read an http or https URL. InvalidArgument for anything else, and for credentials within it."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise InvalidArgument(f"malformed URL {text[:200]!r}: {error}") from error
    if parts.scheme not in _PORTS or not parts.hostname or parts.username is not None:
        raise InvalidArgument(
            f"unusable URL {text[:200]!r}", hint="it must be http(s)://host[:port]/path without credentials"
        )
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if any(ord(character) <= 0x20 or ord(character) >= 0x7F for character in target + parts.hostname):
        raise InvalidArgument(f"unusable URL {text[:200]!r}: it has spaces or control characters")
    return Url(Origin(parts.scheme, parts.hostname, port or _PORTS[parts.scheme]), target)


def _names(host: str, port: int) -> set[str]:
    name = host.lower()
    shown = f"[{name}]" if ":" in name else name
    return {name, shown, f"{shown}:{port}"}


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _network(item: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    if "/" not in item:
        return None
    try:
        return ipaddress.ip_network(item, strict=False)
    except ValueError as error:
        raise InvalidArgument(
            f"insecure_registries: {item!r} is neither a host nor a network: {error}"
        ) from error
