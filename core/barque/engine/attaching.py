"""Attach, logs, resize: clients and a container's streams."""

from __future__ import annotations

import base64
import os
import socket
import struct
from collections.abc import Iterator

from barque.engine.containers import ContainerService
from barque.engine.core import Core
from barque.engine.lifecycle.asking import running_shim
from barque.engine.logs import readable_log
from barque.engine.records import ContainerRecord, PendingClient
from barque.shim.protocol import ClientAttach
from barque.spi import errors
from barque.spi.errors import Conflict, NotFound
from barque.spi.frontend import AttachRequest, ClientStream, LogsRequest
from barque.spi.log import LogEntry, LogQuery

__all__ = ["Attacher"]

_DEFAULT_KEYS = "ctrl-p,ctrl-q"
_STUCK_SECONDS = 30
_STREAMS = {"stdout": 1, "stderr": 2}


class Attacher:
    """Connects clients. After `attach` returned, the stream is the shim's."""

    def __init__(self, core: Core, containers: ContainerService) -> None:
        self._core, self._containers = core, containers

    def attach(self, record: ContainerRecord, request: AttachRequest, stream: ClientStream) -> None:
        """See `Engine.container_attach`."""
        with record.lock:
            _check(record)
            preread = base64.b64encode(stream.preread).decode()
            keys = request.detach_keys or _DEFAULT_KEYS
            attach = ClientAttach(request.stdin, request.stdout, request.stderr, keys, preread)
            # What needs a descriptor comes before the client is told that all is well: there may be none left.
            if request.stream and not record.running:
                self._park(record, request, stream, attach)
            elif request.stream and not request.logs:
                with running_shim(self._core, record) as shim:
                    stream.accept()
                    shim.attach(attach, stream.fd)
        if not request.stream:
            stream.accept()
            if request.logs:
                self._replay(record, request, stream.fd)
        elif request.logs and record.running:
            self._follow(record, request, stream, attach)
        self._core.publish(record.stored, "attach")

    def _follow(
        self, record: ContainerRecord, request: AttachRequest, stream: ClientStream, attach: ClientAttach
    ) -> None:
        """First what was printed so far, then what comes: the shim keeps that meanwhile, so that no line is lost or comes twice."""
        with running_shim(self._core, record) as shim:
            stream.accept()
            try:
                until = shim.attach_held(attach, stream.fd)
            except errors.NotImplemented:  # a shim of an earlier release
                self._replay(record, request, stream.fd)
                shim.attach(attach, stream.fd)
                return
            self._replay(record, request, stream.fd, until)
            shim.attach_go()

    def resize(self, record: ContainerRecord, height: int, width: int) -> None:
        """See `Engine.container_resize`."""
        if not record.running:
            raise Conflict(f"container {record.id} is not running")
        with running_shim(self._core, record) as shim:
            shim.resize(height, width)
        self._core.publish(record.stored, "resize", height=height, width=width)

    def logs(self, record: ContainerRecord, request: LogsRequest) -> Iterator[LogEntry]:
        """See `Engine.container_logs`."""
        query = LogQuery(
            stdout=request.stdout,
            stderr=request.stderr,
            since_ns=request.since_ns,
            until_ns=request.until_ns,
            tail=request.tail,
            follow=request.follow and record.running,
            finished=lambda: not record.running,
            stopped=request.stopped,
        )
        driver, spec = readable_log(self._core, record.stored, self._containers.views.log_spec(record.stored))
        return driver.read(spec, query)

    def _park(
        self, record: ContainerRecord, request: AttachRequest, stream: ClientStream, attach: ClientAttach
    ) -> None:
        """Keep the client until the start; when it leaves before, let go."""
        client = PendingClient(attach, os.dup(stream.fd))
        try:
            stream.accept()
            if request.logs:
                self._replay(record, request, stream.fd)
        except BaseException:
            os.close(client.fd)
            raise
        record.pending.append(client)

        def gone() -> None:
            with record.lock:
                if client in record.pending:
                    record.pending.remove(client)
                    self._core.close_pending(client)

        self._core.monitor.watch_hangup(client.fd, gone)

    def _replay(self, record: ContainerRecord, request: AttachRequest, fd: int, until_ns: int = 0) -> None:
        """Send the log, until a time (0: all of it). A client that takes nothing for a while is cut off."""
        query = LogsRequest(stdout=request.stdout, stderr=request.stderr, until_ns=until_ns)
        with socket.socket(fileno=os.dup(fd)) as client:
            client.setblocking(True)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _STUCK_SECONDS, 0))
            try:
                for entry in self.logs(record, query):
                    head = b"" if record.stored.config.tty else _frame_head(entry)
                    client.sendall(head + entry.data)
            except BlockingIOError:
                client.shutdown(socket.SHUT_RDWR)
            except (BrokenPipeError, ConnectionResetError):
                return  # who has left needs no more of it


def _check(record: ContainerRecord) -> None:
    """Errors: NotFound, Conflict, in Docker's words."""
    if record.removed:
        raise NotFound(f"No such container: {record.id}")
    if record.stored.state.status == "paused":
        raise Conflict(f"container {record.id} is paused, unpause the container before attach")
    if record.restarting:
        raise Conflict(f"container {record.id} is restarting, wait until the container is running")


def _frame_head(entry: LogEntry) -> bytes:
    """Docker's frame: stream, three zero bytes, length (big-endian)."""
    return struct.pack(">BxxxL", _STREAMS[entry.stream], len(entry.data))
