"""What frontends see: containers, execs, networks, volumes, events and the engine itself, as they are at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from barque.spi.common import Platform
from barque.spi.container import ContainerConfig
from barque.spi.network import Endpoint, NetworkSpec
from barque.spi.runtime import RuntimeStats

__all__ = [
    "Container",
    "ContainerState",
    "ContainerUse",
    "EngineInfo",
    "Event",
    "Exec",
    "ExecConfig",
    "ExitStatus",
    "Health",
    "HealthResult",
    "InterfaceUse",
    "Network",
    "ProcessTable",
    "Volume",
]


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """How a container ended. `code` is 128+N after signal N. `error` is the engine's, when it could not run at all."""

    code: int
    finished_ns: int
    oom_killed: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True)
class HealthResult:
    """One run of a healthcheck: times in ns since the epoch, the exit code (-1: it could not be run, or took too long), and
    at most 4096 characters of its output."""

    started_ns: int
    finished_ns: int
    exit_code: int
    output: str


@dataclass(frozen=True, slots=True)
class Health:
    """`status`: starting, healthy, unhealthy. `failing_streak`: failures since the last success. `log`: the last five results."""

    status: str
    failing_streak: int = 0
    log: tuple[HealthResult, ...] = ()


@dataclass(frozen=True, slots=True)
class ContainerState:
    """`status`: created, running, paused, restarting, exited, removing, dead. Times in ns since the epoch, 0: never.
    `finished_ns` of one that runs is the end of its last run. `health` None: it has no healthcheck, or never ran."""

    status: str
    pid: int = 0
    exit_code: int = 0
    error: str = ""
    oom_killed: bool = False
    started_ns: int = 0
    finished_ns: int = 0
    health: Health | None = None


@dataclass(frozen=True, slots=True)
class Container:
    """A container as it is now. `path` and `args` are the resolved command; `endpoints`, of one that runs, by network name, as the
    `networks` of its config are. `mounts`: where the volumes of its config are on the host, by target. `restart_count`: by its policy.
    The `*_path`s are files of the host ("" where there is none). `config` is resolved against the image."""

    id: str
    name: str
    created_ns: int
    image_id: str
    config: ContainerConfig
    state: ContainerState
    path: str
    args: tuple[str, ...]
    platform: Platform
    runtime: str
    storage: str
    log_driver: str
    log_path: str = ""
    hostname_path: str = ""
    hosts_path: str = ""
    resolv_conf_path: str = ""
    endpoints: Mapping[str, Endpoint] = field(default_factory=dict)
    exec_ids: tuple[str, ...] = ()
    mounts: Mapping[str, str] = field(default_factory=dict)
    restart_count: int = 0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ExecConfig:
    """A further process. Empty `user` and `working_dir`: the container's. `console_size`: height and width that its terminal begins with."""

    command: tuple[str, ...]
    env: tuple[str, ...] = ()
    user: str = ""
    working_dir: str = ""
    tty: bool = False
    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    privileged: bool = False
    detach_keys: str = ""
    console_size: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Exec:
    """An exec session. `exit_code` None until it has ended."""

    id: str
    container_id: str
    config: ExecConfig
    running: bool
    exit_code: int | None
    pid: int


@dataclass(frozen=True, slots=True)
class InterfaceUse:
    """Counters of one network interface of a container: bytes, packets, errors, and packets dropped, in and out."""

    name: str
    received_bytes: int
    received_packets: int
    received_errors: int
    received_dropped: int
    sent_bytes: int
    sent_packets: int
    sent_errors: int
    sent_dropped: int


@dataclass(frozen=True, slots=True)
class ContainerUse:
    """What a container uses: of its cgroup, and of its network namespace."""

    stats: RuntimeStats
    interfaces: tuple[InterfaceUse, ...]


@dataclass(frozen=True, slots=True)
class ProcessTable:
    """Column titles, and a row a process."""

    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Network:
    """A network with its driver and its endpoints (container id -> endpoint). `predefined`: the profile's own, which stays.
    `placeholder` and `document` as in its request."""

    spec: NetworkSpec
    driver: str
    created_ns: int
    endpoints: Mapping[str, Endpoint]
    predefined: bool = False
    placeholder: bool = False
    document: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume. `mountpoint` on the host; `users` the containers (ids) that have it in their configuration, running or not.
    `scope` local or global; `anonymous`: made for a container that named none."""

    name: str
    driver: str
    mountpoint: str
    created_ns: int
    options: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    users: tuple[str, ...] = ()
    scope: str = "local"
    anonymous: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """`type` container, image, network, volume, daemon; `action` create, start, die …; `attributes` as Docker's (name, image,
    exitCode, labels)."""

    type: str
    action: str
    actor_id: str
    attributes: Mapping[str, str]
    time_ns: int


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """Facts for `info` and `version`. `runtimes` name -> driver; `default_runtime` the profile's. `default_registry`: where names
    without a host lead; the names of images and digests have none for it. `cdi_directories`: where vendors describe devices."""

    id: str
    version: str
    profile: str
    root: str
    runtimes: Mapping[str, str]
    default_runtime: str
    storage_driver: str
    log_driver: str
    log_drivers: tuple[str, ...]
    networks: tuple[str, ...]
    volumes: tuple[str, ...]
    authorizations: tuple[str, ...]
    cgroup_version: str
    started_ns: int
    warnings: tuple[str, ...] = ()
    default_registry: str = "docker.io"
    cdi_directories: tuple[str, ...] = ()
