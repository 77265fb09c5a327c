"""The process outside that keeps a rootless engine's namespaces, uplink and published ports.

One thread, one selector. Daemons connect to `<run>/rootless.sock`; the first packet asks to `join` and is answered with
the namespaces. While a daemon is connected the keeper stays; without one, as long as anybody lives in the user namespace:
it then waits for the end of one of them, looks for another, and ends when there is none. Nothing is polled.
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import selectors
import signal
import socket
import struct
import sys
import time
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

from barque.engine.rootless import kernel
from barque.engine.rootless.forwarding import Forwarder, Port
from barque.engine.rootless.idmaps import plan_maps
from barque.engine.rootless.inside import Inside
from barque.engine.rootless.survivors import find_namespaces, note_namespaces, somebody_in
from barque.engine.rootless.uplink import open_uplink, resolv_conf
from barque.shim import packets
from barque.spi.errors import BarqueError, InvalidArgument, PermissionDenied, Unavailable

__all__ = ["REPORT_FD", "main"]

REPORT_FD = 3
"""Where the daemon that starts it reads one line of JSON: `{}`, or an error."""

_STEADY = 10.0  # seconds that an uplink must have run to be worth another start
_PATIENCE = 10.0  # seconds that a new keeper waits for the daemon that started it


def main() -> None:
    """Set up as the JSON object in the last argument says (run, uplink, host_loopback), report, serve, clean up."""
    settings = json.loads(sys.argv[-1])
    os.closerange(REPORT_FD + 1, os.sysconf("SC_OPEN_MAX"))
    os.set_inheritable(REPORT_FD, False)
    os.umask(0o077)
    os.chdir("/")
    kernel.set_name("barque-rootless")
    _raise_limit()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(0))
    with ExitStack() as closing:
        try:
            keeper = Keeper(Path(settings["run"]), settings["uplink"], settings["host_loopback"], closing)
        except (BarqueError, OSError) as error:
            _report(packets.error_reply(error))
            sys.exit(1)
        _report({})
        keeper.serve()


def _report(answer: dict[str, Any]) -> None:
    with suppress(OSError):  # whoever started us is gone
        os.write(REPORT_FD, packets.encode(answer) + b"\n")
    os.close(REPORT_FD)


def _raise_limit() -> None:
    """Two descriptors a relayed connection."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Keeper:
    """See the module. What it makes is undone by `closing`."""

    def __init__(self, run: Path, uplink: str, host_loopback: bool, closing: ExitStack) -> None:
        _lock(run / "rootless.lock", closing)
        self._selector = closing.enter_context(selectors.DefaultSelector())
        self._inside, self._warnings = self._namespaces(run)
        closing.callback(self._inside.close)
        note_namespaces(run / "rootless.json", self._inside.fds)
        self._open = partial(
            open_uplink, uplink, self._inside, run / "rootless.log", host_loopback=host_loopback
        )
        self._uplink = self._open()
        closing.callback(lambda: self._uplink.close())
        self._watch_uplink()
        self._use_name_server(run / "rootless-resolv.conf")
        self._forwarder = Forwarder(self._selector, self._inside.socket)
        self._daemons: set[socket.socket] = set()
        self._waiting_for: int | None = None
        self._listen(run / "rootless.sock", closing)
        self._deadline: float | None = time.monotonic() + _PATIENCE

    def _namespaces(self, run: Path) -> tuple[Inside, list[str]]:
        maps = plan_maps(os.geteuid())
        warnings = [maps.warning] if maps.warning else []
        survived = find_namespaces(run / "rootless.json")
        if survived is None:
            return Inside.create(maps), warnings
        try:
            return Inside.rejoin(survived), warnings
        finally:
            packets.close_all(survived.values())

    def _use_name_server(self, path: Path) -> None:
        if self._uplink.warning:
            self._warnings.append(self._uplink.warning)
        if not self._uplink.dns:
            return
        try:
            host = Path("/etc/resolv.conf").read_text(errors="replace")
            path.write_text(resolv_conf(host, self._uplink.dns))
            self._inside.use_resolv_conf(str(path))
        except (OSError, BarqueError) as error:
            self._warnings.append(f"containers are told the host's name servers, not the uplink's: {error}")

    def _watch_uplink(self) -> None:
        """Start it again when it ends by itself; not a second time when that was at once."""
        if not self._uplink.pid:
            return
        self._opened = time.monotonic()
        program = os.pidfd_open(self._uplink.pid)
        self._selector.register(
            program, selectors.EVENT_READ, lambda _key, _mask: self._reopen_uplink(program)
        )

    def _reopen_uplink(self, program: int) -> None:
        self._selector.unregister(program)
        os.close(program)
        self._uplink.close()
        print(f"barque-rootless: {self._uplink.name} has ended", file=sys.stderr, flush=True)
        if time.monotonic() - self._opened > _STEADY:
            self._uplink = self._open()
            self._watch_uplink()

    def _listen(self, path: Path, closing: ExitStack) -> None:
        path.unlink(missing_ok=True)
        server = closing.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        server.bind(str(path))
        server.listen(16)
        closing.callback(path.unlink, missing_ok=True)
        self._selector.register(server, selectors.EVENT_READ, lambda _key, _mask: self._accept(server))

    def serve(self) -> None:
        """Until neither a daemon nor anybody in the namespaces is left."""
        while not self._abandoned():
            wait = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
            for key, mask in self._selector.select(wait):
                key.data(key, mask)

    def _abandoned(self) -> bool:
        if self._daemons or self._waiting_for is not None:
            return False
        if self._deadline is not None and time.monotonic() < self._deadline:
            return False
        self._deadline = None
        somebody = somebody_in(self._inside.fds["user"], {self._inside.pid, self._uplink.pid})
        if somebody is None:
            return True
        self._waiting_for = somebody
        self._selector.register(somebody, selectors.EVENT_READ, lambda _key, _mask: self._stop_waiting())
        return False

    def _stop_waiting(self) -> None:
        if self._waiting_for is not None:
            self._selector.unregister(self._waiting_for)
            os.close(self._waiting_for)
            self._waiting_for = None

    def _accept(self, server: socket.socket) -> None:
        daemon, _ = server.accept()
        self._daemons.add(daemon)
        self._stop_waiting()
        self._deadline = None
        self._selector.register(daemon, selectors.EVENT_READ, lambda _key, _mask: self._hear(daemon))

    def _hear(self, daemon: socket.socket) -> None:
        try:
            received = packets.receive(daemon)
            if received is None:
                raise ConnectionError
            packets.close_all(received[1])
            answer, fds = self._answer(daemon, received[0])
            packets.send(daemon, answer, fds)
        except (OSError, BarqueError):
            self._selector.unregister(daemon)
            self._daemons.discard(daemon)
            daemon.close()

    def _answer(self, daemon: socket.socket, request: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
        try:
            _check_peer(daemon)
            return self._do(request)
        except (BarqueError, OSError, KeyError, TypeError, ValueError) as error:
            return packets.error_reply(error), []

    def _do(self, request: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
        operation = request["op"]
        if operation == "join":
            self._forwarder.doubt()
            return {"uplink": self._uplink.name, "warnings": self._warnings}, [*self._inside.fds.values()]
        if operation == "reserve":
            return {"ports": self._forwarder.reserve(request["id"], [Port(*p) for p in request["ports"]])}, []
        if operation == "serve":
            self._forwarder.serve(request["id"], [(str(a), int(p)) for a, p in request["targets"]])
        elif operation == "publish":
            ports, targets = request["ports"], request["targets"]
            self._forwarder.publish(
                request["id"], [Port(*p) for p in ports], [(str(a), int(p)) for a, p in targets]
            )
        elif operation == "release":
            self._forwarder.release(request["id"])
        elif operation == "sweep":
            self._forwarder.sweep(request["prefix"])
        else:
            raise InvalidArgument(f"unknown request {operation!r}")
        return {}, []


def _check_peer(daemon: socket.socket) -> None:
    """The socket's directory is the user's alone; this holds even where it is not."""
    _, uid, _ = struct.unpack("3i", daemon.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if uid != os.geteuid():
        raise PermissionDenied("these namespaces are another user's")


def _lock(path: Path, closing: ExitStack) -> None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    closing.callback(os.close, fd)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Unavailable(f"another keeper has {path}") from None
