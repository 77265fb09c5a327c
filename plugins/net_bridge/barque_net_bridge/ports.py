"""Ports of the host: taken with a real socket, so that nothing else on the host can have them at the same time.

The socket of a published port is bound and stays so, but takes no traffic: nftables sends that to the container.
A socket filter drops what reaches it while somebody has flushed the rules; a client then retransmits
and finds the rules restored, where a refusal would have ended its attempt.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import socket
import struct
import threading
from dataclasses import replace

from barque.spi.errors import BarqueError, Conflict, InvalidArgument
from barque.spi.network import PortBinding
from barque_net_bridge.refusals import kernel
from barque_net_bridge.ruleset import ANY

__all__ = ["HostPorts", "checked"]

log = logging.getLogger(__name__)

SO_ATTACH_FILTER = 26
_DROP_ALL = ctypes.create_string_buffer(struct.pack("=HBBI", 0x06, 0, 0, 0))  # bpf: ret #0
_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


class HostPorts:
    """The host ports that endpoints hold. Thread-safe: the kernel is the judge of conflicts.

    Sockets are of the network namespace of the calling thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, list[socket.socket]] = {}

    def reserve(self, endpoint: str, bindings: tuple[PortBinding, ...]) -> tuple[PortBinding, ...]:
        """Take these ports for an endpoint, all or none, and return them with host address and port filled in.

        Errors: Conflict, InvalidArgument.
        """
        held: list[socket.socket] = []
        chosen: list[PortBinding] = []
        try:
            for binding in bindings:
                taken = _bind(checked(binding), endpoint)
                held.append(taken)
                host_ip, host_port = taken.getsockname()
                chosen.append(replace(binding, host_ip=host_ip, host_port=host_port))
        except BaseException:
            _close(held)
            raise
        with self._lock:
            self._held.setdefault(endpoint, []).extend(held)
        return tuple(chosen)

    def restore(self, endpoint: str, bindings: tuple[PortBinding, ...]) -> None:
        """Take the ports of a living container again. One that was lost meanwhile stays published all the same."""
        with self._lock:
            if endpoint in self._held:
                return
        for binding in bindings:
            try:
                self.reserve(endpoint, (binding,))
            except BarqueError as error:
                log.warning("%s", error)

    def release(self, endpoint: str) -> None:
        """Give back the ports of an endpoint. Idempotent."""
        with self._lock:
            held = self._held.pop(endpoint, [])
        _close(held)

    def close(self) -> None:
        """Give back all. Idempotent."""
        with self._lock:
            held = [taken for sockets in self._held.values() for taken in sockets]
            self._held.clear()
        _close(held)


def checked(binding: PortBinding) -> PortBinding:
    """The binding with its host address filled in. Errors: InvalidArgument."""
    if binding.protocol not in _KINDS:
        raise InvalidArgument(
            f"invalid protocol {binding.protocol!r} for a published port", hint="use tcp or udp"
        )
    if not 0 < binding.container_port < 65536 or not 0 <= binding.host_port < 65536:
        raise InvalidArgument(f"invalid port in {binding.host_port}:{binding.container_port}")
    host_ip = binding.host_ip or ANY
    try:
        socket.inet_pton(socket.AF_INET, host_ip)
    except OSError as error:
        raise InvalidArgument(
            f"invalid host address {host_ip!r} for a published port",
            hint="the bridge driver publishes on IPv4 addresses",
        ) from error
    return replace(binding, host_ip=host_ip)


def _bind(binding: PortBinding, endpoint: str) -> socket.socket:
    host = (binding.host_ip, binding.host_port)
    with kernel("opening a socket for a published port"):
        taken = socket.socket(socket.AF_INET, _KINDS[binding.protocol] | socket.SOCK_CLOEXEC)
    try:
        _hold(taken, host)
    except OSError as error:
        taken.close()
        raise _unavailable(binding, endpoint, error) from error
    return taken


def _hold(taken: socket.socket, host: tuple[str, int]) -> None:
    program = struct.pack("HP", 1, ctypes.addressof(_DROP_ALL))
    taken.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
    if taken.type == socket.SOCK_STREAM:
        # Connections of a former owner may linger in TIME_WAIT; a listener keeps others away all the same.
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(host)
        taken.listen(1)
    else:
        taken.bind(host)


def _unavailable(binding: PortBinding, endpoint: str, error: OSError) -> BarqueError:
    where = f"{binding.host_ip}:{binding.host_port}"
    message = f"driver failed programming external connectivity on endpoint {endpoint[:12]}: Bind for {where} failed"
    if error.errno == errno.EADDRINUSE:
        option = "-ltnp" if binding.protocol == "tcp" else "-lunp"
        return Conflict(
            f"{message}: port is already allocated",
            hint=f"choose another host port, or see who has it: ss {option} 'sport = :{binding.host_port}'",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return InvalidArgument(
            f"{message}: cannot assign requested address", hint="this host has no such address"
        )
    return Conflict(f"{message}: {error.strerror}")


def _close(sockets: list[socket.socket]) -> None:
    for taken in sockets:
        taken.close()
