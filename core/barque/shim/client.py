"""A daemon's connection to a shim."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from types import TracebackType
from typing import Any

from barque.shim import packets
from barque.shim.exit_file import read_exit_file
from barque.shim.protocol import SOCKET_NAME, ClientAttach
from barque.spi.errors import NotFound, PermissionDenied, Unavailable, from_wire
from barque.spi.runtime import BlockIo, HugepageUsage, RuntimeStats

__all__ = ["ShimClient", "ShimEnded", "read_event", "read_exit_file", "tell_recorded"]

_SLOW = 60.0
"""Seconds for what the runtime has to do something for."""

_CREDENTIALS = struct.Struct("3i")


def read_event(control: socket.socket) -> dict[str, Any] | None:
    """The next event of an event channel; None when the shim has ended. Raises OSError as recvmsg(2)."""
    try:
        received = packets.receive(control)
    except ConnectionResetError:
        return None
    if received is None:
        return None
    event, fds = received
    packets.close_all(fds)
    return event


def tell_recorded(control: socket.socket) -> None:
    """Say on an event channel that the exit is recorded; nobody waits for the shim's answer."""
    with suppress(OSError):  # it has ended
        packets.send(control, {"op": "release"})


class ShimEnded(Unavailable):
    """The shim ended while it was asked: its container has ended, or is about to."""


class ShimClient:
    """One short-lived connection to a shim; a context manager. Not thread-safe.

    Every method raises the error the shim answers, Unavailable when it does not answer in time or has ended.
    """

    def __init__(self, sock: socket.socket, timeout: float) -> None:
        self._socket = sock
        self._timeout = timeout

    @classmethod
    def connect(cls, state: str, timeout: float = 5.0) -> ShimClient:
        """Connect to the shim of the state directory. Raises NotFound when nobody listens there, Unavailable,
        PermissionDenied when somebody else's process does."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.settimeout(timeout)
        try:
            _connect(sock, state)
            _check_peer(sock)
        except BaseException:
            sock.close()
            raise
        return cls(sock, timeout)

    def __enter__(self) -> ShimClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def hello(self) -> dict[str, Any]:
        """What runs: see `protocol`."""
        return self._ask({"op": "hello"})

    def events(self) -> socket.socket:
        """Turn this connection into an event channel and give it away (blocking); this object is closed then."""
        self._ask({"op": "events"})
        channel = socket.socket(fileno=self._socket.detach())
        channel.settimeout(None)
        return channel

    def attach(self, attach: ClientAttach, fd: int) -> None:
        """Attach the connection `fd`; it is duplicated, the caller closes its own."""
        self._ask({"op": "attach", **asdict(attach)}, [fd])

    def attach_held(self, attach: ClientAttach, fd: int) -> int:
        """As `attach`, but `fd` gets nothing before `attach_go` on this connection, or its end: the caller sends on it what the log has
        until the returned time (ns). Errors: NotImplemented of a shim of an earlier release."""
        return int(self._ask({"op": "attach-held", **asdict(attach)}, [fd])["time_ns"])

    def attach_go(self) -> None:
        """See `attach_held`."""
        self._ask({"op": "attach-go"})

    def exec(
        self, exec_id: str, process: Mapping[str, Any], attach: ClientAttach | None, fd: int | None
    ) -> int:
        """Start an OCI `process`; returns its pid. On an error nothing was written to `fd`."""
        payload = packets.write_payload(process)
        try:
            request: dict[str, Any] = {"op": "exec", "exec": exec_id, "fds": ["payload"]}
            fds = [payload]
            if attach is not None and fd is not None:
                request.update(asdict(attach), fds=["client", "payload"])
                fds = [fd, payload]
            return int(self._ask(request, fds, _SLOW)["pid"])
        finally:
            os.close(payload)

    def resize(self, height: int, width: int, exec_id: str | None = None) -> None:
        """Set the size of the container's terminal, or of an exec's."""
        request: dict[str, Any] = {"op": "resize", "height": height, "width": width}
        self._ask(request if exec_id is None else {**request, "exec": exec_id})

    def kill(self, signal: int, all: bool) -> None:
        """Send a signal to init, or to every process of the container."""
        self._ask({"op": "kill", "signal": signal, "all": all}, timeout=_SLOW)

    def pause(self) -> None:
        """Freeze every process of the container."""
        self._ask({"op": "pause"}, timeout=_SLOW)

    def resume(self) -> None:
        """Undo `pause`."""
        self._ask({"op": "resume"}, timeout=_SLOW)

    def update(self, resources: Mapping[str, Any]) -> None:
        """Change limits: OCI `linux.resources` with only what is to change."""
        self._ask({"op": "update", "resources": resources}, timeout=_SLOW)

    def stats(self) -> RuntimeStats:
        """What the container uses."""
        return _stats(self._ask({"op": "stats"}, timeout=_SLOW)["stats"])

    def processes(self) -> tuple[int, ...]:
        """The pids of its processes, in the shim's pid namespace."""
        return tuple(self._ask({"op": "processes"}, timeout=_SLOW)["pids"])

    def resolver(self, netns: int) -> None:
        """Answer names in the container's network namespace `netns` from now on, as `resolver.json` says. Idempotent."""
        self._ask({"op": "resolver"}, [netns], _SLOW)

    def exec_state(self, exec_id: str) -> dict[str, Any]:
        """`{"pid", "running", "code"}`."""
        return self._ask({"op": "exec-state", "exec": exec_id})

    def release(self) -> None:
        """The exit is recorded; when this returns the container is deleted in the runtime and its root unmounted."""
        self._ask({"op": "release"}, timeout=_SLOW)

    def close(self) -> None:
        """Close the connection. Idempotent."""
        self._socket.close()

    def _ask(
        self, request: Mapping[str, Any], fds: Sequence[int] = (), timeout: float | None = None
    ) -> dict[str, Any]:
        self._socket.settimeout(timeout or self._timeout)
        try:
            packets.send(self._socket, request, fds)
            received = packets.receive(self._socket)
        except TimeoutError:
            raise Unavailable("the shim does not answer") from None
        except OSError as error:
            raise ShimEnded(f"the shim has ended: {error}") from error
        if received is None:
            raise ShimEnded("the shim has ended")
        reply, surplus = received
        packets.close_all(surplus)
        if "error" in reply:
            raise from_wire(reply["error"])
        return reply


def _stats(document: Mapping[str, Any]) -> RuntimeStats:
    fields = dict(document)
    fields["cpu_per_cpu"] = tuple(document["cpu_per_cpu"])
    fields["block_io"] = tuple(BlockIo(**one) for one in document["block_io"])
    fields["hugepages"] = {size: HugepageUsage(**one) for size, one in document["hugepages"].items()}
    return RuntimeStats(**fields)


def _connect(sock: socket.socket, state: str) -> None:
    try:
        directory = os.open(state, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            sock.connect(f"/proc/self/fd/{directory}/{SOCKET_NAME}")
        finally:
            os.close(directory)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        raise NotFound(f"no shim listens in {state}") from None
    except (TimeoutError, BlockingIOError):
        raise Unavailable(f"the shim of {state} does not answer") from None


def _check_peer(sock: socket.socket) -> None:
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    uid = _CREDENTIALS.unpack(credentials)[1]
    if uid != os.geteuid():
        raise PermissionDenied(f"the shim's socket belongs to user {uid}")
