"""Published ports of a rootless engine: sockets of the host, relayed to addresses in the inner network namespace."""

from __future__ import annotations

import errno
import selectors
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

from barque.engine.rootless.relay import Address, DatagramRelay, StreamRelay
from barque.spi.errors import (
    BarqueError,
    Conflict,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
)

__all__ = ["Forwarder", "Port"]

_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
_BACKLOG = 1024

NewSocket = Callable[[str], socket.socket]
"""Makes a non-blocking socket for a protocol in the inner network namespace."""


@dataclass(frozen=True, slots=True)
class Port:
    """A port of the host: `tcp` or `udp`, address, number (0: any)."""

    protocol: str
    address: str
    number: int


@dataclass(slots=True)
class _Published:
    """One endpoint's sockets, and how to stop serving them."""

    sockets: list[socket.socket]
    targets: list[Address] = field(default_factory=list)
    stops: list[Callable[[], None]] = field(default_factory=list)


class Forwarder:
    """The ports that endpoints have. In two steps, as a container's address is known only after its ports are taken."""

    def __init__(self, selector: selectors.BaseSelector, new_socket: NewSocket) -> None:
        self._selector, self._new_socket = selector, new_socket
        self._published: dict[str, _Published] = {}
        self._doubtful: set[str] = set()

    def reserve(self, id: str, ports: Sequence[Port]) -> list[int]:
        """Take host ports for an endpoint, all or none; their numbers. What it had before is given up.

        Errors: Conflict, InvalidArgument, PermissionDenied.
        """
        self.release(id)
        with ExitStack() as undo:
            taken = [undo.enter_context(_bind(port)) for port in ports]
            undo.pop_all()
        self._published[id] = _Published(taken)
        return [int(one.getsockname()[1]) for one in taken]

    def serve(self, id: str, targets: Sequence[Address]) -> None:
        """From now on relay the reserved ports, in their order, to these addresses. Errors: NotFound, InvalidArgument."""
        published = self._published.get(id)
        if published is None:
            raise NotFound(f"no ports are reserved for endpoint {id[:12]}")
        if len(targets) != len(published.sockets) or published.stops:
            raise InvalidArgument(f"endpoint {id[:12]} has {len(published.sockets)} ports to be served once")
        published.targets = list(targets)
        for outer, target in zip(published.sockets, targets, strict=True):
            published.stops.append(self._serve(outer, target))

    def release(self, id: str) -> None:
        """Give the ports of an endpoint back; TCP connections that are open go on. Idempotent."""
        self._doubtful.discard(id)
        published = self._published.pop(id, None)
        if published is None:
            return
        for stop in published.stops:
            stop()
        for outer in published.sockets:
            outer.close()

    def publish(self, id: str, ports: Sequence[Port], targets: Sequence[Address]) -> None:
        """Both steps, for ports whose numbers are known; nothing when that is how it is. Errors: as `reserve`, `serve`."""
        self._doubtful.discard(id)
        known = self._published.get(id)
        if known is None or known.targets != list(targets):
            self.reserve(id, ports)
            self.serve(id, targets)

    def doubt(self) -> None:
        """A new daemon has come: what it does not publish, or reserve anew, until `sweep` is a leftover of another's."""
        self._doubtful = set(self._published)

    def sweep(self, prefix: str) -> None:
        """Release the leftovers whose ids begin with `prefix`."""
        for id in [id for id in self._doubtful if id.startswith(prefix)]:
            self.release(id)

    def _serve(self, outer: socket.socket, target: Address) -> Callable[[], None]:
        if outer.type == socket.SOCK_DGRAM:
            return DatagramRelay(self._selector, outer, partial(self._connect, "udp", target)).close
        outer.listen(_BACKLOG)
        self._selector.register(outer, selectors.EVENT_READ, lambda _key, _mask: self._accept(outer, target))
        return lambda: self._stop(outer)

    def _stop(self, outer: socket.socket) -> None:
        self._selector.unregister(outer)

    def _accept(self, outer: socket.socket, target: Address) -> None:
        try:
            client, _ = outer.accept()
        except OSError:
            return  # the client is gone again, or no descriptor is left for it
        try:
            inner = self._connect("tcp", target)
        except (OSError, BarqueError):
            client.close()
            return
        for one in (client, inner):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        StreamRelay(self._selector, client, inner)

    def _connect(self, protocol: str, target: Address) -> socket.socket:
        """A socket that is connected to the target, or will be. Errors: OSError, BarqueError."""
        inner = self._new_socket(protocol)
        error = inner.connect_ex(target)
        if error not in (0, errno.EINPROGRESS):
            inner.close()
            raise OSError(error, "connecting to the container")
        return inner


def _bind(port: Port) -> socket.socket:
    family = socket.AF_INET6 if ":" in port.address else socket.AF_INET
    if port.protocol not in _KINDS:
        raise InvalidArgument(
            f"invalid protocol {port.protocol!r} for a published port", hint="use tcp or udp"
        )
    taken = socket.socket(family, _KINDS[port.protocol])
    try:
        taken.setblocking(False)
        if taken.type == socket.SOCK_STREAM:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        taken.bind((port.address, port.number))
        if taken.type == socket.SOCK_STREAM:
            taken.listen(_BACKLOG)  # with SO_REUSEADDR only a listener keeps others away
    except (OSError, OverflowError) as error:
        taken.close()
        raise _refused(port, error) from error
    return taken


def _refused(port: Port, error: OSError | OverflowError) -> BarqueError:
    message = f"driver failed programming external connectivity: Bind for {port.address}:{port.number} failed"
    number = error.errno if isinstance(error, OSError) else errno.EINVAL
    if number == errno.EADDRINUSE:
        option = "-ltnp" if port.protocol == "tcp" else "-lunp"
        return Conflict(
            f"{message}: port is already allocated",
            hint=f"choose another host port, or see who has it: ss {option} 'sport = :{port.number}'",
        )
    if number == errno.EACCES:
        return PermissionDenied(
            f"{message}: ports below net.ipv4.ip_unprivileged_port_start are not for ordinary users",
            hint=f"choose a port from 1024 on, or as root: sysctl -w net.ipv4.ip_unprivileged_port_start={port.number}",
        )
    if number in (errno.EADDRNOTAVAIL, errno.EINVAL):
        return InvalidArgument(f"{message}: {error}", hint="this host has no such address")
    return FailedPrecondition(f"{message}: {error}")
