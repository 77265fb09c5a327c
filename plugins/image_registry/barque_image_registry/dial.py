"""Open TCP connections, cancellable also while a name is looked up."""

from __future__ import annotations

import errno
import os
import queue
import select
import socket
import threading
import time

from barque_image_registry.wire import Check, Stalled, Wire

__all__ = ["dial"]

_POLL = 0.2
# How long one address may take while others are left to try.
_ONE_ADDRESS = 8.0
_IN_PROGRESS = (0, errno.EINPROGRESS, errno.EWOULDBLOCK)

Address = tuple[int, int, int, str, tuple[object, ...]]


def dial(host: str, port: int, idle_timeout: float, check: Check) -> Wire:
    """Connect to the first address of `host` that answers. OSError (`Stalled` when none did in time), or what `check` raises."""
    addresses = _lookup(host, port, idle_timeout, check)
    for position, address in enumerate(addresses, 1):
        last = position == len(addresses)
        try:
            return _connect(
                address, idle_timeout, idle_timeout if last else min(_ONE_ADDRESS, idle_timeout), check
            )
        except OSError:
            if last:
                raise
    raise OSError(f"{host} has no address")


def _lookup(host: str, port: int, timeout: float, check: Check) -> list[Address]:
    """getaddrinfo(3) cannot be interrupted, so a thread of its own waits for it and is left behind when it must be."""
    answers: queue.SimpleQueue[list[Address] | OSError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))  # type: ignore[arg-type]
        except OSError as error:
            answers.put(error)
        except UnicodeError:  # an empty label, or one of more than 63 bytes: no name of any host
            answers.put(socket.gaierror(socket.EAI_NONAME, os.strerror(errno.EINVAL)))

    threading.Thread(target=ask, name="registry-lookup", daemon=True).start()
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            answer = answers.get(timeout=_POLL)
        except queue.Empty:
            check()
            continue
        if isinstance(answer, OSError):
            raise answer
        return answer
    raise Stalled(f"looking up {host} took more than {timeout:g} seconds")


def _connect(address: Address, idle_timeout: float, timeout: float, check: Check) -> Wire:
    family, kind, protocol, _, target = address
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = sock.connect_ex(target)
        if code not in _IN_PROGRESS:
            raise OSError(code, os.strerror(code))
        _finish(sock, timeout, check)
    except BaseException:
        sock.close()
        raise
    return Wire(sock, idle_timeout, check)


def _finish(sock: socket.socket, timeout: float, check: Check) -> None:
    poller = select.poll()
    poller.register(sock.fileno(), select.POLLOUT)
    deadline = time.monotonic() + timeout
    while not poller.poll(_POLL * 1000):
        check()
        if time.monotonic() >= deadline:
            raise Stalled(f"no answer to a connection within {timeout:g} seconds")
    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))
