"""Ports of the host: taken with a real socket, so that nothing else on the host can have them at the same time.

The socket of a published port is bound and stays so, but takes no traffic: nftables sends that to the container.
A socket filter drops what reaches it while somebody has flushed the rules; a client then retransmits
and finds the rules restored, where a refusal would have ended its attempt.
SCTP ports are kept apart in memory, and with a socket too where the host speaks SCTP.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import socket
import struct
import threading
from dataclasses import dataclass, replace

from barque.spi.errors import BarqueError, Conflict, InvalidArgument
from barque.spi.network import PortBinding
from barque_net_bridge.bindings import (
    Hosts,
    addresses,
    candidates,
    checked,
    overlap,
    satisfies,
    unused_numbers,
)
from barque_net_bridge.refusals import kernel

__all__ = ["HostPorts"]

log = logging.getLogger(__name__)

SO_ATTACH_FILTER = 26
IPPROTO_SCTP = 132
_DROP_ALL = ctypes.create_string_buffer(struct.pack("=HBBI", 0x06, 0, 0, 0))  # bpf: ret #0
_ANY_IPV4 = Hosts()
_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM, "sctp": socket.SOCK_STREAM}


@dataclass(frozen=True, slots=True)
class _Held:
    """A port that an endpoint has, with the socket that keeps it (None: memory alone does)."""

    binding: PortBinding
    socket: socket.socket | None


class _Taken(Exception):
    """This number is not free on a host address: `ours` when another endpoint has it."""

    def __init__(self, host_ip: str, *, ours: bool) -> None:
        super().__init__()
        self.host_ip, self.ours = host_ip, ours


class HostPorts:
    """The host ports that endpoints hold. Thread-safe: the kernel is the judge of conflicts.

    Sockets are of the network namespace of the calling thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, list[_Held]] = {}
        self._users: dict[tuple[str, int], list[str]] = {}  # protocol and number -> host addresses

    def reserve(
        self, endpoint: str, bindings: tuple[PortBinding, ...], hosts: Hosts = _ANY_IPV4
    ) -> tuple[PortBinding, ...]:
        """Take these ports for an endpoint, all or none, and return them, one for each host address, as they are. What the endpoint
        has already it keeps.

        Errors: Conflict, InvalidArgument.
        """
        with self._lock:
            held = self._held.get(endpoint, [])
            kept, fresh = list(held), list[_Held]()
            chosen: list[PortBinding] = []
            try:
                for binding in map(checked, bindings):
                    where = addresses(binding, hosts)
                    found = [_pop(kept, binding, address) for address in where]
                    if where and all(found):
                        chosen += [one.binding for one in found if one is not None]
                        continue
                    kept += [one for one in found if one is not None]
                    fresh += (taken := self._take(binding, where, endpoint))
                    chosen += [one.binding for one in taken]
            except BaseException:
                self._free(fresh)
                raise
            if fresh:
                self._held[endpoint] = [*held, *fresh]
        return tuple(chosen)

    def keep(self, endpoint: str, bindings: tuple[PortBinding, ...]) -> None:
        """Give back the ports of an endpoint but these."""
        with self._lock:
            held = self._held.pop(endpoint, [])
            kept = [one for one in held if one.binding in bindings]
            if kept:
                self._held[endpoint] = kept
            self._free([one for one in held if one not in kept])

    def restore(self, endpoint: str, bindings: tuple[PortBinding, ...]) -> None:
        """Take the ports of a living container again. One that was lost meanwhile stays published all the same."""
        with self._lock:
            if endpoint in self._held:
                return
        for binding in bindings:
            try:
                self.reserve(endpoint, (binding,), Hosts(ipv6=True))
            except BarqueError as error:
                log.warning("%s", error)

    def release(self, endpoint: str) -> None:
        """Give back the ports of an endpoint. Idempotent."""
        self.keep(endpoint, ())

    def close(self) -> None:
        """Give back all. Idempotent."""
        for endpoint in list(self._held):
            self.release(endpoint)

    def _take(self, binding: PortBinding, where: tuple[str, ...], endpoint: str) -> list[_Held]:
        """The first number that is free on all addresses."""
        numbers = candidates(binding, len(where))
        if binding.protocol == "sctp" and not binding.host_port:
            numbers = unused_numbers()
        last: _Taken | None = None
        for number in numbers:
            try:
                return self._take_number(binding, where, number, endpoint)
            except _Taken as taken:
                last = taken
        if last is None:
            return []
        raise _unavailable(binding, last, endpoint)

    def _take_number(
        self, binding: PortBinding, where: tuple[str, ...], number: int, endpoint: str
    ) -> list[_Held]:
        taken: list[_Held] = []
        try:
            for address in where:
                wanted = replace(binding, host_ip=address, host_port=number, host_port_last=0)
                if any(overlap(address, other) for other in self._users.get((binding.protocol, number), ())):
                    raise _Taken(address, ours=True)
                taken.append(self._note(_bind(wanted, endpoint)))
                number = taken[-1].binding.host_port
        except BaseException:
            self._free(taken)
            raise
        return taken

    def _note(self, held: _Held) -> _Held:
        key = (held.binding.protocol, held.binding.host_port)
        self._users.setdefault(key, []).append(held.binding.host_ip)
        return held

    def _free(self, gone: list[_Held]) -> None:
        for held in gone:
            key = (held.binding.protocol, held.binding.host_port)
            self._users[key].remove(held.binding.host_ip)
            if not self._users[key]:
                del self._users[key]
            if held.socket is not None:
                held.socket.close()


