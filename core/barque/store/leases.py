"""Leases: what operations in flight need, whatever the database says.

A pull needs layers and blobs before an image names them, a create needs its image before a container does, a save
reads blobs of an image that may be removed meanwhile. Each holds a lease on their digests; garbage collection asks
for each thing it would remove, with `Leases.lock` held, and leaves what is leased. So a lease that was taken is safe, and who
takes one waits for the removal of one thing at most. Leases are kept in memory: a crash ends the operations too.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

__all__ = ["Lease", "Leases"]


class Lease:
    """One operation's lease: digests of blobs, diff ids of layers, ids of images."""

    __slots__ = ("_leases", "names")

    def __init__(self, leases: Leases, names: Iterable[str]) -> None:
        self._leases = leases
        self.names = set(names)

    def add(self, *names: str) -> None:
        """Hold these too, until the end."""
        with self._leases.lock:
            self.names.update(names)


class Leases:
    """All leases of a store. `lock` is held while something is checked and removed. Thread-safe."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._active: dict[int, Lease] = {}

    @contextmanager
    def held(self, names: Iterable[str] = ()) -> Iterator[Lease]:
        """A lease on `names` for the length of the block."""
        lease = self.take(names)
        try:
            yield lease
        finally:
            self.release(lease)

    def take(self, names: Iterable[str] = ()) -> Lease:
        """The same without a block: the caller must `release` it."""
        lease = Lease(self, names)
        with self.lock:
            self._active[id(lease)] = lease
        return lease

    def release(self, lease: Lease) -> None:
        """End a lease. Idempotent."""
        with self.lock:
            self._active.pop(id(lease), None)

    def made(self, name: str) -> None:
        """`name` appears in the store, or was found there: it belongs to an operation in flight, nobody knows which, so all of
        them hold it from now on. What nobody has recorded when they end is garbage."""
        with self.lock:
            for lease in self._active.values():
                lease.names.add(name)

    def protects(self, name: str, but: Lease | None = None) -> bool:
        """Whether an operation (other than that of the lease `but`) needs `name`."""
        with self.lock:
            return any(name in lease.names for lease in self._active.values() if lease is not but)
