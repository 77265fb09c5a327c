"""What frontends ask the engine for. `barque.spi.frontend` has these names, too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from barque.spi.network import Subnet

__all__ = ["AttachRequest", "ClientStream", "LogsRequest", "NetworkRequest", "VolumeRequest"]


@dataclass(frozen=True, slots=True)
class NetworkRequest:
    """A network to make. `driver` "": the profile's default. What is empty is chosen. `placeholder`: only its settings are kept, for
    others to be made like it. `document` is the frontend's own, kept unread."""

    name: str
    driver: str = ""
    subnets: tuple[Subnet, ...] = ()
    internal: bool = False
    ipv4: bool = True
    ipv6: bool = False
    options: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    placeholder: bool = False
    document: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VolumeRequest:
    """A volume to make. `name` "": one is chosen. `driver` "": the profile's default."""

    name: str = ""
    driver: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ClientStream:
    """A client's connection after a protocol switch, to be handed over whole.

    `fd` is the socket; `preread` bytes the client sent after its request's head and body. `accept()` sends the
    answer's head (101 or 200): the engine calls it once, when nothing can go wrong any more that wants an HTTP status.
    From then on the engine owns the stream; the frontend closes its own descriptor without shutdown when the call returns.
    An error raised before `accept` leaves the connection to the frontend, which answers it.
    """

    fd: int
    preread: bytes
    accept: Callable[[], None]


@dataclass(frozen=True, slots=True)
class AttachRequest:
    """What to connect. Without a terminal, output is multiplexed in Docker's 8-byte frames. `logs`: first what was printed so far."""

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    stream: bool = True
    logs: bool = False
    detach_keys: str = ""


@dataclass(frozen=True, slots=True)
class LogsRequest:
    """As `LogQuery`, for `container_logs`. `stopped()` True: the reader left."""

    stdout: bool = True
    stderr: bool = True
    since_ns: int = 0
    until_ns: int = 0
    tail: int = -1
    follow: bool = False
    stopped: Callable[[], bool] = lambda: False
