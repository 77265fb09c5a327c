"""The process that unpacks: `python -I -S -E` with this module's `main`, started and fed by `pool`.

Decompressing and writing a layer would hold the daemon's GIL and put hostile bytes through it. A worker receives
descriptors only: the blob, the directory to fill, one for what gets replaced. It has an empty directory as its root.

One SOCK_SEQPACKET socket, one JSON object a packet: a `Job` and three descriptors come in, `{"bytes", "inodes"}` or
`{"error": …}` goes out. The worker ends at once when the daemon's end closes, also in the middle of a layer.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import select
import signal
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from barque.spi.errors import BarqueError, Internal, InvalidArgument, ResourceExhausted
from barque.spi.storage import Usage
from barque_storage_overlay import tree
from barque_storage_overlay.compression import pieces
from barque_storage_overlay.extract import Extractor, Limits
from barque_storage_overlay.stream import LayerStream
from barque_storage_overlay.tar import TarReader

__all__ = ["DESCRIPTORS", "MAX_PACKET", "Job", "main", "unpack"]

MAX_PACKET = 65536
DESCRIPTORS = 3
_MAX_MEMORY = 1536 << 20  # of address space: a zstd window, a few thread arenas, and two million directories


@dataclass(frozen=True, slots=True)
class Job:
    """One layer to unpack. `place` is what error messages call the file system."""

    diff_id: str
    media_type: str
    place: str
    user_namespace: bool
    max_entries: int
    max_bytes: int
    one_owner: bool = False


def main(argument: str) -> None:
    """Serve jobs on the socket with the descriptor `argument` until the daemon is gone."""
    socket_fd = int(argument)
    connection = socket.socket(fileno=socket_fd)
    _isolate()
    threading.Thread(target=_exit_with_daemon, args=(socket_fd,), daemon=True).start()
    while True:
        packet, descriptors, _flags, _address = socket.recv_fds(connection, MAX_PACKET, DESCRIPTORS)
        if not packet:
            os._exit(0)
        try:
            reply = _serve(Job(**json.loads(packet)), descriptors)
        finally:
            for fd in descriptors:
                os.close(fd)
        connection.send(json.dumps(reply).encode())


def unpack(job: Job, blob_fd: int, root_fd: int, scratch_fd: int) -> Usage:
    """Unpack the layer in `blob_fd` into `root_fd` and verify its diff id. Errors: as `storage_apply`."""
    limits = Limits(max_entries=job.max_entries, max_bytes=job.max_bytes)
    extractor = Extractor(root_fd, scratch_fd, job.user_namespace, limits, job.place, one_owner=job.one_owner)
    with LayerStream(pieces(blob_fd, job.media_type), limits.max_bytes) as stream:
        extractor.run(TarReader(stream.next_piece, limits.max_entries))
        found = stream.digest()
    if found != job.diff_id:
        raise InvalidArgument(f"wrong diff id: the layer should be {job.diff_id}, its content is {found}")
    return tree.measure(root_fd) if extractor.replaced else Usage(extractor.bytes, extractor.inodes)


def _serve(job: Job, descriptors: Sequence[int]) -> dict[str, Any]:
    try:
        usage = unpack(job, *descriptors)
    except BarqueError as error:
        return {"error": error.to_wire()}
    except MemoryError:
        return {"error": ResourceExhausted(f"unpacking {job.diff_id} needs too much memory").to_wire()}
    except Exception as error:  # noqa: BLE001 - the boundary of the process: the daemon gets the cause, the worker lives on
        return {
            "error": Internal(f"unpacking {job.diff_id} failed: {type(error).__name__}: {error}").to_wire()
        }
    return {"bytes": usage.bytes, "inodes": usage.inodes}


def _isolate() -> None:
    """Make the working directory, which is empty, this process's root. Modes come from the tar, so no umask."""
    os.umask(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's ^C is for the daemon to handle
    gc.disable()  # nothing here makes cycles to speak of, and a worker lives for seconds
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY, _MAX_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if os.geteuid() == 0:
        os.chroot(".")


def _exit_with_daemon(socket_fd: int) -> None:
    """PR_SET_PDEATHSIG would follow the thread that started us, not the daemon: wait for its end of the socket to close."""
    poll = select.poll()
    poll.register(socket_fd, select.POLLRDHUP)
    poll.poll()
    os._exit(1)
