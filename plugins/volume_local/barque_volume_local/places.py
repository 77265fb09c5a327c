"""The directories of volumes: `<root>/<name>/_data`, as Docker has them. Names that begin with a dot are the driver's own.

.making/NAME   a volume that is being made        .removed/trash/   what is being deleted        .empty/   the root of workers
"""

from __future__ import annotations

import os
from contextlib import suppress

from barque.spi.errors import NotFound
from barque.spi.trees.failures import reported
from barque.spi.trees.trash import Trash
from barque_volume_local import quota

__all__ = ["Places"]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CLOSED, _OPEN = 0o700, 0o755
_DATA = "_data"


class Places:
    """The volumes' directories below `root`. They appear and disappear by one rename each."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.empty = os.path.join(root, ".empty")
        self._making = os.path.join(root, ".making")
        self._removed = os.path.join(root, ".removed")
        self._trash = Trash(self._removed)

    def data(self, name: str) -> str:
        """The root of a volume, there or not."""
        return os.path.join(self.root, name, _DATA)

    def open(self, name: str) -> int:
        """A descriptor of the directory `_data` itself, or of what is mounted on it. Errors: NotFound."""
        try:
            return os.open(self.data(name), _DIRECTORY)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFound(
                f"the data of volume {name} is gone: {self.data(name)}: {(error.strerror or '').lower()}",
                hint=f"`docker volume rm {name}`, and make it again",
            ) from None

    def make(self, name: str, size: int) -> None:
        """Make a volume, synced, or keep the one that is there. Errors: those of `quota.limit` and of the file system."""
        with reported(f"making volume {name}", self.root):
            self._prepare()
            if os.path.isdir(self.data(name)):
                return
            making = os.path.join(self._making, name)
            self._trash.take(making)
            os.mkdir(making, _CLOSED)
            try:
                self._fill(making, size)
                os.rename(making, os.path.join(self.root, name))
            except BaseException:
                self._trash.take(making)
                raise
            self._sync()

    def _fill(self, making: str, size: int) -> None:
        path = os.path.join(making, _DATA)
        os.mkdir(path, _CLOSED)
        fd = os.open(path, _DIRECTORY)
        try:
            os.fchmod(fd, _OPEN)  # whatever the daemon's umask is: programs of any user may look in
            if size:
                quota.limit(fd, size)
            os.fsync(fd)
        finally:
            os.close(fd)
        fd = os.open(making, _DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def remove(self, name: str) -> None:
        """Take a volume away; its data is deleted behind the caller's back. Nothing may be mounted in it. Idempotent."""
        with reported(f"removing volume {name}", self.root):
            self._prepare()
            with suppress(NotFound):
                fd = self.open(name)
                try:
                    quota.forget(fd)
                finally:
                    os.close(fd)
            if self._trash.take(os.path.join(self.root, name)):
                self._sync()

    def sweep(self) -> None:
        """Delete what a crash left."""
        with reported("sweeping volumes", self.root):
            self._prepare()
            for name in os.listdir(self._making):
                self._trash.take(os.path.join(self._making, name))
            self._trash.empty()

    def _prepare(self) -> None:
        for path in (self.empty, self._making, os.path.join(self._removed, "trash")):
            os.makedirs(path, mode=_CLOSED, exist_ok=True)

    def _sync(self) -> None:
        fd = os.open(self.root, _DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
