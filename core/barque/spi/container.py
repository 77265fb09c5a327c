"""What a container shall be: the configuration that frontends give to `Engine.container_create`, and that the engine keeps.

None (or empty) stands where the image's or the profile's own value applies; the defaults are Docker's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from barque.spi.common import Platform
from barque.spi.network import PortBinding

__all__ = [
    "BindMount",
    "ContainerConfig",
    "DeviceMapping",
    "DeviceRate",
    "DeviceRequest",
    "EndpointConfig",
    "Healthcheck",
    "ImageMount",
    "Resources",
    "RestartPolicy",
    "Ulimit",
    "VolumeMount",
]


@dataclass(frozen=True, slots=True)
class DeviceRate:
    """A block device of the host (`/dev/sda`) with a rate (bytes or operations a second) or a weight (10 to 1000)."""

    path: str
    rate: int


@dataclass(frozen=True, slots=True)
class Resources:
    """Limits; 0 or "" means none. Memory in bytes (`memory_swap` -1: unlimited; memory+swap as Docker's), `nano_cpus` in
    1e-9 CPUs, periods, quotas and runtimes in microseconds, `pids_limit` <= 0: none. `memory_swappiness` -1: the host's."""

    memory: int = 0
    memory_swap: int = 0
    memory_reservation: int = 0
    memory_swappiness: int = -1
    nano_cpus: int = 0
    cpu_shares: int = 0
    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_realtime_period: int = 0
    cpu_realtime_runtime: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    pids_limit: int = 0
    blkio_weight: int = 0
    blkio_weight_device: tuple[DeviceRate, ...] = ()
    blkio_read_bps: tuple[DeviceRate, ...] = ()
    blkio_write_bps: tuple[DeviceRate, ...] = ()
    blkio_read_iops: tuple[DeviceRate, ...] = ()
    blkio_write_iops: tuple[DeviceRate, ...] = ()
    oom_kill_disable: bool = False


@dataclass(frozen=True, slots=True)
class Ulimit:
    """One rlimit by its name less `RLIMIT_`, lower case (`nofile`)."""

    name: str
    soft: int
    hard: int


@dataclass(frozen=True, slots=True)
class BindMount:
    """A directory or file of the host in the container. `create_source`: make a missing source directory (`-v`, not `--mount`).
    `read_only_below`: what `read_only` means for mounts below the source: `try` (Docker's default: read-only where the kernel can),
    `force` (an error where it cannot), `no`."""

    source: str
    target: str
    read_only: bool = False
    propagation: str = "rprivate"
    recursive: bool = True
    create_source: bool = False
    read_only_below: str = "try"


@dataclass(frozen=True, slots=True)
class VolumeMount:
    """A volume in the container. An empty `name` asks for a new anonymous volume; the engine puts its name in its place and sets
    `anonymous`, and it goes with the container where that is asked for (`--rm`, `rm -v`).

    `driver` "" is the volume's own, or the profile's default for one that is made now; `options` and `labels` are for that one too.
    `copy`: a volume that is empty gets what the image has at `target` first. `subpath`: a directory or file in it, instead of its
    root. `inherited`: it came with `volumes_from`.
    """

    target: str
    name: str = ""
    read_only: bool = False
    copy: bool = True
    subpath: str = ""
    propagation: str = ""
    driver: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    anonymous: bool = False
    inherited: bool = False


@dataclass(frozen=True, slots=True)
class ImageMount:
    """The root file system of an image (or the directory `subpath` in it) in the container, read-only."""

    image: str
    target: str
    subpath: str = ""


@dataclass(frozen=True, slots=True)
class EndpointConfig:
    """How a container is to be in one network. Empty addresses are the network driver's to choose.

    `aliases` are further names of the container in that network; `links` (`container:alias`) names that this container alone
    has for others. `options` are the network driver's. The endpoint with the highest `gateway_priority` is the container's way
    out (of several, the first by name, dual-stack before the others, as in Docker).
    """

    aliases: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    ipv4: str = ""
    ipv6: str = ""
    link_local: tuple[str, ...] = ()
    mac: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    gateway_priority: int = 0


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """`name`: no, always, unless-stopped, on-failure. `maximum`: attempts of on-failure, 0 for no limit."""

    name: str = "no"
    maximum: int = 0


@dataclass(frozen=True, slots=True)
class Healthcheck:
    """A test of the container's health. `test` is empty (the image's), ("NONE",), ("CMD", word …) or ("CMD-SHELL", line).
    Times in ns and `retries` are 0 where the image's or Docker's default applies (30 s, 30 s, 0 s, 5 s; 3)."""

    test: tuple[str, ...] = ()
    interval_ns: int = 0
    timeout_ns: int = 0
    start_period_ns: int = 0
    start_interval_ns: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True)
