"""Where the daemon listens: unix sockets, TCP with TLS, and sockets that systemd opened.

Whoever may speak to the daemon is root on this host. So a unix socket belongs to root and a group, and TCP needs clients that show
a certificate, unless `--insecure-tcp` says that something else keeps strangers out.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from barque.spi.errors import Conflict, FailedPrecondition, InvalidArgument
from barque.spi.frontend import Listener, Tls

__all__ = ["Listening", "add_options"]

_BACKLOG = 1024
_LONGEST_PATH = 107  # sockaddr_un(7), less its zero byte
_FIRST_PASSED = 3  # SD_LISTEN_FDS_START, sd_listen_fds(3)
_PORT, _TLS_PORT = 2375, 2376


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options about listening, named as dockerd's."""
    certificates = Path(os.environ.get("DOCKER_CERT_PATH") or Path.home() / ".docker")
    parser.add_argument(
        "--host",
        "-H",
        action="append",
        metavar="URL",
        help="where to listen: unix:///PATH, tcp://HOST:PORT or fd:// (socket activation); may be repeated",
    )
    parser.add_argument(
        "--group", "-G", default="", help="name or id of the group that may use the unix sockets"
    )
    parser.add_argument(
        "--tls", action="store_true", help="encrypt TCP; alone it lets in clients without a certificate"
    )
    parser.add_argument(
        "--tlsverify", action="store_true", help="encrypt TCP and demand certificates of clients"
    )
    for name, file, what in (
        ("--tlscacert", "ca.pem", "the authority that signed the clients' certificates"),
        ("--tlscert", "cert.pem", "the daemon's certificate"),
        ("--tlskey", "key.pem", "its key"),
    ):
        parser.add_argument(
            name, metavar="FILE", default=os.fspath(certificates / file), help=f"{what}, PEM (default {file})"
        )
    parser.add_argument(
        "--insecure-tcp",
        action="store_true",
        help="listen on TCP also without --tlsverify: who reaches the port is root on this host",
    )


