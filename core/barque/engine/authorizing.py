"""Asks the profile's authorization drivers about requests. Fails closed."""

from __future__ import annotations

from barque.engine.drivers import Drivers
from barque.spi.authorization import AuthorizationRequest
from barque.spi.errors import BarqueError, PermissionDenied

__all__ = ["Authorizer"]


class Authorizer:
    """All drivers of `[authorization]`, loaded when the daemon starts: one that cannot be is an error then."""

    def __init__(self, drivers: Drivers) -> None:
        self._drivers = drivers.authorizations()

    @property
    def asks(self) -> bool:
        """Whether there is anybody to ask."""
        return bool(self._drivers)

    def check(self, request: AuthorizationRequest) -> None:
        """See `Engine.authorize`."""
        for driver in self._drivers:
            try:
                driver.check(request)
            except PermissionDenied as error:
                raise PermissionDenied(
                    f"authorization denied by plugin {driver.name}: {error.message}", hint=error.hint
                ) from error
            except BarqueError as error:
                raise PermissionDenied(
                    f"authorization denied by plugin {driver.name}, which failed: {error.message}",
                    hint="see the daemon's log",
                ) from error
