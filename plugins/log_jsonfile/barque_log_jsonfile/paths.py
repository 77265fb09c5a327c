"""Where a log's files are, and how they are opened while another process rotates and compresses them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

from barque.spi.errors import InvalidArgument
from barque_log_jsonfile.identities import FileIdentity, identity, recorded

__all__ = ["LogPaths", "OpenFile", "close_all"]

_SAFE = os.O_CLOEXEC | os.O_NOFOLLOW
_OTHERS = re.compile(r"\.[0-9]+(\.gz)?|\.compressing|\.unfinished")
_FORMS = (False, True)  # packed or not; a file only ever turns from the first into the second


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A descriptor, the identity of what it is of, and whether that is compressed."""

    fd: int
    file: FileIdentity
    packed: bool


@dataclass(frozen=True, slots=True)
class LogPaths:
    """The files of one log: `path(0)` is written, `path(1)` the newest rotated one, `path(max_files - 1)` the oldest."""

    directory: str
    container_id: str
    max_files: int

    def __post_init__(self) -> None:
        if not self.container_id or "/" in self.container_id or "\0" in self.container_id:
            raise InvalidArgument(f"invalid container id {self.container_id!r} for a log")

    def path(self, age: int, *, packed: bool = False) -> str:
        """The file that was rotated `age` times. The current one is never packed."""
        current = f"{self.directory}/{self.container_id}-json.log"
        return f"{current}.{age}{'.gz' if packed else ''}" if age else current

    @property
    def lock(self) -> str:
        """The file that who compresses has locked."""
        return f"{self.path(0)}.compressing"

    @property
    def unfinished(self) -> str:
        """Where a compressed file is made."""
        return f"{self.path(0)}.unfinished"

    def open_for_append(self) -> int:
        """The current file, created when absent."""
        return os.open(self.path(0), os.O_RDWR | os.O_APPEND | os.O_CREAT | _SAFE, 0o640)

    def open_all(self) -> list[OpenFile]:
        """Every file that exists, the oldest first; the caller closes them."""
        found: list[OpenFile] = []
        try:
            one = self._open_first(range(self.max_files))
            while one is not None:
                found.append(one)
                one = self._open_neighbour(one.file, +1)
        except OSError:
            close_all(found)
            raise
        return found[::-1]

    def open_successor(self, file: FileIdentity | None) -> OpenFile | None:
        """The file that was written after `file`; None when there is none yet. The oldest when `file` is dropped or None."""
        found = None if file is None else self._open_neighbour(file, -1)
        if found is not None or (file is not None and self._age(file) >= 0):
            return found
        files = self.open_all()
        close_all(files[1:])
        return files[0] if files else None

    def is_current(self, file: FileIdentity) -> bool:
        """Whether `file` is the one that is written."""
        return _identity_at(self.path(0)) == file

    def plain_age(self, file: FileIdentity) -> int:
        """Which rotated file that is not compressed it is; -1 for none."""
        return next((age for age in range(1, self.max_files) if _identity_at(self.path(age)) == file), -1)

    def _open_first(self, ages: Iterable[int]) -> OpenFile | None:
        """The first that there is at one of these ages."""
        for age, packed in product(ages, _FORMS):
            fd = _open_if_there(self.path(age, packed=packed)) if age or not packed else -1
            if fd >= 0:
                return OpenFile(fd, identity(fd), packed)
        return None

    def _open_neighbour(self, file: FileIdentity, step: int) -> OpenFile | None:
        """The next older (`step` 1) or newer (-1) file; None when there is none, or `file` is dropped.

        While `file` is at one age, its neighbours stay where they are, but for the one place that a rotation under
        way leaves free between them. So what was opened is right when `file` has not moved meanwhile.
        """
        while (age := self._age(file)) >= 0:
            places = [place for place in (age + step, age + 2 * step) if 0 <= place < self.max_files]
            found = self._open_first(places)
            if self._is_at(age, file):
                return found
            if found is not None:
                os.close(found.fd)
        return None

    def _age(self, file: FileIdentity) -> int:
        """How often it was rotated; -1 when it is dropped. `file` is open. Files only get older, so a search upwards does not miss it;
        and the first that is found is it, for its inode may have been that of older files before."""
        return next((age for age in range(self.max_files) if self._is_at(age, file)), -1)

    def _is_at(self, age: int, file: FileIdentity) -> bool:
        if _identity_at(self.path(age)) == file:
            return True
        fd = _open_if_there(self.path(age, packed=True)) if age else -1
        if fd < 0:
            return False
        try:
            return file in (identity(fd), recorded(fd))
        finally:
            os.close(fd)

    def rotate(self) -> None:
        """Make the current file `path(1)`; the oldest goes when every place is taken. There is no current file then.

        Only files up to the first free place move, so a rotation that was killed half way costs nothing when repeated.
        """
        if self.max_files == 1 or not os.path.lexists(self.path(0)):
            _unlink_if_there(self.path(0))
            return
        last = self.max_files - 1
        free = next((age for age in range(1, last) if not self._taken(age)), last)
        if free == last:
            _unlink_if_there(self.path(last))
            _unlink_if_there(self.path(last, packed=True))
        for age in range(free, 0, -1):
            self._move(age - 1, age)

    def _taken(self, age: int) -> bool:
        return any(os.path.lexists(self.path(age, packed=packed)) for packed in _FORMS)

    def _move(self, age: int, to: int) -> None:
        """Rename a file. Of both forms of it, which a killed compressor leaves, the compressed one stays: it is whole."""
        packed = age > 0 and os.path.lexists(self.path(age, packed=True))
        if packed:
            _unlink_if_there(self.path(age))
        os.rename(self.path(age, packed=packed), self.path(to, packed=packed))

    def remove(self) -> None:
        """Unlink all files, also those of a time when more of them were kept."""
        try:
            names = os.listdir(self.directory)
        except FileNotFoundError:
            return
        current = os.path.basename(self.path(0))
        for name in names:
            if name == current or (name.startswith(current) and _OTHERS.fullmatch(name, len(current))):
                _unlink_if_there(f"{self.directory}/{name}")


def close_all(files: Iterable[OpenFile]) -> None:
    """Close several files."""
    for file in files:
        os.close(file.fd)


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
