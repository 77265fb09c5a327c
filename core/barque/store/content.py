"""The content store: blobs by digest, verified while they are written.

    <root>/blobs/sha256/<hex>     complete, verified, synced
    <root>/ingest/<hex>           unfinished, kept and resumed

A blob becomes visible by one rename. Two writers of one blob take turns; the second finds it done.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from barque.oci.reference import is_digest
from barque.spi.errors import InvalidArgument, NotFound, ResourceExhausted
from barque.store.files import sync_directory, write_atomic

__all__ = ["BlobWriter", "ContentStore"]

_CHUNK = 1 << 20
_PATIENCE = 0.5


class ContentStore:
    """Blobs below one directory. Thread-safe."""

    def __init__(self, root: Path) -> None:
        self._blobs = root / "blobs" / "sha256"
        self._ingest = root / "ingest"
        for directory in (self._blobs, self._ingest):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._writers: dict[str, threading.Lock] = {}

    def path(self, digest: str) -> Path:
        """Where the blob is or would be. Errors: InvalidArgument (not a sha256 digest)."""
        return self._blobs / _hex(digest)

    def has(self, digest: str) -> bool:
        """Whether the blob is here, complete."""
        return self.path(digest).exists()

    def read(self, digest: str, limit: int = 16 << 20) -> bytes:
        """A small blob, verified again. Errors: NotFound, InvalidArgument (damaged, or larger than `limit`)."""
        try:
            with self.path(digest).open("rb") as file:
                data = file.read(limit + 1)
        except FileNotFoundError:
            raise NotFound(f"content {digest} is not in the store", hint="pull the image again") from None
        if len(data) > limit or hashlib.sha256(data).hexdigest() != _hex(digest):
            raise InvalidArgument(f"content {digest} is damaged", hint="remove the image and pull it again")
        return data

    def put(self, digest: str, data: bytes) -> None:
        """Store a small blob, durable on return. Idempotent. Errors: InvalidArgument (wrong digest)."""
        if hashlib.sha256(data).hexdigest() != _hex(digest):
            raise InvalidArgument(f"content does not match its digest {digest}")
        if not self.has(digest):
            write_atomic(self.path(digest), data)

    @contextmanager
    def writing(
        self, digest: str, size: int, moved: Callable[[int], None], waiting: Callable[[], None] = lambda: None
    ) -> Iterator[BlobWriter | None]:
        """A writer for the blob, alone in its work; None when another writer finished it meanwhile.

        `moved(bytes)` is told the position now and then, `waiting()` is asked while another writer is at it; both may
        raise to cancel. What an exception leaves
        behind is kept for resuming, unless the bytes were wrong. Leaving the block verifies and publishes.
        """
        with self._lock:
            lock = self._writers.setdefault(digest, threading.Lock())
        while not lock.acquire(timeout=_PATIENCE):
            waiting()
        try:
            if self.has(digest):
                yield None
                return
            writer = BlobWriter(self._ingest / _hex(digest), self.path(digest), size, moved)
            try:
                yield writer
                writer.publish()
            finally:
                writer.close()
        finally:
            lock.release()

    def remove(self, digest: str) -> None:
        """Delete a blob and what was begun of it. Idempotent."""
        self.path(digest).unlink(missing_ok=True)
        (self._ingest / _hex(digest)).unlink(missing_ok=True)

    def digests(self) -> Iterator[str]:
        """All complete blobs."""
        for entry in os.scandir(self._blobs):
            if not entry.name.startswith("."):
                yield f"sha256:{entry.name}"


class BlobWriter:
    """One blob being written: the `BlobSink` an image source gets."""

    def __init__(self, partial: Path, final: Path, size: int, moved: Callable[[int], None]) -> None:
        self._partial, self._final, self._size, self._moved = partial, final, size, moved
        self._fd = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._hash = hashlib.sha256()
        self._offset = 0
        self._told = 0
        self._resume()

    @property
    def offset(self) -> int:
        """Bytes that are there."""
        return self._offset

    def restart(self) -> None:
        """Begin again from nothing."""
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        self._hash = hashlib.sha256()
        self._offset = self._told = 0

    def write(self, data: bytes | memoryview, /) -> None:
        """Append. Errors: InvalidArgument (more than the descriptor says), ResourceExhausted, whatever `moved` raises."""
        if self._offset + len(data) > self._size:
            self.restart()
            raise InvalidArgument(
                f"sha256:{self._final.name} is larger than the {self._size} bytes of its descriptor"
            )
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            self.restart()
            raise _full(self._final.name, error) from error
        self._hash.update(data)
        self._offset += len(data)
        if self._offset - self._told >= _CHUNK // 2 or self._offset == self._size:
            self._told = self._offset
            self._moved(self._offset)

    def publish(self) -> None:
        """Verify, sync, make visible. Errors: InvalidArgument (digest or size is wrong; nothing is kept)."""
        if self._offset != self._size or self._hash.hexdigest() != self._final.name:
            what = f"{self._offset} of {self._size} bytes" if self._offset != self._size else "another digest"
            self._partial.unlink(missing_ok=True)
            raise InvalidArgument(
                f"sha256:{self._final.name}: the source sent {what}",
                hint="try again; if it persists the source is broken",
            )
        try:
            os.fsync(self._fd)
            os.rename(self._partial, self._final)
            sync_directory(self._final.parent)
        except OSError as error:
            raise _full(self._final.name, error) from error

    def close(self) -> None:
        """Release the descriptor. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _resume(self) -> None:
        """Hash what an interrupted fetch left."""
        while chunk := os.read(self._fd, _CHUNK):
            self._hash.update(chunk)
            self._offset += len(chunk)
        if self._offset > self._size:
            self.restart()


def _full(name: str, error: OSError) -> ResourceExhausted:
    return ResourceExhausted(
        f"content sha256:{name} cannot be written: {error.strerror}",
        hint="free space on the data root's file system",
    )


def _hex(digest: str) -> str:
    if not is_digest(digest):
        raise InvalidArgument(f"{digest[:80]!r} is not a sha256 digest")
    return digest[7:]
