"""Where a log's files are, and how they are opened while another process rotates them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from barque.spi.errors import InvalidArgument

__all__ = ["FileIdentity", "LogPaths", "close_all", "identity"]

FileIdentity = tuple[int, int]

_SAFE = os.O_CLOEXEC | os.O_NOFOLLOW


@dataclass(frozen=True, slots=True)
class LogPaths:
    """The files of one log: `path(0)` is written, `path(1)` the newest rotated one, `path(max_files - 1)` the oldest."""

    directory: str
    container_id: str
    max_files: int

    def __post_init__(self) -> None:
        if not self.container_id or "/" in self.container_id or "\0" in self.container_id:
            raise InvalidArgument(f"invalid container id {self.container_id!r} for a log")

    def path(self, age: int) -> str:
        """The file that was rotated `age` times."""
        current = f"{self.directory}/{self.container_id}-json.log"
        return f"{current}.{age}" if age else current

    def open_for_append(self) -> int:
        """The current file, created when absent."""
        return os.open(self.path(0), os.O_RDWR | os.O_APPEND | os.O_CREAT | _SAFE, 0o640)

    def open_all(self) -> list[int]:
        """Every file that exists, the oldest first; the caller closes them."""
        fds: list[int] = []
        try:
            fd = self._open_newest()
            while fd >= 0:
                fds.append(fd)
                fd = self._open_neighbour(identity(fd), +1)
        except OSError:
            close_all(fds)
            raise
        return fds[::-1]

    def open_successor(self, file: FileIdentity | None) -> int:
        """The file that was written after `file`; -1 when there is none yet. The oldest when `file` is dropped or None."""
        fd = -1 if file is None else self._open_neighbour(file, -1)
        if fd >= 0 or (file is not None and self._age(file) >= 0):
            return fd
        oldest, *newer = self.open_all() or [-1]
        close_all(newer)
        return oldest

    def is_current(self, file: FileIdentity) -> bool:
        """Whether `file` is the one that is written."""
        return _identity_at(self.path(0)) == file

    def _open_newest(self) -> int:
        fds = (_open_if_there(self.path(age)) for age in range(self.max_files))
        return next((fd for fd in fds if fd >= 0), -1)

    def _open_neighbour(self, file: FileIdentity, step: int) -> int:
        """The next older (`step` 1) or newer (-1) file; -1 when there is none, or `file` is dropped.

        While `file` is at one age, its neighbours stay where they are, but for the one place that a rotation under
        way leaves free between them. So what was opened is right when `file` has not moved meanwhile.
        """
        while (age := self._age(file)) >= 0:
            places = [place for place in (age + step, age + 2 * step) if 0 <= place < self.max_files]
            fds = (_open_if_there(self.path(place)) for place in places)
            fd = next((fd for fd in fds if fd >= 0), -1)
            if _identity_at(self.path(age)) == file:
                return fd
            if fd >= 0:
                os.close(fd)
        return -1

    def _age(self, file: FileIdentity) -> int:
        """Which `path` it has; -1 when it has none. Files only get older, so a search upwards does not miss it."""
        return next((age for age in range(self.max_files) if _identity_at(self.path(age)) == file), -1)

    def rotate(self) -> None:
        """Make the current file `path(1)`; the oldest goes when every place is taken. There is no current file then.

        Only files up to the first free place move, so a rotation that was killed half way costs nothing when repeated.
        """
        if self.max_files == 1 or not os.path.lexists(self.path(0)):
            _unlink_if_there(self.path(0))
            return
        last = self.max_files - 1
        free = next((age for age in range(1, last) if not os.path.lexists(self.path(age))), last)
        for age in range(free, 0, -1):
            os.rename(self.path(age - 1), self.path(age))

    def remove(self) -> None:
        """Unlink all files, also those of a time when more of them were kept."""
        try:
            names = os.listdir(self.directory)
        except FileNotFoundError:
            return
        current = os.path.basename(self.path(0))
        for name in names:
            if name == current or (name.startswith(current + ".") and name[len(current) + 1 :].isdigit()):
                _unlink_if_there(f"{self.directory}/{name}")


def identity(fd: int) -> FileIdentity:
    """Device and inode of an open file, which no other file has while it is open."""
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def close_all(fds: Iterable[int]) -> None:
    """Close several descriptors."""
    for fd in fds:
        os.close(fd)


def _identity_at(path: str) -> FileIdentity | None:
    try:
        status = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _open_if_there(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | _SAFE)
    except FileNotFoundError:
        return -1


def _unlink_if_there(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
