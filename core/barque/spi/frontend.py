"""Kind `frontend`: what speaks to clients. Entry-point group `barque.frontend.v1`.

`Engine` is the facade the engine publishes for frontends: every call blocks, may be made from any thread, takes and
returns frozen values in the engine's own words, and raises `BarqueError`s only. A frontend translates between
these and its protocol (Docker's JSON, CRI …). `ref` arguments take a full id, a unique prefix of one, or a name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from barque.spi.common import Platform, Probe
from barque.spi.content import ContentOperations
from barque.spi.log import LogEntry
from barque.spi.network import Endpoint, NetworkSpec, PortBinding
from barque.spi.runtime import RuntimeStats

__all__ = [
    "AttachRequest",
    "BindMount",
    "ClientStream",
    "Container",
    "ContainerConfig",
    "ContainerState",
    "ContainerUse",
    "Engine",
    "EngineInfo",
    "Event",
    "EventStream",
    "Exec",
    "ExecConfig",
    "ExitStatus",
    "FrontendHooks",
    "InterfaceUse",
    "Listener",
    "LogsRequest",
    "Network",
    "ProcessTable",
    "Resources",
    "Ulimit",
    "Waiter",
]


@dataclass(frozen=True, slots=True)
class Resources:
    """Limits; 0 or "" means none. Memory in bytes (`memory_swap` -1: unlimited; memory+swap as Docker's), `nano_cpus` in
    1e-9 CPUs, periods and quotas in microseconds, `pids_limit` <= 0: none."""

    memory: int = 0
    memory_swap: int = 0
    memory_reservation: int = 0
    nano_cpus: int = 0
    cpu_shares: int = 0
    cpu_period: int = 0
    cpu_quota: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    pids_limit: int = 0
    blkio_weight: int = 0
    oom_kill_disable: bool = False


@dataclass(frozen=True, slots=True)
class Ulimit:
    """One rlimit by its name less `RLIMIT_`, lower case (`nofile`)."""

    name: str
    soft: int
    hard: int


@dataclass(frozen=True, slots=True)
class BindMount:
    """A directory or file of the host in the container. `create_source`: make a missing source directory (`-v`, not `--mount`)."""

    source: str
    target: str
    read_only: bool = False
    propagation: str = "rprivate"
    recursive: bool = True
    create_source: bool = False


@dataclass(frozen=True, slots=True)
class ContainerConfig:
    """What a container shall be. None where the image's own value applies; defaults are Docker's.

    `network` is a network's name or id, `none`, `host` or `default`. `seccomp` is `default`, `unconfined` or the JSON of a
    profile in Docker's format. `runtime` "" is the profile's default. `log_driver` "" likewise. `init`: run the
    profile's init as pid 1. `storage_size`: bytes the container may write to its root, 0 for no
    limit. `document` is the frontend's own (Docker's HostConfig as sent), kept and given back unread.
    """

    image: str
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    env: tuple[str, ...] = ()
    working_dir: str = ""
    user: str = ""
    hostname: str = ""
    domainname: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    stop_signal: str = ""
    stop_timeout: int | None = None
    exposed_ports: tuple[str, ...] = ()
    network: str = "default"
    ports: tuple[PortBinding, ...] = ()
    publish_all: bool = False
    mac_address: str = ""
    ipv4_address: str = ""
    binds: tuple[BindMount, ...] = ()
    tmpfs: Mapping[str, str] = field(default_factory=dict)
    shm_size: int = 0
    storage_size: int = 0
    auto_remove: bool = False
    privileged: bool = False
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    no_new_privileges: bool = False
    seccomp: str = "default"
    read_only: bool = False
    masked_paths: tuple[str, ...] | None = None
    readonly_paths: tuple[str, ...] | None = None
    group_add: tuple[str, ...] = ()
    oom_score_adj: int = 0
    cgroup_parent: str = ""
    resources: Resources = Resources()
    ulimits: tuple[Ulimit, ...] = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    extra_hosts: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    pid_mode: str = ""
    ipc_mode: str = ""
    uts_mode: str = ""
    init: bool = False
    runtime: str = ""
    log_driver: str = ""
    log_options: Mapping[str, str] = field(default_factory=dict)
    platform: Platform | None = None
    document: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """How a container ended. `code` is 128+N after signal N. `error` is the engine's, when it could not run at all."""

    code: int
    finished_ns: int
    oom_killed: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True)
class ContainerState:
    """`status`: created, running, paused, exited, removing, dead. Times in ns since the epoch, 0: never."""

    status: str
    pid: int = 0
    exit_code: int = 0
    error: str = ""
    oom_killed: bool = False
    started_ns: int = 0
    finished_ns: int = 0


@dataclass(frozen=True, slots=True)
class Container:
    """A container as it is now. `path` and `args` are the resolved command; `endpoints` by network name.
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
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ExecConfig:
    """A further process. Empty `user` and `working_dir`: the container's."""

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
class Network:
    """A network with its driver and its endpoints (container id -> endpoint)."""

    spec: NetworkSpec
    driver: str
    created_ns: int
    endpoints: Mapping[str, Endpoint]


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
class Event:
    """`type` container, image, network, daemon; `action` create, start, die …; `attributes` as Docker's (name, image, exitCode, labels)."""

    type: str
    action: str
    actor_id: str
    attributes: Mapping[str, str]
    time_ns: int


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """Facts for `info` and `version`. `runtimes` name -> driver; `default_runtime` the profile's. `default_registry`: where names
    without a host lead; the names of images and digests have none for it."""

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
    cgroup_version: str
    started_ns: int
    warnings: tuple[str, ...] = ()
    default_registry: str = "docker.io"


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
        """TERM (or the container's stop signal), then KILL after `timeout` s (-1: never). False when it was stopped."""

    def container_kill(self, ref: str, signal: str) -> None:
        """`signal` is a name or number. Conflict when it does not run."""

    def container_pause(self, ref: str) -> None:
        """Conflict when it does not run, or is paused already."""

    def container_unpause(self, ref: str) -> None:
        """Conflict when it is not paused. A signal also ends a pause."""

    def container_update(self, ref: str, resources: Resources) -> None:
        """Replace its limits, at once when it runs. Errors as `RuntimeHooks.runtime_update`."""

    def container_stats(self, ref: str) -> ContainerUse:
        """What it uses now. Conflict when it does not run."""

    def container_top(self, ref: str, options: str) -> ProcessTable:
        """Its processes as the host's ps(1) prints them with `options` ("": -ef). Conflict when it does not run."""

    def container_wait(self, ref: str, condition: str) -> Waiter:
        """`condition`: not-running, next-exit, removed."""

    def container_remove(self, ref: str, force: bool) -> None:
        """Conflict when it runs and not `force`."""

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

    def events(self, since_ns: int | None, until_ns: int | None) -> EventStream: ...


@dataclass(frozen=True, slots=True)
class Listener:
    """An open, listening socket the frontend serves: its descriptor and its URL (`unix:///…`)."""

    fd: int
    url: str


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
