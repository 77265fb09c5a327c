"""The bench that the runtime kit works on: bundles, programs, a shim, and what ran in it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from barque.spi.errors import BarqueError
from barque.spi.runtime import RuntimeCheckpoint, RuntimeState, RuntimeStats, RuntimeTask
from barque.testing import procfs, runtime_calls, specs
from barque.testing.runtime_calls import Plan
from barque.testing.runtime_observed import Observed
from barque.testing.runtime_rootfs import FOREVER, add_program
from barque.testing.shim import ForkedShim, ShimDied, reap_until, wait_child
from barque.testing.static_init import Step

__all__ = ["FOREVER", "RuntimeLab", "Task", "eventually"]

_NULL = "/dev/null"


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
        self.rootfs = rootfs
        self.cgroup = cgroup
        self.shim = ForkedShim(driver)
        self._directory = directory
        self._tasks = 0
        self._ids: set[str] = set()

    # Documents and programs

    def program(self, *steps: Step) -> str:
        """Make a program of `steps` (`barque.testing.static_init`); its path in the container."""
        return add_program(self.rootfs, *steps)

    def spec(self, id: str, args: Sequence[str], **changes: Any) -> dict[str, Any]:
        """A container document; see `specs.container`."""
        return specs.container(str(self.rootfs), args, f"/{self.cgroup}/{id}", **changes)

    # Hooks

    def create(
        self,
        id: str,
        *args: str,
        spec: Mapping[str, Any] | None = None,
        stdin: str = _NULL,
        quiet: bool = False,
    ) -> Task:
        """`runtime_create` of `args`, or of a whole `spec`; `quiet`: its output goes to /dev/null."""
        return self._task(runtime_calls.create, self._plan(id, spec or self.spec(id, args), stdin, quiet))

    def run(self, id: str, *args: str, **options: Any) -> Task:
        """Create and start."""
        task = self.create(id, *args, **options)
        self.start(id)
        return task

    def run_steps(self, id: str, *steps: Step, **options: Any) -> Task:
        """Create and start a program of `steps`."""
        return self.run(id, self.program(*steps), **options)

    def exec(self, id: str, *args: str, **changes: Any) -> Task:
        """`runtime_exec`; `changes` go into the process."""
        return self._task(runtime_calls.execute, self._plan(id, specs.process(args, **changes), _NULL, False))

    def start(self, id: str) -> None:
        """`runtime_start`."""
        self._hook("runtime_start", id, self.root)

    def state(self, id: str) -> RuntimeState:
        """`runtime_state`."""
        state: RuntimeState = self._hook("runtime_state", id, self.root)
        return state

    def kill(self, id: str, number: int = signal.SIGKILL, *, all: bool = False) -> None:
        """`runtime_kill`."""
        self._hook("runtime_kill", id, self.root, int(number), all)

    def delete(self, id: str, *, force: bool = False) -> None:
        """`runtime_delete`."""
        self._hook("runtime_delete", id, self.root, force)

    def pause(self, id: str) -> None:
        """`runtime_pause`."""
        self._hook("runtime_pause", id, self.root)

    def resume(self, id: str) -> None:
        """`runtime_resume`."""
        self._hook("runtime_resume", id, self.root)

    def update(self, id: str, **resources: Any) -> None:
        """`runtime_update`."""
        self._hook("runtime_update", id, self.root, resources)

    def stats(self, id: str) -> RuntimeStats:
        """`runtime_stats`."""
        stats: RuntimeStats = self._hook("runtime_stats", id, self.root)
        return stats

    def processes(self, id: str) -> tuple[int, ...]:
        """`runtime_processes`."""
        pids: tuple[int, ...] = self._hook("runtime_processes", id, self.root)
        return pids

    def checkpoint(self, id: str, directory: Path, **options: bool) -> None:
        """`runtime_checkpoint`."""
        request = RuntimeCheckpoint(id, self.root, str(directory), **options)
        self._hook("runtime_checkpoint", request)

    def restore(self, id: str, directory: Path, spec: Mapping[str, Any]) -> Task:
        """`runtime_restore`, its output to /dev/null."""
        return self._task(runtime_calls.restore, self._plan(id, spec, _NULL, True), str(directory))

    # Calls that are not waited for

    def begin_create(self, id: str, *args: str) -> None:
        """Begin `create`."""
        self._begin(runtime_calls.create, self._plan(id, self.spec(id, args), _NULL, False))

    def begin_exec(self, id: str, *args: str) -> None:
        """Begin `exec`."""
        self._begin(runtime_calls.execute, self._plan(id, specs.process(args), _NULL, False))

    def end(self) -> Task:
        """The task of the call that was begun."""
        try:
            task: RuntimeTask = self.shim.receive()
        except BarqueError:
            self._ids.discard(self._begun.id)  # it may be another bench's
            raise
        return Task(task.pid, task.console, self._begun.stdout, self._begun.stderr)

    def new_shim(self, *, kill_below: bool = False) -> None:
        """SIGKILL the shim (`kill_below`: and every process below it), and go on with another."""
        below = procfs.descendants(self.shim.pid) if kill_below else set()
        self.shim.kill()
        for pid in below:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.shim = ForkedShim(self.driver)

    @contextmanager
    def another(self, name: str = "another") -> Iterator[RuntimeLab]:
        """A second bench with a shim of its own, on the same root."""
        directory = self._directory / name
        directory.mkdir()
        other = RuntimeLab(self.driver, directory, self.rootfs, self.cgroup)
        other.root = self.root
        try:
            yield other
        finally:
            other.close()

    # What came of it

    def observe(self, task: Task) -> Observed:
        """The process, once it executes a program of the root file system."""
        programs = {(entry.stat().st_dev, entry.inode()) for entry in os.scandir(self.rootfs / "bin")}

        def executes() -> bool:
            status = os.stat(f"/proc/{task.pid}/exe")
            return (status.st_dev, status.st_ino) in programs

        assert eventually(executes), f"process {task.pid} executes no program of the container"
        return Observed(task.pid)

    def wait(self, task: Task) -> int:
        """The exit code, negative for a signal."""
        code: int = self.shim.call(wait_child, task.pid)
        return code

    def output(self, task: Task) -> str:
        """What the process wrote on stdout."""
        return task.stdout.read_text()

    def console(self, task: Task, answer: bytes = b"") -> str:
        """What the terminal shows until its last process has ended, `answer` typed at the start."""
        text: str = self.shim.call(runtime_calls.converse, task.console, answer)
        return text

    def window_size(self, task: Task) -> tuple[int, int]:
        """Lines and columns of the terminal."""
        size: tuple[int, int] = self.shim.call(runtime_calls.window_size, task.console)
        return size

    def network_namespace(self) -> tuple[str, int]:
        """A new network namespace that the shim holds open: `/proc/self/fd/N`, and its inode."""
        found: tuple[str, int] = self.shim.call(runtime_calls.network_namespace)
        return found

    def cgroups(self, id: str) -> list[str]:
        """The cgroup directories of a container that exist."""
        return [path for path in self._cgroup_paths(id) if os.path.isdir(path)]

    def limit(self, id: str, *names: str) -> str:
        """The content of the first cgroup file of these names (v1's, v2's) that there is; empty without one."""
        paths = (Path(directory, name) for name in names for directory in self.cgroups(id))
        return next((path.read_text().strip() for path in paths if path.exists()), "")

    def members(self, id: str) -> set[int]:
        """The processes in the cgroups."""
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

    def _hook(self, name: str, *args: Any) -> Any:
        return self.shim.call(runtime_calls.call_hook, name, *args)

    def _task(self, function: Any, plan: Plan, *more: Any) -> Task:
        task: RuntimeTask = self.shim.call(function, plan, *more)
        return Task(task.pid, task.console, plan.stdout, plan.stderr)

    def _begin(self, function: Any, plan: Plan) -> None:
        self._begun = plan
        self.shim.send(function, plan)

    def _plan(self, id: str, document: Mapping[str, Any], stdin: str, quiet: bool) -> Plan:
        self._tasks += 1
        self._ids.add(id)
        bundle = self._directory / f"bundle-{self._tasks}"
        bundle.mkdir(mode=0o700)
        names = [_NULL, _NULL] if quiet else [self._directory / f"{n}-{self._tasks}" for n in ("out", "err")]
        out, err = (Path(name) for name in names)
        return Plan(id, self.root, str(bundle), document, stdin, out, err)

    def _cgroup_paths(self, id: str) -> list[str]:
        hierarchies = [mount.point for mount in procfs.mounts() if mount.kind in ("cgroup", "cgroup2")]
        return [os.path.join(point, self.cgroup, id) for point in hierarchies]
