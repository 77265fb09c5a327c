"""Brings a container up: everything between a `ShimConfig` and a running init. Runs in a worker."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from socket import SocketType
from typing import Any, TypeVar

from barque.shim import packets
from barque.shim.crash_log import report_defect
from barque.shim.exit_file import remove_exit_file
from barque.shim.health import with_user
from barque.shim.memory_cgroup import events_file
from barque.shim.memory_watch import is_limited, open_watch
from barque.shim.mounts import enter_namespace, mount_all
from barque.shim.process import start_time
from barque.shim.protocol import HEALTH_FILE, SOCKET_NAME, ClientAttach, ShimConfig
from barque.shim.server import listen_at
from barque.shim.stdio import ProcessStdio, set_window_size
from barque.shim.users import resolve_user
from barque.shim.worker import Answer
from barque.spi.common import Mount
from barque.spi.errors import FailedPrecondition, InvalidArgument, Unavailable
from barque.spi.log import LogHooks
from barque.spi.runtime import RuntimeCreate, RuntimeHooks

__all__ = ["BringUp", "Drivers", "Running"]

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


class Running:
    """What a shim has to know of its container, as a worker hands it over: a line of text, and descriptors.

    `shares_pids`: other processes of the container may outlive init. `memory_events`: see `memory_cgroup`.
    `resolver`: what `resolver_sockets` made, or nothing. `memory`: what `memory_watch` made, or nothing. `busy`: its shim has something
    to do of its own accord, and cannot rest.
    `control`, `settings` (the payload) and `listener` are descriptors, `clients` those of clients that attached
    before the start, `streams` the shim's ends of the process's (see `ProcessStdio.adopt`).
    """

    def __init__(self, text: bytes, fds: list[int]) -> None:
        words = text.split(b" ", 8)
        pid, start_time, shares_pids, clients, resolver, memory, busy, self.id, self.memory_events = words
        self.pid = int(pid)
        self.start_time = int(start_time)
        self.shares_pids = shares_pids == b"1"
        self.control, self.settings, self.listener = fds[:3]
        behind = 3 + int(clients)
        self.clients = fds[3:behind]
        self.resolver = fds[behind : behind + int(resolver)]
        behind += int(resolver)
        self.memory = fds[behind : behind + int(memory)]
        self.streams = fds[behind + int(memory) :]
        self.busy = busy == b"1"

    @staticmethod
    def text(
        pid: int,
        start_time: int,
        shares_pids: bool,
        clients: int,
        resolver: int,
        id: str,
        events: str,
        memory: int = 0,
        busy: bool = False,
    ) -> bytes:
        """The line of the running process `pid`; `clients`, `resolver` and `memory` are numbers of descriptors."""
        numbers = f"{pid} {start_time} {int(shares_pids)} {clients} {resolver} {memory} {int(busy)}"
        return f"{numbers} {id} {events}".encode("utf-8", "surrogateescape")


class BringUp:
    """A worker's task: wait for a launch, make a running container of it, and tell the daemon `started`.

    It answers what `Running` takes. On an error all is undone and the daemon is told `failed`.
    """

    def __init__(self, drivers: Drivers, launches: SocketType) -> None:
        self._drivers = drivers
        self._launches = launches
        self._state: int | None = None

    def report(self, error: Exception) -> None:
        """Write a defect down."""
        if self._state is not None:
            report_defect(self._state, error)

    def __call__(self) -> Answer:
        """Raises as `RuntimeHooks` says, OSError, InvalidArgument; Unavailable when no launch comes."""
        unready = _warm_up(self._drivers)
        received = packets.receive(self._launches)
        if received is None:
            raise Unavailable("the launcher has ended")
        launch = Launch(*received)
        try:
            if unready is not None:
                raise unready
            return self._start(launch)
        except Exception as error:
            _tell(launch.control, {"event": "failed", **packets.error_reply(error)})
            raise

    def _start(self, launch: Launch) -> Answer:
        config = ShimConfig.from_json(packets.read_payload(launch.config))
        if len(config.clients) != len(launch.clients):
            raise InvalidArgument(
                f"{len(config.clients)} clients are described, {len(launch.clients)} were sent"
            )
        self._state = state = os.open(config.state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with ExitStack() as undo:
            remove_exit_file(state)
            if config.health is not None:
                with suppress(FileNotFoundError):
                    os.unlink(HEALTH_FILE, dir_fd=state)
            listener = listen_at(state)
            undo.callback(os.unlink, SOCKET_NAME, dir_fd=state)
            resolver = self._resolver(launch.netns) if config.resolver and launch.netns is not None else []
            stdio = ProcessStdio(terminal=config.terminal, stdin=config.open_stdin, stdout=True, stderr=True)
            pid, spec = self._run(config, launch.netns, stdio, undo)
            if config.health is not None:
                launch.settings = with_user(launch.settings, spec["process"])
            undo.pop_all()
        started, events = start_time(pid), events_file(pid)
        _tell(launch.control, {"event": "started", "pid": pid, "starttime": started})
        memory, busy = open_watch(events) if is_limited(spec) else [], config.health is not None
        shares_pids, clients = not _has_private(spec, "pid"), len(launch.clients)
        text = Running.text(
            pid, started, shares_pids, clients, len(resolver), config.id, events, len(memory), busy
        )
        fds = (
            launch.control.detach(),
            launch.settings,
            listener.detach(),
            *launch.clients,
            *resolver,
            *memory,
            *stdio.descriptors,
        )
        return text, list(fds)

    def _resolver(self, netns: int) -> list[int]:
        """Before the container runs: its first process may ask for a name at once."""
        from barque.shim.resolver_sockets import make_sockets

        return make_sockets(netns, self.report)

    def _run(
        self, config: ShimConfig, netns: int | None, stdio: ProcessStdio, undo: ExitStack
    ) -> tuple[int, Mapping[str, Any]]:
        """Mount the root, create the container and let init execute its program: its pid, and the spec as the runtime got it."""
        runtime = self._drivers.runtime(config.runtime)
        shared = _shared_sources(config) if config.sources else ()
        if config.mounts or config.shared_memory:
            enter_namespace()
            mount_all(config.rootfs, config.mounts)
        if config.shared_memory:
            from barque.shim.borrowing import borrow_memory  # hardly ever: not at the start of every shim

            borrow_memory(*config.shared_memory)
        if config.sources:
            from barque.shim.sources import attach_sources

            attach_sources(config.sources, shared)
        spec = _with_user(_with_netns(config.spec, netns), config)
        request = RuntimeCreate(config.id, config.bundle, config.runtime_root, spec, stdio.child)
        task = runtime.runtime_create(request)
        undo.callback(runtime.runtime_delete, config.id, config.runtime_root, True)
        stdio.started(task.console)
        if task.console is not None and config.console_size:
            set_window_size(task.console, *config.console_size)
        runtime.runtime_start(config.id, config.runtime_root)
        return task.pid, spec


def _shared_sources(config: ShimConfig) -> Sequence[tuple[str, int]]:
    from barque.shim.sources import take_shared  # for few containers only

    return take_shared(config.sources)


class Launch:
    """The launcher's packet, taken apart. Raises InvalidArgument."""

    def __init__(self, request: Mapping[str, Any], fds: list[int]) -> None:
        names = request.get("fds")
        if (
            not isinstance(names, list)
            or len(names) != len(fds)
            or names[:3] != ["control", "settings", "config"]
        ):
            raise InvalidArgument(
                "launch takes the descriptors control, settings, config, [netns], [client…]"
            )
        self.control = SocketType(fileno=fds[0])
        self.settings, self.config = fds[1:3]
        has_netns = names[3:4] == ["netns"]
        self.netns = fds[3] if has_netns else None
        self.clients = fds[4:] if has_netns else fds[3:]


def _warm_up(drivers: Drivers) -> Exception | None:
    """Take the page faults of a start before it comes: a forked child pays one for every page it first writes to.

    What goes wrong (a host without cgroups) would go wrong in the start: it is for the daemon that asks for one."""
    for runtime in drivers.runtimes.values():
        if hasattr(runtime, "rehearse"):
            try:
                runtime.rehearse()
            except Exception as error:  # noqa: BLE001 - handed to the caller
                return error
    clients = (ClientAttach(False, True, True),)
    mounts = (Mount("overlay", "overlay", ("ro",)),)
    sample = ShimConfig("", "", "", "", mounts, "", "", {"process": {}}, "", "", clients=clients)
    ShimConfig.from_json(packets.decode(packets.encode(sample.to_json())))
    own = os.getpid()
    Running.text(own, start_time(own), False, 0, 0, "", events_file(own))
    with ExitStack() as undo:
        stdio = ProcessStdio(terminal=False, stdin=True, stdout=True, stderr=True)
        undo.callback(stdio.close)
    return None


def _tell(control: SocketType, event: Mapping[str, Any]) -> None:
    with suppress(OSError):  # the daemon is gone: the next one finds the container by its socket, or nothing
        packets.send(control, event)


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
