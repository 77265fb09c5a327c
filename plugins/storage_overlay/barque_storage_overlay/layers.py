"""Layers on the disk: applied by one rename, removed by one rename."""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import Any

from barque.spi.errors import InvalidArgument, NotFound
from barque.spi.storage import LayerApply, Usage
from barque.spi.trees import tree, xattrs
from barque.spi.trees.failures import reported
from barque.spi.trees.pool import WorkerPool
from barque.spi.trees.syscalls import syncfs
from barque.spi.trees.trash import Trash
from barque.spi.trees.unpack import Unpack
from barque_storage_overlay.layout import Layout, check_diff_id

__all__ = ["LayerStore", "opened_blob"]

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_RECORD = 4096


class LayerStore:
    """The layers below `layout.layers`. A layer that is there is complete and was synced before it got its name."""

    def __init__(
        self,
        layout: Layout,
        trash: Trash,
        pool: WorkerPool,
        max_entries: int,
        max_bytes: int,
        *,
        one_owner: bool = False,
    ) -> None:
        self._layout = layout
        self._trash = trash
        self._pool = pool
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._one_owner = one_owner
        self._user_namespace = xattrs.in_user_namespace()
        self._opaque = xattrs.opaque_attribute(self._user_namespace)
        self._locks = _KeyedLocks()

    def apply(self, request: LayerApply) -> Usage:
        """See `storage_apply`. Of two calls for one layer the second waits and finds it done."""
        digest = check_diff_id(request.diff_id)
        with self._locks.held(digest):
            if os.path.isdir(self._layout.layer(digest)):
                self.link(digest)
                return self.usage(digest)
            with reported(f"unpacking {request.diff_id}", self._layout.root):
                return self._unpack(request, digest)

    def remove(self, digest: str) -> None:
        """See `storage_remove_layer`. The short name goes first: a link is never left without its layer."""
        with self._locks.held(digest), reported(f"removing layer sha256:{digest}", self._layout.root):
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(self._layout.links, self._layout.short(digest)))
            self._trash.take(self._layout.layer(digest))

    def usage(self, digest: str) -> Usage:
        """What was recorded while unpacking; measured again when the record is damaged. Errors: NotFound."""
        try:
            record = self._record(digest)
            return Usage(int(record["bytes"]), int(record["inodes"]))
        except (OSError, ValueError, KeyError, TypeError):
            try:
                return tree.measure(os.path.join(self._layout.layer(digest), "fs"))
            except FileNotFoundError:
                raise NotFound(f"no such layer: sha256:{digest}") from None

    def has_one_owner(self, digest: str) -> bool:
        """Whether the layer was unpacked for one owner, which the configuration of today does not tell."""
        try:
            return bool(self._record(digest)["one_owner"])
        except (OSError, ValueError, KeyError, TypeError):
            return self._one_owner

    def digests(self) -> tuple[str, ...]:
        """The hex digits of all complete layers."""
        return tuple(sorted(name for name in os.listdir(self._layout.layers) if len(name) == 64))

    def link(self, digest: str) -> str:
        """The short name of the layer's directory, made again when it got lost. Errors: NotFound."""
        short = self._layout.short(digest)
        path = os.path.join(self._layout.links, short)
        if os.path.isdir(path):
            return short
        if not os.path.isdir(self._layout.layer(digest)):
            raise NotFound(f"no such layer: sha256:{digest}", hint="pull the image again")
        with reported("naming a layer", self._layout.root), suppress(FileExistsError):
            os.symlink(f"../layers/{digest}/fs", path)
        return short

    def hides_lower(self, short: str) -> bool:
        """True when the layer's root itself is opaque. overlayfs does not look for that mark on a lower root."""
        try:
            return os.getxattr(os.path.join(self._layout.links, short).encode(), self._opaque) == b"y"
        except OSError:
            return False

    def _record(self, digest: str) -> dict[str, Any]:
        with open(os.path.join(self._layout.layer(digest), "layer.json"), "rb") as file:
            record: dict[str, Any] = json.loads(file.read(_MAX_RECORD))
        return record

    def _unpack(self, request: LayerApply, digest: str) -> Usage:
        with self._layout.scratch() as scratch:
            try:
                usage = self._fill(request, scratch)
                _write_record(scratch, request.diff_id, usage, one_owner=self._one_owner)
                self._publish(scratch, digest)
            except BaseException:
                self._trash.take(scratch)
                raise
        return usage

    def _fill(self, request: LayerApply, scratch: str) -> Usage:
        """Have a worker unpack into `scratch`/fs."""
        replaced = os.path.join(scratch, "replaced")
        files = os.path.join(scratch, "fs")
        job = Unpack(
            diff_id=request.diff_id,
            media_type=request.media_type,
            place=self._layout.root,
            user_namespace=self._user_namespace,
            max_entries=self._max_entries,
            max_bytes=self._max_bytes,
            one_owner=self._one_owner,
        )
        with (
            opened_blob(request.blob) as blob_fd,
            _made_directory(files) as root_fd,
            _made_directory(replaced) as out_fd,
        ):
            done = self._pool.call(asdict(job), (blob_fd, root_fd, out_fd), f"unpacking {request.diff_id}")
            usage = Usage(done["bytes"], done["inodes"])
        try:
            os.rmdir(replaced)
        except OSError:
            self._trash.take(replaced)
        return usage

    def _publish(self, scratch: str, digest: str) -> None:
        """Sync, rename, sync the name: one syncfs(2) is cheaper than an fsync for each of thousands of files."""
        with _opened_directory(self._layout.layers) as layers_fd:
            syncfs(layers_fd)
            os.rename(scratch, self._layout.layer(digest))
            os.fsync(layers_fd)
        self.link(digest)


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


def _write_record(scratch: str, diff_id: str, usage: Usage, *, one_owner: bool) -> None:
    """layer.json, for `usage`, for verifying and for people; the syncfs before the rename covers it."""
    record = {"diff_id": diff_id, "bytes": usage.bytes, "inodes": usage.inodes, "one_owner": one_owner}
    with open(os.path.join(scratch, "layer.json"), "x", encoding="ascii") as file:
        json.dump(record, file)


@contextmanager
def opened_blob(path: str) -> Iterator[int]:
    """A descriptor of a blob. Errors: NotFound, InvalidArgument (not a regular file)."""
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
