"""Kind `authorization`: who may ask what of the API. Entry-point group `barque.authorization.v1`.

Every driver of the profile's `[authorization]` is asked about each request, in order, before anything of it is done; one that
raises PermissionDenied denies it. One that fails in any other way denies it too: it fails closed.

A driver is a class with a frozen stdlib dataclass `Config`, constructed as `Driver(name, config)`. Hooks run on any thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from barque.spi.common import Probe

__all__ = ["AuthorizationHooks", "AuthorizationRequest"]


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """A request as it came. `user`: the common name of the client's TLS certificate, or `uid:N` of a local client.
    `target` is path and query as sent, `path` the decoded path without its version. `body` is all of it, also an empty one (b""); None for
    a stream (an archive, an attached terminal), whose content no driver sees: requests whose body would have to be cut are refused.
    """

    user: str
    method: str
    target: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = b""


class AuthorizationHooks:
    """The hooks of kind `authorization`."""

    def authorization_probe(self) -> Probe:
        """What this host lacks for the driver. Changes nothing, never raises."""
        raise NotImplementedError

    def authorization_check(self, request: AuthorizationRequest) -> None:
        """Return to allow. Raise PermissionDenied with the reason to deny. Quick: the client waits for it."""
        raise NotImplementedError
