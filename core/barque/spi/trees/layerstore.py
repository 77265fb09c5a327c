"""Layers on the disk, each unpacked in a worker process, applied by one rename and removed by one rename.

layers/<hex>/fs   the unpacked layer      layers/<hex>/layer.json   its usage, and how it was unpacked
"""

from __future__ import annotations

import builtins
import json
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any

from barque.spi.errors import InvalidArgument, NotFound
from barque.spi.storage import LayerApply, Usage
from barque.spi.trees import tree, xattrs
from barque.spi.trees.failures import reported
from barque.spi.trees.jobs import UNPACK, VERIFY, Unpack
from barque.spi.trees.places import Places, check_diff_id
from barque.spi.trees.pool import WorkerPool
from barque.spi.trees.streaming import stream

__all__ = ["LayerStore", "Unpacking"]

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_RECORD = 4096


@dataclass(frozen=True, slots=True)
class Unpacking:
    """How layers are unpacked. `workers`: processes at the same time, 0 means one a processor; they end after `idle_seconds`
    without work. `whiteouts`: the form of `barque.spi.trees.whiteouts` that a driver reads. A layer with more than `max_entries`
    or `max_bytes` is refused. `one_owner`: everything belongs to this process's user, whatever a layer says."""

    whiteouts: str
    workers: int = 0
    idle_seconds: float = 5.0
    max_entries: int = 2_000_000
    max_bytes: int = 1 << 40
    one_owner: bool = False


class LayerStore:
    """The layers of `places`. A layer that is there is complete and was synced before it got its name. Thread-safe."""

    def __init__(self, places: Places, unpacking: Unpacking) -> None:
        self._places = places
        self._unpacking = unpacking
        workers = unpacking.workers or os.cpu_count() or 1
        self._pool = WorkerPool(UNPACK, workers, unpacking.idle_seconds, places.empty)
        self._verifying = WorkerPool(VERIFY, workers, unpacking.idle_seconds, places.empty)
        self._user_namespace = xattrs.in_user_namespace()
        self._locks = _KeyedLocks()

    def apply(self, request: LayerApply) -> Usage:
        """See `storage_apply`. Of two calls for one layer the second waits and finds it done."""
        digest = check_diff_id(request.diff_id)
        with self._locks.held(digest):
            if os.path.isdir(self._places.layer(digest)):
                self.published(digest)
                return self.usage(request.diff_id)
            with (
                reported(f"unpacking {request.diff_id}", self._places.root),
                self._places.scratch() as scratch,
            ):
                usage = self._fill(request, scratch)
                self._write_record(scratch, request.diff_id, usage)
                self._places.publish_layer(scratch, digest)
                self.published(digest)
                return usage

    def published(self, digest: str) -> None:
        """For a subclass: the layer with these hex digits is there; nobody removes it meanwhile."""

    def removing(self, digest: str) -> None:
        """For a subclass: the layer goes, there or not."""

    def files(self, diff_id: str) -> str:
        """The directory with the layer's files. Errors: InvalidArgument, NotFound."""
        path = os.path.join(self._places.layer(check_diff_id(diff_id)), "fs")
        if not os.path.isdir(path):
            raise NotFound(f"no such layer: {diff_id}", hint="pull the image again")
        return path

    def usage(self, diff_id: str) -> Usage:
        """What was recorded while unpacking; measured again when the record is damaged. Errors: InvalidArgument, NotFound."""
        files = self.files(diff_id)
        try:
            record = _record(files)
            return Usage(int(record["bytes"]), int(record["inodes"]))
        except (ValueError, KeyError, TypeError):
            try:
                return tree.measure(files)
            except FileNotFoundError:
                raise NotFound(f"no such layer: {diff_id}") from None

    def verify(self, request: LayerApply) -> tuple[str, ...]:
        """See `storage_verify`."""
        files = self.files(request.diff_id)
        fields = self._fields(request)
        fields["one_owner"] = _record(files).get("one_owner", self._unpacking.one_owner)
        lines: builtins.list[bytes] = []
        doing = f"verifying {request.diff_id}"
        with _opened_blob(request.blob) as blob_fd, _opened_directory(files) as root_fd:
            stream(self._verifying, fields, (blob_fd, root_fd), lines.append, doing)
        return tuple(b"".join(lines).decode().splitlines())

    def list(self) -> tuple[str, ...]:
        """The diff ids of all complete layers."""
        names = sorted(name for name in os.listdir(self._places.layers) if len(name) == 64)
        return tuple(f"sha256:{name}" for name in names)

    def remove(self, diff_id: str) -> None:
        """See `storage_remove_layer`."""
        digest = check_diff_id(diff_id)
        with self._locks.held(digest), reported(f"removing layer {diff_id}", self._places.root):
            self.removing(digest)
            self._places.trash.take(self._places.layer(digest))

    def _fill(self, request: LayerApply, scratch: str) -> Usage:
        """Have a worker unpack into `scratch`/fs."""
        replaced = os.path.join(scratch, "replaced")
        with (
            _opened_blob(request.blob) as blob_fd,
            _made_directory(os.path.join(scratch, "fs")) as root_fd,
            _made_directory(replaced) as out_fd,
        ):
            fds = (blob_fd, root_fd, out_fd)
            done = self._pool.call(self._fields(request), fds, f"unpacking {request.diff_id}")
        try:
            os.rmdir(replaced)
        except OSError:
            self._places.trash.take(replaced)
        return Usage(done["bytes"], done["inodes"])

    def _fields(self, request: LayerApply) -> dict[str, Any]:
        """Of a job of `unpack` or `verify`."""
        job = Unpack(
            diff_id=request.diff_id,
            media_type=request.media_type,
            place=self._places.root,
            user_namespace=self._user_namespace,
            max_entries=self._unpacking.max_entries,
            max_bytes=self._unpacking.max_bytes,
            one_owner=self._unpacking.one_owner,
            whiteouts=self._unpacking.whiteouts,
        )
        return asdict(job)

    def _write_record(self, scratch: str, diff_id: str, usage: Usage) -> None:
        """layer.json; the syncfs before the rename covers it."""
        record = {"diff_id": diff_id, **asdict(usage), "one_owner": self._unpacking.one_owner}
        with open(os.path.join(scratch, "layer.json"), "x", encoding="ascii") as file:
            json.dump(record, file)


