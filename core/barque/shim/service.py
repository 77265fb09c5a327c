"""A shim at work: it serves daemons that come and go until the container has ended and a daemon knows it, or can find it in `exit.json`."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Mapping
from socket import SocketType
from time import time_ns
from typing import TYPE_CHECKING, Any

from barque.shim import packets
from barque.shim.container import Drivers, Running
from barque.shim.container_log import ContainerLog, open_log
from barque.shim.crash_log import report_defect
from barque.shim.execs import Execs
from barque.shim.exit_file import Exit, sync_exit_file, write_exit_file
from barque.shim.health import HealthChecks
from barque.shim.loop import Loop
from barque.shim.memory_cgroup import MemoryCgroup
from barque.shim.memory_watch import MemoryWatch
from barque.shim.operations import Operations
from barque.shim.protocol import ClientAttach, ShimSettings
from barque.shim.reaper import reap
from barque.shim.runtime_calls import RuntimeCalls
from barque.shim.server import Connection, Server
from barque.shim.stdio import ProcessStdio, set_window_size
from barque.shim.streams import Streams
from barque.shim.worker import Answer, Worker
from barque.spi.errors import BarqueError, Conflict

if TYPE_CHECKING:
    from barque.shim.resolver import Resolver

__all__ = ["Service"]

_LINGER = 10.0
"""Seconds a shim waits for a connected daemon's `release`."""


