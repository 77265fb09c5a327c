"""Healthchecks: a process in the container now and then, its exit code, and what follows from it.

Loaded by the launcher, so that a shim that needs it has it at no cost.

The rules are Docker's: the first run comes one interval after the start; while nothing has succeeded yet and the start period lasts,
runs follow each other by the start interval and failures do not count; `retries` failures in a row make a container unhealthy,
one success makes it healthy. All waiting is by the monotonic clock; only the log shows the time of day.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from time import monotonic, time_ns
from typing import Any

from barque.shim import packets
from barque.shim.loop import Loop
from barque.shim.protocol import HEALTH_FILE
from barque.shim.runtime_calls import RuntimeCalls
from barque.shim.stdio import ProcessStdio
from barque.spi.errors import BarqueError

__all__ = ["HealthChecks", "duration", "with_user"]

_MOST_OUTPUT = 4096
_MOST_RESULTS = 5
_CHUNK = 4096
_CHUNKS_A_TURN = 16
_NOT_RUN = -1


def with_user(settings: int, init: Mapping[str, Any]) -> int:
    """The payload `settings` (of a `ShimSettings`) with the user and home of the container's process `init`, known only when its root
    is mounted, in the healthcheck's; takes the old descriptor."""
    document = packets.read_payload(settings)
    os.close(settings)
    process = document["health"]["process"]
    process.setdefault("user", init.get("user", {}))
    if not any(entry.startswith("HOME=") for entry in process.get("env", ())):
        home = [entry for entry in init.get("env", ()) if entry.startswith("HOME=")]
        process["env"] = [*process.get("env", ()), *home]
    return packets.write_payload(document)


