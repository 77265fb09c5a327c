"""Driver `runc`: containers by an external runc or crun."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

from barque.spi import Probe, hookimpl
from barque.spi.errors import BarqueError, Conflict, Internal, NotFound
from barque.spi.runtime import (
    RuntimeCapability,
    RuntimeCreate,
    RuntimeExec,
    RuntimeState,
    RuntimeTask,
    Stdio,
)
from barque_runtime_runc import document, leftovers, oom
from barque_runtime_runc.command import RuntimeCommand
from barque_runtime_runc.console import ConsoleSocket
from barque_runtime_runc.layout import Layout
from barque_runtime_runc.probe import probe

__all__ = ["RuncConfig", "RuncRuntime"]

# The contract has three states; a paused container's processes are alive, one in creation is not started.
_STATUS = {
    "creating": "created",
    "created": "created",
    "running": "running",
    "paused": "running",
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
        }
    )

    def __init__(self, name: str, config: RuncConfig) -> None:
        self._name = name
        self._config = config

    @hookimpl
    def runtime_probe(self) -> Probe:
        """Whether the program is there and runs; its version."""
        return probe(self._config.path)

    @hookimpl
    def runtime_create(self, request: RuntimeCreate) -> RuntimeTask:
        """`create`; the runtime's stdio are the container's. A program that does not exist is found out here already."""
        layout = Layout(request.root, request.id)
        layout.claim()
        try:
            layout.note_cgroups(_cgroups_path(request.spec, request.id))
            document.write_config(request.bundle, request.spec)
            return self._task(
                layout, ["create", "--bundle", request.bundle], [], request.spec["process"], request.stdio
            )
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
        answer = self._command(Layout(root, id)).query(["state", id])
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
                all and layout.has_state()
            ):  # a container that is known and not found is one that has stopped
                raise

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

    def _delete_state(self, layout: Layout, id: str, force: bool) -> None:
        if not force and self.runtime_state(id, layout.root).status == "running":
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
        pid_file = layout.new_pid_file(init=verb[0] == "create")
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
