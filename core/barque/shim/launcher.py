"""The launcher: a small process with the drivers loaded, from which shims are forked.

It has one thread, one socket, and no state: when the daemon's end closes it ends, and its shims stay.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import socket
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NoReturn

from barque.shim import kernel, memory_cgroup, packets
from barque.shim.container import Drivers
from barque.shim.process import Title, become_shim
from barque.shim.shim import run
from barque.spi import errors
from barque.spi.errors import BarqueError, FailedPrecondition, InvalidArgument

__all__ = ["SOCKET_FD", "main"]

SOCKET_FD = 3
"""Where the launcher inherits its socket."""


def main() -> None:
    """Load the drivers the first packet names, answer, and serve until the daemon's end closes."""
    daemon = socket.socket(fileno=SOCKET_FD)
    daemon.set_inheritable(False)
    os.chdir("/")
    os.umask(0o022)
    kernel.set_name("barque-launcher")
    title = Title()
    title.set("barque-launcher")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # shims are nobody's zombies
    with suppress(ConnectionError):  # the daemon is gone
        drivers = _load(daemon)
        if drivers is not None:
            _freeze()
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


def _freeze() -> None:
    """Do what every shim would do by itself, and make the heap as it is now nobody's to write."""
    memory_cgroup.mount_points()
    kernel.malloc_trim()
    gc.collect()
    gc.freeze()
    gc.disable()


def _serve(daemon: socket.socket, drivers: Drivers, title: Title) -> None:
    while True:
        try:
            received = packets.receive(daemon)
        except BarqueError as error:
            packets.send(daemon, packets.error_reply(error))
            continue
        if received is None:
            return
        request, fds = received
        try:
            pid = _launch(daemon, drivers, title, request, fds)
        except (BarqueError, OSError) as error:
            packets.send(daemon, packets.error_reply(error))
        else:
            packets.send(daemon, {"ok": True, "pid": pid})
        finally:
            packets.close_all(fds)


def _launch(
    daemon: socket.socket, drivers: Drivers, title: Title, request: Mapping[str, Any], fds: list[int]
) -> int:
    if request.get("op") != "launch":
        raise errors.NotImplemented(f"the launcher does not know the operation {request.get('op')!r}")
    names = request.get("fds")
    if not isinstance(names, list) or len(names) != len(fds) or not {"control", "payload"} <= set(names):
        raise InvalidArgument("launch takes the descriptors control, payload, [netns], [client…]")
    pid = os.fork()
    if pid == 0:
        _shim(daemon, drivers, title, str(request.get("id")), names, fds)
    return pid


def _shim(
    daemon: socket.socket, drivers: Drivers, title: Title, id: str, names: list[str], fds: list[int]
) -> NoReturn:
    """The child's whole life. It leaves by _exit, without the launcher's clean-ups."""
    status = 1
    try:
        daemon.close()
        become_shim()
        title.set(f"barque-shim {id}")
        control = socket.socket(fileno=fds[names.index("control")])
        netns = fds[names.index("netns")] if "netns" in names else None
        clients = [fd for name, fd in zip(names, fds, strict=True) if name == "client"]
        run(fds[names.index("payload")], drivers, control, netns, clients)
        status = 0
    except BaseException:  # noqa: BLE001 - the process ends here; stderr is /dev/null after become_shim
        traceback.print_exc(file=sys.stderr)
    finally:
        os._exit(status)
