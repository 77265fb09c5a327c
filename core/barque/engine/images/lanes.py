"""Jobs on a few threads, in order, until one fails. The threads are daemon threads: the process may end while a job hangs in
the kernel or waits for a worker (row R11), which those of `concurrent.futures` would not let it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from barque.spi.errors import BarqueError

__all__ = ["Lanes"]


class Lanes:
    """At most `width` jobs at a time. `failed` is called at the first error; jobs that have not begun are left out then."""

    def __init__(self, width: int, name: str, failed: Callable[[], None]) -> None:
        self._width, self._name, self._failed = width, name, failed
        self._jobs: deque[Callable[[], None]] = deque()
        self._errors: list[BaseException] = []

    def add(self, job: Callable[[], None]) -> None:
        """A job for `run`."""
        self._jobs.append(job)

    def run(self) -> list[BarqueError]:
        """Do all jobs; their errors. Other exceptions than BarqueError are raised."""
        threads = [
            threading.Thread(target=self._work, name=self._name, daemon=True)
            for _ in range(min(self._width, len(self._jobs)))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # Not kept here: an error's traceback has this object, and the two would hold each other, and all that the job had open.
        errors, self._errors = self._errors, []
        foreign = [error for error in errors if not isinstance(error, BarqueError)]
        try:
            if foreign:
                raise foreign[0]
            return [error for error in errors if isinstance(error, BarqueError)]
        finally:
            del errors, foreign

    def _work(self) -> None:
        while not self._errors:
            try:
                job = self._jobs.popleft()
            except IndexError:
                return
            try:
                job()
            except BaseException as error:  # noqa: BLE001 - told to the caller of `run`
                self._errors.append(error)
                self._failed()
