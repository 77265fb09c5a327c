"""Starting a container: network, /etc files, spec, launch. Undone step by step when one fails."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from barque.engine import failpoints
from barque.engine.bind_sources import make_source
from barque.engine.containers import ContainerService
from barque.engine.core import Core
from barque.engine.lifecycle.describing import Describer
from barque.engine.lifecycle.health import initial_health
from barque.engine.lifecycle.joining import joined_sandbox
from barque.engine.networking.choosing import ports_of, way_out_first
from barque.engine.networking.links import linked
from barque.engine.networking.service import Connection
from barque.engine.records import ContainerRecord, PendingClient
from barque.engine.volumes.attached import binds_more
from barque.shim.client import ShimClient, read_event
from barque.shim.crash_log import last_defect
from barque.shim.protocol import EXIT_FILE
from barque.spi.errors import (
    BarqueError,
    Conflict,
    Internal,
    InvalidArgument,
    NotFound,
    Unavailable,
    from_wire,
)
from barque.spi.frontend import ContainerState
from barque.spi.trees.failures import reported

if TYPE_CHECKING:
    from barque.engine.volumes.binding import Bound

__all__ = ["Starter"]

_log = logging.getLogger(__name__)


class Starter:
    """Starts containers. `ended` is told when a start failed or the container's shim spoke."""

    def __init__(
        self,
        core: Core,
        containers: ContainerService,
        on_event: Callable[[ContainerRecord, dict[str, Any] | None], None],
    ) -> None:
        self._core, self._containers, self._on_event = core, containers, on_event
        self._describer = Describer(core, containers)

    def start(self, record: ContainerRecord) -> bool:
        """See `Engine.container_start`."""
        with record.lock:
            if record.stored.state.status == "paused":
                raise Conflict("cannot start a paused container, try unpause instead")
            if record.active:
                return False
            if record.removed or record.stored.state.status in ("removing", "dead"):
                raise Conflict("container is marked for removal and cannot be started")
            record.user_stop, record.backoff = False, 0.0
            self._start_or_fail(record, restart_count=0)
            return True

    def start_again(self, record: ContainerRecord) -> None:
        """Start it as its restart policy does; nothing if it does not wait for that any more. Errors as of `start`."""
        with record.lock:
            if record.restarting:
                self._start_or_fail(record, record.stored.restart_count)

    def revive(self, record: ContainerRecord) -> None:
        """Start it at the daemon's start, whatever it waits for; nothing if it runs. Errors as of `start`."""
        with record.lock:
            if record.restarting:
                self._start_or_fail(record, restart_count=0)
            else:
                self.start(record)

    def _start_or_fail(self, record: ContainerRecord, restart_count: int) -> None:
        try:
            self._start(record, restart_count)
        except BarqueError as error:
            raise self._failed(record, error) from error

    def _start(self, record: ContainerRecord, restart_count: int) -> None:
        self._await_previous_shim(record)
        with contextlib.ExitStack() as undo:
            connection = self._connect(record, undo)
            try:
                self._launch(record, connection, undo, restart_count)
            finally:
                if connection.netns is not None:
                    os.close(connection.netns)
            undo.pop_all()

    def _await_previous_shim(self, record: ContainerRecord) -> None:
        """A container that ended a moment ago may still be taken down behind the answer. And what says how it ended goes:
        an exit file that a daemon finds is the last run's, whatever the clock says."""
        if record.stored.state.finished_ns:
            with contextlib.suppress(NotFound, Unavailable), ShimClient.connect(self._state(record)) as shim:
                shim.release()
            Path(self._state(record), EXIT_FILE).unlink(missing_ok=True)

    def _failed(self, record: ContainerRecord, error: BarqueError) -> BarqueError:
        """Record a start that failed; the error a client shall see (126 and 127 as Docker words them)."""
        code = error.exit_code if error.exit_code in (126, 127) else 128
        status = "exited" if record.restarting else record.stored.state.status
        state = replace(record.stored.state, status=status, exit_code=code, error=error.message)
        record.change(self._core.database, state=state, endpoints={})
        pending = self._take_pending(record)
        _close_all(pending)
        record.notify(record.exit_status(), "next-exit", "not-running")
        if code == 128:
            return error
        return InvalidArgument(
            f"failed to create task for container: {error.message}", hint=error.hint, exit_code=code
        )

    def _connect(self, record: ContainerRecord, undo: contextlib.ExitStack) -> Connection:
        config = record.stored.config
        mode, _, other = config.network.partition(":")
        if mode == "container" and other:
            return Connection("sandbox", {}, joined_sandbox(self._containers, other))
        networks = self._core.networks
        links = linked(config, networks.table, self._containers.find) if config.links else ()
        connection = networks.connect(record.id, config, ports_of(config))
        undo.callback(networks.disconnect, connection.endpoints)
        failpoints.hit("start.network")
        return replace(connection, links=links) if links else connection

    def _launch(
        self,
        record: ContainerRecord,
        connection: Connection,
        undo: contextlib.ExitStack,
        restart_count: int,
    ) -> None:
        core, stored = self._core, record.stored
        files = self._containers.views.etc_files(stored)
        host_network = connection.mode == "host"
        hostname = os.uname().nodename if host_network and not stored.config.hostname else stored.hostname
        mode, _, lender = stored.config.network.partition(":")
        if mode == "container":
            hostname = stored.config.hostname or self._containers.find(lender).stored.hostname
        with reported(f"starting container {stored.name}", str(core.layout.containers)):
            if mode != "container":
                hosts = [host for link in connection.links for host in link.hosts]
                ends = way_out_first(connection.endpoints)
                files.write(stored.config, hostname, ends, host_network, connection.resolver, hosts)
        bundle = core.layout.bundle(stored.id)
        (bundle / "rootfs").mkdir(mode=0o700, parents=True, exist_ok=True)
        for bind in stored.config.binds:
            if bind.create_source:
                make_source(bind.source)
        pending = self._take_pending(record)
        undo.callback(_close_all, pending)
        bound = self._bind(record, undo) if binds_more(stored.config) else None
        shim = self._describer.shim_config(stored, connection, files, hostname, pending, bound)
        # One write before anything runs: the next daemon then knows which addresses are in use. After a power cut nothing runs, and
        # only a container with a policy has to be remembered as one that did.
        keep = record.note if stored.config.restart.name == "no" else record.change
        previous = stored.state
        state = ContainerState(
            "running",
            started_ns=time.time_ns(),
            finished_ns=previous.finished_ns,  # Docker shows the last run's end until the next one
            health=initial_health(stored),
        )
        keep(
            core.database,
            state=state,
            endpoints=dict(connection.endpoints),
            boot_id=core.host.boot_id,
            restart_count=restart_count,
            user_stopped=False,
        )
        undo.callback(record.change, core.database, state=previous, endpoints={})
        failpoints.hit("start.launch")
        control = core.launcher().launch(shim, connection.netns, [client.fd for client in pending])
        undo.callback(control.close)
        started = self._await_start(record, control)
        failpoints.hit("start.started")
        state = replace(state, pid=started["pid"])
        record.stored = replace(record.stored, state=state, starttime=started["starttime"])
        # behind the answer: only a daemon that finds no shim needs pid and start time, to kill what it left
        core.monitor.submit(lambda: self._keep(record))
        record.control = control
        core.monitor.watch(control, lambda event: self._on_event(record, event))
        _close_all(pending)
        core.images.touch(stored.image_id)
        if bound is not None:
            self._containers.volumes.mounted(stored)
        core.publish(record.stored, "start")
        if core.networks.naming.linked:
            core.monitor.submit(lambda: core.relink(record))

    def _bind(self, record: ContainerRecord, undo: contextlib.ExitStack) -> Bound:
        undo.callback(self._containers.volumes.unmount, record.stored, told=False)
        bound = self._containers.volumes.bind(record.stored)
        failpoints.hit("start.volumes")
        return bound

    def _keep(self, record: ContainerRecord) -> None:
        with record.lock:
            if record.running:
                record.note(self._core.database)

    def _await_start(self, record: ContainerRecord, control: socket.socket) -> dict[str, Any]:
        event = read_event(control)
        if event is None:
            cause = last_defect(self._state(record)) or "it was killed, or could not write down why"
            _log.error("container %s: its shim died while it started: %s", record.id[:12], cause)
            raise Internal(
                f"the container's shim died while it started: {cause}", hint="see the daemon's log"
            )
        if event.get("event") == "failed":
            raise from_wire(event.get("error") or {})
        if event.get("event") != "started":
            raise Internal(f"the container's shim said {event.get('event')!r} instead of started")
        return event

    def _take_pending(self, record: ContainerRecord) -> list[PendingClient]:
        pending, record.pending = record.pending, []
        for client in pending:
            self._core.monitor.forget(client.fd)
        return pending

    def _state(self, record: ContainerRecord) -> str:
        return os.fspath(self._core.layout.container(record.id))


def _close_all(clients: list[PendingClient]) -> None:
    while clients:
        os.close(clients.pop().fd)
