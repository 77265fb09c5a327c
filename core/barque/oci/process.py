"""OCI processes: a container's init and its execs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from barque.oci import capabilities as caps
from barque.oci.defaults import DEFAULT_PATH
from barque.spi.errors import InvalidArgument
from barque.spi.frontend import ContainerConfig, ExecConfig

__all__ = ["exec_process", "granted_capabilities", "init_process"]

_INFINITY = 2**64 - 1  # RLIM_INFINITY, which Docker writes as -1


def exec_process(
    config: ContainerConfig, execution: ExecConfig, bounding: frozenset[str], hostname: str
) -> dict[str, Any]:
    """The OCI `process` of an exec, but for its user: the container's environment and confinement."""
    privileged = config.privileged or execution.privileged
    capabilities = (
        caps.resolve(("ALL",), (), bounding) if privileged else granted_capabilities(config, bounding)
    )
    environment = _environment(config, hostname, execution.tty)
    process = {
        "terminal": execution.tty,
        "args": list(execution.command),
        "env": _merge_environment(environment, execution.env),
        "cwd": execution.working_dir or config.working_dir or "/",
        "noNewPrivileges": config.no_new_privileges,
        "capabilities": _capability_sets(capabilities),
    }
    _confine(process, config, execution.privileged)
    return process


def init_process(
    config: ContainerConfig, args: Sequence[str], hostname: str, capabilities: tuple[str, ...]
) -> dict[str, Any]:
    """The OCI `process` of a container, but for its user."""
    process: dict[str, Any] = {
        "terminal": config.tty,
        "user": {"uid": 0, "gid": 0},
        "args": list(args),
        "env": _environment(config, hostname, config.tty),
        "cwd": config.working_dir or "/",
        "capabilities": _capability_sets(capabilities),
        "noNewPrivileges": config.no_new_privileges,
    }
    if config.oom_score_adj:
        process["oomScoreAdj"] = config.oom_score_adj
    _confine(process, config)
    return process


def _confine(process: dict[str, Any], config: ContainerConfig, privileged: bool = False) -> None:
    if config.ulimits:
        process["rlimits"] = _rlimits(config)
    if config.apparmor and not privileged:
        process["apparmorProfile"] = config.apparmor
    if config.selinux and not privileged:
        from barque.oci.selinux import process_label  # hardly ever

        if label := process_label(config.selinux):
            process["selinuxLabel"] = label


def granted_capabilities(config: ContainerConfig, bounding: frozenset[str]) -> tuple[str, ...]:
    """What the container may do, of what the daemon may give (`bounding`). Errors: InvalidArgument."""
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
    return [
        {"type": f"RLIMIT_{u.name.upper()}", "soft": u.soft & _INFINITY, "hard": u.hard & _INFINITY}
        for u in config.ulimits
    ]
