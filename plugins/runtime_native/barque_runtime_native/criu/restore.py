"""Making a container again from what `checkpoint` has written: cgroup, state and namespaces' outside here, the rest by CRIU."""

from __future__ import annotations

import os
import shutil
import tempfile

from barque.spi.errors import BarqueError, InvalidArgument, NotFound, NotImplemented
from barque_runtime_native.cgroup.control import CgroupEntry, remove
from barque_runtime_native.cgroup.layout import read_text
from barque_runtime_native.create import document_of
from barque_runtime_native.criu.checkpoint import (
    BIND,
    CGROUP,
    DESCRIPTION,
    DEVICE,
    NETWORK_KEY,
    joined_network,
)
from barque_runtime_native.criu.program import CriuOptions, find_criu, run_criu
from barque_runtime_native.failures import translate
from barque_runtime_native.hooks import run_all
from barque_runtime_native.jsontext import loads
from barque_runtime_native.kernel import syscalls
from barque_runtime_native.mounts.mounts import BindMount
from barque_runtime_native.state import RUNNING, Store, live_starttime, read_bounded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from barque_runtime_native.plan import Plan

MAX_DESCRIPTION = 1 << 20
NOT_RUN = ("prestart", "createRuntime", "createContainer", "startContainer")
PID_FILE = "restored.pid"
MS_BIND = 0x1000


class Restore:
    """One attempt. After `run` either the container runs again, or nothing is left of it."""

    def __init__(self, plan: Plan, config: dict[str, Any], root: str, options: CriuOptions) -> None:
        self.plan = plan
        self.config = config
        self.store = Store(root, plan.id)
        self.root = root
        self.options = options
        self.stdio: tuple[int, int, int] = (0, 1, 2)
        self.made: list[str] = []

    def run(self) -> int:
        """The pid of init, a child of this process. Errors: as `runtime_restore` says."""
        find_criu(self.options.program)
        self._refuse()
        description = read_description(self.options.images)
        self.store.make(document_of(self.plan, self.config), self._filter())
        try:
            self.made = self.plan.cgroup.create()
            pid = self._restore(description)
            starttime = live_starttime(pid)
            if starttime is None:
                raise NotFound("the container ended while it was restored")
            self.store.write_init(pid, starttime)
        except BaseException as error:
            self._undo()
            if isinstance(error, Exception):
                raise translate(error, "restore") from error
            raise
        run_all(self.plan.hooks.get("poststart", []), self.plan.state(pid, RUNNING))
        return pid

    def _refuse(self) -> None:
        for kind in NOT_RUN:
            if self.plan.hooks.get(kind):
                raise NotImplemented(f"hooks.{kind} is not run by restore", hint="remove it")
        if self.plan.process.terminal:
            raise NotImplemented("process.terminal: a container with a terminal cannot be restored")

    def _filter(self) -> Any:
        """For later exec; the restored processes bring their own."""
        if self.plan.seccomp is None:
            return None
        from barque_runtime_native.seccomp.cache import filter_for

        return filter_for(self.plan.seccomp, self.root)

    def _restore(self, description: dict[str, Any]) -> int:
        work = tempfile.mkdtemp(prefix="barque-restore-")
        pid_file = f"{work}/{PID_FILE}"
        network = -1
        try:
            words = [
                "--restore-detached",
                "--restore-sibling",
                "--pidfile",
                pid_file,
                "--root",
                self.plan.root.path,
            ]
            words += mount_words(description["mounts"], self.plan)
            words += self._stream_words(description["streams"])
            if path := joined_network(self.config):
                network = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                words += ["--inherit-fd", f"fd[{network}]:{NETWORK_KEY}"]
            entry = (
                CgroupEntry(list(self.plan.cgroup.directories.values()), unified=False)
                if self._v1()
                else None
            )
            words += self._cgroup_words()
            try:
                keep = [fd for fd in (network, *self.stdio) if fd > 2]
                run_criu("restore", words, self.options, prepare=lambda: self._prepare(entry), keep=keep)
            finally:
                if entry:
                    entry.close()
            return int(read_text(pid_file))
        finally:
            if network >= 0:
                os.close(network)
            shutil.rmtree(work)

    def _v1(self) -> bool:
        return not self.plan.cgroup.layout.unified

    def _cgroup_words(self) -> list[str]:
        """Where the cgroups of the image are now."""
        words = []
        for hierarchy in self.plan.cgroup.layout.hierarchies:
            directory = self.plan.cgroup.directories[hierarchy.name]
            path = directory[len(hierarchy.mountpoint) :] or "/"
            controllers = ",".join(hierarchy.controllers)
            words += ["--cgroup-root", f"{controllers}:{path}" if self._v1() and controllers else path]
        return words

    def _stream_words(self, streams: list[str]) -> list[str]:
        return [
            word
            for number, key in zip(self.stdio, streams, strict=True)
            if key
            for word in ("--inherit-fd", f"fd[{number}]:{key}")
        ]

    def _prepare(self, entry: CgroupEntry | None) -> None:
        """In criu's process: into the cgroup; and a mount namespace where the root is a mount, as criu wants it."""
        syscalls.rt_sigprocmask(0)
        if entry:
            entry.enter()
        elif self.plan.cgroup.directories:
            directory = next(iter(self.plan.cgroup.directories.values()))
            fd = os.open(f"{directory}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
            os.write(fd, b"0")
            os.close(fd)
        syscalls.unshare(syscalls.CLONE_NEWNS)
        syscalls.mount("", "/", "", syscalls.MS_SLAVE | syscalls.MS_REC)
        path = self.plan.root.path
        syscalls.mount(path, path, "", MS_BIND | syscalls.MS_REC)

    def _undo(self) -> None:
        """Remove cgroups, with what criu has left in them, and state. A failure here must not hide the first one."""
        try:
            remove(self.made, kill=True)
            self.store.remove()
        except (OSError, BarqueError):
            return


def read_description(images: str) -> dict[str, Any]:
    """What the checkpoint has noted. Errors: InvalidArgument."""
    path = os.path.join(images, DESCRIPTION)
    try:
        found = loads(read_bounded(path, MAX_DESCRIPTION))
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"{images} holds no checkpoint of this runtime: {error}") from error
    mounts, streams = (found.get("mounts"), found.get("streams")) if isinstance(found, dict) else (None, None)
    if (
        not isinstance(mounts, dict)
        or not all(kind in (BIND, DEVICE, CGROUP) for kind in mounts.values())
        or not isinstance(streams, list)
        or len(streams) != 3
        or not all(isinstance(each, str) for each in streams)
    ):
        raise InvalidArgument(f"{path} is not a description of a checkpoint")
    return {"mounts": mounts, "streams": streams}


