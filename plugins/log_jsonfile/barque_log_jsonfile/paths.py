"""Where a log's files are, and how they are opened while another process rotates them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from barque.spi.errors import InvalidArgument

__all__ = ["LogPaths", "close_all"]

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
        """Every file that exists, the oldest first; the caller closes them.

        Opened from the newest to the oldest: a rotation meanwhile makes files older, so that one may be met
        twice (and is kept once) but none is missed.
        """
        found: dict[tuple[int, int], int] = {}
        try:
            for age in range(self.max_files):
                fd = _open_if_there(self.path(age))
                if fd < 0:
                    continue
                status = os.fstat(fd)
                other = found.setdefault((status.st_dev, status.st_ino), fd)
                if other != fd:
                    os.close(fd)
        except OSError:
            close_all(found.values())
            raise
        return list(reversed(found.values()))

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


def close_all(fds: Iterable[int]) -> None:
    """Close several descriptors."""
    for fd in fds:
        os.close(fd)


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
