"""A container's runtime as the shim sees it: every hook in a worker, with mounts of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from barque.shim.mounts import enter_namespace
from barque.shim.stdio import set_window_size
from barque.shim.worker import Answer, Worker
from barque.spi.errors import BarqueError
from barque.spi.runtime import RuntimeExec, RuntimeHooks, Stdio

__all__ = ["RuntimeCalls"]


class RuntimeCalls:
    """Calls the hooks of `runtime` for container `id`, and waits for them.

    With `private_mounts` a hook sees the host's mounts and may change them: nobody else will notice. `report` is
    told of defects. Errors are those of the hooks.
    """

    def __init__(
        self,
        runtime: RuntimeHooks,
        id: str,
        root: str,
        private_mounts: bool,
        report: Callable[[Exception], None],
    ) -> None:
        self._runtime = runtime
        self._id = id
        self._root = root
        self._private_mounts = private_mounts
        self._report = report

    def exec(self, process: Mapping[str, Any], stdio: Stdio | None) -> tuple[int, int | None]:
        """`runtime_exec`: the process's pid, and the pty's master if it has a terminal."""

        def task() -> Answer:
            started = self._runtime.runtime_exec(RuntimeExec(self._id, self._root, process, stdio))
            size = process.get("consoleSize")
            if started.console is not None and size:
                set_window_size(started.console, int(size["height"]), int(size["width"]))
            return str(started.pid).encode(), [] if started.console is None else [started.console]

        text, fds = self._call(task)
        return int(text), fds[0] if fds else None

    def kill(self, signal: int, all: bool) -> None:
        """`runtime_kill`."""

        def task() -> Answer:
            self._runtime.runtime_kill(self._id, self._root, signal, all)
            return b"", []

        self._call(task)

    def delete(self) -> None:
        """`runtime_delete`, with every process that is left."""

        def task() -> Answer:
            self._runtime.runtime_delete(self._id, self._root, True)
            return b"", []

        self._call(task)

    def delete_here(self) -> None:
        """`runtime_delete` in this process, cheaper than in a worker: for a shim that has nothing to do any more but to
        end, and a container with no process left."""
        try:
            if self._private_mounts:
                enter_namespace()
            self._runtime.runtime_delete(self._id, self._root, True)
        except (BarqueError, OSError):
            raise
        except Exception as error:  # noqa: BLE001 - a driver's defect is written down, and the shim ends as it should
            self._report(error)

    def _call(self, task: Callable[[], Answer]) -> Answer:
        def isolated() -> Answer:
            if self._private_mounts:
                enter_namespace()
            return task()

        return Worker(isolated, self._report).result()