@dataclass(frozen=True, slots=True)
class Listening:
    """What the options say. `passed` are the descriptors of socket activation, taken from the environment once."""

    hosts: tuple[str, ...]
    group: str = ""
    tls: Tls | None = None
    insecure: bool = False
    passed: tuple[int, ...] = ()

    @classmethod
    def chosen(cls, options: argparse.Namespace, default: str) -> Listening:
        """From the command line; without `--host` it is `default`. Errors: InvalidArgument, FailedPrecondition (a file is missing)."""
        hosts = tuple(options.host or (default,))
        tls = None
        if (options.tls or options.tlsverify) and any(not host.startswith("unix:") for host in hosts):
            ca = options.tlscacert if options.tlsverify else ""
            tls = Tls(options.tlscert, options.tlskey, ca)
            for option, path in (("--tlscert", tls.certificate), ("--tlskey", tls.key), ("--tlscacert", ca)):
                _check_readable(option, path)
        chosen = cls(hosts, options.group, tls, options.insecure_tcp, _passed_descriptors())
        for host in hosts:
            chosen.check(host)
        return chosen

    def check(self, host: str) -> None:
        """Errors: InvalidArgument for what is no address, FailedPrecondition for TCP that is open to all."""
        scheme, separator, _ = host.partition("://")
        if not separator or scheme not in ("unix", "tcp", "fd"):
            raise InvalidArgument(f"--host {host}: not unix:///PATH, tcp://HOST:PORT or fd://")
        if scheme == "tcp":
            self._check_tcp(host)

    def open(self, closing: contextlib.ExitStack) -> tuple[Listener, ...]:
        """Open all of them; `closing` closes them. Errors: InvalidArgument, FailedPrecondition, Conflict (somebody listens there)."""
        return tuple(listener for host in self.hosts for listener in self._open(host, closing))

    def _open(self, host: str, closing: contextlib.ExitStack) -> Sequence[Listener]:
        scheme, _, rest = host.partition("://")
        if scheme == "unix":
            return [self._open_unix(host, Path(rest), closing)]
        if scheme == "tcp":
            return [self._open_tcp(host, closing)]
        return self._take_passed(host, rest, closing)

    def _open_unix(self, host: str, path: Path, closing: contextlib.ExitStack) -> Listener:
        if not path.is_absolute():
            raise InvalidArgument(f"--host {host}: the path is not absolute")
        if len(os.fsencode(path)) > _LONGEST_PATH:
            raise InvalidArgument(
                f"--host {host}: the path is longer than {_LONGEST_PATH} bytes",
                hint="choose a shorter --run-dir",
            )
        group = _group_id(self.group)
        _remove_stale(path)
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        closing.callback(server.close)
        before = os.umask(0o177)  # nobody else's from its first moment on
        try:
            server.bind(os.fspath(path))
        finally:
            os.umask(before)
        if group is not None:
            _give(path, group, self.group)
        os.chmod(path, 0o660)
        server.listen(_BACKLOG)
        return Listener(server.fileno(), host)

    def _open_tcp(self, host: str, closing: contextlib.ExitStack) -> Listener:
        name, port = self._tcp_address(host)
        try:
            found = socket.getaddrinfo(name or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            # of several addresses the first, but `localhost` and everywhere as in IPv4, which all clients have
            family, _, _, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
            server = socket.create_server(address, family=family, backlog=_BACKLOG)
        except OSError as error:
            raise FailedPrecondition(f"--host {host}: {error.strerror or error}") from error
        closing.callback(server.close)
        return Listener(server.fileno(), host, self.tls)

    def _take_passed(self, host: str, which: str, closing: contextlib.ExitStack) -> Sequence[Listener]:
        if not self.passed:
            raise FailedPrecondition(
                f"--host {host}: no sockets were passed", hint="start barqued by a systemd socket unit"
            )
        numbers = self.passed if which in ("", "*") else (_number(host, which),)
        if not set(numbers) <= set(self.passed):
            raise InvalidArgument(f"--host {host}: that descriptor was not passed")
        listeners = []
        for number in numbers:
            server = _listening_socket(host, number)
            closing.callback(server.close)
            remote = server.family != socket.AF_UNIX
            if remote:
                self._check_tcp(host)
            listeners.append(Listener(number, f"fd://{number}", self.tls if remote else None))
        return listeners

    def _check_tcp(self, host: str) -> None:
        self._tcp_address(host)
        if not self.insecure and (self.tls is None or not self.tls.ca):
            raise FailedPrecondition(
                f"--host {host}: whoever reaches this port would be root on this host",
                hint="demand certificates with --tlsverify, use ssh://, or say --insecure-tcp",
            )

    def _tcp_address(self, host: str) -> tuple[str, int]:
        """Host and port; the defaults are dockerd's. `tcp://:PORT` is every address."""
        if not host.startswith("tcp://"):
            return "", 0
        default = _TLS_PORT if self.tls else _PORT
        if host == "tcp://":
            return "localhost", default
        try:
            parts = urlsplit(host)
            port = default if parts.port is None else parts.port
        except ValueError:
            raise InvalidArgument(f"--host {host}: not tcp://HOST:PORT") from None
        if parts.path.strip("/") or parts.query or parts.username is not None:
            raise InvalidArgument(f"--host {host}: not tcp://HOST:PORT")
        return parts.hostname or "", port


def _listening_socket(host: str, number: int) -> socket.socket:
    try:
        server = socket.socket(fileno=number)
        if server.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return server
    except OSError:
        pass  # no socket at all
    raise InvalidArgument(f"--host {host}: descriptor {number} does not listen")


def _number(host: str, text: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise InvalidArgument(f"--host {host}: not fd:// or fd://NUMBER")
    return int(text)


def _passed_descriptors() -> tuple[int, ...]:
    """Those of sd_listen_fds(3), which are for this process only: what it starts must not think they were for it."""
    pid, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal() or len(count) > 4:
        return ()
    passed = tuple(range(_FIRST_PASSED, _FIRST_PASSED + int(count)))
    for number in passed:
        with contextlib.suppress(OSError):
            os.set_inheritable(number, False)
    return passed


def _check_readable(option: str, path: str) -> None:
    if not path:
        return
    try:
        with open(path, "rb"):
            return
    except OSError as error:
        raise FailedPrecondition(f"{option} {path}: {error.strerror}") from error


def _group_id(group: str) -> int | None:
    """Errors: FailedPrecondition in dockerd's words."""
    if not group:
        return None
    if group.isdecimal():
        return int(group)
    import grp  # not at the start of every daemon

    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise FailedPrecondition(
            f"group {group} not found", hint=f"groupadd --system {group}, or leave --group out"
        ) from None


def _give(path: Path, group: int, name: str) -> None:
    try:
        os.chown(path, -1, group)
    except OSError as error:
        raise FailedPrecondition(
            f"could not change group of {path} to {name}: {error.strerror}",
            hint="a user namespace has groups of its own",
        ) from error


def _remove_stale(path: Path) -> None:
    """A socket nobody listens on is a dead daemon's; anything else is not ours to remove."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        return
    if not stat.S_ISSOCK(mode):
        raise FailedPrecondition(
            f"{path} exists and is not a socket", hint="remove it, or choose another --host"
        )
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(os.fspath(path))
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise Conflict(f"somebody listens on {path} already", hint="stop that daemon, or choose another --host")
