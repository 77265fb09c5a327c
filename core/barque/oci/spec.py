"""A container's configuration -> the `config.json` its runtime gets (OCI runtime-spec, Docker's choices)."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from barque.oci import capabilities as caps
from barque.oci.defaults import (
    DEFAULT_PATH,
    READONLY_PATHS,
    device_rules,
    masked_paths,
    mount,
    system_mounts,
)
from barque.oci.seccomp import resolve_profile
from barque.spi.errors import InvalidArgument
from barque.spi.frontend import ContainerConfig, ExecConfig, Resources

__all__ = ["NETNS", "SpecInputs", "exec_process", "merge_image", "runtime_spec"]

NETNS = "@netns@"  # replaced by the shim with the path of the sandbox it was handed


@dataclass(frozen=True, slots=True)
class SpecInputs:
    """What the spec depends on beside the configuration (which is resolved against the image already).

    `network`: `private` (a new namespace), `sandbox` (handed to the shim) or `host`. `pid_namespace` and `ipc_namespace`:
    None for a new one, "" for the host's, else the path of another's. `files` are (source, target) of the engine's own
    /etc files. `bounding` is the daemon's bounding set. `cgroups_path` empty: the runtime's choice. `cgroup_v2`: the host
    has nothing but cgroup v2. `last_gid`: the groups 0 to this one exist; fewer than all in a user namespace.
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


def runtime_spec(config: ContainerConfig, inputs: SpecInputs) -> dict[str, Any]:
    """The complete document, but for `process.user`, which the shim resolves. Errors: InvalidArgument."""
    privileged = config.privileged
    capabilities = _capabilities(config, inputs.bounding)
    spec: dict[str, Any] = {
        "ociVersion": "1.0.2",
        "process": _process(config, inputs, capabilities),
        "root": {"path": inputs.rootfs, "readonly": config.read_only},
        "hostname": inputs.hostname,
        "mounts": _mounts(config, inputs),
        "linux": {
            **({"cgroupsPath": inputs.cgroups_path} if inputs.cgroups_path else {}),
            "namespaces": _namespaces(config, inputs),
            "resources": _resources(config.resources, privileged),
            "sysctl": _sysctl(config, inputs),
            "maskedPaths": _paths(config.masked_paths, () if privileged else masked_paths()),
            "readonlyPaths": _paths(config.readonly_paths, () if privileged else READONLY_PATHS),
        },
    }
    if config.uts_mode == "host":
        del spec["hostname"]
    elif config.domainname:
        spec["domainname"] = config.domainname
    if privileged:
        spec["linux"]["devices"] = _host_devices()
    seccomp = resolve_profile(
        "unconfined" if privileged and config.seccomp == "default" else config.seccomp, capabilities
    )
    if seccomp:
        spec["linux"]["seccomp"] = seccomp
    return spec


def exec_process(
    config: ContainerConfig, execution: ExecConfig, bounding: frozenset[str], hostname: str
) -> dict[str, Any]:
    """The OCI `process` of an exec, but for its user: the container's environment and confinement."""
    privileged = config.privileged or execution.privileged
    capabilities = caps.resolve(("ALL",), (), bounding) if privileged else _capabilities(config, bounding)
    environment = _environment(config, hostname, execution.tty)
    process = {
        "terminal": execution.tty,
        "args": list(execution.command),
        "env": _merge_environment(environment, execution.env),
        "cwd": execution.working_dir or config.working_dir or "/",
        "noNewPrivileges": config.no_new_privileges,
        "capabilities": _capability_sets(capabilities),
    }
    if config.ulimits:
        process["rlimits"] = _rlimits(config)
    return process


def _process(config: ContainerConfig, inputs: SpecInputs, capabilities: tuple[str, ...]) -> dict[str, Any]:
    process: dict[str, Any] = {
        "terminal": config.tty,
        "user": {"uid": 0, "gid": 0},
        "args": list(inputs.args),
        "env": _environment(config, inputs.hostname, config.tty),
        "cwd": config.working_dir or "/",
        "capabilities": _capability_sets(capabilities),
        "noNewPrivileges": config.no_new_privileges,
    }
    if config.oom_score_adj:
        process["oomScoreAdj"] = config.oom_score_adj
    if config.ulimits:
        process["rlimits"] = _rlimits(config)
    return process


def _capabilities(config: ContainerConfig, bounding: frozenset[str]) -> tuple[str, ...]:
    if config.privileged:
        return caps.resolve(("ALL",), (), bounding)
    return caps.resolve(config.cap_add, config.cap_drop, bounding)


def _capability_sets(capabilities: Sequence[str]) -> dict[str, list[str]]:
    """Inheritable and ambient stay empty (CVE-2022-24769)."""
    return {name: list(capabilities) for name in ("bounding", "effective", "permitted")}


def _environment(config: ContainerConfig, hostname: str, tty: bool) -> list[str]:
    base = [DEFAULT_PATH, f"HOSTNAME={hostname}", *(["TERM=xterm"] if tty else [])]
    return _merge_environment(base, config.env)


def _merge_environment(base: Sequence[str], changes: Sequence[str]) -> list[str]:
    """Later values win and keep the place of the first; `NAME` without `=` removes it."""
    merged = dict(entry.partition("=")[::2] for entry in base)
    for entry in changes:
        name, separator, value = entry.partition("=")
        if not name or "\0" in entry:
            raise InvalidArgument(f"invalid environment variable: {entry!r}", hint="write NAME=VALUE")
        if separator:
            merged[name] = value
        else:
            merged.pop(name, None)
    return [f"{name}={value}" for name, value in merged.items()]


