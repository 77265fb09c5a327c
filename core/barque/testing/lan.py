"""A LAN of two machines for tests, made of network namespaces: this host and a peer on a wire.

    with lan() as wire:                       # the calling thread is on a fresh host now
        with serve(wire.peer, 8000):          # a server on the peer
            ask(None, wire.peer_address, 8000)  # -> the address that the server saw

`lan` moves the *calling thread* to the fresh namespace and back, so that code under test, and each thread and
process it starts, acts there and never on the real host. Needs root and `ip` of iproute2.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

__all__ = [
    "Lan",
    "ask",
    "forge_icmp6",
    "forge_udp",
    "fresh_namespace",
    "inside",
    "lan",
    "namespace",
    "send_frame",
    "serve",
    "unreachable",
]

CLONE_NEWNET = 0x40000000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Lan:
    """`peer` is the other machine's network namespace (a descriptor); the addresses are of the wire between, of both families."""

    peer: int
    host_address: str = "198.51.100.1"
    peer_address: str = "198.51.100.2"
    host_interface: str = "lan0"
    host_address6: str = "2001:db8:198::1"
    peer_address6: str = "2001:db8:198::2"


def _libc(call: str, *arguments: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, call)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")


def _current() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def inside(netns: int | None, work: Callable[[], T]) -> T:
    """The result of `work`, done in a thread inside the namespace `netns` (None: the caller's)."""
    if netns is None:
        return work()
    results: list[T] = []
    errors: list[BaseException] = []

    def visit() -> None:
        try:
            _libc("setns", netns, CLONE_NEWNET)
            results.append(work())
        except BaseException as error:  # noqa: BLE001  raised again in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=visit, name="inside")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


@contextmanager
def fresh_namespace() -> Iterator[None]:
    """Move the calling thread to a new network namespace with `lo` up; move it back at the end."""
    home = _current()
    try:
        _libc("unshare", CLONE_NEWNET)
        try:
            _ip("link", "set", "lo", "up")
            yield
        finally:
            _libc("setns", home, CLONE_NEWNET)
    finally:
        os.close(home)


@contextmanager
def namespace() -> Iterator[int]:
    """A new network namespace, nothing in it up: a sandbox. Closed at the end."""

    def make() -> int:
        _libc("unshare", CLONE_NEWNET)
        return _current()

    own = _current()
    try:
        netns = inside(own, make)
    finally:
        os.close(own)
    try:
        yield netns
    finally:
        os.close(netns)


@contextmanager
def lan() -> Iterator[Lan]:
    """A fresh host for the calling thread, a peer, and a wire between them."""
    with fresh_namespace(), namespace() as peer:
        wire = Lan(peer)
        _ip(
            "link",
            "add",
            wire.host_interface,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            f"/proc/self/fd/{peer}",
        )
        _up(wire.host_interface, wire.host_address, wire.host_address6)
        inside(peer, lambda: _peer_up(wire))
        yield wire


def _peer_up(wire: Lan) -> None:
    _ip("link", "set", "lo", "up")
    _up("eth0", wire.peer_address, wire.peer_address6)


def _up(interface: str, ipv4: str, ipv6: str) -> None:
    _ip("address", "add", f"{ipv4}/24", "dev", interface)
    if os.path.exists("/proc/sys/net/ipv6"):
        _ip("address", "add", f"{ipv6}/64", "dev", interface, "nodad")
    _ip("link", "set", interface, "up")


def _ip(*arguments: str) -> None:
    descriptors = [int(part.rsplit("/", 1)[1]) for part in arguments if part.startswith("/proc/self/fd/")]
    result = subprocess.run(
        ["ip", *arguments], capture_output=True, text=True, pass_fds=descriptors, timeout=10, check=False
    )
    if result.returncode != 0:
        raise OSError(f"ip {' '.join(arguments)}: {result.stderr.strip()}")


