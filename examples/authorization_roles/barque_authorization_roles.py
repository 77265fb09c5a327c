"""Who may do what: administrators everything, operators ordinary containers, the rest may look."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar

from barque.spi import Probe, hookimpl
from barque.spi.authorization import AuthorizationRequest
from barque.spi.errors import PermissionDenied

__all__ = ["Roles"]

_LOOKS = ("GET", "HEAD")
# What of a HostConfig reaches beyond the container.
_ROOT = (
    "Privileged",
    "Binds",
    "CapAdd",
    "Devices",
    "DeviceRequests",
    "SecurityOpt",
    "VolumesFrom",
    "CgroupParent",
)
_HOST_MODES = ("PidMode", "IpcMode", "NetworkMode", "UTSMode", "UsernsMode")


class Roles:
    """The driver `roles`."""

    @dataclass(frozen=True)
    class Config:
        """Names of users: the common name of a certificate, or `uid:N`."""

        administrators: tuple[str, ...] = ("uid:0",)
        operators: tuple[str, ...] = ()

    capabilities: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, name: str, config: Config) -> None:
        self.name = name
        self._config = config

    @hookimpl
    def authorization_probe(self) -> Probe:
        """Needs nothing of the host."""
        return Probe()

    @hookimpl
    def authorization_check(self, request: AuthorizationRequest) -> None:
        """See the contract."""
        if request.user in self._config.administrators or request.method in _LOOKS:
            return
        if request.user not in self._config.operators:
            raise PermissionDenied(f"{request.user or 'an unknown user'} may only look")
        if request.body is None:
            raise PermissionDenied("operators may not send archives")
        if request.path in ("/containers/create", "/volumes/create") or request.path.endswith("/exec"):
            _check_ordinary(request.body)


def _check_ordinary(body: bytes) -> None:
    try:
        document = json.loads(body)
        host = document.get("HostConfig") or {}
        beyond = [name for name in _ROOT if host.get(name)]
        beyond += [
            name for name in _HOST_MODES if str(host.get(name) or "").startswith(("host", "container:"))
        ]
        beyond += ["Mounts" for mount in host.get("Mounts") or () if mount.get("Type") == "bind"]
        beyond += [name for name in ("Privileged", "DriverOpts") if _set(document, name)]
    except (ValueError, AttributeError, TypeError, RecursionError):
        raise PermissionDenied("the request's body is not what it should be") from None
    if beyond:
        raise PermissionDenied(f"operators may not set {', '.join(beyond)}")


def _set(document: dict[str, Any], name: str) -> bool:
    return bool(document.get(name))
