"""The sockets of a container's DNS server, made in its network namespace, and the translation that leads port 53 to them.

They are on ports of their own, so that the container may have a DNS server of its own on port 53 of every address. Where the kernel
cannot translate (no nf_nat), they are on port 53 of 127.0.0.11 itself. Runs in a worker.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from barque.shim import kernel
from barque.shim.resolver_nat import translate
from barque.spi.errors import FailedPrecondition

__all__ = ["ADDRESS", "make_sockets"]

ADDRESS = "127.0.0.11"
_PORT = 53
_BACKLOG = 64


def make_sockets(netns: int, report: Callable[[Exception], None]) -> list[int]:
    """The descriptors a `Resolver` takes: UDP, TCP, the namespace. Enters `netns` and comes back; `lo` must be up there.

    `report` is told when port 53 could not be translated. Raises FailedPrecondition when it cannot be had otherwise either.
    """
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        kernel.setns(netns, kernel.CLONE_NEWNET)
        try:
            return [*_make(report), os.dup(netns)]
        finally:
            kernel.setns(own, kernel.CLONE_NEWNET)
    except OSError as error:
        raise FailedPrecondition(
            f"cannot answer DNS queries on {ADDRESS} in the container's network namespace: {error}",
            hint="is something else there on port 53, or the loopback interface down?",
        ) from error
    finally:
        os.close(own)


def _make(report: Callable[[Exception], None]) -> list[int]:
    udp, tcp = _pair(0)
    try:
        translate(ADDRESS, _PORT, udp.getsockname()[1], tcp.getsockname()[1])
    except OSError as error:
        report(error)
        udp.close()
        tcp.close()
        udp, tcp = _pair(_PORT)
    return [udp.detach(), tcp.detach()]


def _pair(port: int) -> tuple[socket.socket, socket.socket]:
    flags = socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | flags)
    tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM | flags)
    try:
        udp.bind((ADDRESS, port))
        tcp.bind((ADDRESS, port))
        tcp.listen(_BACKLOG)
    except OSError:
        udp.close()
        tcp.close()
        raise
    return udp, tcp
