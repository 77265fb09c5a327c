"""Operations on containers that stay open: attach, logs, wait."""

from __future__ import annotations

import re
import struct
import time
from contextlib import closing
from typing import Any

from barque.spi.errors import BarqueError, InvalidArgument
from barque.spi.frontend import AttachRequest, Container, ExitStatus, LogsRequest
from barque.spi.log import LogEntry
from barque_api_docker.call import Call, Stream
from barque_api_docker.detach_keys import detach_keys
from barque_api_docker.http import Response
from barque_api_docker.translate.text import rfc3339_fixed

__all__ = ["MULTIPLEXED", "RAW", "attach", "attach_websocket", "frame", "logs", "stream_type", "wait"]

MULTIPLEXED = "application/vnd.docker.multiplexed-stream"
RAW = "application/vnd.docker.raw-stream"

_POLL_SECONDS = 1.0
_BATCH = 64 << 10
_LIVE_NS = 1_000_000_000
_STREAMS = {"stdin": 0, "stdout": 1, "stderr": 2}
_CONDITIONS = ("not-running", "next-exit", "removed")
_COUNT = re.compile(r"[0-9]{1,18}")
_frame_head = struct.Struct(">BxxxI").pack


def frame(stream: str, data: bytes) -> bytes:
    """One frame of Docker's multiplexed stream."""
    return _frame_head(_STREAMS[stream], len(data)) + data


def stream_type(call: Call, tty: bool) -> str:
    """The content type of output. Clients before 1.42 know `raw-stream` only, whatever is in it."""
    return RAW if tty or call.api_version < (1, 42) else MULTIPLEXED


def attach(call: Call) -> Response | None:
    """`POST /containers/{id}/attach`: hands the connection over."""
    container = call.engine.container_get(call.params["id"])
    request = AttachRequest(
        stdin=call.query_flag("stdin"),
        stdout=call.query_flag("stdout"),
        stderr=call.query_flag("stderr"),
        stream=call.query_flag("stream"),
        logs=call.query_flag("logs"),
        detach_keys=detach_keys(call.query("detachKeys") or ""),
    )
    call.body()
    stream = call.hijack(stream_type(call, container.config.tty))
    call.engine.container_attach(container.id, request, stream)
    return None


def attach_websocket(call: Call) -> None:
    """`GET /containers/{id}/attach/ws`."""
    from barque_api_docker import (
        attach_ws,
    )  # on first use: few ask for it, and the daemon's memory at rest is on a budget

    attach_ws.attach(call)


def wait(call: Call) -> Response | None:
    """`POST /containers/{id}/wait`. The head is sent as soon as the wait is armed: clients start the container then."""
    condition = call.query("condition") or "not-running"
    if condition not in _CONDITIONS:
        raise InvalidArgument(f'invalid condition: "{condition}"')
    waiter = call.engine.container_wait(call.params["id"], condition)
    with closing(waiter):
        stream = call.stream("application/json")
        while not call.gone():
            status = waiter.result(_POLL_SECONDS)
            if status is not None:
                stream.write_json(_exit_document(status))
                stream.close()
                return None
    call.last = True
    return None


def _exit_document(status: ExitStatus) -> dict[str, Any]:
    if status.error:
        return {"StatusCode": status.code, "Error": {"Message": status.error}}
    return {"StatusCode": status.code}


def logs(call: Call) -> Response | None:
    """`GET /containers/{id}/logs`."""
    stdout, stderr = call.query_flag("stdout"), call.query_flag("stderr")
    if not (stdout or stderr):
        raise InvalidArgument("Bad parameters: you must choose at least one stream")
    container = call.engine.container_get(call.params["id"])
    output = _LogOutput(call, container)
    request = LogsRequest(
        stdout=stdout,
        stderr=stderr,
        since_ns=call.query_time("since") or 0,
        until_ns=call.query_time("until") or 0,
        tail=_tail(call),
        follow=call.query_flag("follow"),
        stopped=output.idle,
    )
    entries = call.engine.container_logs(container.id, request)
    output.open()
    try:
        for entry in entries:
            output.write(entry)
    except (BarqueError, OSError) as error:
        output.fail(error)
    output.close()
    return None


def _tail(call: Call) -> int:
    """What is no number means all, as for dockerd."""
    text = call.query("tail") or "all"
    return int(text) if _COUNT.fullmatch(text) else -1


class _LogOutput:
    """Log entries to the client, many to a send while they are old, at once when they are new."""

    def __init__(self, call: Call, container: Container) -> None:
        self._call = call
        self._tty = container.config.tty
        self._timestamps = call.query_flag("timestamps")
        self._details = call.query_flag("details")
        self._type = stream_type(call, self._tty)
        self._stream: Stream | None = None
        self._pending = bytearray()

    def open(self) -> None:
        """Send the answer's head."""
        self._stream = self._call.stream(self._type)

    def write(self, entry: LogEntry) -> None:
        line = entry.data
        if self._details:
            pairs = ",".join(f"{key}={value}" for key, value in sorted(entry.attributes.items()))
            line = pairs.encode() + b" " + line
        if self._timestamps:
            line = rfc3339_fixed(entry.time_ns).encode() + b" " + line
        self._pending += line if self._tty else frame(entry.stream, line)
        if len(self._pending) >= _BATCH or time.time_ns() - entry.time_ns < _LIVE_NS:
            self._flush()

    def idle(self) -> bool:
        """The log driver asks whether to stop, which it does when it has nothing more for now: a moment to send what waits."""
        self._flush()
        return self._call.gone()

    def fail(self, error: Exception) -> None:
        """Tell an error within the stream, in dockerd's way."""
        message = f"Error grabbing logs: {error}\n".encode()
        self._pending += message if self._tty else frame("stderr", message)

    def close(self) -> None:
        self._flush()
        if self._stream is not None:
            self._stream.close()

    def _flush(self) -> None:
        if self._pending and self._stream is not None:
            self._stream.write(bytes(self._pending))
            self._pending.clear()