class DeviceMapping:
    """A device node (or a directory of them) of the host in the container. `permissions` of the device cgroup: of r, w, m."""

    source: str
    target: str
    permissions: str = "rwm"


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """Devices by what they can do (`--gpus`) or by CDI name (`driver` cdi, `ids` `vendor.com/class=name`).
    `count` -1: all. `capabilities`: a disjunction of conjunctions, as Docker has it."""

    driver: str = ""
    count: int = 0
    ids: tuple[str, ...] = ()
    capabilities: tuple[tuple[str, ...], ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ContainerConfig:
    """What a container shall be. None where the image's own value applies; defaults are Docker's.

    `network` is the container's network mode: a network's name or id, `none`, `host`, `default` or `container:REF`; `networks`, where
    it is not empty, are all the networks it is to be in, by name or id, and how; that of the mode need not be among them (as in
    Docker). `seccomp` is `default`, `unconfined` or the JSON of a profile in Docker's format. `apparmor` is a profile's name,
    `selinux` holds label options (`disable`, `type:x` …); `writable_cgroups`: the container may arrange its own cgroup. `runtime` ""
    is the profile's default. `log_driver` "" likewise. `init`: run the engine's init as pid 1. `storage_size`: bytes the container
    may write to its root, 0 for no limit. `console_size`: height and width that its terminal begins with. `document` is the frontend's
    own (Docker's HostConfig as sent), kept and given back unread.
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
    annotations: Mapping[str, str] = field(default_factory=dict)
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    console_size: tuple[int, int] | None = None
    stop_signal: str = ""
    stop_timeout: int | None = None
    restart: RestartPolicy = RestartPolicy()
    healthcheck: Healthcheck | None = None
    exposed_ports: tuple[str, ...] = ()
    network: str = "default"
    networks: Mapping[str, EndpointConfig] = field(default_factory=dict)
    links: tuple[str, ...] = ()
    ports: tuple[PortBinding, ...] = ()
    publish_all: bool = False
    binds: tuple[BindMount, ...] = ()
    volumes: tuple[VolumeMount, ...] = ()
    volumes_from: tuple[str, ...] = ()
    image_mounts: tuple[ImageMount, ...] = ()
    tmpfs: Mapping[str, str] = field(default_factory=dict)
    shm_size: int = 0
    storage_size: int = 0
    auto_remove: bool = False
    privileged: bool = False
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    no_new_privileges: bool = False
    seccomp: str = "default"
    apparmor: str = ""
    selinux: tuple[str, ...] = ()
    writable_cgroups: bool = False
    read_only: bool = False
    masked_paths: tuple[str, ...] | None = None
    readonly_paths: tuple[str, ...] | None = None
    group_add: tuple[str, ...] = ()
    oom_score_adj: int = 0
    cgroup_parent: str = ""
    resources: Resources = Resources()
    ulimits: tuple[Ulimit, ...] = ()
    devices: tuple[DeviceMapping, ...] = ()
    device_rules: tuple[str, ...] = ()
    device_requests: tuple[DeviceRequest, ...] = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    extra_hosts: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    pid_mode: str = ""
    ipc_mode: str = ""
    uts_mode: str = ""
    cgroupns_mode: str = ""
    userns_mode: str = ""
    init: bool = False
    runtime: str = ""
    log_driver: str = ""
    log_options: Mapping[str, str] = field(default_factory=dict)
    platform: Platform | None = None
    document: Mapping[str, Any] = field(default_factory=dict)
