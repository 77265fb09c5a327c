"""The content store: blobs by digest, verified while they are written.

    <root>/blobs/sha256/<hex>     complete, verified, synced
    <root>/ingest/<hex>           unfinished, kept and resumed
    <root>/ingest/.new-<token>    unfinished and without a digest yet: of no use to a later daemon

A blob becomes visible by one rename. Two writers of one blob take turns; the second finds it done. What is leased
(`leases`) is not removed by `collect`; what comes in while an operation is in flight is leased to it.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from barque.oci.reference import is_digest
from barque.spi.errors import InvalidArgument, NotFound
from barque.store.files import sync_directory, write_atomic
from barque.store.leases import Lease, Leases
from barque.store.writing import BlobWriter, IngestWriter, write_error

__all__ = ["BlobWriter", "ContentStore", "IngestWriter", "Partial"]

_CHUNK = 1 << 20
_PATIENCE = 0.5
_NEW = ".new-"


@dataclass(frozen=True, slots=True)
class Partial:
    """A blob that is not complete: bytes that came, and seconds since the last of them."""

    digest: str
    bytes: int
    age: float


class ContentStore:
    """Blobs below one directory. Thread-safe."""

    def __init__(self, root: Path) -> None:
        self._blobs = root / "blobs" / "sha256"
        self._ingest = root / "ingest"
        for directory in (self._blobs, self._ingest):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.leases = Leases()
        self._began = time.time()
        self._token = secrets.token_hex(6)
        self._numbers = itertools.count()
        self._writers = _Turns()

    def path(self, digest: str) -> Path:
        """Where the blob is or would be. Errors: InvalidArgument (not a sha256 digest)."""
        return self._blobs / _hex(digest)

    def has(self, digest: str) -> bool:
        """Whether the blob is here, complete."""
        return self.path(digest).exists()

    def size(self, digest: str) -> int:
        """Bytes of a blob. Errors: NotFound."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            raise _missing(digest) from None

    def read(self, digest: str, limit: int = 16 << 20) -> bytes:
        """A small blob, verified again. Errors: NotFound, InvalidArgument (damaged, or larger than `limit`)."""
        try:
            with self.path(digest).open("rb") as file:
                data = file.read(limit + 1)
        except FileNotFoundError:
            raise _missing(digest) from None
        except OSError as error:
            raise _damaged(digest, f" ({error.strerror})") from error
        if len(data) > limit or hashlib.sha256(data).hexdigest() != _hex(digest):
            raise _damaged(digest)
        return data

    def chunks(self, digest: str, offset: int = 0) -> Iterator[bytes]:
        """See `barque.spi.image.ContentReader.chunks`. A blob that is missing is told at once, not at the first piece."""
        if not self.has(digest):
            raise _missing(digest)
        return self._pieces(digest, offset)

    def _pieces(self, digest: str, offset: int) -> Iterator[bytes]:
        """Always one piece behind, so that the last is given only when all are known to be right."""
        sha256 = hashlib.sha256()
        held = b""
        try:
            with open(self.path(digest), "rb", buffering=0) as file:
                os.posix_fadvise(file.fileno(), offset, 0, os.POSIX_FADV_SEQUENTIAL)
                file.seek(offset)
                while piece := file.read(_CHUNK):
                    if held:
                        yield held
                    held = piece
                    if not offset:
                        sha256.update(piece)
        except FileNotFoundError:
            raise _missing(digest) from None
        except OSError as error:
            raise _damaged(digest, f" ({error.strerror})") from error
        if not offset and sha256.hexdigest() != _hex(digest):
            raise _damaged(digest)
        if held:
            yield held

    def intact(self, digest: str, tick: Callable[[], None] = lambda: None) -> bool:
        """Whether the blob still is what its digest says; reads all of it. `tick` may raise to stop. Errors: NotFound."""
        try:
            for _ in self.chunks(digest):
                tick()
        except InvalidArgument:
            return False
        return True

    def put(self, digest: str, data: bytes) -> None:
        """Store a small blob, durable on return. Idempotent. Errors: InvalidArgument (wrong digest), ResourceExhausted."""
        if hashlib.sha256(data).hexdigest() != _hex(digest):
            raise InvalidArgument(f"content does not match its digest {digest}")
        self.leases.made(digest)
        if self._holds(digest, data):
            return
        try:
            write_atomic(self.path(digest), data)
        except OSError as error:
            raise write_error(_hex(digest), len(data), error) from error

    def _holds(self, digest: str, data: bytes) -> bool:
        """Whether the blob is here, and undamaged."""
        try:
            return self.size(digest) == len(data) and self.path(digest).read_bytes() == data
        except (NotFound, OSError):
            return False

    @contextmanager
    def writing(
        self, digest: str, size: int, moved: Callable[[int], None], waiting: Callable[[], None] = lambda: None
    ) -> Iterator[BlobWriter | None]:
        """A writer for the blob, alone in its work; None when another writer finished it meanwhile.

        `moved(bytes)` is told the position now and then, `waiting()` is asked while another writer is at it; both may
        raise to cancel. What an exception leaves behind is kept for resuming, unless the bytes were wrong. Leaving the
        block verifies and publishes. Errors: InvalidArgument, ResourceExhausted (the size does not fit; before the first byte where
        the file system can tell).
        """
        self.leases.made(digest)
        with self._writers.turn(_hex(digest), waiting):
            if self.has(digest):
                yield None
                return
            try:
                writer = BlobWriter(self._ingest / _hex(digest), self.path(digest), size, moved)
            except OSError as error:
                raise write_error(_hex(digest), size, error) from error
            try:
                yield writer
                writer.publish()
            finally:
                writer.close()

    @contextmanager
    def ingesting(self) -> Iterator[IngestWriter]:
        """A writer for content whose digest is not known yet. Nothing stays unless its `publish` was called."""
        path = self._ingest / f"{_NEW}{self._token}-{next(self._numbers)}"
        try:
            writer = IngestWriter(path, self.path, self.leases.made)
        except OSError as error:
            raise write_error("", 0, error) from error
        try:
            yield writer
        finally:
            writer.close()
            path.unlink(missing_ok=True)

    def remove(self, digest: str) -> None:
        """Delete a blob and what was begun of it. Idempotent."""
        self.path(digest).unlink(missing_ok=True)
        (self._ingest / _hex(digest)).unlink(missing_ok=True)

    def collect(self, digest: str, needed: Callable[[], bool], but: Lease | None = None) -> bool:
        """Delete a blob (and what was begun of it) if it is neither leased nor `needed()`; whether it was."""
        with self.leases.lock:
            if self.leases.protects(digest, but) or needed():
                return False
            self.remove(digest)
            return True

    def digests(self) -> Iterator[str]:
        """All complete blobs."""
        with os.scandir(self._blobs) as entries:
            names = [entry.name for entry in entries]
        return (f"sha256:{name}" for name in names if is_digest(f"sha256:{name}"))

    def partials(self) -> tuple[Partial, ...]:
        """All blobs that are not complete."""
        found = []
        now = time.time()
        with os.scandir(self._ingest) as entries:
            for entry in entries:
                if not is_digest(f"sha256:{entry.name}"):
                    continue
                with suppress(FileNotFoundError):
                    info = entry.stat(follow_symlinks=False)
                    found.append(Partial(f"sha256:{entry.name}", info.st_size, max(0.0, now - info.st_mtime)))
        return tuple(found)

    def drop_partial(self, digest: str, but: Lease | None = None) -> bool:
        """Delete what was begun of a blob, unless somebody is at it or leases it (other than by `but`); whether it was deleted."""
        with self.leases.lock:
            if self.leases.protects(digest, but) or self._writers.taken(_hex(digest)):
                return False
            (self._ingest / _hex(digest)).unlink(missing_ok=True)
            return True

    def sweep(self) -> None:
        """Delete what a killed daemon left that cannot be resumed, and give back blocks it had allocated ahead. Idempotent."""
        for directory in (self._ingest, self._blobs):
            with os.scandir(directory) as entries:
                hidden = [entry for entry in entries if entry.name.startswith(".")]
            for entry in hidden:
                with suppress(FileNotFoundError):
                    if entry.stat(follow_symlinks=False).st_mtime < self._began:
                        os.unlink(entry.path)
        for partial in self.partials():
            name = partial.digest[7:]
            with self.leases.lock, suppress(FileNotFoundError):
                if not self._writers.taken(name):
                    os.truncate(self._ingest / name, (self._ingest / name).stat().st_size)

    def discard(self, digest: str) -> None:
        """Take a damaged blob away, durably: the next pull brings it. Idempotent."""
        self.path(digest).unlink(missing_ok=True)
        sync_directory(self._blobs)


