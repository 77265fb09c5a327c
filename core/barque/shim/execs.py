"""The exec sessions of a container."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

from barque.shim.loop import Loop
from barque.shim.protocol import ClientAttach
from barque.shim.runtime_calls import RuntimeCalls
from barque.shim.stdio import ProcessStdio, set_window_size
from barque.shim.streams import Streams
from barque.spi.errors import Conflict, NotFound

__all__ = ["Execs"]

_SPARE_SECONDS = 2.0
"""After an exec that soon followed another, a worker is kept ready for this long: it takes 0.5 MiB."""

_KEPT = 200
"""Ended execs whose code is remembered for a daemon that was away."""


class Execs:
    """Starts processes in the running container and remembers how they ended.

    `announce` takes an event; an `exec-exit` goes out before the exec's client is closed.
    """

    def __init__(self, loop: Loop, runtime: RuntimeCalls, announce: Callable[[dict[str, Any]], None]) -> None:
        self._loop = loop
        self._runtime = runtime
        self._announce = announce
        self._running: dict[int, _Exec] = {}
        self._known: dict[str, _Exec] = {}
        self._finishing: list[Streams] = []
        self._last_start = -_SPARE_SECONDS
        self._repeated = self._watching_spare = False

    def start(
        self, exec_id: str, process: Mapping[str, Any], attach: ClientAttach | None, client: int | None
    ) -> int:
        """Start a process and return its pid. `client` is taken over when that succeeds and only then.

        What no client sees goes to /dev/null. Raises as `runtime_exec`, Conflict for an id in use.
        """
        if exec_id in self._known:
            raise Conflict(f"exec {exec_id} exists already")
        stdio = _stdio(process, attach)
        try:
            session = _Exec(exec_id, stdio, self._streams(exec_id, stdio))
            session.pid = self._run(process, session, attach, client)
        except BaseException:
            stdio.close()
            raise
        self._known[exec_id] = self._running[session.pid] = session
        session.streams.start()
        now = monotonic()
        self._repeated, self._last_start = now - self._last_start < _SPARE_SECONDS, now
        return session.pid

    def _streams(self, exec_id: str, stdio: ProcessStdio) -> Streams:
        detach = {"event": "detach", "exec": exec_id}
        return Streams(self._loop, stdio, stdin_once=True, on_detach=lambda: self._announce(detach))

    def _run(
        self, process: Mapping[str, Any], session: _Exec, attach: ClientAttach | None, client: int | None
    ) -> int:
        if client is not None and attach is not None:
            session.streams.add(client, attach, start=False)
        try:
            pid, console = self._runtime.exec(process, session.stdio.child)
        except BaseException:
            session.streams.disown()
            raise
        session.stdio.started(console)
        return pid

    def reaped(self, pid: int, code: int) -> bool:
        """The process `pid` has ended with `code`; False when it is no exec of ours."""
        session = self._running.pop(pid, None)
        if session is None:
            return False
        session.code = code
        session.streams.drain()
        self._announce({"event": "exec-exit", "exec": session.id, "code": code})
        session.streams.finish()
        self._finishing = [s for s in (*self._finishing, session.streams) if not s.idle]
        self._forget_oldest()
        if self._repeated:
            self._loop.later(0, self._prepare_next)
        return True

    def _prepare_next(self) -> None:
        """One exec followed another: be ready for the next one, for a while."""
        self._runtime.expect_exec()
        if not self._watching_spare:
            self._watching_spare = True
            self._loop.later(_SPARE_SECONDS, self._drop_idle)

    def _drop_idle(self) -> None:
        left = self._last_start + _SPARE_SECONDS - monotonic()
        if left > 0:
            self._loop.later(left, self._drop_idle)
            return
        self._watching_spare = self._repeated = False
        self._runtime.expect_no_exec()

    def end_all(self) -> None:
        """The container is deleted: whatever was not reaped was killed with it."""
        for pid in tuple(self._running):
            self.reaped(pid, 137)
        self._repeated = False
        self._runtime.expect_no_exec()

    def resize(self, exec_id: str, height: int, width: int) -> None:
        """Set the size of the exec's terminal. Raises NotFound, Conflict."""
        console = self._get(exec_id).stdio.console
        if console is None:
            raise Conflict(f"exec {exec_id} has no terminal or has ended")
        set_window_size(console, height, width)

    def state(self, exec_id: str) -> dict[str, Any]:
        """`{"pid", "running", "code"}`. Raises NotFound."""
        return self._get(exec_id).state()

    def states(self) -> dict[str, dict[str, Any]]:
        """Of every exec that runs, and of the last ones that ended, as far as they fit a packet."""
        running = [session.id for session in self._running.values()]
        ended = [name for name, session in self._known.items() if session.code is not None]
        return {name: self._known[name].state() for name in (running + ended[::-1])[: 2 * _KEPT]}

    @property
    def idle(self) -> bool:
        """Whether no client still waits for output."""
        return all(streams.idle for streams in self._finishing)

    def _get(self, exec_id: str) -> _Exec:
        if exec_id not in self._known:
            raise NotFound(f"No such exec instance: {exec_id}")
        return self._known[exec_id]

    def _forget_oldest(self) -> None:
        ended = [name for name, session in self._known.items() if session.code is not None]
        for name in ended[:-_KEPT]:
            del self._known[name]


class _Exec:
    __slots__ = ("code", "id", "pid", "stdio", "streams")

    def __init__(self, id: str, stdio: ProcessStdio, streams: Streams) -> None:
        self.id = id
        self.stdio = stdio
        self.streams = streams
        self.pid = 0
        self.code: int | None = None

    def state(self) -> dict[str, Any]:
        return {"pid": self.pid, "running": self.code is None, "code": self.code}


def _stdio(process: Mapping[str, Any], attach: ClientAttach | None) -> ProcessStdio:
    seen = attach or ClientAttach(False, False, False)
    return ProcessStdio(
        terminal=bool(process.get("terminal")), stdin=seen.stdin, stdout=seen.stdout, stderr=seen.stderr
    )
