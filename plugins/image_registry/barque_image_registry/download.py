"""Stream one layer into a sink, going on where an earlier try stopped (distribution spec: pulling blobs; RFC 9110, 14)."""

from __future__ import annotations

import re

from barque.spi import Descriptor
from barque.spi.errors import BarqueError
from barque.spi.image import BlobSink
from barque_image_registry.client import RegistryClient, Repository
from barque_image_registry.connection import BrokenTransfer
from barque_image_registry.throttle import Throttle
from barque_image_registry.transport import Reply
from barque_image_registry.wire import Check

__all__ = ["download"]

_CHUNK = 256 << 10
_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)")


class SinkStopped(Exception):
    """The sink refused the bytes; `cause` is its own error, which no other try may hide."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


def download(
    client: RegistryClient,
    repository: Repository,
    layer: Descriptor,
    sink: BlobSink,
    throttle: Throttle,
    check: Check,
) -> None:
    """Write the bytes of `layer` from `sink.offset` on. Errors of the sink pass unchanged; the rest as `RegistryClient.get`."""
    try:
        client.retrying(lambda: _once(client, repository, layer, sink, throttle, check), check, patient=True)
    except SinkStopped as stopped:
        raise stopped.cause from None


def _once(
    client: RegistryClient,
    repository: Repository,
    layer: Descriptor,
    sink: BlobSink,
    throttle: Throttle,
    check: Check,
) -> None:
    if sink.offset > layer.size:
        sink.restart()
    start = sink.offset
    if start == layer.size and start > 0:
        return
    headers = {"Accept": "*/*"} | ({"Range": f"bytes={start}-"} if start else {})
    with client.get(repository, f"blobs/{layer.digest}", headers, frozenset({200, 206, 416}), check) as reply:
        if not _continues(reply, start, layer.size):
            sink.restart()
            if reply.status != 200:
                raise BrokenTransfer(f"{reply.url.origin.host}: unusable answer to a range request")
        _copy(reply, layer, sink, throttle, check)


def _continues(reply: Reply, start: int, size: int) -> bool:
    """Whether the body is exactly the bytes from `start` on."""
    if reply.status == 200:
        return start == 0
    match = _RANGE.fullmatch(reply.headers.get("Content-Range") or "")
    if reply.status != 206 or match is None:
        return False
    first, last, total = match.groups()
    return int(first) == start and int(last) == size - 1 and total in ("*", str(size))


def _copy(reply: Reply, layer: Descriptor, sink: BlobSink, throttle: Throttle, check: Check) -> None:
    left = layer.size - sink.offset
    host = reply.url.origin.host
    if reply.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise BrokenTransfer(f"{host}: encoded a blob though it was not asked to")
    if reply.length is not None and reply.length != left:
        raise BrokenTransfer(f"{host}: {reply.length} bytes announced for {layer.digest}, {left} expected")
    buffer = memoryview(bytearray(_CHUNK))
    while count := reply.readinto(buffer):
        check()
        if count > left:
            raise BrokenTransfer(f"{host}: sent more than the {layer.size} bytes of {layer.digest}")
        try:
            sink.write(buffer[:count])
        except (BarqueError, OSError) as error:
            raise SinkStopped(error) from error
        left -= count
        throttle.take(count, check)
    if left:
        raise BrokenTransfer(f"{host}: unexpected EOF, {left} bytes of {layer.digest} are missing")
