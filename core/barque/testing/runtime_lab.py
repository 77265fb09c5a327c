"""The bench that the runtime kit works on: a root file system, bundles, a shim, and what ran in it."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from barque.spi.errors import BarqueError
from barque.spi.runtime import RuntimeCreate, RuntimeExec, RuntimeState, RuntimeTask, Stdio
from barque.testing import need, procfs, specs
from barque.testing.shim import ForkedShim, ShimDied, reap_until, wait_child

__all__ = ["FOREVER", "RuntimeLab", "Task", "busybox_rootfs", "eventually"]

FOREVER = ("sleep", "1000")  # a program that is still there when the test looks
_BUSYBOX = "/bin/busybox"
_APPLETS = "sh echo cat sleep ls id tty stat mount unshare kill readlink grep head hostname touch env pwd true false stty wc"
_MS_BIND = 0x1000
_CLONE_NEWNET = 0x40000000


def busybox_rootfs(root: Path) -> Path:
    """A root file system of a static busybox, and files that cannot be executed: /bin/plain, /bin/garbage."""
    if not os.path.exists(_BUSYBOX) or b"/ld-linux" in Path(_BUSYBOX).read_bytes():
        need.unavailable("needs a static /bin/busybox (apt install busybox-static)")
    for directory in ("bin", "dev", "etc", "proc", "sys", "tmp"):
        (root / directory).mkdir(parents=True)
    shutil.copy(_BUSYBOX, root / "bin/busybox")
    for applet in _APPLETS.split():
        (root / "bin" / applet).symlink_to("busybox")
    (root / "bin/plain").write_text("not executable\n")
    (root / "bin/garbage").write_bytes(b"\0not a program")
    (root / "bin/garbage").chmod(0o755)
    return root


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Whether `condition` becomes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@dataclass(frozen=True)
class Task:
    """A started process: its pid and where its output goes."""

    pid: int
    console: int | None
    stdout: Path
    stderr: Path


class RuntimeLab:
    """Containers of one test. Every hook is called in `shim`; `cgroup` is the parent of all cgroups."""

    def __init__(self, driver: Any, directory: Path, rootfs: Path, cgroup: str) -> None:
        self.driver = driver
        self.root = str(directory / "runtime")
        self.cgroup = cgroup
        self.shim = ForkedShim(driver)
        self._directory = directory
        self._rootfs = rootfs
        self._tasks = 0
        self._ids: set[str] = set()

    def spec(self, id: str, args: Sequence[str], **changes: Any) -> dict[str, Any]:
        """A container document; see `specs.container`."""
        return specs.container(str(self._rootfs), args, f"/{self.cgroup}/{id}", **changes)

    def create(
        self, id: str, *args: str, spec: Mapping[str, Any] | None = None, stdin: str = "/dev/null"
    ) -> Task:
        """`runtime_create` of `args`, or of a whole `spec`."""
        return self._task(_create, id, spec or self.spec(id, args), stdin)

    def begin_create(self, id: str, *args: str) -> None:
        """Begin `create`, and do not wait for it."""
        self._begun = self._plan(id, self.spec(id, args), "/dev/null")
        self.shim.send(_create, self._begun)

    def end_create(self) -> Task:
        """The task of the create that was begun."""
        task: RuntimeTask = self.shim.receive()
        return Task(task.pid, task.console, self._begun.stdout, self._begun.stderr)

    def run(
        self, id: str, *args: str, spec: Mapping[str, Any] | None = None, stdin: str = "/dev/null"
    ) -> Task:
        """Create and start."""
        task = self.create(id, *args, spec=spec, stdin=stdin)
        self.start(id)
        return task

    def exec(self, id: str, *args: str, **changes: Any) -> Task:
        """`runtime_exec`; `changes` go into the process."""
        return self._task(_exec, id, specs.process(args, **changes), "/dev/null")

    def start(self, id: str) -> None:
        """`runtime_start`."""
        self.shim.call(_hook, "runtime_start", id, self.root)

    def state(self, id: str) -> RuntimeState:
        """`runtime_state`."""
        state: RuntimeState = self.shim.call(_hook, "runtime_state", id, self.root)
        return state

    def kill(self, id: str, number: int = signal.SIGKILL, *, all: bool = False) -> None:
        """`runtime_kill`."""
        self.shim.call(_hook, "runtime_kill", id, self.root, int(number), all)

    def delete(self, id: str, *, force: bool = False) -> None:
        """`runtime_delete`."""
        self.shim.call(_hook, "runtime_delete", id, self.root, force)

    def wait(self, task: Task) -> int:
        """The exit code, negative for a signal."""
        code: int = self.shim.call(wait_child, task.pid)
        return code

    def output(self, task: Task) -> str:
        """What the process wrote on stdout."""
        return task.stdout.read_text()

    def console(self, task: Task, answer: bytes = b"") -> str:
        """What the terminal shows until its last process has ended, `answer` typed at the start."""
        text: str = self.shim.call(_converse, task.console, answer)
        return text

    def new_shim(self, *, kill_below: bool = False) -> None:
        """SIGKILL the shim (`kill_below`: and every process below it), and go on with another."""
        below = procfs.descendants(self.shim.pid) if kill_below else set()
        self.shim.kill()
        for pid in below:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.shim = ForkedShim(self.driver)

    @contextmanager
    def another(self) -> Iterator[RuntimeLab]:
        """A second bench with a shim of its own, on the same root."""
        directory = self._directory / "another"
        directory.mkdir()
        other = RuntimeLab(self.driver, directory, self._rootfs, self.cgroup)
        other.root = self.root
        try:
            yield other
        finally:
            other.close()

    def network_namespace(self) -> tuple[str, int]:
        """A new network namespace that the shim holds open: `/proc/self/fd/N`, and its inode."""
        found: tuple[str, int] = self.shim.call(_network_namespace)
        return found

    def cgroups(self, id: str) -> list[str]:
        """The cgroup directories of a container that exist."""
        return [path for path in self._cgroup_paths(id) if os.path.isdir(path)]

    def members(self, id: str) -> set[int]:
        """The processes in them."""
        return {
            int(pid) for path in self.cgroups(id) for pid in Path(path, "cgroup.procs").read_text().split()
        }

    def close(self) -> None:
        """Delete every container, end the shim, remove the parent cgroup."""
        for id in self._ids:
            with suppress(BarqueError, ShimDied):
                processes = sorted(self.members(id))
                self.kill(id, all=True)
                self.shim.call(reap_until, processes)
            with suppress(BarqueError, ShimDied):
                self.delete(id, force=True)
        self.shim.close()
        for path in self._cgroup_paths(""):
            with suppress(OSError):
                os.rmdir(path)

    def _task(self, function: Any, id: str, document: Mapping[str, Any], stdin: str) -> Task:
        plan = self._plan(id, document, stdin)
        task: RuntimeTask = self.shim.call(function, plan)
        return Task(task.pid, task.console, plan.stdout, plan.stderr)

    def _plan(self, id: str, document: Mapping[str, Any], stdin: str) -> _Plan:
        self._tasks += 1
        self._ids.add(id)
        bundle = self._directory / f"bundle-{self._tasks}"
        bundle.mkdir(mode=0o700)
        out, err = (self._directory / f"{name}-{self._tasks}" for name in ("out", "err"))
        return _Plan(id, self.root, str(bundle), document, stdin, out, err)

    def _cgroup_paths(self, id: str) -> list[str]:
        hierarchies = [mount.point for mount in procfs.mounts() if mount.kind in ("cgroup", "cgroup2")]
        return [os.path.join(point, self.cgroup, id) for point in hierarchies]


# Below: what runs in the shim.


@dataclass(frozen=True)
class _Plan:
    """A create or an exec, with paths for its stdio."""

    id: str
    root: str
    bundle: str
    document: Mapping[str, Any]
    stdin: str
    stdout: Path
    stderr: Path


def _hook(driver: Any, name: str, *args: Any) -> Any:
    return getattr(driver, name)(*args)


def _create(driver: Any, plan: _Plan) -> RuntimeTask:
    _bind(plan.document["root"]["path"])
    stdio = _open(plan, plan.document["process"])
    try:
        return driver.runtime_create(RuntimeCreate(plan.id, plan.bundle, plan.root, plan.document, stdio))  # type: ignore[no-any-return]
    finally:
        _close(stdio)


def _exec(driver: Any, plan: _Plan) -> RuntimeTask:
    stdio = _open(plan, plan.document)
    try:
        return driver.runtime_exec(RuntimeExec(plan.id, plan.root, plan.document, stdio))  # type: ignore[no-any-return]
    finally:
        _close(stdio)


def _open(plan: _Plan, process: Mapping[str, Any]) -> Stdio | None:
    if process["terminal"]:
        return None
    return Stdio(
        os.open(plan.stdin, os.O_RDONLY),
        os.open(plan.stdout, os.O_WRONLY | os.O_CREAT | os.O_APPEND),
        os.open(plan.stderr, os.O_WRONLY | os.O_CREAT | os.O_APPEND),
    )


def _close(stdio: Stdio | None) -> None:
    if stdio is not None:
        for fd in (stdio.stdin, stdio.stdout, stdio.stderr):
            os.close(fd)


def _bind(path: str) -> None:
    """Make `path` a mount point, as the engine does before it calls a runtime."""
    if any(mount.point == path for mount in procfs.mounts()):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(path.encode(), path.encode(), None, _MS_BIND, None):
        raise OSError(ctypes.get_errno(), f"cannot bind {path}")


def _network_namespace(driver: Any) -> tuple[str, int]:  # noqa: ARG001
    ours = os.open("/proc/self/ns/net", os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "cannot make a network namespace")
    new = os.open("/proc/self/ns/net", os.O_RDONLY)
    libc.setns(ours, _CLONE_NEWNET)
    os.close(ours)
    return f"/proc/self/fd/{new}", os.fstat(new).st_ino


def _converse(driver: Any, console: int, answer: bytes) -> str:  # noqa: ARG001
    """Type `answer`; read the pty until EIO, which is what a master reads when the last slave is closed."""
    os.write(console, answer)
    shown = b""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            data = os.read(console, 4096)
        except OSError:
            break
        shown += data
    os.close(console)
    return shown.decode()
