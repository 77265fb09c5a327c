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
launcher, before any shim is forked: for libraries and tables that every container needs.
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

__all__ = [
    "RuntimeCapability",
    "RuntimeCreate",
    "RuntimeExec",
    "RuntimeHooks",
    "RuntimeState",
    "RuntimeTask",
    "Stdio",
]


class RuntimeCapability(StrEnum):
    """What a runtime driver can do beyond create, start, state, kill and delete."""

    EXEC = "exec"
    TERMINAL = "terminal"
    SECCOMP = "seccomp"
    CGROUP_V1 = "cgroup-v1"
    CGROUP_V2 = "cgroup-v2"


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
    """OCI `state`: `status` is created, running or stopped; `pid` is 0 when stopped."""

    id: str
    status: str
    pid: int
    bundle: str


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
