"""The launcher: a small process with the drivers loaded, from which shims are forked.

It has one thread, one socket, and no state: when the daemon's end closes it ends, and its shims stay.

Memory. A forked shim shares every page with the launcher until one of them writes to it, and CPython writes
to an object's page whenever it looks at the object (reference counts). What a shim costs is therefore the set
of pages touched by its own work, and by the launcher's work between two forks. So both keep to few objects on
this path: bare calls where the library has wrappers, no enumerations, no JSON. Bringing a container up and every
call of a runtime driver happens in workers, whose pages go with them; and a shim rests until something happens.
"""

from __future__ import annotations

import gc
import importlib
import os
import select
import socket
from collections.abc import Mapping
from contextlib import suppress
from socket import SocketType
from typing import Any, NoReturn

from barque.shim import kernel, memory_cgroup, packets
from barque.shim.container import Drivers
from barque.shim.process import Title, become_shim, handle_signals
from barque.shim.rehearsal import rehearse
from barque.shim.shim import run
from barque.spi.errors import BarqueError, FailedPrecondition

__all__ = ["SOCKET_FD", "main"]

SOCKET_FD = 3
"""Where the launcher inherits its socket."""

_FORK_DELAY = 5
"""Milliseconds in which the start that is under way has the processors to itself, unless there is another."""


def main() -> None:
    """Load the drivers the first packet names, answer, and serve until the daemon's end closes."""
    os.closerange(SOCKET_FD + 1, os.sysconf("SC_OPEN_MAX"))  # whatever the daemon was started with
    daemon = socket.socket(fileno=SOCKET_FD)
    daemon.set_inheritable(False)
    os.chdir("/")
    os.umask(0o022)
    kernel.set_name("barque-launcher")
    title = Title()
    title.set(b"barque-launcher")
    handle_signals()
    with suppress(ConnectionError):  # the daemon is gone
        drivers = _load(daemon)
        if drivers is not None:
            _freeze(drivers)
            _serve(daemon, drivers, title)


def _load(daemon: socket.socket) -> Drivers | None:
    received = packets.receive(daemon)
    if received is None:
        return None
    try:
        drivers = _construct(received[0]["drivers"])
    except BarqueError as error:
        packets.send(daemon, packets.error_reply(error))
        return None
    packets.send(daemon, {"ok": True})
    return drivers


def _construct(references: list[dict[str, Any]]) -> Drivers:
    runtimes: dict[str, Any] = {}
    logs: dict[str, Any] = {}
    for reference in references:
        kind = runtimes if reference["kind"] == "runtime" else logs
        try:
            kind[reference["name"]] = _driver(reference)
        except Exception as error:
            where = f"{reference['module']}:{reference['attribute']}"
            raise FailedPrecondition(
                f"the {reference['kind']} driver {reference['name']!r} ({where}) cannot be loaded: "
                f"{type(error).__name__}: {error}",
                hint="check the profile and that the plugin's distribution is installed",
            ) from error
    return Drivers(runtimes, logs)


def _driver(reference: Mapping[str, Any]) -> Any:
    cls = getattr(importlib.import_module(reference["module"]), reference["attribute"])
    driver = cls(reference["name"], cls.Config(**reference["config"]))
    if hasattr(driver, "preload"):
        driver.preload()
    return driver


def _freeze(drivers: Drivers) -> None:
    """Do what every shim would do by itself, and make the heap as it is now nobody's to write."""
    memory_cgroup.mount_points()
    if drivers.runtimes:
        rehearse(drivers)
    kernel.malloc_trim()
    gc.collect()
    gc.freeze()
    gc.disable()


def _serve(daemon: socket.socket, drivers: Drivers, title: Title) -> None:
    """Hand every launch to the shim that waits for it, answer, and only then fork the next one."""
    spare: _Spare | None = None
    coming = select.poll()
    coming.register(daemon.fileno(), select.POLLIN)
    while True:
        if spare is None:
            coming.poll(_FORK_DELAY)
            spare = _Spare(drivers, title)
        try:
            received = packets.receive_bytes(daemon)
        except BarqueError as error:
            packets.send(daemon, packets.error_reply(error))
            continue
        if received is None:
            return
        launch, fds = received
        try:
            while not spare.take(launch, fds):
                spare = _Spare(drivers, title)
            packets.send_bytes(daemon, b'{"ok":true,"pid":%d}' % spare.pid)
        finally:
            packets.close_all(fds)  # before the next fork, which would keep a client's connection open
        spare = None


class _Spare:
    """A shim that waits for its container, with a worker that waits for the launch: forked off the path of a start."""

    def __init__(self, drivers: Drivers, title: Title) -> None:
        self._socket, theirs = packets.bare_pair()
        self.pid = os.fork()
        if self.pid == 0:
            self._be(drivers, title, theirs)
        theirs.close()

    def take(self, launch: bytes, fds: list[int]) -> bool:
        """Give it its launch; False when it is dead."""
        try:
            packets.send_bytes(self._socket, launch, fds)
        except (BrokenPipeError, ConnectionResetError):
            return False
        finally:
            self._socket.close()
        return True

    def _be(self, drivers: Drivers, title: Title, launches: SocketType) -> NoReturn:
        """The child's whole life. It leaves by _exit, without the launcher's clean-ups."""
        try:
            os.close(SOCKET_FD)
            self._socket.close()
            become_shim()
            title.set(b"barque-shim")
            run(drivers, title, launches)
        finally:
            os._exit(0)
