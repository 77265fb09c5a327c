"""When to try again: a bounded number of tries, exponential waits with jitter, the server's Retry-After."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from barque.spi.errors import Unavailable
from barque_image_registry.connection import BrokenTransfer, CertificateRefused, Unreachable
from barque_image_registry.wire import Check

__all__ = ["Busy", "RetryPolicy", "retry_after"]

T = TypeVar("T")

_LONGEST_WAIT = 15.0
# A server that wants to be left alone for longer than this is down, as far as a pull is concerned.
_LONGEST_RETRY_AFTER = 60.0
_SLICE = 0.2


class Busy(Exception):
    """The server said try later; `after` seconds when it said how much later."""

    def __init__(self, message: str, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class RetryPolicy:
    """`attempts` tries in all; the first wait is about `backoff` seconds, each further one twice as long."""

    def __init__(self, attempts: int, backoff: float) -> None:
        self._attempts = attempts
        self._backoff = backoff

    def run(self, action: Callable[[], T], check: Check, patient: bool) -> T:
        """Call `action` until it neither breaks nor finds the server busy. Unavailable after the last try.

        Without `patient`, a host that does not exist or does not listen fails at once: most likely its name is wrong.
        """
        for attempt in range(1, self._attempts + 1):
            try:
                return action()
            except Unreachable as error:
                if not patient:
                    raise Unavailable(
                        str(error), hint="check the registry's name and that it runs"
                    ) from error
                self._wait(attempt, error, check)
            except CertificateRefused as error:
                raise Unavailable(str(error), hint=error.remedy) from error
            except (BrokenTransfer, Busy) as error:
                self._wait(attempt, error, check)
        raise AssertionError("attempts is at least 1")

    def _wait(self, attempt: int, error: Exception, check: Check) -> None:
        delay = self._delay(attempt, error)
        if attempt == self._attempts or delay is None:
            raise Unavailable(str(error), hint=f"gave up after {attempt} tries; try again later") from error
        _sleep(delay, check)

    def _delay(self, attempt: int, error: Exception) -> float | None:
        after = error.after if isinstance(error, Busy) else None
        if after is not None:
            return after if after <= _LONGEST_RETRY_AFTER else None
        return min(self._backoff * 2.0 ** (attempt - 1), _LONGEST_WAIT) * random.uniform(0.75, 1.25)


def retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header (RFC 9110, 10.2.3: a number or a date); None when absent or unreadable."""
    if not value:
        return None
    if value.strip().isascii() and value.strip().isdigit():
        return float(value.strip()[:9])
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _sleep(seconds: float, check: Check) -> None:
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        check()
        time.sleep(min(left, _SLICE))
