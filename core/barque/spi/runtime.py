"""Kind `runtime`: turns an OCI bundle into processes. Entry-point group `barque.runtime.v1`.

Vocabulary. A *container* is known to the driver by its `id` and lives from `runtime_create` to
`runtime_delete`. Its *init* is the process the OCI config's `process` describes. `root` is a directory
that belongs to the driver, where it keeps its state of each container; it is gone after a reboot.

Where the hooks run. Not in the daemon: in short-lived, single-threaded children of the container's **shim**,
which is the subreaper and inherits everything the driver starts. `runtime_create` and `runtime_start` are called in
one such child, each `runtime_exec`, `runtime_kill` and `runtime_delete` in a child of its own, in a mount namespace
that nobody else sees; what a driver keeps in memory, it has from the launcher, and what it learns ends with the child. A
driver never waits for a process it returned (the shim reaps), and such a process must not ask to die with its
parent (PR_SET_PDEATHSIG). `runtime_probe` runs in the daemon too. An optional method `preload()` is called once in the
launcher, before any shim is forked: for libraries and tables that every container needs. An optional method `rehearse()` is
called in each child that waits for its container: it may run through a creation on nothing, so that its pages are its own by then;
`rehearse_exec(id, root)` in one that waits for an exec in container `id`. What either raises is not told to anybody.
The module that holds the driver imports the standard library and `barque.spi` only.

Lifecycle: create -> start -> (exec …, kill …) -> init exits, the shim reaps it -> delete.

A driver is a class with a frozen stdlib dataclass `Config` (its options in a profile; may be empty),
constructed as `Driver(name, config)`, with attribute `capabilities: frozenset[RuntimeCapability]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from barque.spi.common import Probe
from barque.spi.markers import needs

__all__ = [
    "BlockIo",
    "HugepageUsage",
    "RuntimeCapability",
    "RuntimeCheckpoint",
    "RuntimeCreate",
    "RuntimeExec",
    "RuntimeHooks",
    "RuntimeState",
    "RuntimeStats",
    "RuntimeTask",
    "Stdio",
]


class RuntimeCapability(StrEnum):
    """What a runtime driver can do beyond create, start, state, kill and delete.

    A hook that `needs` a capability may be left out by a driver that does not declare it.
    """

    EXEC = "exec"
    TERMINAL = "terminal"
    SECCOMP = "seccomp"
    CGROUP_V1 = "cgroup-v1"
    CGROUP_V2 = "cgroup-v2"
    USER_NAMESPACE = "user-namespace"
    PAUSE = "pause"
    UPDATE = "update"
    STATS = "stats"
    CHECKPOINT = "checkpoint"
    ROOTLESS = "rootless"


@dataclass(frozen=True, slots=True)
class Stdio:
    """File descriptors that become 0, 1 and 2 of a process. They stay the caller's to close."""

    stdin: int
    stdout: int
    stderr: int


@dataclass(frozen=True, slots=True)
class RuntimeCreate:
    """What to create. `spec` is the parsed OCI `config.json` (runtime-spec 1.2; the bundle directory
    `bundle` exists, is 0700 and holds no config.json unless the driver writes it there).
    The spec's `root.path` is absolute and mounted already. A namespace path may be `/proc/self/fd/N`
    or `/proc/<pid>/ns/X`. `stdio` is None exactly when `process.terminal` is true."""

    id: str
    bundle: str
    root: str
    spec: Mapping[str, Any]
    stdio: Stdio | None


@dataclass(frozen=True, slots=True)
class RuntimeExec:
    """A further process in container `id`. `process` is an OCI `process` object, complete: user,
    args, env, cwd, capabilities, noNewPrivileges, rlimits. The seccomp filter, namespaces, cgroup
    and oom score are the container's. `stdio` is None exactly when `process.terminal` is true."""

    id: str
    root: str
    process: Mapping[str, Any]
    stdio: Stdio | None


@dataclass(frozen=True, slots=True)
class RuntimeTask:
    """A process the driver started: its `pid` in the shim's pid namespace; it is a child of the shim
    or will be reparented to it. `console` is the pty master (owned by the caller) with a terminal, else None."""

    pid: int
    console: int | None = None


@dataclass(frozen=True, slots=True)
class RuntimeState:
    """OCI `state`: `status` is created, running, paused or stopped; `pid` is 0 when stopped."""

    id: str
    status: str
    pid: int
    bundle: str


@dataclass(frozen=True, slots=True)
class BlockIo:
    """What a container's cgroup has read from and written to one block device: bytes, and number of operations."""

    major: int
    minor: int
    read_bytes: int
    written_bytes: int
    reads: int
    writes: int


@dataclass(frozen=True, slots=True)
class HugepageUsage:
    """Huge pages of one size: bytes in use, the most there were, and how often the limit was hit."""

    usage: int
    max_usage: int
    failures: int


@dataclass(frozen=True, slots=True)
class RuntimeStats:
    """What a container uses, read from its cgroup. Times are nanoseconds, sizes bytes; 0 where the kernel does not tell.

    `cpu_per_cpu` is empty on cgroup v2. `memory_limit` is 0 without a limit. `memory_detail` holds the lines of
    `memory.stat` under the kernel's own names; `memory_usage` includes the page cache. `pids_limit` is 0 without one.
    `hugepages` is by page size as the kernel writes it: `2MB`.
    """

    cpu_total: int
    cpu_user: int
    cpu_system: int
    cpu_per_cpu: tuple[int, ...]
    cpu_periods: int
    cpu_throttled_periods: int
    cpu_throttled_time: int
    memory_usage: int
    memory_max_usage: int
    memory_limit: int
    memory_failures: int
    memory_detail: Mapping[str, int]
    pids_current: int
    pids_limit: int
    block_io: tuple[BlockIo, ...]
    hugepages: Mapping[str, HugepageUsage]


