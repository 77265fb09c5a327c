"""The conformance kit of kind `authorization`: subclass, give a driver and two requests, and it is proven.

class TestMine(AuthorizationConformance):
    @pytest.fixture
    def driver(self):
        return Mine("mine", Mine.Config())

    @pytest.fixture
    def allowed(self):
        return request("GET", "/info")

    @pytest.fixture
    def denied(self):
        return request("POST", "/containers/create", b'{"HostConfig": {"Privileged": true}}')
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from barque.spi.authorization import AuthorizationRequest
from barque.spi.errors import PermissionDenied
from barque.testing.kit import Conformance

__all__ = ["AuthorizationConformance", "request"]

_THREADS = 8


def request(
    method: str, path: str, body: bytes | None = b"", user: str = "uid:1000", **headers: str
) -> AuthorizationRequest:
    """A request as the frontend would tell of it."""
    return AuthorizationRequest(user, method, f"/v1.51{path}", path.partition("?")[0], headers, body)


_ODD = (
    request("POST", "/containers/create"),
    request("POST", "/containers/create", b"not JSON \xff"),
    request("POST", "/containers/create", b"[" * 100_000),
    request("POST", "/containers/create", b'{"HostConfig": 3}'),
    request("PUT", "/containers/x/archive", None),
    request("GET", "/../../\u202e%00", user=""),
    request("DELETE", "/containers/x", user="\u202euid:0 "),
    request("BREW", "/" + "a" * 10_000),
)


class AuthorizationConformance(Conformance):
    """What every authorization driver must do. See the contract, `barque.spi.authorization`."""

    @pytest.fixture
    def driver(self) -> Any:
        """The driver under test."""
        raise NotImplementedError("a subclass of AuthorizationConformance provides the fixture `driver`")

    @pytest.fixture
    def allowed(self) -> AuthorizationRequest:
        """A request it allows."""
        pytest.skip("nobody said which request the driver allows: give the fixture `allowed`")

    @pytest.fixture
    def denied(self) -> AuthorizationRequest:
        """One it denies."""
        pytest.skip("nobody said which request the driver denies: give the fixture `denied`")

    def test_probe_finds_this_host_usable(self, driver: Any) -> None:
        assert driver.authorization_probe().usable

    def test_an_allowed_request_passes_again_and_again(
        self, driver: Any, allowed: AuthorizationRequest
    ) -> None:
        for _ in range(3):
            assert driver.authorization_check(request=allowed) is None

    def test_a_denied_request_is_denied_with_a_reason(
        self, driver: Any, denied: AuthorizationRequest
    ) -> None:
        for _ in range(3):
            with pytest.raises(PermissionDenied) as caught:
                driver.authorization_check(request=denied)
            assert caught.value.message.strip()

    def test_a_denied_request_is_denied_in_any_version_of_the_api(
        self, driver: Any, denied: AuthorizationRequest
    ) -> None:
        for prefix in ("", "/v1.24", "/v1.51"):
            with pytest.raises(PermissionDenied):
                driver.authorization_check(request=replace(denied, target=prefix + denied.path))

    @pytest.mark.parametrize("odd", _ODD, ids=lambda odd: f"{odd.method} {odd.path[:24]!r}")
    def test_odd_requests_are_answered_with_yes_or_no(self, driver: Any, odd: AuthorizationRequest) -> None:
        """Another exception would deny too, but would be told as a failure of the driver."""
        try:
            answer = driver.authorization_check(request=odd)
        except PermissionDenied:
            answer = None
        assert answer is None

    def test_many_threads_may_ask_at_once(
        self, driver: Any, allowed: AuthorizationRequest, denied: AuthorizationRequest
    ) -> None:
        answers: list[str] = []

        def ask(asked: AuthorizationRequest) -> None:
            try:
                driver.authorization_check(request=asked)
                answers.append("yes")
            except PermissionDenied:
                answers.append("no")

        threads = [
            threading.Thread(target=ask, args=(asked,))
            for asked in (allowed, denied)
            for _ in range(_THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert sorted(answers) == ["no"] * _THREADS + ["yes"] * _THREADS