def _pop(held: list[_Held], binding: PortBinding, address: str) -> _Held | None:
    """Take the one that is what `binding` asks for on `address` out of `held`."""
    found = next((one for one in held if satisfies(one.binding, binding, address)), None)
    if found is not None:
        held.remove(found)
    return found


def _bind(binding: PortBinding, endpoint: str) -> _Held:
    if binding.protocol == "sctp" and not _speaks_sctp():
        return _Held(binding, None)
    family = socket.AF_INET6 if ":" in binding.host_ip else socket.AF_INET
    protocol = IPPROTO_SCTP if binding.protocol == "sctp" else 0
    with kernel("opening a socket for a published port"):
        taken = socket.socket(family, _KINDS[binding.protocol] | socket.SOCK_CLOEXEC, protocol)
    try:
        _hold(taken, (binding.host_ip, binding.host_port))
        return _Held(replace(binding, host_port=taken.getsockname()[1]), taken)
    except OSError as error:
        taken.close()
        if error.errno == errno.EADDRINUSE:
            raise _Taken(binding.host_ip, ours=False) from error
        raise _refused(binding, endpoint, error) from error


def _speaks_sctp() -> bool:
    """Whether the kernel has SCTP loaded: asking with a socket would load it."""
    with open("/proc/net/protocols", encoding="ascii") as file:
        return any(line.startswith("SCTP ") for line in file)


def _hold(taken: socket.socket, host: tuple[str, int]) -> None:
    program = struct.pack("HP", 1, ctypes.addressof(_DROP_ALL))
    taken.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
    if taken.family == socket.AF_INET6:
        taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if taken.type == socket.SOCK_STREAM:
        # Connections of a former owner may linger in TIME_WAIT; a listener keeps others away all the same.
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(host)
        taken.listen(1)
    else:
        taken.bind(host)


def _unavailable(binding: PortBinding, taken: _Taken, endpoint: str) -> BarqueError:
    where = f"{taken.host_ip}:{binding.host_port}"
    option = {"tcp": "-ltnp", "udp": "-lunp", "sctp": "-lSnp"}[binding.protocol]
    hint = f"choose another host port, or see who has it: ss {option} 'sport = :{binding.host_port}'"
    message = f"driver failed programming external connectivity on endpoint {endpoint}: "
    if binding.host_port_last > binding.host_port or not binding.host_port:
        span = f"-{binding.host_port_last}" if binding.host_port_last else ""
        return Conflict(f"{message}Bind for {where}{span} failed: all ports are allocated")
    if taken.ours:
        return Conflict(f"{message}Bind for {where} failed: port is already allocated", hint=hint)
    target = f"{where}:{binding.container_port}/{binding.protocol}"
    return Conflict(f"{message}failed to bind host port for {target}: address already in use", hint=hint)


def _refused(binding: PortBinding, endpoint: str, error: OSError) -> BarqueError:
    target = f"{binding.host_ip}:{binding.host_port}:{binding.container_port}/{binding.protocol}"
    message = f"driver failed programming external connectivity on endpoint {endpoint}: failed to bind host port for {target}"
    if error.errno == errno.EADDRNOTAVAIL:
        return InvalidArgument(
            f"{message}: cannot assign requested address", hint="this host has no such address"
        )
    return Conflict(f"{message}: {error.strerror}")