class HealthChecks:
    """Runs the healthcheck `settings` (see `ShimConfig.health`) until `stop`. `state` is the open state directory.

    `announce` takes events: `health-begin`, and `health` with the state and the newest result.
    """

    def __init__(
        self,
        loop: Loop,
        runtime: RuntimeCalls,
        state: int,
        settings: Mapping[str, Any],
        announce: Callable[[dict[str, Any]], None],
    ) -> None:
        self._loop, self._runtime, self._state, self._announce = loop, runtime, state, announce
        self._process: Mapping[str, Any] = settings["process"]
        self._interval = settings["interval_ns"] / 1e9
        self._timeout_ns = int(settings["timeout_ns"])
        self._start_period = settings["start_period_ns"] / 1e9
        self._start_interval = settings["start_interval_ns"] / 1e9
        self._retries = int(settings["retries"])
        self._began = monotonic()
        self._status = "starting"
        self._streak = 0
        self._log: list[dict[str, Any]] = []
        self._probe: _Probe | None = None
        self._paused = self._stopped = False
        self._write()
        self._schedule()

    def pause(self) -> None:
        """The container is frozen: a run that is under way says nothing about its health, and none begins."""
        self._paused = True
        if self._probe is not None:
            self._probe.void = True

    def resume(self) -> None:
        """Undo `pause`."""
        self._paused = False

    def stop(self) -> None:
        """The container has ended. Idempotent."""
        self._stopped = True
        probe, self._probe = self._probe, None
        if probe is not None:
            self._close(probe)

    def reaped(self, pid: int, code: int) -> None:
        """A process that was none of the others' has ended."""
        probe = self._probe
        if probe is None or probe.pid != pid:
            return
        self._probe = None
        for fd in tuple(probe.stdio.outputs):
            self._read(probe, fd)
        self._close(probe)
        output = probe.text()
        if probe.late:
            code, output = _NOT_RUN, _too_long(self._timeout_ns, output)
        if probe.void:
            self._schedule()
        else:
            self._ended(probe, code, output, ran=True)

    def _schedule(self) -> None:
        starting = self._status == "starting" and monotonic() - self._began < self._start_period
        self._loop.later(self._start_interval if starting else self._interval, self._begin)

    def _begin(self) -> None:
        if self._stopped:
            return
        if self._paused:
            self._schedule()
            return
        probe = _Probe()
        self._announce({"event": "health-begin", "exec": probe.id})
        try:
            probe.pid, _ = self._runtime.exec(self._process, probe.stdio.child)
        except (BarqueError, OSError) as error:
            probe.stdio.close()
            self._ended(probe, _NOT_RUN, str(error)[:_MOST_OUTPUT], ran=False)
            return
        probe.stdio.started(None)
        self._probe = probe
        for fd in probe.stdio.outputs:
            self._loop.watch(fd, select.EPOLLIN, partial(self._read, probe, fd))
        self._loop.later(self._timeout_ns / 1e9, lambda: self._overdue(probe))

    def _read(self, probe: _Probe, fd: int, _events: int = 0) -> None:
        """Take what is there; beyond what is kept it is thrown away, so that nobody blocks on a full pipe. Never more than a pipe
        holds by default: several processes can write faster than one reads, and the shim has other work."""
        try:
            for _ in range(_CHUNKS_A_TURN):
                data = os.read(fd, _CHUNK)
                if not data:
                    break
                probe.add(data)
            else:
                return
        except BlockingIOError:
            return
        self._loop.forget(fd)
        probe.stdio.close_output(fd)

    def _overdue(self, probe: _Probe) -> None:
        """It takes too long: killed, with what it has started, as far as it is of its session."""
        if self._probe is not probe:
            return
        probe.late = True
        with suppress(ProcessLookupError):
            if os.getsid(probe.pid) == probe.pid:
                os.killpg(probe.pid, signal.SIGKILL)
            else:
                os.kill(probe.pid, signal.SIGKILL)

    def _close(self, probe: _Probe) -> None:
        for fd in tuple(probe.stdio.outputs):
            self._loop.forget(fd)
        probe.stdio.close()

    def _ended(self, probe: _Probe, code: int, output: str, ran: bool) -> None:
        if code == 0:
            self._status, self._streak = "healthy", 0
        elif not (self._status == "starting" and probe.began - self._began < self._start_period):
            self._streak += 1
            if self._streak >= self._retries:
                self._status = "unhealthy"
        result = {
            "started_ns": probe.began_ns,
            "finished_ns": time_ns(),
            "exit_code": code,
            "output": output,
        }
        self._log = [*self._log, result][-_MOST_RESULTS:]
        self._write()
        self._announce({"event": "health", "exec": probe.id, "ran": ran, "health": self._document([result])})
        self._schedule()

    def _document(self, log: list[dict[str, Any]]) -> dict[str, Any]:
        return {"status": self._status, "failing_streak": self._streak, "log": log}

    def _write(self) -> None:
        """For a daemon that is away: whole or not at all. It need not survive a power cut, which no container does."""
        temporary = HEALTH_FILE + ".new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        with suppress(
            OSError
        ):  # a full disk: the daemon is told by the event, and the next result is written again
            fd = os.open(temporary, flags, 0o600, dir_fd=self._state)
            try:
                os.write(fd, packets.encode(self._document(self._log)))
            finally:
                os.close(fd)
            os.replace(temporary, HEALTH_FILE, src_dir_fd=self._state, dst_dir_fd=self._state)


class _Probe:
    """One run. `late`: it was killed because it took too long. `void`: its end says nothing."""

    def __init__(self) -> None:
        self.id = os.urandom(32).hex()
        self.stdio = ProcessStdio(terminal=False, stdin=False, stdout=True, stderr=True)
        self.pid = 0
        self.began, self.began_ns = monotonic(), time_ns()
        self.late = self.void = False
        self._output = bytearray()
        self._cut = False

    def add(self, data: bytes) -> None:
        room = _MOST_OUTPUT - len(self._output)
        self._output += data[:room]
        self._cut = self._cut or len(data) > room

    def text(self) -> str:
        return self._output.decode("utf-8", "replace") + ("..." if self._cut else "")


def _too_long(timeout_ns: int, output: str) -> str:
    return f"Health check exceeded timeout ({duration(timeout_ns)})" + (f": {output}" if output else "")


def duration(ns: int) -> str:
    """As Go prints it: `30s`, `1m30s`, `1.5s`, `100ms`."""
    for size, unit in ((1_000, "ns"), (1_000_000, "µs"), (1_000_000_000, "ms")):
        if ns < size:
            return f"{ns / (size // 1000):.9g}{unit}"
    minutes, rest = divmod(ns, 60 * 10**9)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{rest // 10**9}.{rest % 10**9:09}".rstrip("0").rstrip(".")
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{seconds}s"