def _rlimits(config: ContainerConfig) -> list[dict[str, Any]]:
    return [{"type": f"RLIMIT_{u.name.upper()}", "soft": u.soft, "hard": u.hard} for u in config.ulimits]


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
    if inputs.cgroup_v2:
        namespaces.append({"type": "cgroup"})
    return namespaces


def _mounts(config: ContainerConfig, inputs: SpecInputs) -> list[dict[str, Any]]:
    mounts = system_mounts(config.privileged, config.shm_size, inputs.ipc_namespace == "", inputs.last_gid)
    if config.ipc_mode == "none":
        mounts = [m for m in mounts if m["destination"] != "/dev/shm"]
    bound = {bind.target for bind in config.binds}
    mounts += [mount(t, "bind", s, "rbind", "rprivate") for s, t in inputs.files if t not in bound]
    users = [
        mount(t, "tmpfs", "tmpfs", "nosuid", "nodev", "noexec", *_words(o)) for t, o in config.tmpfs.items()
    ]
    for bind in config.binds:
        options = ["rbind" if bind.recursive else "bind", bind.propagation, "ro" if bind.read_only else "rw"]
        users.append(mount(bind.target, "bind", bind.source, *options))
    users.sort(key=lambda m: m["destination"].rstrip("/").count("/"))
    replaced = {m["destination"] for m in users}
    return [m for m in mounts if m["destination"] not in replaced] + users


def _words(options: str) -> list[str]:
    return [word for word in options.split(",") if word]


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


def _resources(limits: Resources, privileged: bool) -> dict[str, Any]:
    return {"devices": device_rules(privileged), **resource_limits(limits)}


def resource_limits(limits: Resources) -> dict[str, Any]:
    """`linux.resources` with what is limited."""
    resources: dict[str, Any] = {}
    memory = _present(limit=limits.memory, reservation=limits.memory_reservation, swap=_swap(limits))
    if limits.oom_kill_disable:
        memory["disableOOMKiller"] = True
    quota, period = limits.cpu_quota, limits.cpu_period
    if limits.nano_cpus:
        period = 100_000
        quota = limits.nano_cpus * period // 1_000_000_000
    cpu = _present(
        shares=limits.cpu_shares, quota=quota, period=period, cpus=limits.cpuset_cpus, mems=limits.cpuset_mems
    )
    if memory:
        resources["memory"] = memory
    if cpu:
        resources["cpu"] = cpu
    if limits.pids_limit:
        resources["pids"] = {"limit": limits.pids_limit}
    if limits.blkio_weight:
        resources["blockIO"] = {"weight": limits.blkio_weight}
    return resources


def _swap(limits: Resources) -> int:
    """Docker's rule: a memory limit alone allows as much swap again."""
    if limits.memory_swap:
        return limits.memory_swap
    return limits.memory * 2 if limits.memory else 0


def _present(**values: int | str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}


def _host_devices() -> list[dict[str, Any]]:
    """Every device node of the host's /dev (privileged containers), less what the runtime makes itself."""
    devices = []
    skip = {"pts", "shm", "mqueue", "fd", "console", "ptmx", "stdin", "stdout", "stderr", "core"}
    for directory, names, files in os.walk("/dev"):
        names[:] = [n for n in names if directory != "/dev" or n not in skip]
        for name in files:
            path = os.path.join(directory, name)
            info = os.lstat(path)
            if (directory == "/dev" and name in skip) or not (
                stat.S_ISCHR(info.st_mode) or stat.S_ISBLK(info.st_mode)
            ):
                continue
            kind = "c" if stat.S_ISCHR(info.st_mode) else "b"
            devices.append({
                "path": path, "type": kind, "major": os.major(info.st_rdev), "minor": os.minor(info.st_rdev),
                "fileMode": stat.S_IMODE(info.st_mode), "uid": info.st_uid, "gid": info.st_gid,
            })  # fmt: skip
    return devices


def merge_image(config: ContainerConfig, image: Mapping[str, Any]) -> dict[str, Any]:
    """What the image's own `config` object adds, as fields of `ContainerConfig` to replace."""
    changes: dict[str, Any] = {}
    command, entrypoint = config.command, config.entrypoint
    if entrypoint is None:
        if not command:
            command = _tuple(image.get("Cmd"))
        entrypoint = _tuple(image.get("Entrypoint"))
    changes["command"], changes["entrypoint"] = command, entrypoint
    own = {entry.partition("=")[0] for entry in config.env}
    changes["env"] = (*config.env, *(e for e in image.get("Env") or () if e.partition("=")[0] not in own))
    changes["working_dir"] = config.working_dir or image.get("WorkingDir") or ""
    changes["user"] = config.user or image.get("User") or ""
    changes["labels"] = {**(image.get("Labels") or {}), **config.labels}
    changes["stop_signal"] = config.stop_signal or image.get("StopSignal") or ""
    exposed = dict.fromkeys([*config.exposed_ports, *(image.get("ExposedPorts") or {})])
    changes["exposed_ports"] = tuple(exposed)
    return changes


def _tuple(value: Any) -> tuple[str, ...] | None:
    return tuple(value) if value else None