class _KeyedLocks:
    """One lock for each name in use."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[str, tuple[threading.Lock, int]] = {}

    @contextmanager
    def held(self, name: str) -> Iterator[None]:
        """Hold the lock of `name`."""
        with self._guard:
            lock, users = self._locks.get(name, (threading.Lock(), 0))
            self._locks[name] = (lock, users + 1)
        try:
            with lock:
                yield
        finally:
            with self._guard:
                users = self._locks[name][1] - 1
                if users:
                    self._locks[name] = (lock, users)
                else:
                    del self._locks[name]


def _record(files: str) -> dict[str, Any]:
    """layer.json of the layer with this directory of files; empty when it is missing or damaged."""
    try:
        with open(os.path.join(os.path.dirname(files), "layer.json"), "rb") as file:
            record = json.loads(file.read(_MAX_RECORD))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


@contextmanager
def _opened_blob(path: str) -> Iterator[int]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
    except FileNotFoundError:
        raise NotFound(f"no such blob: {path}") from None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise InvalidArgument(f"the blob is not a regular file: {path}")
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _opened_directory(path: str) -> Iterator[int]:
    fd = os.open(path, _OPEN_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _made_directory(path: str) -> Iterator[int]:
    """A new directory with nothing inherited: no set-group-id, no default ACL."""
    os.mkdir(path)
    with _opened_directory(path) as fd:
        os.fchown(fd, os.geteuid(), os.getegid())
        os.fchmod(fd, 0o755)
        for attribute in ("system.posix_acl_default", "system.posix_acl_access"):
            with suppress(OSError):
                os.removexattr(fd, attribute)
        yield fd
