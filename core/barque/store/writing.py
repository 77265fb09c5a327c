"""Blobs on their way into the store: written by one thread, hashed by another that follows.

Receiving, writing and hashing would add up in one thread; all three run in C without the GIL. The hashing thread reads
back what was just written, from the page cache: no buffer changes hands, and what is hashed is what the file has.
"""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from barque.spi.errors import InvalidArgument, ResourceExhausted, Unavailable
from barque.spi.trees.syscalls import fallocate, sync_file_range
from barque.store.files import sync_directory

__all__ = ["BlobWriter", "IngestWriter", "write_error"]

_CHUNK = 1 << 20
_TELL = 512 << 10
_WRITEBACK = 8 << 20
_THREAD_FROM = 4 << 20  # below that a thread costs more than it saves
_PREALLOCATE_FROM = 4 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NOT_SUPPORTED = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


class FollowingHash:
    """SHA-256 of the first bytes of a file that grows."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._sha256 = hashlib.sha256()
        self._hashed = 0
        self._written = 0
        self._begun = 0
        self._ended = False
        self._error: OSError | None = None
        self._condition = threading.Condition()
        self._thread: threading.Thread | None = None

    def advance(self, written: int) -> None:
        """So many bytes of the file are there."""
        with self._condition:
            self._written = written
            if self._thread is not None:
                self._condition.notify()
            elif written - self._hashed >= _THREAD_FROM:
                self._thread = threading.Thread(target=self._follow, name="hash", daemon=True)
                self._thread.start()

    def hexdigest(self) -> str:
        """Of all that is there; waits for the rest. Errors: OSError (the file cannot be read)."""
        self.close()
        if self._error is not None:
            raise self._error
        self._hash(self._written)
        return self._sha256.hexdigest()

    def close(self) -> None:
        """Stop following, once all is hashed that is written. Idempotent."""
        with self._condition:
            self._ended = True
            self._condition.notify()
        if self._thread is not None:
            self._thread.join()

    def abandon(self) -> None:
        """Stop at once: nobody wants the digest."""
        with self._condition:
            self._written = 0
        self.close()

    def _follow(self) -> None:
        try:
            while True:
                with self._condition:
                    self._condition.wait_for(lambda: self._ended or self._written - self._hashed >= _CHUNK)
                    end, last = self._written, self._ended
                self._hash(end)
                if last:
                    return
                self._begin_writeback()
        except OSError as error:
            self._error = error

    def _begin_writeback(self) -> None:
        """Keep the disk busy while bytes come: the one fsync at the end then finds little to do."""
        if self._hashed - self._begun >= _WRITEBACK:
            with suppress(OSError):  # it is a hint: what fails here fails at the fsync
                sync_file_range(self._fd, self._begun, self._hashed - self._begun)
            self._begun = self._hashed

    def _hash(self, end: int) -> None:
        if self._hashed >= end:
            return
        buffer = memoryview(bytearray(min(_CHUNK, end - self._hashed)))
        while self._hashed < end and self._hashed < self._written:
            got = os.preadv(self._fd, [buffer[: end - self._hashed]], self._hashed)
            if not got:
                raise OSError(errno.EIO, "the file is shorter than what was written")
            self._sha256.update(buffer[:got])
            self._hashed += got


class _Growing:
    """A file that is appended to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._offset = os.fstat(self._fd).st_size
        self._hash = FollowingHash(self._fd)
        self._hash.advance(self._offset)

    def _append(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while view:
            count = os.pwrite(self._fd, view, self._offset)
            self._offset += count
            view = view[count:]
        self._hash.advance(self._offset)

    def _empty(self) -> None:
        self._hash.abandon()
        os.ftruncate(self._fd, 0)
        self._offset = 0
        self._hash = FollowingHash(self._fd)

    def _place(self, final: Path) -> None:
        """Synced once, renamed, the name synced."""
        os.fsync(self._fd)
        os.rename(self._path, final)
        sync_directory(final.parent)

    def close(self) -> None:
        """Release the descriptor, and blocks that were allocated ahead. Idempotent."""
        if self._fd >= 0:
            self._hash.abandon()
            with suppress(OSError):
                os.ftruncate(self._fd, self._offset)
            os.close(self._fd)
            self._fd = -1


class BlobWriter(_Growing):
    """One blob being written: the `BlobSink` an image source gets."""

    def __init__(self, partial: Path, final: Path, size: int, moved: Callable[[int], None]) -> None:
        super().__init__(partial)
        self._final, self._size, self._moved = final, size, moved
        self._told = 0
        self._allocated = False
        if self._offset > size:
            self.restart()

    @property
    def offset(self) -> int:
        """Bytes that are there."""
        return self._offset

    def restart(self) -> None:
        """Begin again from nothing."""
        self._empty()
        self._told = 0
        self._allocated = False

    def write(self, data: bytes | memoryview, /) -> None:
        """Append. Errors: InvalidArgument (more than the descriptor says), ResourceExhausted, whatever `moved` raises."""
        if self._offset + len(data) > self._size:
            self.restart()
            raise InvalidArgument(
                f"sha256:{self._final.name} is larger than the {self._size} bytes of its descriptor"
            )
        try:
            self._allocate()
            self._append(data)
        except OSError as error:
            self.restart()
            raise write_error(self._final.name, self._size, error) from error
        if self._offset - self._told >= _TELL or self._offset == self._size:
            self._told = self._offset
            self._moved(self._offset)

    def publish(self) -> None:
        """Verify, sync, make visible. Errors: InvalidArgument (digest or size is wrong; nothing is kept)."""
        try:
            found = self._hash.hexdigest() if self._offset == self._size else ""
            if found != self._final.name:
                what = f"{self._offset} of {self._size} bytes" if not found else "another digest"
                self._path.unlink(missing_ok=True)
                raise InvalidArgument(
                    f"sha256:{self._final.name}: the source sent {what}",
                    hint="try again; if it persists the source is broken",
                )
            self._place(self._final)
        except OSError as error:
            raise write_error(self._final.name, self._size, error) from error

    def close(self) -> None:
        """Release the descriptor; what has no byte yet leaves no file either, there is nothing to resume. Idempotent."""
        if self._fd >= 0 and not self._offset:
            self._path.unlink(missing_ok=True)
        super().close()

    def _allocate(self) -> None:
        """All blocks before the first byte: a disk that is too small is told now, not after most of the blob came."""
        if self._allocated or self._size - self._offset < _PREALLOCATE_FROM:
            return
        self._allocated = True
        try:
            fallocate(self._fd, self._offset, self._size - self._offset)
        except OSError as error:
            if error.errno not in _NOT_SUPPORTED:
                raise


class IngestWriter(_Growing):
    """Content whose digest is known at its end only. Without `publish` nothing of it stays."""

    def __init__(self, path: Path, final: Callable[[str], Path], made: Callable[[str], None]) -> None:
        super().__init__(path)
        self._final, self._made = final, made
        self._digest = ""

    @property
    def size(self) -> int:
        """Bytes written."""
        return self._offset

    @property
    def digest(self) -> str:
        """`sha256:…` of what was written. The content is complete once this was asked for."""
        if not self._digest:
            try:
                self._digest = f"sha256:{self._hash.hexdigest()}"
            except OSError as error:
                raise write_error("", self._offset, error) from error
        return self._digest

    def write(self, data: bytes | memoryview, /) -> None:
        """Append. Errors: ResourceExhausted, Unavailable."""
        if self._digest:
            raise ValueError("the digest was asked for: the content is complete")
        try:
            self._append(data)
        except OSError as error:
            self._empty()
            raise write_error("", self._offset, error) from error

    def publish(self) -> None:
        """Sync, make visible under its digest. Idempotent where the blob is there already. Errors: ResourceExhausted, Unavailable."""
        digest = self.digest
        self._made(digest)
        try:
            self._place(self._final(digest))
        except OSError as error:
            raise write_error(digest[7:], self._offset, error) from error


def write_error(name: str, size: int, error: OSError) -> ResourceExhausted | Unavailable:
    """What a failed write of a blob (its hex digits, or "") means to the user."""
    what = f"content sha256:{name} ({size} bytes)" if name else "new content"
    if error.errno in _FULL:
        return ResourceExhausted(
            f"{what} cannot be written: {error.strerror}",
            hint="free space on the data root's file system (`barque system df`)",
        )
    return Unavailable(
        f"{what} cannot be written: {error.strerror}", hint="look at the data root's disk (dmesg)"
    )
