"""Kind `frontend`: what speaks to clients. Entry-point group `barque.frontend.v1`.

`Engine` is the facade the engine publishes for frontends: every call blocks, may be made from any thread, takes and
returns frozen values in the engine's own words, and raises `BarqueError`s only. A frontend translates between
these and its protocol (Docker's JSON, CRI …). `ref` arguments take a full id, a unique prefix of one, or a name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from barque.spi.authorization import AuthorizationRequest
from barque.spi.common import Probe
from barque.spi.container import (
    BindMount,
    ContainerConfig,
    DeviceMapping,
    DeviceRate,
    DeviceRequest,
    EndpointConfig,
    Healthcheck,
    ImageMount,
    Resources,
    RestartPolicy,
    Ulimit,
    VolumeMount,
)
from barque.spi.content import ContentOperations
from barque.spi.log import LogEntry
from barque.spi.requests import AttachRequest, ClientStream, LogsRequest, NetworkRequest, VolumeRequest
from barque.spi.views import (
    Container,
    ContainerState,
    ContainerUse,
    EngineInfo,
    Event,
    Exec,
    ExecConfig,
    ExitStatus,
    Health,
    HealthResult,
    InterfaceUse,
    Network,
    ProcessTable,
    Volume,
)

__all__ = [
    "AttachRequest",
    "BindMount",
    "ClientStream",
    "Container",
    "ContainerConfig",
    "ContainerState",
    "ContainerUse",
    "DeviceMapping",
    "DeviceRate",
    "DeviceRequest",
    "EndpointConfig",
    "Engine",
    "EngineInfo",
    "Event",
    "EventStream",
    "Exec",
    "ExecConfig",
    "ExitStatus",
    "FrontendHooks",
    "Health",
    "HealthResult",
    "Healthcheck",
    "ImageMount",
    "InterfaceUse",
    "Listener",
    "LogsRequest",
    "Network",
    "NetworkRequest",
    "ProcessTable",
    "Resources",
    "RestartPolicy",
    "Tls",
    "Ulimit",
    "Volume",
    "VolumeMount",
    "VolumeRequest",
    "Waiter",
]


class Waiter(Protocol):
    """An armed wait: nothing that happens after it was returned is missed."""

    def result(self, timeout: float) -> ExitStatus | None:
        """The status, or None after `timeout` seconds."""

    def close(self) -> None:
        """Stop waiting. Idempotent."""


class EventStream(Protocol):
    """A subscription: past events since the asked time, then live ones, without gap or duplicate."""

    def next(self, timeout: float) -> Event | None:
        """The next event, or None after `timeout` seconds."""

    def close(self) -> None:
        """End the subscription. Idempotent."""


class Engine(ContentOperations, Protocol):
    """The engine, for frontends."""

    def info(self) -> EngineInfo: ...

    def container_create(self, name: str | None, config: ContainerConfig) -> Container:
        """NotFound (no such image), Conflict (name in use), InvalidArgument. `warnings` of the result are for the user."""

    def container_list(self) -> tuple[Container, ...]:
        """All of them, newest first; filtering is the frontend's."""

    def container_get(self, ref: str) -> Container: ...

    def container_start(self, ref: str) -> bool:
        """False when it ran already."""

    def container_stop(self, ref: str, signal: str | None, timeout: int | None) -> bool:
        """TERM (or the container's stop signal), then KILL after `timeout` s (-1: never). False when it was stopped. Its restart
        policy rests until it is started."""

    def container_restart(self, ref: str, signal: str | None, timeout: int | None) -> None:
        """Stop as `container_stop`, when it runs, and start. It is not removed between, also with `auto_remove`."""

    def container_kill(self, ref: str, signal: str) -> None:
        """`signal` is a name or number. Conflict when it does not run."""

    def container_pause(self, ref: str) -> None:
        """Conflict when it does not run, or is paused already."""

    def container_unpause(self, ref: str) -> None:
        """Conflict when it is not paused. A signal also ends a pause."""

    def container_update(self, ref: str, resources: Resources | None, restart: RestartPolicy | None) -> None:
        """Replace its limits, at once when it runs, and its restart policy; None leaves one. Errors as `RuntimeHooks.runtime_update`."""

    def container_rename(self, ref: str, name: str) -> None:
        """Conflict (name in use), InvalidArgument (the same name, or no name)."""

    def container_stats(self, ref: str) -> ContainerUse:
        """What it uses now. Conflict when it does not run."""

    def container_top(self, ref: str, options: str) -> ProcessTable:
        """Its processes as the host's ps(1) prints them with `options` ("": -ef). Conflict when it does not run."""

    def container_wait(self, ref: str, condition: str) -> Waiter:
        """`condition`: not-running, next-exit, removed."""

    def container_remove(self, ref: str, force: bool, volumes: bool = False, link: bool = False) -> None:
        """Conflict when it runs and not `force`. `volumes`: with its anonymous volumes. `link`: `ref` is a link (`/web/db`), and only
        that goes."""

    def container_resize(self, ref: str, height: int, width: int) -> None: ...

    def container_attach(self, ref: str, request: AttachRequest, stream: ClientStream) -> None:
        """Hands the stream over. Also before the start: it is kept and connected then."""

    def container_logs(self, ref: str, request: LogsRequest) -> Iterator[LogEntry]: ...

    def exec_create(self, ref: str, config: ExecConfig) -> str: ...

    def exec_start(self, exec_id: str, stream: ClientStream | None) -> None:
        """With a stream: hand over and return (the process may still run). None: detached."""

    def exec_get(self, exec_id: str) -> Exec: ...

    def exec_resize(self, exec_id: str, height: int, width: int) -> None: ...

    def network_list(self) -> tuple[Network, ...]: ...

    def network_get(self, ref: str) -> Network: ...

    def network_create(self, request: NetworkRequest) -> Network:
        """Conflict (name in use, or a predefined one), InvalidArgument, NotFound (no such driver), PermissionDenied."""

    def network_remove(self, ref: str) -> None:
        """Conflict while it has endpoints; PermissionDenied for a predefined one. Containers that do not run lose it."""

    def network_connect(self, ref: str, container: str, config: EndpointConfig) -> None:
        """Put a container into a further network, at once when it runs. Errors: PermissionDenied, Conflict, InvalidArgument."""

    def network_disconnect(self, ref: str, container: str, force: bool) -> None:
        """Take a container out. Errors: PermissionDenied, NotFound (with `force`, one that is no more is let go)."""

    def volume_list(self) -> tuple[Volume, ...]: ...

    def volume_get(self, name: str) -> Volume:
        """NotFound (`get x: no such volume`)."""

    def volume_create(self, request: VolumeRequest) -> Volume:
        """The volume of that name, when there is one with the same driver (Docker's rule). Conflict for one of another driver."""

    def volume_remove(self, name: str, force: bool) -> None:
        """Conflict (`volume is in use - [ids]`). `force`: no error for one that is not there, or that its driver cannot remove."""

    def volume_usage(self, name: str) -> int:
        """Bytes it takes; -1 where its driver cannot tell. May take long."""

    def authorize(self, request: AuthorizationRequest) -> None:
        """To be asked before anything of a request is done. PermissionDenied (`authorization denied by plugin x: reason`)."""

    @property
    def authorizing(self) -> bool:
        """Whether anybody is asked by `authorize`: when nobody is, a frontend need not collect what it takes."""

    def events(self, since_ns: int | None, until_ns: int | None) -> EventStream: ...

    def pruned(self, type: str, reclaimed: int) -> None:
        """A frontend removed what nothing used of this type (container, network, volume, builder), and freed so many bytes: an event says so.
        (`image_prune` does by itself.)"""


@dataclass(frozen=True, slots=True)
class Tls:
    """How a listener encrypts: files in PEM. `ca` not empty: clients must show a certificate that it signed."""

    certificate: str
    key: str
    ca: str = ""


@dataclass(frozen=True, slots=True)
class Listener:
    """An open, listening socket the frontend serves: its descriptor and its URL (`unix:///…`, `tcp://…`). `tls` None: in clear."""

    fd: int
    url: str
    tls: Tls | None = None


class FrontendHooks:
    """The hooks of kind `frontend`. A driver is a class with a frozen stdlib dataclass `Config`, constructed as `Driver(name, config)`."""

    def frontend_probe(self) -> Probe:
        """What this host lacks. Never raises."""
        raise NotImplementedError

    def frontend_start(self, engine: Engine, listeners: tuple[Listener, ...]) -> None:
        """Begin to serve on threads of its own and return at once."""
        raise NotImplementedError

    def frontend_stop(self, timeout: float) -> None:
        """Stop accepting, end or cancel what runs within `timeout` s. Idempotent."""
        raise NotImplementedError
