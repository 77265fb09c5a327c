"""The driver `native` of kind `runtime`: configuration and hooks; the work is in the modules beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from barque.spi import Probe, hookimpl
from barque.spi.runtime import (
    RuntimeCapability,
    RuntimeCheckpoint,
    RuntimeCreate,
    RuntimeExec,
    RuntimeState,
    RuntimeStats,
    RuntimeTask,
    Stdio,
)
from barque_runtime_native import lifecycle, warm
from barque_runtime_native.create import Creation
from barque_runtime_native.execute import Execution
from barque_runtime_native.plan import Plan
from barque_runtime_native.probe import probe


class NativeRuntime:
    """Runs OCI bundles with system calls of its own: no other program is needed."""

    @dataclass(frozen=True, slots=True)
    class Config:
        """Options in a profile.

        `new_keyring`: give each container a session keyring of its own.
        """

        new_keyring: bool = True

    capabilities: ClassVar[frozenset[RuntimeCapability]] = frozenset(
        {
            RuntimeCapability.EXEC,
            RuntimeCapability.TERMINAL,
            RuntimeCapability.SECCOMP,
            RuntimeCapability.CGROUP_V1,
            RuntimeCapability.CGROUP_V2,
            RuntimeCapability.USER_NAMESPACE,
            RuntimeCapability.PAUSE,
            RuntimeCapability.UPDATE,
            RuntimeCapability.STATS,
            RuntimeCapability.CHECKPOINT,
            RuntimeCapability.ROOTLESS,
        }
    )

    def __init__(self, name: str, config: Config) -> None:
        self.name = name
        self.config = config

    def preload(self) -> None:
        """Do now what every container needs once: libraries, call prototypes, cgroup layout. Needs no privilege."""
        warm.preload()

    def rehearse(self) -> None:
        """Take the page faults of a creation in a process that waits for its container. Needs no privilege."""
        warm.rehearse()

    @hookimpl
    def runtime_probe(self) -> Probe:
        """See `RuntimeHooks`."""
        return probe()

    @hookimpl
    def runtime_create(self, request: RuntimeCreate) -> RuntimeTask:
        """See `RuntimeHooks`."""
        warm.preload()
        creation = Creation(Plan(request.id, request.bundle, request.spec), dict(request.spec), request.root)
        creation.stdio = numbers(request.stdio)
        creation.keyring = self.config.new_keyring
        return RuntimeTask(*creation.run())

    @hookimpl
    def runtime_start(self, id: str, root: str) -> None:
        """See `RuntimeHooks`."""
        lifecycle.start(id, root)

    @hookimpl
    def runtime_exec(self, request: RuntimeExec) -> RuntimeTask:
        """See `RuntimeHooks`."""
        warm.preload()
        execution = Execution(request.id, request.root, dict(request.process))
        execution.stdio = numbers(request.stdio)
        execution.keyring = self.config.new_keyring
        return RuntimeTask(*execution.run())

    def rehearse_exec(self, id: str, root: str) -> None:
        """Take the page faults of an exec in a process that waits to be asked for one in `id`. Changes nothing."""
        warm.rehearse_exec(id, root)

    @hookimpl
    def runtime_state(self, id: str, root: str) -> RuntimeState:
        """See `RuntimeHooks`."""
        state = lifecycle.state(id, root)
        return RuntimeState(state["id"], state["status"], state["pid"], state["bundle"])

    @hookimpl
    def runtime_kill(self, id: str, root: str, signal: int, all: bool) -> None:
        """See `RuntimeHooks`."""
        lifecycle.kill(id, root, signal, all)

    @hookimpl
    def runtime_delete(self, id: str, root: str, force: bool) -> None:
        """See `RuntimeHooks`."""
        lifecycle.delete(id, root, force)

    @hookimpl
    def runtime_pause(self, id: str, root: str) -> None:
        """See `RuntimeHooks`."""
        lifecycle.pause(id, root)

    @hookimpl
    def runtime_resume(self, id: str, root: str) -> None:
        """See `RuntimeHooks`."""
        lifecycle.resume(id, root)

    @hookimpl
    def runtime_update(self, id: str, root: str, resources: Mapping[str, Any]) -> None:
        """See `RuntimeHooks`."""
        from barque_runtime_native.cgroup import update as cgroup_update

        cgroup_update.update(id, root, resources)

    @hookimpl
    def runtime_stats(self, id: str, root: str) -> RuntimeStats:
        """See `RuntimeHooks`."""
        from barque_runtime_native.cgroup import runtime_stats

        return runtime_stats.stats(id, root)

    @hookimpl
    def runtime_processes(self, id: str, root: str) -> tuple[int, ...]:
        """See `RuntimeHooks`."""
        return lifecycle.members(id, root)

    @hookimpl
    def runtime_checkpoint(self, request: RuntimeCheckpoint) -> None:
        """See `RuntimeHooks`. Its modules are imported for those who use it."""
        from barque_runtime_native.criu import driver_hooks as checkpoint_hooks

        checkpoint_hooks.checkpoint(request)

    @hookimpl
    def runtime_restore(self, request: RuntimeCreate, directory: str) -> RuntimeTask:
        """See `RuntimeHooks`."""
        from barque_runtime_native.criu import driver_hooks as checkpoint_hooks

        return RuntimeTask(checkpoint_hooks.restore(request, directory))


def numbers(stdio: Stdio | None) -> tuple[int, int, int] | None:
    """The three descriptors."""
    return (stdio.stdin, stdio.stdout, stdio.stderr) if stdio else None
