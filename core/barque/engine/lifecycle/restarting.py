"""Restart policies: whether a container that ended is started again, and when.

Docker's rules: 100 ms before the first restart, twice as long before each further one up to a minute, and from the beginning after
a run of 10 s. A user's stop or kill rests the policy until somebody starts the container again. A restart that fails is not tried again.
All times are measured by clocks that nobody sets.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from barque.engine.records import ContainerRecord
from barque.spi.container import RestartPolicy
from barque.spi.errors import BarqueError, InvalidArgument

__all__ = ["Restarter", "backoff", "check_restart_policy", "wants_restart"]

_log = logging.getLogger(__name__)
_FIRST_DELAY = 0.1
_LONGEST_DELAY = 60.0
_LONG_RUN = 10.0
_WORKERS = 4


def check_restart_policy(policy: RestartPolicy) -> None:
    """Errors: InvalidArgument, in Docker's words."""
    if policy.name not in ("no", "always", "on-failure", "unless-stopped"):
        raise InvalidArgument(
            f"invalid restart policy: unknown policy '{policy.name}'; "
            "use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        )
    if policy.name == "on-failure":
        if policy.maximum < 0:
            raise InvalidArgument("invalid restart policy: maximum retry count cannot be negative")
    elif policy.maximum:
        negative = " and cannot be negative" if policy.maximum < 0 else ""
        raise InvalidArgument(
            f"invalid restart policy: maximum retry count can only be used with 'on-failure'{negative}"
        )


def wants_restart(policy: RestartPolicy, code: int, user_stopped: bool, count: int) -> bool:
    """Whether a container that ended with `code` is to run again. `count`: how often its policy has restarted it already."""
    if user_stopped:
        return False
    if policy.name == "on-failure":
        return code != 0 and (not policy.maximum or count < policy.maximum)
    return policy.name in ("always", "unless-stopped")


def backoff(previous: float, ran: float) -> float:
    """Seconds to wait before the next restart: after a wait of `previous` s (0: none) and a run of `ran` s."""
    if ran >= _LONG_RUN or not previous:
        return _FIRST_DELAY
    return min(previous * 2, _LONGEST_DELAY)


class Restarter:
    """Starts containers when their time has come. Thread-safe; has no thread before there is something to restart.

    `start` starts one as its policy does. Before `open` nothing is scheduled: at the daemon's start the networks come first, and who
    is to run then is found by a look at everybody (`reviving`).
    """

    def __init__(
        self, start: Callable[[ContainerRecord], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._start, self._clock = start, clock
        self._condition = threading.Condition()
        self._due: list[tuple[float, int, ContainerRecord]] = []
        self._current: dict[str, int] = {}
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None
        self._opened = self._closed = False

    def schedule(self, record: ContainerRecord, seconds: float) -> None:
        """Start it in so many seconds, unless it is cancelled, or scheduled anew."""
        with self._condition:
            if not self._opened:
                return
            number = next(self._numbers)
            self._current[record.id] = number
            heapq.heappush(self._due, (self._clock() + seconds, number, record))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="restarts", daemon=True)
                self._thread.start()
            self._condition.notify_all()

    def cancel(self, record: ContainerRecord) -> None:
        """It is not to be started after all. Idempotent."""
        with self._condition:
            self._current.pop(record.id, None)

    def open(self) -> None:
        """From now on containers can be started."""
        with self._condition:
            self._opened = True

    def close(self) -> None:
        """Start nothing any more: the next daemon will. Waits for starts that are under way. Idempotent."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        with ThreadPoolExecutor(_WORKERS, thread_name_prefix="restart") as pool:
            while (record := self._next()) is not None:
                pool.submit(self._restart, record)

    def _next(self) -> ContainerRecord | None:
        """Wait for the next that is due; None at the end."""
        with self._condition:
            while not self._closed:
                left = self._due[0][0] - self._clock() if self._due else None
                if left is not None and left <= 0:
                    _, number, record = heapq.heappop(self._due)
                    if self._current.get(record.id) == number:
                        del self._current[record.id]
                        return record
                else:
                    self._condition.wait(left)
        return None

    def _restart(self, record: ContainerRecord) -> None:
        try:
            self._start(record)
        except BarqueError as error:
            _log.error("container %s: cannot be restarted: %s", record.id[:12], error)
        except Exception:  # noqa: BLE001 - a worker thread's last resort: told in the log, not lost
            _log.exception("container %s: cannot be restarted", record.id[:12])
