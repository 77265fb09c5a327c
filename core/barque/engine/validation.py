"""What a container's configuration must satisfy before anything is made of it."""

from __future__ import annotations

import os
import posixpath
import re

from barque.oci import capabilities as caps
from barque.oci.seccomp import resolve_profile
from barque.spi import errors
from barque.spi.errors import InvalidArgument
from barque.spi.frontend import BindMount, ContainerConfig

__all__ = ["check_config", "signal_number"]

_MINIMUM_MEMORY = 6 << 20
_HOSTNAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9._-]{0,62})?")
_RLIMITS = frozenset(
    "as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split()
)
_CGROUP_PART = re.compile(r"[A-Za-z0-9_.:@-]+")


def check_config(config: ContainerConfig, bounding: frozenset[str]) -> None:
    """Raise InvalidArgument, in Docker's words where it has some, for the first thing that is wrong."""
    if config.init:
        raise errors.NotImplemented(
            "HostConfig.Init is not implemented by barque yet", hint="use an image that brings an init"
        )
    _check_basics(config)
    _check_limits(config)
    for bind in config.binds:
        _check_bind(bind)
    for target in config.tmpfs:
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
    if config.auto_remove and config.document.get("RestartPolicy", {}).get("Name", "") not in ("", "no"):
        raise InvalidArgument("can't create 'AutoRemove' container with restart policy")
    for part in filter(None, config.cgroup_parent.split("/")):
        if part == ".." or not _CGROUP_PART.fullmatch(part):
            raise InvalidArgument(
                f"invalid cgroup parent {config.cgroup_parent!r}", hint="an absolute path of plain names"
            )


def _check_limits(config: ContainerConfig) -> None:
    limits = config.resources
    if 0 < limits.memory < _MINIMUM_MEMORY:
        raise InvalidArgument("Minimum memory limit allowed is 6MB")
    if limits.memory < 0:
        raise InvalidArgument("Memory limit must not be negative")
    if limits.memory_swap > 0 and not limits.memory:
        raise InvalidArgument("You should always set the Memory limit when using Memoryswap limit, see usage")
    if 0 < limits.memory_swap < limits.memory:
        raise InvalidArgument("Minimum memoryswap limit should be larger than memory limit, see usage")
    if limits.memory and limits.memory_reservation > limits.memory:
        raise InvalidArgument("Minimum memory limit can not be less than memory reservation limit, see usage")
    if limits.nano_cpus < 0 or limits.nano_cpus > (os.cpu_count() or 1) * 1_000_000_000:
        raise InvalidArgument(
            f"range of CPUs is from 0.01 to {os.cpu_count()}.00, as there are only {os.cpu_count()} CPUs available"
        )
    if limits.nano_cpus and (limits.cpu_quota or limits.cpu_period):
        raise InvalidArgument("Conflicting options: Nano CPUs and CPU Period cannot both be set")
    for ulimit in config.ulimits:
        if ulimit.name not in _RLIMITS:
            raise InvalidArgument(f"invalid ulimit type: {ulimit.name}")
        if ulimit.hard != -1 and (ulimit.soft == -1 or ulimit.soft > ulimit.hard):
            raise InvalidArgument(
                f"ulimit soft limit must be less than or equal to hard limit: {ulimit.soft} > {ulimit.hard}"
            )


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
