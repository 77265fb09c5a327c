"""The daemon's handle of the launcher process."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from threading import Lock
from typing import Any

import barque
from barque.shim import packets
from barque.shim.interpreter import interpreter_path, open_sealed
from barque.shim.protocol import ShimConfig
from barque.spi.errors import FailedPrecondition, Unavailable, from_wire

__all__ = ["DriverRef", "Launcher"]

_SOCKET_FD = 3
_START_TIMEOUT = 30.0
_LAUNCH_TIMEOUT = 10.0
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_HOME = os.path.dirname(os.path.dirname(barque.__file__))
_BOOT = "import sys; sys.path += sys.argv[1:]; from barque.shim.launcher import main; main()"


@dataclass(frozen=True, slots=True)
class DriverRef:
    """A driver to load: `kind` is runtime or log, `name` the instance's in the profile, `config` validated values."""

    kind: str
    name: str
    module: str
    attribute: str
    config: Mapping[str, Any] = field(default_factory=dict)


class Launcher:
    """The launcher process, started once and again if it dies. Thread-safe."""

    def __init__(self, drivers: Sequence[DriverRef], sys_path: Sequence[str]) -> None:
        self._drivers = [{**asdict(driver), "config": dict(driver.config)} for driver in drivers]
        self._sys_path = [path for path in sys_path if os.path.isabs(path)]
        self._lock = Lock()
        self._socket, self.pid = self._start()

    @classmethod
    def spawn(cls, drivers: Sequence[DriverRef], sys_path: Sequence[str]) -> Launcher:
        """Start the launcher with `drivers` loaded; `sys_path` is where it finds them and `barque`, after
        the standard library. Raises FailedPrecondition that names a driver which cannot be loaded."""
        return cls(drivers, sys_path)

    def launch(self, config: ShimConfig, netns: int | None, clients: Sequence[int]) -> socket.socket:
        """Fork a shim for `config`; returns the daemon's end of `control`, on which `started` or `failed` will come.

        The descriptors are duplicated into the shim and stay the caller's. A launcher that has died is started again, once.
        Raises Unavailable when it does not answer.
        """
        with ExitStack() as descriptors:
            fds = {}
            for name, document in (("settings", config.settings()), ("config", config.to_json())):
                fds[name] = packets.write_payload(document)
                descriptors.callback(os.close, fds[name])
            if netns is not None:
                fds["netns"] = netns
            with self._lock:
                control = self._request(config.id, fds, clients)
                if control is None:
                    self._restart()
                    control = self._request(config.id, fds, clients)
        if control is None:
            raise Unavailable("the launcher has died twice", hint="see the daemon's error output")
        return control

    def close(self) -> None:
        """End the launcher; its shims stay. Idempotent."""
        with self._lock:
            self._stop()

    def _request(self, id: str, fds: Mapping[str, int], clients: Sequence[int]) -> socket.socket | None:
        """The control socket, None when the launcher has died and certainly has forked nothing."""
        ours, theirs = packets.pair()
        names = ["control", *fds, *("client" for _ in clients)]
        sent = [theirs.fileno(), *fds.values(), *clients]
        try:
            try:
                packets.send(self._socket, {"op": "launch", "id": id, "fds": names}, sent)
                received = packets.receive(self._socket)
            finally:
                theirs.close()
        except TimeoutError:
            ours.close()
            self._stop()
            raise Unavailable("the launcher does not answer") from None
        except OSError:
            received = None
        if received is None and _has_ended(ours):
            ours.close()
            return None
        if received is not None and "error" in received[0]:
            ours.close()
            raise from_wire(received[0]["error"])
        return ours

    def _restart(self) -> None:
        self._stop()
        self._socket, self.pid = self._start()

    def _stop(self) -> None:
        if not self.pid:
            return
        self._socket.close()
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        self.pid = 0

    def _start(self) -> tuple[socket.socket, int]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            pid = _spawn(theirs.fileno(), self._sys_path)
        except OSError as error:
            ours.close()
            raise FailedPrecondition(f"the launcher cannot be started: {error}") from error
        finally:
            theirs.close()
        try:
            self._introduce(ours)
        except BaseException:
            ours.close()
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        return ours, pid

    def _introduce(self, launcher: socket.socket) -> None:
        launcher.settimeout(_START_TIMEOUT)
        try:
            packets.send(launcher, {"drivers": self._drivers})
            received = packets.receive(launcher)
        except OSError as error:
            raise FailedPrecondition(f"the launcher does not start: {error}") from error
        if received is None:
            raise FailedPrecondition("the launcher ended at its start", hint="see the daemon's error output")
        if "error" in received[0]:
            raise from_wire(received[0]["error"])
        launcher.settimeout(_LAUNCH_TIMEOUT)


def _spawn(fd: int, sys_path: Sequence[str]) -> int:
    """Execute the interpreter from a descriptor nobody can write through (see `interpreter`).

    Isolated (-I), without site (-S) and environment (-E): nothing but the arguments decides what is imported.
    """
    path = interpreter_path()
    with ExitStack() as descriptors:
        program, null, channel = (
            _lifted(descriptors, source)
            for source in (open_sealed(path), os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC), os.dup(fd))
        )
        return os.posix_spawn(
            f"/proc/self/fd/{program}",
            [path, "-I", "-S", "-E", "-X", "utf8", "-c", _BOOT, _HOME, *sys_path],
            {"PATH": _PATH},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, null, 0),
                (os.POSIX_SPAWN_DUP2, null, 1),
                (os.POSIX_SPAWN_DUP2, channel, _SOCKET_FD),
            ],
            setsid=True,
            setsigmask=(),
            setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
        )


def _lifted(descriptors: ExitStack, fd: int) -> int:
    """Move `fd` out of the way of the numbers the new process gets."""
    lifted = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _SOCKET_FD + 1)
    os.close(fd)
    descriptors.callback(os.close, lifted)
    return lifted


def _has_ended(control: socket.socket) -> bool:
    """Whether nobody holds the other end: the launcher died before it forked."""
    try:
        return not control.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True