def mount_words(mounts: dict[str, str], plan: Plan) -> list[str]:
    """criu's arguments that give each external mount of the image its source."""
    words = []
    for point, kind in mounts.items():
        if kind == DEVICE:
            # masks are of the null device; other devices lie where the host has them
            source = point if point.startswith("/dev/") else "/dev/null"
        elif kind == CGROUP:
            source = cgroup_source(point, plan)
        else:
            source = bind_source(point, plan)
        words += ["--external", f"mnt[{point}]:{source}"]
    return words


def bind_source(point: str, plan: Plan) -> str:
    """Where the configuration now takes a mount from. Errors: InvalidArgument when it has no such mount."""
    best = ""
    source = ""
    for bind in (step for step in plan.mounts if isinstance(step, BindMount)):
        at = bind.destination.rstrip("/")
        if (point == at or point.startswith(f"{at}/")) and len(at) >= len(best):
            best, source = at, bind.source
    if not source:
        raise InvalidArgument(f"mounts: there is no bind mount on {point}, which the checkpoint has")
    return source + point[len(best) :]


def cgroup_source(point: str, plan: Plan) -> str:
    """The container's own directory in the hierarchy mounted at `point`."""
    directories = plan.cgroup.directories
    if plan.cgroup.layout.unified:
        return next(iter(directories.values()))
    name = os.path.basename(point)
    if name not in directories:
        raise InvalidArgument(f"the checkpoint has a cgroup hierarchy {name!r}, which this host has not")
    return directories[name]
