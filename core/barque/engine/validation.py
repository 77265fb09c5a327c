"""What a container's configuration must satisfy before anything is made of it."""

from __future__ import annotations

import os
import posixpath
import re

from barque.engine.lifecycle.restarting import check_restart_policy
from barque.engine.limit_checks import check_limits, check_ulimits
from barque.oci import capabilities as caps
from barque.oci.devices import check_rule
from barque.oci.health import check_healthcheck
from barque.oci.seccomp import resolve_profile
from barque.spi.errors import InvalidArgument
from barque.spi.frontend import BindMount, ContainerConfig

__all__ = ["check_config", "signal_number"]

_HOSTNAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9._-]{0,62})?")
_IPC_SYSCTLS = frozenset(
    f"kernel.{name}" for name in "msgmax msgmnb msgmni sem shmall shmmax shmmni shm_rmid_forced".split()
)
_CGROUP_PART = re.compile(r"[A-Za-z0-9_.:@-]+")


def check_config(config: ContainerConfig, bounding: frozenset[str]) -> None:
    """Raise InvalidArgument, in Docker's words where it has some, for the first thing that is wrong."""
    _check_basics(config)
    _check_namespaces(config)
    _check_sysctls(config)
    check_limits(config.resources)
    check_ulimits(config.ulimits)
    _check_devices(config)
    for bind in config.binds:
        _check_bind(bind)
    places = [volume.target for volume in config.volumes] + [image.target for image in config.image_mounts]
    for target in (*config.tmpfs, *places):
        _check_target(target)
    caps.resolve(config.cap_add, config.cap_drop, bounding)
    resolve_profile(config.seccomp, ())
    if config.stop_signal:
        signal_number(config.stop_signal)


def _check_basics(config: ContainerConfig) -> None:
    if config.working_dir and not posixpath.isabs(config.working_dir):
        raise InvalidArgument(
            f"the working directory '{config.working_dir}' is invalid, it needs to be an absolute path"
        )
    if config.hostname and not _HOSTNAME.fullmatch(config.hostname):
        raise InvalidArgument(f"invalid hostname format: {config.hostname}")
    for entry in config.env:
        if not entry or entry.startswith("=") or "\0" in entry:
            raise InvalidArgument(f"invalid environment variable: {entry!r}", hint="write NAME=VALUE")
    _check_lines(config)
    check_restart_policy(config.restart)
    if config.auto_remove and config.restart.name != "no":
        raise InvalidArgument("can't create 'AutoRemove' container with restart policy")
    check_healthcheck(config.healthcheck)
    for part in filter(None, config.cgroup_parent.split("/")):
        if part == ".." or not _CGROUP_PART.fullmatch(part):
            raise InvalidArgument(
                f"invalid cgroup parent {config.cgroup_parent!r}", hint="an absolute path of plain names"
            )


def _check_lines(config: ContainerConfig) -> None:
    """What becomes a part of a line in /etc/hosts or /etc/resolv.conf is no line of its own."""
    for field, values in (
        ("Domainname", (config.domainname,)),
        ("HostConfig.ExtraHosts", config.extra_hosts),
        ("HostConfig.DnsSearch", config.dns_search),
        ("HostConfig.DnsOptions", config.dns_options),
    ):
        for value in values:
            if not value.isprintable():
                raise InvalidArgument(f"{field}: {value!r} has characters that do not print")


def _check_namespaces(config: ContainerConfig) -> None:
    for mode, what, words in (
        (config.pid_mode, "PID mode", ("", "host")),
        (config.ipc_mode, "IPC mode", ("", "host", "none", "private", "shareable")),
        (config.uts_mode, "UTS mode", ("", "host")),
        (config.cgroupns_mode, "cgroup namespace mode", ("", "host", "private")),
        (config.userns_mode, "user namespace mode", ("", "host")),
    ):
        joins = what in ("PID mode", "IPC mode") and mode.startswith("container:") and mode != "container:"
        if mode not in words and not joins:
            raise InvalidArgument(f"invalid {what}: {mode}")
    if config.uts_mode == "host" and config.hostname:
        raise InvalidArgument("conflicting options: hostname and the UTS mode")
    if config.writable_cgroups and config.cgroupns_mode != "private":
        raise InvalidArgument(
            "writable-cgroups needs a private cgroup namespace", hint="add --cgroupns private"
        )


def _check_sysctls(config: ContainerConfig) -> None:
    """Only what belongs to a namespace of the container's own; in the words of the docker CLI, else of runc."""
    for name in config.sysctls:
        dotted = name.replace("/", ".")
        kind = _namespace_of(dotted)
        if kind is None:
            raise InvalidArgument(
                f"sysctl '{name}' is not allowed", hint="it is not in a namespace: set it on the host"
            )
        shared = {"network": config.network, "IPC": config.ipc_mode, "UTS": config.uts_mode}[kind]
        if shared == "host":
            raise InvalidArgument(f'sysctl "{name}" not allowed in host {kind.lower()} namespace')


def _namespace_of(name: str) -> str | None:
    if name.startswith("net."):
        return "network"
    if name in _IPC_SYSCTLS or name.startswith("fs.mqueue."):
        return "IPC"
    return "UTS" if name == "kernel.domainname" else None


def _check_devices(config: ContainerConfig) -> None:
    for rule in config.device_rules:
        check_rule(rule)
    for device in config.devices:
        if not device.source or set(device.permissions) - set("rwm"):
            raise InvalidArgument(
                f"invalid device mode: {device.permissions}", hint="of the letters r, w and m"
            )
    if config.selinux:
        from barque.oci.selinux import check_label_options  # hardly ever

        check_label_options(config.selinux)


def _check_bind(bind: BindMount) -> None:
    _check_target(bind.target)
    if not posixpath.isabs(bind.source):
        raise InvalidArgument(
            f"invalid mount config for type \"bind\": invalid mount path: '{bind.source}' mount path must be absolute"
        )
    if not bind.create_source and not os.path.lexists(bind.source):
        raise InvalidArgument(
            f'invalid mount config for type "bind": bind source path does not exist: {bind.source}'
        )


def _check_target(target: str) -> None:
    if not posixpath.isabs(target):
        raise InvalidArgument(f"invalid mount path: '{target}' mount path must be absolute")
    if posixpath.normpath(target) == "/":
        raise InvalidArgument(f"invalid specification: destination can't be '/' in {target!r}")
    if ".." in target.split("/"):
        raise InvalidArgument(f"invalid mount path: '{target}' must not contain '..'")


def signal_number(name: str) -> int:
    """`TERM`, `SIGTERM`, `15`, `RTMIN+3` -> the number. Errors: InvalidArgument (`Invalid signal: x`)."""
    import signal

    text = name.upper().removeprefix("SIG")
    if text.isascii() and text.isdigit():
        number = int(text)
        if 0 < number < 65:
            return number
    elif text.startswith(("RTMIN+", "RTMAX-")) and text[6:].isdigit():
        number = (34 if text[:5] == "RTMIN" else 64) + int(text[5:])
        if 34 <= number <= 64:
            return number
    elif text in ("RTMIN", "RTMAX"):
        return 34 if text == "RTMIN" else 64
    else:
        found = getattr(signal, f"SIG{text}", None)
        if isinstance(found, signal.Signals):
            return int(found)
    raise InvalidArgument(f"Invalid signal: {name}")
