"""The daemon's way into the rootless namespaces, and its connection to their keeper."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import stat
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any

import barque
from barque.engine.rootless import kernel
from barque.engine.rootless.inside import KINDS
from barque.engine.rootless.keeper import REPORT_FD
from barque.profiles.model import Rootless
from barque.shim import packets
from barque.shim.interpreter import interpreter_path
from barque.spi.errors import FailedPrecondition, PermissionDenied, Unavailable, from_wire

__all__ = ["Keeper", "enter"]

_HOME = os.path.dirname(os.path.dirname(barque.__file__))
_BOOT = "import sys; sys.path.append(sys.argv[1]); from barque.engine.rootless.keeper import main; main()"
_PATIENCE = 15.0
_SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")


class Keeper:
    """A connection to the keeper; the namespaces stay at least as long as it. `uplink`: pasta, slirp4netns or none.
    `warnings`: what is lacking. `fresh`: it was started just now. Thread-safe."""

    def __init__(self, channel: socket.socket, fresh: bool) -> None:
        self._channel, self._lock = channel, Lock()
        answer, self._fds = self._exchange({"op": "join"})
        self.fresh = fresh
        self.uplink: str = answer["uplink"]
        self.warnings: tuple[str, ...] = tuple(answer["warnings"])

    def join(self) -> None:
        """Go into the namespaces. The process must have one thread. Errors: FailedPrecondition."""
        place = os.getcwd()  # to enter a mount namespace is to leave for its root
        try:
            for fd, kind in zip(self._fds, KINDS.values(), strict=True):
                kernel.setns(fd, kind)
            os.chdir(place)
        except OSError as error:
            raise FailedPrecondition(f"cannot enter the rootless namespaces: {error.strerror}") from error
        finally:
            packets.close_all(self._fds)
        kernel.set_dumpable()

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """A request and its answer. Errors: the keeper's; Unavailable when it is gone."""
        with self._lock:
            return self._exchange(request)[0]

    def _exchange(self, request: Mapping[str, Any]) -> tuple[dict[str, Any], list[int]]:
        try:
            packets.send(self._channel, request)
            received = packets.receive(self._channel)
        except OSError as error:
            raise Unavailable(f"the keeper of the rootless namespaces does not answer: {error}") from error
        if received is None:
            raise Unavailable(
                "the keeper of the rootless namespaces has ended", hint="start the daemon again"
            )
        if "error" in received[0]:
            raise from_wire(received[0]["error"])
        return received


def enter(run: Path, settings: Rootless) -> Keeper:
    """Make this process root in the user's namespaces, which are made if they are not there.

    To be called before there is a second thread. Errors: FailedPrecondition, PermissionDenied.
    """
    if os.geteuid() == 0:
        raise FailedPrecondition(
            "this profile is rootless, which is for ordinary users",
            hint="as root use --profile default, or run barqued as the user himself",
        )
    _own(run)
    keeper = _connected(run, settings)
    keeper.join()
    _extend_path()
    return keeper


def _own(run: Path) -> None:
    """Make the run directory, or make sure that nobody else did: sockets in it command the engine."""
    run.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = run.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise PermissionDenied(
            f"{run} is not a directory of this user", hint="set XDG_RUNTIME_DIR, or name another --run-dir"
        )
    if status.st_mode & 0o077:
        run.chmod(0o700)


def _connected(run: Path, settings: Rootless) -> Keeper:
    """The keeper that runs, or a new one. While a former one ends, or another daemon starts one, it is tried again."""
    deadline = time.monotonic() + _PATIENCE
    fresh = False
    while True:
        with suppress(OSError, Unavailable):
            return Keeper(_connect(run / "rootless.sock"), fresh)
        try:
            _start(run, settings)
            fresh = True
        except Unavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _connect(path: Path) -> socket.socket:
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        channel.connect(str(path))
    except OSError:
        channel.close()
        raise
    return channel


def _start(run: Path, settings: Rootless) -> None:
    """Start a keeper and wait until it is ready. Errors: its own."""
    ours, theirs = os.pipe()
    asked = {"run": str(run.absolute()), "uplink": settings.uplink, "host_loopback": settings.host_loopback}
    python = interpreter_path()
    with os.fdopen(ours) as report:
        try:
            _spawn([python, "-I", "-S", "-E", "-c", _BOOT, _HOME, json.dumps(asked)], theirs, run)
        finally:
            os.close(theirs)
        line = report.readline()
    if not line:
        raise FailedPrecondition(
            "the keeper of the rootless namespaces does not start", hint=f"see {run / 'rootless.log'}"
        )
    answer = json.loads(line)
    if "error" in answer:
        raise from_wire(answer["error"])


def _spawn(command: list[str], report: int, run: Path) -> None:
    """A process that is nobody's child here, in a session of its own: it outlives this daemon."""
    log = os.open(
        run / "rootless.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
    )
    try:
        middle = os.fork()
        if middle == 0:
            try:
                os.setsid()
                null = os.open(os.devnull, os.O_RDWR)
                for source, target in ((null, 0), (null, 1), (log, 2), (report, REPORT_FD)):
                    os.dup2(fcntl.fcntl(source, fcntl.F_DUPFD_CLOEXEC, REPORT_FD + 1), target)
                os.posix_spawn(command[0], command, {"PATH": os.defpath})
            finally:
                os._exit(0)
        os.waitpid(middle, 0)
    finally:
        os.close(log)


def _extend_path() -> None:
    """Programs for root (nft, runc) are not in an ordinary user's PATH."""
    words = os.environ.get("PATH", os.defpath).split(":")
    os.environ["PATH"] = ":".join([*words, *(directory for directory in _SBIN if directory not in words)])