class _Turns:
    """One holder a name at a time."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[str, tuple[threading.Lock, int]] = {}

    @contextmanager
    def turn(self, name: str, waiting: Callable[[], None]) -> Iterator[None]:
        """Wait for the turn; `waiting` may raise to give up."""
        with self._guard:
            lock, users = self._locks.get(name, (threading.Lock(), 0))
            self._locks[name] = (lock, users + 1)
        try:
            while not lock.acquire(timeout=_PATIENCE):
                waiting()
            try:
                yield
            finally:
                lock.release()
        finally:
            with self._guard:
                lock, users = self._locks.pop(name)
                if users > 1:
                    self._locks[name] = (lock, users - 1)

    def taken(self, name: str) -> bool:
        """Whether somebody has or awaits the turn."""
        with self._guard:
            return name in self._locks


def _missing(digest: str) -> NotFound:
    return NotFound(f"content {digest} is not in the store", hint="pull the image again")


def _damaged(digest: str, why: str = "") -> InvalidArgument:
    return InvalidArgument(
        f"content {digest} is damaged{why}",
        hint="`barque system check --repair` takes it away; then pull the image again",
    )


def _hex(digest: str) -> str:
    if not is_digest(digest):
        raise InvalidArgument(f"{digest[:80]!r} is not a sha256 digest")
    return digest[7:]
