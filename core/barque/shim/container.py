"""Brings a container up: everything between a `ShimConfig` and a running init, and its undoing."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from barque.shim.container_log import ContainerLog
from barque.shim.exit_file import remove_exit_file
from barque.shim.loop import Loop
from barque.shim.mounts import enter_namespace, mount_all, unmount_root
from barque.shim.protocol import ShimConfig
from barque.shim.stdio import ProcessStdio, set_window_size
from barque.shim.streams import Streams
from barque.shim.users import resolve_user
from barque.spi.errors import FailedPrecondition, InvalidArgument
from barque.spi.log import LogHooks, LogSpec, LogWriter
from barque.spi.runtime import RuntimeCreate, RuntimeHooks

__all__ = ["Container", "Drivers", "open_log", "open_state"]

NETNS = "@netns@"
"""Stands in a spec for the path of the descriptor that came with the launch."""

Driver = TypeVar("Driver", RuntimeHooks, LogHooks)


@dataclass(frozen=True, slots=True)
class Drivers:
    """The drivers the launcher has constructed, by their names in the profile."""

    runtimes: Mapping[str, RuntimeHooks]
    logs: Mapping[str, LogHooks]

    def runtime(self, name: str) -> RuntimeHooks:
        """Raises FailedPrecondition."""
        return _named(self.runtimes, name, "runtime")

    def log(self, name: str) -> LogHooks:
        """Raises FailedPrecondition."""
        return _named(self.logs, name, "log")


class Container:
    """A container, its root and its streams. What `start` acquires, `delete` frees, at whatever stage."""

    def __init__(self, config: ShimConfig, drivers: Drivers) -> None:
        self.id = config.id
        self.root = config.runtime_root
        self.runtime = drivers.runtime(config.runtime)
        self.pid = 0
        self.shares_pids = not _has_private(config.spec, "pid")
        self.stdio = ProcessStdio(terminal=config.terminal, stdin=config.open_stdin, stdout=True, stderr=True)
        self._rootfs = config.rootfs if config.mounts else None

    def open_streams(
        self, loop: Loop, config: ShimConfig, log: ContainerLog, on_detach: Callable[[], None]
    ) -> Streams:
        """The streams of its init; to be started when it runs."""
        return Streams(loop, self.stdio, stdin_once=config.stdin_once, log=log, on_detach=on_detach)

    def add_clients(self, streams: Streams, config: ShimConfig, clients: list[int]) -> None:
        """Add the clients that attached before the start. Raises InvalidArgument."""
        if len(clients) != len(config.clients):
            raise InvalidArgument(f"{len(config.clients)} clients are described, {len(clients)} were sent")
        for client, attach in zip(clients, config.clients, strict=True):
            streams.add(client, attach, start=False)

    def start(self, config: ShimConfig, netns: int | None) -> None:
        """Mount the root, create the container and let init execute its program."""
        if config.mounts:
            enter_namespace()
            mount_all(config.rootfs, config.mounts)
        spec = _with_user(_with_netns(config.spec, netns), config)
        task = self.runtime.runtime_create(
            RuntimeCreate(config.id, config.bundle, config.runtime_root, spec, self.stdio.child)
        )
        self.pid = task.pid
        self.stdio.started(task.console)
        if task.console is not None and config.console_size:
            set_window_size(task.console, *config.console_size)
        self.runtime.runtime_start(config.id, config.runtime_root)

    def kill(self, signal: int, all: bool) -> None:
        """Send `signal` to init or, with `all`, to every process of the container."""
        self.runtime.runtime_kill(self.id, self.root, signal, all)

    def delete(self) -> None:
        """Delete it in the runtime, with every process it has left, and unmount the root. Idempotent."""
        try:
            self.runtime.runtime_delete(self.id, self.root, True)
        finally:
            self.stdio.close()
            if self._rootfs is not None:
                unmount_root(self._rootfs)


def open_log(config: ShimConfig, drivers: Drivers) -> LogWriter | None:
    """The log's writer; None when the configuration names no log driver."""
    if not config.log:
        return None
    spec = LogSpec(config.id, config.log_directory, config.log_options, config.log_attributes)
    return drivers.log(config.log).log_open(spec)


def open_state(config: ShimConfig) -> int:
    """The state directory, freed of what an earlier run left."""
    fd = os.open(config.state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        remove_exit_file(fd)
    except OSError:
        os.close(fd)
        raise
    return fd


def _named(drivers: Mapping[str, Driver], name: str, kind: str) -> Driver:
    if name not in drivers:
        raise FailedPrecondition(
            f"the launcher has no {kind} driver named {name!r}",
            hint="restart the daemon after a profile has changed",
        )
    return drivers[name]


def _has_private(spec: Mapping[str, Any], kind: str) -> bool:
    namespaces = spec.get("linux", {}).get("namespaces", ())
    return any(ns.get("type") == kind and not ns.get("path") for ns in namespaces)


def _with_user(spec: Mapping[str, Any], config: ShimConfig) -> Mapping[str, Any]:
    """The spec with the user that `config.user` names in the mounted root."""
    if config.user is None:
        return spec
    root = os.open(config.rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        user = resolve_user(root, config.user, config.group_add)
    finally:
        os.close(root)
    process = dict(spec["process"])
    process["user"] = {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.additional_gids)}
    if not any(entry.startswith("HOME=") for entry in process.get("env", ())):
        process["env"] = [*process.get("env", ()), f"HOME={user.home}"]
    return {**spec, "process": process}


def _with_netns(spec: Mapping[str, Any], netns: int | None) -> Mapping[str, Any]:
    """The spec with the network namespace's descriptor in the place of NETNS."""
    linux = spec.get("linux", {})
    namespaces = linux.get("namespaces", ())
    if not any(ns.get("path") == NETNS for ns in namespaces):
        return spec
    if netns is None:
        raise InvalidArgument("linux.namespaces: the network namespace's descriptor is missing")
    path = f"/proc/self/fd/{netns}"
    replaced = [{**ns, "path": path} if ns.get("path") == NETNS else ns for ns in namespaces]
    return {**spec, "linux": {**linux, "namespaces": replaced}}
