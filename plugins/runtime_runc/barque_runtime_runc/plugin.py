"""Driver `runc`: containers by an external runc or crun."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from signal import SIGKILL
from typing import Any, ClassVar

from barque.spi import Probe, hookimpl
from barque.spi.errors import BarqueError, Conflict, Internal, NotFound
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
from barque_runtime_runc import checkpointing, document, freezer, leftovers, limits, oom
from barque_runtime_runc.cgroups import ContainerCgroups, find_cgroups
from barque_runtime_runc.command import RuntimeCommand
from barque_runtime_runc.console import ConsoleSocket
from barque_runtime_runc.deviations import DEVIATIONS
from barque_runtime_runc.layout import Layout
from barque_runtime_runc.probe import probe
from barque_runtime_runc.stats import read_stats

__all__ = ["RuncConfig", "RuncRuntime"]

# runc and crun have a state more than the contract: one in creation is not started.
_STATUS = {
    "creating": "created",
    "created": "created",
    "running": "running",
    "paused": "paused",
    "stopped": "stopped",
}


@dataclass(frozen=True)
class RuncConfig:
    """How the runtime is called.

    path: the program, a path or a name in $PATH: `runc`, `crun`, `/usr/local/bin/youki`.
    systemd_cgroup: let systemd make the cgroups; `cgroupsPath` is then `slice:prefix:name`.
    arguments: further global arguments, before the subcommand.
    timeout: seconds after which a call that hangs is killed and reported.
    """

    path: str = "runc"
    systemd_cgroup: bool = False
    arguments: tuple[str, ...] = ()
    timeout: float = 60.0


class RuncRuntime:
    """Contract in `barque.spi.runtime.RuntimeHooks`.

    Below `root` the driver keeps `state/` (the runtime's own `--root`) and `work/ID/` (see `Layout`).
    A program that the kernel refuses only at execve (`exec format error`) is reported as Docker does it: on the
    container's stderr, by its exit code; the runtimes' `start` has returned before.
    """

    Config: ClassVar[type[RuncConfig]] = RuncConfig
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
        }
    )

    def __init__(self, name: str, config: RuncConfig) -> None:
        self._name = name
        self._config = config
        self.conformance_excuses = DEVIATIONS.get(os.path.basename(config.path), {})

    @hookimpl
    def runtime_probe(self) -> Probe:
        """Whether the program is there and runs; its version."""
        return probe(self._config.path)

    @hookimpl
    def runtime_create(self, request: RuntimeCreate) -> RuntimeTask:
        """`create`; the runtime's stdio are the container's. A program that does not exist is found out here already."""
        return self._make(request, ["create"])

    def _make(self, request: RuntimeCreate, verb: list[str], image: str = "") -> RuntimeTask:
        """Make a container by `create`, or by `restore` from `image`; or leave nothing."""
        layout = Layout(request.root, request.id)
        layout.claim()
        try:
            layout.note_cgroups(_cgroups_path(request.spec, request.id))
            document.write_config(request.bundle, request.spec)
            process = request.spec["process"]
            arguments = [*verb, "--bundle", request.bundle]
            if not image:
                return self._task(layout, arguments, [], process, request.stdio)
            with checkpointing.restoring(layout) as logs:
                self._command(layout).run(
                    ["restore", "--help"]
                )  # with the container's stdio a refusal would be lost
                options = [*checkpointing.RESTORE_OPTIONS, "--image-path", image, "--work-path", logs]
                return self._task(layout, arguments, options, process, request.stdio)
        except BaseException:
            with suppress(BarqueError, OSError):
                self.runtime_delete(request.id, request.root, True)
            document.remove_config(request.bundle)
            raise

    @hookimpl
    def runtime_start(self, id: str, root: str) -> None:
        """`start`."""
        layout = Layout(root, id)
        self._command(layout).run(["start", id])

    @hookimpl
    def runtime_exec(self, request: RuntimeExec) -> RuntimeTask:
        """`exec --detach --process`."""
        layout = Layout(request.root, request.id)
        with document.in_memory(request.process) as process:
            task = self._task(
                layout, ["exec", "--detach"], ["--process", process], request.process, request.stdio
            )
        oom.inherit_score(task.pid, layout.read_pid())
        return task

    @hookimpl
    def runtime_state(self, id: str, root: str) -> RuntimeState:
        """`state`."""
        layout = Layout(root, id)
        if bundle := layout.ended_bundle():
            return RuntimeState(id, "stopped", 0, bundle)
        answer = self._command(layout).query(["state", id])
        status = _STATUS.get(str(answer.get("status")))
        if status is None:
            raise Internal(
                f"{self._config.path} tells the unknown state {answer.get('status')!r} of container {id}"
            )
        pid = 0 if status == "stopped" else int(answer.get("pid", 0))
        return RuntimeState(id, status, pid, str(answer.get("bundle", "")))

    @hookimpl
    def runtime_kill(self, id: str, root: str, signal: int, all: bool) -> None:
        """`kill`, or `kill --all`."""
        layout = Layout(root, id)
        try:
            self._command(layout).run(["kill", *(["--all"] if all else []), id, str(signal)])
        except NotFound:
            if not (
                all and (layout.has_state() or layout.ended_bundle())
            ):  # known and not found: it has stopped
                raise
        if signal == SIGKILL:
            for directory in self._cgroups(layout).directories():
                freezer.thaw(directory)  # a frozen process does not die on cgroup v1

    @hookimpl
    def runtime_delete(self, id: str, root: str, force: bool) -> None:
        """`delete`, once a call that the death of its shim left alone is over; then what the runtime does not know of."""
        layout = Layout(root, id)
        leftovers.wait_for_calls(layout)
        if layout.has_state():
            self._delete_state(layout, id, force)
        cgroups = layout.cgroups()
        if cgroups and not self._config.systemd_cgroup:
            leftovers.remove_cgroups(cgroups, id, kill=force)
        layout.release()

    @hookimpl
    def runtime_pause(self, id: str, root: str) -> None:
        """`pause`, unless it is."""
        layout = Layout(root, id)
        if self._alive(id, root, "pause").status == "running":
            self._command(layout).run(["pause", id])
        freezer.wait_until_frozen(self._cgroups(layout), id)

    @hookimpl
    def runtime_resume(self, id: str, root: str) -> None:
        """`resume`, when it is paused."""
        if self._alive(id, root, "resume").status == "paused":
            self._command(Layout(root, id)).run(["resume", id])

    @hookimpl
    def runtime_update(self, id: str, root: str, resources: Mapping[str, Any]) -> None:
        """`update --resources`; the driver sees to it that all limits change or none."""
        layout = Layout(root, id)
        self._require_not_stopped(id, root, "update")
        cgroups = self._cgroups(layout)
        wanted = limits.checked(resources, cgroups)
        if not wanted:
            return
        with (
            limits.old_ones_back_on_error(cgroups, wanted.get("unified", {})),
            document.in_memory(wanted) as path,
        ):
            self._command(layout).run(["update", "--resources", path, id])

    @hookimpl
    def runtime_stats(self, id: str, root: str) -> RuntimeStats:
        """From the cgroup's files."""
        self._require_not_stopped(id, root, "read the statistics of")
        return read_stats(self._cgroups(Layout(root, id)))

    @hookimpl
    def runtime_processes(self, id: str, root: str) -> tuple[int, ...]:
        """From the cgroup's files."""
        if self.runtime_state(id, root).status == "stopped":
            return ()
        return self._cgroups(Layout(root, id)).processes()

    @hookimpl
    def runtime_checkpoint(self, request: RuntimeCheckpoint) -> None:
        """`checkpoint`. The runtimes forget a container that it has ended; the driver does not."""
        layout = Layout(request.root, request.id)
        bundle = self._alive(request.id, request.root, "checkpoint").bundle
        checkpointing.require_criu()
        options = checkpointing.checkpoint_options(request)
        with checkpointing.dumping(layout, request.directory) as logs:
            paths = ["--image-path", request.directory, "--work-path", logs]
            self._command(layout).run(["checkpoint", *paths, *options, request.id])
        if not request.leave_running:
            layout.note_end(bundle)

    @hookimpl
    def runtime_restore(self, request: RuntimeCreate, directory: str) -> RuntimeTask:
        """`restore --detach`; stdio as in create."""
        checkpointing.require_criu()
        return self._make(request, ["restore", "--detach"], directory)

    def _alive(self, id: str, root: str, verb: str) -> RuntimeState:
        """The state, when that is running or paused. Conflict for the others."""
        state = self.runtime_state(id, root)
        if state.status not in ("running", "paused"):
            raise Conflict(f"cannot {verb} container {id}: it is {state.status}")
        return state

    def _require_not_stopped(self, id: str, root: str, verb: str) -> None:
        if self.runtime_state(id, root).status == "stopped":
            raise Conflict(f"cannot {verb} container {id}: it has stopped")

    def _cgroups(self, layout: Layout) -> ContainerCgroups:
        """Where the config has put it, or else (a relative path, systemd) where its init is."""
        path = "" if self._config.systemd_cgroup else layout.cgroups()
        found = find_cgroups(path, 0) if path else None
        return found if found and found.directories() else find_cgroups("", layout.read_pid())

    def _delete_state(self, layout: Layout, id: str, force: bool) -> None:
        if not force and self.runtime_state(id, layout.root).status in ("running", "paused"):
            raise Conflict(
                f"cannot delete container {id}: it is running", hint="stop it, or delete it with force"
            )
        self._command(layout).run(["delete", "--force", id])

    def _task(
        self,
        layout: Layout,
        verb: list[str],
        options: list[str],
        process: Mapping[str, Any],
        stdio: Stdio | None,
    ) -> RuntimeTask:
        """Run `create` or `exec`, which leave a process and, with a terminal, its pty."""
        pid_file = layout.new_pid_file(init=verb[0] != "exec")
        args = [*verb, "--pid-file", pid_file, *options]
        program = str(next(iter(process.get("args", ())), ""))
        if stdio is not None:
            self._command(layout).run([*args, layout.id], stdio, program)
            return RuntimeTask(layout.take_pid(pid_file))
        with ConsoleSocket(layout.work) as console:
            self._command(layout).run([*args, "--console-socket", console.path, layout.id], None, program)
            return RuntimeTask(layout.take_pid(pid_file), console.receive())

    def _command(self, layout: Layout) -> RuntimeCommand:
        config = self._config
        systemd = ("--systemd-cgroup",) if config.systemd_cgroup else ()
        return RuntimeCommand(config.path, (*config.arguments, *systemd), layout, config.timeout)


def _cgroups_path(spec: Mapping[str, Any], id: str) -> str:
    path = spec.get("linux", {}).get("cgroupsPath")
    return path if isinstance(path, str) and os.path.isabs(path) else f"/{id}"
