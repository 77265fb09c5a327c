"""A container's configuration -> the `config.json` its runtime gets (OCI runtime-spec, Docker's choices)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from barque.oci.defaults import READONLY_PATHS, masked_paths
from barque.oci.devices import device_access, given_devices
from barque.oci.limits import resource_limits
from barque.oci.mountlist import container_mounts
from barque.oci.process import granted_capabilities, init_process
from barque.oci.seccomp import resolve_profile
from barque.spi.frontend import ContainerConfig

__all__ = ["NETNS", "SpecInputs", "runtime_spec"]

NETNS = "@netns@"  # replaced by the shim with the path of the sandbox it was handed


@dataclass(frozen=True, slots=True)
class SpecInputs:
    """What the spec depends on beside the configuration (which is resolved against the image already).

    `network`: `private` (a new namespace), `sandbox` (handed to the shim) or `host`. `pid_namespace` and `ipc_namespace`:
    None for a new one, "" for the host's, else the path of another's. `files` are (source, target) of the engine's own
    /etc files. `bounding` is the daemon's bounding set. `cgroups_path` empty: the runtime's choice. `cgroup_v2`: the host
    has nothing but cgroup v2. `last_gid`: the groups 0 to this one exist; fewer than all in a user namespace.
    `shared_memory`: a directory that is the container's /dev/shm; empty for one of its own. `cdi_directories`: where
    vendors describe their devices, the last one counts most. `volumes` are further mounts, complete.
    """

    id: str
    rootfs: str
    args: Sequence[str]
    hostname: str
    cgroups_path: str
    network: str
    pid_namespace: str | None
    ipc_namespace: str | None
    files: Sequence[tuple[str, str]]
    bounding: frozenset[str]
    cgroup_v2: bool
    last_gid: int = 2147483647
    shared_memory: str = ""
    cdi_directories: tuple[str, ...] = ()
    volumes: Sequence[Mapping[str, Any]] = ()


def runtime_spec(config: ContainerConfig, inputs: SpecInputs) -> dict[str, Any]:
    """The complete document, but for `process.user`, which the shim resolves.

    Errors: InvalidArgument; FailedPrecondition or Internal (as dockerd, 500) for devices that this host does not have."""
    privileged = config.privileged
    capabilities = granted_capabilities(config, inputs.bounding)
    devices, access = given_devices(config)
    spec: dict[str, Any] = {
        "ociVersion": "1.0.2",
        "process": init_process(config, inputs.args, inputs.hostname, capabilities),
        "root": {"path": inputs.rootfs, "readonly": config.read_only},
        "hostname": inputs.hostname,
        "mounts": _mounts(config, inputs),
        "linux": {
            **({"cgroupsPath": inputs.cgroups_path} if inputs.cgroups_path else {}),
            "namespaces": _namespaces(config, inputs),
            "resources": {"devices": [*device_access(config), *access], **resource_limits(config.resources)},
            "sysctl": _sysctl(config, inputs),
            "maskedPaths": _paths(config.masked_paths, () if privileged else masked_paths()),
            "readonlyPaths": _paths(config.readonly_paths, () if privileged else READONLY_PATHS),
        },
    }
    if config.uts_mode == "host":
        del spec["hostname"]
    elif config.domainname:
        spec["domainname"] = config.domainname
    if devices:
        spec["linux"]["devices"] = devices
    if any(bind.propagation in ("shared", "rshared") for bind in config.binds):
        spec["linux"]["rootfsPropagation"] = (
            "shared"  # else the runtime would cut the host off before the bind is made
        )
    if config.annotations:
        spec["annotations"] = dict(config.annotations)
    seccomp = resolve_profile(
        "unconfined" if privileged and config.seccomp == "default" else config.seccomp, capabilities
    )
    if seccomp:
        spec["linux"]["seccomp"] = seccomp
    if config.device_requests:
        from barque.oci.requests import grant_requests  # hardly ever: not in the daemon's memory before

        grant_requests(spec, config.device_requests, inputs.cdi_directories)
    if config.selinux:
        from barque.oci.selinux import mount_label

        if label := mount_label(config.selinux):
            spec["linux"]["mountLabel"] = label
    return spec


def _namespaces(config: ContainerConfig, inputs: SpecInputs) -> list[dict[str, str]]:
    namespaces = [{"type": "mount"}]
    if inputs.network != "host":
        sandbox = {"path": NETNS} if inputs.network == "sandbox" else {}
        namespaces.append({"type": "network", **sandbox})
    if config.uts_mode != "host":
        namespaces.append({"type": "uts"})
    for kind, path in (("pid", inputs.pid_namespace), ("ipc", inputs.ipc_namespace)):
        if path is None:
            namespaces.append({"type": kind})
        elif path:
            namespaces.append({"type": kind, "path": path})
    if private_cgroups(config, inputs.cgroup_v2):
        namespaces.append({"type": "cgroup"})
    return namespaces


def private_cgroups(config: ContainerConfig, cgroup_v2: bool) -> bool:
    """Whether the container has a cgroup namespace of its own: Docker's default with cgroup v2 only."""
    return config.cgroupns_mode == "private" or (cgroup_v2 and config.cgroupns_mode != "host")


def _mounts(config: ContainerConfig, inputs: SpecInputs) -> list[dict[str, Any]]:
    host_ipc = inputs.ipc_namespace == ""
    return container_mounts(
        config, inputs.files, host_ipc, inputs.shared_memory, inputs.last_gid, inputs.volumes
    )


def _sysctl(config: ContainerConfig, inputs: SpecInputs) -> dict[str, str]:
    values = {}
    if inputs.network != "host":
        values = {
            "net.ipv4.ip_unprivileged_port_start": "0",
            "net.ipv4.ping_group_range": f"0 {inputs.last_gid}",
        }
    values.update({name.replace("/", "."): value for name, value in config.sysctls.items()})
    return values


def _paths(chosen: Sequence[str] | None, default: Sequence[str]) -> list[str]:
    return list(default if chosen is None else chosen)