@contextmanager
def serve(netns: int | None, port: int, protocol: str = "tcp", address: str = "0.0.0.0") -> Iterator[int]:
    """A server in `netns` that answers each client with the address it came from. Yields the port (for 0: chosen).

    `address` `::` serves IPv6.
    """
    stop = threading.Event()
    with inside(netns, lambda: _listener(protocol, address, port)) as listener:
        thread = threading.Thread(target=_answer, args=(listener, stop), name=f"serve-{protocol}")
        thread.start()
        try:
            chosen: int = listener.getsockname()[1]
            yield chosen
        finally:
            stop.set()
            thread.join()


def _listener(protocol: str, address: str, port: int) -> socket.socket:
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    listener = socket.socket(_family(address), kind)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    if protocol == "tcp":
        listener.listen(16)
    listener.settimeout(0.05)
    return listener


def _answer(listener: socket.socket, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            if listener.type == socket.SOCK_STREAM:
                connection, client = listener.accept()
                with connection:
                    connection.sendall(client[0].encode())
            else:
                _, client = listener.recvfrom(2048)
                listener.sendto(client[0].encode(), client)
        except TimeoutError:
            continue


def ask(netns: int | None, address: str, port: int, protocol: str = "tcp", timeout: float = 3.0) -> str:
    """What the server at `address`:`port` answers to a client in `netns`. Raises OSError when it does not."""

    def client() -> str:
        kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
        with socket.socket(_family(address), kind) as asker:
            asker.settimeout(timeout)
            asker.connect((address, port))
            if protocol == "udp":
                asker.send(b"?")
            return asker.recv(2048).decode()

    return inside(netns, client)


def unreachable(
    netns: int | None, address: str, port: int, protocol: str = "tcp", timeout: float = 0.4
) -> bool:
    """Whether nothing answers a client in `netns` within `timeout` seconds."""
    try:
        return ask(netns, address, port, protocol, timeout) == ""
    except OSError:
        return True


def forge_udp(netns: int, interface: str, target_mac: str, source: str, target: str, port: int) -> None:
    """Send one UDP datagram as a raw frame out of `interface` in `netns`: with any addresses, past its routing."""
    length = 8 + 6
    if ":" in target:
        packed = _packed(source, target)
        pseudo = b"".join(packed) + struct.pack("!IHBB", length, 0, 0, 17)
        head = struct.pack("!HHHH", 40000, port, length, 0)
        check = _checksum(pseudo + head + b"forged")
        datagram = struct.pack("!HHHH", 40000, port, length, check) + b"forged"
        header = struct.pack("!IHBB16s16s", 6 << 28, length, 17, 64, *packed)
        send_frame(netns, interface, target_mac, 0x86DD, header + datagram)
        return
    datagram = struct.pack("!HHHH", 40000, port, length, 0) + b"forged"  # checksum 0: none
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + length, 1, 0, 64, 17, 0, *_packed(source, target))
    header = header[:10] + struct.pack("!H", _checksum(header)) + header[12:]
    send_frame(netns, interface, target_mac, 0x0800, header + datagram)


def forge_icmp6(
    netns: int, interface: str, target_mac: str, source: str, target: str, message: bytes
) -> None:
    """Send an ICMPv6 message (its checksum, bytes 2 and 3, is filled in) as a raw frame, with any addresses."""
    packed = _packed(source, target)
    pseudo = b"".join(packed) + struct.pack("!IHBB", len(message), 0, 0, 58)
    message = message[:2] + struct.pack("!H", _checksum(pseudo + message)) + message[4:]
    header = struct.pack("!IHBB16s16s", 6 << 28, len(message), 58, 255, *packed)
    send_frame(netns, interface, target_mac, 0x86DD, header + message)


def send_frame(netns: int, interface: str, target_mac: str, kind: int, payload: bytes) -> None:
    """Send a raw Ethernet frame of this EtherType from the interface's own hardware address."""

    def send() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind((interface, 0))
            own: bytes = raw.getsockname()[4]
            raw.send(bytes.fromhex(target_mac.replace(":", "")) + own + struct.pack("!H", kind) + payload)

    inside(netns, send)


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _packed(*addresses: str) -> tuple[bytes, ...]:
    return tuple(socket.inet_pton(_family(address), address) for address in addresses)


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