class Service:
    """What a shim does on events of its container and on requests of a daemon. Takes all descriptors over."""

    def __init__(self, drivers: Drivers, container: Running, signals: int) -> None:
        settings = ShimSettings(**packets.read_payload(container.settings))
        os.close(container.settings)
        self._container = container
        self._id = settings.id
        self._runtime = RuntimeCalls(
            drivers.runtime(settings.runtime),
            settings.id,
            settings.runtime_root,
            settings.private_mounts,
            self._defect,
        )
        self._state = os.open(settings.state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.loop = Loop(self._defect)
        self.server = Server(self.loop, self._state, container.listener, Operations(self).dispatch)
        self.server.adopt(SocketType(fileno=container.control))
        self._stdio = ProcessStdio.adopt(
            container.streams, terminal=settings.terminal, stdin=settings.open_stdin
        )
        self._log = ContainerLog(lambda: open_log(settings, drivers), self._log_failed)
        self.streams = Streams(
            self.loop, self._stdio, stdin_once=settings.stdin_once, log=self._log, on_detach=self._detached
        )
        self.execs = Execs(self.loop, self._runtime, self.server.announce)
        self._memory = MemoryCgroup(container.memory_events)
        self._memory_watch = self._watch_memory(container.memory)
        self._health = self._check_health(settings)
        self._exit: Exit | None = None
        self._deleted = False
        self._released = False
        self._recorded = False  # by a daemon, durably: `exit.json` need not survive a power cut
        for client, attach in zip(container.clients, settings.clients, strict=True):
            self.streams.add(client, ClientAttach(**attach), start=False)
        self._resolver: Resolver | None = None
        self._resolver_sockets = container.resolver
        self._await_query()
        self._signals = signals
        self.loop.watch(signals, select.EPOLLIN, self._signalled)

    def _watch_memory(self, watch: list[int]) -> MemoryWatch | None:
        if not watch:
            return None
        return MemoryWatch(self.loop, self._memory, watch[0], lambda: self.server.announce({"event": "oom"}))

    def _check_health(self, settings: ShimSettings) -> HealthChecks | None:
        if settings.health is None:
            return None
        return HealthChecks(self.loop, self._runtime, self._state, settings.health, self.server.announce)

    def serve(self, ended: int | None) -> None:
        """Work until the container has ended and nobody needs its shim any more. `ended`: init's code, if it has."""
        self.streams.start()
        if ended is not None:
            self._init_ended(ended)
        self.loop.run(self._finished)
        self.server.stop()
        if not self._recorded:
            self._attempt(lambda: sync_exit_file(self._state))

    def close(self) -> None:
        """Close every descriptor."""
        self.loop.close()
        self.server.close()
        self._stdio.close()
        os.close(self._signals)
        os.close(self._state)

    # what a daemon asks for

    @property
    def has_ended(self) -> bool:
        """Whether it has ended and is deleted in the runtime."""
        return self._deleted

    def describe(self) -> dict[str, Any]:
        """The body of a hello."""
        about = {
            "id": self._id,
            "shim_pid": os.getpid(),
            "pid": self._container.pid,
            "starttime": self._container.start_time,
            "status": "running" if self._exit is None else "exited",
            "execs": self.execs.states(),
        }
        return about if self._exit is None else {**about, "exit": self._exit.to_json()}

    def repeat_exit(self, connection: Connection) -> None:
        """Tell a daemon that came late that the container has ended; after the reply it waits for."""
        if self._exit is not None:
            event = {"event": "exit", **self._exit.to_json()}
            self.loop.later(0, lambda: connection.send(event))

    def attach(self, attach: ClientAttach, client: int) -> None:
        """Attach the connection `client`, taken over on success. Raises Conflict, InvalidArgument."""
        self._require_running()
        self.streams.add(client, attach, start=True)

    def attach_held(self, attach: ClientAttach, client: int) -> tuple[int, Callable[[], None]]:
        """As `attach`, but the client gets nothing before the returned function is called; what the process wrote until the time (ns) is
        in the log, what it writes later is kept."""
        self._require_running()
        held = self.streams.add(client, attach, start=False)
        self.streams.hold(held)
        return time_ns(), held.start

    def exec(
        self, exec_id: str, process: Mapping[str, Any], attach: ClientAttach | None, client: int | None
    ) -> int:
        """Start an exec; see `Execs.start`. Raises Conflict when the container has ended."""
        self._require_running()
        return self.execs.start(exec_id, process, attach, client)

    def resize(self, height: int, width: int, exec_id: str | None) -> None:
        """Set the size of the container's terminal, or an exec's. Raises Conflict, NotFound."""
        if exec_id is not None:
            self.execs.resize(exec_id, height, width)
            return
        console = self._stdio.console
        if console is None:
            raise Conflict(f"container {self._id} has no terminal or has ended")
        set_window_size(console, height, width)

    def kill(self, number: int, all: bool) -> None:
        """Send a signal to init, or to every process. Raises Conflict when the container has ended."""
        self._require_running()
        self._runtime.kill(number, all)

    def runtime(self) -> RuntimeCalls:
        """The container's runtime. Raises Conflict when the container has ended."""
        self._require_running()
        return self._runtime

    def pause(self) -> None:
        """Freeze the container. Raises Conflict when it has ended."""
        self.runtime().pause()
        if self._health is not None:
            self._health.pause()

    def resume(self) -> None:
        """Undo `pause`."""
        self.runtime().resume()
        if self._health is not None:
            self._health.resume()

    def resolve(self, netns: int) -> None:
        """Answer names in the namespace `netns` from now on; idempotent. Raises FailedPrecondition, Conflict."""
        self._require_running()
        if self._resolver_sockets:
            return

        def task() -> Answer:
            from barque.shim.resolver_sockets import make_sockets

            return b"", make_sockets(netns, self._defect)

        self._resolver_sockets = Worker(task, self._defect).result()[1]
        self._await_query()

    def _await_query(self) -> None:
        """A container that asks for no name does not pay for a resolver."""
        for sock in self._resolver_sockets[:2]:
            self.loop.watch(sock, select.EPOLLIN, self._first_query)

    def _first_query(self, _: int) -> None:
        from barque.shim.resolver import Resolver

        self._resolver = Resolver(self.loop, self._state, self._resolver_sockets)

    def release(self) -> None:
        """A daemon has recorded the exit: free the socket's name, and end when the clients have their output."""
        self.server.stop()
        self._released = self._recorded = True

    def _require_running(self) -> None:
        if self._exit is not None:
            raise Conflict(f"Container {self._id} is not running")

    # what the container does

    def _signalled(self, _: int) -> None:
        os.read(self._signals, 4096)
        code = None
        for pid, status in reap():
            if pid == self._container.pid and self._exit is None:
                code = status
            elif not self.execs.reaped(pid, status) and self._health is not None:
                self._health.reaped(pid, status)
        if code is not None:
            self._init_ended(code)

    def _init_ended(self, code: int) -> None:
        """Everything the `exit` event promises, the event, and then what nobody has to wait for."""
        now = time_ns()
        if self._container.shares_pids:
            self._attempt(lambda: self._runtime.kill(signal.SIGKILL, True))
        self._close_resolver()
        if self._health is not None:
            self._health.stop()
        self.streams.drain()
        self._log.close()
        ended = Exit(code, now, self._check_oom())
        self._attempt(lambda: write_exit_file(self._state, ended))
        self._exit = ended
        self.server.announce({"event": "exit", **ended.to_json()})
        self.streams.finish()
        self._delete()
        self.loop.later(_LINGER, self._overdue)

    def _close_resolver(self) -> None:
        """The sockets hold the container's network namespace."""
        if self._resolver is not None:
            self._resolver.close()
        else:
            for sock in self._resolver_sockets[:2]:
                self.loop.forget(sock)
            packets.close_all(self._resolver_sockets)
        self._resolver_sockets = []

    def _check_oom(self) -> bool:
        if self._memory_watch is not None:
            self._memory_watch.close()
        if self._memory.has_news():
            self.server.announce({"event": "oom"})
        return self._memory.kills() > 0

    def _delete(self) -> None:
        # with a pid namespace of its own nothing of the container outlives init
        self._attempt(self._runtime.delete if self._container.shares_pids else self._runtime.delete_here)
        for pid, code in reap():
            self.execs.reaped(pid, code)
        self.execs.end_all()
        self._deleted = True

    def _overdue(self) -> None:
        self._released = True

    def _finished(self) -> bool:
        nobody_waits = self._released or not self.server.connections
        return self._deleted and nobody_waits and self.streams.idle and self.execs.idle

    def _detached(self) -> None:
        self.server.announce({"event": "detach"})

    def _log_failed(self, message: str, lost: int) -> None:
        self.server.announce({"event": "log-error", "message": message, "lost": lost})

    # what goes wrong

    def _attempt(self, action: Callable[[], None]) -> None:
        """A step whose failure must not keep the following ones from being done."""
        try:
            action()
        except (BarqueError, OSError) as error:
            self._defect(error)

    def _defect(self, error: Exception) -> None:
        report_defect(self._state, error)
