from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from barque.spi.errors import NotFound, Unavailable
from barque_image_registry.connection import BrokenTransfer, CertificateRefused, Unreachable
from barque_image_registry.retry import Busy, RetryPolicy, retry_after


class Action:
    def __init__(self, *outcomes):
        self.outcomes = list(outcomes)
        self.calls = 0

    def __call__(self):
        self.calls += 1
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def run(action, patient=False, attempts=5, backoff=0.001):
    return RetryPolicy(attempts, backoff).run(action, lambda: None, patient)


@pytest.mark.row("R30")
def test_broken_transfer_is_tried_five_times_at_most():
    action = Action(BrokenTransfer("reset"))
    with pytest.raises(Unavailable, match="reset"):
        run(action)
    assert action.calls == 5


@pytest.mark.row("R30")
def test_success_ends_the_tries():
    action = Action(BrokenTransfer("a"), Busy("b"), 7)
    assert run(action) == 7
    assert action.calls == 3


@pytest.mark.row("R30")
def test_final_errors_are_not_tried_again():
    action = Action(NotFound("no"))
    with pytest.raises(NotFound):
        run(action)
    assert action.calls == 1


def test_certificate_is_not_tried_again():
    action = Action(CertificateRefused("expired", "renew it"))
    with pytest.raises(Unavailable, match="expired") as caught:
        run(action)
    assert action.calls == 1
    assert caught.value.hint == "renew it"


def test_absent_host_fails_at_once_unless_patient():
    action = Action(Unreachable("refused"))
    with pytest.raises(Unavailable):
        run(action)
    assert action.calls == 1
    with pytest.raises(Unavailable):
        run(action, patient=True)
    assert action.calls == 6


@pytest.mark.row("R30")
def test_retry_after_is_obeyed():
    action = Action(Busy("later", 0.3), 1)
    started = time.monotonic()
    assert run(action) == 1
    assert time.monotonic() - started >= 0.3


@pytest.mark.row("R30")
def test_retry_after_of_an_hour_is_not_waited_for():
    action = Action(Busy("later", 3600.0))
    started = time.monotonic()
    with pytest.raises(Unavailable, match="later"):
        run(action)
    assert action.calls == 1
    assert time.monotonic() - started < 1


def test_waits_grow():
    action = Action(BrokenTransfer("x"))
    started = time.monotonic()
    with pytest.raises(Unavailable):
        run(action, backoff=0.05)
    assert 0.05 * 15 * 0.75 <= time.monotonic() - started <= 0.05 * 15 * 1.25 + 0.5


@pytest.mark.row("R31")
def test_cancel_ends_the_wait():
    class Cancelled(Exception):
        pass

    started = time.monotonic()

    def check():
        if time.monotonic() - started > 0.1:
            raise Cancelled

    with pytest.raises(Cancelled):
        RetryPolicy(5, 30).run(Action(BrokenTransfer("x")), check, False)
    assert time.monotonic() - started < 1


def test_retry_after_header():
    assert retry_after("7") == 7
    assert retry_after(None) is None
    assert retry_after("soon") is None
    assert retry_after("-1") is None
    in_a_minute = retry_after(format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True))
    assert in_a_minute is not None
    assert 55 < in_a_minute <= 60
    assert retry_after("Thu, 01 Jan 1970 00:00:00 GMT") == 0
    assert retry_after("9" * 5000) is not None
    assert retry_after(f"Mon, 01 Jan {'9' * 30} 00:00:00 GMT") is None
    assert retry_after(f"Mon, 01 Jan 2020 00:00:00 +{'9' * 30}") is None