@dataclass(frozen=True, slots=True)
class RuntimeCheckpoint:
    """What to write of container `id`: its processes' state into `directory`, which exists, is empty and 0700.

    The container ends unless `leave_running`. `tcp_established`: keep open TCP connections. `file_locks`: keep
    locks of files. `external_unix`: allow Unix sockets whose other end is outside. `shell_job`: allow a terminal
    that was opened outside.
    """

    id: str
    root: str
    directory: str
    leave_running: bool = False
    tcp_established: bool = False
    file_locks: bool = False
    external_unix: bool = False
    shell_job: bool = False


class RuntimeHooks:
    """The hooks of kind `runtime`. Times are seconds; signals are numbers."""

    def runtime_probe(self) -> Probe:
        """What this host lacks for the driver. No precondition, changes nothing, never raises, < 100 ms."""
        raise NotImplementedError

    def runtime_create(self, request: RuntimeCreate) -> RuntimeTask:
        """Make the container and its init, which waits before it executes `process.args`.

        Pre: no container `request.id` below `request.root`. Post: status `created`; every namespace,
        mount and cgroup limit of the spec is in force. On any error nothing is left behind.
        Not idempotent. Errors: AlreadyExists, InvalidArgument (names the field of the spec),
        FailedPrecondition, PermissionDenied, ResourceExhausted.
        """
        raise NotImplementedError

    def runtime_start(self, id: str, root: str) -> None:
        """Let init execute its program; returns when execve has succeeded.

        Pre: status `created`. Errors: NotFound with exit_code 127 when the program does not exist
        (message ends `exec: "PROGRAM": executable file not found in $PATH` or `…: no such file or directory`),
        PermissionDenied with exit_code 126 when it cannot be executed (`…: permission denied`), Conflict when
        not `created`, NotFound when unknown. After an error init is dead or dying; the caller deletes.
        """
        raise NotImplementedError

    @needs(RuntimeCapability.EXEC)
    def runtime_exec(self, request: RuntimeExec) -> RuntimeTask:
        """Start a process in a running container with the container's confinement; returns after its execve.

        Pre: status `running`. Errors: as `runtime_start`; Conflict when it is not running.
        """
        raise NotImplementedError

    def runtime_state(self, id: str, root: str) -> RuntimeState:
        """The state now, from the kernel and not from memory. Errors: NotFound."""
        raise NotImplementedError

    def runtime_kill(self, id: str, root: str, signal: int, all: bool) -> None:
        """Send `signal` to init; with `all`, to every process of the container (by its cgroup).

        Idempotent for a container that has stopped: succeeds with `all`, else NotFound.
        """
        raise NotImplementedError

    def runtime_delete(self, id: str, root: str, force: bool) -> None:
        """Free all the driver holds of `id`: processes (with `force`), cgroups, state files.

        Idempotent: succeeds for an unknown id, after a crash in any hook, and twice.
        Errors: Conflict when it runs and `force` is false.
        """
        raise NotImplementedError

    @needs(RuntimeCapability.PAUSE)
    def runtime_pause(self, id: str, root: str) -> None:
        """Freeze every process of the container; returns when all are. Exec into it is then a Conflict, kill works.

        Pre: status `running`. Post: `paused`. Idempotent: a paused container stays paused. Errors: NotFound; Conflict
        when it is neither running nor paused.
        """
        raise NotImplementedError

    @needs(RuntimeCapability.PAUSE)
    def runtime_resume(self, id: str, root: str) -> None:
        """Undo `runtime_pause`. Idempotent. Post: `running`. Errors: NotFound; Conflict when it is neither running nor
        paused."""
        raise NotImplementedError

    @needs(RuntimeCapability.UPDATE)
    def runtime_update(self, id: str, root: str, resources: Mapping[str, Any]) -> None:
        """Change limits of a container that has not stopped. `resources` is OCI `linux.resources` with only what is to
        change; device rules are not changed by it.

        Post: all new limits are in force, in whatever order the kernel needs; on any error the old ones are.
        Idempotent. Errors: NotFound; Conflict when it has stopped; InvalidArgument (names the field); FailedPrecondition
        (no such controller); ResourceExhausted (the kernel cannot go below what is in use).
        """
        raise NotImplementedError

    @needs(RuntimeCapability.STATS)
    def runtime_stats(self, id: str, root: str) -> RuntimeStats:
        """What the container uses now. Changes nothing. Errors: NotFound; Conflict when it has stopped."""
        raise NotImplementedError

    @needs(RuntimeCapability.STATS)
    def runtime_processes(self, id: str, root: str) -> tuple[int, ...]:
        """Pids, in the caller's pid namespace, of every process in the container's cgroup and below; ascending.

        Empty when it has stopped. Errors: NotFound.
        """
        raise NotImplementedError

    @needs(RuntimeCapability.CHECKPOINT)
    def runtime_checkpoint(self, request: RuntimeCheckpoint) -> None:
        """Write the state of all processes of a running or paused container into `request.directory`.

        Post: the container has stopped, or with `leave_running` goes on. On an error it goes on and `directory` is empty.
        Errors: NotFound; Conflict when it does not run; FailedPrecondition when the host lacks what this needs (CRIU).
        """
        raise NotImplementedError

    @needs(RuntimeCapability.CHECKPOINT)
    def runtime_restore(self, request: RuntimeCreate, directory: str) -> RuntimeTask:
        """Make the container again from what `runtime_checkpoint` has written; it runs at once.

        Pre and errors: as `runtime_create`. Post: status `running`; `directory` is unchanged.
        """
        raise NotImplementedError
