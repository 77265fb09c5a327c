"""A log's files: `1.log`, `2.log` …, numbered as they were begun and never renamed; old ones may be `N.log.gz`."""

from __future__ import annotations

import os
import re
from contextlib import suppress

__all__ = ["LogFiles"]

_NAME = re.compile(r"([1-9][0-9]{0,17})\.log(\.gz)?")
_SAFE = os.O_CLOEXEC | os.O_NOFOLLOW
UNFINISHED = ".unfinished"
LOCK = "compressing.lock"


class LogFiles:
    """The files in `directory`."""

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def numbers(self) -> list[int]:
        """The files there are, the oldest first."""
        try:
            names = os.listdir(self.directory)
        except FileNotFoundError:
            return []
        return sorted({int(match[1]) for match in map(_NAME.fullmatch, names) if match})

    def path(self, number: int, *, compressed: bool = False) -> str:
        """Where a file is."""
        return f"{self.directory}/{number}.log{'.gz' if compressed else ''}"

    def append(self, number: int) -> int:
        """Open a file to be written, made when absent."""
        return os.open(self.path(number), os.O_RDWR | os.O_APPEND | os.O_CREAT | _SAFE, 0o640)

    def open(self, number: int) -> tuple[int, bool] | None:
        """A file to be read, and whether it is compressed; None when it is gone."""
        for compressed in (False, True):  # it is only ever turned from the first into the second
            with suppress(FileNotFoundError):
                return os.open(self.path(number, compressed=compressed), os.O_RDONLY | _SAFE), compressed
        return None

    def drop(self, number: int) -> None:
        """Remove a file. Idempotent."""
        for compressed in (False, True):
            with suppress(FileNotFoundError):
                os.unlink(self.path(number, compressed=compressed))

    def remove(self) -> None:
        """Remove all files. Idempotent."""
        with suppress(FileNotFoundError):
            for name in os.listdir(self.directory):
                if _NAME.fullmatch(name.removesuffix(UNFINISHED)) or name == LOCK:
                    with suppress(FileNotFoundError):
                        os.unlink(f"{self.directory}/{name}")
