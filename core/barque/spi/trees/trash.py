"""Removal in two steps: a rename the caller waits for, and the deletion behind its back."""

from __future__ import annotations

import itertools
import logging
import os
import secrets
import threading
import time

from barque.spi.trees import tree

__all__ = ["Trash"]

_log = logging.getLogger(__name__)
_PAUSES = (0.05, 0.2, 0.5, 1.0)
"""Seconds before further tries: the worker of a daemon that was killed may still write for a moment into what is to be deleted."""


class Trash:
    """The directory `<root>/trash`. A thread empties it while there is something in it, and ends then."""

    def __init__(self, root: str) -> None:
        self._directory = os.path.join(root, "trash")
        self._token = secrets.token_hex(6)
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._requested = False
        self._running = False

    def take(self, path: str) -> bool:
        """Move `path` into the trash and have it deleted. False when there is no such path."""
        try:
            os.rename(path, os.path.join(self._directory, f"{self._token}-{next(self._numbers)}"))
        except FileNotFoundError:
            return False
        self.empty()
        return True

    def empty(self) -> None:
        """Delete, in the background, all that is in the trash now; leftovers of an earlier daemon too."""
        with self._lock:
            self._requested = True
            if not self._running:
                self._running = True
                threading.Thread(target=self._work, name="trash", daemon=True).start()

    def _work(self) -> None:
        pauses = iter(_PAUSES)
        while True:
            with self._lock:
                if not self._requested:
                    self._running = False
                    return
                self._requested = False
            try:
                left = self._sweep()
            except OSError as error:
                _log.warning("storage: cannot empty %s: %s", self._directory, error)
                continue
            if not left:
                continue
            pause = next(pauses, None)
            if pause is None:
                for name, reason in left.items():
                    _log.warning("storage: %s stays in the trash for now: %s", name, reason)
                continue
            time.sleep(pause)
            with self._lock:
                self._requested = True

    def _sweep(self) -> dict[str, OSError]:
        """What could not be deleted, and why."""
        left = {}
        fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name in os.listdir(fd):
                try:
                    tree.remove(fd, name)
                except OSError as error:
                    left[name] = error
        finally:
            os.close(fd)
        return left
