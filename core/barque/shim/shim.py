"""The shim: one single-threaded process a container, its parent and the keeper of its streams.

It is forked from the launcher, brings the container up, and serves daemons that come and go until
the container has ended and a daemon knows it, or can find it in `exit.json`.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
from collections.abc import Mapping
from time import time_ns
from typing import Any

from barque.shim import kernel, packets
from barque.shim.container import Container, Drivers, open_log, open_state
from barque.shim.container_log import ContainerLog
from barque.shim.crash_log import report_defect
from barque.shim.execs import Execs
from barque.shim.exit_file import Exit, write_exit_file
from barque.shim.loop import Loop
from barque.shim.memory_cgroup import MemoryCgroup
from barque.shim.operations import Operations
from barque.shim.process import child_signals, start_time
from barque.shim.protocol import ClientAttach, ShimConfig
from barque.shim.reaper import reap
from barque.shim.server import Connection, Server
from barque.shim.stdio import set_window_size
from barque.spi.errors import BarqueError, Conflict

__all__ = ["Shim", "run"]

_LINGER = 10.0
"""Seconds a shim waits for a connected daemon's `release`."""

_SETTLE = 0.1


def run(
    payload: int, drivers: Drivers, control: socket.socket, netns: int | None, clients: list[int]
) -> None:
    """Be a shim from launch to end, in a process that has just been forked; takes the descriptors over.

    A container that cannot be started leaves nothing but the `failed` event, and its clients untouched.
    """
    shim = None
    try:
        config = ShimConfig.from_json(packets.read_payload(payload))
        os.close(payload)
        shim = Shim(config, drivers)
        shim.start(config, drivers, netns, clients)
    except Exception as error:  # noqa: BLE001 - whatever it is, the daemon is told and nothing is left behind
        if shim is not None:
            shim.undo()
        packets.send(control, {"event": "failed", **packets.error_reply(error)})
        return
    del config, drivers
    shim.serve(control)


class Shim:
    """What a shim does on events of its container and on requests of a daemon."""

    def __init__(self, config: ShimConfig, drivers: Drivers) -> None:
        self._state = open_state(config)
        self.loop = Loop(self._defect)
        self.server = Server(self.loop, self._state, Operations(self).dispatch)
        self._container = Container(config, drivers)
        self._log = ContainerLog(self._log_failed)
        self._signals = child_signals()
        self._start_time = 0
        self._memory: MemoryCgroup | None = None
        self._oom_told = False
        self._exit: Exit | None = None
        self._deleted = False
        self._released = False
        self.execs = Execs(
            self.loop, self._container.runtime, self._container.id, self._container.root, self.server.announce
        )
        self.streams = self._container.open_streams(self.loop, config, self._log, self._detached)

    def start(self, config: ShimConfig, drivers: Drivers, netns: int | None, clients: list[int]) -> None:
        """Bring the container up; returns when its program runs. On an error the caller calls `undo`."""
        self._log.open(open_log(config, drivers))
        self._container.add_clients(self.streams, config, clients)
        self.server.listen()
        self._container.start(config, netns)
        self._start_time = start_time(self._container.pid)
        if netns is not None:
            os.close(netns)  # the container holds it now

    def undo(self) -> None:
        """Leave nothing of a start that failed."""
        self.streams.disown()
        self._log.close()
        self._delete()
        self.server.stop()

    def serve(self, control: socket.socket) -> None:
        """Work until the container has ended and nobody needs its shim any more."""
        self.server.adopt(control)
        self.server.announce({"event": "started", "pid": self._container.pid, "starttime": self._start_time})
        self._memory = MemoryCgroup(self._container.pid)
        self.loop.watch(self._signals.fileno(), select.EPOLLIN, self._signalled)
        self.streams.start()
        self.loop.later(_SETTLE, _settle)
        self.loop.run(self._finished)
        self.server.stop()

    # what a daemon asks for

    @property
    def has_ended(self) -> bool:
        """Whether the container has ended and is deleted in the runtime."""
        return self._deleted

    def describe(self) -> dict[str, Any]:
        """The body of a hello."""
        about = {
            "id": self._container.id,
            "shim_pid": os.getpid(),
            "pid": self._container.pid,
            "starttime": self._start_time,
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
        console = self._container.stdio.console
        if console is None:
            raise Conflict(f"container {self._container.id} has no terminal or has ended")
        set_window_size(console, height, width)

    def kill(self, number: int, all: bool) -> None:
        """Send a signal to init, or to every process. Raises Conflict when the container has ended."""
        self._require_running()
        self._container.kill(number, all)

    def release(self) -> None:
        """A daemon has recorded the exit: free the socket's name, and end when the clients have their output."""
        self.server.stop()
        self._released = True

    def _require_running(self) -> None:
        if self._exit is not None:
            raise Conflict(f"Container {self._container.id} is not running")

    # what the container does

    def _signalled(self, _: int) -> None:
        self._signals.recv(4096)
        self._reap()

    def _reap(self) -> None:
        init = None
        for pid, code in reap():
            if pid == self._container.pid and self._exit is None:
                init = code
            else:
                self.execs.reaped(pid, code)
        if init is not None:
            self._init_ended(init)

    def _init_ended(self, code: int) -> None:
        """Everything the `exit` event promises, the event, and then what nobody has to wait for."""
        now = time_ns()
        if self._container.shares_pids:
            self._attempt(lambda: self._container.kill(signal.SIGKILL, True))
        self.streams.drain()
        self._log.close()
        ended = Exit(code, now, self._check_oom())
        self._attempt(lambda: write_exit_file(self._state, ended))
        self._exit = ended
        self.server.announce({"event": "exit", **ended.to_json()})
        self.streams.finish()
        self._delete()
        self.loop.later(_LINGER, self._overdue)

    def _check_oom(self) -> bool:
        oom = self._memory is not None and self._memory.kills() > 0
        if oom and not self._oom_told:
            self._oom_told = True
            self.server.announce({"event": "oom"})
        return oom

    def _delete(self) -> None:
        self._attempt(self._container.delete)
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

    # what must not happen

    def _attempt(self, action: Any) -> None:
        """A step whose failure must not keep the following ones from being done."""
        try:
            action()
        except (BarqueError, OSError) as error:
            self._defect(error)

    def _defect(self, error: Exception) -> None:
        report_defect(self._state, error)


def _settle() -> None:
    """Once the start is over: give back what it used, and let the collector see what comes from now on."""
    gc.enable()
    gc.collect()
    kernel.malloc_trim()
