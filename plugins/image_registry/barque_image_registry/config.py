"""Settings of the driver: those of all registries, and those of one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from barque.spi.errors import InvalidArgument
from barque_image_registry.origin import Origin, PlainHttp, Url, parse_url

__all__ = ["HostOptions", "RegistryConfig", "endpoint_of"]

_DOCKER_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")
_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\])(?::[0-9]{1,5})?")
_LEAST_CHUNK = 1 << 20
_FILES = ("ca_file", "client_cert", "client_key", "password_file")


@dataclass(frozen=True)
class HostOptions:
    """Settings of one registry.

    mirrors: URLs asked in this order before it, never with the user's credentials.
    plain_http: it is talked to over plain HTTP.
    insecure: nobody verifies its certificate, and plain HTTP will do where it has no TLS.
    ca_file: PEM file of authorities trusted for it, besides the system's.
    client_cert: PEM file of the certificate (chain) shown to it.
    client_key: PEM file of the key; empty: it is in `client_cert`.
    username: who to be there when the client sends no credentials.
    password_file: file with the password (or token) of `username`; read at every use.
    """

    mirrors: tuple[str, ...] = ()
    plain_http: bool = False
    insecure: bool = False
    ca_file: str = ""
    client_cert: str = ""
    client_key: str = ""
    username: str = ""
    password_file: str = ""

    def problem(self) -> str:
        """What is wrong with it, as `field: reason`; empty for nothing."""
        if self.client_key and not self.client_cert:
            return "client_key: there is no client_cert it belongs to"
        if bool(self.username) != bool(self.password_file):
            return "username: username and password_file go together"
        return ""


@dataclass(frozen=True)
class RegistryConfig:
    """Settings of the `registry` image source.

    insecure_registries: `host`, `host:port` or networks (`10.0.0.0/8`, for literal addresses) that may be talked to over plain HTTP or with a
        certificate nobody verifies. 127.0.0.0/8, ::1 and localhost may use plain HTTP without being listed.
    mirrors: URLs of mirrors of docker.io, asked in this order before it, always without the user's credentials.
    ca_file: PEM file of certificate authorities trusted in addition to the system's; empty: none.
    certs_dir: a directory laid out as `/etc/docker/certs.d`: `HOST[:PORT]/` with authorities in `*.crt`, and client certificates in `NAME.cert`
        with `NAME.key`; empty: none.
    registries: a table for each registry (`host` or `host:port`, also a mirror's) with settings of its own: mirrors, plain_http, insecure,
        ca_file, client_cert, client_key, username, password_file.
    idle_timeout: seconds without (next to) any data after which a request counts as failed; 1 to 60.
    attempts: how often one request is tried in all; 1 to 5.
    backoff: seconds before the second try; doubled for each further one, with jitter. A server's Retry-After goes before.
    max_concurrent: connections in use at a time, of all pulls and pushes; 0: no limit.
    max_bytes_per_second_down: of all downloads of blobs together; 0: no limit.
    max_bytes_per_second_up: of all uploads of blobs together; 0: no limit.
    parallel_uploads: layers of one push at a time; 1 to 64.
    chunk_size: bytes of one request of an upload; larger blobs go up in several, and after a failure go on where the registry stopped.
    """

    insecure_registries: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()
    ca_file: str = ""
    certs_dir: str = ""
    registries: Mapping[str, HostOptions] = field(default_factory=dict)
    idle_timeout: float = 30.0
    attempts: int = 5
    backoff: float = 0.5
    max_concurrent: int = 0
    max_bytes_per_second_down: int = 0
    max_bytes_per_second_up: int = 0
    parallel_uploads: int = 5
    chunk_size: int = 64 << 20

    def __post_init__(self) -> None:
        self._check_range("idle_timeout", 1, 60, " seconds")
        self._check_range("attempts", 1, 5)
        self._check_range("parallel_uploads", 1, 64)
        for name in ("max_concurrent", "max_bytes_per_second_down", "max_bytes_per_second_up"):
            if getattr(self, name) < 0:
                raise InvalidArgument(f"{name}: {getattr(self, name)} is negative")
        if self.chunk_size < _LEAST_CHUNK:
            raise InvalidArgument(f"chunk_size: {self.chunk_size} is less than {_LEAST_CHUNK}")
        for name, options in self.registries.items():
            _check_host(name, options)
        plain = self.plain_http()
        for where, mirror in self._all_mirrors():
            origin = parse_url(mirror).origin
            if origin.scheme == "http" and not plain.allows(origin.host, origin.port):
                raise InvalidArgument(
                    f"{where}: {mirror} is not https",
                    hint="list its host in insecure_registries, or give it a table with plain_http = true",
                )

    def plain_http(self) -> PlainHttp:
        """Where plain HTTP is allowed."""
        tables = self.registries.items()
        insecure = [endpoint_of(name) for name, options in tables if options.insecure]
        plain = [endpoint_of(name) for name, options in tables if options.plain_http]
        return PlainHttp((*self.insecure_registries, *insecure), tuple(plain))

    def host(self, origin: Origin) -> HostOptions:
        """The settings of the registry at `origin`: those of `host:port`, else of `host`."""
        shown = f"[{origin.host}]" if ":" in origin.host else origin.host
        for name, options in self.registries.items():
            if endpoint_of(name) == f"{shown}:{origin.port}":
                return options
        return next((o for name, o in self.registries.items() if endpoint_of(name) == shown), HostOptions())

    def mirrors_of(self, origin: Origin) -> tuple[Url, ...]:
        """The mirrors of the registry at `origin`, best first."""
        own = self.host(origin).mirrors
        return tuple(
            map(parse_url, (*own, *(self.mirrors if origin.host == endpoint_of("docker.io") else ())))
        )

    def files(self) -> tuple[tuple[str, str], ...]:
        """The fields that name files, with the paths."""
        own = [("ca_file", self.ca_file)]
        for name, options in self.registries.items():
            own += [(f'registries."{name}".{key}', getattr(options, key)) for key in _FILES]
        return tuple((key, path) for key, path in own if path)

    def _all_mirrors(self) -> Iterator[tuple[str, str]]:
        yield from (("mirrors", mirror) for mirror in self.mirrors)
        for name, options in self.registries.items():
            yield from ((f'registries."{name}".mirrors', mirror) for mirror in options.mirrors)

    def _check_range(self, name: str, least: int, most: int, unit: str = "") -> None:
        value = getattr(self, name)
        if not least <= value <= most:
            raise InvalidArgument(f"{name}: {value:g} is not between {least} and {most}{unit}")


def endpoint_of(host: str) -> str:
    """The host (and port) that serves what is named `host`: Docker Hub has another one."""
    name = host.lower()
    return "registry-1.docker.io" if name in _DOCKER_HUB else name


def _check_host(name: str, options: HostOptions) -> None:
    if not _HOST.fullmatch(name.lower()):
        raise InvalidArgument(
            f"registries: {name[:100]!r} is no registry",
            hint='write host or host:port, as in registries."ghcr.io"',
        )
    problem = options.problem()
    if problem:
        raise InvalidArgument(f'registries."{name}".{problem}')
