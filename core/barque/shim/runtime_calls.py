"""A container's runtime as the shim sees it: every hook in a worker, with mounts of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from barque.shim import packets
from barque.shim.mounts import enter_namespace
from barque.shim.spare import LARGEST, SpareWorker
from barque.shim.stdio import set_window_size
from barque.shim.worker import Answer, Worker
from barque.spi import errors
from barque.spi.errors import BarqueError
from barque.spi.runtime import RuntimeCapability, RuntimeExec, RuntimeHooks, Stdio

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
        self._spare: SpareWorker | None = None

    def exec(self, process: Mapping[str, Any], stdio: Stdio | None) -> tuple[int, int | None]:
        """`runtime_exec`: the process's pid, and the pty's master if it has a terminal."""
        text, fds = self._exec_by_spare(process, stdio) or self._call(lambda: self._exec(process, stdio))
        return int(text), fds[0] if fds else None

    def _exec(self, process: Mapping[str, Any], stdio: Stdio | None) -> Answer:
        """In a worker."""
        started = self._runtime.runtime_exec(RuntimeExec(self._id, self._root, process, stdio))
        size = process.get("consoleSize")
        if started.console is not None and size:
            set_window_size(started.console, int(size["height"]), int(size["width"]))
        return str(started.pid).encode(), [] if started.console is None else [started.console]

    def _exec_by_spare(self, process: Mapping[str, Any], stdio: Stdio | None) -> Answer | None:
        """None when there is no spare worker, or it was killed while it waited."""
        spare, self._spare = self._spare, None
        if spare is None:
            return None
        document = packets.encode(process)
        if len(document) > LARGEST:
            spare.close()
            return None
        try:
            return spare.start(document, stdio)
        except ConnectionError:
            return None

    def expect_exec(self) -> None:
        """Have a worker ready for the next `exec`. Idempotent."""
        if self._spare is None:
            self._spare = SpareWorker(self._prepare_exec, self._exec, self._report)

    def expect_no_exec(self) -> None:
        """Let the ready worker go. Idempotent."""
        if self._spare is not None:
            self._spare.close()
            self._spare = None

    def _prepare_exec(self) -> None:
        """In a worker that waits."""
        if self._private_mounts:
            enter_namespace()
        if hasattr(self._runtime, "rehearse_exec"):
            self._runtime.rehearse_exec(self._id, self._root)

    def kill(self, signal: int, all: bool) -> None:
        """`runtime_kill`."""

        self._do(lambda: self._runtime.runtime_kill(self._id, self._root, signal, all))

    def delete(self) -> None:
        """`runtime_delete`, with every process that is left."""
        self._do(lambda: self._runtime.runtime_delete(self._id, self._root, True))

    def pause(self) -> None:
        """`runtime_pause`."""
        self._require(RuntimeCapability.PAUSE)
        self._do(lambda: self._runtime.runtime_pause(self._id, self._root))

    def resume(self) -> None:
        """`runtime_resume`."""
        self._require(RuntimeCapability.PAUSE)
        self._do(lambda: self._runtime.runtime_resume(self._id, self._root))

    def update(self, resources: Mapping[str, Any]) -> None:
        """`runtime_update`."""
        self._require(RuntimeCapability.UPDATE)
        self._do(lambda: self._runtime.runtime_update(self._id, self._root, resources))

    def stats(self) -> dict[str, Any]:
        """`runtime_stats`, as JSON has it."""
        self._require(RuntimeCapability.STATS)
        answer: dict[str, Any] = self._ask(lambda: asdict(self._runtime.runtime_stats(self._id, self._root)))
        return answer

    def processes(self) -> list[int]:
        """`runtime_processes`."""
        self._require(RuntimeCapability.STATS)
        pids: list[int] = self._ask(lambda: self._runtime.runtime_processes(self._id, self._root))
        return pids

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

    def _require(self, capability: str) -> None:
        if capability not in getattr(self._runtime, "capabilities", ()):
            raise errors.NotImplemented(
                f"this container's runtime driver cannot {capability}",
                hint="choose another runtime in the profile",
            )

    def _do(self, action: Callable[[], None]) -> None:
        def task() -> Answer:
            action()
            return b"", []

        self._call(task)

    def _ask(self, question: Callable[[], Any]) -> Any:
        """What a hook answers; it travels as JSON."""

        def task() -> Answer:
            return packets.encode({"answer": question()}), []

        return packets.decode(self._call(task)[0])["answer"]

    def _call(self, task: Callable[[], Answer]) -> Answer:
        def isolated() -> Answer:
            if self._private_mounts:
                enter_namespace()
            return task()

        return Worker(isolated, self._report).result()
