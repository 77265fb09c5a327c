"""Which daemon: an address from `--host`, BARQUE_HOST, DOCKER_HOST, or the default socket; and connecting to it."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Mapping

from barque.cli.errors import CliError, DaemonUnavailable

__all__ = ["Address", "choose", "default_socket", "dial"]

_LOOPBACK = ("localhost", "::1")


class Address:
    """A parsed daemon address. `path` is set for unix sockets, `host` and `port` for TCP. `url` is as given."""

    __slots__ = ("host", "path", "port", "url")

    def __init__(self, url: str, *, path: str = "", host: str = "", port: int = 0) -> None:
        self.url = url
        self.path = path
        self.host = host
        self.port = port


def default_socket(environ: Mapping[str, str]) -> str:
    """The path of the default socket: of the system's daemon for root, of the user's own otherwise."""
    uid = os.geteuid()
    if uid == 0:
        return "/run/barque/barque.sock"
    given, usual = environ.get("XDG_RUNTIME_DIR"), f"/run/user/{uid}"
    if given or os.path.isdir(usual):
        return os.path.join(given or usual, "barque/barque.sock")
    return f"/tmp/barque-{uid}/barque.sock"


def choose(flag: str, environ: Mapping[str, str]) -> Address:
    """The address to use. Raises CliError for an address that is malformed or of a kind that is not spoken yet."""
    url = flag or environ.get("BARQUE_HOST") or environ.get("DOCKER_HOST") or ""
    if not url:
        path = default_socket(environ)
        _check_ours(os.path.dirname(path))
        url = f"unix://{path}"
    return _parse(url)


def _check_ours(directory: str) -> None:
    """In /tmp anybody can make a directory first, and with it a daemon that is not ours. Raises CliError."""
    if directory != f"/tmp/barque-{os.geteuid()}":
        return
    try:
        status = os.lstat(directory)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise CliError(
            f"{directory} is not a directory of this user alone",
            hint="set XDG_RUNTIME_DIR to a directory that is, or name a daemon by --host",
        )


def _parse(url: str) -> Address:
    scheme, separator, rest = url.partition("://")
    if scheme == "unix" and rest.startswith("/"):
        return Address(url, path=rest)
    if scheme == "tcp" and rest:
        return _tcp(url, rest.rstrip("/"))
    if scheme == "ssh" and separator:
        raise CliError(
            f"ssh is not supported yet: {url}",
            hint="forward the socket: ssh -NL /tmp/barque.sock:/run/barque/barque.sock HOST, "
            "then use --host unix:///tmp/barque.sock",
        )
    raise CliError(
        f"unable to parse docker host `{url}`",
        hint="use unix:///PATH, or tcp://127.0.0.1:PORT on this machine",
    )


def _tcp(url: str, rest: str) -> Address:
    name, _, port = rest.rpartition(":")
    name = name.removeprefix("[").removesuffix("]")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise CliError(f"unable to parse docker host `{url}`", hint="use tcp://127.0.0.1:PORT")
    if not _is_loopback(name):
        raise CliError(
            f"TLS is not supported yet, and {url} without it would let the network command this daemon",
            hint="forward the daemon's socket with ssh -L",
        )
    return Address(url, host=name, port=int(port))


def _is_loopback(name: str) -> bool:
    """Literally so: a name that only resolves to loopback today is not enough, and `127.0.0.1.example.com` is a name."""
    parts = name.split(".")
    numeric = len(parts) == 4 and all(part.isascii() and part.isdigit() for part in parts)
    return name in _LOOPBACK or (numeric and parts[0] == "127")


def dial(address: Address, timeout: float | None = None) -> socket.socket:
    """A connected socket. Raises DaemonUnavailable whose cause is the OSError."""
    sock: socket.socket | None = None
    try:
        if address.path:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.connect(address.path)
            return sock
        sock = socket.create_connection((address.host, address.port), timeout)
        sock.settimeout(None)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
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
