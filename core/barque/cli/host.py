"""A daemon's address: what `unix://`, `tcp://` and `ssh://` say, and connecting to it."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from barque.cli.errors import CliError, DaemonUnavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque.cli.tls_settings import Tls

__all__ = ["Address", "default_socket", "dial", "parse_address"]

PLAIN_PORT = 2375
TLS_PORT = 2376
_NAME = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._:%")
_FORMS = "use unix:///PATH, tcp://HOST[:PORT] or ssh://[USER@]HOST[:PORT]"


class Address:
    """A parsed daemon address. `url` is as given.

    `scheme` is `unix` (then `path` is set), `tcp` (`host`, `port`, and `tls` unless it is plain), or `ssh` (`host`, and
    `user`, `port`, `path` if they were said).
    """

    __slots__ = ("host", "path", "port", "scheme", "tls", "url", "user")

    def __init__(
        self, url: str, scheme: str, *, path: str = "", host: str = "", port: int = 0, user: str = "", tls: Tls | None = None
    ) -> None:  # fmt: skip
        self.url = url
        self.scheme = scheme
        self.path = path
        self.host = host
        self.port = port
        self.user = user
        self.tls = tls

    @property
    def at_once(self) -> int:
        """How many connections may be opened at the same moment: sshd refuses more than a few that are not yet let in."""
        return 5 if self.scheme == "ssh" else 50


def default_socket(environ: Mapping[str, str]) -> str:
    """The path of the default socket: of the system's daemon for root, of the user's own otherwise."""
    uid = os.geteuid()
    if uid == 0:
        return "/run/barque/barque.sock"
    given, usual = environ.get("XDG_RUNTIME_DIR"), f"/run/user/{uid}"
    if given or os.path.isdir(usual):
        return os.path.join(given or usual, "barque/barque.sock")
    return f"/tmp/barque-{uid}/barque.sock"


def parse_address(url: str, tls: Tls | None = None) -> Address:
    """The address that `url` says; `tls` is how to protect TCP, None: not at all, as docker does it (it is the daemon that refuses to
    listen so unless it is told to). Raises CliError for an address that is malformed."""
    scheme, separator, rest = url.partition("://")
    if not separator and not url.startswith("/"):
        scheme, rest = "tcp", url
    if scheme == "unix" and rest.startswith("/"):
        return Address(url, "unix", path=rest)
    if scheme == "tcp" and rest:
        return _tcp(url, rest.rstrip("/"), tls)
    if scheme == "ssh" and rest:
        return _ssh(url, rest)
    raise _malformed(url)


def _tcp(url: str, rest: str, tls: Tls | None) -> Address:
    name, port = _host_and_port(url, rest)
    return Address(url, "tcp", host=name, port=port or (TLS_PORT if tls else PLAIN_PORT), tls=tls)


def _ssh(url: str, rest: str) -> Address:
    authority, slash, path = rest.partition("/")
    user, _, place = authority.rpartition("@")
    name, port = _host_and_port(url, place)
    if ":" in user:
        raise CliError("plain-text password is not supported", hint="use a key, and ssh-agent")
    if user.startswith("-") or any(mark in rest for mark in "?#"):
        raise _malformed(url)
    return Address(url, "ssh", host=name, port=port, user=user, path=slash + path if path else "")


def _host_and_port(url: str, text: str) -> tuple[str, int]:
    """The name, and the port or 0."""
    if text.startswith("["):
        name, closed, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
        fits = bool(closed) and rest in ("", f":{port}")
    else:
        name, _, port = text.partition(":")
        fits = True
    number = int(port) if port.isascii() and port.isdigit() else 0
    if not fits or not name or set(name) - _NAME or name.startswith("-") or (port and not 0 < number < 65536):
        raise _malformed(url)
    return name, number


def _malformed(url: str) -> CliError:
    return CliError(f"unable to parse docker host `{url}`", hint=_FORMS)


def dial(address: Address, timeout: float | None = None) -> socket.socket:
    """A connected socket. Raises DaemonUnavailable whose cause is the OSError, CliError for certificates of no use."""
    if address.scheme == "ssh":
        from barque.cli.ssh import dial_ssh

        return dial_ssh(address)
    sock = _connect(address, timeout)
    if address.tls is None:
        return sock
    from barque.cli.tls import protect

    return protect(sock, address, address.tls)


def _connect(address: Address, timeout: float | None) -> socket.socket:
    sock: socket.socket | None = None
    try:
        if address.scheme == "unix":
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.settimeout(timeout)
            sock.connect(address.path)
        else:
            sock = socket.create_connection((address.host, address.port), timeout)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(None)
        return sock
    except OSError as error:
        if sock is not None:
            sock.close()
        raise _unavailable(address, error) from error


def _unavailable(address: Address, error: OSError) -> DaemonUnavailable:
    if isinstance(error, PermissionError):
        return DaemonUnavailable(
            f"permission denied while trying to connect to the Barque daemon socket at {address.url}",
            hint="run as root, or join the group that owns the socket",
        )
    return DaemonUnavailable(
        f"Cannot connect to the Barque daemon at {address.url}. Is the barque daemon running?",
        hint="start it with `barqued`, or see --host and BARQUE_HOST",
    )
